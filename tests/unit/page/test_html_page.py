"""The page: verdicts first, everything escaped, nothing from elsewhere, equal for equal input."""

import base64
import contextlib
import copy
import hashlib
import json
import random
import re
from pathlib import Path

import pytest

from pytest_xsched.errors import ScenarioError
from pytest_xsched.page.html_page import page
from pytest_xsched.page.source import Source
from pytest_xsched.page.svg import plain

WAITING = {"part": "in flight", "queue": "low", "ns": 6 * 10**6}
PACKAGE = Path(__file__).parents[3] / "pytest_xsched" / "page"


@pytest.fixture
def run(made_queue, made_run):
    """A run of two queues with a PASS, a FAIL, an UNDECIDED and a refused target."""
    one = made_run(
        made_queue([1.0 + i % 7 for i in range(400)]), made_queue([2.0] * 400, name="low")
    )
    record = one.to_dict()
    record["origin"] = "test_qos.py::test_it"
    for status, rule, limit in (
        ("PASS", "P99 below", 9),
        ("FAIL", "P50 below", 1),
        ("UNDECIDED", "max below", 8),
    ):
        record["verdicts"].append(
            {
                "status": status,
                "queue": "high",
                "rule": rule,
                "limit": limit * 10**6,
                "limit_origin": "test_qos.py:12",
                "unit": "ns",
                "n": 400,
                "sentence": f"high: {rule} {limit} ms: {status}",
                "nodeid": "test_qos.py::test_it",
                "value": 7 * 10**6,
                "decision": None,
            }
        )
    record["why"] = [
        {
            "queue": "high",
            "limit_ns": 10**6,
            "late": 300,
            "explained": 2,
            "latency_ns": 9 * 10**6,
            "cause": "in flight",
            "sentence": "60 % of the excess is waiting for low",
            "lines": ["60 % of the excess is waiting for low", "the 2 slowest took 4.5 ms"],
            "parts": [{"part": "running", "queue": "", "ns": 3 * 10**6}, WAITING],
            "requests": [
                {
                    "index": 6,
                    "scheduled_ns": 3 * 10**8,
                    "latency_ns": 7 * 10**6,
                    "completed": True,
                    "parts": [WAITING, {"part": "running", "queue": "", "ns": 10**6}],
                }
            ],
            "around": {
                "start_ns": 299 * 10**6,
                "end_ns": 308 * 10**6,
                "queues": [
                    {
                        "name": "high",
                        "commands": [[6, 301 * 10**6, 306 * 10**6, 307 * 10**6]],
                        "left_out": 0,
                        "suspended": [],
                    },
                    {
                        "name": "low",
                        "commands": [[3, 299 * 10**6, 299 * 10**6, 306 * 10**6]],
                        "left_out": 0,
                        "suspended": [[300 * 10**6, 307 * 10**6]],
                    },
                ],
            },
        }
    ]
    record["refused"] = [{"sentence": "low is saturated", "nodeid": "test_qos.py::test_low"}]
    return record


@pytest.fixture
def comparison(run):
    """Two arms and the baseline again, of two episodes each."""
    ratio = {"value": 0.5, "low": 0.4, "high": 0.6, "episodes": [0.5, 0.5]}
    contrast = {"ratio": ratio, "floor": 1.2, "difference_shown": True}
    arms = ("native", "builtin", "native again")
    each = [
        {
            "n": queue["n"],
            "p50_ns": queue["p50_ns"],
            "p99_ns": queue["p99_ns"],
            "max_ns": queue["max_ns"],
            "throughput_hz": 20.0,
        }
        for queue in run["queues"]
    ]
    return {
        "baseline": "native",
        "schedulers": ["builtin"],
        "episodes": 2,
        "forced": [],
        "queues": [
            {
                "name": queue["name"],
                "open_loop": True,
                "arms": {arm: {key: [value] * 2 for key, value in numbers.items()} for arm in arms},
                "contrasts": {"builtin": {"P50": contrast, "P99": contrast}},
            }
            for queue, numbers in zip(run["queues"], each, strict=True)
        ],
        "verdicts": [
            {
                **run["verdicts"][0],
                "rule": "P99 improved by",
                "limit": 1.5,
                "unit": "",
                "sentence": "high: P99 of native / builtin 2 is at least 1.5 (...)",
            }
        ],
        "refused": [],
        "arms": {arm: [copy.deepcopy(run), copy.deepcopy(run) | {"remark": arm}] for arm in arms},
    }


def test_verdicts_come_first_worst_first_and_differ_in_word_shape_and_class(run, source, read):
    root = read(page([source(run)]))
    sections = [one.attributes["id"] for one in root.find("section")]
    assert sections == ["verdicts", "run-1"]
    (section,) = root.find("section", id="verdicts")
    items = list(section.find("li"))
    words = ["FAIL", "UNDECIDED", "NO VERDICT", "PASS"]
    assert [next(item.find("span", class_="badge")).text for item in items] == words
    because = [[one.text for one in item.find("p", class_="because")] for item in items]
    assert because == [["60 % of the excess is waiting for low"], [], [], []]  # of P50 below 1 ms
    shapes = [next(item.find("use")).attributes["href"] for item in items]
    assert len(set(shapes)) == 4 and len({item.attributes["class"] for item in items}) == 4
    (heading,) = root.find("h1")
    assert heading.text == "1 missed, 1 undecided, 1 without a verdict, of 4 targets"


def test_a_missed_rate_is_not_explained_by_latencies(run, source, read):
    """Targets whose limit is no time share their explanation, if they are about latencies."""
    run["why"][0]["limit_ns"] = None
    run["refused"] = []
    missed = {**run["verdicts"][1], "unit": ""}
    run["verdicts"] = [
        {**missed, "rule": "slowdown below"},
        {**missed, "rule": "throughput at least", "unit": "Hz"},
    ]
    (section,) = read(page([source(run)])).find("section", id="verdicts")
    because = [[one.text for one in li.find("p", class_="because")] for li in section.find("li")]
    assert because == [["60 % of the excess is waiting for low"], []]


def test_a_run_has_its_charts_evidence_scenario_and_command(run, source, read):
    tests = {"test_qos.py::test_it": {"rerun": "pytest test_qos.py::test_it --xsched-seed=0"}}
    root = read(page([source(run, tests=tests)]))
    (section,) = root.find("section", id="run-1")
    assert [one.text for one in section.find("h3")] == ["Why high was late", "high", "low"]
    labels = [one.attributes["aria-label"] for one in section.find("svg", class_="chart")]
    assert labels == [
        "high: where the time went",
        "all queues around request 6 of high",
        "high: percentiles of the latency",
        "high: latency over time",
        "low: percentiles of the latency",
        "low: latency over time",
    ]
    names = {one.text for one in section.find("text", class_="name")}
    assert names == {"P99 below 9 ms", "P50 below 1 ms", "max below 8 ms", "limit"}
    assert "pytest test_qos.py::test_it --xsched-seed=0" in next(section.find("pre")).text
    assert "QueueSpec(" in next(next(section.find("details")).find("code")).text
    heads = [one.text for one in section.find("th", scope="col")]
    assert heads[:5] == ["queue", "prio", "workload", "n", "P50"]


def test_why_has_the_cause_first_the_parts_to_scale_and_all_queues_around_the_worst(
    run, source, read
):
    root = read(page([source(run)]))
    (section,) = root.find("div", class_="why")
    assert next(section.find("p", class_="cause")).text == "60 % of the excess is waiting for low"
    bars, timeline = section.find("svg", class_="chart")
    parts = [one for one in bars.find("rect") if "part" in one.attributes["class"]]
    said = [next(one.find("title")).text for one in parts]
    assert said == [
        "3 ms waiting for work in flight of low",
        "1.5 ms running",
        "6 ms waiting for work in flight of low",
        "1 ms running",
    ]
    widths = [float(one.attributes["width"]) for one in parts]
    assert widths[2] / widths[3] == pytest.approx(6, rel=0.01)
    assert widths[0] / widths[2] == pytest.approx(0.5, rel=0.01)
    (own,) = timeline.find("rect", class_="own")
    assert next(own.find("title")).text == "high, request 6: 1 ms, launched 5 ms before it began"
    (other,) = timeline.find("rect", class_="r1")
    assert next(other.find("title")).text == "low, request 3: 7 ms"
    (suspended,) = timeline.find("rect", class_="suspended")
    assert next(suspended.find("title")).text == "low is suspended for 7 ms"
    assert {"arrives", "ends", "limit"} <= {one.text for one in timeline.find("text")}


def test_a_comparison_has_intervals_noise_and_each_arm(comparison, source, read):
    root = read(page([source(comparison)]))
    (section,) = root.find("section", id="comparison-1")
    charts = [one.attributes["aria-label"] for one in section.find("svg", class_="chart")]
    assert charts == [
        "ratios to the baseline",
        "high: percentiles in each arm, medians of the episodes",
        "high: P99 of each episode",
        "low: percentiles in each arm, medians of the episodes",
        "low: P99 of each episode",
    ]
    intervals = next(section.find("svg", class_="chart"))
    assert len(list(intervals.find("rect", class_="floor"))) == 4
    assert len(list(intervals.find("polygon", class_="limit"))) == 1  # the claim, at 1 / 1.5
    keys = [
        one.text for one in next(section.find("span", class_="keys")).find("span", class_="key")
    ]
    assert keys == ["native", "builtin", "native again"]


def test_a_claim_on_one_level_is_not_drawn_for_another_level(comparison, source, read):
    """The name of an arm may begin with the name of another one."""
    comparison["schedulers"] = ["xsched hpf", "xsched hpf level 2"]
    arms = ("native", *comparison["schedulers"], "native again")
    comparison["arms"] = {arm: comparison["arms"]["builtin"] for arm in arms}
    for queue in comparison["queues"]:
        queue["arms"] = {arm: queue["arms"]["builtin"] for arm in arms}
        contrast = queue["contrasts"]["builtin"]["P99"]
        queue["contrasts"] = {name: {"P99": contrast} for name in comparison["schedulers"]}
    (claim,) = comparison["verdicts"]
    claim["sentence"] = "high: P99 of native / xsched hpf level 2 2 is at least 1.5 (...)"
    root = read(page([source(comparison)]))
    (section,) = root.find("section", id="comparison-1")
    intervals = next(section.find("svg", class_="chart"))
    assert len(list(intervals.find("polygon", class_="limit"))) == 1


def test_nothing_of_a_name_or_an_output_becomes_markup(nasty, run, comparison, source, read):
    run["origin"] = run["refused"][0]["nodeid"] = f"test_{nasty}.py::test[{nasty}]"
    run["queues"][0]["workload"] = run["scenario"]["queues"][0]["workload"]["label"] = nasty
    run["verdicts"][0]["sentence"] = run["verdicts"][0]["limit_origin"] = nasty
    why = run["why"][0]
    why["sentence"] = why["lines"][0] = why["queue"] = why["parts"][1]["queue"] = nasty
    why["around"]["queues"][0]["name"] = nasty
    run["evidence"]["faults"] = [f"the program wrote: {nasty}"]
    run["remark"] = run["fingerprint"]["devices"][0]["name"] = nasty
    comparison["forced"] = [nasty]
    findings = [
        {
            "status": "worse",
            "sentence": nasty,
            "origin": nasty,
            "unit": "ns",
            "history": [[nasty, 1], [nasty, 2]],
        }
    ]
    tests = {run["origin"]: {"rerun": f"pytest '{nasty}'"}}
    made = source(run, comparison, name=nasty, findings=findings, tests=tests)
    made.document["machine_info"]["node"] = made.document["commit_info"]["branch"] = nasty
    made.document["commit_info"]["id"] = "0123"
    other = source(run, name=f"{nasty}.json")
    for sources in ([made], [made, other]):
        root = read(page(sources))
        assert plain(nasty) in root.text


def test_equal_input_gives_equal_bytes(run, comparison, source):
    first, second = (page([source(run, comparison)]) for _ in range(2))
    assert first == second


def test_a_page_of_a_file_is_that_of_its_session(run, comparison, document):
    made = document(run, comparison)
    again = json.loads(json.dumps(made))
    named = Source(name="out.json", document=again)
    assert page([Source(name="", document=made)]) == page([named])


def test_several_machines_have_a_row_each_and_what_all_measured_a_table(run, source, read):
    made = [source(run, name=f"{node}.json") for node in ("one", "two", "again")]
    for one, node in zip(made, ("alpha", "beta", "alpha"), strict=True):
        one.document["machine_info"]["node"] = node
    root = read(page(made))
    (section,) = root.find("section", id="machines")
    machines, alike = section.find("tbody")
    rows = list(machines.find("tr"))
    assert [next(row.find("th")).text.partition(",")[0] for row in rows] == ["alpha", "beta"]
    assert "one.json" in rows[0].text and "again.json" in rows[0].text
    assert [next(row.find("a")).text for row in alike.find("tr")] == ["alpha", "beta", "alpha"] * 2
    assert len(list(root.find("section", class_="run"))) == 3


def test_hosts_of_one_session_have_a_row_each_too(run, source, read):
    runs = [{**run, "origin": f"a.py::test[{host or 'here'}-8]", "host": host} for host in HOSTS]
    root = read(page([source(*runs)]))
    (section,) = root.find("section", id="machines")
    machines, alike = section.find("tbody")
    rows = [next(row.find("th")).text.partition(",")[0] for row in machines.find("tr")]
    assert rows[1:] == ["gpu7", "gpu8"]
    assert [next(row.find("a")).text for row in alike.find("tr")][1:3] == ["gpu7", "gpu8"]
    assert "On several machines: a.py::test[8]" in section.text
    again = Source(name="x.json", document=source(*runs).document)
    assert page([again]) == page([source(*runs)])
    (section,) = read(page([source(*runs), again])).find("section", id="machines")
    assert "x.json" in section.text


HOSTS = (None, "gpu7", "gpu8")


@pytest.mark.parametrize(
    ("cpus", "uuids", "rows"),
    [
        (("a", "a"), ("GPU-1", "GPU-1"), ["gpu7"]),
        (("a", "a"), ("GPU-1", None), ["gpu7"]),  # a run without its GPU
        (("a", "a"), ("GPU-1", "GPU-2"), ["gpu7 (1)", "gpu7 (2)"]),
        (("a", "b"), (None, None), ["gpu7 (1)", "gpu7 (2)"]),
    ],
)
def test_two_files_may_know_two_machines_by_one_name(run, source, read, cpus, uuids, rows):
    made = []
    for number, (cpu, uuid) in enumerate(zip(cpus, uuids, strict=True)):
        one = copy.deepcopy({**run, "host": "gpu7"})
        one["fingerprint"]["cpu"] = cpu
        one["fingerprint"]["devices"][0]["uuid"] = uuid
        made.append(source(one, name=f"{number}.json"))
    (section,) = read(page(made)).find("section", id="machines")
    machines, *alike = section.find("tbody")
    found = [next(row.find("th")).text.partition(",")[0] for row in machines.find("tr")]
    assert found == rows
    assert bool(alike) == (len(rows) == 2)
    names = [next(row.find("a")).text for table in alike for row in table.find("tr")]
    assert names == (rows * 2 if alike else [])


def test_many_targets_that_pass_are_folded_and_the_others_are_not(run, source, read):
    run["verdicts"] = [run["verdicts"][1]] + [run["verdicts"][0]] * 30
    root = read(page([source(run)]))
    (section,) = root.find("section", id="verdicts")
    (details,) = section.find("details")
    assert next(details.find("summary")).text == "18 more that PASS"
    assert len(list(details.find("li"))) == 18 and len(list(section.find("li"))) == 32
    assert next(section.find("li")).attributes["class"] == "fail"


def test_the_page_may_run_its_own_script_and_nothing_else(run, source, read):
    root = read(page([source(run)]))
    (policy,) = root.find("meta", http_equiv="Content-Security-Policy")
    (script,) = root.find("script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy.attributes["content"]
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_charts_can_be_reached_by_keyboard_and_have_words(run, source, read):
    root = read(page([source(run)]))
    for chart in root.find("svg", class_="chart"):
        assert chart.attributes["role"] == "img"
        assert ("tabindex" in chart.attributes) == ("data-points" in chart.attributes)
        assert next(chart.find("title")).text == chart.attributes["aria-label"]
    assert next(root.find("a", class_="skip")).attributes["href"] == "#verdicts"


def test_a_file_of_format_2_has_the_percentiles_that_it_has(run, document, read):
    made = document(run)
    data = made["xsched"]
    for key in ("shares_above", "bounded", "shared", "tests"):
        del data[key]
    for one in data["runs"]:
        del one["windows_ns"], one["block_ns"], one["why"]
        for queue in one["queues"]:
            del queue["curve_ns"], queue["bounds_ns"], queue["blocks"]
    data["format"] = 2
    root = read(page([Source(name="old.json", document=made)]))
    labels = [one.attributes["aria-label"] for one in root.find("svg", class_="chart")]
    assert labels == ["high: percentiles of the latency", "low: percentiles of the latency"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d.pop("xsched"), r"bad\.json: not what `pytest --xsched-json=FILE` writes"),
        (lambda d: d["xsched"].update(format=9), r"bad\.json: not what .*format 9"),
        (lambda d: d["xsched"].update(runs=[{}]), r"bad\.json: not what"),
        (lambda d: d["xsched"].update(runs=7), r"bad\.json: not what"),
        (
            lambda d: d["xsched"]["runs"][0]["queues"][0].update(curve_ns=["x"]),
            r"bad\.json: not what",
        ),
        (lambda d: d["xsched"]["runs"][0].update(block_ns=0), r"bad\.json: not what"),
        (lambda d: d.update(machine_info=None), r"bad\.json: not what"),
    ],
)
def test_a_file_that_is_none_of_ours_is_one_sentence_with_its_name(
    run, document, change, complaint
):
    bad = document(copy.deepcopy(run))
    change(bad)
    good = Source(name="good.json", document=document(run))
    for sources in (
        [Source(name="bad.json", document=bad)],
        [good, Source(name="bad.json", document=bad)],
    ):
        with pytest.raises(ScenarioError, match=complaint) as raised:
            page(sources)
        assert "\n" not in str(raised.value)


def test_a_session_without_targets_or_runs_has_a_page(run, source, read):
    run["verdicts"], run["refused"] = [], []
    for made in (source(), source(run)):
        (heading,) = read(page([made])).find("h1")
        assert heading.text == "No target was asserted"


def contrast(first, second):
    """Of two colours, as WCAG 2.2 defines it."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_words_can_be_read_in_light_dark_and_print():
    style = (PACKAGE / "page.css").read_text(encoding="utf-8")
    modes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(modes) == 3
    for mode in modes:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", mode))
        for word in ("ink", "soft", "link", "fail", "undecided", "no-verdict", "pass"):
            assert contrast(colours[word], colours["paper"]) >= 4.5, word
        for series in ("s0", "s1", "s2", "s3", "s4", "s5"):
            assert contrast(colours[series], colours["paper"]) >= 3, series


WRONG = [
    None,
    True,
    -1,
    0,
    10**400,
    1e308,
    float("inf"),
    "",
    "x",
    "<b>",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
]


def places(value, path=()):
    """Every place of a document, as the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inner:
        yield (*path, key)
        if isinstance(one, (dict, list)):
            yield from places(one, (*path, key))


@pytest.mark.parametrize("seed", range(100))
def test_a_wrong_value_anywhere_is_a_page_or_a_sentence(run, comparison, document, read, seed):
    draw = random.Random(seed)
    made = json.loads(json.dumps(document(run, comparison)))
    *way, last = draw.choice(list(places(made)))
    here = made
    for key in way:
        here = here[key]
    here[last] = draw.choice(WRONG)
    with contextlib.suppress(ScenarioError):
        read(page([Source(name="bad.json", document=made)]))

"""--xsched-html and `pytest-xsched report`: one page, the same from a session and from its file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from pytest_xsched.cli.main import ExitCode, main
from pytest_xsched.page.html_page import page
from pytest_xsched.page.source import Source

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

CASES = """
    def test_pass_and_fail(run):
        run.high.assert_p99_below("50ms")
        run.high.assert_p99_below("2ms")

    def test_saturated(xsched):
        high = xsched.queue("high", spin("20ms"), rate="100/s")
        xsched.run(high, duration="20s").high.assert_p99_below("1s")

    def test_comparison(xsched, load):
        comparison = xsched.compare(*load, arms=["alone"], duration="15s")
        comparison.high.assert_p99_improved(by=1.1)
    """


@pytest.fixture
def report(pytester, capsys, monkeypatch):
    """Runs `pytest-xsched report` inside this process: code, output, errors."""
    monkeypatch.chdir(pytester.path)

    def run(*args):
        capsys.readouterr()  # of sessions before
        code = main(["report", *map(str, args)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def words(text):
    """The text of a page, without its markup."""
    text = re.sub(r"<(style|script)>.*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_a_session_and_its_file_make_the_same_page(load, sim, pytester, report):
    load(CASES)
    assert sim("--xsched-json=out.json", "--xsched-html=out.html").ret == 1
    text = (pytester.path / "out.html").read_text()
    assert re.search(r"<h1>[^<]*missed[^<]* of 4 targets</h1>", text)
    for part in ("P99 below 2 ms", "Run it again", "native again", "Scenario as Python"):
        assert part in text
    assert (
        "pytest test_it.py::test_pass_and_fail -p xsched --xsched-device=sim --xsched-seed=0"
        in text
    )

    assert report("out.json", "-o", "again.html") == (
        ExitCode.OK,
        "again.html: 2 runs, 1 comparison of 1 file\n",
        "",
    )
    assert (pytester.path / "again.html").read_text() == text
    assert report("out.json", "-o", "out.json")[0] == ExitCode.USAGE


def test_tests_of_xdist_workers_are_on_the_page(load, pytester, fresh):
    load("""
        def test_one(xsched):
            xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="15s")

        def test_two(xsched):
            xsched.run(xsched.queue("high", spin("2ms"), rate="20/s"), duration="15s")
        """)
    result = fresh("-pxdist", "-n2", "--xsched-device=sim", "--xsched-html=out.html")
    assert result.ret == 0
    text = (pytester.path / "out.html").read_text()
    for name in ("test_one", "test_two"):
        assert f"pytest test_it.py::{name} -p xsched --xsched-device=sim --xsched-seed=0" in text


def test_the_figures_of_stored_runs_are_drawn_over_time(load, sim, pytester):
    load("def test_it(run): pass")
    for _ in range(3):
        assert sim("--xsched-save=main").ret == 0
    assert sim("--xsched-compare=main", "--xsched-html=out.html", "--xsched-json=out.json").ret == 0
    found = json.loads((pytester.path / "out.json").read_text())["xsched"]["baselines"]
    high, low = found
    assert (high["unit"], low["unit"]) == ("ns", "Hz")
    for finding in found:
        *stored, (when, now) = finding["history"]
        assert len(stored) == 3 and when == "now" and {value for _, value in stored} == {now}
    text = words((pytester.path / "out.html").read_text())
    assert "NO DIFFERENCE SHOWN" in text and "stored runs in order of time" in text


def test_without_jinja2_one_sentence_before_anything_is_measured(load, sim, pytester, monkeypatch):
    load("def test_it(run): open('measured', 'w')")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = sim("--xsched-html=out.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        "ERROR: --xsched-html: The package 'jinja2' is not installed; install it with: "
        "pip install 'pytest-xsched[html]'"
    ]
    assert not (pytester.path / "measured").exists()


def test_a_report_without_jinja2(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    code, out, err = report("out.json", "-o", "page.html")
    assert (code, out) == (ExitCode.UNAVAILABLE, "")
    assert err.endswith("install it with: pip install 'pytest-xsched[html]'\n")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "bad.json: No such file or directory; write it with `pytest --xsched-json=FILE`"),
        ("", "bad.json is not a JSON file of pytest-xsched; "),
        ("[" * 100_000, "bad.json is not a JSON file of pytest-xsched; "),
        ('{"xsched": {"format": NaN}}', "bad.json is not a JSON file of pytest-xsched; "),
        ("{}", "bad.json is not a JSON file of pytest-xsched; "),
        ('{"xsched": {"format": 99}}', "bad.json: its format is 99, and this version of "),
        ('{"xsched": {"format": 3}}', "bad.json: not what `pytest --xsched-json=FILE` writes "),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(report, pytester, content, sentence):
    if content is not None:
        (pytester.path / "bad.json").write_text(content)
    code, out, err = report("bad.json", "-o", "page.html")
    assert (code, out) == (ExitCode.USAGE, "")
    assert err.startswith(f"pytest-xsched: {sentence}") and err.count("\n") == 1
    assert not (pytester.path / "page.html").exists()


def test_paths_that_cannot_be_meant(report, pytester):
    (pytester.path / "a.json").write_text("{}")
    for args, sentence in [
        (("a.json", "./a.json", "-o", "page.html"), "a.json is named twice, and its runs would"),
        (("a.json", "-o", "a.json"), "--output: a.json is one of the files to read; name another"),
        (("a.json", "-o", "no/page.html"), "--output: no/page.html: the directory "),
        (("a.json", "-o", "."), "--output: . is a directory"),
    ]:
        code, _, err = report(*args)
        assert code == ExitCode.USAGE and err.startswith(f"pytest-xsched: {sentence}")


NASTY_TESTS = """
    import sys
    import pytest
    from pytest_xsched import *

    SCRIPT = "</script><script>document.title = 'taken'</script>"

    @pytest.mark.parametrize("text", [SCRIPT, '"><img src=x onerror=alert(1)>'])
    def test_it(xsched, text):
        work = sequence([spin("1ms")], label=text)
        run = xsched.run(xsched.queue("high", work, rate="20/s"), duration="15s")
        run.high.assert_p99_below("500us")
    """


@pytest.fixture
def dom(pytester):
    """Opens a page in Chromium, and returns its document after its script ran."""
    if CHROMIUM is None:
        pytest.skip("chromium, which opens the page, is not installed")

    def open_page(path):
        profile = pytester.path / "profile"
        done = subprocess.run(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
                *("--virtual-time-budget=1000", f"--user-data-dir={profile}", path.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-500:]
        return done.stdout

    return open_page


@pytest.mark.timeout(180)
def test_a_browser_runs_our_script_and_no_other(pytester, sim, dom):
    pytester.makepyfile(NASTY_TESTS)
    assert sim("--xsched-html=out.html").ret == 1
    found = dom(pytester.path / "out.html")
    # Each of four charts of each of two runs has the button that our script adds.
    assert found.count('<button type="button" class="larger"') == 8
    assert "<title>2 missed, of 2 targets - pytest-xsched</title>" in found
    assert "<img" not in found and found.count("<script>") == 1
    assert "&lt;img src=x onerror=alert(1)&gt;" in found


@pytest.mark.timeout(180)
def test_a_browser_reads_the_points_of_a_chart_by_keyboard(load, sim, pytester, dom):
    load("def test_it(run): run.high.assert_p99_below('50ms')")
    sim("--xsched-json=out.json")
    source = Source(name="", document=json.loads((pytester.path / "out.json").read_text()))
    press = """
        for (const chart of document.querySelectorAll("svg.chart")) {
          chart.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
        }
        document.title = [...document.querySelectorAll("output")].map((one) => one.textContent);
        """
    # The policy of a page lets only its own script run, so this one has none.
    text = re.sub(r"<meta http-equiv=[^>]*>", "", page([source]))
    path = pytester.path / "press.html"
    path.write_text(text.replace("</body>", f"<script>{press}</script></body>"))
    (title,) = re.findall(r"<title>([^<]*)</title>", dom(path).partition("<body>")[0])
    assert re.match(r"longest: [\d.]+ ms,[\d.]+ s: n = \d+, P50 [\d.]+ ms, P99 ", title)


SEARCHING = """
    import pytest
    from pytest_xsched import spin
    from pytest_xsched.stress.strategies import contentions

    @pytest.fixture(scope="module")
    def found(xsched):
        high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s", threshold=1)
        space = contentions(high, others=1, thresholds=[1, 2], duration="1s")
        return xsched.search(space, queue="high", objective="max/alone", examples=10)

    def test_bounded(found):
        found.assert_worst_case_below(10_000)

    def test_missed(found):
        found.assert_worst_case_below(1.01)
    """


@pytest.mark.parametrize("workers", [False, True], ids=["alone", "xdist"])
def test_a_search_is_on_the_page_with_its_verdicts_and_the_worst_mix(
    pytester, sim, fresh, report, workers
):
    pytester.makepyfile(SEARCHING)
    files = "--xsched-json=out.json", "--xsched-html=out.html"
    if workers:
        fresh("-pxdist", "-n1", "--xsched-device=sim", *files)
    else:
        sim(*files)

    (search,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["searches"]
    assert [target["status"] for target in search["targets"]] == ["PASS", "FAIL"]
    assert search["tried"] == 10 and search["value"] >= 0.9 * search["highest"] > 1
    text = (pytester.path / "out.html").read_text()
    assert "<h1>1 missed, of 2 targets</h1>" in text
    shown = words(text)
    assert f"Worst case of max/alone of high: {search['value']:.4g}" in shown
    assert f"Tried: 10 mixes, whose median is {search['median']:.4g}." in shown
    assert "not below 1.01" in shown and search["scenario"].split("(")[0] in shown
    (section,) = re.findall(r'<section id="search-1".*?</section>', text, re.DOTALL)
    assert "pytest " in section and "::test_bounded" in section  # the command to run it again

    code, out, _ = report("out.json", "-o", "again.html")
    assert (code, out) == (ExitCode.OK, "again.html: 1 search of 1 file\n")
    assert (pytester.path / "again.html").read_text() == text


CLAIM = {
    "claim": "highest first",
    "definition": "A lower queue <b>waits</b>.",
    "status": "failed",
    "looked": 7,
    "unit": "scenario",
    "failing": 2,
    "sentence": "low launched at 3 ms",
    "reproduced": 3,
    "repeats": 3,
    "python": "Scenario(queues=())",
    "file": "/kept.json",
}
OTHER = {"claim": "in order", "definition": "All.", "looked": 9, "unit": "scenario"}


def conformance_file(path, *, claims=(CLAIM, {**OTHER, "status": "holds"}), checked=True, **more):
    costs = {"said": ["at rest: 4 threads & no processor"]} if checked else None
    policy = {
        **{"scheduler": "builtin", "policy": "hpf", "definition": "Highest priority first."},
        **{"scenarios": 9, "runs": 11, "seconds": 0.5, "checked": checked},
        "claims": list(claims),
        "costs": costs,
    }
    facts = {"format": 1, "home": None, "device": None, "seed": 3, "interrupted": False}
    content = {**facts, "ok": False, "seconds": 0.5, "policies": [policy], **more}
    path.write_text(json.dumps(content))


def test_the_findings_of_conformance_are_a_page_alone_and_next_to_runs(load, sim, pytester, report):
    conformance_file(pytester.path / "policies.json")
    code, out, err = report("policies.json", "-o", "page.html")
    assert (code, out, err) == (ExitCode.OK, "page.html: 1 policy of 1 file\n", "")
    text = (pytester.path / "page.html").read_text()
    assert "<h1>1 rule of 1 policy is broken</h1>" in text
    shown = words(text)
    assert "FAILED highest first: low launched at 3 ms claimed: A lower queue &lt;b&gt;" in shown
    assert "in 2 of 7 scenarios; reproduced in 3 of 3 fresh processes" in shown
    assert "HOLDS in 9 scenarios" in shown and "No target was asserted" not in shown

    load("def test_it(run): run.high.assert_p99_below('1h')")
    sim("--xsched-json=out.json")
    assert report("out.json", "policies.json", "-o", "both.html")[:2] == (
        ExitCode.OK,
        "both.html: 1 run, 1 policy of 2 files\n",
    )
    text = (pytester.path / "both.html").read_text()
    assert "<h1>The target is met; 1 rule of 1 policy is broken</h1>" in text
    assert 'id="conformance-1"' in text and 'id="run-1"' in text and 'id="machines"' not in text


@pytest.mark.parametrize(
    ("status", "checked", "headline"),
    [
        ("holds", True, "No rule of 1 policy is broken"),
        ("unseen", False, "No rule of 1 policy is broken, 1 was not checked"),
        ("once", True, "No rule of 1 policy is broken"),
    ],
)
def test_policies_without_a_finding(pytester, report, status, checked, headline):
    claim = {**OTHER, "status": status, "shown": {"threshold": 2, "off means off": 0}}
    if status == "once":
        claim = {**CLAIM, "status": "once"}
    conformance_file(pytester.path / "policies.json", claims=[claim], checked=checked)
    assert report("policies.json", "-o", "page.html")[0] == ExitCode.OK
    text = (pytester.path / "page.html").read_text()
    assert f"<h1>{headline}</h1>" in text and status.upper() in words(text)
    assert ("at rest: 4 threads &amp; no processor" in words(text)) == checked
    sentence = "in 9 scenarios: threshold 2; unseen: off means off"
    assert (sentence in words(text)) == (status == "holds")


def test_what_the_command_writes_is_what_the_page_reads(pytester, report, capsys, monkeypatch):
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    assert main(["conformance", "hpf", "--json", "--budget=1us"]) == ExitCode.UNDECIDED
    (pytester.path / "policies.json").write_text(capsys.readouterr().out)
    assert report("policies.json", "-o", "page.html")[0] == ExitCode.OK
    text = (pytester.path / "page.html").read_text()
    assert "1 was not checked" in text
    assert "earliest first only policies that order queues by deadline keep it" in words(text)


def test_a_file_of_conformance_of_another_format_is_one_sentence(pytester, report):
    conformance_file(pytester.path / "policies.json", format=99)
    code, _, err = report("policies.json", "-o", "page.html")
    assert code == ExitCode.USAGE
    assert err == (
        "pytest-xsched: policies.json: not what `pytest-xsched conformance --json` writes "
        "(ValueError: format 99); write it again\n"
    )

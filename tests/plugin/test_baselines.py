"""--xsched-save and --xsched-compare: files, report, exit codes of their own."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from pytest_xsched.comparison.stored_line import figures, sealed
from pytest_xsched.scenario.scenario import Scenario

XML = "--junitxml=junit.xml"
BODY = """
    def test_it(run):
        run.high.assert_p99_below("{limit}")
    """


@pytest.fixture
def lines(pytester):
    """Reads the lines of a baseline."""

    def read(name="main", directory=".xsched"):
        path = pytester.path / directory / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    return read


@pytest.fixture
def properties(pytester):
    """Reads the properties of the JUnit file that belong to no test: names and values."""

    def read():
        suite = ElementTree.parse(pytester.path / "junit.xml").getroot().find("testsuite")
        found = suite.findall("./properties/property")
        return [(item.get("name"), item.get("value")) for item in found]

    return read


def test_save_and_compare(load, sim, pytester, lines, properties):
    load(BODY.format(limit="1h"))

    first = sim("--xsched-save=main")
    assert first.ret == 0
    first.stdout.fnmatch_lines(["SAVED builtin (hpf) on sim, 15 s, seed 0 is stored in *"])
    (entry,) = lines()
    assert entry["run"]["origin"] == "test_it.py::test_it"
    assert len(list((pytester.path / ".xsched" / "main.samples").glob("*.npz"))) == 1

    second = sim("--xsched-compare=main", "--xsched-save=main", "--xsched-json=out.json", XML)
    assert second.ret == 0
    second.stdout.fnmatch_lines(
        [
            "NO DIFFERENCE SHOWN builtin (hpf) on sim, 15 s, seed 0: high: P99 * ms, the median "
            "of 1 stored run (*): no difference shown",
            "NO DIFFERENCE SHOWN * low: throughput *",
            "SAVED *",
        ]
    )
    high, low, saved = properties()
    assert high[0] == low[0] == "xsched.baseline.no_difference_shown"
    assert saved[0] == "xsched.baseline.saved"
    assert re.fullmatch(
        r"builtin .*: high: P99 .*: no difference shown \[test_it.py::test_it\]", high[1]
    )
    assert len(lines()) == 2
    assert lines()[0] == entry
    content = json.loads((pytester.path / "out.json").read_text())["xsched"]["baselines"]
    assert [found["status"] for found in content] == ["no difference shown"] * 2 + ["saved"]

    # Another seed is another draw of the same load; another scheduler is another baseline.
    assert sim("--xsched-compare=main", "--xsched-seed=3").ret == 0
    assert sim("--xsched-compare=main", "--xsched-scheduler=native").ret == 8


def test_another_driver_has_an_exit_code_of_its_own(load, sim, pytester, lines):
    load(BODY.format(limit="1h"))
    assert sim("--xsched-save=main").ret == 0
    path = pytester.path / ".xsched" / "main.jsonl"
    (entry,) = lines()
    entry["run"]["fingerprint"]["devices"][0]["driver_version"] = "12.0"
    path.write_text(json.dumps(sealed(entry)) + "\n")

    result = sim("--xsched-compare=main")

    assert result.ret == 8
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "NOT APPLICABLE baseline not applicable to builtin (hpf) on sim, 15 s, seed 0: "
            'devices.0.driver_version: "12.0" against nothing'
        ]
    )


def test_no_baseline(load, sim):
    load(BODY.format(limit="1h"))
    result = sim("--xsched-compare=main")
    assert result.ret == 8
    result.stdout.fnmatch_lines(["NO BASELINE no baseline for builtin (hpf) on sim, *"])


def test_a_queue_that_became_saturated_is_not_green(load, sim, pytester, lines):
    load("""
        def test_it(xsched):
            xsched.run(xsched.queue("high", spin("60ms"), rate="20/s"), duration="15s")
        """)
    assert sim("--xsched-save=main").ret == 0
    neither = sim("--xsched-compare=main")
    assert neither.ret == 8
    neither.stdout.fnmatch_lines(
        [
            "NOT COMPARED *: high is not compared: high is saturated: *; "
            "no stored run has its P99 either"
        ]
    )

    (entry,) = lines()
    entry["run"]["evidence"]["queue_faults"]["high"] = []
    (pytester.path / ".xsched" / "main.jsonl").write_text(json.dumps(sealed(entry)) + "\n")
    became = sim("--xsched-compare=main", XML)
    assert became.ret == 8
    became.assert_outcomes(passed=1)
    became.stdout.fnmatch_lines(
        ["NOT COMPARED *: high is not compared: high is saturated: *; 1 stored run has its P99"]
    )
    assert 'name="xsched.baseline.not_compared"' in (pytester.path / "junit.xml").read_text()


def test_another_duration_is_named(load, sim):
    load("def test_it(xsched, load): xsched.run(*load)")
    assert sim("--xsched-save=main", "--xsched-duration=15s").ret == 0
    result = sim("--xsched-compare=main", "--xsched-duration=16s")
    assert result.ret == 8
    result.stdout.fnmatch_lines(
        [
            "NO BASELINE *main.jsonl: the nearest stored run differs in duration_ns: 15000000000 "
            "against 16000000000"
        ]
    )


def test_a_missed_target_is_a_failure_in_any_case(load, sim):
    load(BODY.format(limit="1us"))
    assert sim("--xsched-compare=main").ret == 1


def as_if_faster(directory, entry, key):
    """Store the run of an entry once more, with all latencies of its first queue halved."""
    with np.load(directory / "main.samples" / f"{entry['id']}.npz") as file:
        samples = dict(file)
    entry = copy.deepcopy(entry)
    (high, *_) = entry["run"]["queues"]
    of_high = samples[high["name"]]
    of_high["completed_ns"] -= (of_high["completed_ns"] - of_high["scheduled_ns"]) // 2
    data = io.BytesIO()
    np.savez(data, **samples)
    (directory / "main.samples" / f"{key}.npz").write_bytes(data.getvalue())
    (spec, *_) = Scenario.from_dict(entry["run"]["scenario"]).queues
    high |= figures(spec, of_high, entry["windows"][high["name"]], high)
    sha256 = hashlib.sha256(data.getvalue()).hexdigest()
    stored = {"bytes": len(data.getvalue()), "sha256": sha256}
    return sealed(entry | {"id": key, "samples": stored})


def test_one_line_with_another_figure_copied_is_not_better(load, sim, pytester, lines):
    load(BODY.format(limit="1h"))
    assert sim("--xsched-save=main").ret == 0
    (entry,) = lines()
    entry["run"]["queues"][0]["p99_ns"] *= 100
    path = pytester.path / ".xsched" / "main.jsonl"
    path.write_text((json.dumps(sealed(entry)) + "\n") * 20)

    result = sim("--xsched-compare=main", "--xsched-json=out.json", XML)

    assert result.ret == 8
    result.stdout.fnmatch_lines(
        ["DAMAGED *line 1 and 19 later lines: each has figures that are not those of its samples*"]
    )
    result.stdout.no_fnmatch_line("BETTER*")


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b'{"format": 2, "id": NaN}', b"9" * 5000, b'{"format": 1e999}', b"\xff\x00"],
    ids=["nested", "nan", "digits", "infinite", "bytes"],
)
def test_a_line_of_anything_costs_neither_summary_nor_files(load, sim, pytester, lines, line):
    load(BODY.format(limit="1h"))
    assert sim("--xsched-save=main").ret == 0
    with open(pytester.path / ".xsched" / "main.jsonl", "ab") as file:
        file.write(line + b"\n")

    result = sim("--xsched-compare=main", "--xsched-json=out.json", XML)

    assert result.ret == 0
    result.stdout.fnmatch_lines(["DAMAGED *, line 2 *; it is left as it is", "NO DIFFERENCE *"])
    assert json.loads((pytester.path / "out.json").read_text())["xsched"]["baselines"]
    assert 'name="xsched.baseline.damaged"' in (pytester.path / "junit.xml").read_text()


def test_a_full_disk_is_one_sentence_and_the_baseline_stays_whole(load, fresh, pytester, lines):
    """The limit of a file's size stands for the disk: samples fit, the line does not."""
    load(BODY.format(limit="1h"))
    assert fresh("--xsched-device=sim", "--xsched-save=main").ret == 0
    path = pytester.path / ".xsched" / "main.jsonl"
    before, files = path.read_bytes(), len(list((pytester.path / ".xsched").rglob("*")))
    pytester.makeconftest(f"""
        import resource
        limit = {len(before)} + 3000
        def pytest_runtest_teardown():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        """)

    result = fresh("--xsched-device=sim", "--xsched-save=main")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED baselines: * is not stored: *File too large*"])
    assert path.read_bytes() == before
    assert len(list((pytester.path / ".xsched").rglob("*"))) == files


def test_worse(load, sim, pytester, lines):
    load(BODY.format(limit="1h"))
    assert sim("--xsched-save=main").ret == 0
    (entry,) = lines()
    faster = [as_if_faster(pytester.path / ".xsched", entry, f"faster-{i}") for i in range(19)]
    path = pytester.path / ".xsched" / "main.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in faster))

    result = sim("--xsched-compare=main")

    assert result.ret == 1
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["WORSE builtin (hpf) on sim, * of 19 stored runs (*): worse"])


def test_a_damaged_file_is_reported_and_kept(load, sim, pytester):
    load(BODY.format(limit="1h"))
    assert sim("--xsched-save=main").ret == 0
    path = pytester.path / ".xsched" / "main.jsonl"
    damaged = path.read_bytes()[:-200]
    path.write_bytes(damaged)

    result = sim("--xsched-compare=main", "--xsched-save=main")

    assert result.ret == 8
    result.stdout.fnmatch_lines(["DAMAGED */main.jsonl, line 1 cannot be read (*); it is left as*"])
    assert path.read_bytes().startswith(damaged + b"\n")


def test_workers_save_and_compare(load, fresh, pytester, lines, properties):
    for name in "abcd":
        load(BODY.format(limit="1h"), name=f"test_{name}")
    args = ("-pxdist", "-n2", "--dist=loadfile", "--xsched-device=sim")

    assert fresh(*args, "--xsched-save=main").ret == 0
    assert len(lines()) == 4
    result = fresh(*args, "--xsched-compare=main", XML)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["NO DIFFERENCE SHOWN *"])
    assert len(properties()) == 8  # of two queues each
    assert {name for name, _ in properties()} == {"xsched.baseline.no_difference_shown"}
    assert fresh(*args, "--xsched-compare=other").ret == 8


def test_directory(load, sim, pytester, lines):
    load(BODY.format(limit="1h"))
    pytester.mkdir("kept")
    pytester.makeini("[pytest]\nxsched_baselines = kept/here")
    assert sim("--xsched-save=v1.0").ret == 0
    assert len(lines("v1.0", "kept/here")) == 1


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "a b"])
@pytest.mark.parametrize("option", ["save", "compare"])
def test_wrong_names(load, sim, name, option):
    load(BODY.format(limit="1h"))
    result = sim(f"--xsched-{option}={name}")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: --xsched-{option}: {name!r} is not a name of letters, *"])


@pytest.mark.parametrize("share", ["100%", "1"])
def test_a_margin_that_no_throughput_can_miss_is_refused(load, sim, share):
    load(BODY.format(limit="1h"))
    result = sim("--xsched-compare=main", f"--xsched-regression={share}")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*--xsched-regression: '{share}' finds no throughput too low*"])


def test_a_margin_that_compares_with_nothing_is_a_usage_error(load, sim):
    load(BODY.format(limit="1h"))
    result = sim("--xsched-regression=20%")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--xsched-regression=20% alone compares nothing*"])
    sim("-o", "xsched_regression=20%").assert_outcomes(passed=1)  # for sessions that compare


def test_it_cannot_be_written(load, sim, pytester):
    load(BODY.format(limit="1h"))
    (pytester.path / ".xsched").mkdir()
    (pytester.path / ".xsched" / "main.samples").write_text("")
    result = sim("--xsched-save=main")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED baselines: *File exists: *"])


@pytest.mark.parametrize(
    "body", ["pytest.skip('no model here')", "xsched.compare(*load, duration='1s')"]
)
def test_a_session_without_a_run_to_compare_is_not_green(load, sim, properties, body):
    load(f"def test_it(xsched, load): {body}")
    result = sim("--xsched-compare=main", XML)
    assert result.ret == 8
    result.stdout.fnmatch_lines(["NOT COMPARED nothing was compared with the baseline 'main': *"])
    ((name, _),) = properties()
    assert name == "xsched.baseline.not_compared"


def test_tests_that_measure_nothing_need_no_baseline(load, sim):
    load("def test_it(): pass")
    assert sim("--xsched-compare=main").ret == 0


@pytest.mark.parametrize(
    "body",
    [
        """
        assert run.high.p99 < "1us"
        """,
        """
        with pytest.raises(AssertionError):
            assert run.high.p99 < "1us"
        """,
    ],
    ids=["failed", "expected"],
)
def test_a_run_that_missed_a_plain_comparison_is_no_baseline(load, sim, lines, body):
    load(f"""
    def test_it(run):{body}
    def test_other(xsched, load):
        xsched.run(*load, duration="16s").high.assert_p99_below("1h")
    """)
    sim("--xsched-save=main").stdout.fnmatch_lines(
        ["NOT SAVED builtin (hpf) on sim, 15 s, * it missed a target: assert * < '1us'"]
    )
    assert [entry["run"]["scenario"]["duration_ns"] for entry in lines()] == [16 * 10**9]

"""The hooks for other plugins: what they receive, and that an error in one loses nothing."""

from __future__ import annotations

import json

import pytest

TESTS = """
    def test_met(run):
        run.high.assert_p99_below("1h")
        run.low.assert_throughput_at_least("1/s")

    def test_missed(run):
        run.high.assert_p99_below("1us")

    def test_without_evidence(xsched):
        run = xsched.run(xsched.queue("high", spin("20ms"), rate="100/s"), duration="5s")
        run.high.assert_p99_below("1h")

    def test_nothing_measured():
        pass
    """

KEEPING = """
    import json

    def where(config):
        return "worker" if hasattr(config, "workerinput") else "controller"

    def keep(*facts):
        with open("kept.jsonl", "a") as file:
            file.write(json.dumps(facts) + "\\n")

    def pytest_xsched_environment(config):
        keep("environment", where(config))
        return {"image": "ci-7"}

    def pytest_xsched_verdict(item, report, verdict, run):
        keep("verdict", item.nodeid, report.when, report.outcome, verdict["status"],
             verdict["sentence"], verdict["nodeid"], len(run["verdicts"]),
             where(item.config))

    def pytest_xsched_run(config, run):
        keep("run", [v["status"] for v in run["verdicts"]], [n["nodeid"] for n in run["refused"]],
             where(config))
        run.clear()
    """


@pytest.fixture
def kept(pytester):
    """Gives what the hooks of KEEPING have kept, by name of the hook."""
    pytester.makeconftest(KEEPING)

    def read(name):
        lines = (pytester.path / "kept.jsonl").read_text().splitlines()
        return [rest for which, *rest in map(json.loads, lines) if which == name]

    return read


def test_each_verdict_reaches_its_hook_after_the_phase_that_asserted_it(load, sim, kept):
    load(TESTS)

    assert sim().ret == 1

    met, missed, without = (
        f"test_it.py::test_{name}" for name in ("met", "missed", "without_evidence")
    )
    assert [one[:4] + one[5:] for one in kept("verdict")] == [
        [met, "call", "passed", "PASS", met, 2, "controller"],
        [met, "call", "passed", "PASS", met, 2, "controller"],
        [missed, "call", "failed", "FAIL", missed, 3, "controller"],
        [without, "call", "failed", "NO VERDICT", without, 0, "controller"],
    ]


def test_each_run_reaches_its_hook_once_with_all_verdicts_and_a_copy(load, sim, kept, pytester):
    load(TESTS)

    sim("--xsched-json=out.json")

    assert kept("run") == [
        [["PASS", "PASS", "FAIL"], [], "controller"],
        [[], ["test_it.py::test_without_evidence"], "controller"],
    ]
    document = json.loads((pytester.path / "out.json").read_text())["xsched"]
    assert [len(run["verdicts"]) for run in document["runs"]] == [3, 0]
    assert kept("environment") == [["controller"]]
    assert document["environment"] == {"image": "ci-7"}


def test_a_comparison_reaches_the_hook_too(load, sim, kept, pytester):
    load("""
        def test_it(xsched, load):
            xsched.compare(*load, duration="15s").high.assert_p99_improved(by=1.0)
        """)
    sim()
    assert [one[1:4] for one in kept("verdict")] == [["call", "failed", "FAIL"]]
    assert len(kept("run")) == 1


def test_under_xdist_runs_reach_the_controller_and_verdicts_the_worker(load, fresh, kept):
    load(TESTS)

    fresh("-pxdist", "-n1", "--xsched-device=sim")

    assert sorted(one[-1] for one in kept("run")) == ["controller", "controller"]
    assert kept("environment") == [["controller"]]
    assert [one[-1] for one in kept("verdict")] == ["worker"] * 4


def test_no_hook_is_called_where_nothing_was_measured(pytester, sim):
    pytester.makeconftest(KEEPING)
    pytester.makepyfile("def test_it(): pass")
    assert sim().ret == 0
    assert not (pytester.path / "kept.jsonl").exists()


RAISING = """
    import pytest

    def pytest_xsched_environment(config):
        raise ValueError("no network")

    def pytest_xsched_verdict(item, report, verdict, run):
        pytest.fail("no verdict wanted")

    def pytest_xsched_run(config, run):
        def push(run):
            return run["no such key"]
        push(run)
    """


def raised(result):
    result.stdout.fnmatch_lines_random(
        [
            "pytest_xsched_verdict at conftest.py:7 raised Failed: no verdict wanted; no result is "
            "lost",
            "pytest_xsched_environment at conftest.py:4 raised ValueError: no network; no result "
            "is lost",
            "pytest_xsched_run at conftest.py:12 raised KeyError: 'no such key'; no result is lost",
        ]
    )


@pytest.mark.parametrize("workers", [False, True], ids=["alone", "xdist"])
def test_a_hook_that_raises_loses_no_result_and_is_reported(load, sim, fresh, pytester, workers):
    pytester.makeconftest(RAISING)
    load("""
        def test_met(run):
            run.high.assert_p99_below("1h")
        """)
    files = "--xsched-json=out.json"

    result = fresh("-pxdist", "-n1", "--xsched-device=sim", files) if workers else sim(files)

    result.assert_outcomes(passed=1)
    assert result.ret == 1
    raised(result)
    (run,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    assert [verdict["status"] for verdict in run["verdicts"]] == ["PASS"]


@pytest.mark.parametrize("value", ["['image']", "{'image': 7}", "{7: 'image'}"])
def test_facts_that_are_no_texts_are_left_out_and_reported(load, sim, pytester, value):
    pytester.makeconftest(f"def pytest_xsched_environment(): return {value}")
    load("def test_it(run): run.high.assert_p99_below('1h')")

    result = sim("--xsched-json=out.json")

    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [f"pytest_xsched_environment returned {value.replace('[', '[[]')}, which is not a *"]
    )
    document = json.loads((pytester.path / "out.json").read_text())["xsched"]
    assert document["environment"] == {} and len(document["runs"]) == 1


def test_a_hook_whose_name_or_arguments_are_wrong_is_a_usage_error(load, sim, pytester):
    pytester.makeconftest("def pytest_xsched_run(config, result): pass")
    load("def test_it(run): pass")
    assert sim().ret != 0

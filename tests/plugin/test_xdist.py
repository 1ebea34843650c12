"""Under xdist: nothing is lost on the way from the workers, the exit code least of all."""

from __future__ import annotations

import json

import pytest

TWO_FILES = """
    def test_met(run):
        run.high.assert_throughput_at_least("20/s")

    def test_missed(run):
        run.high.assert_p99_below("1us")
    """


@pytest.fixture
def two_workers(fresh):
    """Runs pytest on the device sim with two workers, one file each."""

    def run(*args):
        return fresh("-pxdist", "-n2", "--dist=loadfile", "--xsched-device=sim", *args)

    return run


def test_runs_of_both_workers_are_reported(load, two_workers, pytester):
    load(TWO_FILES, name="test_a")
    load(TWO_FILES, name="test_b")

    result = two_workers("--xsched-json=out.json", "--junitxml=junit.xml")

    result.assert_outcomes(passed=2, failed=2)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "E *TargetMissed: high: P99 * ms is not below 1 us *",
            "*- xsched run -*",
            "*= xsched =*",
            "builtin (hpf) on sim, 15 s, seed 0",
            "  FAIL high: P99 *",
            "builtin (hpf) on sim, 15 s, seed 0",
            "  FAIL high: P99 *",
        ]
    )
    result.stdout.fnmatch_lines_random(
        [
            "  FAIL high: P99 * [[]test_a.py::test_missed]",
            "  FAIL high: P99 * [[]test_b.py::test_missed]",
            "  PASS high: throughput * [[]test_a.py::test_met]",
            "  PASS high: throughput * [[]test_b.py::test_met]",
        ]
    )
    # Each worker measured once, each run has the verdicts of its own file.
    runs = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    nodeids = [[verdict["nodeid"] for verdict in run["verdicts"]] for run in runs]
    assert sorted(nodeids) == [
        [f"test_{file}.py::test_met", f"test_{file}.py::test_missed"] for file in "ab"
    ]
    assert not list(pytester.path.glob("*.partial"))

    junit = (pytester.path / "junit.xml").read_text()
    assert junit.count('name="xsched.high.p99_below.status" value="FAIL"') == 2
    assert junit.count('name="xsched.high.throughput_at_least.status" value="PASS"') == 2


def test_only_builtin_types_leave_a_worker(load, two_workers, pytester):
    pytester.makeconftest("""
        def pytest_runtest_logreport(report):
            for name, value in report.user_properties:
                assert type(name) is str and type(value) in (str, int, float), (name, value)
        """)
    load("""
        def test_finite(run):
            run.high.assert_p99_below("1h")
            run.high.assert_tail_ratio_below(100)
            run.high.assert_throughput_at_least("20/s")
            run.high.assert_attainment_at_least("1h", 1)
            run.high.assert_no_errors()

        def test_never(xsched, load):
            late = xsched.queue("late", spin("50ms"), arrivals=replay(["0s", ".1s", ".2s", ".99s"]))
            run = xsched.run(late, duration="1s", drain="0s")
            assert run.late.censored == 1
            run.late.assert_max_below("1h")
        """)

    result = two_workers("--junitxml=junit.xml")

    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == 1
    assert 'name="xsched.late.max_below.value" value="never"' in (
        (pytester.path / "junit.xml").read_text()
    )


def test_passing_runs_are_summed_up_too(load, two_workers):
    load(TWO_FILES.replace("1us", "1h"), name="test_a")
    load(TWO_FILES.replace("1us", "1h"), name="test_b")

    result = two_workers()

    result.assert_outcomes(passed=4)
    assert result.ret == 0
    assert str(result.stdout).count("  PASS high: P99 ") == 2


def test_usage_errors_of_a_marker(load, two_workers):
    load("""
        @pytest.mark.xsched(sheduler="native")
        def test_it(): pass
        """)

    result = two_workers()

    assert result.ret not in (0, 5)
    assert "@pytest.mark.xsched does not take sheduler" in str(result.stdout) + str(result.stderr)


def test_usage_errors_of_an_option(load, two_workers):
    load("def test_it(run): pass")

    result = two_workers("--xsched-scheduler=fair")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        "ERROR: --xsched-scheduler: 'fair' is unknown; known: native, priority, builtin, xsched, "
        "time-slicing, mps"
    ]

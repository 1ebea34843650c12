"""A verdict belongs to all that its run measured: what falls later fails the session."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

# Every window after the first runs on a device whose launches take 30 ms more.
SLOWER_LATER = """
    import dataclasses
    from pytest_xsched import SimModel
    from pytest_xsched.session import adaptive

    as_it_is = adaptive.window

    def slower(scenario, index, duration_ns):
        made = as_it_is(scenario, index, duration_ns)
        return dataclasses.replace(made, sim=SimModel(launch_ns=30_000_000)) if index else made

    adaptive.window = slower

    def pytest_unconfigure():
        adaptive.window = as_it_is
    """
P99 = 'def test_p99(run200): run200.high.assert_p99_below("12ms")\n'
P999 = 'def test_p999(run200): run200.high.assert_percentile_below(0.999, "10s")\n'
# The claim about both arms is made before one of them measures on.
TWO_ARMS = """
@pytest.fixture(scope="module")
def arms(xsched):
    high = xsched.queue("high", spin("1ms"), rate="20/s")
    return [
        [xsched.run(high, duration="60s", scheduler=one, seed=seed) for seed in range(7)]
        for one in ("native", "builtin")
    ]

def test_no_worse(xsched, arms):
    xsched.compare_runs(*arms).high.assert_no_worse(q=0.5)

def test_all(arms):
    for run in arms[1]:
        run.high.assert_max_below("10s")
"""
ORDERS = pytest.mark.parametrize("tests", [P99 + P999, P999 + P99], ids=["early", "late"])


@pytest.fixture
def slower(pytester, load):
    def write(tests, name="test_it"):
        pytester.makeconftest(SLOWER_LATER)
        start = """
@pytest.fixture(scope="module")
def run200(xsched):
    return xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="200s")

"""
        load(start + tests, name=name)

    return write


def outcomes(path):
    """Names and whether they failed, of all test cases of a JUnit file; and its totals."""
    (suite,) = ElementTree.parse(path).getroot().iter("testsuite")
    cases = list(suite.iter("testcase"))
    assert int(suite.get("tests")) == len(cases)
    failed = {case.get("name") for case in cases if case.find("failure") is not None}
    assert int(suite.get("failures")) == len(failed)
    return {case.get("name"): case.get("name") in failed for case in cases}


@ORDERS
def test_the_order_of_tests_decides_nothing(slower, sim, pytester, tests):
    slower(tests)

    result = sim("--xsched-json=out.json", "--junitxml=junit.xml")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert outcomes(pytester.path / "junit.xml") == {"test_p99": True, "test_p999": False}
    (run,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    verdicts = {v["rule"]: v for v in run["verdicts"]}
    assert {rule: v["status"] for rule, v in verdicts.items()} == {
        "P99 below": "FAIL",
        "P99.9 below": "PASS",
    }
    (queue,) = run["queues"]
    assert verdicts["P99 below"]["value"] == queue["p99_ns"] > 12e6
    assert verdicts["P99 below"]["n"] == queue["n"]


def test_the_report_says_what_fell(slower, sim):
    slower(P99 + P999)

    result = sim()

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*= FAILURES =*",
            "*_ test_p99 _*",
            "the verdict did not stand: high: P99 * ms is not below 12 ms (*); high ran alone; "
            "missed in the 163 s of 200 s that were measured; it was PASS at n = 300, before later "
            "targets measured on; limit of test_it.py:*",
            "*- xsched run -*",
            "*- to run it again -*",
            "pytest test_it.py::test_p99 *",
            "*= xsched =*",
            "  FAIL high: P99 * is not below 12 ms *; it was PASS at n = 300, before *",
            "  PASS high: P99.9 * is below 10 s *",
            "FAILED test_it.py::test_p99*",
        ]
    )
    assert "  PASS high: P99 " not in str(result.stdout)


@ORDERS
def test_under_xdist(slower, fresh, pytester, tests):
    slower(tests, name="test_a")
    slower(tests, name="test_b")

    result = fresh(
        "-pxdist", "-n2", "--dist=loadfile", "--xsched-device=sim", "--junitxml=junit.xml"
    )

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=2, passed=2)
    (suite,) = ElementTree.parse(pytester.path / "junit.xml").getroot().iter("testsuite")
    failed = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    assert sorted(case.get("classname") for case in failed) == ["test_a", "test_b"]
    assert {case.get("name") for case in failed} == {"test_p99"}
    assert int(suite.get("failures")) == 2


def test_one_test_with_two_targets(slower, sim):
    """The second assertion of a test measures on, so the first is judged again after it."""
    slower("""
def test_both(run200):
    run200.high.assert_p99_below("12ms")
    run200.high.assert_percentile_below(0.999, "10s")
""")
    result = sim()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)


def test_a_target_that_was_missed_stays_missed(load, sim, pytester):
    """A FAIL that the rest of the run would not confirm stays what it was."""
    pytester.makeconftest(SLOWER_LATER.replace("if index else made", "if not index else made"))
    load("""
        @pytest.fixture(scope="module")
        def loop(xsched):
            return xsched.run(xsched.queue("low", spin("1ms")), duration="60s")

        def test_rate(loop): loop.low.assert_throughput_at_least("100/s")
        def test_all(loop): loop.low.assert_max_below("10s")
        """)
    result = sim()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["  FAIL low: throughput *; at n = * it would be UNDECIDED, which excuses nothing *"]
    )


@pytest.mark.parametrize(("undecided", "status"), [("fail", 1), ("warn", 0)])
def test_a_pass_that_becomes_undecided(slower, sim, undecided, status):
    """Where the rest of the run leaves it open, the option decides as it does at the assertion."""
    slower('def test_p50(run200): run200.high.assert_percentile_below(0.5, "12ms")\n' + P999)
    result = sim(f"--xsched-undecided={undecided}")
    assert result.ret == status
    result.assert_outcomes(failed=status, passed=2 - status)
    result.stdout.fnmatch_lines(["  UNDECIDED high: P50 *; it was PASS at n = 300, before *"])


def test_a_test_that_failed_anyway_fails_once(slower, sim):
    slower(
        """
def test_p99(run200):
    run200.high.assert_p99_below("12ms")
    assert False

"""
        + P999
    )
    result = sim()
    result.assert_outcomes(failed=1, passed=1)


def test_a_run_whose_verdict_fell_is_no_baseline(slower, sim, pytester):
    slower(P99 + P999)
    result = sim("--xsched-save=main", "--xsched-baselines=kept")
    result.stdout.fnmatch_lines(["NOT SAVED * is not stored: it missed a target: high: P99 *"])
    assert not list((pytester.path / "kept").rglob("*.jsonl"))


def test_a_kept_baseline_has_the_final_verdicts(slower, sim, pytester):
    slower(P999 + P99.replace("12ms", "1s"))
    sim("--xsched-save=main", "--xsched-baselines=kept")
    slower(P99.replace("12ms", "1s") + P999)
    sim("--xsched-save=main", "--xsched-baselines=kept")
    entries = [
        json.loads(line)
        for file in (pytester.path / "kept").rglob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    first, second = (
        {v["rule"]: (v["status"], v["n"]) for v in entry["run"]["verdicts"]} for entry in entries
    )
    assert first == second
    assert set(first) == {"P99 below", "P99.9 below"}


def test_a_verdict_on_a_run_that_a_later_window_spoils(slower, sim, pytester):
    """The later target has no verdict, and the earlier one loses its own."""
    slower(P99.replace("12ms", "1s") + P999)
    pytester.makeconftest("""
        from pytest_xsched.session import adaptive

        as_it_is, calls = adaptive._others, []

        def spoiled(*args):
            calls.append(1)
            return as_it_is(*args) if len(calls) == 1 else ["high: all is wrong"]

        adaptive._others = spoiled

        def pytest_unconfigure():
            adaptive._others = as_it_is
        """)

    result = sim("--xsched-json=out.json", "--junitxml=junit.xml")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["  NO VERDICT high: no verdict on P99 below: high: all is wrong; it was PASS at n = 300*"]
    )
    (run,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    assert run["verdicts"] == []
    assert {no["nodeid"] for no in run["refused"]} == {
        "test_it.py::test_p99",
        "test_it.py::test_p999",
    }


def test_a_comparison_of_runs_that_measure_on(slower, sim, pytester):
    """Claims about existing runs are judged again, too: the runs got slower after them."""
    slower(TWO_ARMS)

    result = sim("--xsched-json=out.json")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ test_no_worse _*",
            "the verdict did not stand: high: P50 * may or may not be at most 1.1 *; it was PASS *",
            "*- xsched comparison -*",
        ]
    )
    document = json.loads((pytester.path / "out.json").read_text())["xsched"]
    (comparison,) = document["comparisons"]
    assert [v["status"] for v in comparison["verdicts"]] == ["UNDECIDED"]
    runs = [document["runs"][place] for place in comparison["arms"]["builtin"]]
    assert {run["windows"] for run in runs} != {1}
    assert runs[0]["verdicts"][0]["status"] == "PASS"


@pytest.fixture
def again(pytester, alone):
    """Runs pytest on the device sim with its cache, as users do."""

    def run(*args, process=False):
        how = pytester.runpytest_subprocess if process else pytester.runpytest_inprocess
        return how("-Werror", "-pxsched", "--xsched-device=sim", *args)

    return run


def test_a_test_whose_pass_was_withdrawn_does_not_pass_alone_with_lf(slower, again, pytester):
    slower(P99 + P999)
    again().assert_outcomes(failed=1, passed=1)

    for _ in range(2):
        result = again("--lf")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["  FAIL high: P99 * missed in the 33 s of 200 s *"])

    (pytester.path / "conftest.py").unlink()  # the device is as fast as before
    result = again("--lf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  PASS high: P99 * held in the 163 s of 200 s *"])
    only = again("test_it.py::test_p99")  # it stood, so nothing is remembered
    only.stdout.fnmatch_lines(["  PASS high: P99 * held in the 15 s of 200 s *"])


def test_a_withdrawn_pass_of_an_xdist_worker_does_not_pass_alone_with_lf(slower, again):
    slower(P99 + P999)
    xdist = ("-pxdist", "-n2", "--dist=loadfile")
    again(*xdist, process=True).assert_outcomes(failed=1, passed=1)
    assert again(*xdist, "--lf", process=True).ret == pytest.ExitCode.TESTS_FAILED
    assert again("--lf").ret == pytest.ExitCode.TESTS_FAILED


def test_a_withdrawn_claim_about_runs_does_not_pass_alone_with_lf(slower, again):
    slower(
        TWO_ARMS
        + """    for run in arms[0][:1]:
        run.high.assert_max_below("10s")
"""
    )
    again().assert_outcomes(failed=1, passed=1)
    # All arms are now as long as the longest was, and native got slower, too.
    result = again("--lf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["builtin compared with native, 7 episodes of 60 s each on sim"])


def test_without_pytests_cache_nothing_is_kept(slower, again):
    slower(P99 + P999)
    again("-pno:cacheprovider").assert_outcomes(failed=1, passed=1)
    result = again("-pno:cacheprovider")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["pytest test_it.py::test_p99 * -o xsched_fixed_duration=yes"])


@pytest.mark.parametrize("scope", ["module", "session"])
def test_a_run_that_two_workers_measured_is_named(slower, again, pytester, scope):
    slower(P99 + P999)
    file = pytester.path / "test_it.py"
    file.write_text(file.read_text().replace('scope="module"', f'scope="{scope}"'))

    result = again("-pxdist", "-n2", process=True)

    result.assert_outcomes(passed=2)
    way_out = {
        "module": "--dist loadfile makes it one run",
        "session": "one @pytest.mark.xdist_group on these tests and --dist loadgroup make it one",
    }
    result.stdout.fnmatch_lines(
        [
            "! 2 processes measured the run of the fixture test_it.py::run200, for 15 s and 163 s: "
            f"a verdict holds for the run of its own process only; {way_out[scope]}*"
        ]
    )
    one = again("-pxdist", "-n2", "--dist=loadfile", process=True)
    one.stdout.no_fnmatch_line("*processes measured*")

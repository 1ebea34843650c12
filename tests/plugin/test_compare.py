"""`xsched.compare` in a test file: report, JUnit, JSON, xdist, exit codes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest


@pytest.fixture
def comparison(load):
    """Writes a test file with a comparison on a device whose streams have no priority."""

    def write(body, name="test_it"):
        start = """
@pytest.fixture(scope="session")
def comparison(xsched):
    high = xsched.queue("high", spin("1ms"), priority=10, arrivals=poisson("20/s"))
    low = xsched.queue("low", spin("5ms", layers=4), priority=1)
    return xsched.compare(
        high, low, arms=["alone"], episodes=6, duration="15s", sim=SimModel(priority=False)
    )
"""
        lines = [line.removeprefix(" " * 8) for line in body.splitlines()]
        return load(start + "\n".join(lines), name=name)

    return write


CLAIMS = """
        def test_improved(comparison):
            comparison.high.assert_p99_improved(by=2)
            comparison.low.assert_best_effort_kept(0.9)
            assert 0.5 < float(comparison.high.contention_removed(0.99)) < 1

        def test_missed(comparison):
            comparison.high.assert_p99_improved(by=100)
        """


def test_report_junit_and_json(comparison, sim, pytester):
    comparison(CLAIMS)

    result = sim("--xsched-json=out.json", "--junitxml=junit.xml")

    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *TargetMissed: high: P99 of native / builtin * is not at least 100 (*, 6 *",
            "*- xsched comparison -*",
            "fixture test_it.py::comparison (session), made for test_it.py::test_improved",
            "builtin compared with native, 6 episodes of 15 s each on sim",
            "  queue  arm * P99 of each episode",
            "  high   high alone  *",
            "         native  *",
            "         builtin  *",
            "         native again  *",
            "  high: P50 of builtin / native 0.* to *; contention removed: * % (*",
            "  high: P99 of builtin / native 0.* to *; contention removed: * % (*",
            "  low: throughput of builtin / native *",
            "*= xsched =*",
            "  the table is in the report of test_it.py::test_missed",
            "  PASS high: P99 of native / builtin * is at least 2 (* [[]test_it.py::test_improved]",
            "  PASS low: throughput under builtin / native * [[]test_it.py::test_improved]",
            "  FAIL high: P99 of native / builtin * [[]test_it.py::test_missed]",
        ]
    )
    # 6 episodes of 5 runs, shown as one comparison and nothing else.
    assert str(result.stdout).count(" on sim, 15 s, seed ") == 0

    content = json.loads((pytester.path / "out.json").read_text())["xsched"]
    assert content["runs"] == []
    (compared,) = content["comparisons"]
    assert list(compared["arms"]) == [
        "high alone",
        "low alone",
        "native",
        "builtin",
        "native again",
    ]
    # One seed an episode, and so one schedule.
    seeds = [[run["scenario"]["seed"] for run in arm] for arm in compared["arms"].values()]
    assert all(of_arm == seeds[0] for of_arm in seeds)
    assert len(set(seeds[0])) == 6
    # On this device equal arms are equal to the byte.
    assert compared["arms"]["native"] == compared["arms"]["native again"]

    cases = ElementTree.parse(pytester.path / "junit.xml").getroot().iter("testcase")
    found = {item.get("name"): item.get("value") for c in cases for item in c.iter("property")}
    assert found["xsched.high.p99_improved_by.status"] == "FAIL"
    assert found["xsched.low.throughput_kept.status"] == "PASS"
    assert found["xsched.high.p99_improved_by.limit"] == "100.0"


def test_force_is_seen_in_report_json_and_junit(load, sim, pytester):
    load("""
        def test_refused(xsched, load):
            def runs(scheduler, duration):
                return [
                    xsched.run(*load, duration=duration, scheduler=scheduler) for _ in range(6)
                ]

            native, builtin = runs("native", "15s"), runs("builtin", "20s")
            with pytest.raises(IncomparableError, match="duration_ns: 15000000000 against"):
                xsched.compare_runs(native, builtin)
            comparison = xsched.compare_runs(native, builtin, force=True)
            comparison.high.assert_no_worse(by="50%")
        """)

    result = sim("--xsched-json=out.json", "--junitxml=junit.xml")

    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "  ! FORCED although the runs differ: duration_ns: 15000000000 against 20000000000",
            "  PASS high: *, FORCED although the runs differ: duration_ns: * [[]test_it*",
        ]
    )
    (compared,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["comparisons"]
    assert compared["forced"] == ["duration_ns: 15000000000 against 20000000000"]
    assert "xsched.high.p99_no_worse_than_forced.status" in (
        (pytester.path / "junit.xml").read_text()
    )


def test_a_saturated_baseline_is_an_error(load, sim):
    load("""
        def test_it(xsched):
            high = xsched.queue("high", spin("20ms"), rate="49/s", priority=1)
            low = xsched.queue("low", spin("20ms"), concurrency=4)
            comparison = xsched.compare(high, low, episodes=6, duration="10s")
            comparison.high.assert_p99_improved(by=2)
        """)

    result = sim()

    assert result.ret == 1
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(
        [
            "E *InvalidRun: no verdict: native, episode 1: high is saturated: *",
            "  ! high: no P99 ratio of builtin / native: native, episode 1: high is saturated: *",
        ]
    )


def test_comparisons_of_workers_reach_the_controller(comparison, fresh, pytester):
    comparison(CLAIMS)

    result = fresh(
        "-pxdist", "-n2", "--dist=loadfile", "--xsched-device=sim", "--xsched-json=out.json"
    )  # fmt: skip

    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["builtin compared with native, 6 episodes *", "  FAIL high: P99 *"]
    )
    content = json.loads((pytester.path / "out.json").read_text())["xsched"]
    assert len(content["comparisons"]) == 1


def test_step_summary(comparison, sim, pytester, alone, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    comparison(CLAIMS)
    assert sim().ret == 1
    text = (pytester.path / "summary.md").read_text(encoding="utf-8")
    assert text.count("\n### builtin compared with native, 6 episodes of 15 s each on sim\n") == 1
    assert text.count("\n- :x: FAIL high: P99 of native / builtin ") == 1


def test_undecided_may_be_a_warning(load, sim):
    load("""
        def test_it(xsched, load):
            comparison = xsched.compare(*load, episodes=2, duration="15s")
            comparison.high.assert_p99_improved(by=2)
        """)
    assert sim().ret == 1
    result = sim("--xsched-undecided=warn", "-Wdefault::pytest_xsched.XSchedWarning")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*XSchedWarning: UNDECIDED: high: P99 of native * at least 6 episodes are *",
            "  UNDECIDED high: P99 of native / builtin *",
        ]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("schedulers=['native']", "schedulers ['native'] are not two"),
        ("schedulers='native'", "schedulers 'native' are not two"),
        ("schedulers=['native', 'native']", "name one twice; the first is measured against"),
        ("schedulers=['native', 'best']", "compare(): scheduler"),
        ("arms='alone'", "arms 'alone' are no list; write [\"alone\"]"),
        ("arms=['together']", "compare(): arm"),
        ("episodes=0", "compare(): episodes"),
        ("episodes=True", "compare(): episodes"),
    ],
)
def test_wrong_calls(load, sim, call, message):
    load(f"""
        def test_it(xsched, load):
            xsched.compare(*load, duration="1s", {call})
        """)
    result = sim()
    assert result.ret == 1
    assert message in str(result.stdout)
    assert "ScenarioError" in str(result.stdout)


def test_the_title_names_a_policy_that_is_not_the_default(load, sim):
    load("""
        @pytest.mark.parametrize("policy", ["hpf", "none"])
        def test_it(xsched, load, policy):
            xsched.compare(*load, episodes=1, duration="1s", policy=policy)
        """)
    result = sim()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["builtin compared with native, *"])
    result.stdout.fnmatch_lines(["builtin (none) compared with native, *"])

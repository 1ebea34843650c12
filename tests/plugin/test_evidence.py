"""Runs that prove nothing: an error, neither pass nor fail, with the reason."""

from __future__ import annotations

import json

import pytest

SHORT = """
    @pytest.fixture(scope="session")
    def short(xsched, load):
        return xsched.run(*load, duration="5s")

    def test_short(short):
        short.high.assert_p99_below("50ms")
    """

TOO_FEW = "high: P99 needs 299 requests, 15.0 s at 20/s; the duration is 5 s"


def test_too_few_requests_for_a_p99(load, sim):
    load(SHORT)

    result = sim()

    assert result.parseoutcomes() == {"errors": 1}
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            f"E *pytest_xsched.errors.InvalidRun: {TOO_FEW}",
            "*- xsched run -*",
            "builtin (hpf) on sim, 5 s, seed 0",
            "*- to run it again -*",
            "ERROR *",
        ]
    )
    result.stdout.no_fnmatch_line("*FAIL *")


def test_too_few_requests_under_xdist(load, fresh):
    load(SHORT + "\n    def test_other(): pass\n")

    result = fresh("-pxdist", "-n2", "--xsched-device=sim")

    assert result.parseoutcomes() == {"errors": 1, "passed": 1}
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"E *pytest_xsched.errors.InvalidRun: {TOO_FEW}"])


def test_too_few_requests_in_a_junit_file(load, sim, pytester):
    load(SHORT)

    sim("--junitxml=junit.xml")

    text = (pytester.path / "junit.xml").read_text()
    assert TOO_FEW in text
    assert 'failures="1"' in text or 'errors="1"' in text


@pytest.mark.parametrize(
    "use",
    [
        'short.high.assert_p99_below("50ms")',
        "short.high.assert_tail_ratio_below(10)",
        'assert short.high.p99 < "50ms"',
        'assert "50ms" > short.high.p99',
        "assert short.high.p99 <= short.high.max",
        "assert short.high.p99 == short.high.p99",
        "assert short.high.p99 / short.high.p50 < 10",
        "assert short.high.p50 / short.high.p99 < 10",
        "assert 2 * short.high.p99 > short.high.p50",
        'short.high.assert_percentile_below(0.999, "50ms")',
    ],
)
def test_every_use_of_a_p99_of_too_few_requests_is_an_error(load, sim, use):
    load(SHORT.replace('short.high.assert_p99_below("50ms")', use))

    result = sim()

    assert result.parseoutcomes() == {"errors": 1}
    assert result.ret == 1


def test_what_fewer_requests_do_prove(load, sim):
    load("""
        def test_it(xsched, load):
            high = xsched.run(*load, duration="5s").high
            assert high.p50 < "50ms" and high.p95 < "50ms"
            high.assert_percentile_below(0.95, "50ms")
            high.assert_max_below("50ms")
            high.assert_attainment_at_least("50ms", "100%")
            high.assert_throughput_at_least("20/s")
            assert str(high.p99).endswith(" ms")  # may be looked at, but not compared
        """)

    assert sim().ret == 0


def test_saturated_queue(load, sim, pytester):
    load("""
        @pytest.fixture(scope="session")
        def overload(xsched):
            high = xsched.queue("high", spin("20ms"), rate="100/s")
            return xsched.run(high, duration="15s")

        def test_latency(overload):
            overload.high.assert_p99_below("1h")

        def test_comparison(overload):
            assert overload.high.max > "1ms"

        def test_throughput(overload):
            overload.high.assert_throughput_at_least("49/s")

        def test_throughput_missed(overload):
            overload.high.assert_throughput_at_least("60/s")
        """)

    result = sim("--xsched-json=out.json")

    assert result.parseoutcomes() == {"passed": 1, "failed": 1, "errors": 2}
    assert result.ret == 1
    saturated = (
        "high is saturated: 100/s were offered but *[0-9]/s completed, so its latency depends on "
        "the length of the run"
    )
    result.stdout.fnmatch_lines(
        [
            f"E *InvalidRun: no verdict: {saturated}",
            "*- xsched run -*",
            f"  ! {saturated}",
            "E *TargetMissed: high: throughput * is not at least 60/s (n = 1500, "
            "max *, saturated: 100/s offered); high ran alone, builtin on sim, seed 0, limit of "
            "test_it.py:*",
        ]
    )
    (run,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    assert run["queues"][0]["saturated"] is True
    assert run["evidence"]["valid"] is True
    assert len(run["evidence"]["queue_faults"]["high"]) == 1


def test_queue_without_a_request_in_the_window(load, sim):
    load("""
        def test_it(xsched):
            # The one request of the loop starts in the warm-up and outlasts the window.
            run = xsched.run(
                xsched.queue("long", spin("10s")), duration="1s", warmup="1s", drain="20s"
            )
            assert run.long.n == 0
            run.long.assert_max_below("1h")
        """)

    result = sim()

    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(
        ["E *InvalidRun: no verdict: long has no request in the measured window"]
    )


def test_queue_that_never_launched(load, sim):
    load("""
        def test_it(xsched):
            high = xsched.queue("high", spin("1ms"), priority=10, concurrency=4)
            low = xsched.queue("low", spin("1ms"), priority=1, rate="20/s")
            run = xsched.run(high, low, duration="15s", drain="0s")
            assert run.low.counts.launched == 0, run.low.counts
            run.high.assert_p99_below("1h")
        """)

    result = sim()

    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(["E *InvalidRun: no verdict: *no command of low was launched*"])


def test_an_error_outside_of_a_test_stays_an_error(load, sim):
    load("""
        @pytest.fixture
        def judged(run):
            run.high.assert_percentile_below(0.9999, "1h")

        def test_it(judged): pass
        """)

    result = sim()

    assert result.parseoutcomes() == {"errors": 1}
    assert result.ret == 1


def test_expected_failures_of_the_three_kinds(load, sim):
    """A missed target that is expected is an xfail; a run without evidence is not."""
    load("""
        @pytest.mark.xfail(raises=QosAssertionError)
        def test_missed(run):
            run.high.assert_p99_below("1us")

        @pytest.mark.xfail(raises=QosAssertionError)
        def test_invalid(run):
            run.high.assert_percentile_below(0.9999, "1h")
        """)

    result = sim()

    assert result.parseoutcomes() == {"errors": 1, "xfailed": 1}
    assert result.ret == 1


OVERLOAD = """
    @pytest.fixture(scope="session")
    def high(xsched):
        return xsched.queue("high", spin("40ms"), rate="20/s")

    @pytest.fixture(scope="session")
    def alone(xsched, high):
        return xsched.run(high, duration="30s")

    @pytest.fixture(scope="session")
    def slow(xsched, high):
        other = xsched.queue("other", spin("40ms"), priority=10, rate="12.5/s")
        return xsched.run(high, other, duration="30s")

    """
OVERLOADED = {
    'assert_p99_below("50ms")': "FAIL high: P99 * is not below 50 ms *",
    'assert_percentile_below(0.5, "50ms")': "FAIL high: P50 * is not below 50 ms *",
    'assert_max_below("50ms")': "FAIL high: max * is not below 50 ms *",
    'assert_attainment_at_least("50ms", "99%")': "FAIL high: attainment * is not at least *",
    'assert_attainment_at_least("50ms", 1)': "FAIL high: attainment * is not at least *",
    'assert_goodput_at_least("50ms", "19/s")': "FAIL high: goodput * is not at least 19/s *",
    "assert_slowdown_below(2, alone=alone.high, percentile=0.5)": "FAIL high: slowdown *",
    # Nothing is shown: a longer run would be slower, or the ratio moves either way.
    'assert_p99_below("1h")': "NO VERDICT high is saturated: *",
    'assert_max_below("1h")': "NO VERDICT high is saturated: *",
    'assert_attainment_at_least("1h", "1%")': "NO VERDICT high is saturated: *",
    "assert_slowdown_below(1e9, alone=alone.high)": "NO VERDICT high is saturated: *",
    "assert_tail_ratio_below(1.5)": "NO VERDICT high is saturated: *",
}


@pytest.mark.parametrize("target", OVERLOADED)
def test_saturation_is_fail_where_the_limit_is_missed_beyond_doubt(load, sim, target):
    """Its latency only grows, so the measured one is a lower bound.

    A model needs 40 ms at 20/s, and another one takes half of the device.
    """
    load(OVERLOAD + f"\n    def test_it(slow, alone):\n        slow.high.{target}\n")

    result = sim()

    line = OVERLOADED[target]
    fails = line.startswith("FAIL")
    assert result.parseoutcomes() == ({"failed": 1} if fails else {"errors": 1})
    why = "; at least that, because high is saturated: 20/s were offered but *" if fails else ""
    result.stdout.fnmatch_lines([f"  {line}{why}"])


def test_a_starved_queue_misses_its_latency_and_the_others_have_verdicts(load, sim):
    """As under an inverted policy: `low` has the device for itself, `high` gets nothing."""
    load("""
        @pytest.fixture(scope="session")
        def inverted(xsched):
            high = xsched.queue("high", spin("1ms"), priority=1, rate="20/s")
            low = xsched.queue("low", spin("5ms"), priority=10)
            return xsched.run(high, low, duration="30s")

        def test_latency(inverted):
            inverted.high.assert_p99_below("50ms")

        def test_keeps_up(inverted):
            inverted.high.assert_throughput_at_least("20/s", tolerance="1%")

        def test_errors(inverted):
            inverted.high.assert_no_errors()

        def test_is_steady(inverted):
            inverted.high.assert_tail_ratio_below(10)

        def test_low_is_not_starved(inverted):
            inverted.low.assert_throughput_at_least("40/s")
        """)

    result = sim()

    assert result.parseoutcomes() == {"failed": 3, "errors": 1, "passed": 1}
    result.stdout.fnmatch_lines_random(
        [
            "  FAIL high: P99 * is not below 50 ms *; at least that, because no command of high "
            "was launched*",
            "  FAIL high: throughput 0/s is not at least 20/s *",
            "  NO VERDICT no command of high was launched; high is saturated: *",
            "  PASS low: throughput 199.8/s is at least 40/s *",
        ]
    )

"""The assertions that raise verdicts, on numbers written by hand."""

from __future__ import annotations

import pickle
import re
from datetime import timedelta

import pytest

from pytest_xsched.base.units import ms, per_s
from pytest_xsched.errors import InvalidRun, QosAssertionError, ScenarioError


@pytest.fixture
def alone(made_queue, made_run):
    """The queue of `high`, in a run of its own."""
    return made_run(made_queue([i * 77 % 300 + 1 for i in range(300)])).high


def test_assertions_record_their_verdicts(high, alone):
    high.assert_p99_below("1s")
    high.assert_p99_below(1000 * ms)
    high.assert_p99_below(timedelta(seconds=1))
    high.assert_percentile_below(0.5, "200ms")
    high.assert_max_below("301ms")
    high.assert_tail_ratio_below(3)
    high.assert_throughput_at_least("20/s")
    high.assert_throughput_at_least(20 * per_s, tolerance="1%")
    high.assert_attainment_at_least("200ms", "50%")
    high.assert_attainment_at_least("200ms", 0.5)
    high.assert_goodput_at_least("200ms", "10/s")
    high.assert_longest_wait_below("1ms")
    high.assert_slowdown_below(2, alone=alone, percentile=0.5)
    high.assert_no_errors()
    run = high._run
    assert [verdict.status for verdict in run.verdicts] == ["PASS"] * 14
    assert [verdict.rule for verdict in run.verdicts][:4] == ["P99 below"] * 3 + ["P50 below"]


def test_a_missed_target_raises_its_verdict(high):
    with pytest.raises(QosAssertionError) as error:
        high.assert_p99_below("50ms")
    (verdict,) = high._run.verdicts
    assert error.value.verdict is verdict
    assert str(error.value) == (
        "high: P99 297 ms is not below 50 ms (n = 300, max 300 ms, 251 misses in 1 group, "
        "3 allowed, odds over a billion to 1 against chance); high ran alone, builtin on sim, "
        f"seed 3, limit of {verdict.limit_origin}"
    )
    line = test_a_missed_target_raises_its_verdict.__code__.co_firstlineno + 2
    assert re.fullmatch(rf"(.*/)?test_run\.py:{line}", verdict.limit_origin)
    assert isinstance(error.value, AssertionError)
    copy = pickle.loads(pickle.dumps(error.value))
    assert str(copy) == str(error.value) and copy.verdict == verdict


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (
            lambda q: q.assert_p99_below(50),
            'limit of assert_p99_below: 50 has no unit; write "50ms" or "50s"',
        ),
        (
            lambda q: q.assert_p99_below("20/s"),
            "limit of assert_p99_below: '20/s' has an unknown unit; use ns, us, ms, s, min, h",
        ),
        (lambda q: q.assert_p99_below("0ms"), "limit of assert_p99_below: '0ms' is zero"),
        (
            lambda q: q.assert_percentile_below(99, "50ms"),
            "percentile 99 is outside (0, 1); P99 is 0.99",
        ),
        (
            lambda q: q.assert_percentile_below(0.9, 5),
            'limit of assert_percentile_below: 5 has no unit; write "5ms" or "5s"',
        ),
        (
            lambda q: q.assert_max_below(None),
            "limit of assert_max_below: None is not a time but of type NoneType; "
            'write "50ms" or "50s"',
        ),
        (
            lambda q: q.assert_tail_ratio_below(1),
            "limit of assert_tail_ratio_below 1 is outside (1, inf]",
        ),
        (
            lambda q: q.assert_tail_ratio_below("10"),
            "limit of assert_tail_ratio_below '10' is not a number; write 10",
        ),
        (
            lambda q: q.assert_throughput_at_least(20),
            'rate of assert_throughput_at_least: 20 has no unit; write "20/s" or "20/min"',
        ),
        (
            lambda q: q.assert_throughput_at_least("20/s", tolerance="1"),
            "tolerance of assert_throughput_at_least: '1' lets half of the rate be missing or "
            'more; write one percent as "1%" or 0.01',
        ),
        (
            lambda q: q.assert_throughput_at_least("20/s", tolerance=0.5),
            "tolerance of assert_throughput_at_least: 0.5 lets half of the rate be missing or "
            'more; write one percent as "1%" or 0.01',
        ),
        (
            lambda q: q.assert_throughput_at_least("20/s", tolerance=5),
            "tolerance of assert_throughput_at_least: 5 is outside [0, 1] (0% to 100%); "
            'write "5%" or 0.05',
        ),
        (
            lambda q: q.assert_attainment_at_least("50ms", 99),
            "fraction of assert_attainment_at_least: 99 is outside [0, 1] (0% to 100%); "
            'write "99%" or 0.99',
        ),
        (
            lambda q: q.assert_attainment_at_least("50ms", "0%"),
            "fraction of assert_attainment_at_least: '0%' is zero, which any run would meet",
        ),
        (
            lambda q: q.assert_attainment_at_least(50, 0.99),
            'deadline of assert_attainment_at_least: 50 has no unit; write "50ms" or "50s"',
        ),
    ],
)
def test_bad_limits_are_refused_before_anything_is_judged(high, use, sentence):
    with pytest.raises(ScenarioError) as error:
        use(high)
    assert str(error.value) == sentence
    assert high._run.verdicts == []


@pytest.mark.parametrize(
    "use",
    [
        lambda q: q.assert_p99_below("1h"),
        lambda q: q.assert_percentile_below(0.5, "1h"),
        lambda q: q.assert_max_below("1h"),
        lambda q: q.assert_tail_ratio_below(1000),
        lambda q: q.assert_throughput_at_least("1/s"),
        lambda q: q.assert_attainment_at_least("1h", 0.1),
        lambda q: q.assert_no_errors(),
        lambda q: q.p99 < "1h",
        lambda q: q.p99 == "1h",
        lambda q: q.max < "1h",
        lambda q: q.throughput > "1/s",
        lambda q: q.offered > "1/s",
        lambda q: q.p99 / q.p50,
    ],
)
def test_nothing_is_judged_on_a_run_without_evidence(made_queue, made_run, use):
    run = made_run(made_queue([1] * 300), wrong_results=["high: all is wrong"], checked=True)
    with pytest.raises(InvalidRun) as error:
        use(run.high)
    assert str(error.value) == "no verdict: high: all is wrong"
    assert error.value.run is run
    assert run.verdicts == []


def test_a_queue_that_did_nothing_in_the_window_missed_its_throughput(made_queue, made_run):
    run = made_run(made_queue([None, None], window_ms=(1000, 21000), closed=True))
    with pytest.raises(QosAssertionError, match=r"^high: throughput 0/s is not at least 1/s"):
        run.high.assert_throughput_at_least("1/s")


def test_what_was_not_alone_is_no_reference(made_queue, made_run, high):
    low = made_queue([1] * 300, name="low", closed=True)
    shared = made_run(made_queue([1] * 300), low)
    for alone, there in ((high, "that is to be judged"), (shared.high, "with low in it")):
        with pytest.raises(ScenarioError) as error:
            high.assert_slowdown_below(1.5, alone=alone)
        assert str(error.value) == (
            f"high: alone is of a run {there}; it takes another, of this queue only"
        )
    own = made_run(made_queue([1] * 300, name="low", closed=True)).low
    with pytest.raises(ScenarioError, match="high: alone is of a run with low in it; it takes"):
        shared.assert_fair("high", "low", alone={"low": own, "high": shared.high})
    assert shared.verdicts == high._run.verdicts == []


def test_a_queue_is_not_fair_to_itself(high):
    with pytest.raises(ScenarioError, match="assert_fair: 'high' is named twice"):
        high._run.assert_fair("high", "high")


def test_no_request_is_no_proof_of_anything(made_queue, made_run):
    late = {"period_ms": 30_000, "window_ms": (1000, 21_000)}
    none = made_run(made_queue([1], **late))
    for use in (none.high.assert_no_errors, lambda: none.high.assert_longest_wait_below("1ms")):
        with pytest.raises(InvalidRun) as error:
            use()
        assert str(error.value) == "high has no request in the measured window"
        assert error.value.run is none
    # One of the warm-up that waits on and on is starvation, though.
    starved = made_run(made_queue([9000], **late, late_ms=8000))
    with pytest.raises(QosAssertionError, match="high: wait 8 s is not below 1 ms"):
        starved.high.assert_longest_wait_below("1ms")


def test_a_percentile_of_too_few_requests_names_the_run_for_the_report(made_queue, made_run):
    slow = made_run(made_queue([1] * 30, period_ms=1000))
    with pytest.raises(InvalidRun, match=r"needs 299 requests, 299\.0 s at 1/s") as error:
        slow.high.assert_p99_below("50ms")
    assert error.value.run is slow
    few = made_run(made_queue([1] * 298))
    for use in (few.high.assert_p99_below, few.high.p99.__lt__):
        with pytest.raises(InvalidRun, match="a P99 needs at least 299 requests") as error:
            use("50ms")
        assert error.value.run is few


def test_an_attainment_needs_as_many_requests_as_the_percentile_that_it_is(made_queue, made_run):
    run = made_run(made_queue([1] * 298))
    with pytest.raises(InvalidRun, match="a P99 needs at least 299 requests, high has 298"):
        run.high.assert_attainment_at_least("50ms", "99%")
    run.high.assert_attainment_at_least("50ms", "95%")
    run.high.assert_attainment_at_least("50ms", "100%")  # a fact about these 298


@pytest.mark.parametrize(
    ("method", "name", "needed", "shown"),
    [
        ("assert_p95_below", "P95", 59, "2.85 s"),
        ("assert_p99_below", "P99", 299, "2.97 s"),
        ("assert_p999_below", "P99.9", 2995, "3 s"),
    ],
)
def test_each_named_percentile_has_a_target_that_says_its_name_and_what_it_needs(
    made_queue, made_run, method, name, needed, shown
):
    high = made_run(made_queue([1] * (needed - 1), period_ms=1)).high
    with pytest.raises(InvalidRun, match=f"a {name} needs at least {needed} requests"):
        getattr(high, method)("50ms")
    with pytest.raises(ScenarioError, match=f"^limit of {method}: 50 has no unit"):
        getattr(high, method)(50)

    measured = made_run(made_queue([i * 77 % 3000 + 1 for i in range(3000)], period_ms=1000))
    with pytest.raises(QosAssertionError, match=f"^high: {name} {shown} is not below 1 ms"):
        getattr(measured.high, method)("1ms")
    getattr(measured.high, method)("1h")
    assert [verdict.rule for verdict in measured.verdicts] == [f"{name} below"] * 2

"""Verdicts and the assertions that raise them, on numbers written by hand."""

from __future__ import annotations

import json
import math
import pickle
from datetime import timedelta

import pytest

from pytest_xsched import verdict as judge
from pytest_xsched.errors import InvalidRun, QosAssertionError, ScenarioError
from pytest_xsched.units import ms, per_s

MS = 1_000_000


@pytest.fixture
def high(made_queue, made_run):
    """A queue of 300 requests that took 1, 2, ..., 300 ms, at 20/s."""
    return made_run(made_queue(list(range(1, 301)))).high


@pytest.mark.parametrize(
    ("make", "status", "value", "sentence"),
    [
        (
            lambda q: judge.percentile_below(q, 0.99, 297 * MS + 1),
            "PASS",
            297 * MS,
            "high: P99 297 ms is below 297 ms (n = 300, max 300 ms)",
        ),
        (
            lambda q: judge.percentile_below(q, 0.99, 297 * MS),
            "FAIL",
            297 * MS,
            "high: P99 297 ms is not below 297 ms (n = 300, max 300 ms)",
        ),
        (
            lambda q: judge.percentile_below(q, 0.5, 200 * MS),
            "PASS",
            150 * MS,
            "high: P50 150 ms is below 200 ms (n = 300, max 300 ms)",
        ),
        (
            lambda q: judge.max_below(q, 300 * MS),
            "FAIL",
            300 * MS,
            "high: max 300 ms is not below 300 ms (n = 300, max 300 ms)",
        ),
        (
            lambda q: judge.tail_ratio_below(q, 1.98),
            "FAIL",
            1.98,
            "high: P99/P50 1.98 is not below 1.98 (n = 300, max 300 ms, P50 150 ms, P99 297 ms)",
        ),
        (
            lambda q: judge.tail_ratio_below(q, 2),
            "PASS",
            1.98,
            "high: P99/P50 1.98 is below 2 (n = 300, max 300 ms, P50 150 ms, P99 297 ms)",
        ),
        (
            lambda q: judge.throughput_at_least(q, 20.0, 0),
            "PASS",
            20.0,
            "high: throughput 20/s is at least 20/s (n = 300, max 300 ms)",
        ),
        (
            lambda q: judge.throughput_at_least(q, 21.0, 0.01),
            "FAIL",
            20.0,
            "high: throughput 20/s is not at least 21/s (n = 300, max 300 ms, tolerance 0.01)",
        ),
        (
            lambda q: judge.throughput_at_least(q, 21.0, 0.05),
            "PASS",
            20.0,
            "high: throughput 20/s is at least 21/s (n = 300, max 300 ms, tolerance 0.05)",
        ),
        (
            lambda q: judge.attainment_at_least(q, 30 * MS, 0.1),
            "PASS",
            0.1,
            "high: attainment 0.1 is at least 0.1 (n = 300, max 300 ms, deadline 30 ms)",
        ),
        (
            lambda q: judge.attainment_at_least(q, 29 * MS, 0.1),
            "FAIL",
            29 / 300,
            "high: attainment 0.09667 is not at least 0.1 (n = 300, max 300 ms, deadline 29 ms)",
        ),
        (
            judge.no_errors,
            "PASS",
            0,
            "high: errors 0 is exactly 0 (n = 300, max 300 ms)",
        ),
    ],
)
def test_verdict(high, make, status, value, sentence):
    verdict = make(high)
    assert (verdict.status, verdict.value, verdict.sentence) == (status, value, sentence)
    assert (verdict.queue, verdict.n, verdict.nodeid) == ("high", 300, "")
    data = verdict.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert pickle.loads(pickle.dumps(verdict)) == verdict


def test_what_never_completed_fails_every_limit(made_queue):
    queue = made_queue([*[1] * 290, *[None] * 10])
    verdict = judge.percentile_below(queue, 0.99, 10**18)
    assert verdict.status == "FAIL"
    assert verdict.sentence == (
        "high: P99 never is not below 1000000000 s (n = 300, max never, 10 unfinished)"
    )
    assert verdict.to_dict()["value"] is None
    assert judge.max_below(queue, 10**18).status == "FAIL"
    assert judge.attainment_at_least(queue, 10**18, 0.97).status == "FAIL"
    assert judge.attainment_at_least(queue, 10**18, 0.96).status == "PASS"
    assert judge.tail_ratio_below(queue, 1e300).status == "FAIL"
    errors = judge.no_errors(queue)
    assert (errors.status, errors.value) == ("FAIL", 10)
    assert errors.sentence.startswith("high: errors 10 is not exactly 0 (")


def test_tail_ratio_of_latencies_of_zero(made_queue):
    """Possible in virtual time."""
    assert judge.tail_ratio_below(made_queue([0] * 300), 2).value == 1
    tail = judge.tail_ratio_below(made_queue([*[0] * 290, *[1] * 10]), 1e300)
    assert (tail.value, tail.status) == (math.inf, "FAIL")
    # Half of it never completed: P50 and P99 alike are never, and that is no ratio of 1.
    assert judge.tail_ratio_below(made_queue([None] * 300), 1e300).status == "FAIL"


def test_failed_commands_are_errors(made_queue):
    assert judge.no_errors(made_queue([1, 1], failed=2)).value == 2


def test_throughput_of_a_saturated_queue_says_so(made_queue):
    verdict = judge.throughput_at_least(made_queue([100 + i * 50 for i in range(200)]), 9.0, 0)
    assert verdict.status == "PASS"
    assert verdict.sentence.endswith(", saturated: 20/s offered)")


@pytest.mark.parametrize("count", [1, 3, 7, 13, 1199, 1200])
def test_a_rate_that_is_exactly_met_passes(made_queue, count):
    period_ms = 50
    queue = made_queue([1] * count, period_ms=period_ms)
    assert judge.throughput_at_least(queue, count / (count * period_ms / 1000), 0).status == "PASS"


# ---- assertions


def test_assertions_record_their_verdicts(high):
    high.assert_p99_below("1s")
    high.assert_p99_below(1000 * ms)
    high.assert_p99_below(timedelta(seconds=1))
    high.assert_percentile_below(0.5, "151ms")
    high.assert_max_below("301ms")
    high.assert_tail_ratio_below(2)
    high.assert_throughput_at_least("20/s")
    high.assert_throughput_at_least(20 * per_s, tolerance="1%")
    high.assert_attainment_at_least("30ms", "10%")
    high.assert_attainment_at_least("30ms", 0.1)
    high.assert_no_errors()
    run = high._run
    assert [verdict.status for verdict in run.verdicts] == ["PASS"] * 11
    assert [verdict.rule for verdict in run.verdicts][:4] == ["P99 below"] * 3 + ["P50 below"]


def test_a_missed_target_raises_its_verdict(high):
    with pytest.raises(QosAssertionError) as error:
        high.assert_p99_below("50ms")
    (verdict,) = high._run.verdicts
    assert error.value.verdict is verdict
    assert str(error.value) == (
        "high: P99 297 ms is not below 50 ms (n = 300, max 300 ms), builtin on sim, seed 3"
    )
    assert isinstance(error.value, AssertionError)
    copy = pickle.loads(pickle.dumps(error.value))
    assert str(copy) == str(error.value) and copy.verdict == verdict


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (
            lambda q: q.assert_p99_below(50),
            'limit of assert_p99_below: 50 has no unit; write "50s", 50 * s or a timedelta',
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
            'limit of assert_percentile_below: 5 has no unit; write "5s", 5 * s or a timedelta',
        ),
        (
            lambda q: q.assert_max_below(None),
            "limit of assert_max_below: None is not a time but of type NoneType; "
            'write "60s", 60 * s or a timedelta',
        ),
        (
            lambda q: q.assert_tail_ratio_below(1),
            "limit of assert_tail_ratio_below 1 is outside (1, inf]",
        ),
        (
            lambda q: q.assert_tail_ratio_below("10"),
            "limit of assert_tail_ratio_below '10' is not a number",
        ),
        (
            lambda q: q.assert_throughput_at_least(20),
            'rate of assert_throughput_at_least: 20 has no unit; write "20/s" or 20 * per_s',
        ),
        (
            lambda q: q.assert_throughput_at_least("20/s", tolerance="1"),
            None,
        ),
        (
            lambda q: q.assert_throughput_at_least("20/s", tolerance=5),
            "tolerance of assert_throughput_at_least: 5 is outside [0, 1] (0% to 100%)",
        ),
        (
            lambda q: q.assert_attainment_at_least("50ms", 99),
            "fraction of assert_attainment_at_least: 99 is outside [0, 1] (0% to 100%)",
        ),
        (
            lambda q: q.assert_attainment_at_least(50, 0.99),
            "deadline of assert_attainment_at_least: 50 has no unit; "
            'write "50s", 50 * s or a timedelta',
        ),
    ],
)
def test_bad_limits_are_refused_before_anything_is_judged(high, use, sentence):
    if sentence is None:
        use(high)  # "1" is all of it: any throughput will do
        return
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
    run = made_run(made_queue([None, None], window_ms=(1000, 2000), closed=True))
    with pytest.raises(QosAssertionError, match=r"^high: throughput 0/s is not at least 1/s"):
        run.high.assert_throughput_at_least("1/s")


def test_an_attainment_needs_as_many_requests_as_the_percentile_that_it_is(made_queue, made_run):
    run = made_run(made_queue([1] * 298))
    with pytest.raises(InvalidRun, match="a P99 needs at least 299 requests, high has 298"):
        run.high.assert_attainment_at_least("50ms", "99%")
    run.high.assert_attainment_at_least("50ms", "95%")
    run.high.assert_attainment_at_least("50ms", "100%")  # a fact about these 298

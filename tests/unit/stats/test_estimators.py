"""Percentiles, the requests they need, and saturation, with exact numbers."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_xsched.scenario.arrival_process import constant, poisson
from pytest_xsched.scenario.arrival_times import arrival_times
from pytest_xsched.stats.estimators import (
    CENSORED_NS,
    backlog,
    batch_means,
    blocks_needed,
    cold_start,
    nearest_rank,
    percentile_bounds,
    requests_needed,
    saturated,
)

S = 10**9


@pytest.mark.parametrize(
    ("q", "n", "rank"),
    [
        (0.99, 1200, 1188),  # 0.99 * 1200 is 1188.0 in floats only by luck
        (0.29, 100, 29),  # 0.29 * 100 is 28.999999999999996
        (0.07, 100, 7),  # 0.07 * 100 is 7.000000000000001
        (0.99, 100, 99),
        (0.99, 101, 100),
        (0.999, 1000, 999),
        (0.5, 4, 2),
        (0.5, 5, 3),
        (1.0, 5, 5),
        (1, 5, 5),
        (0.01, 5, 1),
        (1e-9, 5, 1),
        (np.float64(0.95), 20, 19),
    ],
)
def test_nearest_rank(q, n, rank):
    values = np.random.default_rng(0).permutation(np.arange(1, n + 1)) * 10
    assert nearest_rank(values, q) == rank * 10


def test_nearest_rank_is_an_int_and_leaves_its_argument_alone():
    values = np.array([3, 1, 2], dtype=np.int64)
    assert type(nearest_rank(values, 0.5)) is int
    assert values.tolist() == [3, 1, 2]


def test_censored_counts_above_everything():
    values = np.array([CENSORED_NS, 10**9, 1], dtype=np.int64)
    assert nearest_rank(values, 0.99) == CENSORED_NS
    assert nearest_rank(values, 0.5) == 10**9


@pytest.mark.parametrize("q", [0, -0.1, 1.01, 99])
def test_nearest_rank_refuses_q(q):
    with pytest.raises(ValueError, match=f"q {q} is outside"):
        nearest_rank(np.array([1], dtype=np.int64), q)


def test_nearest_rank_refuses_no_values():
    with pytest.raises(ValueError, match=r"no values to take the 0\.99 quantile of"):
        nearest_rank(np.array([], dtype=np.int64), 0.99)


@pytest.mark.parametrize(
    ("q", "confidence", "n"),
    [
        (0.99, 0.95, 299),
        (0.95, 0.95, 59),
        (0.9, 0.95, 29),
        (0.5, 0.95, 5),
        (0.999, 0.95, 2995),
        (0.99, 0.99, 459),
        (0.1, 0.99, 2),  # 0.1**2 is exactly what is left
        (0.5, 0.75, 2),
        (0.5, 0.5, 1),
        (0.01, 0.5, 1),
    ],
)
def test_requests_needed(q, confidence, n):
    assert requests_needed(q, confidence) == n


@pytest.mark.parametrize(("q", "confidence"), [(1.0, 0.95), (0, 0.95), (0.99, 0), (0.99, 1)])
def test_requests_needed_refuses(q, confidence):
    with pytest.raises(ValueError, match="is outside"):
        requests_needed(q, confidence)


def test_backlog():
    scheduled = np.array([0, 10, 20, 30, 40], dtype=np.int64)
    completed = np.array([35, 15, CENSORED_NS, 30, 50], dtype=np.int64)
    assert backlog(scheduled, completed).tolist() == [0, 1, 1, 1, 1]
    nothing = np.full(5, CENSORED_NS, dtype=np.int64)
    assert backlog(scheduled, nothing).tolist() == [0, 1, 2, 3, 4]


def serve(scheduled, service_ns):
    """One server, first come, first served, constant service time."""
    completed = np.empty_like(scheduled)
    free_ns = 0
    for index, at_ns in enumerate(scheduled.tolist()):
        free_ns = max(free_ns, at_ns) + service_ns
        completed[index] = free_ns
    return completed


def arrivals_of(kind, *, duration_ns=60 * S, warmup_ns=0, seed=0):
    return arrival_times(kind, warmup_ns=warmup_ns, duration_ns=duration_ns, seed=seed, name="high")


@pytest.mark.parametrize("seed", range(20))
def test_saturated_at_two_thirds_of_what_is_offered(seed):
    scheduled = arrivals_of(poisson("20/s"), seed=seed)
    completed = serve(scheduled, int(S / 13.7))
    assert saturated(scheduled, completed, 0, 60 * S)
    completed[completed >= 65 * S] = CENSORED_NS  # as after a drain of 5 s
    assert saturated(scheduled, completed, 0, 60 * S)


@pytest.mark.parametrize("seed", range(20))
def test_not_saturated_at_nine_tenths_of_capacity(seed):
    scheduled = arrivals_of(poisson("20/s"), seed=seed)
    assert not saturated(scheduled, serve(scheduled, int(0.9 * S / 20)), 0, 60 * S)


def test_blocks_that_are_too_few_may_be_enough_when_doubled():
    assert [blocks_needed(count) for count in (0, 9, 10, 19, 40)] == [10, 10, 20, 20, 80]


def test_not_saturated_by_a_long_constant_latency():
    scheduled = arrivals_of(constant("20/s"))
    completed = scheduled + 5 * S
    assert int(np.count_nonzero(completed >= 60 * S)) == 100  # far more than 2 % of 1200
    assert not saturated(scheduled, completed, 0, 60 * S)


def test_not_saturated_with_one_in_flight_at_the_end():
    scheduled = arrivals_of(constant("20/s"), duration_ns=2 * S)
    completed = scheduled + S // 30  # the last arrives 25 ms before the end
    assert int(np.count_nonzero(completed >= 2 * S)) == 1
    assert not saturated(scheduled, completed, 0, 2 * S)


def test_not_saturated_by_a_burst_that_was_worked_off():
    scheduled = np.concatenate([np.arange(100) * (S // 100), np.full(100, 5 * S, dtype=np.int64)])
    assert not saturated(scheduled, serve(scheduled, S // 50), 0, 10 * S)


def test_backlog_at_the_end_must_be_above_both_limits():
    # The backlog grows by one every 25 of 200 arrivals: 8 at the end, of which 2 % are 4.
    scheduled = np.arange(200, dtype=np.int64) * S
    completed = scheduled + 1
    completed[24::25] = CENSORED_NS
    assert saturated(scheduled, completed, 0, 200 * S)
    # Four at the end, 2 % of 200: not above.
    completed[24::50] = 200 * S - 1
    assert not saturated(scheduled, completed, 0, 200 * S)


def test_requests_of_the_warm_up_count_in_the_backlog_only():
    scheduled = arrivals_of(poisson("20/s"), warmup_ns=5 * S)
    completed = serve(scheduled, int(S / 13.7))
    assert saturated(scheduled, completed, 5 * S, 65 * S)
    # Three short arrivals behind a full warm-up are too few to see a trend in.
    assert not saturated(np.arange(23) * S, np.arange(23) * S + 1, 20 * S, 23 * S)


def test_few_requests_are_saturated_only_if_nothing_completed():
    scheduled = np.array([0, S, 2 * S], dtype=np.int64)
    never = np.full(3, CENSORED_NS, dtype=np.int64)
    assert saturated(scheduled, never, 0, 3 * S)
    assert not saturated(scheduled, np.array([CENSORED_NS, 4 * S, CENSORED_NS]), 0, 3 * S)
    assert not saturated(scheduled[:0], never[:0], 0, 3 * S)


@pytest.mark.parametrize("n", [4, 5, 40, 1200])
def test_saturated_if_nothing_ever_completed(n):
    scheduled = np.arange(n, dtype=np.int64) * S
    assert saturated(scheduled, np.full(n, CENSORED_NS, dtype=np.int64), 0, n * S)


@pytest.mark.parametrize(
    ("first", "slower"),
    [
        ([20] * 20, 2),
        ([20] * 17 + [10] * 3, 2),
        ([20] * 16 + [10] * 4, None),  # above by chance, with two in a thousand
        ([11] * 20, None),  # by a tenth
        ([5] * 20, None),
        ([20] * 19, None),  # too few
        ([CENSORED_NS] * 20, CENSORED_NS / 10),
    ],
)
def test_a_cold_start_is_seen_and_chance_is_not(first, slower):
    latency_ns = np.array(first + [10] * (9 * len(first)), np.int64)
    assert cold_start(latency_ns) == slower


def test_nothing_is_said_of_nothing():
    assert cold_start(np.zeros(0, np.int64)) is None


def test_bounds_of_a_percentile_by_hand():
    # Of six values, none lies below the median with chance 1/64, and so for all of them. At least
    # two do with 1 - 7/64.
    six = np.array([30, 10, 60, 20, 50, 40])
    assert percentile_bounds(six, 0.5, 1 / 50) == (10, 60)
    assert percentile_bounds(six, 0.5, 1 / 9) == (20, 50)
    assert percentile_bounds(six, 0.5, 1 / 100) == (0, CENSORED_NS)
    # 0.99**299 is just below 5 %.
    ascending = np.arange(299)
    assert percentile_bounds(ascending, 0.99, 0.05)[1] == 298
    assert percentile_bounds(ascending[:298], 0.99, 0.05)[1] == CENSORED_NS


def test_the_error_of_a_mean_grows_with_the_correlation_of_its_batches():
    # Ten values that alternate show no correlation, but could have some: the plain error is 1/3.
    found = batch_means(np.array([1.0, -1.0] * 5))
    assert (found.mean, found.batches) == (0, 10)
    assert found.error > 1.3 / 3
    # Fours of equal neighbours are seen to correlate, and are averaged.
    assert batch_means(np.repeat([1.0, -1.0] * 5, 4)).batches < 40
    assert batch_means(np.ones(9)) is None

"""Numbers of a queue, from samples written by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pytest_xsched.analysis.queue_result import percentile_name
from pytest_xsched.errors import InvalidRun, ScenarioError
from pytest_xsched.stats.estimators import CENSORED_NS

MS = 1_000_000


def test_latency_counts_from_the_arrival_service_from_the_submit(made_queue):
    queue = made_queue([30, 40, None], late_ms=10)
    assert queue.latency_ns.tolist() == [30 * MS, 40 * MS, CENSORED_NS]
    assert queue.service_ns.tolist() == [20 * MS, 30 * MS, CENSORED_NS]
    assert queue.lateness_ns.tolist() == [10 * MS] * 3
    assert queue.latency_ns.dtype == queue.service_ns.dtype == queue.lateness_ns.dtype == np.int64


def test_lateness_is_that_of_submitted_requests(made_queue):
    queue = made_queue([1, 1, None], late_ms=2)
    queue.samples["submitted_ns"][2] = -1
    assert queue.lateness_ns.tolist() == [2 * MS] * 2


def test_only_the_window_is_measured(made_queue):
    queue = made_queue([1, 2, 3, 4, 5, 6], period_ms=100, window_ms=(200, 500))
    assert queue.latency_ns.tolist() == [3 * MS, 4 * MS, 5 * MS]
    assert (queue.n, len(queue.samples)) == (3, 6)
    assert queue.max.value == 5 * MS


@pytest.mark.parametrize(
    ("q", "rank"), [(0.5, 150), (0.95, 285), (0.99, 297), (0.999, 300), (1 / 256, 2), (0.0001, 1)]
)
def test_percentiles_are_nearest_ranks(made_queue, q, rank):
    latencies = np.random.default_rng(0).permutation(np.arange(1, 301))
    queue = made_queue([int(latency) for latency in latencies])
    assert queue.percentile(q).value == rank * MS


def test_named_percentiles(made_queue):
    queue = made_queue(list(range(1, 301)))
    assert [x.value for x in (queue.p50, queue.p95, queue.p99, queue.max)] == [
        150 * MS,
        285 * MS,
        297 * MS,
        300 * MS,
    ]
    assert queue.p999.value == 300 * MS and queue.p999.what == "P99.9 of high"
    assert queue.p99.what == "P99 of high" and queue.p99.detail == "n = 300, max 300 ms"
    assert queue.max.what == "max of high" and queue.max.detail == "n = 300"
    assert [percentile_name(q) for q in (0.5, 0.99, 0.999, 0.9999, 0.29, 1 - 1e-7)] == [
        "P50",
        "P99",
        "P99.9",
        "P99.99",
        "P29",
        "P99.99999",
    ]


def test_unfinished_requests_are_above_every_limit(made_queue):
    queue = made_queue([*[1] * 296, *[None] * 4])
    assert (queue.n, queue.censored) == (300, 4)
    assert queue.p95.value == 1 * MS
    assert queue.p99.value == math.inf and str(queue.p99) == "never"
    assert not queue.p99 < "10h"
    assert queue.p99 > "10h"
    assert queue.p99.detail == "n = 300, max never, 4 unfinished"
    assert queue.max.value == math.inf
    assert queue.attainment(10**18) == 296 / 300


@pytest.mark.parametrize("q", [0, 1, -0.5, 99, "0.99", True, None, math.nan])
def test_no_percentile(made_queue, q):
    with pytest.raises(ScenarioError, match=r"is outside \(0, 1\); P99 is 0\.99$"):
        made_queue([1]).percentile(q)


@pytest.mark.parametrize(
    ("n", "q", "sentence"),
    [
        (298, 0.99, "a P99 needs at least 299 requests, high has 298; at 20/s that takes 15 s"),
        (58, 0.95, "a P95 needs at least 59 requests, high has 58; at 20/s that takes 3 s"),
        (4, 0.5, "a P50 needs at least 5 requests, high has 4; at 20/s that takes 1 s"),
        (
            2994,
            0.999,
            "a P99.9 needs at least 2995 requests, high has 2994; at 20/s that takes 150 s",
        ),
    ],
)
def test_too_few_requests_for_a_percentile(made_queue, n, q, sentence):
    queue = made_queue([1] * n)
    with pytest.raises(InvalidRun) as error:
        queue.require_n(q)
    assert str(error.value) == sentence
    with pytest.raises(InvalidRun):
        assert queue.percentile(q) < "1h"

    more = made_queue([1] * (n + 1))
    more.require_n(q)
    assert more.percentile(q) < "1h"


def test_a_closed_loop_has_no_rate_to_tell_the_time_from(made_queue):
    with pytest.raises(InvalidRun) as error:
        made_queue([1] * 5, closed=True).require_n(0.99)
    assert str(error.value) == "a P99 needs at least 299 requests, high has 5"


def test_no_request_at_all(made_queue):
    queue = made_queue([1, 1], window_ms=(1000, 2000))
    assert (queue.n, queue.censored) == (0, 0)
    for use in (lambda: queue.p50, lambda: queue.max, lambda: queue.attainment(1)):
        with pytest.raises(InvalidRun, match=r"^high has no request in the measured window$"):
            use()
    assert queue.throughput.value == queue.offered.value == 0
    numbers = queue.to_dict()
    assert [numbers[f"{key}_ns"] for key in ("p50", "p95", "p99", "max")] == [None] * 4
    assert numbers["lateness_p99_ns"] is None


# ---- rates


def test_throughput_of_an_open_loop_that_keeps_up(made_queue):
    """A request in flight at the end of the window is not held against a rate that was met."""
    queue = made_queue([100] * 200)
    assert not queue.saturated
    assert queue.offered.value == queue.throughput.value == queue.achieved_rate.value == 20
    assert str(queue.throughput) == "20/s"
    assert queue.throughput.detail == "200 requests"


def test_throughput_of_an_open_loop_that_loses_requests(made_queue):
    queue = made_queue([None if i in (0, 50, 199) else 1 for i in range(200)])
    assert not queue.saturated
    assert queue.offered.value == 20
    assert queue.throughput.value == 19.7


def test_throughput_of_a_saturated_open_loop_counts_completions_in_the_window(made_queue):
    # Every 50 ms one more, each takes 100 ms of a device that does one at a time.
    queue = made_queue([100 + i * 50 for i in range(200)])
    assert queue.saturated
    assert queue.offered.value == 20
    assert queue.throughput.value == 99 / 10  # the one at 10 s is outside


def test_throughput_of_a_closed_loop_counts_completions_in_the_window(made_queue):
    # Completed at 40, 140, ..., 940 ms; scheduled in [200, 700): 5; completed there: 5.
    queue = made_queue([40] * 10, period_ms=100, window_ms=(200, 700), closed=True)
    assert queue.closed_loop and queue.offered is None and not queue.saturated
    assert queue.throughput.value == 5 / 0.5
    # One that began in the warm-up and completed at the first instant counts, one at the end not.
    queue = made_queue([100] * 10, period_ms=100, window_ms=(200, 700), closed=True)
    assert queue.throughput.value == 5 / 0.5


def test_attainment(made_queue):
    queue = made_queue([1, 2, 3, 4])
    shares = [queue.attainment(limit) for limit in (MS - 1, MS, 2 * MS, 4 * MS, 5 * MS)]
    assert shares == [0, 0.25, 0.5, 1, 1]


def test_numbers_are_of_json_types(made_queue):
    queue = made_queue([*range(1, 300), None], late_ms=1, suspended=2, launched=301)
    numbers = queue.to_dict()
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert numbers == {
        "name": "high",
        "workload": "spin('1ms')",
        "n": 300,
        "censored": 1,
        "masked": 0,
        "omitted": 0,
        "saturated": False,
        "throughput_hz": 299 / 15,
        "offered_hz": 20.0,
        "commands": {"submitted": 300, "launched": 301, "completed": 300, "failed": 0},
        "suspended": 2,
        "most_in_flight": 4,
        "p50_ns": 150 * MS,
        "p95_ns": 285 * MS,
        "p99_ns": 297 * MS,
        "max_ns": None,
        "spread": None,
        "cold_start": None,
        "longest_wait_ns": 1 * MS,
        "lateness_p99_ns": 1 * MS,
    }
    for value in [*numbers.values(), *numbers["commands"].values()]:
        assert value is None or type(value) in (str, int, float, bool, dict)


def test_later_blocks_that_are_worse_are_a_trend(made_queue):
    """P90 of an open loop: rising, falling, level, and too few blocks to say."""
    rising, second = [10 + i // 20 for i in range(300)], 10**9
    assert made_queue(rising).gets_worse(second)
    assert made_queue([10] * 150 + [None] * 150).gets_worse(second)
    assert not made_queue(rising[::-1]).gets_worse(second)
    assert not made_queue([10, 12] * 150).gets_worse(second)
    assert not made_queue(rising[:100]).gets_worse(second)  # five blocks


def test_a_loop_that_gets_slower_is_a_trend(made_queue):
    """In second k of 15 there are k completions less than at first."""
    fewer = [None if i % 20 < i // 20 else 1 for i in range(300)]
    assert made_queue(fewer, closed=True).gets_worse(10**9)
    assert not made_queue(fewer[::-1], closed=True).gets_worse(10**9)
    assert not made_queue([1] * 300, closed=True).gets_worse(10**9)


def test_of_a_saturated_queue_only_the_rate_shows_a_trend(made_queue):
    queue = made_queue([50 * i for i in range(1, 301)], period_ms=10)
    assert queue.saturated
    assert not queue.gets_worse(10**8)


def test_the_distribution_is_the_one_that_percentiles_are_read_from(made_queue):
    queue = made_queue([i * 77 % 300 + 1 for i in range(300)])
    latency_ns, share = queue.cdf()
    assert latency_ns.tolist() == [i * MS for i in range(1, 301)]
    assert (latency_ns.dtype, share.dtype) == (np.int64, np.float64)
    assert (share[0], share[149], share[-1]) == (1 / 300, 0.5, 1.0)
    for q in (0.5, 0.95, 0.99, 0.999):
        assert latency_ns[np.searchsorted(share, q)] == queue.percentile(q).value


def test_the_distribution_has_unfinished_requests_as_the_share_that_is_missing(made_queue):
    latency_ns, share = made_queue([3, None, 1, 2]).cdf()
    assert (latency_ns.tolist(), share.tolist()) == ([1 * MS, 2 * MS, 3 * MS], [0.25, 0.5, 0.75])
    latency_ns, share = made_queue([None, None]).cdf()
    assert (len(latency_ns), len(share)) == (0, 0)
    with pytest.raises(InvalidRun, match="high has no request in the measured window"):
        made_queue([1], window_ms=(1000, 2000)).cdf()


def test_the_distribution_of_a_closed_loop_has_what_its_clients_did_not_send(made_queue):
    queue = made_queue([1] * 9 + [5], closed=True)
    latency_ns, share = queue.cdf()
    assert len(latency_ns) == queue.n + queue.omitted == 14
    assert latency_ns.tolist() == sorted(queue.client_latency_ns) and share[-1] == 1

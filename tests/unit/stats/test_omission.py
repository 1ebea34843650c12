"""What a closed loop leaves out while it waits, put back."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_xsched.stats.estimators import CENSORED_NS, nearest_rank
from pytest_xsched.stats.omission import corrected, omitted, usual_interval_ns

MS = 10**6


def ns(*values):
    return np.array(values, np.int64)


def test_a_long_request_stands_for_those_that_were_not_sent():
    assert corrected(ns(2, 10, 2), 2).tolist() == [2, 10, 8, 6, 4, 2, 2]
    assert corrected(ns(2, 11, 2), 2).tolist() == [2, 11, 9, 7, 5, 3, 2]
    assert omitted(ns(2, 11, 2), 2).tolist() == [0, 4, 0]


def test_what_takes_less_than_two_intervals_left_nothing_out():
    steady = ns(1, 2, 3, 3, 2)
    assert corrected(steady, 2).tolist() == steady.tolist()


def test_a_request_that_never_completed_counts_once():
    assert corrected(ns(1, CENSORED_NS), 1).tolist() == [1, CENSORED_NS]


def test_the_interval_is_that_of_one_client():
    assert usual_interval_ns(ns(1, 2, 90), 0) == 2
    assert usual_interval_ns(ns(1, 2, 90), 10) == 12
    assert usual_interval_ns(ns(0, 0, 1), 0) == 1
    assert usual_interval_ns(ns(CENSORED_NS), 5) == CENSORED_NS


def test_a_stall_of_ten_seconds_in_sixty_is_in_the_tail():
    """One of 49,751 requests was slow, and P99 was that of the others."""
    latency = np.full(49_751, 1 * MS, np.int64)
    latency[20_000] = 10_000 * MS
    assert nearest_rank(latency, 0.99) == 1 * MS
    client = corrected(latency, usual_interval_ns(latency, 0))
    assert len(client) == 49_751 + 9_999
    assert nearest_rank(client, 0.99) > 9_000 * MS
    assert np.mean(client >= 5 * MS) == pytest.approx(9_996 / len(client))


@pytest.mark.parametrize("seed", range(3))
def test_no_latency_is_added_beyond_those_measured(seed):
    latency = np.random.default_rng(seed).integers(1, 50 * MS, 500)
    client = corrected(latency, usual_interval_ns(latency, 0))
    assert client.max() == latency.max()
    assert client.min() >= min(latency.min(), usual_interval_ns(latency, 0))

"""The curve of percentiles and the figures of each block: by hand, in order, and never made up."""

import numpy as np
import pytest

from pytest_xsched.stats.estimators import CENSORED_NS, nearest_rank
from pytest_xsched.stats.shape import SHARES, bounds, by_block, curve


def test_shares_descend_and_hold_the_usual_percentiles():
    assert list(SHARES) == sorted(SHARES, reverse=True) and SHARES[0] == 1
    assert {0.5, 0.05, 0.01, 0.001} <= {float(share) for share in SHARES}


def test_a_curve_by_hand():
    # 1 .. 10: all are above nothing (P0 is the smallest), 7 of 10 above P30, ..., 1 above P90.
    values = np.array([10, 3, 1, 2, 9, 4, 5, 8, 7, 6], np.int64)
    assert curve(values) == [1, 3, 5, 7, 8, 8, 9, 9, 9]
    assert curve(np.array([], np.int64)) == []


@pytest.mark.parametrize("n", [1, 7, 100, 299, 10_000])
def test_points_of_the_curve_are_the_percentiles(n):
    values = np.random.default_rng(n).integers(1, 10**9, n)
    found = curve(values)
    assert found == sorted(found)
    for share, ns in zip(SHARES[1:], found[1:], strict=False):
        assert ns == nearest_rank(values, float(1 - share))


def test_a_request_that_never_completed_is_above_all_others():
    assert curve(np.array([1, 2, 3, CENSORED_NS], np.int64)) == [1, 2, 2, 3, 3]
    assert curve(np.full(2, CENSORED_NS)) == [None, None, None]


def test_bounds_enclose_the_percentile_and_miss_where_requests_are_few():
    values = np.arange(1, 1001)
    for (low, high), at in zip(bounds(values), (500, 950, 990), strict=True):
        assert low < at < high
    assert bounds(values[:10])[2][1] is None
    assert bounds(values[:0]) == []


def test_blocks_by_hand():
    at = np.array([0, 1, 9, 10, 25, 101, 119], np.int64)
    took = np.array([5, 3, 4, 7, CENSORED_NS, 1, 2], np.int64)
    assert by_block(at, took, [(0, 30), (100, 115)], 10) == {
        "n": [3, 1, 1, 1, 0],
        "p50_ns": [4, 7, None, 1, None],
        "p99_ns": [5, 7, None, 1, None],
        "max_ns": [5, 7, None, 1, None],
    }

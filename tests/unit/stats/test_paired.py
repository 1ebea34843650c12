"""Bounds from a few episodes: by hand where they are few, and their error rate under drift."""

import json
import math

import numpy as np
import pytest

from pytest_xsched import InvalidRun
from pytest_xsched.stats.paired import (
    beyond,
    bounds,
    episodes_needed,
    mean_estimate,
    noise_floor,
    ratio_estimate,
    show_bounds,
)


def test_six_episodes_are_the_fewest():
    assert episodes_needed() == 6
    assert episodes_needed(0.5) == 2
    assert bounds(np.arange(5.0)) == (-math.inf, math.inf)
    assert bounds(np.zeros(0)) == (-math.inf, math.inf)
    # Of six, 1 of 64 parts is outside on either side: below the least, above the greatest.
    assert bounds(np.array([3.0, 1, 2, 6, 5, 4])) == (1, 6)


def test_seven_episodes_by_hand():
    # floor(0.025 * 128) = 3 parts: the third smallest mean of a subset of 1, 2, 4, ..., 64
    # is (1, 1.5 = (1 + 2) / 2, 2), the third greatest (64, 48 = (64 + 32) / 2, 40).
    low, high = bounds(2.0 ** np.arange(7))
    assert (low, high) == (2, 40)


def test_equal_episodes_have_no_width():
    assert bounds(np.full(7, 0.25)) == (0.25, 0.25)


def test_many_episodes_are_bounded_by_some_of_their_subsets():
    values = np.random.default_rng(0).normal(5, 1, 40)
    low, high = bounds(values)
    assert values.min() < low < values.mean() < high < values.max()
    assert high - low == pytest.approx(4 / math.sqrt(40), rel=0.3)
    assert bounds(values) == (low, high)


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_error_rate(drift):
    """Paired values, symmetric about 0, of different spreads: outside in at most 5 %."""
    random = np.random.default_rng(5)
    outside = 0
    for _ in range(2000):
        spreads = random.uniform(0.1, 3, 7)
        values = random.standard_normal(7) * spreads + drift * random.standard_normal(7)
        low, high = bounds(values)
        outside += not low <= 0 <= high
    # 6 of 128 parts are outside: 4.7 %; 2.3 standard deviations of the count.
    assert 2000 * 0.0469 - 65 < outside < 2000 * 0.0469 + 22 + 0.5


def test_ratio_and_its_inverse():
    ratio = ratio_estimate([2.0, 8, 4, 4, 4, 4], [1.0] * 6)
    assert ratio.value == pytest.approx(4)
    assert (ratio.low, ratio.high) == (pytest.approx(2), pytest.approx(8))
    assert ratio.episodes == (2, 8, 4, 4, 4, 4)
    inverse = ratio.inverse()
    assert (inverse.value, inverse.low, inverse.high) == pytest.approx((1 / 4, 1 / 8, 1 / 2))
    few = ratio_estimate([2.0], [1.0])
    assert (few.value, few.low, few.high) == (pytest.approx(2), 0, math.inf)
    assert (few.inverse().low, few.inverse().high) == (0, math.inf)
    assert few.to_dict()["low"] is few.to_dict()["high"] is None
    assert show_bounds(few) == "no bounds"
    assert show_bounds(ratio) == "2 to 8"
    json.dumps([few.to_dict(), ratio.to_dict()], allow_nan=False)


def test_noise_is_a_factor_either_way():
    assert noise_floor(ratio_estimate([0.5] * 6, [1.0] * 6)) == pytest.approx(2)
    assert noise_floor(ratio_estimate([2.0] * 6, [1.0] * 6)) == pytest.approx(2)
    assert noise_floor(ratio_estimate([1.0] * 5, [1.0] * 5)) == math.inf


def test_a_difference_is_sure_and_beyond_the_noise():
    sure = ratio_estimate([1.2] * 6, [1.0] * 6)
    assert beyond(sure, 1.1)
    assert beyond(sure.inverse(), 1.1)
    assert not beyond(sure, 1.3)
    assert not beyond(sure, math.inf)
    unsure = ratio_estimate([1.2, 0.9, 2, 2, 2, 2], [1.0] * 6)
    assert not beyond(unsure, 1)


def test_mean():
    mean = mean_estimate([0.4, 0.5, 0.6])
    assert mean.value == pytest.approx(0.5)
    with pytest.raises(InvalidRun, match="no verdict: 3 episodes give no bounds, which takes at "):
        float(mean)
    assert mean.low == -math.inf

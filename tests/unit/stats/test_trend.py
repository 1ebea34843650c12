"""Series that rise, and those that only seem to."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_xsched.stats.trend import LEAST, rises


def test_a_line_rises_and_its_reverse_does_not():
    line = np.linspace(1.0, 2.0, 15)
    assert rises(line)
    assert not rises(line[::-1])
    assert not rises(np.ones(15))


def test_a_step_rises():
    assert rises(np.repeat([1.0, 1.5], 10))
    assert not rises(np.repeat([1.5, 1.0], 10))


def test_a_rise_by_little_is_none():
    assert not rises(np.linspace(1.0, 1.05, 40))
    assert rises(np.linspace(1.0, 1.05, 40), share=0.01)


def test_few_values_show_no_trend():
    assert not rises(np.arange(1.0, LEAST))
    assert rises(np.arange(1.0, LEAST + 1))


def test_what_never_completed_is_the_largest():
    assert rises(np.append(np.arange(1.0, 11.0), [np.inf] * 5))
    assert not rises(np.full(20, np.inf))


@pytest.mark.parametrize("n", [10, 15, 60])
def test_noise_seems_to_rise_as_rarely_as_it_says(n):
    rng = np.random.default_rng(2)
    found = sum(rises(rng.lognormal(0, 0.5, n)) for _ in range(2000))
    assert 4 <= found <= 36  # 1 % of 2,000 is 20


def test_a_drift_of_a_tenth_a_window_is_found():
    rng = np.random.default_rng(3)
    drift = np.linspace(1.0, 1.5, 15)
    found = sum(rises(drift * rng.lognormal(0, 0.1, 15)) for _ in range(200))
    assert found >= 180

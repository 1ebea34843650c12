"""Two schedulers and each queue alone, measured alternately in seven episodes.

The first scheduler is measured twice an episode: how far it differs from itself is the noise.
"""

import pytest

from pytest_xsched import spin


@pytest.fixture(scope="module")
def comparison(xsched):
    high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
    low = xsched.queue("low", spin("5ms", layers=4), priority=1)
    return xsched.compare(
        high, low, schedulers=["native", "builtin"], arms=["alone"], duration="15s"
    )


def test_high_improves(comparison):
    comparison.high.assert_p99_improved(by=3)


def test_low_keeps_its_throughput(comparison):
    comparison.low.assert_best_effort_kept(0.9)  # of its throughput under native


def test_contention_is_removed(comparison):
    removed = comparison.high.contention_removed(0.99)  # 1: as if alone; 0: no effect
    assert float(removed) > 0.7

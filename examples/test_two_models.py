"""Two models share a device: `high` must stay fast while `low` takes the rest.

pytest -p xsched examples/test_two_models.py
"""

import pytest

from pytest_xsched import spin


@pytest.fixture(scope="module")
def queues(xsched):
    # A request is 20 commands of 0.1 ms, five times a second.
    high = xsched.queue("high", spin("100us", layers=20), priority=10, rate="5/s")
    # No rate: the next request follows at once. A request is 50 commands of 5 ms.
    low = xsched.queue("low", spin("5ms", layers=50), priority=1)
    return high, low


@pytest.fixture(scope="module")
def run(xsched, queues):
    return xsched.run(*queues, duration="30s")


def test_high_is_fast(run):
    run.high.assert_percentile_below(0.9, "75ms")


def test_high_keeps_up(run):
    run.high.assert_throughput_at_least("5/s", tolerance="1%")


def test_low_is_not_starved(run):
    run.low.assert_longest_wait_below("5s")


def test_the_scheduler_is_the_reason(xsched, queues):
    comparison = xsched.compare(*queues, schedulers=["native", "builtin"], duration="2s")
    comparison.high.assert_percentile_improved(0.5, by=2)

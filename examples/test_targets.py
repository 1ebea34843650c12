"""Every target that a queue can have, on one run.

The run is paid for once; each assertion is a verdict of its own in the report.
"""

import pytest

from pytest_xsched import spin


@pytest.fixture(scope="module")
def queues(xsched):
    high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
    low = xsched.queue("low", spin("5ms", layers=4), priority=1)
    return high, low


@pytest.fixture(scope="module")
def run(xsched, queues):
    return xsched.run(*queues, duration="60s")


def test_latency(run):
    run.high.assert_p99_below("12ms")
    run.high.assert_percentile_below(0.5, "8ms")
    run.high.assert_max_below("15ms")
    run.high.assert_tail_ratio_below(4)  # P99 / P50


def test_rates(run):
    run.high.assert_throughput_at_least("20/s", tolerance="1%")
    run.high.assert_attainment_at_least("12ms", "99%")  # the share of requests in time
    run.high.assert_goodput_at_least("12ms", "19/s")  # requests in time, per second
    run.high.assert_no_errors()


def test_low(run):
    run.low.assert_longest_wait_below("100ms")  # in which nothing of a request moves


def test_slowdown_against_alone(xsched, queues, run):
    alone = xsched.run(queues[0], duration="60s")
    run.high.assert_slowdown_below(8, alone=alone.high)  # P99 against P99

"""Two models share a device: `high` must stay fast while `low` takes what is left.

pytest -p xsched examples/test_two_models.py
"""

import pytest

from pytest_xsched import matmul


@pytest.fixture(scope="module")
def mix(xsched):
    on_cpu = xsched.device_kind == "cpu"  # sizes that fit the embedded device
    high = matmul(256) if on_cpu else matmul(512)
    low = matmul(256, layers=4) if on_cpu else matmul(1024, batch=8)
    return (
        xsched.queue("high", high, priority=10, rate="20/s"),
        xsched.queue("low", low, priority=1),  # no rate: closed loop, as fast as it can
    )


@pytest.fixture(scope="module")
def scheduled(xsched, mix):
    return xsched.run(*mix, duration="60s")


def test_latency(scheduled):
    scheduled.high.assert_p99_below("50ms")


def test_keeps_up(scheduled):
    scheduled.high.assert_throughput_at_least("20/s", tolerance="1%")


def test_is_steady(scheduled):
    scheduled.high.assert_percentile_below(0.5, "20ms")
    scheduled.high.assert_tail_ratio_below(10)  # P99 / P50


def test_not_starved(scheduled):
    scheduled.low.assert_throughput_at_least("40/s")

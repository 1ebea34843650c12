"""A model next to another in virtual time, from profiles that were recorded on a GPU.

ResNet-50 answers requests while a transformer stack keeps the GPU busy. `pytest-xsched record`
makes such a profile of a model of your own.
"""

import pytest

from pytest_xsched import SimModel, recorded


@pytest.fixture(scope="module")
def run(xsched):
    high = xsched.queue("high", recorded("resnet50"), priority=10, rate="50/s")
    low = xsched.queue("low", recorded("transformer"), priority=1)
    return xsched.run(high, low, duration="60s", sim=SimModel.gpu())


def test_high_is_fast(run):
    run.high.assert_p99_below("2ms")


def test_low_goes_on(run):
    run.low.assert_throughput_at_least("50/s")

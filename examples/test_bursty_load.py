"""The same rate as an even stream, at random, and in bursts: only the tail differs.

All arrivals are made before the run, from a seed, so a slow answer delays no later request.
"""

import pytest

from pytest_xsched import bursts, constant, poisson, spin

LOADS = {
    "even": (constant("100/s"), "12ms"),
    "random": (poisson("100/s"), "20ms"),
    "bursts": (bursts("100/s", on="250ms", off="750ms"), "40ms"),
}


@pytest.mark.parametrize("load", LOADS)
def test_load(xsched, load):
    arrivals, limit = LOADS[load]
    high = xsched.queue("high", spin("2ms"), priority=10, arrivals=arrivals)
    low = xsched.queue("low", spin("5ms", layers=4), priority=1)
    xsched.run(high, low, duration="30s").high.assert_p99_below(limit)

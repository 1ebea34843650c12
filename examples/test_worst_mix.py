"""The worst neighbours that a search finds, instead of the ones that you thought of.

`contentions` is the space: up to three other queues next to `high`.
"""

from pytest_xsched import spin
from pytest_xsched.stress.strategies import contentions


def test_the_worst_mix(xsched):
    high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s", threshold=1, batch_size=1)
    space = contentions(high, others=3, thresholds=[1, 2, 4])
    found = xsched.search(space, queue="high", objective="p99/alone", examples=50)
    found.assert_worst_case_below(100)

"""A priority that changes during the run: after 10 s the two queues change places.

The latencies before and after the change come from the samples of the run.
"""

from pytest_xsched import at, spin


def test_the_queues_change_places(xsched):
    a = xsched.queue("a", spin("1ms", layers=30), priority=2, rate="20/s")
    b = xsched.queue("b", spin("1ms", layers=30), priority=1, rate="10/s")
    steady = xsched.run(a, b, duration="20s")
    changed = xsched.run(a, b, duration="20s", changes=[at("10s", "a", priority=0)])
    assert changed.a.p99 > steady.a.p99

"""Live XQueues: what a scheduler does, one command at a time.

The low queue has work, but the policy suspends it until the high queue is done.
"""

from pytest_xsched import spin


def test_low_waits_for_high(xqueues):
    high, low = xqueues(priority=10), xqueues(priority=1, threshold=2, batch_size=1)
    work = high.submit(spin("50ms", layers=4))
    waiting = low.submit(spin("1ms"))
    assert low.state == "suspended"
    work.wait()
    waiting.wait()
    assert waiting.launched_ns > work.launched_ns

"""Two queues of equal priority with deadlines: `edf` meets both, without it `tight` is late.

The policy `edf` serves the queue whose oldest request is due first.
"""

from pytest_xsched import spin


def test_both_meet_their_deadlines(xsched):
    tight = xsched.queue("tight", spin("1ms", layers=4), rate="20/s", deadline="10ms")
    loose = xsched.queue("loose", spin("1ms", layers=30), rate="20/s", deadline="60ms")
    run = xsched.run(tight, loose, duration="20s", policy="edf")
    run.tight.assert_p99_below("10ms")
    run.loose.assert_p99_below("60ms")

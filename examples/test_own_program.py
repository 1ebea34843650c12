"""A program of one's own, in a process of its own, next to a queue of this package.

Run it with --xsched-device=cpu or on a GPU: virtual time has no processes.
"""

import sys
from pathlib import Path

from pytest_xsched import command, spin

SERVE = Path(__file__).with_name("serve.py")


def test_serving(xsched):
    serve = command([sys.executable, str(SERVE)])
    high = xsched.queue("high", serve, priority=10, rate="5/s")
    low = xsched.queue("low", spin("1ms"), priority=1)
    run = xsched.run(high, low, duration="2s", scheduler="native")
    run.high.assert_throughput_at_least("5/s", tolerance="10%")

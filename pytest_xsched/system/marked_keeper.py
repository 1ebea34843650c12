"""Kill the processes that carry a mark when the parent process ends, whatever ended it.

`python -m pytest_xsched.system.marked_keeper NAME=VALUE` waits until its stdin ends, which the
parent holds open. Then it kills all processes that were started with that variable.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pytest_xsched.system.process_tree import kill_marked


def start(mark: str) -> subprocess.Popen[bytes]:
    """Start a keeper; it ends when its stdin is closed.

    Args:
        mark: "NAME=VALUE" of the variable.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "pytest_xsched.system.marked_keeper", mark],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in a terminal must not end it
    )


def main(mark: str) -> None:
    """Wait, and kill."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    kill_marked(mark)


if __name__ == "__main__":
    main(sys.argv[1])

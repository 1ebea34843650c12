"""A child process that leads a group of its own: whether it has ended, and the end of the group.

Its status is taken last. Until then the kernel gives its id to nobody else, and what is sent to the
group reaches no stranger.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

_POLL_S = 0.01


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Look without taking its status."""
    if process.returncode is not None:
        return True
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, look) is not None


def await_end(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for its end, without taking its status; whether it came."""
    deadline_s = time.monotonic() + timeout_s
    while not has_ended(process):
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to it and to what it has started; to nobody when its status was taken."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def kill_group(process: subprocess.Popen[bytes]) -> int:
    """Kill what there still is of it and of what it has started; give its status."""
    signal_group(process, signal.SIGKILL)
    return process.wait()

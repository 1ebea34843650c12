"""A child process and what it has started: who descends from whom, whether it has ended, the end.

It leads a group of its own. Its status is taken last: until then the kernel gives its id to nobody
else, and what is sent to the group reaches no stranger.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

_PROC = Path("/proc")
_POLL_S = 0.01


def descent(process: int, proc: Path = _PROC) -> list[int]:
    """Give a process and those that it descends from, by their ids, the nearest first."""
    line = []
    while process > 0:
        line.append(process)
        try:
            status = (proc / str(process) / "status").read_text(errors="replace").splitlines()
        except OSError:  # it has ended
            break
        parents = [entry.split()[1] for entry in status if entry.startswith("PPid:")]
        process = int(parents[0]) if parents else 0
    return line


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Look without taking its status."""
    if process.returncode is not None:
        return True
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    try:
        return os.waitid(os.P_PID, process.pid, look) is not None
    except ChildProcessError:  # somebody else took its status, or SIGCHLD is ignored
        process.poll()
        return True


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

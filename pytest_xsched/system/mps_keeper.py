"""Start NVIDIA's MPS control daemon, and end it and its servers when the parent process ends.

`python -I mps_keeper.py PARENT REPORT_FD DIRECTORY PROGRAM` starts `PROGRAM -d`, writes "ready" to
REPORT_FD, and waits until its stdin ends, a signal comes, or the parent has ended, whatever ended
it. Then it tells the daemon to quit, kills what is left of it, and removes DIRECTORY. A daemon
leaves its session and its parent, so no process group and no death signal reaches it; but this
process is the subreaper of all that it starts. It runs as a file and not as a module, because it
needs only the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
START_S = 10.0
"""Longest time in which the daemon starts."""
QUIT_S = 3.0
"""Time that the daemon has for its end, and then again each server."""
_POLL_S = 0.5
_PAUSE_S = 0.02
NOT_STARTED = 126
"""Exit status when the program cannot be started, as a shell has it."""

_ends: list[int] = []
"""The signals that came."""


def command_line(program: str, directory: str, report_fd: int) -> list[str]:
    """Return the command line of a keeper whose parent is this process."""
    words = [str(os.getpid()), str(report_fd), directory, program]
    return [sys.executable, "-I", os.path.abspath(__file__), *words]


def main(arguments: list[str]) -> int:
    """Keep a daemon until its time is over; return the exit status."""
    parent, report_fd = int(arguments[0]), int(arguments[1])
    directory, program = arguments[2:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, _note)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request
        return 1
    try:
        status = _start(program)
        if status == 0:
            os.write(report_fd, b"ready\n")
            while not _ends and not select.select([0], [], [], _POLL_S)[0]:
                _reap()
        return status
    finally:
        _end(program)
        shutil.rmtree(directory, ignore_errors=True)


def _note(number: int, frame: FrameType | None) -> None:
    _ends.append(number)


def _start(program: str) -> int:
    try:
        return subprocess.run([program, "-d"], stdin=subprocess.DEVNULL, timeout=START_S).returncode
    except subprocess.TimeoutExpired:
        print(f"{program} -d did not return within {START_S:g} s", flush=True)
    except OSError as error:
        print(f"{program}: {error.strerror}", flush=True)
    return NOT_STARTED


def _end(program: str) -> None:
    """End the daemon by its own command, and kill what is left of all that was started here."""
    if not _descendants():
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run([program], input=b"quit\n", stdout=subprocess.DEVNULL, timeout=QUIT_S)
    deadline_s = time.monotonic() + QUIT_S
    while left := _descendants():
        for process in left if time.monotonic() > deadline_s else ():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if time.monotonic() > deadline_s + QUIT_S:
            return  # the kernel takes long to end one; it has got its signal
        time.sleep(_PAUSE_S)
        _reap()


def _reap() -> None:
    """Take the exit status of what has ended, which else stays a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass


def _descendants() -> set[int]:
    """Return the ids of the processes that descend from this one and have not ended."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(stat.parent.name)] = int(parent)
    found = {os.getpid()}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

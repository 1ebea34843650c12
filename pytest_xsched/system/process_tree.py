"""Processes that belong together: which a process descends from, which carry a mark.

Read from /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_ROUNDS = 100
_PAUSE_S = 0.01

_PROC = Path("/proc")


def ancestry(process: int, proc: Path = _PROC) -> list[int]:
    """Return the ids of a process and of all its ancestors that still run, the nearest first."""
    line = []
    while process > 0:
        line.append(process)
        try:
            status = (proc / str(process) / "status").read_text(errors="replace").splitlines()
        except OSError:  # the process has ended
            break
        parents = [entry.split()[1] for entry in status if entry.startswith("PPid:")]
        process = int(parents[0]) if parents else 0
    return line


def marked(variable: str, proc: Path = _PROC) -> list[int]:
    """Return the ids of the processes that were started with a variable, as "NAME=VALUE".

    A process inherits it whatever session or parent it has. Processes of other users are left out.
    """
    found = []
    for directory in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable.encode() in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
    return found


def kill_marked(variable: str) -> None:
    """Kill the processes that were started with a variable, and those that these start meanwhile.

    This process is spared, and so is one that the kernel takes longer than a second to end.
    """
    for _ in range(_ROUNDS):
        left = [process for process in marked(variable) if process != os.getpid()]
        if not left:
            return
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_PAUSE_S)

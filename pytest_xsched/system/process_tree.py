"""Which processes a process descends from, read from /proc/PID/status."""

from __future__ import annotations

from pathlib import Path

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

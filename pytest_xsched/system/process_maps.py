"""Which files a process has mapped, read from /proc/PID/maps."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")


def mapped_files(process: int | None = None, proc: Path = _PROC) -> list[str]:
    """Return the absolute paths of the files that a process has mapped, sorted, each once.

    Args:
        process: its id; None: this process.
        proc: where the kernel shows processes.

    Raises:
        OSError: the process has ended, or belongs to another user.
    """
    name = "self" if process is None else str(process)
    with open(proc / name / "maps", encoding="utf-8", errors="surrogateescape") as maps:
        columns = [line.rstrip("\n").split(maxsplit=5) for line in maps]
    # The sixth column also has names such as [stack], and a path may contain spaces.
    return sorted({column[5] for column in columns if len(column) == 6 and column[5][0] == "/"})

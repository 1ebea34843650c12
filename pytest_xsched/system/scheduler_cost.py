"""What the threads of a scheduler cost, by the kernel's counters of each thread.

XSched has threads of its own. They have the name `SCHEDULER`, because a new thread has the name of
the thread that creates it, and the runner has this name while XSched may create threads. Our own
scheduler works in the threads of the queues, which also launch commands and wait for the device.
They have the name `QUEUES`. `native/base/thread.h` has both names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_xsched.base.units import Duration

__all__ = ["QUEUES", "SCHEDULER", "SchedulerCost", "read_cost", "run_delay_ns"]

SCHEDULER, QUEUES = "xs-scheduler", "xs-queue"
"""Names of threads; see above."""

_PROC = Path("/proc/self")


@dataclass(frozen=True, slots=True)
class SchedulerCost:
    """What the threads of a scheduler have used; the difference of two is what they used between.

    Attributes:
        by_thread: of each thread, by its id: processor time in ns, how often it waited and so was
            woken, and how often the kernel took its processor away.
    """

    by_thread: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    def __sub__(self, earlier: SchedulerCost) -> SchedulerCost:
        """Return what the threads used since `earlier`, with all of the threads that are new."""
        before = earlier.by_thread
        return SchedulerCost(
            {
                thread: (cpu - was[0], wakeups - was[1], preemptions - was[2])
                for thread, (cpu, wakeups, preemptions) in self.by_thread.items()
                for was in (before.get(thread, (0, 0, 0)),)
            }
        )

    def _sum(self, column: int) -> int:
        return sum(row[column] for row in self.by_thread.values())

    @property
    def threads(self) -> int:
        """How many threads the scheduler has."""
        return len(self.by_thread)

    @property
    def processor_time(self) -> Duration:
        """Processor time of all of its threads."""
        return Duration(self._sum(0))

    @property
    def wakeups(self) -> int:
        """How often one of its threads waited, and so was woken: voluntary context switches."""
        return self._sum(1)

    @property
    def preemptions(self) -> int:
        """How often the kernel gave the processor of one of them to another thread."""
        return self._sum(2)

    def rows(self) -> list[list[int]]:
        """Return it in JSON's types; `from_rows` reads them back."""
        return [[thread, *row] for thread, row in self.by_thread.items()]

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> SchedulerCost:
        """Return the cost that `rows` has written."""
        return cls({thread: (cpu, wakeups, preempted) for thread, cpu, wakeups, preempted in rows})


def read_cost(name: str, proc: Path = _PROC) -> SchedulerCost:
    """Read what the threads of this process with a name have used so far.

    Args:
        name: SCHEDULER or QUEUES.
        proc: of this process.

    Returns:
        Of no thread, where the kernel has no such counters.

    Source: Linux, Documentation/filesystems/proc.rst and Documentation/scheduler/sched-stats.rst.
    """
    found = {}
    for task in _tasks(proc):
        try:
            # The first thread is that of the program: it has the name for moments only.
            if int(task.name) == os.getpid() or (task / "comm").read_text().strip() != name:
                continue
            cpu_ns = int((task / "schedstat").read_bytes().split()[0])
            status = dict(
                line.split(":", 1)
                for line in (task / "status").read_text(errors="replace").splitlines()
                if ":" in line
            )
            found[int(task.name)] = (
                cpu_ns,
                int(status["voluntary_ctxt_switches"]),
                int(status["nonvoluntary_ctxt_switches"]),
            )
        except (OSError, ValueError, IndexError, KeyError):
            continue  # the thread ended meanwhile, or the kernel does not count
    return SchedulerCost(found)


def run_delay_ns(proc: Path = _PROC) -> int:
    """Return how long threads of this process were ready to run and had no processor, so far.

    It is the sum over all threads: even where each one waits for another, the last one is late by
    at most that. 0 where the kernel does not count.

    Source: Linux, Documentation/scheduler/sched-stats.rst, the second field.
    """
    total_ns = 0
    for task in _tasks(proc):
        with contextlib.suppress(OSError, ValueError, IndexError):
            total_ns += int((task / "schedstat").read_bytes().split()[1])
    return total_ns


def _tasks(proc: Path) -> list[Path]:
    try:
        return list((proc / "task").iterdir())
    except OSError:
        return []

"""What a scheduler costs during a run: processor time and wake-ups of its threads in the window."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.units import format_duration
from pytest_xsched.system.scheduler_cost import (
    QUEUES,
    SCHEDULER,
    SchedulerCost,
    read_cost,
    run_delay_ns,
)

PERIOD_NS = 100_000_000
"""Between two reads. A thread that ended has what the last read before that showed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """What the threads of the scheduler used in the measured windows of a run.

    Attributes:
        own_threads: whether they are threads of the scheduler alone, as under XSched. Our own
            scheduler works in the threads of the queues, which also launch and wait.
        threads: how many there were.
        processor_ns: processor time of all of them.
        wakeups: how often one of them waited, and so was woken.
        preemptions: how often the kernel gave the processor of one of them to another thread.
        start_ns: first read, since the start of the run; of the latest window.
        end_ns: last read, likewise.
        over_ns: time between first and last read; of all windows together.
        requests: requests that were submitted in that time.
        run_delay_ns: how long threads of the process had to wait for a processor, from the first
            read to the end of the run: the sum over all of its threads.
    """

    own_threads: bool
    threads: int
    processor_ns: int
    wakeups: int
    preemptions: int
    start_ns: int
    end_ns: int
    over_ns: int
    requests: int = 0
    run_delay_ns: int = 0

    @property
    def processors(self) -> float:
        """How many processors it used: 0.05 is a twentieth of one."""
        return self.processor_ns / self.over_ns

    @property
    def wakeups_per_request(self) -> float:
        """Wake-ups for each request; of no request, inf."""
        return self.wakeups / self.requests if self.requests else float("inf")

    def of_requests(self, samples: Sequence[NDArray[np.void]]) -> RunCost:
        """Return the cost with the count of the requests, from the samples of all queues."""
        count = 0
        for one in samples:
            at_ns = one["submitted_ns"]
            count += int(np.count_nonzero((at_ns >= self.start_ns) & (at_ns < self.end_ns)))
        return dataclasses.replace(self, requests=count)

    def added_to(self, before: RunCost | None) -> RunCost:
        """Return the cost of this window and of those before it."""
        if before is None:
            return self
        names = ("processor_ns", "wakeups", "preemptions", "over_ns", "requests", "run_delay_ns")
        sums = {name: getattr(self, name) + getattr(before, name) for name in names}
        return dataclasses.replace(self, threads=max(self.threads, before.threads), **sums)

    def __str__(self) -> str:
        whose = "of the scheduler" if self.own_threads else "of the queues"
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''} {whose}"
        return (
            f"{threads}, {format_duration(self.processor_ns)} of processor time in "
            f"{format_duration(self.over_ns)}, {self.wakeups} wake-ups and {self.preemptions} "
            f"preemptions for {self.requests} requests"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types; `from_dict` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunCost:
        """Return the cost that `to_dict` has written."""
        return cls(**data)


class CostReader:
    """Reads the counters of the scheduler's threads during a window.

    Args:
        own_threads: see `RunCost`.
        start_ns: begin of the window, since the start of the run.
        end_ns: its end.
        read: reads the threads of a name.
        delay: reads how long threads of the process had to wait for a processor, in ns.
    """

    def __init__(
        self,
        *,
        own_threads: bool,
        start_ns: int,
        end_ns: int,
        read: Callable[[str], SchedulerCost] = read_cost,
        delay: Callable[[], int] = run_delay_ns,
    ) -> None:
        self._own_threads = own_threads
        self._start_ns, self._end_ns = start_ns, end_ns
        self._read = read
        self._delay = delay
        self._delays_ns: list[int] = []  # at the first poll, and at the end of the run
        self._first: SchedulerCost | None = None
        self._latest: dict[int, tuple[int, int, int]] = {}
        self._from_ns = self._to_ns = 0

    def poll(self, now_ns: int, *, last: bool = False) -> None:
        """Read the counters if a period has passed, or at the end of the run.

        Args:
            now_ns: time since the start of the run.
            last: whether the run has ended, which may be before the window does.
        """
        if last or not self._delays_ns:
            self._delays_ns.append(self._delay())
        if now_ns < self._start_ns or (now_ns > self._end_ns and self._first is not None):
            return
        if self._first is not None and now_ns - self._to_ns < PERIOD_NS and not last:
            return
        found = self._read(SCHEDULER if self._own_threads else QUEUES)
        if self._first is None:
            self._first, self._from_ns = found, now_ns
        self._latest.update(found.by_thread)  # a thread that ended keeps what it had
        self._to_ns = now_ns

    def cost(self) -> RunCost | None:
        """Return the cost of the window; None: it was too short, or the kernel does not count."""
        if self._first is None or self._to_ns == self._from_ns or not self._latest:
            return None
        used = SchedulerCost(self._latest) - self._first
        return RunCost(
            own_threads=self._own_threads,
            threads=used.threads,
            processor_ns=used.processor_time.ns,
            wakeups=used.wakeups,
            preemptions=used.preemptions,
            start_ns=self._from_ns,
            end_ns=self._to_ns,
            over_ns=self._to_ns - self._from_ns,
            run_delay_ns=self._delays_ns[-1] - self._delays_ns[0],
        )


def unite_costs(parts: Sequence[RunCost]) -> RunCost | None:
    """Return the cost of several processes that measured at the same time."""
    if not parts:
        return None
    sums = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("threads", "processor_ns", "wakeups", "preemptions", "run_delay_ns")
    }
    start_ns, end_ns = min(p.start_ns for p in parts), max(p.end_ns for p in parts)
    return dataclasses.replace(
        parts[0], start_ns=start_ns, end_ns=end_ns, over_ns=end_ns - start_ns, **sums
    )

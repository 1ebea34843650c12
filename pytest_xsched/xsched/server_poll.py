"""Whether XSched schedules the work of programs: poll its server while they run.

A program may launch work past XSched, on a default stream for example, and nothing counts that.
But the server knows of every XQueue whether it has unfinished work. So a thread polls it at
irregular times, which no period of requests can keep step with. Of the polls during a request of a
program, those are counted at which XSched had work of it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.system.process_tree import ancestry

PERIOD_NS = 20_000_000
"""Average time between two polls."""
POLLS_NEEDED = 50
"""Polls during requests that show no work, until that is an error. A program that has its work in
XSched for a tenth of the time of its requests shows none in one run of 200, for a fifth in one of
50,000."""
REQUESTS_NEEDED = 10
"""Requests that these polls came into: all polls of one request may meet what it does on the host.
"""
POLLS_NEEDED_SILENT = 200
"""The same for a program that reports no requests: it is there to contend, all the time."""
LITTLE = 0.1
"""The report marks a smaller share of polls: XSched may schedule a side issue of the program."""
_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How often XSched had work of one program when its server was polled.

    Attributes:
        reports_requests: whether the program reports requests. If not, all polls in the measured
            window count.
        polls: those during requests: from begin to end in one request, because the moment at which
            the server read its state is not known more precisely.
        requests: in which there was a poll.
        polls_with_work: of `polls`, those at which XSched had unfinished work of the program.
        ever_had_work: whether it had such work at any poll of the window.
        had_unknown_process: whether XSched ever had work of a process that this run has not
            started, which may be one of the program's.
    """

    reports_requests: bool
    polls: int
    requests: int
    polls_with_work: int
    ever_had_work: bool
    had_unknown_process: bool = False

    def __add__(self, other: Coverage) -> Coverage:
        """Return the coverage in two windows together."""
        return Coverage(
            reports_requests=self.reports_requests,
            polls=self.polls + other.polls,
            requests=self.requests + other.requests,
            polls_with_work=self.polls_with_work + other.polls_with_work,
            ever_had_work=self.ever_had_work or other.ever_had_work,
            had_unknown_process=self.had_unknown_process or other.had_unknown_process,
        )

    @property
    def is_conclusive(self) -> bool:
        """Check whether the polls would have met work of the program if XSched had had any."""
        if not self.reports_requests:
            return self.polls >= POLLS_NEEDED_SILENT
        return self.polls >= POLLS_NEEDED and self.requests >= REQUESTS_NEEDED

    def fault(self, name: str) -> str | None:
        """Return a sentence where it is shown that XSched had no work of the program of a queue."""
        if self.ever_had_work or self.had_unknown_process or not self.is_conclusive:
            return None
        return (
            f"scheduler inactive: queue {name!r}: XSched had unfinished work of its program at "
            f"{self}: what the program launches goes past XSched, as all work on the default "
            "stream does"
        )

    def __str__(self) -> str:
        during = f" during {self.requests} requests" if self.reports_requests else ""
        return f"{self.polls_with_work} of {self.polls} polls{during}"

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "reports": self.reports_requests,
            "looks": self.polls,
            "requests": self.requests,
            "had": self.polls_with_work,
            "ever": self.ever_had_work,
            "astray": self.had_unknown_process,
            "tells": self.is_conclusive,
            "little": self.polls_with_work < LITTLE * self.polls or not self.ever_had_work,
            "said": str(self),
        }


class _Poll(NamedTuple):
    begin_ns: int
    end_ns: int
    processes: frozenset[int]
    """Processes that had work in XSched, and all their ancestors."""
    had_unknown_process: bool
    """Whether one of them does not descend from this process."""


class ServerPoller:
    """Polls a server from a thread of its own, until `stop`.

    Args:
        busy_processes: returns the ids of the processes with an XQueue that has unfinished work;
            None: the server does not answer.
    """

    def __init__(self, busy_processes: Callable[[], Iterable[int] | None]) -> None:
        self._busy_processes = busy_processes
        self._polls: list[_Poll] = []
        self._error: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xsched-server-poll", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        chance = random.Random(0)
        try:
            while not self._over.wait(chance.uniform(0.5, 1.5) * PERIOD_NS / 1e9):
                self._poll()
        except Exception as error:
            self._error = error  # `coverage_of` raises it

    def _poll(self) -> None:
        begin_ns = time.monotonic_ns()
        busy = self._busy_processes()
        end_ns = time.monotonic_ns()
        if busy is None:
            return
        lines = [ancestry(process) for process in busy]
        had_unknown_process = any(os.getpid() not in line for line in lines)
        processes = frozenset().union(*lines)
        self._polls.append(_Poll(begin_ns, end_ns, processes, had_unknown_process))

    def stop(self) -> None:
        """Stop polling."""
        self._over.set()
        self._thread.join(_PATIENCE_S)

    def coverage_of(
        self, process: int, window_ns: tuple[int, int], requests_ns: NDArray[np.int64] | None
    ) -> Coverage:
        """Return how often XSched had work of a program.

        Args:
            process: from which all processes of the program descend.
            window_ns: begin and end of the measured window, by the monotonic clock.
            requests_ns: int64[n, 2], begin and end of its requests by the same clock, one after the
                other; None: the program reports none.
        """
        if self._error is not None:
            raise self._error
        start, end = window_ns
        polls = [poll for poll in self._polls if start <= poll.begin_ns and poll.end_ns <= end]
        spans = np.array([window_ns]) if requests_ns is None else requests_ns
        begins = np.array([poll.begin_ns for poll in polls], np.int64)
        ends = np.array([poll.end_ns for poll in polls], np.int64)
        latest = np.searchsorted(spans[:, 0], begins, side="right") - 1
        during = (latest >= 0) & (ends <= np.append(spans[:, 1], 0)[latest])
        had_work = np.array([process in poll.processes for poll in polls], bool)
        return Coverage(
            reports_requests=requests_ns is not None,
            polls=int(np.count_nonzero(during)),
            requests=len(np.unique(latest[during])),
            polls_with_work=int(np.count_nonzero(had_work & during)),
            ever_had_work=bool(had_work.any()),
            had_unknown_process=any(poll.had_unknown_process for poll in polls),
        )

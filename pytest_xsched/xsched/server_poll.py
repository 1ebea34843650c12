"""Whether XSched has the work of programs: looks at its server while they run.

What a program launches past XSched, on a default stream say, nobody counts. But the server knows of
every XQueue whether it has unfinished work. So it is asked again and again, at times that no period
of requests can keep step with. Of the looks that came while the program served a request, those are
counted at which XSched had work of it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.system.process_tree import ancestry

PERIOD_NS = 20_000_000
"""Between two looks, on average."""
ENOUGH = 50
"""Looks into requests that show nothing, until that is an error: of a program that has its work in
XSched for a tenth of their time one run in 200 would show so little, for a fifth none in 50,000."""
ENOUGH_REQUESTS = 10
"""So many requests they are of: all looks into one may meet what it does on the host."""
ENOUGH_SILENT = 200
"""The same of a program that reports no requests: it is there to contend, all the time."""
LITTLE = 0.1
"""A smaller share of looks is marked: it may be a side issue of the program's."""
_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """What looks at the server have shown of one program.

    Attributes:
        reports: whether the program reports requests. Of one that does not all looks in the
            measured window count.
        looks: into its requests; such a look lies in one from its begin to its end, since nobody
            knows when in between the server saw what it tells.
        requests: that were looked into.
        had: of those looks, the ones at which XSched had unfinished work of the program.
        ever: whether there was any such look to whatever moment of the window.
        astray: whether XSched ever had work of a process that nobody of the run has started, which
            may be one of the program's.
    """

    reports: bool
    looks: int
    requests: int
    had: int
    ever: bool
    astray: bool = False

    def __add__(self, other: Cover) -> Cover:
        """Give what both have shown, of two windows."""
        return Cover(
            reports=self.reports,
            looks=self.looks + other.looks,
            requests=self.requests + other.requests,
            had=self.had + other.had,
            ever=self.ever or other.ever,
            astray=self.astray or other.astray,
        )

    @property
    def tells(self) -> bool:
        """Whether it would have been seen if XSched had work of the program."""
        if not self.reports:
            return self.looks >= ENOUGH_SILENT
        return self.looks >= ENOUGH and self.requests >= ENOUGH_REQUESTS

    def fault(self, name: str) -> str | None:
        """Say that XSched had nothing of the program of a queue, where that is shown."""
        if self.ever or self.astray or not self.tells:
            return None
        return (
            f"scheduler inactive: queue {name!r}: XSched had unfinished work of its program at "
            f"{self}: what that launches goes past XSched, as all does on the default stream"
        )

    def __str__(self) -> str:
        into = f" into {self.requests} requests" if self.reports else ""
        return f"{self.had} of {self.looks} looks{into}"

    def to_dict(self) -> dict[str, Any]:
        """Give it in JSON's types."""
        little = self.had < LITTLE * self.looks or not self.ever
        return {**asdict(self), "tells": self.tells, "little": little, "said": str(self)}


class _Look(NamedTuple):
    begin_ns: int
    end_ns: int
    whose: frozenset[int]
    """Processes that had work there, and all that they descend from."""
    astray: bool
    """Whether one of them does not descend from this process."""


class Looks:
    """Looks at a server, from a thread of its own, until `stop`.

    Args:
        ready: gives the ids of the processes of whose XQueues one has work; None: it cannot tell.
    """

    def __init__(self, ready: Callable[[], Iterable[int] | None]) -> None:
        self._ready = ready
        self._seen: list[_Look] = []
        self._error: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="xsched-looks", daemon=True)
        self._thread.start()

    def _look_on(self) -> None:
        chance = random.Random(0)
        try:
            while not self._over.wait(chance.uniform(0.5, 1.5) * PERIOD_NS / 1e9):
                self._look()
        except Exception as error:
            self._error = error  # raised where somebody asks

    def _look(self) -> None:
        begin_ns = time.monotonic_ns()
        ready = self._ready()
        end_ns = time.monotonic_ns()
        if ready is None:
            return
        lines = [ancestry(process) for process in ready]
        astray = any(os.getpid() not in line for line in lines)
        self._seen.append(_Look(begin_ns, end_ns, frozenset().union(*lines), astray))

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join(_PATIENCE_S)

    def of(
        self, process: int, window_ns: tuple[int, int], requests_ns: NDArray[np.int64] | None
    ) -> Cover:
        """Give what they have shown of a program.

        Args:
            process: from which all of its processes descend.
            window_ns: begin and end of the measured window, by the monotonic clock.
            requests_ns: int64[n, 2], begin and end of its requests, likewise, one behind the other;
                None: it tells none.
        """
        if self._error is not None:
            raise self._error
        start, end = window_ns
        seen = [look for look in self._seen if start <= look.begin_ns and look.end_ns <= end]
        spans = np.array([window_ns]) if requests_ns is None else requests_ns
        begins = np.array([look.begin_ns for look in seen], np.int64)
        ends = np.array([look.end_ns for look in seen], np.int64)
        latest = np.searchsorted(spans[:, 0], begins, side="right") - 1
        into = (latest >= 0) & (ends <= np.append(spans[:, 1], 0)[latest])
        had = np.array([process in look.whose for look in seen], bool)
        return Cover(
            reports=requests_ns is not None,
            looks=int(np.count_nonzero(into)),
            requests=len(np.unique(latest[into])),
            had=int(np.count_nonzero(had & into)),
            ever=bool(had.any()),
            astray=any(look.astray for look in seen),
        )

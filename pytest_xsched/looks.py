"""Whether XSched has the work of programs: looks at its server while they run.

What a program launches past XSched, on a default stream say, nobody counts. But the server knows of
every XQueue whether it has unfinished work. So it is asked again and again, at times that no period
of requests can keep step with, and the share of looks at which it had work of a program is held
against the share of the time in which the program had requests to serve.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERIOD_S = 0.02
"""Between two looks, on average."""
ENOUGH = 20.0
"""Looks during requests that show nothing: so many come by chance in 1 of 1000 runs of a program
that has its work in XSched for a third of that time. The rest may be the program's own."""
LITTLE = 0.1
"""Of the time of its requests; what XSched has of such a program may be a side issue of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """What looks at the server have shown of one program.

    Attributes:
        looks: in the measured window.
        had: of them, those at which XSched had unfinished work of it.
        busy: share of the window in which it had a request to serve, in [0, 1]; 1 for a program
            that reports none.
    """

    looks: int
    had: int
    busy: float

    @property
    def expected(self) -> float:
        """Looks that came while it had a request to serve."""
        return self.looks * self.busy

    @property
    def share(self) -> float | None:
        """Of the time of its requests, that in which XSched had work; None: nobody can tell."""
        return min(1.0, self.had / self.expected) if self.had or self.expected >= ENOUGH else None

    def __str__(self) -> str:
        return f"at {self.had} of {self.looks} looks, {self.expected:.3g} of them in its requests"

    def to_dict(self) -> dict[str, Any]:
        """Give it in JSON's types."""
        share = self.share
        little = share is not None and share < LITTLE
        return {**asdict(self), "share": share, "little": little, "said": str(self)}


class Looks:
    """Looks at a server, from a thread of its own, until `stop`.

    Args:
        ready: gives the ids of the processes of whose XQueues one has work; None: it cannot tell.
    """

    def __init__(self, ready: Callable[[], Iterable[int] | None]) -> None:
        self._ready = ready
        self._seen: list[tuple[int, frozenset[int]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="xsched-looks", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        chance = random.Random(0)
        while not self._over.wait(chance.uniform(0.5, 1.5) * PERIOD_S):
            now_ns = time.monotonic_ns()
            ready = self._ready()
            if ready is not None:
                self._seen.append((now_ns, frozenset(map(_session, ready))))

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def of(
        self, session: int, window_ns: tuple[int, int], requests_ns: NDArray[np.int64] | None
    ) -> Cover:
        """Give what they have shown of a program.

        Args:
            session: id of the session that its processes are.
            window_ns: begin and end of the measured window, by the monotonic clock.
            requests_ns: int64[n, 2], begin and end of its requests, likewise; None: it tells none.
        """
        start, end = window_ns
        inside = [ready for at, ready in self._seen if start <= at < end]
        busy = 1.0
        if requests_ns is not None:
            begun, ended = np.clip(requests_ns, start, end).reshape(-1, 2).T
            busy = min(1.0, float(np.sum(ended - begun)) / (end - start))
        return Cover(looks=len(inside), had=sum(session in one for one in inside), busy=busy)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:  # it has ended
        return 0

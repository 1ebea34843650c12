"""Whether queues really contended: did each request meet work of the other queue?

A scheduler that had nothing to decide has proved nothing, however fast the requests were. Pure
functions of samples; the times of all queues of a run have the same zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.native.binding import CENSORED
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.stats.estimators import CENSORED_NS, Times

LITTLE = 0.5
"""A verdict says which share of its requests met a contender, if the share is below this one."""
NEXT_TO_NOTHING = 0.001
"""It also says how much device time its contenders took, if that was a smaller share."""

Holds: TypeAlias = "Mapping[str, Sequence[tuple[int, int]]]"
"""By queue, the times in which `changes=` held it: start and end, ns since the start of the run."""
Work: TypeAlias = "tuple[Times, Times]"
"""When work began and when it ended: two sorted arrays, ns since the start of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """How many requests of a queue met work of another queue.

    Attributes:
        queue: the queue whose requests are counted.
        other: the queue whose work they may have met.
        work: share of them during which the other queue had an unfinished request, in [0, 1].
        in_flight: share of them during which it had launched commands of such a request.
    """

    queue: str
    other: str
    work: float
    in_flight: float

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return asdict(self)


class Contenders:
    """The queues of a run as contenders of one another.

    A queue has work from the arrival of a request to its completion. While `changes=` holds the
    queue, it has none. A request that a program never completed is no work either, because nothing
    shows that the program did anything.
    """

    def __init__(
        self, queues: Sequence[QueueResult], holds: Holds | None = None, device: str | None = None
    ) -> None:
        self._queues = queues
        self._holds = holds or {}
        self._devices = {queue.name: queue.spec.device or device for queue in queues}
        self._work = {queue.name: self._spans(queue, _begin(queue)) for queue in queues}

    def met(self) -> tuple[Contention, ...]:
        """Return what the queues of the highest priority met of each other queue.

        Pairs on different devices, and queues without a measured request, are left out. So are
        programs that report no requests: when they had work is not known.
        """
        top = max(queue.spec.priority for queue in self._queues)
        return tuple(
            Contention(
                queue=one.name,
                other=other.name,
                work=_share(one, self._work[other.name]),
                in_flight=_share(one, self._spans(other, "launched_ns")),
            )
            for one in self._queues
            if one.spec.priority == top and one.n
            for other in self.rivals(one)
            if not _is_silent(other)
        )

    def away(self, met: Sequence[Contention]) -> dict[str, list[str]]:
        """Describe, by queue, that less than half of its requests met a queue that never pauses.

        Such a queue has work at every moment. If it was not there and nothing held it, its process
        came late or had ended.

        Args:
            met: what `met` returned.
        """
        never_pause = {
            queue.name: queue
            for queue in self._queues
            if isinstance(queue.spec.arrivals, Closed) and queue.spec.arrivals.think_ns == 0
            if not self._holds.get(queue.name)
        }
        found: dict[str, list[str]] = {}
        for one in met:
            if one.other in never_pause and one.work < 0.5:
                found.setdefault(one.queue, []).append(
                    _did_nothing(never_pause[one.other])
                    or f"{one.other} had work during only {100 * one.work:.0f} % of {one.queue}'s "
                    "requests although it never pauses: the queues did not run at the same time"
                )
        return found

    def nothing(self) -> dict[str, list[str]]:
        """Describe, by queue, that it had nothing to contend with although the run has contenders.

        A queue on another device is no contender. Of a queue without a request nothing is said.
        """
        found = {}
        for one in self._queues:
            rivals = self.rivals(one)
            reasons = [self._absence(one, rival) for rival in rivals] if one.n else []
            if reasons and all(reasons):
                why = " and ".join(reasons)
                found[one.name] = [f"{why}, so {one.name} had nothing to contend with"]
        return found

    def little(self, alone_ns: Sequence[int | None]) -> dict[str, list[str]]:
        """Describe, by queue, that it was alone, or had little to contend with.

        Args:
            alone_ns: what a request of each queue takes alone; None: not known.
        """
        taken = {
            queue.name: _device_share(queue, ns)
            for queue, ns in zip(self._queues, alone_ns, strict=True)
        }
        return {one.name: list(self._little(one, taken)) for one in self._queues}

    def _little(self, one: QueueResult, taken: Mapping[str, float | None]) -> Iterator[str]:
        rivals = self.rivals(one)
        lower = [rival for rival in rivals if rival.spec.priority <= one.spec.priority]
        yield from (queue.stalled for queue in (one, *lower) if queue.stalled)
        if not rivals:
            yield f"{one.name} ran alone" + (" on its device" if len(self._queues) > 1 else "")
        if not rivals or one.n == 0 or any(map(_is_silent, rivals)):
            return
        who = rivals[0].name if len(rivals) == 1 else "other queues"
        work = _united(self._work[rival.name] for rival in rivals)
        share, tenths = _share(one, work), _tenths(work, one.windows_ns)
        if any(self._holds.get(rival.name) for rival in rivals):
            who += ", which changes= held,"
        if share < LITTLE and len(lower) == len(rivals):
            yield f"{who} had work during only {100 * share:.2g} % of {one.name}'s requests"
        elif tenths < 10 * LITTLE:
            yield f"{who} had work in only {tenths} of 10 parts of the measured time"
        shares = [part for rival in rivals if (part := taken[rival.name]) is not None]
        if len(shares) == len(rivals) and sum(shares) < NEXT_TO_NOTHING:
            limit = 100 * NEXT_TO_NOTHING
            yield f"the work of {who} took less than {limit:.2g} % of the measured time"

    def rivals(self, one: QueueResult) -> list[QueueResult]:
        """Return the other queues on the device of a queue."""
        devices, name = self._devices, one.name
        return [
            queue
            for queue in self._queues
            if queue is not one and devices[queue.name] == devices[name]
        ]

    def _absence(self, one: QueueResult, rival: QueueResult) -> str:
        """Describe that a contender had no work for a queue to meet; "" if it had."""
        if _is_silent(rival):
            return ""
        if _is_empty(rival):
            return f"the work of {rival.name} is empty()"
        if _share(one, self._work[rival.name]) > 0:
            return ""
        if said := _did_nothing(rival):
            return said
        held = "was held by changes= or " if self._holds.get(rival.name) else ""
        return f"{rival.name} {held}had no work during any request of {one.name}"

    def _spans(self, queue: QueueResult, begin: str) -> Work:
        """Return the work of a queue.

        Work begins with the field `begin` of a request, and again after a hold.
        """
        samples = queue.samples
        if queue.workload.own_program is not None:
            samples = samples[(samples["flags"] & CENSORED) == 0]
        begun, done = _or_never(samples[begin]), _or_never(samples["completed_ns"])
        for start, end in self._holds.get(queue.name, ()):
            begun, done = (
                np.concatenate([begun, np.maximum(begun, end)]),
                np.concatenate([np.minimum(done, start), done]),
            )
            there = begun < done
            begun, done = begun[there], done[there]
        return np.sort(begun), np.sort(done)


def _united(works: Iterable[Work]) -> Work:
    begun, done = zip(*works, strict=True)
    return np.sort(np.concatenate(begun)), np.sort(np.concatenate(done))


def _is_empty(queue: QueueResult) -> bool:
    commands = queue.workload.commands
    return bool(commands) and all(c.kind == "spin" and c.duration_ns == 0 for c in commands)


def _did_nothing(queue: QueueResult) -> str:
    """Describe that a program did nothing that can be seen; "" if it did, or is no program."""
    if queue.workload.own_program is None or queue.counts.requests_completed:
        return ""
    return f"the program of {queue.name} completed no request"


def _is_silent(queue: QueueResult) -> bool:
    program = queue.workload.own_program
    return program is not None and not program.reports


def _device_share(queue: QueueResult, alone_ns: int | None) -> float | None:
    """Return which share of the measured time the device spent on a queue; None: not known.

    It is what the completed requests would take alone. Spins say themselves how long they take,
    without the cost of a launch, which alone is no contention.
    """
    commands = queue.workload.commands
    if commands and all(command.kind == "spin" for command in commands):
        alone_ns = sum(command.duration_ns for command in commands)
    if alone_ns is None:
        return None
    done = queue.samples["completed_ns"]
    count = sum(np.count_nonzero((done >= a) & (done < b)) for a, b in queue.windows_ns)
    return float(count * alone_ns / (queue.seconds * 1e9))


def _begin(queue: QueueResult) -> str:
    """Return from which time of a request on it is work: not while it waits for another queue."""
    return "scheduled_ns" if queue.spec.after is None else "submitted_ns"


def _share(one: QueueResult, work: Work) -> float:
    """Return the share of the requests of a queue that overlap with work of another queue."""
    measured = one.measured
    starts, ends = measured[_begin(one)], measured["completed_ns"]
    return _met(_or_never(starts), _or_never(ends), work)


def _tenths(work: Work, windows_ns: Sequence[tuple[int, int]]) -> int:
    """Return in how many tenths of the measured time there was work."""
    edges = np.array([np.linspace(start, end, 11) for start, end in windows_ns]).astype(np.int64)
    return round(10 * _met(edges[:, :-1].ravel(), edges[:, 1:].ravel(), work))


def _met(starts: Times, ends: Times, work: Work) -> float:
    """Return which share of some spans of time overlap with work."""
    begun, done = work
    # If as many began before the end as were done before the start, none was there.
    before_end = np.searchsorted(begun, ends, side="left")
    before_start = np.searchsorted(done, starts, side="right")
    return float(np.mean(before_end > before_start))


def _or_never(times_ns: Times) -> Times:
    return np.where(times_ns < 0, CENSORED_NS, times_ns)

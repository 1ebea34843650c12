"""Whether queues really contended: did each request meet work of the other queue?

A scheduler that had nothing to decide has proved nothing, however fast the requests were. Pure
functions of samples; the times of all queues of a run have the same zero.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.stats.estimators import CENSORED_NS, Times


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


def contention(queues: tuple[QueueResult, ...]) -> tuple[Contention, ...]:
    """Return what the queues of the highest priority met of each other queue.

    Pairs on different devices, and queues without a measured request, are left out. So are programs
    that report no requests: when they had work is not known.
    """
    top = max(queue.spec.priority for queue in queues)
    return tuple(
        Contention(
            queue=one.name,
            other=other.name,
            work=_met(one, other, "scheduled_ns"),
            in_flight=_met(one, other, "launched_ns"),
        )
        for one in queues
        for other in queues
        if one.spec.priority == top and one is not other and one.n
        if one.spec.device == other.spec.device
        if other.workload.own_program is None or other.workload.own_program.reports
    )


def faults(met: tuple[Contention, ...], queues: tuple[QueueResult, ...]) -> dict[str, list[str]]:
    """Describe, by queue, that less than half of its requests met a queue that never pauses.

    Such a queue has work at every moment. If it was not there, its process came late or had ended.
    """
    never_pause = {
        queue.name
        for queue in queues
        if isinstance(queue.spec.arrivals, Closed) and queue.spec.arrivals.think_ns == 0
    }
    found: dict[str, list[str]] = {}
    for one in met:
        if one.other in never_pause and one.work < 0.5:
            found.setdefault(one.queue, []).append(
                f"{one.other} had work during only {100 * one.work:.0f} % of {one.queue}'s "
                "requests although it never pauses: the queues did not run at the same time"
            )
    return found


def _met(one: QueueResult, other: QueueResult, begin: str) -> float:
    """Return the share of the requests of `one` that overlap with requests of `other`.

    A request of `other` counts from the field `begin` to its completion.
    """
    measured = one.measured
    starts = measured["scheduled_ns"]
    ends = _or_never(measured["completed_ns"])
    begun = np.sort(_or_never(other.samples[begin]))
    done = np.sort(_or_never(other.samples["completed_ns"]))
    # If as many began before the end as were done before the start, none was there.
    before_end = np.searchsorted(begun, ends, side="left")
    before_start = np.searchsorted(done, starts, side="right")
    return float(np.mean(before_end > before_start))


def _or_never(times_ns: Times) -> Times:
    return np.where(times_ns < 0, CENSORED_NS, times_ns)

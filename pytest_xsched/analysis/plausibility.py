"""Whether a run was possible: were requests served faster than their commands allow?

Work that is not done takes no time, and its latencies are excellent. Pure functions of samples and
of the time that a request takes alone; see `calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.base.units import format_duration

RESOLUTION_NS = 1_000_000
"""Requests that take less alone are not judged. On a busy machine most of such a time goes into
threads that wake each other: once for each request that is alone, and never under load."""
MARGIN = 4
"""Clocks do not explain requests that are this many times faster than alone."""
FEW = 0.01
"""This share of the requests may be too fast, because of a single event in clock or driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plausible:
    """What the requests of a queue took, compared with what they take alone.

    Attributes:
        queue: its name.
        alone_ns: from the launch to the completion of a request, without any other.
        exact: whether that comes from a device model, not from a measurement.
        too_fast: share of the requests, in [0, 1], that were served in less than that, or in less
            than a quarter of it if it was measured; None if it is too short to judge.
        served_ns: the median of those, None if there are none.
        command_ns: what one command takes, if all are equal; else None.
    """

    queue: str
    alone_ns: int
    exact: bool
    too_fast: float | None
    served_ns: int | None
    command_ns: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return asdict(self)

    def fault(self) -> str | None:
        """Describe that the work was not done; None if it was."""
        if self.too_fast is None or self.served_ns is None:
            return None
        if not self.exact and self.too_fast <= FEW:
            return None
        part = "less than the" if self.exact else "less than a quarter of the"
        return (
            f"{self.queue}: {100 * self.too_fast:.3g} % of its requests took {part} time that "
            f"their commands take alone ({format_duration(self.served_ns)} instead of "
            f"{format_duration(self.alone_ns)}): the work was not done"
        )


def plausible(
    queues: Sequence[QueueResult], alone_ns: Sequence[int | None], *, exact: bool
) -> tuple[Plausible, ...]:
    """Compare the requests of each queue with what they take alone, where that is known."""
    return tuple(
        _plausible(queue, ns, exact=exact)
        for queue, ns in zip(queues, alone_ns, strict=True)
        if ns is not None and queue.workload.own_program is None
    )


def _plausible(queue: QueueResult, alone_ns: int, *, exact: bool) -> Plausible:
    m = queue.measured
    done = m[(m["launched_ns"] >= 0) & (m["completed_ns"] >= 0)]
    served = done["completed_ns"] - done["launched_ns"]
    too_fast, served_ns = None, None
    if exact or alone_ns >= RESOLUTION_NS:
        fast = served[served < alone_ns] if exact else served[served * MARGIN < alone_ns]
        too_fast = len(fast) / len(served) if len(served) else 0.0
        served_ns = int(np.median(fast)) if len(fast) else None
    commands = queue.workload.commands
    return Plausible(
        queue=queue.name,
        alone_ns=alone_ns,
        exact=exact,
        too_fast=too_fast,
        served_ns=served_ns,
        command_ns=alone_ns // len(commands) if len(set(commands)) == 1 else None,
    )


def overwork(
    queues: Sequence[QueueResult], alone_ns: Sequence[int | None], slots: int
) -> str | None:
    """Describe that a device did more work than its slots can do; None if it did not.

    The requests that lie wholly within a window cannot take longer than all its slots together.
    """
    for start, end in queues[0].windows_ns:
        work_ns = 0
        for queue, ns in zip(queues, alone_ns, strict=True):
            s = queue.samples
            inside = (s["launched_ns"] >= start) & (s["completed_ns"] >= 0)
            work_ns += int(np.count_nonzero(inside & (s["completed_ns"] <= end))) * (ns or 0)
        if work_ns > slots * (end - start):
            return (
                f"{format_duration(work_ns)} of work was done on {slots} slot"
                f"{'s' if slots > 1 else ''} in {format_duration(end - start)}, which is impossible"
            )
    return None

"""Priority inversions: a queue that starts after one of lower priority waits with it.

A policy by priority does not see that a higher queue waits. So every queue between the two goes
before the lower one, and delays the higher one, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.base.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Inversion:
    """A queue that waited for one of lower priority.

    Attributes:
        queue: its name.
        source: name of the queue that it waited for.
        most_ns: the longest wait of a request, from its arrival to the completion of the other one;
            None: of a request that never started.
        alone_ns: what a request of the other queue takes alone; None: not known.
        ahead: the queues that the policy let go before the other queue, and not before this one.
        sentence: the inversion in words.
    """

    queue: str
    source: str
    most_ns: int | None
    alone_ns: int | None
    ahead: tuple[str, ...]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the inversion in JSON's types."""
        return asdict(self) | {"ahead": list(self.ahead)}


def inversions(
    queues: Sequence[QueueResult], alone_ns: Sequence[int | None]
) -> tuple[Inversion, ...]:
    """Return the inversions among the queues of a run under a policy by priority.

    Args:
        queues: of the run.
        alone_ns: what a request of each queue takes alone; None: not known.
    """
    known = {queue.name: (queue, ns) for queue, ns in zip(queues, alone_ns, strict=True)}
    found = []
    for queue in queues:
        if queue.spec.after is None or queue.n == 0:
            continue
        source, taken_ns = known[queue.spec.after]
        if source.spec.priority < queue.spec.priority:
            found.append(_inversion(queue, source, taken_ns, queues))
    return tuple(found)


def _inversion(
    queue: QueueResult, source: QueueResult, alone_ns: int | None, queues: Sequence[QueueResult]
) -> Inversion:
    chosen = queue.counts_for_latencies
    ends = source.samples["completed_ns"][chosen]
    waits = ends - queue.samples["scheduled_ns"][chosen]
    most_ns = None if np.any(ends < 0) else int(waits.max())
    high, low = queue.spec.priority, source.spec.priority
    ahead = tuple(
        other.name
        for other in queues
        if other is not queue
        and low < other.spec.priority <= high
        and other.spec.device == source.spec.device
    )
    waited = (
        f"{int(np.count_nonzero(ends < 0))} of its {queue.n} requests never started"
        if most_ns is None
        else f"at most {format_duration(most_ns)}"
    )
    alone = ""
    if alone_ns is not None:
        alone = f"; alone, a request of {source.name} takes {format_duration(alone_ns)}"
    goes = "goes" if len(ahead) == 1 else "go"
    before = f", and {' and '.join(ahead)} {goes} before {source.name}" if ahead else ""
    return Inversion(
        queue=queue.name,
        source=source.name,
        most_ns=most_ns,
        alone_ns=alone_ns,
        ahead=ahead,
        sentence=(
            f"priority inversion: {queue.name} (priority {high}) waited for {source.name} "
            f"(priority {low}), {waited}{alone}{before}"
        ),
    )

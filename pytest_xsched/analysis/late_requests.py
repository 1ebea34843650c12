"""The late requests of a queue, and where the time of each went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.attribution import (
    HARNESS,
    PARTS,
    RUNNING,
    STRETCHED,
    UNKNOWN,
    Attribution,
    Piece,
    Request,
)
from pytest_xsched.monitoring.noise import inside
from pytest_xsched.native.binding import CENSORED, DRAIN, WARMUP

if TYPE_CHECKING:
    from pytest_xsched.analysis.queue_result import QueueResult
    from pytest_xsched.analysis.run import Run
    from pytest_xsched.analysis.trace import TracedWindow

MOST = 100
"""The most requests that are explained: the worst of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRequest:
    """A request, and where its time went.

    Attributes:
        index: its place among the samples of its queue.
        scheduled_ns: its arrival, ns since the start of the run.
        submitted_ns: when it was submitted; -1: never.
        latency_ns: completed minus scheduled; if it did not complete, what it waited until the end
            of its window.
        completed: whether it completed.
        pieces: in the order of time in virtual time; their lengths add up to the latency.
    """

    index: int
    scheduled_ns: int
    submitted_ns: int
    latency_ns: int
    completed: bool
    pieces: tuple[Piece, ...]

    def parts(self) -> dict[tuple[str, str], int]:
        """Return the time of each part, by its name and its other queue, in ns."""
        found: dict[tuple[str, str], int] = {}
        for piece in self.pieces:
            key = piece.part, piece.queue
            found[key] = found.get(key, 0) + piece.ns
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the request in JSON's types."""
        return {
            "index": self.index,
            "scheduled_ns": self.scheduled_ns,
            "latency_ns": self.latency_ns,
            "completed": self.completed,
            "parts": [
                {"part": part, "queue": queue, "ns": ns}
                for (part, queue), ns in sorted(
                    self.parts().items(), key=lambda one: PARTS.index(one[0][0])
                )
            ],
        }


def late_requests(
    run: Run, queue: QueueResult, limit_ns: int | None = None
) -> tuple[int, tuple[LateRequest, ...]]:
    """Return how many requests took longer than a limit, and the worst of them with their parts.

    Args:
        run: of the queue.
        queue: whose requests.
        limit_ns: None: the worst 1 %, at least one.
    """
    chosen, latency = _measured(queue), queue.latency_ns
    order = np.argsort(-latency, kind="stable")
    if limit_ns is None:
        late = min(len(order), max(1, math.ceil(0.01 * len(order))))
    else:
        late = int(np.count_nonzero(latency > limit_ns))
    return late, tuple(
        explain_request(run, queue, int(i)) for i in chosen[order[: min(late, MOST)]]
    )


def explain_request(run: Run, queue: QueueResult, index: int) -> LateRequest:
    """Return where the time of a request went.

    Args:
        run: of the queue.
        queue: whose request.
        index: of its sample.
    """
    sample = queue.samples[index]
    scheduled, submitted = int(sample["scheduled_ns"]), int(sample["submitted_ns"])
    completed = not int(sample["flags"]) & CENSORED
    window = _window_of(run, queue.name, index)
    end = int(sample["completed_ns"])
    if not completed:
        ends = np.array(queue.windows_ns)[:, 1]
        at = min(int(np.searchsorted(ends, scheduled, side="right")), len(ends) - 1)
        end = max(int(ends[at]), scheduled)
    commands = 0 if window is None else _per_request(queue, window)
    number = 0 if window is None else index - window.first[queue.name]
    request = Request(
        number=number,
        commands=commands,
        scheduled_ns=scheduled,
        submitted_ns=submitted,
        end_ns=end,
        completed=completed,
    )
    if window is None or commands == 0:
        pieces = _without_commands(request)
    else:
        pieces = _attribution(run, queue, window).pieces(request)
    return LateRequest(
        index=index,
        scheduled_ns=scheduled,
        submitted_ns=submitted,
        latency_ns=end - scheduled,
        completed=completed,
        pieces=tuple(_stretched(pieces, exact_alone_ns(run, queue.name))),
    )


def _measured(queue: QueueResult) -> NDArray[np.intp]:
    """Return the places among all samples of the requests that count for latencies."""
    samples = queue.samples
    chosen = np.flatnonzero((samples["flags"] & (WARMUP | DRAIN)) == 0)
    if not queue.masks or not queue.noisy_ns:
        return chosen
    kept: NDArray[np.intp] = chosen[~inside(samples["scheduled_ns"][chosen], queue.noisy_ns)]
    return kept


def _window_of(run: Run, queue: str, index: int) -> TracedWindow | None:
    windows = [window for window in run.trace.windows if window.first[queue] <= index]
    return windows[-1] if windows else None


def _attribution(run: Run, queue: QueueResult, window: TracedWindow) -> Attribution:
    own = window.records[queue.name]
    first = window.first[queue.name]
    alone_ns = exact_alone_ns(run, queue.name)
    commands = _per_request(queue, window)
    return Attribution(
        own,
        queue.samples["submitted_ns"][first:],
        {
            name: record
            for name, record in window.records.items()
            if name != queue.name and run.queues[name].spec.device == queue.spec.device
        },
        slots=run.scenario.sim.slots if run.device_kind == "sim" else 0,
        alone_ns=None if alone_ns is None else alone_ns / max(1, commands),
        holds=run.scenario.scheduler == "xsched",
    )


def _per_request(queue: QueueResult, window: TracedWindow) -> int:
    """Return how many commands a request has; a model's are known from the record only."""
    return len(queue.workload.commands) or window.records[queue.name].per_request


def exact_alone_ns(run: Run, queue: str) -> int | None:
    """Return what a request of a queue takes alone; on `sim`, what its model says."""
    at = list(run.queues).index(queue)
    known = run.alone_ns[at] if run.alone_ns else None
    if run.device_kind != "sim" or known is None:
        return known
    commands = run.scenario.queues[at].workload.commands
    return sum(run.scenario.sim.cost_ns(command) for command in commands)


def _without_commands(request: Request) -> list[Piece]:
    submitted = request.end_ns if request.submitted_ns < 0 else request.submitted_ns
    lengths = {HARNESS: submitted - request.scheduled_ns, UNKNOWN: request.end_ns - submitted}
    return [Piece(part, ns) for part, ns in lengths.items() if ns > 0]


def _stretched(pieces: list[Piece], alone_ns: int | None) -> list[Piece]:
    """Divide what ran for longer than alone, in the order of time."""
    left = alone_ns
    found = []
    for piece in pieces:
        if piece.part != RUNNING or left is None:
            found.append(piece)
            continue
        ns = min(left, piece.ns)
        left -= ns
        found += [Piece(RUNNING, ns)] if ns else []
        found += [Piece(STRETCHED, piece.ns - ns)] if piece.ns > ns else []
    return found

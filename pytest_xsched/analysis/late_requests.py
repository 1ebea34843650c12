"""The late requests of a queue, and where the time of each went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_xsched.analysis.attribution import (
    NEVER,
    PARTS,
    RUNNING,
    STRETCHED,
    UNKNOWN,
    Attribution,
    Piece,
    Request,
)
from pytest_xsched.native.binding import CENSORED

if TYPE_CHECKING:
    from pytest_xsched.analysis.queue_result import QueueResult
    from pytest_xsched.analysis.run import Run

MOST = 100
"""The most requests that are explained: the worst of them."""
STEPS = 50_000
"""The most commands to go through, which are many where requests wait for thousands of others."""


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


class LateRequests:
    """Explains requests of one queue.

    Args:
        run: of the queue.
        queue: whose requests.
    """

    def __init__(self, run: Run, queue: QueueResult) -> None:
        self._run = run
        self._queue = queue
        self._alone_ns = exact_alone_ns(run, queue.name)
        self._attributions: dict[int, tuple[Attribution, int]] = {}

    def worst(self, limit_ns: int | None) -> tuple[int, tuple[LateRequest, ...]]:
        """Return how many requests took longer than a limit, and the worst of them, explained.

        Args:
            limit_ns: None: the worst 1 %, at least one.
        """
        queue = self._queue
        chosen, latency = np.flatnonzero(queue.counts_for_latencies), queue.latency_ns
        order = np.argsort(-latency, kind="stable")
        if limit_ns is None:
            late = min(len(order), max(1, math.ceil(0.01 * len(order))))
        else:
            late = int(np.count_nonzero(latency > limit_ns))
        found: list[LateRequest] = []
        steps = 0
        for index in chosen[order[: min(late, MOST)]].tolist():
            steps += self._steps(index)
            if found and steps > STEPS:
                break
            explained = self.explain(index)
            if found and _on_record(found[0]) and not _on_record(explained):
                break  # of those that are kept, these are the worst
            found.append(explained)
        return late, tuple(found)

    def explain(self, index: int) -> LateRequest:
        """Return where the time of a request went, by the place of its sample."""
        request = self._request(index)
        at = self._window_of(index)
        attribution, commands = (None, 0) if at is None else self._attribution(at)
        if attribution is None or commands == 0:
            pieces = _without_commands(request)
        else:
            pieces = attribution.pieces(request)
        return LateRequest(
            index=index,
            scheduled_ns=request.scheduled_ns,
            submitted_ns=request.submitted_ns,
            latency_ns=request.end_ns - request.scheduled_ns,
            completed=request.completed,
            pieces=tuple(_stretched(pieces, self._alone_ns)),
        )

    def _steps(self, index: int) -> int:
        at = self._window_of(index)
        return 1 if at is None else self._attribution(at)[0].steps(self._request(index))

    def _request(self, index: int) -> Request:
        queue, at = self._queue, self._window_of(index)
        sample = queue.samples[index]
        scheduled, end = int(sample["scheduled_ns"]), int(sample["completed_ns"])
        completed = not int(sample["flags"]) & CENSORED
        if not completed:
            _, ends = queue.window_of(np.array([scheduled]))
            end = max(int(ends[0]), scheduled)
        first = 0 if at is None else self._run.trace.windows[at].first[queue.name]
        return Request(
            number=index - first,
            commands=0 if at is None else self._attribution(at)[1],
            scheduled_ns=scheduled,
            submitted_ns=int(sample["submitted_ns"]),
            end_ns=end,
            completed=completed,
            after=queue.spec.after or "",
            released_ns=self._released_ns(index),
        )

    def _released_ns(self, index: int) -> int:
        """Return when the request ended that a request had to wait for; 0: there is none."""
        if self._queue.spec.after is None:
            return 0
        ended = int(self._run.queues[self._queue.spec.after].samples["completed_ns"][index])
        return NEVER if ended < 0 else ended

    def _window_of(self, index: int) -> int | None:
        name, windows = self._queue.name, self._run.trace.windows
        before = [i for i, window in enumerate(windows) if window.first[name] <= index]
        return before[-1] if before else None

    def _attribution(self, at: int) -> tuple[Attribution, int]:
        """Return what explains the requests of a window, and how many commands each has."""
        if at in self._attributions:
            return self._attributions[at]
        run, queue = self._run, self._queue
        window = run.trace.windows[at]
        here = run.scenario.queues_on(queue.spec.device or run.scenario.device)
        # The commands of a model are known from the record only.
        commands = len(queue.workload.commands) or window.records[queue.name].per_request
        made = Attribution(
            window.records[queue.name],
            queue.samples["submitted_ns"][window.first[queue.name] :],
            {one.name: window.records[one.name] for one in here if one.name != queue.name},
            slots=run.scenario.sim.slots if run.device_kind == "sim" else 0,
            alone_ns=None if self._alone_ns is None else self._alone_ns / max(1, commands),
            holds=run.scenario.scheduler == "xsched",
        )
        self._attributions[at] = made, commands
        return made, commands


def _on_record(request: LateRequest) -> bool:
    """Check whether the commands that a request waited for are known."""
    return all(piece.part != UNKNOWN for piece in request.pieces)


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
    unknown = Piece(UNKNOWN, request.end_ns - submitted)
    return [*request.before(submitted), *([unknown] if unknown.ns > 0 else [])]


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

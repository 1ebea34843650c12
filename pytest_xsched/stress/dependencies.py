"""Requests of live queues that start after those of other queues, and the rules about them.

`StepExecutor` keeps a `Wait` for each such request until it has waited for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_xsched.native.run import Counts
from pytest_xsched.runner.live_queues import Ticket
from pytest_xsched.scenario.workload import Workload
from pytest_xsched.stress.steps import Step

__all__ = [
    *("CALM_STEPS", "Wait", "Waiter", "blocks", "breaches"),
    *("fits", "limit", "unfinished", "wait_of", "work_ns"),
]

CALM_STEPS = ("create", "submit", "wait", "sleep", "idle", "destroy")
"""Steps during which the longest wait is known from the work that was submitted."""
SLACK_NS = 1_000_000_000
"""A wait may be longer on a busy machine, whose threads get no processor for a while."""
FACTOR = 3
"""Commands may take longer than alone, because other work slows the device down."""


@dataclass(slots=True, kw_only=True)
class Wait:
    """A request that starts after a request of another queue.

    Attributes:
        mine: the request.
        before: commands that were submitted to its queue before it.
        source: the other queue.
        other: the other request.
        calm: whether the longest wait is known from the work that was submitted: no queue was held
            or had a load, and only `CALM_STEPS` were executed since.
        inverted: whether the other queue has the lower priority.
    """

    mine: Ticket
    before: int
    source: Any
    other: Ticket
    calm: bool
    inverted: bool


class Waiter(Protocol):
    """What this module uses of the state of a queue."""

    device: int
    priority: int
    pending: bool
    gone: bool
    waits: list[Wait]
    tickets: list[Ticket]

    @property
    def load(self) -> Step | None: ...

    @property
    def name(self) -> str: ...


def fits(step: Step, queues: Mapping[int, Any]) -> bool:
    """Return whether a step goes with requests that wait for others, which are of one device.

    Args:
        step: of a queue that is there.
        queues: all queues, by number.
    """
    one, other = queues[step.queue], queues.get(step.after)
    if step.does == "load":
        return not one.waits
    if step.after < 0:
        return True
    if other is None or not other.tickets:
        return False
    return bool(one.device == other.device and one.load is None and other.load is None)


def wait_of(queue: Waiter, before: int, source: Waiter, other: Ticket, *, calm: bool) -> Wait:
    """Return the wait of the last request of a queue; see `Wait`."""
    return Wait(
        mine=queue.tickets[-1],
        before=before,
        source=source,
        other=other,
        calm=calm,
        inverted=source.priority < queue.priority,
    )


def work_ns(workload: Workload) -> int:
    """Return what the commands of a request take alone."""
    return sum(command.duration_ns for command in workload.commands)


def blocks(queue: Any, stops: Callable[[Any], bool], seen: Sequence[Any] = ()) -> bool:
    """Return whether a queue that gets nothing may keep a queue from completing its requests.

    The answer depends on the steps only, and not on what completed meanwhile.

    Args:
        queue: the queue.
        stops: returns whether a queue may get nothing.
        seen: the queues that wait for this one.
    """
    sources = [wait.source for wait in queue.waits if not wait.source.gone]
    return any(
        source.pending and (stops(source) or blocks(source, stops, (*seen, queue)))
        for source in sources
        if source not in seen
    )


def limit(queue: Waiter, counts: Mapping[Any, Counts]) -> int:
    """Return how many commands of a queue wait for no other queue.

    Args:
        queue: the queue.
        counts: of all queues on its device.
    """
    return min(
        (
            wait.before
            for wait in queue.waits
            if not wait.source.gone and counts[wait.source].requests_completed <= wait.other.number
        ),
        default=counts[queue].submitted,
    )


def unfinished(queue: Waiter) -> str:
    """Describe the first request of another queue that a queue waits for in vain; "" if none."""
    for wait in queue.waits:
        if not wait.source.gone and not wait.other.done:
            return f"{queue.name} waits for request {wait.other.number} of {wait.source.name}"
    return ""


def breaches(queue: Waiter, total_ns: int, *, virtual: bool) -> Iterator[tuple[str, bool, str]]:
    """Yield rules, whether they hold, and sentences, for a queue whose requests are all complete.

    Args:
        queue: the queue.
        total_ns: what all work takes alone that was submitted to its device.
        virtual: whether time is virtual, so that no machine delays anything.
    """
    most_ns = 2 * total_ns if virtual else FACTOR * total_ns + SLACK_NS
    for wait in queue.waits:
        if wait.source.gone:
            continue
        mine, other = wait.mine, wait.other
        yield (
            "starts after",
            mine.launched_ns >= other.completed_ns,
            f"{queue.name} launched request {mine.number} at {mine.launched_ns} ns, and that of "
            f"{wait.source.name} was complete at {other.completed_ns} ns",
        )
        yield "no circular wait", True, ""
        waited_ns = other.completed_ns - (mine.completed_ns - mine.latency.ns)
        if wait.inverted and wait.calm:
            yield (
                "inversion is bounded",
                waited_ns <= most_ns,
                f"{queue.name} waited {waited_ns} ns for {wait.source.name}, of lower priority; "
                f"all work that was submitted takes {total_ns} ns alone",
            )

"""Which queues a load in the background may keep from running, and what the highest one leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from pytest_xsched.native.run import Counts
from pytest_xsched.stress.steps import Step

__all__ = ["WINDOW", "WINDOWS", "Loaded", "is_always_ready", "outranked", "starves", "took_over"]

WINDOW = "50ms"
"""A pause in which the work of queues is compared."""
_LONG_NS = 20_000_000
"""What a request of the highest one takes at least: it always has another one, so a thread that
makes the next one may be late by as much."""
WINDOWS = 3
"""Windows in a row in which a lower queue must get too much: in one, the machine may be busy."""
_MOST_OF_LOWER = 0.5
"""What a lower queue may get, as a part of what the highest one gets. It gets nothing, except
where the machine kept the highest one from making its next request in time."""


class Loaded(Protocol):
    """What this module uses of `queue_state.QueueState`."""

    device: int
    on: int
    priority: int
    held: bool
    pending: bool
    load: Step | None
    deepest: int
    durations_ns: set[int]


_State = TypeVar("_State", bound=Loaded)


def is_always_ready(state: Loaded) -> bool:
    """Check whether a queue has work at every moment: it has a closed loop that is not held."""
    return state.load is not None and not state.load.every and not state.held


def _is_long(load: Step) -> bool:
    """Check whether a load has work for some time, also where a busy machine delays its next
    request."""
    request_ns = sum(command.duration_ns for command in load.workload.commands)
    return request_ns >= _LONG_NS


def starves(state: Loaded, states: Iterable[Loaded], *, by_priority: bool) -> bool:
    """Check whether the load of another queue may keep a queue from running for ever.

    Args:
        state: the queue.
        states: all queues.
        by_priority: whether only queues of higher priority may do so.
    """
    return any(
        other.load is not None
        and other is not state
        and (other.device, other.on) == (state.device, state.on)
        and (other.priority > state.priority or not by_priority)
        for other in states
    )


def outranked(states: Sequence[_State]) -> tuple[_State, list[_State]] | None:
    """Return the highest queue with a long closed loop, and those below it that have work."""
    always = [
        state
        for state in states
        if state.load is not None and is_always_ready(state) and _is_long(state.load)
    ]
    if not always:
        return None
    top = max(always, key=lambda state: state.priority)
    lower = [
        s
        for s in states
        if s.on == top.on and s.priority < top.priority and s.pending and not s.held
    ]
    return (top, lower) if lower else None


def took_over(
    top: _State,
    lower: Collection[_State],
    before: Mapping[_State, Counts],
    now: Mapping[_State, Counts],
) -> _State | None:
    """Return a lower queue that got too much of the device while a higher one had work.

    Args:
        top: the highest queue with a closed loop.
        lower: queues of lower priority.
        before: counts at the start of the window.
        now: counts at its end.
    """

    def launched(state: _State) -> int:
        return now[state].launched - before[state].launched

    most_ns = _MOST_OF_LOWER * launched(top) * max(top.durations_ns)
    for state in lower:
        more = launched(state) - state.deepest  # those may have been on their way
        if more > 0 and more * min(state.durations_ns) > most_ns:
            return state
    return None

"""What changes while a run goes on: a queue gets another priority, or is held back and let go."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_xsched.base.units import MAX_NS, DurationLike, parse_duration
from pytest_xsched.base.validation import check_flag, set_integer
from pytest_xsched.errors import ScenarioError

PRIORITIES = (-255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change. Made by `at`.

    Args:
        at_ns: since the start of the measured window.
        queue: name of the queue.
        priority: its new one; None where that stays.
        suspended: whether the user holds it back from then on; None where that stays.
    """

    at_ns: int
    queue: str
    priority: int | None = None
    suspended: bool | None = None

    def __post_init__(self) -> None:
        what = f"change of queue {self.queue!r}"
        set_integer(self, "at_ns", what, 0, MAX_NS)
        if self.priority is not None:
            set_integer(self, "priority", what, *PRIORITIES)
        if self.suspended is not None:
            check_flag(f"{what}: suspended", self.suspended)
        if self.priority is None and self.suspended is None:
            raise ScenarioError(f"{what}: nothing changes; write priority=20 or suspended=True")


def at(
    time: DurationLike,
    queue: str,
    *,
    priority: int | None = None,
    suspended: bool | None = None,
) -> Change:
    """Change a queue during a run: ``changes=[at("2s", "low", priority=20)]``.

    Streams of a GPU keep the priority they were made with, so under the scheduler ``"priority"``
    a new one has no effect, as under ``"native"``.

    Args:
        time: since the start of the measured window, ``"2s"``.
        queue: name of the queue.
        priority: its new one, in [-255, 255].
        suspended: True: launch nothing more until a change says False. XSched's own policies
            resume what the user has suspended at their next look; its scheduler ``"app"`` does not.

    >>> at("2s", "low", priority=20)
    Change(at_ns=2000000000, queue='low', priority=20, suspended=None)
    """
    time_ns = parse_duration(time, what="time of a change", allow_zero=True)
    return Change(at_ns=time_ns, queue=queue, priority=priority, suspended=suspended)

"""Changes during a run: a queue gets another priority, or is suspended and resumed."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.units import MAX_NS, DurationLike, one_line, parse_duration
from pytest_xsched.base.validation import check_flag, set_integer
from pytest_xsched.errors import ScenarioError

PRIORITIES = (-255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change. Made by `at`.

    Args:
        at_ns: time since the start of the measured window.
        queue: name of the queue.
        priority: the new priority; None: unchanged.
        suspended: whether the user holds the queue from then on; None: unchanged.
    """

    at_ns: int
    queue: str
    priority: int | None = None
    suspended: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.queue, str):
            raise ScenarioError(
                f"change: queue {one_line(self.queue)} is not the name of a queue; write "
                'at("2s", "low", priority=20)'
            )
        what = f"change of queue {self.queue!r}"
        set_integer(self, "at_ns", what, 0, MAX_NS)
        if self.priority is not None:
            set_integer(self, "priority", what, *PRIORITIES)
        if self.suspended is not None:
            check_flag(f"{what}: suspended", self.suspended)
        if self.priority is None and self.suspended is None:
            raise ScenarioError(f"{what}: nothing changes; write priority=20 or suspended=True")


@names_the_rest
def at(
    time: DurationLike,
    queue: str,
    *,
    priority: int | None = None,
    suspended: bool | None = None,
) -> Change:
    """Change a queue during a run: ``changes=[at("2s", "low", priority=20)]``.

    The streams of a GPU keep their first priority, so a new one has no effect under the scheduler
    ``"priority"``, nor under ``"native"``.

    Args:
        time: time since the start of the measured window, ``"2s"``.
        queue: name of the queue.
        priority: the new priority, in [-255, 255].
        suspended: True: the queue launches nothing until a change with False. XSched's own
            policies resume a suspended queue at their next decision; its scheduler ``"app"`` does
            not.

    >>> at("2s", "low", priority=20)
    Change(at_ns=2000000000, queue='low', priority=20, suspended=None)
    """
    if isinstance(time, str) and time.isidentifier():
        raise ScenarioError(
            f'change: the time comes first; write at("2s", {time!r}, ...), not {time!r} as a time'
        )
    time_ns = parse_duration(time, what="time of a change", allow_zero=True)
    return Change(at_ns=time_ns, queue=queue, priority=priority, suspended=suspended)

"""Report what a run still waits for after its end, so that a hang names the queue and the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pytest_xsched.native.run import Counts, Queue
from pytest_xsched.scenario.scenario import Scenario

Doing: TypeAlias = Callable[[str, bool], None]
"""Called with what the process does, as a sentence in the past, and whether commands completed
since the last time."""


class Unfinished:
    """The commands that have not completed after the end of a run.

    Args:
        queues: of the run, by name.
        scenario: the run; before the end of its drain nothing is reported.
        doing: called when something has changed.
    """

    def __init__(self, queues: Mapping[str, Queue], scenario: Scenario, doing: Doing) -> None:
        self._queues = queues
        self._end_ns = scenario.warmup_ns + scenario.duration_ns + scenario.drain_ns
        self._doing = doing
        self._said = ""
        self._completed = -1

    def poll(self, now_ns: int, *, last: bool = False) -> None:
        """Report what is unfinished, if that has changed.

        Args:
            now_ns: since the start of the run.
            last: whether the run is over.
        """
        if now_ns < self._end_ns or last:
            return
        counts = {name: queue.counts() for name, queue in self._queues.items()}
        completed = sum(count.completed for count in counts.values())
        calls = {name: queue.scheduler_call() for name, queue in self._queues.items()}
        waiting = [
            sentence(name, count, *calls[name])
            for name, count in counts.items()
            if count.completed < count.launched or calls[name][0]
        ]
        said = f"it waited for {', and for '.join(waiting)}" if waiting else "it waited for the end"
        if said != self._said:
            self._doing(said, completed > self._completed >= 0)
        self._said, self._completed = said, completed


def sentence(name: str, count: Counts, call: str, launched: int) -> str:
    """Describe the unfinished commands of a queue.

    Args:
        name: of the queue.
        count: its counts.
        call: of XSched, that has not returned; "": none.
        launched: commands that the scheduler launched.
    """
    inside = f", inside {call}" if call else ""
    return (
        f"queue {name!r} ({count.launched} commands, {launched} launched, {count.completed} "
        f"completed){inside}"
    )

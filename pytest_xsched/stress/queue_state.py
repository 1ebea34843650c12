"""What is known about a live queue from the steps that happened to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pytest_xsched.base.units import MAX_NS, Duration, parse_duration
from pytest_xsched.native.run import Counts
from pytest_xsched.runner.live_queues import Ticket, XQueue
from pytest_xsched.scenario.workload import Workload
from pytest_xsched.stress import dependencies
from pytest_xsched.stress.steps import HINTS, Step

__all__ = ["QueueState"]


@dataclass(eq=False)
class QueueState:
    """What the executor knows about a queue without a call of the queue."""

    xq: XQueue
    device: int
    on: int
    """Which device of a process with several."""
    priority: int
    threshold: int
    deadline_ns: int = MAX_NS
    """MAX_NS: it has none, so it is due last."""
    laxity_ns: int = MAX_NS
    """MAX_NS: it has none, so it is never critical."""
    utilization: int = 100
    """Percent; of a queue that has none, too."""
    launch_ns: int = 0
    """What each launch takes in addition."""
    held: bool = False
    submitted: int = 0
    pending: bool = False
    """Whether a request was submitted since the last wait for the queue. A decision by this flag,
    and not by a clock, is the same each time the same steps are executed."""
    tickets: list[Ticket] = field(default_factory=list)
    deepest: int = 0
    """The largest threshold that the queue had."""
    widest: int = 0
    """The largest batch size that the queue had."""
    load: Step | None = None
    """The step that started its load in the background, while it goes on."""
    durations_ns: set[int] = field(default_factory=set)
    """Of its commands so far."""
    seen: Counts | None = None
    """Counts of the queue after the last step."""
    waits: list[dependencies.Wait] = field(default_factory=list)
    """Its requests, since the last wait for the queue, that start after those of other queues."""
    gone: bool = False
    """Whether it was destroyed."""
    limit: int = 0
    """Commands that wait for no other queue."""
    was_ready: bool = False
    """Whether it was ready after the last step, and had no request that waits for others."""

    @property
    def name(self) -> str:
        return self.xq.name

    def is_ready(self, counts: Counts) -> bool:
        return counts.completed < self.limit and not self.held

    def note_change(self, step: Step) -> None:
        """Note what a step sets."""
        if step.does == "load":
            self.load = step
            self.note(step.workload)
        elif step.does == "unload":
            self.load = None
        elif step.does in ("suspend", "resume"):
            self.held = step.does == "suspend"
            self.was_ready = self.was_ready and not self.held
        elif step.does == "set_priority":
            self.priority = step.priority or 0
        elif step.does == "set_utilization":
            self.utilization = step.utilization
        elif (hint := step.does.removeprefix("set_")) in HINTS:
            value = step.hints.get(hint)
            value_ns = parse_duration(value, what=hint) if value else MAX_NS
            setattr(self, f"{hint}_ns", value_ns)
        elif step.does == "set_launch_config":
            self.threshold, batch_size = step.depth
            self.deepest = max(self.deepest, self.threshold)
            self.widest = max(self.widest, batch_size)

    def note(self, workload: Workload) -> None:
        """Note that the queue got work."""
        self.pending = True
        self.durations_ns |= {command.duration_ns for command in workload.commands}

    def work_ns(self, workload: Workload) -> int:
        """Return what a request takes alone."""
        return dependencies.work_ns(workload) + self.launch_ns * len(workload.commands)

    def work_left(self, here: Iterable[QueueState]) -> Duration:
        """Return how long the queue may wait at most for the end of its work, if it may launch.

        That is all work that its device has, and of each load as many commands before each of the
        queue's as its threshold allows.

        Args:
            here: all queues of the device.
        """
        all_ns, turn_ns, mine = 0, 0, 0
        for state in here:
            counts = state.xq.counts
            left = counts.submitted - counts.completed
            longest_ns = max(state.durations_ns, default=0) + state.launch_ns
            all_ns += left * longest_ns
            if state is self:
                mine = left
            elif state.load is not None:
                turn_ns += state.deepest * longest_ns
        return Duration(all_ns + mine * turn_ns)

    def all_submitted(self) -> int:
        """Return the commands of the user and of loads so far."""
        return self.submitted + self.xq.counts.background_commands

"""Steps on live XQueues, as data.

`state_machine` draws steps. `step_executor` executes them and checks the live rules of `rules`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.workload import Workload, spin

__all__ = ["HINTS", "BrokenRule", "Step", "numbered"]

_PLAIN = spin("1ms")
IDLE = "50ms"
HINTS = ("deadline", "laxity", "utilization")
"""Hints, apart from the priority, that a queue is created with or gets by "set_deadline", ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. Each kind of step uses some of the fields after `queue`.

    Attributes:
        does: the name of a method of XQueue, or "create", "set_priority", "set_deadline",
            "set_laxity", "set_utilization", "set_launch_config", "sleep", "idle", "share",
            "compete", "divide", "apart", "follow", "change_policy", "switch_off", "switch_on",
            "together", "clear" (the end of an example) or one of `costs.STEPS`.
        steps: of "together": steps that happen at once, each in a thread of its own.
        launch: of "create": what each launch of the queue takes in addition.
        every: of a load: the time from one request to the next; empty: a closed loop.
        queue: number of the queue, in order of creation.
        after: number of the queue whose last request a submitted one starts after; -1: none.
        device: number of the live XQueues that the queue is of: a device, or several in a process.
        on: which of these the queue is on.
        deadline: empty: none; the same holds for laxity.
        utilization: percent; 0: none.
    """

    does: str
    queue: int = -1
    device: int = 0
    on: int = 0
    priority: int | None = 0
    deadline: str = ""
    laxity: str = ""
    utilization: int = 0
    launch: str = ""
    depth: tuple[int, int] = (4, 2)
    workload: Workload = _PLAIN
    duration: str = "1ms"
    every: str = ""
    after: int = -1
    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        """Return the step as Python."""
        name = f"q{self.queue}"
        on = f", device={self.on}" if self.on else ""
        depth = f"threshold={self.depth[0]}, batch_size={self.depth[1]}"
        hints = "".join(f", {hint}={_literal(value)}" for hint, value in self.hints.items())
        hints += f', launch="{self.launch}"' if self.launch else ""
        every = f', every="{self.every}"' if self.every else ""
        xqueues = "xqueues" if not self.device else f"xqueues{self.device}"
        after = f", after=q{self.after}" if self.after >= 0 else ""
        if self.does == "together":
            return f"xqueues.together({', '.join(f'lambda: {s.call}' for s in self.steps)})"
        return {
            "submit": f"{name}.submit({python_text(self.workload)}{after})",
            "create": f"{name} = {xqueues}(priority={self.priority}, {depth}{hints}{on})",
            "load": f"{name}.load({python_text(self.workload)}{every})",
            "set_priority": f"{name}.priority = {self.priority}",
            "set_deadline": f"{name}.deadline = {_literal(self.deadline)}",
            "set_laxity": f"{name}.laxity = {_literal(self.laxity)}",
            "set_utilization": f"{name}.utilization = {_literal(self.utilization)}",
            "set_launch_config": f"{name}.set_launch_config({depth})",
            "sleep": f'xqueues.sleep("{self.duration}")',
            "idle": f'xqueues.sleep("{IDLE}")',
            "share": f"share({name})",
            "compete": f"compete({name})",
            "divide": f"divide({name})",
            "apart": f"apart({name})",
            "follow": f"follow({name})",
            "change_policy": f"change_policy({name})",
            "clear": "xqueues.clear()",
            "switch_off": f"{xqueues}.switch_off()",
            "switch_on": f"{xqueues}.switch_on()",
        }.get(self.does, f"{self.does}({xqueues})" if self.queue < 0 else f"{name}.{self.does}()")

    @property
    def hints(self) -> dict[str, Any]:
        """The hints that the step has values of, by name."""
        return {hint: value for hint in HINTS if (value := getattr(self, hint))}

    @property
    def call(self) -> str:
        """The step as an expression of Python, which a lambda can have."""
        if self.does == "set_priority":
            return f'setattr(q{self.queue}, "priority", {self.priority})'
        return str(self)

    @property
    def queues(self) -> frozenset[int]:
        """Numbers of the queues that the step is about."""
        inner = (number for step in self.steps for number in step.queues)
        return frozenset(inner) | ({self.queue} if self.queue >= 0 else frozenset())


def _literal(value: str | int) -> str:
    return f'"{value}"' if value and isinstance(value, str) else str(value or None)


class BrokenRule(AssertionError):
    """A rule did not hold.

    Attributes:
        rule: id of the rule; of "returns" the call that did not return.
        sentence: the breach.
        steps: steps that led to it.
    """

    def __init__(self, rule: str, sentence: str, steps: Iterable[Step] = ()) -> None:
        self.rule = rule
        self.sentence = sentence
        self.steps = tuple(steps)
        super().__init__("\n".join([f"{rule}: {sentence}", *map(str, self.steps)]))


def numbered(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Number the queues from 0."""
    numbers = {step.queue: i for i, step in enumerate(s for s in steps if s.does == "create")}
    return tuple(_renumbered(step, numbers) for step in steps)


def _renumbered(step: Step, numbers: Mapping[int, int]) -> Step:
    return dataclasses.replace(
        step,
        queue=numbers.get(step.queue, step.queue),
        after=numbers.get(step.after, step.after),
        steps=tuple(_renumbered(one, numbers) for one in step.steps),
    )

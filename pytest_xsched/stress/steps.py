"""Steps on live XQueues as data, and the rules that must hold behind each, by name.

`step_executor` takes the steps and checks the rules, `state_machine` draws them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.workload import Workload, spin

RULES = {
    "nothing lost, nothing twice": "A queue counts what was submitted to it, and in the end "
    "launched and completed as much.",
    "order of counts": "completed <= launched <= submitted at every look, and none ever falls.",
    "in order": "Requests of a queue are launched, and complete, in the order of their submission.",
    "threshold": "Never more commands in flight than the largest threshold that the queue had "
    "(progressive command launching, XSched, OSDI'25, section 4).",
    "held launches nothing": "From suspend() to resume() a queue launches nothing.",
    "a fresh queue is fresh": "A new queue has counts of zero and the priority it was given.",
    "highest runs": "A ready queue of the highest priority launches what its threshold allows, and "
    "equals do alike (HPF of XSched); virtual time.",
    "lower waits": "Below a queue that was ready before, nothing is launched; virtual time.",
    "equals share": "While a queue works, another of the same, highest priority launches, too (HPF "
    "of XSched resumes all of them); in virtual time a command waits for no more of another queue "
    "than its threshold.",
    "off means off": "When the scheduler is switched off, every queue runs that nobody holds.",
    "idle burns nothing": "While no queue has work, the process uses less than half a processor.",
    "no call fails": "No call answers with an error.",
    "the process survives": "No call ends its process.",
    "returns": "Each call returns, and a wait for a queue that nobody holds. `wait returns`, "
    "`destroy returns`, ...; behind it stands `of a held queue` or `beside a held queue` if that "
    "queue, or another one, was held with work.",
}
"""What is checked, by name."""


_PLAIN = spin("1ms")
IDLE = "50ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; of what follows `queue` each kind of step needs some.

    Attributes:
        does: the name of a method of XQueue, "create", "set_priority" or "sleep".
        queue: number of the queue, in order of creation.
        home: on which of the devices it is.
    """

    does: str
    queue: int = -1
    home: int = 0
    priority: int = 0
    depth: tuple[int, int] = (4, 2)
    workload: Workload = _PLAIN
    duration: str = "1ms"

    def __str__(self) -> str:
        """Write it as Python."""
        name = f"q{self.queue}"
        depth = f"threshold={self.depth[0]}, batch_size={self.depth[1]}"
        home = "xqueues" if not self.home else f"xqueues{self.home}"
        return {
            "create": f"{name} = {home}(priority={self.priority}, {depth})",
            "submit": f"{name}.submit({python_text(self.workload)})",
            "set_priority": f"{name}.priority = {self.priority}",
            "set_launch_config": f"{name}.set_launch_config({depth})",
            "sleep": f'xqueues.sleep("{self.duration}")',
            "idle": f'xqueues.sleep("{IDLE}")',
            "share": f"share({name})",
            "switch_off": f"{home}.switch_off()",
        }.get(self.does, f"{name}.{self.does}()")


class BrokenRule(AssertionError):
    """A rule did not hold.

    Attributes:
        rule: its name.
        sentence: what was seen.
        steps: that led to it.
    """

    def __init__(self, rule: str, sentence: str, steps: Iterable[Step] = ()) -> None:
        self.rule = rule
        self.sentence = sentence
        self.steps = tuple(steps)
        super().__init__("\n".join([f"{rule}: {sentence}", *map(str, self.steps)]))

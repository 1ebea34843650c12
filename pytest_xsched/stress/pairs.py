"""Each pair of calls once, in short sequences of steps: two calls at once, or one after the other.

There are also single calls while long commands execute, while launches take long, and below a
load, and a queue that waits for the lowest of three.

Most faults show in two calls and a queue that has work meanwhile. Random steps seldom come to a
certain pair: there are some hundred. `first_broken` takes these sequences before long random ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pytest_xsched.scenario.workload import spin
from pytest_xsched.stress import overlap
from pytest_xsched.stress.background_load import WINDOW
from pytest_xsched.stress.contests import LONG
from pytest_xsched.stress.steps import Step

__all__ = ["LONG_COMMAND", "LONG_COMMANDS", "SLOW_LAUNCH", "pairs_of_steps"]

LONG_COMMAND = "50ms"
"""Duration of a command that takes longer than a scheduler may expect."""
LONG_COMMANDS = spin(LONG_COMMAND, layers=2)
SLOW_LAUNCH = "40ms"
"""What a launch takes: long for a test to see it, and short enough for suspend() to wait for it."""
_TURN_OFF, _TURN_ON = Step(does="switch_off"), Step(does="switch_on")
_FIRST = (
    *(Step(does="submit"), Step(does="suspend"), Step(does="set_priority", priority=2)),
    *(Step(does="set_launch_config", depth=(1, 1)), _TURN_OFF),
)
_SECOND = (
    *(Step(does="submit"), Step(does="suspend"), Step(does="resume"), Step(does="destroy")),
    *(Step(does="set_priority", priority=-1), Step(does="set_launch_config", depth=(8, 1))),
    _TURN_OFF,
)


def pairs_of_steps(first: int) -> list[tuple[Step, ...]]:
    """Return sequences of steps, each with one or two calls next to queues with work.

    Args:
        first: number of the first queue; each sequence has one, two or three queues.
    """
    different = dict.fromkeys(
        (
            *(*_one_after_the_other(), *_at_once(), _off_and_on()),
            *(*_during_long_commands(), *_during_slow_launches(), *_below_a_load()),
            _after_the_lowest(),
        )
    )
    return [tuple(_moved(step, first) for step in steps) for steps in different]


def _moved(step: Step, first: int) -> Step:
    queue = step.queue + first if step.queue >= 0 else -1
    return replace(step, queue=queue, steps=tuple(_moved(one, first) for one in step.steps))


def _begin(*busy: int) -> tuple[Step, ...]:
    """Return steps that make a high and a low queue, and submit to some."""
    return (
        *(Step(does="create", queue=queue, priority=1 - queue) for queue in range(2)),
        *(Step(does="submit", queue=queue, workload=LONG) for queue in busy),
        Step(does="sleep", duration="2ms"),  # until the scheduler has the work
    )


def _one_after_the_other() -> Iterator[tuple[Step, ...]]:
    """Yield one call, and two, on a queue; the other queue, above or below it, has work."""
    for queue in range(2):
        for one in _FIRST:
            # The first request of a queue is a case of its own.
            begin = _begin(1 - queue) if one.does == "submit" else _begin(0, 1)
            yield (*begin, _of(one, queue))
            for other in _SECOND:
                yield (*begin, _of(one, queue), _of(other, queue))


def _off_and_on() -> tuple[Step, ...]:
    """Return steps that switch the scheduler off and on again while two queues have a load.

    Without a scheduler, the low one gets more of the device, because its threshold is larger.
    """
    high, *others = _begin()
    return (
        *(replace(high, depth=(1, 1)), *others),
        *(Step(does="load", queue=queue, workload=LONG) for queue in range(2)),
        *(_TURN_OFF, _TURN_ON),
    )


def _during_long_commands() -> Iterator[tuple[Step, ...]]:
    """Yield one call on a queue that launches long commands, one at a time."""
    long = Step(does="submit", queue=0, workload=LONG_COMMANDS)
    for does in ("wait", "suspend", "set_launch_config", "destroy"):
        yield (
            *(Step(does="create", queue=0, depth=(1, 1)), long, long),
            Step(does=does, queue=0, depth=(2, 1)),
        )


def _during_slow_launches() -> Iterator[tuple[Step, ...]]:
    """Yield one call on a queue while it launches, and a pause until a launch has ended."""
    for does in ("suspend", "set_launch_config", "destroy"):
        yield (
            Step(does="create", queue=0, launch=SLOW_LAUNCH),
            Step(does="submit", queue=0, workload=spin("1ms", layers=2)),
            Step(does="sleep", duration="2ms"),  # until the scheduler has the work
            Step(does=does, queue=0, depth=(2, 1)),
            Step(does="sleep", duration=SLOW_LAUNCH),
        )


def _below_a_load() -> Iterator[tuple[Step, ...]]:
    """Yield one call on a queue with work, next to a load above it that leaves it nothing.

    The requests of the load are long, so a busy machine leaves no gap between two of them.
    """
    high, low, _ = _begin()
    for does in ("wait", "suspend", "set_launch_config", "destroy"):
        yield (
            *(high, Step(does="load", queue=0, workload=LONG)),
            *(low, Step(does="submit", queue=1, workload=LONG)),
            Step(does="sleep", duration=WINDOW),  # until the scheduler has the work
            Step(does=does, queue=1, depth=(2, 1)),
        )


def _after_the_lowest() -> tuple[Step, ...]:
    """Return steps in which the highest of three queues waits for the lowest."""
    three = (Step(does="create", queue=queue, priority=queue) for queue in range(3))
    return (*three, Step(does="follow", queue=2))


def _of(step: Step, queue: int) -> Step:
    return step if step.does == "switch_off" else replace(step, queue=queue)


def _at_once() -> Iterator[tuple[Step, ...]]:
    """Yield two calls at once, each on a queue of its own, and submits to the same queue."""
    for does in overlap.PAIRS:
        one, other = (Step(does=name, priority=2, depth=(1, 1), workload=LONG) for name in does)
        for queue in range(1 if one == other else 2):
            steps = (replace(one, queue=queue), replace(other, queue=1 - queue))
            yield (*_begin(0, 1), Step(does="together", steps=steps))
        if other.does == "submit" and one.does != "destroy":
            steps = (replace(one, queue=0), replace(other, queue=0))
            yield (*_begin(0, 1), Step(does="together", steps=steps))

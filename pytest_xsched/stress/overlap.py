"""Steps that happen at once: which ones may, and fewer or simpler ones of them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_xsched.base.units import Duration, DurationLike
from pytest_xsched.errors import QueueTimeout, WorkerHung
from pytest_xsched.runner.live_queues import XQueue
from pytest_xsched.stress.steps import BrokenRule, Step

if TYPE_CHECKING:
    from pytest_xsched.stress.step_executor import StepExecutor

__all__ = ["KINDS", "PAIRS", "VAIN", "compatible", "execute", "possible", "simpler"]

_CHANGES = ("suspend", "resume", "set_priority", "set_launch_config", "destroy")
KINDS = (*_CHANGES, "submit", "wait", "load", "unload")
"""Steps that may happen together."""
PAIRS = (
    *itertools.combinations_with_replacement(_CHANGES, 2),
    *((change, other) for change in _CHANGES for other in ("submit", "wait")),
)
"""Two steps on two queues with work."""
_SAME = {"suspend": "hold", "resume": "hold", "load": "load", "unload": "load"}


VAIN = "20ms"
"""Timeout of a wait that need not succeed."""


def compatible(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps without those after which it is not known what must hold.

    Of two steps that set the same thing of a queue, the first one stays. A queue may get any
    number of requests at once. Calls on a queue that another thread destroys may fail.
    """
    kept: list[Step] = []
    seen: set[tuple[int, str]] = set()
    for step in steps:
        key = (step.queue, _SAME.get(step.does, step.does))
        if step.does == "submit" or key not in seen:
            kept.append(step)
            seen.add(key)
    return tuple(kept)


def call_of(step: Step, xq: XQueue, timeout: DurationLike, work: Duration) -> Callable[[], Any]:
    """Return the call that a step makes.

    Args:
        step: about one queue.
        xq: the queue.
        timeout: of a wait, which then returns the error and does not raise it.
        work: what the queue has left to do.
    """

    def wait() -> QueueTimeout | None:
        try:
            xq.wait(timeout)
        except QueueTimeout as error:
            return error
        return None

    threshold, batch_size = step.depth
    calls: dict[str, Callable[[], Any]] = {
        "submit": lambda: xq.submit(step.workload),
        "load": lambda: xq.load(step.workload, every=step.every or None),
        "set_priority": lambda: setattr(xq, "priority", step.priority),
        "set_launch_config": lambda: xq.set_launch_config(
            threshold=threshold, batch_size=batch_size
        ),
        "wait": wait,
        "destroy": lambda: xq.destroy(work),
    }
    return calls.get(step.does) or getattr(xq, step.does)


def own_error(error: WorkerHung) -> bool:
    """Check whether the call of this thread caused an error, which others raise, too."""
    return error.thread in (None, threading.get_ident())


def simpler(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Return the steps with fewer overlaps: one step fewer in one, or one after another."""
    found = []
    for i, step in enumerate(steps):
        if step.does != "together":
            continue
        choices: list[tuple[Step, ...]] = []
        for k in range(len(step.steps)):
            rest = step.steps[:k] + step.steps[k + 1 :]
            choices.append(rest if len(rest) == 1 else (dataclasses.replace(step, steps=rest),))
        for rest in choices:
            found.append((*steps[:i], *rest, *steps[i + 1 :]))
        found.append((*steps[:i], *step.steps, *steps[i + 1 :]))
    return found


def possible(executor: StepExecutor, steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps that can happen together, and whose return is claimed.

    Args:
        executor: has the queues.
        steps: the steps.
    """
    some = compatible(step for step in steps if executor.can(step))
    gone = {step.queue for step in some if step.does == "destroy"}
    return tuple(
        step
        for step in some
        if name_of(executor, step, some) not in executor.without
        and (step.does == "destroy" or step.queue not in gone)
    )


def name_of(executor: StepExecutor, step: Step, others: Sequence[Step]) -> str:
    """Return the id of the rule that a step returns."""
    return f"{step.does} returns{executor.circumstance(step, others)}"


def execute(executor: StepExecutor, step: Step) -> None:
    """Let steps happen at once, and note what must hold after all of them.

    Args:
        executor: has the queues.
        step: has the steps that were `possible`.
    """
    states = {number: executor.queues[number] for number in step.queues}
    patient = {number: _must_end(executor, number, step.steps) for number in states}
    names = [name_of(executor, one, step.steps) for one in step.steps]
    for one in step.steps:
        if one.does == "set_launch_config":  # before it takes effect
            states[one.queue].note_change(one)

    work = {n: state.work_left(executor.next_to(state)) for n, state in states.items()}

    def call(one: Step, name: str) -> Any:
        timeout = executor.patience + work[one.queue] if patient[one.queue] else VAIN
        try:
            return call_of(one, states[one.queue].xq, timeout, work[one.queue])()
        except WorkerHung as error:
            if not own_error(error):
                return None
            raise BrokenRule(name, str(error)) from error

    results = executor.devices[0].together(
        *(functools.partial(call, *pair) for pair in zip(step.steps, names, strict=True))
    )
    for one, name, result in zip(step.steps, names, results, strict=True):
        state = states[one.queue]
        state.note_change(one)
        if one.does == "submit":
            executor.note_submitted(state, one.workload, [result])
        elif one.does == "wait" and result is not None and patient[one.queue]:
            raise BrokenRule(name, str(result))
        elif one.does == "destroy":
            executor.queues.pop(one.queue).gone = True
    for state in states.values():
        state.tickets.sort(key=lambda ticket: ticket.number)
        executor.changed.add(state)
        if state.held and not state.gone:
            state.seen = state.xq.counts


def _must_end(executor: StepExecutor, number: int, steps: Sequence[Step]) -> bool:
    """Check whether a wait for a queue must return while other steps happen."""
    state = executor.queues[number]
    held = state.held or any(s.does == "suspend" and s.queue == number for s in steps)
    return not held and not state.waits and not executor.may_starve(state, steps)

"""The steps in which queues without work compete; `competition` says how one attempt works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_xsched.stress import competition
from pytest_xsched.stress.queue_state import QueueState
from pytest_xsched.stress.steps import Step

__all__ = ["above_elsewhere", "below", "execute"]


def below(executor: Any, step: Step) -> list[QueueState]:
    """Return the queues that must wait for the step's queue; none if that is not clear.

    Args:
        executor: a `step_executor.StepExecutor`.
        step: names the queue.
    """
    one = executor.queues[step.queue]
    if not competition.rule_of(executor.devices[one.device].policy) or not _is_clear(executor, one):
        return []
    policy = executor.devices[one.device].policy
    return competition.preceded(one, executor._next_to(one), policy)


def above_elsewhere(executor: Any, step: Step) -> list[QueueState]:
    """Return the queues of higher priority on other devices of the process, the highest first."""
    one = executor.queues[step.queue]
    apart = competition.keeps_devices_apart(executor.devices[one.device].policy)
    if not apart or not _is_clear(executor, one):
        return []
    higher = [k for k in _process(executor, one) if k.on != one.on and k.priority > one.priority]
    return sorted(higher, key=lambda state: -state.priority)


def execute(executor: Any, step: Step) -> None:
    """Execute "compete", "apart" or "change_policy", for which there are the queues it needs."""
    one = executor.queues[step.queue]
    live, submit = executor.devices[one.device], executor._submit_times
    if step.does == "apart":
        other = above_elsewhere(executor, step)[0]
        _repeat(
            executor,
            "devices are apart",
            one,
            lambda: competition.waited_for_another_device(one, other, submit),
        )
        return
    rule, attempt = {
        "compete": (competition.rule_of(live.policy), competition.overtaken),
        "change_policy": ("a new policy decides", competition.stayed_suspended),
    }[step.does]
    lower = below(executor, step)
    _repeat(executor, rule, one, lambda: attempt(live, one, lower, submit))


def _repeat(executor: Any, rule: str, one: QueueState, attempt: Callable[[], str | None]) -> None:
    """Let queues without work show that a rule holds, or that it is broken each time."""
    in_vain, breaches = 0, list[str]()
    states = _process(executor, one)
    while in_vain < competition.IN_VAIN and len(breaches) < competition.BREACHES:
        executor._drain(states)
        sentence = attempt()
        for state in states:
            state.seen = state.xq.counts
        if sentence == "":
            executor.shown.add(rule)
            return
        breaches += [sentence] if sentence else []
        in_vain += sentence is None
        enough = len(breaches) >= competition.BREACHES
        executor._check(rule, not enough, breaches[-1] if breaches else "")


def _is_clear(executor: Any, one: QueueState) -> bool:
    """Check whether only the policy decides between the queues of a process."""
    states = _process(executor, one)
    return one.device not in executor._off and not any(k.held or k.load for k in states)


def _process(executor: Any, one: QueueState) -> list[QueueState]:
    """Return the queues of a queue's process, on all of its devices."""
    return [state for state in executor.queues.values() if state.device == one.device]

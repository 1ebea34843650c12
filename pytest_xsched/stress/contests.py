"""The steps in which queues without work compete; `competition` says how one attempt works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_xsched.scenario.workload import spin
from pytest_xsched.stress import competition
from pytest_xsched.stress.queue_state import QueueState
from pytest_xsched.stress.steps import Step

if TYPE_CHECKING:
    from pytest_xsched.stress.step_executor import StepExecutor

__all__ = ["LONG", "above_elsewhere", "below", "execute", "smaller", "sources"]

LONG = spin("1ms", layers=40)
"""Work that is still there when the next queues have got theirs, in whatever process."""


def below(executor: StepExecutor, step: Step) -> list[QueueState]:
    """Return the queues that must wait for the step's queue; none if that is not clear.

    Args:
        executor: has the queues.
        step: names the queue.
    """
    one = executor.queues[step.queue]
    if not competition.rule_of(executor.devices[one.device].policy) or not _is_clear(executor, one):
        return []
    policy = executor.devices[one.device].policy
    return competition.preceded(one, executor.next_to(one), policy)


def smaller(executor: StepExecutor, step: Step) -> list[QueueState]:
    """Return the queues with a much smaller utilization than the step's queue, the smallest first.

    Queues whose launches take time are none: it is not that time which a policy divides.
    """
    one = executor.queues[step.queue]
    by_share = competition.divides_time(executor.devices[one.device].policy)
    if not by_share or one.launch_ns or not _is_clear(executor, one):
        return []
    most = one.utilization / competition.TIMES
    found = [k for k in executor.next_to(one) if k.utilization <= most and not k.launch_ns]
    return sorted(found, key=lambda state: state.utilization)


def above_elsewhere(executor: StepExecutor, step: Step) -> list[QueueState]:
    """Return the queues of higher priority on other devices of the process, the highest first."""
    one = executor.queues[step.queue]
    apart = competition.keeps_devices_apart(executor.devices[one.device].policy)
    if not apart or not _is_clear(executor, one):
        return []
    higher = [k for k in _process(executor, one) if k.on != one.on and k.priority > one.priority]
    return sorted(higher, key=lambda state: -state.priority)


def sources(executor: StepExecutor, step: Step) -> list[QueueState]:
    """Return the queues that the step's queue may wait for, the lowest first."""
    one = executor.queues[step.queue]
    if "no circular wait" in executor.without or not _is_clear(executor, one):
        return []
    found = [state for state in executor.next_to(one) if state.priority < one.priority]
    return sorted(found, key=lambda state: state.priority)


def execute(executor: StepExecutor, step: Step) -> None:
    """Execute one of these steps, for which there are the queues it needs."""
    one = executor.queues[step.queue]
    live, submit = executor.devices[one.device], executor.submit_times
    if step.does == "follow":
        _follow(executor, one, sources(executor, step))
        return
    if step.does == "divide":
        other = smaller(executor, step)[0]
        _repeat(executor, "time by weight", one, lambda: _divide(executor, one, other))
        return
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


def _divide(executor: StepExecutor, one: QueueState, other: QueueState) -> str | None:
    """Let two queues compete; with one command in flight, as a turn would get all of more."""
    for state in (one, other):
        if state.threshold > 1:
            state.note_change(Step(does="set_launch_config", depth=(1, 1)))
            state.xq.set_launch_config(threshold=1, batch_size=1)
    return competition.got_less(one, other, executor.submit_times)


def _follow(executor: StepExecutor, one: QueueState, others: Sequence[QueueState]) -> None:
    """Let a queue wait for the lowest one, while those between them have work, too."""
    states = _process(executor, one)
    executor.drain(states)
    for state in others:
        executor.submit_to(state, LONG)
    executor.submit_after(one, spin("1ms"), others[0])
    executor.wait_for(one)
    for state in states:
        state.seen = state.xq.counts


def _repeat(
    executor: StepExecutor, rule: str, one: QueueState, attempt: Callable[[], str | None]
) -> None:
    """Let queues without work show that a rule holds, or that it is broken each time."""
    in_vain, breaches = 0, list[str]()
    states = _process(executor, one)
    while in_vain < competition.IN_VAIN and len(breaches) < competition.BREACHES:
        executor.drain(states)
        sentence = attempt()
        for state in states:
            state.seen = state.xq.counts
        if sentence == "":
            executor.shown.add(rule)
            return
        breaches += [sentence] if sentence else []
        in_vain += sentence is None
        enough = len(breaches) >= competition.BREACHES
        executor.check(rule, not enough, breaches[-1] if breaches else "")


def _is_clear(executor: StepExecutor, one: QueueState) -> bool:
    """Check whether only the policy decides between the queues of a process."""
    states = _process(executor, one)
    return one.device not in executor.off and not any(k.held or k.load for k in states)


def _process(executor: StepExecutor, one: QueueState) -> list[QueueState]:
    """Return the queues of a queue's process, on all of its devices."""
    return [state for state in executor.queues.values() if state.device == one.device]

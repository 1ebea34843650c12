"""Which queues of a run may be compared for fairness, and what their rates are divided by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.errors import InvalidRun, ScenarioError

_Queue = TypeVar("_Queue", bound=QueueResult)


def choose(named: Sequence[_Queue], queues: Sequence[_Queue]) -> list[_Queue]:
    """Return the named queues, or all of the highest priority that has several.

    Raises:
        ScenarioError: these are not two or more queues of equal priority.
    """
    chosen = list(named)
    names = [queue.name for queue in chosen]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ScenarioError(f"assert_fair: {twice[0]!r} is named twice")
    if not chosen:
        priorities = [queue.spec.priority for queue in queues]
        several = {priority for priority in priorities if priorities.count(priority) > 1}
        chosen = [queue for queue in queues if several and queue.spec.priority == max(several)]
    if len(chosen) < 2 or len({queue.spec.priority for queue in chosen}) > 1:
        raise ScenarioError("assert_fair: it takes two or more queues of equal priority")
    return chosen


def weights(queues: Sequence[QueueResult], alone: Mapping[str, QueueResult] | None) -> list[float]:
    """Return what the rate of each queue is divided by: 1, or its rate alone.

    Raises:
        ScenarioError: the queues have different work, and `alone` is missing.
        InvalidRun: the evidence speaks against a run of `alone`, or it completed nothing.
    """
    if alone is None:
        if len({queue.workload for queue in queues}) > 1:
            raise ScenarioError(
                "assert_fair: the queues have different work; pass each alone: "
                'alone={"a": alone_a.a, "b": alone_b.b}'
            )
        return [1.0] * len(queues)
    missing = [queue.name for queue in queues if queue.name not in alone]
    if missing:
        raise ScenarioError(f"assert_fair: alone has no queue for {missing[0]!r}")
    rates = []
    for queue in queues:
        rate = alone[queue.name].throughput
        rate.require()
        if not rate.value:
            raise InvalidRun(f"{queue.name} alone completed nothing")
        rates.append(float(rate.value))
    return rates


def remark(queues: Sequence[QueueResult]) -> str:
    """Return that the loads decided the rates, where every queue completes what is offered."""
    if any(queue.closed_loop or queue.saturated for queue in queues):
        return ""
    names = " and ".join(queue.name for queue in queues)
    return f"; {names} complete what is offered, so their loads decide their rates"

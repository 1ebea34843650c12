"""Hypothesis strategies for the scenarios in which `engine` checks policies.

For XSched: up to three bursts of equal commands that overlap. Each is long enough for a policy to
show what it does, and all end within about a second. Each grid begins with its simplest value.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from pytest_xsched.base.policies import Policy
from pytest_xsched.base.units import Duration
from pytest_xsched.scenario.arrival_process import Replay, closed, replay
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.workload import spin
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.stress.strategies import scenarios

_S = 10**9
_MS = 10**6

NAMES = ("a", "b", "c")
BEGINS = ("0ms", "100ms", "300ms")
"""When a burst begins."""
DEPTHS = ((1, 1), (2, 1), (4, 2), (16, 8))
COMMANDS = (("1ms", 100), ("2ms", 50), ("1ms", 300), ("2ms", 150))
"""Duration and number of the commands of a burst."""
LONG_COMMANDS = (("1ms", 400), ("2ms", 300))
"""The same for mlfq, whose longest turn takes 80 ms."""
DURATION_NS, DRAIN_NS = 500 * _MS, 3 * _S

HINTS: dict[str, dict[str, tuple[int | None, ...]]] = {
    "hpf": {"priority": (0, 1, 2, -1, 255, -255)},
    "hhpf": {"priority": (0, 1, 2, -1, 255, -255)},
    "chpf": {"priority": (0, 1)},
    "up": {"utilization": (50, 25, 75, 100, None)},
    "pup": {"utilization": (50, 25, None)},
    "kedf": {"deadline_ns": (None, _S, 10 * _MS, 10 * _S)},
    "lax": {"priority": (1, 0, 2), "laxity_ns": (None, 20 * _MS, 200 * _MS, _S)},
    "awf": {"priority": (0, 1)},
    "cfs": {"priority": (0, 1, 4, -4)},
    "mlfq": {"priority": (0, 1)},
}
"""Hints of the queues under each policy, by fields of `QueueSpec`; some it has to ignore."""
ALIKE = ("up", "cfs", "mlfq")
"""Policies whose turns depend on times and thresholds: all queues get the same ones."""
TIMESLICES = (None, "40ms")
_SELDOM = st.sampled_from((False, False, True))
INVERSION = "inversion is bounded"


def contests(policy: Policy, device: str) -> SearchStrategy[Scenario]:
    """Draw scenarios that show what a policy does.

    Args:
        policy: one of the registry's.
        device: name of the device; a built-in policy runs on "sim".
    """
    if policy.scheduler == "xsched":
        return _bursts(policy, device)
    any_mix = scenarios(policies=[policy.name])
    if not policy.by_weight:
        return any_mix
    return st.one_of(
        any_mix,
        scenarios(policies=[policy.name], least=2, duration="400ms", loads=st.just(closed())),
    )


@st.composite
def _bursts(draw: DrawFn, policy: Policy, device: str) -> Scenario:
    name = policy.name
    is_inverted = INVERSION in policy.rules and draw(_SELDOM)
    counts = (3,) if is_inverted else (1, 2, 2, 3, 3)  # a single queue shows little
    count = draw(st.sampled_from(counts))
    works, depths = st.sampled_from(_commands(name)), st.sampled_from(DEPTHS)
    if name in ALIKE:
        works, depths = st.just(draw(works)), st.just(draw(depths))
    queues = []
    for queue in NAMES[:count]:
        duration, number = draw(works)
        threshold, batch_size = draw(depths)
        hints = {field: draw(st.sampled_from(grid)) for field, grid in HINTS[name].items()}
        queues.append(
            QueueSpec(
                name=queue,
                workload=spin(duration),
                arrivals=replay([draw(st.sampled_from(BEGINS))] * number),
                threshold=threshold,
                batch_size=batch_size,
                priority=hints.get("priority") or 0,
                utilization=hints.get("utilization"),
                deadline_ns=hints.get("deadline_ns"),
                laxity_ns=hints.get("laxity_ns"),
            )
        )
    if is_inverted:  # the last one waits for the lowest one, and the other one is between them
        queues = [replace(queue, priority=rank) for rank, queue in enumerate(queues)]
    if is_inverted or (count > 1 and draw(_SELDOM)):
        queues[-1] = replace(queues[-1], arrivals=closed(), after=queues[0].name)
    timeslice = draw(st.sampled_from(TIMESLICES)) if name == "up" else None
    return Scenario(
        queues=tuple(queues),
        duration_ns=DURATION_NS,
        warmup_ns=0,
        drain_ns=DRAIN_NS,
        seed=0,
        device=device,
        scheduler="xsched",
        policy="none",
        xsched=XSched(policy=name, timeslice=timeslice),
    )


def _commands(name: str) -> tuple[tuple[str, int], ...]:
    if name == "mlfq":
        return LONG_COMMANDS
    return COMMANDS[2:] if name in ALIKE else COMMANDS  # short ones show no shares


def _work_ns(queue: QueueSpec) -> int:
    assert isinstance(queue.arrivals, Replay)
    each_ns = sum(command.duration_ns for command in queue.workload.commands)
    return each_ns * len(queue.arrivals.times_ns)


def _begin_ns(queue: QueueSpec) -> int:
    assert isinstance(queue.arrivals, Replay)
    return int(queue.arrivals.times_ns[0])


def _urgent(one: QueueSpec, other: QueueSpec) -> bool:
    """Whether a queue becomes more urgent than another one when its laxity is over."""
    highest = other.priority if other.laxity_ns is not None else 0
    return (
        one.laxity_ns is not None
        and one.priority > max(0, highest)
        and one.laxity_ns < _work_ns(other)
    )


def _is_between(source: QueueSpec, other: QueueSpec, queue: QueueSpec) -> bool:
    """Whether a queue starts after one of lower priority, and another one is between them."""
    return queue.after == source.name and source.priority < other.priority < queue.priority


_SHOWN_BY: dict[str, Callable[[QueueSpec, QueueSpec], bool]] = {
    "highest first": lambda one, other: one.priority > other.priority,
    "earliest first": lambda one, other: (
        one.deadline_ns is not None
        and (other.deadline_ns is None or one.deadline_ns < other.deadline_ns)
    ),
    "critical first": _urgent,
    "equals run together": lambda one, other: (
        (one.priority, one.laxity_ns) == (other.priority, other.laxity_ns)
    ),
    "time by weight": lambda one, other: _begin_ns(one) == _begin_ns(other),
    "takes turns": lambda one, other: True,
}
"""Which pairs of bursts that overlap may show something about a rule, by the rule's id."""


def may_show(rule: str, scenario: Scenario) -> bool:
    """Return whether a scenario of bursts may show something about a rule.

    Args:
        rule: id of the rule; of one that every run shows, the answer is True.
        scenario: drawn by `contests` for a policy of XSched.
    """
    if rule == INVERSION:
        return any(map(_is_between, scenario.queues, scenario.queues[1:], scenario.queues[2:]))
    if rule in ("starts after", "no circular wait"):
        return any(queue.after is not None for queue in scenario.queues)
    shown_by = _SHOWN_BY.get(rule)
    return shown_by is None or any(
        shown_by(one, other) and abs(_begin_ns(one) - _begin_ns(other)) < 2 * _work_ns(one)
        for one, other in itertools.permutations(scenario.queues, 2)
    )


def simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Yield scenarios of bursts that are simpler than a given one, the simplest first.

    hypothesis would try more steps than there is time for: a run takes a second, a hang takes ten.
    """
    return (one for one in _simpler(scenario) if one != scenario)


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    assert scenario.xsched is not None
    name, queues = scenario.xsched.policy, scenario.queues
    for index in range(len(queues) if len(queues) > 1 else 0):
        yield _with_queues(scenario, queues[:index] + queues[index + 1 :])
    for index, queue in enumerate(queues):
        if queue.after is not None:
            alone = replace(queue, after=None)
            yield replace(scenario, queues=(*queues[:index], alone, *queues[index + 1 :]))
    if scenario.xsched.timeslice is not None:
        yield replace(scenario, xsched=XSched(policy=name))
    duration, number = _commands(name)[0]
    threshold, batch_size = DEPTHS[0]
    hints = [{field: grid[0]} for field, grid in HINTS[name].items()]
    at_once = replay([BEGINS[0]] * number)
    steps: list[dict[str, Any]] = [
        {"workload": spin(duration), "arrivals": at_once},
        {"threshold": threshold, "batch_size": batch_size},
        *hints,
    ]
    all_of_them = tuple(range(len(queues)))
    for which in (all_of_them, *((index,) for index in all_of_them)):
        for changes in steps:
            changed = [
                replace(queue, **changes) if index in which else queue
                for index, queue in enumerate(queues)
            ]
            if tuple(changed) != queues:
                yield _with_queues(scenario, tuple(changed))
    begins = [queue.arrivals.times_ns[0] for queue in queues if isinstance(queue.arrivals, Replay)]
    changed = [
        replace(queue, workload=spin(duration), arrivals=replay([Duration(begin)] * number))
        for queue, begin in zip(queues, begins, strict=True)
    ]
    if tuple(changed) != queues:
        yield _with_queues(scenario, tuple(changed))


def _with_queues(scenario: Scenario, queues: tuple[QueueSpec, ...]) -> Scenario:
    """Return the scenario with other queues; one that starts after one that is gone is free."""
    names = [queue.name for queue in queues]
    kept = [
        queue
        if queue.after is None
        else replace(queue, after=None)
        if queue.after not in names
        else replace(queue, arrivals=closed())
        for queue in queues
    ]
    return replace(scenario, queues=tuple(kept))

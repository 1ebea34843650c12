"""Which rules each policy is held to, and by which checks; nothing is run here.

The rules of a policy stand in `base.policies`, their definitions in `stress.rules`. A policy that
names no rules is held to the general ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_xsched.analysis.run import Run
from pytest_xsched.base import policies
from pytest_xsched.base.policies import Policy
from pytest_xsched.conformance import realtime_checks
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stress import invariants
from pytest_xsched.stress.rules import RULES, Rule

RETURNS = "returns in time"
IN_EFFECT = "in effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A rule, and how a run is checked against it.

    Attributes:
        rule: what must hold.
        judge: returns a sentence for each breach, or None if the run shows nothing about the rule,
            which is no sign that the rule holds.
    """

    rule: Rule
    judge: Callable[[Run], list[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyUnderTest:
    """A policy, and the checks that its runs must pass.

    Attributes:
        policy: as the registry describes it.
        checks: of the general rules, then of its own.
    """

    policy: Policy
    checks: tuple[Check, ...]


def _different(scenario: Scenario, field: str) -> bool:
    return len({getattr(queue, field) for queue in scenario.queues}) > 1


def _one_slot_and_free_launches(scenario: Scenario) -> bool:
    return scenario.sim.slots == 1 and not scenario.sim.launch_ns


_SHOWN_BY: dict[str, Callable[[Scenario], bool]] = {
    "works while there is work": lambda s: (
        _one_slot_and_free_launches(s) and all(q.depth[0] for q in s.queues)
    ),
    "highest first": lambda s: _different(s, "priority"),
    "delay of the highest": lambda s: _different(s, "priority"),
    "earliest first": lambda s: _different(s, "deadline_ns"),
    "time by weight": lambda s: _one_slot_and_free_launches(s) and _count_of_loops(s) > 1,
}
"""Which scenarios show something about a rule in virtual time; the others: all do."""


def _count_of_loops(scenario: Scenario) -> int:
    """Count the queues that always have work."""
    loads = [queue.arrivals for queue in scenario.queues]
    return sum(isinstance(load, Closed) and not load.think_ns for load in loads)


def _exact(id: str) -> Check:
    """Return the check of a rule in virtual time."""
    shows, broken = _SHOWN_BY.get(id), invariants.CHECKS[id]
    return Check(
        rule=RULES[id],
        judge=lambda run: list(broken(run)) if shows is None or shows(run.scenario) else None,
    )


_IN_REAL_TIME: dict[str, Callable[[Run], list[str] | None]] = {
    RETURNS: realtime_checks.ends_cleanly,
    IN_EFFECT: lambda run: [],  # XSched was in effect, or there would be no run
    "nothing lost, nothing twice": _exact("nothing lost, nothing twice").judge,
    "all through XSched": realtime_checks.all_through_it,
    "in order": _exact("in order").judge,
    "threshold": realtime_checks.threshold,
    "everything ends": realtime_checks.everything_ends,
    "works while there is work": realtime_checks.works_while_there_is_work,
    "highest first": realtime_checks.highest_first,
    "earliest first": realtime_checks.earliest_first,
    "critical first": realtime_checks.critical_first,
    "equals run together": realtime_checks.equals_run_together,
    "time by weight": realtime_checks.time_by_weight,
    "takes turns": realtime_checks.takes_turns,
}
"""The check of each rule in real time, by the rule's id."""


def _in_real_time(policy: Policy) -> tuple[Check, ...]:
    general = [id for id in _IN_REAL_TIME if RULES[id].general]
    return tuple(Check(rule=RULES[id], judge=_IN_REAL_TIME[id]) for id in (*general, *policy.rules))


BUILTIN = tuple(
    PolicyUnderTest(policy=policy, checks=tuple(map(_exact, invariants.rules_of(policy))))
    for policy in policies.BUILTIN
)
"""Our own policies, with the exact checks of virtual time."""

XSCHED = tuple(
    PolicyUnderTest(policy=policy, checks=_in_real_time(policy)) for policy in policies.XSCHED
)
"""XSched's policies, with the checks of real time."""

NAMES = tuple(dict.fromkeys((*policies.POLICIES, *policies.XSCHED_POLICIES)))
"""Names of all policies, our own first."""

"""Which rules each policy is held to, and by which checks; nothing is run here.

The rules of a policy stand in `base.policies`, their definitions in `stress.rules`. A policy that
names no rules is held to the general ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pytest_xsched.analysis.run import Run
from pytest_xsched.base import policies
from pytest_xsched.base.policies import Policy
from pytest_xsched.conformance import realtime_checks
from pytest_xsched.conformance.generators import may_show
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stress import invariants
from pytest_xsched.stress.rules import RULES, Rule

ONLY_LIVE = "a scenario cannot show it; first_broken checks it on live queues"
"""Why a scenario checks no rule of live queues."""
NO_CHECK = "these runs are not checked against it"
"""Why the rest of the rules is not claimed."""
RETURNS = "returns in time"
IN_EFFECT = "in effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A rule, and how a run is checked against it.

    Attributes:
        rule: what must hold.
        judge: returns a sentence for each breach, or None if the run shows nothing about the rule,
            which is no sign that the rule holds.
        may_show: returns False for a scenario whose run cannot show anything about the rule.
    """

    rule: Rule
    judge: Callable[[Run], list[str] | None]
    may_show: Callable[[Scenario], bool] = lambda scenario: True


@dataclass(frozen=True, slots=True, kw_only=True)
class NotClaimed:
    """A rule to which a policy is not held.

    Attributes:
        rule: id of the rule.
        why: the reason, as a sentence without its first capital and its end.
    """

    rule: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyUnderTest:
    """A policy, and the checks that its runs must pass.

    Attributes:
        policy: as the registry describes it.
        checks: of the general rules, then of its own.
        not_claimed: the rules to which it is not held.
    """

    policy: Policy
    checks: tuple[Check, ...]
    not_claimed: tuple[NotClaimed, ...] = ()


def _different(scenario: Scenario, field: str) -> bool:
    return len({getattr(queue, field) for queue in scenario.queues}) > 1


def _one_slot_and_free_launches(scenario: Scenario) -> bool:
    return scenario.sim.slots == 1 and not scenario.sim.launch_ns


def _has_pipeline(scenario: Scenario) -> bool:
    return any(queue.after is not None for queue in scenario.queues)


def _has_inversion(scenario: Scenario) -> bool:
    priority = {queue.name: queue.priority for queue in scenario.queues}
    return not scenario.changes and any(
        queue.after is not None and priority[queue.after] < queue.priority
        for queue in scenario.queues
    )


_SHOWN_BY: dict[str, Callable[[Scenario], bool]] = {
    "starts after": _has_pipeline,
    "no circular wait": _has_pipeline,
    "inversion is bounded": _has_inversion,
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
        may_show=shows or (lambda scenario: True),
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
    "starts after": _exact("starts after").judge,
    "no circular wait": realtime_checks.no_circular_wait,
    "inversion is bounded": realtime_checks.inversion_is_bounded,
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
    return tuple(
        Check(
            rule=RULES[id],
            judge=realtime_checks.not_by_delay(_IN_REAL_TIME[id]),
            may_show=partial(may_show, id),
        )
        for id in (*general, *policy.rules)
    )


def _not_claimed(checks: tuple[Check, ...], *, live: bool) -> tuple[NotClaimed, ...]:
    """Return the rules without a check.

    Args:
        checks: of the policy.
        live: whether the policy is checked on live queues, too.
    """
    claimed = {check.rule.id for check in checks}
    found = []
    for rule in RULES.values():
        if rule.id in claimed or (rule.live and live):
            continue
        why = f"only {rule.of} keep it" if rule.of else ONLY_LIVE if rule.live else NO_CHECK
        found.append(NotClaimed(rule=rule.id, why=why))
    return tuple(found)


def _under_test(policy: Policy, checks: tuple[Check, ...], *, live: bool) -> PolicyUnderTest:
    return PolicyUnderTest(
        policy=policy, checks=checks, not_claimed=_not_claimed(checks, live=live)
    )


BUILTIN = tuple(
    _under_test(policy, tuple(map(_exact, invariants.rules_of(policy))), live=False)
    for policy in policies.BUILTIN
)
"""Our own policies, with the exact checks of virtual time."""

XSCHED = tuple(_under_test(policy, _in_real_time(policy), live=True) for policy in policies.XSCHED)
"""XSched's policies, with the checks of real time."""

NAMES = tuple(dict.fromkeys((*policies.POLICIES, *policies.XSCHED_POLICIES)))
"""Names of all policies, our own first."""

"""Report what a policy reads of queues, where the queues of a run lack it or have more.

Works on a scenario in JSON's types, for `run_table`.
"""

from __future__ import annotations

import math
from typing import Any

from pytest_xsched.base.policies import Policy, policy_of

_HINTS = {"deadline_ns": "deadline", "laxity_ns": "laxity", "utilization": "utilization"}
"""Fields of a queue that are None unless they are set, and what users call them."""


def policy_hints(scenario: dict[str, Any]) -> list[str]:
    """Return a sentence for each hint that the policy misses, and for each that it does not read.

    A policy that reads no hints gets no sentence, because it treats all queues alike.
    """
    queues, policy = scenario["queues"], _policy(scenario)
    if policy is None or not policy.reads or len(queues) < 2:
        return []
    lines = _missing(policy, scenario)
    for hint, name in _HINTS.items():
        unread = [queue["name"] for queue in queues if hint not in policy.reads and queue[hint]]
        if unread:
            lines.append(f"{policy.name} does not read the {name} of {' and '.join(unread)}")
    return lines


def level_hints(scenario: dict[str, Any]) -> list[str]:
    """Return a sentence that a level of preemption is a wish, where it is not the lowest.

    XSched does not report which level its queues have: a level that the device lacks is made level
    1 there. That XSched takes a level shows nothing.
    """
    xsched = scenario["xsched"]
    if xsched is None or xsched["level"] == 1:
        return []
    level = xsched["level"]
    return [
        f"level {level} was requested of XSched, and this run does not show that it does more than "
        f"level 1; compare(..., schedulers=[XSched(level=1), XSched(level={level})]) does"
    ]


def orders_by_priority(scenario: dict[str, Any]) -> bool:
    """Return whether the queues of higher priority go first, from the begin to the end of a run."""
    policy = _policy(scenario)
    if policy is None or scenario["changes"]:
        return False
    return policy.reads[:1] == ("priority",) and not policy.by_weight


def order_remarks(
    scenario: dict[str, Any], priority_effect: str | None
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return, by queue, that nothing orders it and its contenders, and which of these go first.

    Args:
        scenario: in JSON's types.
        priority_effect: see `Evidence`.
    """
    order: dict[str, list[str]] = {}
    ranks: dict[str, list[str]] = {}
    policy = _policy(scenario)
    for one in scenario["queues"]:
        device = one["device"] or scenario["device"]
        rivals = [
            queue
            for queue in scenario["queues"]
            if queue is not one and (queue["device"] or scenario["device"]) == device
        ]
        if rivals:
            together = {**scenario, "queues": [one, *rivals]}
            order[one["name"]] = _no_order(policy, together, priority_effect)
            ranks[one["name"]] = _ranks(policy, together)
    return order, ranks


def _no_order(
    policy: Policy | None, scenario: dict[str, Any], priority_effect: str | None
) -> list[str]:
    """Report that nothing favours the first of some queues, or that its contenders go first."""
    one, *rivals = scenario["queues"]
    only_streams = scenario["scheduler"] == "priority" or (
        scenario["scheduler"] == "builtin" and scenario["policy"] == "none"
    )
    if only_streams and priority_effect == "no":
        return ["stream priorities have no effect on this device"]
    if policy is None or not policy.reads:
        return []
    first = policy.reads[0]
    sentences = _missing(policy, scenario)
    if first == "deadline_ns" and one[first] is None:
        due = [queue["name"] for queue in rivals if queue[first] is not None]
        if due:
            sentences.append(
                f"{one['name']} has no deadline, so {policy.name} lets {' and '.join(due)} go first"
            )
    return sentences


def _ranks(policy: Policy | None, scenario: dict[str, Any]) -> list[str]:
    """Report which contenders of the first of some queues the policy lets go first."""
    one, *rivals = scenario["queues"]
    if policy is None or not policy.reads or policy.by_weight or scenario["changes"]:
        return []
    if policy.reads[0] == "priority":
        above = [q["name"] for q in rivals if q["priority"] > one["priority"]]
        what = "the higher priority"
    elif policy.reads[0] == "deadline_ns" and one["deadline_ns"] is not None:
        above = [q["name"] for q in rivals if (q["deadline_ns"] or math.inf) < one["deadline_ns"]]
        what = "the shorter deadline"
    else:
        return []
    has = "has" if len(above) == 1 else "have"
    return [f"{' and '.join(above)} {has} {what}"] if above else []


def _missing(policy: Policy, scenario: dict[str, Any]) -> list[str]:
    """Report that nothing orders the queues; equal weights are equal shares, and fine."""
    first = policy.reads[0]
    values = {queue[first] for queue in scenario["queues"]}
    if policy.by_weight:
        return []
    if first == "priority" and len(values) == 1 and not scenario["changes"]:
        return [f"{policy.name} orders queues by priority, and all queues have the same priority"]
    if first in ("deadline_ns", "laxity_ns") and values == {None}:
        return [f"{policy.name} orders queues by {_HINTS[first]}, and no queue has one"]
    return []


def _policy(scenario: dict[str, Any]) -> Policy | None:
    """Return the policy that orders the queues of a run; None: no policy does."""
    if scenario["xsched"] is not None:
        name = str(scenario["xsched"]["policy"])
        return None if name == "none" else policy_of("xsched", name)
    if scenario["scheduler"] == "priority":
        return policy_of("builtin", "hpf")
    return policy_of("builtin", scenario["policy"]) if scenario["scheduler"] == "builtin" else None

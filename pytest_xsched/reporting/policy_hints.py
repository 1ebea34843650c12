"""Report what a policy reads of queues, where the queues of a run lack it or have more.

Works on a scenario in JSON's types, for `run_table`.
"""

from __future__ import annotations

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

"""What a scheduler goes by, and whether the queues of a run give it any of that.

Works on a scenario in JSON's types, for `report`.
"""

from __future__ import annotations

from typing import Any

_HINTS = {"deadline_ns": "deadline", "laxity_ns": "laxity", "utilization": "utilization"}
"""Fields of a queue that are None unless they are set, and what users call them."""
_READ = {
    "hpf": ("priority",),
    "hhpf": ("priority",),
    "chpf": ("priority",),
    "edf": ("deadline_ns",),
    "kedf": ("deadline_ns",),
    "lax": ("laxity_ns", "priority"),
    "partition": ("utilization",),
    "up": ("utilization",),
    "pup": ("utilization",),
}
"""By policy. The others take all queues alike, or go by what is set from elsewhere."""


def nothing_to_go_by(scenario: dict[str, Any]) -> list[str]:
    """Say that nothing orders the queues of a run, and which hints nobody reads."""
    queues, policy = scenario["queues"], _policy(scenario)
    if policy not in _READ or len(queues) < 2:
        return []
    first, lines = _READ[policy][0], []
    values = {queue[first] for queue in queues}
    if first == "priority" and len(values) == 1 and not scenario["changes"]:
        lines.append(f"{policy} orders queues by priority, and all of these have the same")
    if first in ("deadline_ns", "laxity_ns") and values == {None}:
        lines.append(f"{policy} orders queues by {_HINTS[first]}, and none of these has one")
    for hint, name in _HINTS.items():
        unread = [queue["name"] for queue in queues if hint not in _READ[policy] and queue[hint]]
        if unread:
            lines.append(f"{policy} does not read the {name} of {' and '.join(unread)}")
    return lines


def _policy(scenario: dict[str, Any]) -> str:
    if scenario["xsched"] is not None:
        return str(scenario["xsched"]["policy"])
    return {"builtin": str(scenario["policy"]), "priority": "hpf"}.get(scenario["scheduler"], "")

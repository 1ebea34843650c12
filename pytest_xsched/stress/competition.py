"""Step "compete": a queue gets work while those that it precedes are at work, so they stop.

The step shows which hints a scheduler has in effect, because it reports none. It compares the times
of launches, so it works on every device; `StepExecutor` calls it with queues that have no work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from pytest_xsched.base.policies import Policy
from pytest_xsched.runner.live_queues import Ticket, XQueues
from pytest_xsched.scenario.workload import Workload, spin

__all__ = [
    "BREACHES",
    "DEADLINES",
    "IN_VAIN",
    "LAXITIES",
    "TIMES",
    "TOGETHER",
    "UTILIZATIONS",
    "Competitor",
    "divides_time",
    "got_less",
    "hint_of",
    "keeps_devices_apart",
    "overtaken",
    "preceded",
    "rank",
    "rule_of",
    "stayed_suspended",
    "waited_for_another_device",
]

BREACHES, IN_VAIN = 3, 2
"""Attempts that show a breach of a rule that is broken: a scheduler may be late once. Attempts that
show nothing, after which there are no more: the machine is busy."""
_REACTION_NS = 20_000_000
"""Time until a decision of the scheduler is in effect."""
_ENOUGH_NS = 60_000_000
"""Time in which a queue that may run launches something, also on a busy machine."""
_BELOW, _ABOVE = 40, 60
"""Requests of a queue that stops, fewer of each of several; and commands of the one that goes
first, in addition to those of its threshold. Only the first launch of a request is known."""
_LOWER = spin("1ms", layers=2)
_PART_BELOW = 0.2
"""The part of the time that launches below must take: a delay is shorter, because there are several
such delays in that time, and a scheduler without this order gives them a third and more."""


TOGETHER = {"builtin": "none", "xsched": "chpf"}
"""Policies under which all queues of a process run together, by scheduler."""


_HINTS = {"highest first": "priority", "earliest first": "deadline", "critical first": "laxity"}
"""What decides which queue goes first, by the rule that says so."""
DEADLINES = ("1us", "100s", "10000s", "1000000s")
"""Deadlines so far apart that it does not matter when the requests of a step arrive."""
LAXITIES = ("1us", "1000000s")
"""A queue with the first one always has its critical priority, and one with the last one never."""
_LATER_NS = 60_000_000_000
TIMES = 10
"""How much larger the utilization of a queue must be, so that it is clear which one gets more."""
UTILIZATIONS = (100, 10, 1)
_DIVIDED, _EACH = spin("500us"), 120
"""Requests of two queues that divide the time, and how many each gets: some turns of both."""
_MOST_OF_SMALLER = 2
"""What the smaller one may launch for each launch of the other one. On a busy machine, where each
turn has time for a single launch, it is one."""


class Competitor(Protocol):
    """What the step uses of the state of a queue."""

    priority: int
    deadline_ns: int
    laxity_ns: int
    utilization: int
    threshold: int

    @property
    def name(self) -> str: ...


_Queue = TypeVar("_Queue", bound=Competitor)


def rule_of(policy: Policy) -> str:
    """Return the rule that says which queue goes first under a policy; "": there is none."""
    return next((rule for rule in policy.rules if rule in _HINTS), "")


def hint_of(policy: Policy) -> str:
    """Return the hint that decides which queue goes first under a policy, or how much it gets.

    "": there is none.
    """
    return "utilization" if "utilization" in policy.reads else _HINTS.get(rule_of(policy), "")


def divides_time(policy: Policy) -> bool:
    """Check whether the queues of a process get time by their utilizations under a policy."""
    return hint_of(policy) == "utilization" and "time by weight" in policy.rules


def keeps_devices_apart(policy: Policy) -> bool:
    """Check whether a policy decides for each device alone, by priority."""
    return policy.name == "hpf"


def rank(queue: Competitor, policy: Policy) -> int:
    """Return a number that is the higher, the earlier a queue goes under a policy, or the more it
    gets."""
    hint = hint_of(policy)
    if hint == "utilization":
        return queue.utilization
    if hint == "laxity":
        return queue.priority if queue.laxity_ns < _LATER_NS else 0
    return -queue.deadline_ns if hint == "deadline" else queue.priority


def preceded(one: _Queue, others: Sequence[_Queue], policy: Policy) -> list[_Queue]:
    """Return queues that must wait while one has work: the next, the last and the newest one."""
    least = _LATER_NS if hint_of(policy) == "deadline" else 1
    mine = rank(one, policy)
    below = [other for other in others if mine - rank(other, policy) >= least]
    if len(below) < 3:
        return below
    by_rank = sorted(below, key=lambda other: rank(other, policy))
    return list({id(other): other for other in (by_rank[-1], by_rank[0], below[-1])}.values())


def overtaken(
    live: XQueues,
    one: _Queue,
    below: Sequence[_Queue],
    submit: Callable[[_Queue, Workload, int], list[Ticket]],
) -> str | None:
    """Submit to the queues below, then to the one above them, and compare their launches.

    Args:
        live: the queues are of these.
        one: precedes the others; none of them has work.
        below: the others.
        submit: submits equal requests to a queue.

    Returns:
        The launches below while the one above waited, as a sentence; "": there were none. None: the
        attempt shows nothing, because the queues below had ended too early, or because the machine
        was too busy.

    A busy machine may be late to stop a queue. So in real time, launches below count if they take
    a part of the time in which the one above waits that is no such delay.
    """
    times = 2 * _BELOW // (len(below) + 1)
    lower = {other.name: submit(other, _LOWER, times) for other in below}
    (first,) = submit(one, spin("1ms", layers=one.threshold + _ABOVE), 1)
    (last,) = submit(one, spin("1ms"), 1)
    end_ns = last.launched_ns
    begin_ns, again_ns = (ticket.completed_ns - ticket.latency.ns for ticket in (first, last))
    start_ns, most = begin_ns, 0.0
    if not live.is_virtual:
        start_ns += _REACTION_NS
        most = (end_ns - begin_ns) * _PART_BELOW / sum(c.duration_ns for c in _LOWER.commands)
    # If its second request came late, the queue may have been idle before.
    if again_ns > start_ns or start_ns >= end_ns:
        return None
    counts = {
        name: sum(start_ns < ticket.launched_ns < end_ns for ticket in tickets)
        for name, tickets in lower.items()
    }
    if (count := sum(counts.values())) > most:
        name = max(counts, key=lambda name: counts[name])
        return (
            f"{name} launched {counts[name]} requests while {one.name}, which precedes it, waited"
        )
    shown = any(tickets[-1].launched_ns >= end_ns for tickets in lower.values())
    return "" if shown and count <= 1 else None


def got_less(
    one: _Queue,
    other: _Queue,
    submit: Callable[[_Queue, Workload, int], list[Ticket]],
) -> str | None:
    """Submit as much to two queues, and compare their launches while both have work.

    Args:
        one: has the larger utilization, by `TIMES` at least; neither has work.
        other: the other one.
        submit: submits equal requests to a queue.

    Returns:
        That `one` launched less than half as much, as a sentence; "": it launched at least as much.
        None: the attempt shows nothing.
    """
    small, large = (submit(queue, _DIVIDED, _EACH) for queue in (other, one))
    begin_ns = large[-1].completed_ns - large[-1].latency.ns
    end_ns = min(tickets[-1].launched_ns for tickets in (small, large))
    did, mine = (
        sum(begin_ns < ticket.launched_ns < end_ns for ticket in tickets)
        for tickets in (small, large)
    )
    if did + mine < _EACH // 2 or mine < did <= _MOST_OF_SMALLER * mine:
        return None
    if did <= mine:
        return ""
    return (
        f"{other.name} launched {did} requests while {one.name}, whose utilization is "
        f"{one.utilization} and not {other.utilization}, launched {mine}"
    )


def waited_for_another_device(
    one: _Queue, other: _Queue, submit: Callable[[_Queue, Workload, int], list[Ticket]]
) -> str | None:
    """Submit to a queue while one of higher priority on another device is at work.

    Args:
        one: a queue without work.
        other: the other one, also without work.
        submit: submits equal requests to a queue.

    Returns:
        That `one` launched nothing before all of the other one was launched, as a sentence; "": it
        did. None: the work of the other one ended too early to show anything.
    """
    submit(other, spin("1ms", layers=other.threshold + 3 * _ABOVE), 1)
    (last,) = submit(other, spin("1ms"), 1)
    (first,) = submit(one, spin("1ms"), 1)
    start_ns, end_ns = first.completed_ns - first.latency.ns, last.launched_ns
    if start_ns + _ENOUGH_NS > end_ns:
        return None
    if first.launched_ns < end_ns:
        return ""
    return f"{one.name} waited for {other.name}, which is on another device"


def stayed_suspended(
    live: XQueues,
    one: _Queue,
    below: Sequence[_Queue],
    submit: Callable[[_Queue, Workload, int], list[Ticket]],
) -> str | None:
    """Set a policy under which all run together, while one queue suspends others, and set it back.

    Returns:
        That a queue below launched nothing under that policy, as a sentence; "": all did. None: the
        queue above had ended too early to show anything.
    """
    policy = live.policy
    submit(one, spin("1ms", layers=one.threshold + 2 * _ABOVE), 1)
    (last,) = submit(one, spin("1ms"), 1)
    lower = [(other, submit(other, spin("1ms"), 1)[0]) for other in below]
    live.set_policy(TOGETHER[policy.scheduler])
    changed_ns = live.now.ns
    try:
        end_ns = last.launched_ns
    finally:
        live.set_policy(policy.name)
    if changed_ns + _ENOUGH_NS > end_ns:
        return None
    for other, ticket in lower:
        if not ticket.done or ticket.launched_ns > end_ns:
            return f"{other.name} stayed suspended under {TOGETHER[policy.scheduler]}"
    return ""

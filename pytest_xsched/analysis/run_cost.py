"""Targets on what a scheduler costs in a run: facts about its threads, not about a queue."""

from __future__ import annotations

from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.quantity import show_apart
from pytest_xsched.monitoring.run_cost import RunCost
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stats.sequential_test import FAIL, PASS

PROCESSORS, WAKEUPS = "processors below", "wake-ups a request below"


def below(cost: RunCost, rule: str, limit: float) -> Verdict:
    """Judge one figure of the cost < limit: a fact.

    Args:
        cost: of the measured windows.
        rule: PROCESSORS or WAKEUPS.
        limit: of the figure.
    """
    value = cost.processors if rule == PROCESSORS else cost.wakeups_per_request
    holds = value < limit
    shown, limit_shown = show_apart(value, limit, "")
    metric = rule.removesuffix(" below")
    return Verdict(
        status=PASS if holds else FAIL,
        queue="",
        rule=rule,
        value=value,
        limit=limit,
        unit="",
        n=cost.requests,
        sentence=f"scheduler: {metric} {shown} {'is' if holds else 'is not'} below {limit_shown} "
        f"({cost})",
    )


def reason(scenario: Scenario, cost: RunCost | None) -> str:
    """Return why the cost of the scheduler is not known, or that of no request."""
    if cost is not None:
        return "no request was submitted while the cost of the scheduler was measured"
    if scenario.device_kind == "sim":
        return "in virtual time the scheduler has no threads, so it costs nothing"
    if scenario.scheduler not in ("builtin", "xsched"):
        return f"under {scenario.scheduler} no scheduler of this machine has threads"
    if any(queue.workload.own_program for queue in scenario.queues):
        return "the scheduler has threads in programs, too, whose cost is not measured"
    return (
        "what the scheduler costs was not measured: the run was too short, or the kernel does not "
        "count what threads use (schedstat of /proc)"
    )

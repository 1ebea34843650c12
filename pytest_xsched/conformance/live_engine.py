"""Random steps on live queues under a policy of XSched, as results beside those of scenarios."""

from __future__ import annotations

import hypothesis

from pytest_xsched.conformance.engine import FAILED, HOLDS, ONCE, Result
from pytest_xsched.conformance.spec import Policy
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.session import Session
from pytest_xsched.stress.minimize import Finding, all_broken
from pytest_xsched.stress.steps import RULES
from pytest_xsched.stress.strategies import without_tests

NAME = "live queues"
SEQUENCES, STEPS = 5, 10
"""That are tried, and of how many steps each."""
UNCLAIMED = {
    "held launches nothing",
    *(
        f"{call} returns {whose} a held queue"
        for call in ("wait", "set_launch_config", "destroy")
        for whose in ("of", "beside")
    ),
}
"""A policy of XSched lets go of what the user holds at its next look; and while a queue is held
with work, calls that wait for all of it, and for queues below it, do not return."""
MOST = 3
"""Broken rules of a policy that are looked for."""


def take_steps(session: Session, policy: Policy) -> tuple[Result, ...]:
    """Take random steps on live queues: a result for each broken rule, or one that all hold.

    Args:
        session: on the device, with the home of XSched.
        policy: of XSched.
    """
    settings = hypothesis.settings(
        max_examples=SEQUENCES, stateful_step_count=STEPS, derandomize=True
    )
    with without_tests():
        found = all_broken(
            lambda: session.live(scheduler=XSched(policy=policy.name)),
            settings,
            without=UNCLAIMED,
            patience="3s",
            most=MOST,
        )
    if found:
        return tuple(_result(finding) for finding in found)
    claimed = ", ".join(rule for rule in RULES if rule not in UNCLAIMED)
    definition = f"Random steps on live queues break none of: {claimed}."
    held = Result(
        claim=NAME, definition=definition, status=HOLDS, looked=SEQUENCES, unit="sequence"
    )
    return (held,)


def _result(finding: Finding) -> Result:
    rule = next((rule for rule in RULES if finding.rule.startswith(rule)), "returns")
    return Result(
        claim=f"{NAME}: {finding.rule}",
        definition=RULES[rule],
        status=FAILED if finding.reproduced else ONCE,
        looked=SEQUENCES,
        failing=1,
        sentence=finding.sentence,
        steps=finding.steps,
        reproduced=int(finding.reproduced),
        repeats=1,
    )

"""Take random steps on live queues under a policy of XSched, and report them as results."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis

from pytest_xsched.base.policies import Policy
from pytest_xsched.conformance.engine import FAILED, HOLDS, ONCE, Result
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.session import Session
from pytest_xsched.stress.minimize import Counterexample, all_broken
from pytest_xsched.stress.rules import RULES
from pytest_xsched.stress.strategies import without_tests

NAME = "live queues"
SEQUENCES, STEPS = 5, 10
"""Sequences of steps that are tried, and steps in each."""
NOT_CLAIMED = {
    "held launches nothing",
    *(
        f"{call} returns {whose} a held queue"
        for call in ("wait", "set_launch_config", "destroy")
        for whose in ("of", "next to")
    ),
}
"""Rules that XSched does not claim. A policy resumes a queue that the user holds when it decides
the next time. While a queue is held with work, calls that wait for all of its work do not return,
and calls that wait for queues below it do not either."""
MOST = 3
"""The most broken rules of a policy that are searched for."""


def take_steps(
    session: Session, policy: Policy, say: Callable[[str], None] | None = None
) -> tuple[Result, ...]:
    """Take random steps on live queues.

    Args:
        session: of the device, with the home of XSched.
        policy: one of XSched's.
        say: prints each finding as soon as it is found.

    Returns:
        A result for each broken rule; a single one if all rules hold.
    """
    settings = hypothesis.settings(
        max_examples=SEQUENCES, stateful_step_count=STEPS, derandomize=True
    )
    with without_tests():
        found = all_broken(
            lambda: session.live(scheduler=XSched(policy=policy.name)),
            settings,
            without=NOT_CLAIMED,
            patience="3s",
            most=MOST,
            say=None if say is None else lambda text: say(f"\nfound under {policy.name}: {text}"),
        )
    if found:
        return tuple(_result(counterexample) for counterexample in found)
    claimed = ", ".join(id for id in RULES if RULES[id].live and id not in NOT_CLAIMED)
    definition = f"Random steps on live queues break none of: {claimed}."
    held = Result(rule=NAME, definition=definition, status=HOLDS, looked=SEQUENCES, unit="sequence")
    return (held,)


def _result(found: Counterexample) -> Result:
    rule = RULES.get(found.rule, RULES["returns"])  # "wait returns" is an instance of "returns"
    return Result(
        rule=f"{NAME}: {found.rule}",
        definition=rule.text,
        status=FAILED if found.reproduced else ONCE,
        looked=SEQUENCES,
        failing=1,
        sentence=found.sentence,
        steps=found.steps,
        reproduced=int(found.reproduced),
        repeats=1,
    )

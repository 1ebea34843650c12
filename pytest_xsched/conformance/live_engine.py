"""Take random steps on live queues under a policy of XSched, and report them as results."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence

import hypothesis

from pytest_xsched.base.policies import Policy
from pytest_xsched.conformance.engine import FAILED, HOLDS, ONCE, Result
from pytest_xsched.errors import XSchedError
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.session import Session
from pytest_xsched.session.several_devices import live_on
from pytest_xsched.stress.competition import divides_time, keeps_devices_apart, rule_of
from pytest_xsched.stress.costs import CALLS, Costs, all_costs
from pytest_xsched.stress.minimize import Counterexample, all_broken
from pytest_xsched.stress.rules import RULES
from pytest_xsched.stress.strategies import without_tests

NAME = "live queues"
SEQUENCES, STEPS = 5, 10
"""Sequences of steps that are tried, and steps in each."""
_RESUMES = (
    "a policy resumes a queue that the user holds when it decides the next time; while a queue is "
    "held with work, calls that wait for its work do not return, and neither do calls that wait "
    "for lower queues"
)
NOT_CLAIMED = {
    "held launches nothing": _RESUMES,
    **{
        f"{call} returns {whose} a held queue": _RESUMES
        for call in ("wait", "set_launch_config", "destroy")
        for whose in ("of", "next to")
    },
    "set_launch_config returns below a load": "a new launch configuration waits for all work of "
    "the queue, which a load of higher priority may hold back",
    "highest runs": "steps show it in virtual time only",
}
"""Rules of live queues that XSched does not claim, and why."""
MOST = 3
"""The most broken rules of a policy that are searched for."""


def not_claimed(policy: Policy) -> dict[str, str]:
    """Return the ids of the live rules that XSched does not claim of a policy, and why."""
    without = dict(NOT_CLAIMED)
    if "highest first" not in policy.rules:
        without["highest first"] = "the policy does not order queues by priority"
    if "earliest first" not in policy.rules:
        without["earliest first"] = "the policy does not order queues by deadline"
    if "critical first" not in policy.rules:
        without["critical first"] = "the policy reads no laxity"
    if not divides_time(policy):
        without["time by weight"] = "steps show it where utilizations divide the time"
    if not rule_of(policy):
        without["a new policy decides"] = "steps show it from a policy that orders queues"
    if not keeps_devices_apart(policy):
        without["devices are apart"] = "the policy does not order the queues of each device alone"
    if not {"equals run together", "takes turns"} & set(policy.rules):
        without["equals run together"] = "the policy runs one of them first"
    return without


def take_steps(
    session: Session,
    policy: Policy,
    say: Callable[[str], None] | None = None,
    most: int = MOST,
) -> tuple[Result, ...]:
    """Take random steps on live queues.

    Args:
        session: of the device, with the home of XSched.
        policy: one of XSched's.
        say: prints each finding as soon as it is found.
        most: the most broken rules that are searched for.

    Returns:
        A result for each broken rule, and one for all rules that hold.
    """
    settings = hypothesis.settings(
        max_examples=SEQUENCES, stateful_step_count=STEPS, derandomize=True
    )
    shown: Counter[str] = Counter()
    without = not_claimed(policy)
    with without_tests():
        found = all_broken(
            live_on(session, XSched(policy=policy.name), 2 if keeps_devices_apart(policy) else 1),
            settings,
            without=without,
            patience="3s",
            most=most,
            shown=shown,
            say=None if say is None else lambda text: say(f"\nfound under {policy.name}: {text}"),
        )
    broken = tuple(_result(counterexample) for counterexample in found)
    known = {result.definition for result in broken}
    claimed = [id for id in RULES if RULES[id].live and id not in without]
    held = Result(
        rule=NAME,
        definition=f"Random steps on live queues break none of: {', '.join(claimed)}.",
        status=HOLDS,
        looked=max(shown.values(), default=SEQUENCES),  # each one shows that calls return
        unit="sequence",
        shown={id: shown[id] for id in claimed if RULES[id].text not in known},
    )
    return (*broken, held)


def costs(session: Session, policy: Policy, results: Sequence[Result]) -> Costs | None:
    """Measure what the scheduler costs under a policy; None: calls do not return.

    Args:
        session: of the device, with the home of XSched.
        policy: one of XSched's.
        results: what `take_steps` returned.
    """
    if any(result.rule.removeprefix(f"{NAME}: ") in CALLS for result in results):
        return None
    with contextlib.suppress(XSchedError):
        live = session.live(scheduler=XSched(policy=policy.name))
        try:
            return all_costs(live)
        finally:
            live.close()
    return None


def _result(found: Counterexample) -> Result:
    rule = RULES.get(found.rule, RULES["returns"])  # "wait returns" is an instance of "returns"
    return Result(
        rule=f"{NAME}: {found.rule}",
        definition=rule.text,
        status=FAILED if 2 * found.reproduced > found.repeats else ONCE,
        looked=SEQUENCES,
        failing=1,
        sentence=found.sentence,
        steps=found.steps,
        reproduced=found.reproduced,
        repeats=found.repeats,
    )

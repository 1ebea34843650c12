"""Every rule stands in the catalogue once, and its checkers refer to it."""

import re
from pathlib import Path

import pytest

from pytest_xsched.base.policies import BUILTIN, XSCHED
from pytest_xsched.conformance import live_engine, spec
from pytest_xsched.stress import (
    competition,
    contests,
    costs,
    dependencies,
    invariants,
    rules,
    step_executor,
)
from pytest_xsched.stress.rules import RULES


def test_ids_and_definitions_are_different():
    assert len(RULES) == len(rules._ALL)
    assert len({rule.definition for rule in RULES.values()}) == len(RULES)


def test_the_text_has_the_source():
    assert RULES["highest first"].text.endswith("of lower priority launches (HPF of XSched).")
    assert RULES["order of counts"].text == RULES["order of counts"].definition


@pytest.mark.parametrize("policy", [*BUILTIN, *XSCHED], ids=lambda p: f"{p.scheduler}-{p.name}")
def test_policies_name_rules_that_have_a_check(policy):
    general = {id for id, rule in RULES.items() if rule.general}
    checks = invariants.CHECKS if policy.scheduler == "builtin" else spec._IN_REAL_TIME
    assert set(policy.rules) <= set(checks) <= set(RULES)
    assert not set(policy.rules) & general


def test_a_policy_without_rules_keeps_the_general_ones():
    (none,) = [policy for policy in BUILTIN if policy.name == "none"]
    assert none.rules == ()
    assert invariants.rules_of(none) == (
        *("nothing lost, nothing twice", "in order", "threshold", "everything ends"),
        *("works while there is work", "starts after", "no circular wait"),
    )


def test_live_queues_are_checked_against_the_live_rules():
    checkers = (step_executor, costs, contests, competition, dependencies)
    text = "".join(Path(module.__file__).read_text(encoding="utf-8") for module in checkers)
    live = {id for id, rule in RULES.items() if rule.live}
    named = set(re.findall(r'"([a-z, -]+)"', text)) & set(RULES)
    assert named | {"returns"} == live
    assert {id.partition(" returns")[0] for id in live_engine.NOT_CLAIMED.keys() - live} == {
        *("wait", "set_launch_config", "destroy"),
    }


@pytest.mark.parametrize("tested", [*spec.BUILTIN, *spec.XSCHED], ids=lambda t: str(t.policy.name))
def test_every_rule_is_claimed_of_a_policy_or_not_with_a_reason(tested):
    claimed = [check.rule.id for check in tested.checks]
    reasons = {one.rule: one.why for one in tested.not_claimed}
    on_live_queues = set()
    if tested.policy.scheduler == "xsched":
        on_live_queues = {id for id, rule in RULES.items() if rule.live}
    assert not set(claimed) & set(reasons)
    assert set(claimed) | set(reasons) | on_live_queues == set(RULES)
    assert all(reasons.values())


def test_a_rule_of_some_policies_names_them():
    named = {id for policy in [*BUILTIN, *XSCHED] for id in policy.rules}
    assert all(RULES[id].of for id in named)

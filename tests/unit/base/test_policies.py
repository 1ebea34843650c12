"""The registry of policies: it agrees with C, and with the fields that queues have."""

import dataclasses

import pytest

from pytest_xsched.base.policies import (
    BUILTIN,
    POLICIES,
    XSCHED,
    XSCHED_POLICIES,
    Policy,
    policy_of,
)
from pytest_xsched.native.binding import policies
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.xsched_settings import POLICY_NUMBERS


def test_the_built_in_policies_are_those_of_the_native_list():
    assert set(policies()) == set(POLICIES)


@pytest.mark.parametrize("policy", [*BUILTIN, *XSCHED], ids=lambda p: f"{p.scheduler}-{p.name}")
def test_an_entry(policy):
    assert policy_of(policy.scheduler, policy.name) is policy
    assert policy.definition.endswith(".") and not policy.source.endswith(".")
    assert set(policy.reads) <= {field.name for field in dataclasses.fields(QueueSpec)}
    assert policy.reads or not policy.by_weight
    assert (policy.number is None) == (policy.scheduler == "builtin")


def test_names_are_unique():
    assert len(set(POLICIES)) == len(BUILTIN)
    assert len(set(XSCHED_POLICIES)) == len(XSCHED)
    assert set(POLICY_NUMBERS.values()) == {0, *(policy.number for policy in XSCHED)}
    assert len(POLICY_NUMBERS) == len(XSCHED) + 1


def test_the_text_has_the_source():
    ours = Policy(name="a", scheduler="builtin", definition="A rule.")
    assert ours.text == "A rule."
    assert dataclasses.replace(ours, source="a book").text == "A rule (a book)."


def test_an_unknown_policy():
    with pytest.raises(KeyError):
        policy_of("builtin", "kedf")

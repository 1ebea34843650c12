"""Random scenarios in virtual time: what must hold, holds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_xsched import Session, closed
from pytest_xsched.base.policies import BUILTIN, POLICIES
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.invariants import CHECKS, check_invariants, rules_of
from pytest_xsched.stress.strategies import scenarios

# Without its database: what fails is printed as a test to be added.
RANDOM = settings(
    settings.get_profile("xsched-nightly"),
    max_examples=30,
    database=None,
    report_multiple_bugs=False,
)


@pytest.fixture(scope="module")
def shared_sim():
    session = Session(Settings(device="sim"))
    yield session
    session.close()


@pytest.mark.parametrize("policy", POLICIES)
@RANDOM
@given(data=st.data())
def test_any_mix(shared_sim, policy, data):
    scenario = data.draw(scenarios(policies=[policy], changes=True))
    check_invariants(shared_sim.run_scenario(scenario))


@pytest.mark.parametrize("policy", [policy.name for policy in BUILTIN if policy.by_weight])
@RANDOM
@given(data=st.data())
def test_queues_that_always_have_work(shared_sim, policy, data):
    scenario = data.draw(
        scenarios(policies=[policy], least=2, duration="400ms", loads=st.just(closed()))
    )
    check_invariants(shared_sim.run_scenario(scenario))


def test_policies_with_rules_of_their_own():
    with_rules = {policy.name for policy in BUILTIN if policy.rules}
    assert with_rules >= {"hpf", "edf", "partition", "fair"}
    for policy in BUILTIN:
        assert set(policy.rules) <= set(rules_of(policy)) <= set(CHECKS)

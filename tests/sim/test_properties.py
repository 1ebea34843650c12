"""Random scenarios in virtual time: what must hold, holds."""

import pytest
from hypothesis import given, settings

from pytest_xsched import Session
from pytest_xsched.invariants import check_invariants
from pytest_xsched.options import Settings
from pytest_xsched.strategies import scenarios


@pytest.fixture(scope="module")
def shared_sim():
    session = Session(Settings(device="sim"))
    yield session
    session.close()


@settings(max_examples=100, deadline=None)
@given(scenario=scenarios())
def test_invariants(shared_sim, scenario):
    check_invariants(shared_sim.run_scenario(scenario))

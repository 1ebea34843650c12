"""Random mixes by hypothesis: what must hold for every run of every policy.

A mix that fails is made short and printed as Python; --xsched-corpus keeps it for later runs.
"""

from hypothesis import given

from pytest_xsched.stress.invariants import check_invariants
from pytest_xsched.stress.strategies import scenarios


@given(scenario=scenarios(queues=3))
def test_any_mix(xsched, scenario):
    run = xsched.run_scenario(scenario)
    check_invariants(run)

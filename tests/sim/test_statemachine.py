"""Random steps on live XQueues in virtual time."""

from collections import Counter

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from pytest_xsched import ScenarioError, Session, spin
from pytest_xsched.base.policies import policy_of
from pytest_xsched.conformance.live_engine import not_claimed
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress import state_machine
from pytest_xsched.stress.minimize import first_broken
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import Step
from pytest_xsched.stress.strategies import launch_configurations

RANDOM = settings(
    settings.get_profile("xsched-nightly"),
    max_examples=120,
    stateful_step_count=20,
    database=None,
    report_multiple_bugs=False,
)


@pytest.mark.parametrize("devices", [1, 2])
def test_live_queues(devices):
    session = Session(Settings(device="sim"))
    found = first_broken(session.live, RANDOM, devices=devices)
    session.close()
    assert found is None, str(found)


def test_live_queues_whose_utilizations_divide_the_time(sim):
    def live():
        queues = sim.live()
        queues.set_policy("partition")
        return queues

    without = not_claimed(policy_of("builtin", "partition")).keys() - {"held launches nothing"}
    shown = Counter()
    few = settings(RANDOM, max_examples=15)
    found = first_broken(live, few, without=without, shown=shown)
    assert found is None, str(found)
    assert shown["time by weight"]


def test_some_random_requests_have_long_commands():
    requests = state_machine._REQUESTS
    found = find(requests, lambda one: one.commands[0].duration_ns == 50_000_000)
    assert len(found.commands) == 1
    assert find(requests, lambda one: True) == spin("1ms")


@settings(RANDOM, max_examples=100)
@given(
    depth=launch_configurations(auto=False),
    layers=st.sampled_from((1, 2, 5, 12)),
    other=st.just((1, 1)) | launch_configurations(auto=False),
)
def test_another_launch_config_for_what_is_in_flight(depth, layers, other):
    queues = Session(Settings(device="sim")).live()
    executor = StepExecutor([queues])
    executor.execute(Step(does="create", queue=0, depth=depth))
    executor.execute(Step(does="submit", queue=0, workload=spin("1ms", layers=layers)))
    executor.execute(Step(does="set_launch_config", queue=0, depth=other))
    executor.finish()
    queues.close()


def test_a_launch_config_may_change_with_unmarked_commands_in_flight():
    queues = Session(Settings(device="sim")).live()
    xq = queues(threshold=16, batch_size=15)
    ticket = xq.submit(spin("1ms", layers=18))
    assert xq.counts.launched == 16  # with a mark behind the 15th
    xq.set_launch_config(threshold=1, batch_size=1)
    # The first sixteen together need one way to the device; the last two go one by one.
    assert ticket.wait().completed_ns == 18_000_000 + (1 + 2) * 5_000
    for threshold, batch_size in ((1, 2), (0, 0), (1025, 1)):
        with pytest.raises(ScenarioError, match="queue 'xq0': "):
            xq.set_launch_config(threshold=threshold, batch_size=batch_size)
    with pytest.raises(ScenarioError, match="'xq1' has an automatic threshold"):
        queues(threshold="auto").set_launch_config(threshold=2, batch_size=1)
    queues.close()

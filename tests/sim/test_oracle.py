"""The engine in virtual time against a brute-force model, for small scenarios: to the ns."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_xsched import Duration, Session, SimModel, closed, replay, spin
from pytest_xsched.scenario.scenario import QueueSpec, Scenario
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.strategies import launch_configurations, scenarios, workloads

RANDOM = settings(
    settings.get_profile("xsched-nightly"),
    max_examples=60,
    database=None,
    report_multiple_bugs=False,
)
MODELS = [
    SimModel(
        launch_ns=launch_ns,
        priority=priority,
        slots=slots,
        interleave=interleave,
        tail_ns=100_000 if interleave else 0,
    )
    for interleave in (False, True)
    for slots in (1, 2)
    for priority in (False, True)
    for launch_ns in (0, 100_000)
]

spec = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)


def loads():
    """Everything on a tick of 100 us."""
    ticks = st.lists(st.integers(0, 60), min_size=1, max_size=5).map(sorted)
    given_times = ticks.map(lambda times: replay([Duration(t * oracle.TICK_NS) for t in times]))
    return st.one_of(
        given_times, given_times, st.sampled_from([closed(), closed(2), closed(think="1ms")])
    )


def small(policy):
    return scenarios(
        queues=3,
        duration="10ms",
        policies=[policy],
        models=MODELS,
        work=workloads(durations=["1ms", "500us", "200us"]),
        loads=loads(),
        depths=launch_configurations(auto=False),
    )


@pytest.fixture(scope="module")
def shared_sim():
    session = Session(Settings(device="sim"))
    yield session
    session.close()


@pytest.mark.parametrize("policy", ["none", "hpf", "edf"])
@RANDOM
@given(data=st.data())
def test_the_same_to_the_nanosecond(shared_sim, policy, data):
    scenario = data.draw(small(policy))
    run = shared_sim.run_scenario(scenario)
    if any((queue.samples["completed_ns"] < 0).any() for queue in run.queues.values()):
        return  # starved by a closed loop until the end
    found = {
        name: [row[:4] for row in queue.samples.tolist()] for name, queue in run.queues.items()
    }
    assert found == oracle.expected(scenario)


def test_a_shallow_queue_next_to_deep_closed_loops(shared_sim):
    """Each of its 25 commands waits for 32 others, so that it needs most of a second."""
    work = spin("1ms", layers=5)
    arrives = replay(["0s", "1ms", "2ms", "3ms", "4ms"])
    shallow = QueueSpec(name="a", workload=work, arrivals=arrives, threshold=1, batch_size=1)
    deep = [
        QueueSpec(name=name, workload=work, arrivals=closed(4), threshold=16, batch_size=8)
        for name in "bc"
    ]
    scenario = Scenario(
        queues=(shallow, *deep),
        duration_ns=10**7,
        warmup_ns=0,
        drain_ns=2 * 10**9,
        seed=0,
        device="sim",
        scheduler="builtin",
        policy="none",
        sim=SimModel(launch_ns=0, priority=False),
    )
    run = shared_sim.run_scenario(scenario)
    assert run["a"].samples["completed_ns"].max() > 600_000_000
    found = {
        name: [row[:4] for row in queue.samples.tolist()] for name, queue in run.queues.items()
    }
    assert found == oracle.expected(scenario)

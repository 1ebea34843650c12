"""Queues on several devices in one run; cpu devices stand in for the GPUs."""

from contextlib import ExitStack, closing

import pytest

from pytest_xsched import CpuModel, SimModel
from pytest_xsched.errors import ScenarioError
from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import QueueSettings, Run
from pytest_xsched.reporting.run_table import table
from pytest_xsched.runner.measure import measure
from pytest_xsched.scenario.arrival_process import Closed, constant
from pytest_xsched.scenario.scenario import QueueSpec, Scenario
from pytest_xsched.scenario.workload import matmul, spin
from pytest_xsched.session.adaptive import run_in_windows


@pytest.fixture
def measured():
    """Measures a high and a low queue on devices of the given names."""

    def make(high, low):
        queue = {"workload": matmul(24), "priority": 10, "arrivals": constant("100/s")}
        scenario = Scenario(
            queues=(
                QueueSpec(name="high", device=high, **queue),
                QueueSpec(name="low", device=low, workload=spin("1ms"), arrivals=Closed()),
            ),
            duration_ns=200_000_000,
            warmup_ns=0,
            drain_ns=20_000_000_000,
            seed=0,
            device="cuda",
            scheduler="builtin",
            policy="hpf",
            check=True,
        )
        with ExitStack() as stack:
            devices = {
                name: stack.enter_context(closing(Device("cpu", cpu=CpuModel(), sim=SimModel())))
                for name in scenario.devices
            }
            return run_in_windows(scenario, lambda s: measure(devices, s), fixed=True)

    return make


@pytest.mark.parametrize(
    ("high", "low", "together"),
    [
        (None, None, True),
        ("cuda:1", "cuda:1", True),
        ("cuda", None, True),
        (None, "cuda:1", False),
        ("cuda:1", None, False),
        ("cuda:1", "cuda:2", False),
    ],
)
def test_a_queue_waits_for_those_of_its_own_device(measured, high, low, together):
    # A busy machine may give low so little time that it never wants to launch while high has work.
    # A policy that takes them for queues of two devices never suspends it, however often they run.
    for _ in range(5 if together else 1):
        run = measured(high, low)
        assert run.evidence.checked and not run.evidence.faults
        assert run.high.counts.completed == 20
        assert run.low.counts.completed == run.low.counts.launched > 0
        assert run.high.counts.suspended == 0
        if run.low.counts.suspended > 0:
            break
    assert (run.low.counts.suspended > 0) == together
    names = {"cuda", high or "cuda", low or "cuda"}
    assert len(run.fingerprint.devices) == len(names)


def test_the_table_says_where_a_queue_was(measured):
    lines = "\n".join(table(measured(None, "cuda:1").to_dict()))
    assert "  high " in lines and "  low (cuda:1) " in lines


def test_virtual_time_has_one_device():
    models = {"cpu": CpuModel(), "sim": SimModel()}
    with closing(Device("sim", **models)) as sim, closing(Device("sim", **models)) as other:
        run = Run(sim, "hpf")
        settings = {"priority": 0, "stream_priority": 0, "threshold": 1, "batch_size": 1}
        with pytest.raises(ScenarioError, match=r"queue 'q': .* one of the two has virtual time"):
            run.add_manual(QueueSettings(name="q", device=other, **settings))
        run.add_manual(QueueSettings(name="q", device=sim, **settings))
        run.close()


def test_a_device_that_is_only_slow_is_not_lost(session_on):
    """Its 12 commands need more than 10 s after the end of the run, and complete one by one."""
    session = session_on("cpu")
    queue = session.queue("slow", spin("1s"), concurrency=12)
    run = session.run(queue, duration="100ms", warmup="0s", drain="0s", scheduler="native")
    assert run["slow"].counts.completed == 12

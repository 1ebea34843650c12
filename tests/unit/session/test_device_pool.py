"""The devices of a session end with it, whatever goes wrong meanwhile."""

import pytest

from pytest_xsched import CpuModel, QueueSpec, Scenario, SimModel, closed, spin
from pytest_xsched.session.device_pool import DevicePool
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.kept_processes import KeptProcesses
from pytest_xsched.workers.run_processes import RunProcesses
from pytest_xsched.workers.sent_files import NO_FILES


def test_devices_are_closed_although_a_model_cannot_be_released(monkeypatch):
    """PyTorch raises at any call after an error of the GPU; locks must not stay for that."""
    pool = DevicePool(Settings(device="sim"))
    device = pool.get("sim", CpuModel(), SimModel())
    closed = []
    monkeypatch.setattr(device, "close", lambda: closed.append(device))

    def refuse():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(pool.models, "close", refuse)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        pool.close()
    assert closed == [device]
    pool.models.close = list
    pool.close()
    assert closed == [device]


def test_the_processes_of_the_last_run_end_before_the_servers_that_outlived_it(monkeypatch):
    """They end by a timer, too, in a thread of its own: two must not end one server at once."""
    pool = DevicePool(Settings(device="sim"))
    pool.keep_processes(True)
    ended = []
    monkeypatch.setattr(RunProcesses, "close", lambda self: ended.append("run"))
    monkeypatch.setattr(KeptProcesses, "end", lambda self: ended.append("servers"))
    queue = QueueSpec(name="q", workload=spin("1ms"), arrivals=closed())
    scenario = Scenario(
        queues=(queue,),
        duration_ns=10**7,
        warmup_ns=0,
        drain_ns=0,
        seed=0,
        device="sim",
        scheduler="native",
        policy="none",
    )
    pool.measure(scenario, None, pool.begin(10**9, NO_FILES), waiting=None, record=False)
    ended.clear()
    pool.keep_processes(False)
    assert ended == ["run", "servers"]
    pool.close()

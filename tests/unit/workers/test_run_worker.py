"""Which runs the worker of an earlier run may measure: those that would start it alike."""

import dataclasses
from types import SimpleNamespace

import pytest

from pytest_xsched import CpuModel, QueueSpec, Scenario, XSched, closed, spin
from pytest_xsched.models.factory import Place
from pytest_xsched.workers.isolated import RunWorker

HIGH, LOW = (QueueSpec(name=name, workload=spin("1ms"), arrivals=closed()) for name in "ab")
RUN = Scenario(
    queues=(HIGH, dataclasses.replace(LOW, device="cuda:1")),
    duration_ns=10**7,
    warmup_ns=0,
    drain_ns=0,
    seed=0,
    device="cuda:0",
    scheduler="native",
    policy="none",
)


@pytest.fixture
def worker():
    """One that waits after a run."""
    worker = RunWorker(record=False)
    worker._worker = SimpleNamespace(is_running=lambda: True)
    worker._started_for, worker._place = RUN, Place.here()
    return worker


@pytest.mark.parametrize(
    ("changes", "serves"),
    [
        ({}, True),
        ({"scheduler": "builtin", "policy": "hpf", "seed": 3, "duration_ns": 10**8}, True),
        ({"queues": (HIGH,)}, True),  # it has opened more devices than that needs
        ({"queues": (HIGH, dataclasses.replace(LOW, device="cuda:2"))}, False),
        ({"device": "cuda:1"}, False),
        ({"cpu": CpuModel(workers=2)}, False),
        ({"scheduler": "xsched", "xsched": XSched(), "queues": (HIGH,)}, False),
        ({"processes": "separate", "queues": (HIGH,)}, False),
    ],
)
def test_a_worker_serves_a_run_that_would_start_it_alike(worker, changes, serves):
    scenario = dataclasses.replace(RUN, **changes)
    assert worker.serve(scenario, 600.0, record=False) is serves
    assert (worker.set_up_s == 600.0) is serves


def test_it_serves_none_that_records_other_things_or_whose_code_is_elsewhere(
    worker, tmp_path, monkeypatch
):
    assert not worker.serve(RUN, 600.0, record=True)
    monkeypatch.chdir(tmp_path)
    assert not worker.serve(RUN, 600.0, record=False)


def test_it_serves_none_after_it_has_ended(worker):
    worker._worker = SimpleNamespace(is_running=lambda: False)
    assert not worker.serve(RUN, 600.0, record=False)

"""For tests on the devices that every machine has."""

from __future__ import annotations

import os
import textwrap

import pytest

from pytest_xsched.load import constant
from pytest_xsched.model import QueueSpec, Scenario
from pytest_xsched.workload import spin


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has `device` among its arguments on cpu and on sim."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize(
            "device",
            [pytest.param(kind, marks=pytest.mark.xsched(device=kind)) for kind in ("sim", "cpu")],
        )


@pytest.fixture
def scenario():
    """A second of virtual time, or the same scenario on another device."""

    def make(device="sim", **changes):
        values = {
            "queues": (QueueSpec(name="q", workload=spin("1ms"), arrivals=constant("100/s")),),
            "duration_ns": 1_000_000_000,
            "warmup_ns": 0,
            "drain_ns": 1_000_000_000,
            "seed": 0,
            "device": device,
            "scheduler": "builtin",
            "policy": "hpf",
        }
        return Scenario(**{**values, **changes})

    return make


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Writes a module that a worker process runs instead of ours; gives its name."""

    def write(body):
        (tmp_path / "other_worker.py").write_text(textwrap.dedent(body))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return "other_worker"

    return write

"""A GPU, or a part of one (MIG), that a run names by its UUID: every process of it sees only that.

The fake driver has one device, whose UUID is `UUID`.
"""

import sys

import pytest

from pytest_xsched import InvalidRun, ScenarioError, command, spin

UUID = "MIG-f0f0f0f0-f0f0-f0f0-f0f0-f0f0f0f0f0f0"
DEVICE = f"cuda:{UUID}"
PROGRAM = """
import os
with open(f"{__file__}.txt", "w") as seen:
    seen.write(os.environ["CUDA_VISIBLE_DEVICES"])
from pytest_xsched.client import requests
for _ in requests():
    pass
"""


@pytest.fixture
def session(fake_cuda, session_on, monkeypatch):
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    return session_on(DEVICE)


def test_workers_and_programs_see_that_device_only(session, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    run = session.run(
        session.queue("high", spin("100us"), rate="100/s"),
        session.queue("low", command([sys.executable, file]), rate="50/s"),
        scheduler="native",
        duration="100ms",
        whole=True,
    )
    assert run.evidence.faults == ()
    assert run.fingerprint.environment["CUDA_VISIBLE_DEVICES"] == UUID
    assert (tmp_path / "program.py.txt").read_text() == UUID
    assert run.to_dict()["scenario"]["device"] == DEVICE


def test_another_device_than_the_named_one_is_a_fault(session, session_on):
    other = session_on("cuda:GPU-00000000-f0f0-f0f0-f0f0-f0f0f0f0f0f0")
    run = other.run(other.queue("q", spin("100us"), rate="100/s"), duration="100ms", whole=True)
    with pytest.raises(
        InvalidRun, match=r"names the device GPU-0{8}-.*, but was measured on GPU-f"
    ):
        run.q.assert_p99_below("1s")


def test_live_queues_are_there_too(session):
    session.live()(name="q").submit(spin("1ms")).wait("10s")


def test_a_process_sees_no_other_device(session):
    queue = session.queue("q", spin("100us"), device="cuda:1")
    with pytest.raises(ScenarioError, match=r"names a device by its UUID sees no other$"):
        session.run(queue, duration="100ms")


def test_not_within_pytest(session_on, session):
    inside = session_on(DEVICE, process="inside")
    with pytest.raises(ScenarioError, match="worker process sees: not with --xsched-process=insi"):
        inside.run(inside.queue("q", spin("100us")), duration="100ms")

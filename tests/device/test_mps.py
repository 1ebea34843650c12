"""MPS and time slices on a real GPU: clients, shares, a bypass, and a daemon that always ends.

Skipped without an NVIDIA GPU or without nvidia-cuda-mps-control; `test_mps_control` has the same
without either. What a killed pytest leaves is tested with the stand-in, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pytest_xsched import MPS, InvalidRun, SchedulerInactive, Session, command, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.mps import MARK, find_control

PROGRAM = """
import ctypes, os, sys
if "past" in sys.argv:
    os.environ["CUDA_MPS_PIPE_DIRECTORY"] = "/proc/elsewhere"
driver = ctypes.CDLL(os.environ.get("XS_TEST_CUDA_DRIVER") or "libcuda.so.1")
context = ctypes.c_void_p()
assert driver.cuInit(0) == 0
assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
from pytest_xsched.client import requests
for _ in requests():
    pass
"""
LONG = """
from pytest_xsched import spin

def test_long(xsched):
    high = xsched.queue("high", spin("100us"), priority=10, rate="100/s")
    low = xsched.queue("low", spin("1ms"))
    xsched.run(high, low, scheduler="mps", duration="600s", whole=True)
"""


@pytest.fixture
def gpu():
    """A session on the GPU that is there."""
    if not os.path.exists("/dev/nvidiactl"):
        pytest.skip("there is no NVIDIA GPU")
    try:
        find_control()
    except SchedulerInactive as error:
        pytest.skip(str(error))
    session = Session(Settings(device="cuda"))
    yield session
    session.close()


@pytest.fixture(params=["stand-in", "installed"])
def daemon(request, monkeypatch):
    """Let sessions that are started find a daemon and a driver, real ones or ours."""
    if request.param == "installed":
        return request.getfixturevalue("gpu")
    for variable in ("PYTEST_XSCHED_GPU_DRIVER", "PYTEST_XSCHED_GPU_COMPILER"):
        monkeypatch.setenv(variable, request.getfixturevalue("fake_cuda"))
    return request.getfixturevalue("mps_control")


def two(session):
    return (
        session.queue("high", spin("100us"), priority=10, rate="100/s"),
        session.queue("low", spin("2ms", waves=4), priority=1),
    )


def daemons_of(process):
    """Return the processes of the daemons whose directory a process has made."""
    start = f"{MARK}=".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue
        ours = f"/pytest-xsched-{process}-".encode()
        if any(variable.startswith(start) and ours in variable for variable in variables):
            found.append(int(path.parent.name))
    return found


def named_like_mps():
    """Return the ids of processes of MPS that run, whosever they are."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        if "(nvidia-cuda-mps" in head and rest.split()[0] != "Z":
            found.add(int(path.parent.name))
    return found


def test_queues_are_clients_with_a_share_and_the_daemon_ends(gpu):
    settings = MPS(active_thread_percentage={"low": 50}, priority={"low": 1})
    run = gpu.run(*two(gpu), scheduler=settings, duration="1s", whole=True)
    assert run.evidence.faults == ()
    (high,), (low,) = run.evidence.mps.queues.values()
    assert len({high, low, *run.evidence.mps.servers}) == 3
    assert run.high.n == 100 and run.low.counts.completed > 0
    assert daemons_of(os.getpid()) == []


def test_time_slices_have_no_daemon(gpu):
    run = gpu.run(*two(gpu), scheduler="time-slicing", duration="1s", whole=True)
    assert run.evidence.faults == () and run.evidence.mps is None
    assert run.high.n == 100


def test_a_program_is_a_client_unless_it_bypasses_the_daemon(gpu, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    runs = {
        how: gpu.run(
            gpu.queue("high", spin("100us"), priority=10, rate="100/s"),
            gpu.queue("low", command([sys.executable, file, how]), rate="50/s"),
            scheduler="mps",
            duration="500ms",
            whole=True,
        )
        for how in ("through", "past")
    }
    assert runs["through"].evidence.faults == ()
    assert len(runs["through"].evidence.mps.queues["low"]) == 1
    with pytest.raises(InvalidRun, match="no verdict: queue 'low' bypassed MPS"):
        runs["past"].high.assert_p99_below("1s")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_the_daemon_ends_with_pytest(daemon, tmp_path, number, until):
    if number == signal.SIGINT and isinstance(daemon, str):
        pytest.skip("test_mps_control interrupts the stand-in")
    before = named_like_mps()
    (tmp_path / "test_long.py").write_text(textwrap.dedent(LONG))
    line = [sys.executable, "-m", "pytest", "-p", "xsched", "--xsched-device=cuda", "-q"]
    with subprocess.Popen(
        line, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as pytest_itself:
        until(lambda: len(daemons_of(pytest_itself.pid)) >= 2)  # the keeper and the daemon
        time.sleep(1 if isinstance(daemon, str) else 6)  # clients come, and with them a server
        pytest_itself.send_signal(number)
    until(lambda: daemons_of(pytest_itself.pid) == [])
    if not isinstance(daemon, str):
        until(lambda: named_like_mps() <= before)

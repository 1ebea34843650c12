"""What a real run notes of the machine: that it does, and where; never how noisy it was."""

from __future__ import annotations

import fnmatch
import os
import sys

import numpy as np
import pytest

from pytest_xsched import CpuModel, Session, SimModel, command, spin
from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import QueueSettings, Run
from pytest_xsched.reporting import run_table
from pytest_xsched.session.settings import Settings


@pytest.mark.parametrize(
    ("process", "processes"),
    [("inside", "together"), ("worker", "together"), ("auto", "separate")],
)
def test_every_block_has_a_heartbeat(process, processes):
    session = Session(Settings(device="cpu", process=process))
    run = session.run(
        session.queue("high", spin("1ms"), priority=2, rate="50/s"),
        session.queue("low", spin("1ms"), priority=1),  # goes on until the window ends
        duration="300ms",
        scheduler="native",
        processes=processes,
    )
    session.close()

    (window,) = run.evidence.noise.windows
    assert not run.evidence.noise.masks
    assert (window.end_ns - window.start_ns, window.readings.block_ns) == (300_000_000, 100_000_000)
    assert len(window.readings.heartbeat_ns) == len(window.late_ns) == 3
    assert min(window.readings.heartbeat_ns) > 0
    assert len(window.readings.run_delay_ns) in (0, 3)  # a kernel may not tell
    assert run.high.n == 15
    assert run.to_dict()["evidence"]["noise"]["mode"] == "note"


def test_a_late_beat_spoils_every_block_of_its_sleep():
    """Blocks of 1 us: a thread that sleeps until a time wakes up several of them later."""
    late_ns = np.zeros(100_000, np.int64)
    device = Device("cpu", cpu=CpuModel(), sim=SimModel())
    run = Run(device, "none")
    settings = QueueSettings(name="q", priority=0, stream_priority=0, threshold=2, batch_size=1)
    run.add_closed(settings, spin("1ms").commands, concurrency=1, think_ns=0)
    run.start(
        warmup_ns=0,
        duration_ns=100_000_000,
        drain_ns=1_000_000_000,
        heartbeat_ns=late_ns,
        slot_ns=1_000,
    )
    while not run.wait():
        pass
    run.close()
    device.close()
    latest = int(late_ns.max())
    # It spoils at least so many whole blocks, except for what lies outside of the window.
    blocks = np.flatnonzero(late_ns == latest)
    is_at_the_border = blocks[0] == 0 or blocks[-1] == len(late_ns) - 1
    assert is_at_the_border or len(blocks) >= latest // 1_000


@pytest.mark.parametrize(
    ("pids", "reasons", "noise", "said"),
    [
        (
            "self 4194305",
            "0x4",
            "mask",
            "environment too noisy: process 4194305 computed on the GPU, too",
        ),
        (
            "self",
            "0x48",
            "auto",
            "environment too noisy: 100% of the time, by a limit of *GPU held down by "
            "hardware slowdown and thermal slowdown*",
        ),
        ("self 4194305", "0x48", "note", None),
    ],
)
def test_a_gpu_that_is_not_ours_alone_or_too_hot(
    fake_nvml, fake_cuda, session_on, monkeypatch, pids, reasons, noise, said
):
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    fake_nvml(clock=1755, pids=pids, reasons=reasons)  # no process has such an id
    session = session_on("cuda", noise=noise, noise_limit_ns=10**15)
    run = session.run(session.queue("q", spin("100us"), rate="50/s"), duration="200ms")

    assert run.evidence.noise.gpu.clock_mhz == (1755, 1755)
    lines = run_table.table(run.to_dict())
    if said is None:
        assert run.evidence.faults == ()
        assert "  GPU: 1755 MHz, hardware slowdown, thermal slowdown" in lines
        assert "  ! process 4194305 computed on the GPU, too" in lines
    else:
        (found,) = [fault for fault in run.evidence.faults if fnmatch.fnmatch(fault, said)]
        assert f"  ! {found}" in lines


def test_without_the_package_the_report_says_what_is_not_known(
    fake_cuda, session_on, monkeypatch, tmp_path
):
    (tmp_path / "pynvml.py").write_text("raise ImportError('hidden by a test')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    session = session_on("cuda", noise="mask", noise_limit_ns=10**15)
    run = session.run(session.queue("q", spin("100us"), rate="50/s"), duration="200ms")

    assert run.evidence.faults == ()
    (line,) = [line for line in run_table.table(run.to_dict()) if "not known" in line]
    assert fnmatch.fnmatch(
        line,
        "  ! clock and other processes of the GPU * are not known: the package nvidia-ml-py is not "
        "installed (pip install 'pytest-xsched[[]nvidia]')",
    )


PROGRAM = """
import os, sys
from pytest_xsched.client import requests
open(sys.argv[1], "w").write(f"self {os.getpid()} 4194305")
for _ in requests():
    pass
"""


def test_programs_are_watched_from_a_process_of_ours(
    fake_nvml, fake_cuda, session_on, monkeypatch, tmp_path
):
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    pids = tmp_path / "pids"
    fake_nvml(pids_in=pids)
    session = session_on("cuda", noise="mask", noise_limit_ns=10**15)
    on_gpu = command([sys.executable, "-c", PROGRAM, pids])
    absent = command([sys.executable, "-c", PROGRAM, "/dev/null"])
    run = session.run(
        session.queue("there", on_gpu, rate="50/s"),
        session.queue("absent", absent, rate="50/s"),
        duration="400ms",
        scheduler="native",
    )

    assert run.evidence.faults == (
        "the program of absent computed nothing on the GPU",
        "environment too noisy: process 4194305 computed on the GPU, too",
    )
    (window,) = run.evidence.noise.windows
    assert len(window.readings.heartbeat_ns) == 4 and min(window.readings.heartbeat_ns) > 0
    assert window.late_ns == (0, 0, 0, 0)  # a program's lateness is its own


def test_nobody_looks():
    session = Session(Settings(device="cpu", noise="off"))
    run = session.run(session.queue("q", spin("1ms"), rate="50/s"), duration="100ms")
    session.close()
    assert run.evidence.noise is None

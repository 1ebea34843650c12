"""`pytest-xsched doctor` where there is a device: XSched's double on fake drivers and on PoCL.

Where XSCHED_HOME names an installation, PoCL is used with that one, too.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess

import pytest

from pytest_xsched import matmul, sequence, vector_add

VARIABLES = ("XSCHED_HOME", "XLOG_LEVEL", "LD_PRELOAD", "PREEMPT_DOUBLE")


@pytest.fixture
def doctor(tmp_path, monkeypatch, doctor_command):
    """Runs the doctor; gives its findings by number."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def look(home, kind, limit_s=100.0, **environment):
        done = subprocess.run(
            doctor_command("--json", f"--home={home}", f"--device={kind}", limit_s=limit_s),
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=200,
        )
        data = json.loads(done.stdout)
        assert done.returncode == int(not data["ok"])
        return {check["number"]: check for check in data["checks"]}

    return look


@pytest.fixture
def cuda(fake_cuda, monkeypatch):
    """Puts the fake driver under `cuda`."""
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    return "cuda"


def failures(found):
    return {n: check["seen"] for n, check in found.items() if check["status"] == "failed"}


def test_all_is_well(doctor, xsched_double, fake_gpu):
    found = doctor(xsched_double, fake_gpu)

    # CUDA's driver is asked by name, and the fake one has a path, before which is no shim.
    assert failures(found).keys() <= {3}, failures(found)
    assert found[5]["seen"].endswith(
        ", each with a number of its own: XSched counts 24 and launched 24, "
        "24 completed, and the results equal numpy's"
    )
    assert "returns 5, NotSupported, as expected" in found[6]["seen"]
    assert found[7]["seen"].startswith(
        "the local scheduler with policy HPF was set, and XSched reports 'using local "
        "scheduler with policy HPF'"
    )
    assert found[7]["seen"].endswith("'using app-managed scheduler', which schedules nothing")
    assert found[8]["status"] == "ok"
    assert found[9]["seen"].startswith("launch, copies and elementwise, GEMM passed")
    assert found[10]["seen"].endswith("; a second thread can make and use an XQueue")
    assert found[12]["seen"] == (
        "a process that has loaded shim and driver and one that has used XSched end with exit "
        "status 0"
    )


def test_on_a_driver_with_its_own_name(xsched_home, doctor, pocl, session_on):
    session = session_on("opencl")
    # Skips where there is no device; compiles what the doctor has not the time for.
    session.run(session.queue("q", sequence([matmul(64), vector_add(4096)])), duration="50ms")

    found = doctor(xsched_home, "opencl")

    assert failures(found).keys() <= {11}, failures(found)
    assert {n for n, check in found.items() if check["status"] == "skipped"} <= {6, 11}
    assert "libshimopencl.so exports clEnqueueNDRangeKernel" in found[2]["seen"]
    assert "maps it and one driver" in found[3]["seen"]


@pytest.mark.parametrize(
    ("fault", "number", "seen"),
    [
        ("inactive", 7, "but XSched reports 'using app-managed scheduler'"),
        ("ignore-priority", 8, "hints preferred one of two queues, and then the other"),
        ("drop", 5, "of 24 launches XSched counts 24 and launched 21, and "),
        ("segv", 5, "the process was ended by SIGSEGV during this step"),
        ("abort", 5, "the process was ended by SIGABRT during this step"),
        ("exit", 5, "the process ended with exit status 1 during this step ([XSCHED ERRO"),
        ("hang-callback", 5, " s during this step"),
        ("crash-exit", 12, "was ended by SIGSEGV, after its work was done"),
        ("hang-exit", 12, "did not end within"),
    ],
)
def test_what_an_xsched_does_badly(doctor, xsched_double, cuda, fault, number, seen):
    # What hangs is found when the time is over, in which a busy machine may not get to it.
    for limit_s in (0, 60) if fault.startswith("hang") else (100,):
        found = doctor(xsched_double, cuda, limit_s, PREEMPT_DOUBLE=fault)
        if seen in found[number]["seen"]:
            break

    assert number in failures(found)
    assert seen in found[number]["seen"]
    assert found[number]["remedy"]
    # What comes before it is right, and says so.
    assert not {5, 6, 7, 8, 9} & {n for n in failures(found) if n < number}


def test_the_users_own_settings_are_told(doctor, xsched_double, cuda):
    found = doctor(xsched_double, cuda, XSCHED_POLICY="HPF")

    assert found[4]["seen"] == "XSCHED_POLICY=HPF"
    assert found[7]["seen"].endswith(
        "a program that loads XSched in this environment reports 'using local scheduler with "
        "policy HPF'"
    )


@pytest.mark.parametrize("faults", ["", "ignore-case"])
def test_a_spelling_is_judged_by_what_is_in_effect(doctor, xsched_double, cuda, faults):
    """XSched 1.2 knows capitals only; later versions know each spelling."""
    found = doctor(xsched_double, cuda, XSCHED_POLICY="hpf", PREEMPT_DOUBLE=faults)

    in_effect = (
        "in this environment reports 'using local scheduler with policy HPF'" in found[7]["seen"]
    )
    assert in_effect is bool(faults)
    assert found[4]["status"] == ("ok" if in_effect else "failed")
    assert found[4]["seen"].startswith("XSCHED_POLICY=hpf" if in_effect else "XSCHED_POLICY='hpf'")


def test_no_gpu_behind_the_driver(doctor, xsched_double, cuda):
    found = doctor(xsched_double, cuda, XS_FAKE_FAULT="cuInit:1:100")

    assert 5 in failures(found)
    assert "make the GPU and its driver visible to this process" in found[5]["remedy"]
    assert all(found[number]["status"] == "skipped" for number in (6, 7, 8, 9))


def test_a_driver_that_does_not_compute_is_not_the_fault_of_xsched(doctor, xsched_double, cuda):
    found = doctor(xsched_double, cuda, XS_FAKE_FAULT="cuLaunchKernel:3:700")

    assert 5 in failures(found)
    assert "ILLEGAL_ADDRESS" in found[5]["seen"]
    assert "XSched is not the cause" in found[5]["remedy"]


def test_somebody_else_measures(doctor, xsched_double, cuda, lock_directory):
    lock = f"{lock_directory}/pytest-xsched-gpu-0000-01-00.0.lock"
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = doctor(xsched_double, cuda)

    assert found[5]["status"] == "skipped"
    assert found[5]["seen"].startswith("GPU 0000:01:00.0 was not free within 1 s")
    assert found[8]["status"] == "skipped"

"""Drivers that fail, die or never answer, under `cuda` and `hip`: each is one error with a reason.

The driver is a fake without a GPU, which is told which of its calls goes wrong, and how.
"""

import re

import pytest

from pytest_xsched import DeviceError, DeviceUnavailable, WorkerCrashed, matmul, spin
from pytest_xsched import vector_add as add
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.system.driver_files import find_libraries
from pytest_xsched.workers.isolated import measure_in_worker

FAKE = ("fake_cuda.c", "fake_errors.c", "fake_graph.c", "fake_identity.c", "fake_kernels.c")


@pytest.fixture
def measured(fake_gpu, session_on, monkeypatch):
    """Measures a short scenario in a worker whose driver has a fault: ``"CALL:NTH:WHAT"``."""

    def measure(fault=None, work=None, **more):
        if fault:
            monkeypatch.setenv("XS_FAKE_FAULT", fault)
        made = session_on(fake_gpu)
        # One queue, so one thread: once the driver is broken, each call of each says so.
        work = work or matmul(16, layers=2)
        queue = made.queue("q", work, rate="100/s", priority=2)
        scenario = Scenario(
            queues=(queue,),
            duration_ns=300_000_000,
            warmup_ns=0,
            drain_ns=200_000_000,
            seed=0,
            device=fake_gpu,
            scheduler="builtin",
            policy="hpf",
        )
        return measure_in_worker(scenario, libraries=find_libraries(fake_gpu), **more)

    return measure


def test_a_good_one_computes_what_numpy_does(fake_gpu, session_on):
    made = session_on(fake_gpu)
    run = made.run(
        made.queue("mm", matmul(50, batch=3, layers=2), rate="50/s", priority=3),
        made.queue("va", add(1000), think="1ms"),
        made.queue("sp", spin("100us"), rate="50/s"),
        duration="300ms",
        check=True,
    )
    assert run.evidence.checked
    assert not run.evidence.faults
    assert (run.device_kind, run.device_name) == (fake_gpu, "fake 0")
    assert all(run[name].counts.completed == run[name].counts.submitted > 0 for name in run)


@pytest.mark.parametrize("code", [100, 101])
def test_no_device_is_a_skip_or_a_failure(fake_gpu, session_on, monkeypatch, code):
    monkeypatch.setenv("XS_FAKE_FAULT", f"cuInit:1:{code}")
    reason = "the driver has 0 devices, so there is no device number 0"
    for settings, outcome, message in (
        ({}, pytest.skip.Exception, f"no {fake_gpu} device: {reason}"),
        (
            {"require_device": fake_gpu},
            pytest.fail.Exception,
            f"--xsched-require-device={fake_gpu}: {reason}",
        ),
    ):
        made = session_on(fake_gpu, **settings)
        with pytest.raises(outcome, match=message):
            made.run(made.queue("q", matmul(8)), duration="1s")


@pytest.mark.parametrize(
    ("fault", "call", "message"),
    [
        ("cuInit:1:999", "init", "CUDA_ERROR_UNKNOWN: unknown error"),
        ("cuStreamCreateWithPriority:3:2", "stream_create", "out of memory"),
        ("cuModuleLoadData:1:200", "module", "device kernel image is invalid"),
        ("cuLaunchKernel:30:719", "launch", "CUDA_ERROR_LAUNCH_FAILED"),
        ("cuEventRecord:9:700", "mark", "an illegal memory access was encountered"),
        ("cuEventQuery:20:700", "passed", "an illegal memory access was encountered"),
    ],
)
def test_a_call_that_fails_is_named_with_code_and_text(measured, fake_gpu, fault, call, message):
    with pytest.raises(DeviceError, match=message) as caught:
        measured(fault)
    assert not isinstance(caught.value, DeviceUnavailable)
    assert caught.value.call == f"{fake_gpu}.{call}"
    assert caught.value.code == int(fault.rpartition(":")[2])


def test_out_of_memory_says_what_was_wanted(fake_gpu, session_on):
    made = session_on(fake_gpu)  # with 4 GB
    with pytest.raises(DeviceError, match=r"40000 x 40000 .* three times 6\.4 GB") as caught:
        made.run(made.queue("q", matmul(40000)), duration="1s")
    assert (caught.value.call, caught.value.code) == ("gpu.kernel_create", 2)


def test_out_of_memory_for_little_is_in_the_drivers_words(measured, fake_gpu):
    with pytest.raises(DeviceError, match="CUDA_ERROR_OUT_OF_MEMORY: out of memory") as caught:
        measured("cuMemAlloc_v2:1:2")
    assert (caught.value.call, caught.value.code) == (f"{fake_gpu}.kernel_create", 2)


def test_a_kernel_that_does_not_compile_shows_the_log(measured, fake_gpu):
    with pytest.raises(DeviceError, match="error: this is the end of the log") as caught:
        measured("nvrtcCompileProgram:1:6")
    assert caught.value.call == {"cuda": "nvrtc", "hip": "hiprtc"}[fake_gpu] + ".compile"
    assert caught.value.code == 6


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("cuLaunchKernel:30:segfault", "was ended by SIGSEGV while it measured, without a result"),
        ("cuInit:1:exit", "ended with exit status 1, .*; its last words: fake_cuda: cuInit gives"),
    ],
)
def test_a_driver_that_ends_its_process_is_one_error(measured, fault, message):
    with pytest.raises(WorkerCrashed, match=message):
        measured(fault)


# On one kind only: it takes ten seconds, in a part of the runner that knows no driver.
@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_commands_that_never_complete_are_one_error(measured, fake_gpu):
    sentence = r"queue '\w+': \d+ commands did not complete within 10 s after the end of the run: "
    sentence += r"either the device does not answer, or it is very slow"
    with pytest.raises(DeviceError, match=sentence) as caught:
        measured("cuEventQuery:20:600")  # no mark is ever passed
    assert caught.value.call == "queue.drain"


@pytest.mark.parametrize("fake_gpu", ["cuda"], indirect=True)
def test_a_hang_says_how_long_the_work_takes_alone_where_that_is_known(measured, fake_gpu):
    """A slow device has eight times that, in addition to the ten seconds."""
    with pytest.raises(DeviceError) as caught:
        measured("cuEventQuery:20:600", spin("150ms", layers=2))
    found = re.search(
        r"(\d+) commands did not complete within (\d+) s after the end of the run: either the "
        r"device does not answer, or it is very slow: alone, all that was launched on it takes "
        r"(\S+) s$",
        str(caught.value),
    )
    assert found, caught.value
    left, waited_s, alone_s = int(found[1]), int(found[2]), float(found[3])
    assert left > 0
    assert alone_s == pytest.approx(0.15 * left)
    assert 10 + 8 * alone_s - 1 <= waited_s


def test_a_call_that_does_not_come_back_ends_with_the_deadline(measured):
    with pytest.raises(WorkerCrashed, match="did not end in time and was killed"):
        measured("cuLaunchKernel:30:hang", set_up_s=2.0)


def test_a_function_that_is_missing_is_named(built, fake_gpu, session_on, monkeypatch):
    names = {"cuda": "cuEventQuery", "hip": "hipEventQuery"}
    files = FAKE if fake_gpu == "cuda" else ("hip_on_cuda.c",)
    gone = f"-D{names[fake_gpu]}=gone"
    driver = built(*files, flags=("-shared", "-fPIC", gone))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(driver))
    made = session_on(fake_gpu)
    with pytest.raises(DeviceError, match=f"no function {names[fake_gpu]}"):
        made.run(made.queue("q", matmul(8)), duration="1s")

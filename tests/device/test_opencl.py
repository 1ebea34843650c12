"""The opencl device: where there is a driver (CI has PoCL, whose kernels run on the CPU), two
models share it and what they compute is compared with numpy; elsewhere a skip with the reason."""

import contextlib
from pathlib import Path

import pytest

from pytest_xsched import (
    DeviceError,
    DeviceUnavailable,
    Session,
    matmul,
    spin,
    vector_add,
)
from pytest_xsched.base.constants import DEVICES
from pytest_xsched.session.settings import Settings

RATE, SECONDS = 50, 1


@pytest.fixture
def opencl(pocl):
    session = Session(Settings(device="opencl"))
    yield session
    session.close()


def two_models(opencl, scheduler):
    return opencl.run(
        opencl.queue("high", matmul(32, layers=2), priority=10, rate=f"{RATE}/s"),
        opencl.queue("low", matmul(48, layers=8), priority=1),
        scheduler=scheduler,
        duration=f"{SECONDS}s",
        warmup="200ms",
        check=True,
    )


@pytest.mark.parametrize("scheduler", ["native", "priority", "builtin"])
def test_two_models_share_it(opencl, scheduler):
    run = two_models(opencl, scheduler)
    high, low = run.high, run.low
    assert run.device_kind == "opencl"
    assert run.evidence.checked
    assert run.evidence.faults == ()
    assert run.remark == ""
    assert high.counts.requests_submitted == RATE * SECONDS + RATE // 5
    assert high.n == RATE * SECONDS
    for queue, commands in ((high, 2), (low, 8)):
        assert queue.counts.failed == 0
        assert queue.counts.completed == queue.counts.launched
        assert queue.counts.requests_completed > 0
        assert queue.counts.completed >= commands * queue.counts.requests_completed
    assert high.counts.suspended == 0
    # Only the policy of builtin suspends anybody, and it does so while high has work.
    assert (low.counts.suspended > 0) == (scheduler == "builtin")
    assert low.counts.suspended <= high.counts.requests_submitted


def test_it_computes_what_numpy_does(opencl):
    run = opencl.run(
        opencl.queue("mm", matmul(50, batch=3, layers=2), rate="20/s", priority=3),
        opencl.queue("va", vector_add(1000), think="1ms"),
        opencl.queue("sp", spin("100us", layers=3), rate="20/s"),
        duration="500ms",
        check=True,
    )
    assert run.evidence.checked
    assert run.evidence.faults == ()
    assert all(run[name].counts.completed > 0 for name in run)


def libraries_of_opencl():
    """Give those that this process has mapped: a test before may have looked for a device."""
    maps = Path("/proc/self/maps").read_text()
    return {name for name in ("libOpenCL", "libpocl") if name in maps}


def test_the_driver_is_not_opened_in_this_process(opencl):
    before = libraries_of_opencl()
    with contextlib.suppress(pytest.skip.Exception):
        opencl.run(opencl.queue("q", matmul(8), rate="50/s"), duration="100ms")
    with contextlib.suppress(pytest.skip.Exception):
        opencl.live().close()
    assert libraries_of_opencl() == before


def test_auto_never_takes_it(monkeypatch):
    monkeypatch.setattr("pytest_xsched.session.session.os.path.exists", lambda path: True)
    assert "opencl" in DEVICES
    assert Session(Settings()).device_kind == "hip"


def test_no_platform_is_a_skip_with_the_reason(opencl, monkeypatch, tmp_path):
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"no opencl device: .*(platform|libOpenCL)"):
        opencl.run(opencl.queue("q", matmul(8)), duration="1s")
    required = Session(Settings(device="opencl", require_device="opencl"))
    with pytest.raises(pytest.fail.Exception, match=r"--xsched-require-device=opencl: "):
        required.run(required.queue("q", matmul(8)), duration="1s")


def test_a_library_that_is_no_opencl_names_the_missing_function(opencl, monkeypatch):
    maps = Path("/proc/self/maps").read_text()
    (libc,) = {line.split()[-1] for line in maps.splitlines() if "/libc.so" in line}
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", libc)
    with pytest.raises(DeviceError, match="the library has no function clGetPlatformIDs") as caught:
        opencl.run(opencl.queue("q", matmul(8)), duration="1s")
    assert not isinstance(caught.value, DeviceUnavailable)
    assert caught.value.call == "opencl.open"

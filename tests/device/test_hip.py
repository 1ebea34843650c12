"""The hip device. None of this has run on an AMD GPU: device_hip.c runs on a libamdhip64 that
forwards to NVIDIA's driver, a fake or a real one, and AMD's own runtime is asked without a GPU.
"""

import ctypes.util
import os
from pathlib import Path

import pytest

from pytest_xsched import DeviceError, matmul, spin
from pytest_xsched import vector_add as add

SHARED = ("-shared", "-fPIC")


@pytest.fixture
def on_fake(built, fake_cuda, monkeypatch):
    """Puts the fake driver behind a forwarding one that was built with the flags given."""

    def put(*flags):
        driver = built("hip_on_cuda.c", flags=(*SHARED, *flags))
        monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(driver))

    return put


def run_every_kind(session):
    run = session.run(
        session.queue("mm", matmul(50, batch=3, layers=2), rate="50/s", priority=3),
        session.queue("va", add(1000), think="1ms", priority=-3),
        session.queue("sp", spin("100us"), rate="50/s"),
        duration="500ms",
        check=True,
    )
    assert run.evidence.checked
    assert not run.evidence.faults
    assert run.device_kind == "hip"
    assert all(run[name].counts.completed == run[name].counts.submitted > 0 for name in run)
    return run


def test_amds_own_runtime_without_a_gpu_is_a_skip(session_on):
    if os.path.exists("/dev/kfd"):
        pytest.skip("there is a driver for AMD GPUs (/dev/kfd)")
    if ctypes.util.find_library("amdhip64") is None:
        pytest.skip("AMD's runtime is not installed (Debian: libamdhip64-dev)")
    reason = "the driver has 0 devices, so there is no device number 0"
    session = session_on("hip")
    with pytest.raises(pytest.skip.Exception, match=f"no hip device: {reason}"):
        session.run(session.queue("q", matmul(8)), duration="1s")
    session = session_on("hip", require_device="hip")
    with pytest.raises(pytest.fail.Exception, match=f"--xsched-require-device=hip: {reason}"):
        session.run(session.queue("q", matmul(8)), duration="1s")
    assert "libamdhip64" not in Path("/proc/self/maps").read_text()


def test_it_computes_on_an_nvidia_gpu(built, session_on, monkeypatch):
    if not os.path.exists("/dev/nvidiactl"):
        pytest.skip("there is no NVIDIA GPU (/dev/nvidiactl)")
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(built("hip_on_cuda.c")))
    monkeypatch.setenv("XS_TEST_CUDA_COMPILER", os.environ.get("PYTEST_XSCHED_GPU_COMPILER", ""))
    monkeypatch.delenv("PYTEST_XSCHED_GPU_COMPILER", raising=False)
    monkeypatch.setenv("PYTEST_XSCHED_CACHE", "")
    run = run_every_kind(session_on("hip"))
    assert run.device_name


@pytest.mark.parametrize("layout", [(), ("-DXS_OLD_LAYOUT",)], ids=["hip6", "hip5"])
def test_both_layouts_of_the_properties_are_read(on_fake, session_on, layout):
    on_fake(*layout)
    run_every_kind(session_on("hip"))


def test_another_layout_is_an_error(on_fake, session_on):
    # The old layout under the name of the new one.
    on_fake("-DXS_OLD_LAYOUT", "-DhipGetDeviceProperties=hipGetDevicePropertiesR0600")
    session = session_on("hip")
    with pytest.raises(DeviceError, match=r"R0600 returns the architecture ''") as caught:
        session.run(session.queue("q", matmul(8)), duration="1s")
    assert caught.value.call == "hip.properties"


def test_the_compiler_may_be_a_library_of_its_own(on_fake, built, session_on, monkeypatch):
    on_fake("-DhiprtcCreateProgram=gone")  # as in ROCm 7
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", str(built("hip_on_cuda.c")))
    run_every_kind(session_on("hip"))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", "")
    if ctypes.util.find_library("hiprtc") is None:
        session = session_on("hip")
        with pytest.raises(DeviceError, match="which compiles the kernels, under this or other"):
            session.run(session.queue("q", matmul(8)), duration="1s")

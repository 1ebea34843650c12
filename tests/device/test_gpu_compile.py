"""The kernels go through the real compilers, hiprtc and NVRTC, which need no GPU; each time in a
process of its own, because old hiprtc ends its process on an architecture that it does not know.
"""

import ctypes.util
import os
import subprocess

import pytest

from pytest_xsched import DeviceError, WorkerCrashed, matmul

SOURCES = (
    *("compile_kernels.c", "base/base.c", "base/dynlib.c"),
    *("devices/gpu/gpu_driver.c", "devices/kernels/gpu_kernels.c"),
)


@pytest.fixture
def compiled(built, cuda_files):
    """Compiles the kernels, or another source, and gives the finished process."""
    program = built(*SOURCES, flags=())

    def run(brand, architecture, *source):
        if brand == "hip" and ctypes.util.find_library("amdhip64") is None:
            pytest.skip("hiprtc is not installed (Debian: libamdhip64-dev)")
        # NVRTC from PyPI does not find its own second library.
        library = "" if brand == "hip" else cuda_files("lib*/libnvrtc.so*")
        environment = {**os.environ, "LD_LIBRARY_PATH": os.path.dirname(library)}
        return subprocess.run(
            [program, brand, architecture, library, *source],
            capture_output=True,
            text=True,
            env=environment,
        )

    return run


def version_of(process):
    """Of the HIP runtime, as (major, minor)."""
    version = int(process.stdout.split()[1])
    return version // 10**7, version // 10**5 % 100


@pytest.mark.parametrize(
    ("brand", "architecture"),
    [
        ("hip", "gfx906"),
        ("hip", "gfx90a:sramecc+:xnack-"),
        ("hip", "gfx1030"),
        ("hip", "gfx1100"),
        ("cuda", "sm_90"),
    ],
)
def test_the_kernels_compile(compiled, brand, architecture):
    process = compiled(brand, architecture)
    if architecture == "gfx1100" and version_of(process) < (5, 3):
        assert process.returncode < 0
        pytest.skip("this hiprtc is older than gfx1100, and ended its process")
    assert process.stderr == ""
    assert process.stdout.split()[-2:] == ["code", "ELF"]


@pytest.mark.parametrize(("brand", "architecture"), [("hip", "gfx90a"), ("cuda", "sm_90")])
def test_an_error_has_the_log(compiled, brand, architecture):
    process = compiled(brand, architecture, 'extern "C" __global__ void f() { nonsense(); }')
    assert process.returncode == 1
    assert "nonsense" in process.stderr
    assert process.stderr.startswith({"hip": "hiprtc", "cuda": "nvrtc"}[brand] + ".compile: ")


@pytest.mark.parametrize(("brand", "architecture"), [("hip", "gfx9999"), ("cuda", "sm_1")])
def test_an_unknown_architecture_gives_no_code(compiled, brand, architecture):
    process = compiled(brand, architecture)
    assert process.returncode != 0
    assert "code" not in process.stdout


def test_a_compiler_that_ends_its_process_ends_one_run(built, fake_cuda, session_on, monkeypatch):
    # The forwarding driver says gfx90, which is none of AMD's.
    real = ctypes.util.find_library("amdhip64") or pytest.skip("hiprtc is not installed")
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(built("hip_on_cuda.c")))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", real)
    session = session_on("hip")
    with pytest.raises((WorkerCrashed, DeviceError), match=r"ended by SIG|hiprtc.compile"):
        session.run(session.queue("q", matmul(8)), duration="1s")

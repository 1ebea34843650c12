"""What the doctor reads of a GPU's load, memory and clocks: NVIDIA's library, AMD's files."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from pytest_xsched.doctor.finding import FAILED, OK, SKIPPED
from pytest_xsched.doctor.gpu_idle import check_gpu, used_bytes


@pytest.fixture
def without_package(monkeypatch, tmp_path):
    """Makes the package nvidia-ml-py one that cannot be imported, here and in child processes."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pynvml.py").write_text("raise ImportError('hidden by a test')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.fixture
def card(tmp_path):
    """Makes a card of amdgpu in a tree like sysfs."""

    def make(name="card0", percent="0", clocks="0: 132Mhz\n1: 2100Mhz *\n"):
        device = tmp_path / "bus" / "pci" / "devices" / f"0000:0{name[-1]}:00.0"
        device.mkdir(parents=True)
        (device / "gpu_busy_percent").write_text(f"{percent}\n")
        (device / "mem_info_vram_used").write_text(f"{3 << 30}\n")
        (device / "mem_info_vram_total").write_text(f"{192 << 30}\n")
        (device / "pp_dpm_sclk").write_text(clocks)
        (tmp_path / "class" / "drm" / name).mkdir(parents=True)
        (tmp_path / "class" / "drm" / name / "device").symlink_to(device)

    return make


def check(kind, sys=None):
    return check_gpu(kind, os.environ, **({} if sys is None else {"sys": sys}))


def test_an_nvidia_gpu_at_rest(fake_nvml):
    fake_nvml(load="0", memory="4 81559", clock="345 1980", pids="")

    found = check("cuda")

    assert found.status == OK
    assert found.seen == (
        "GPU 0 (NVIDIA H100 80GB HBM3) is idle, 4 of 81559 MiB used, clock 345 MHz of 1980"
    )


def test_an_nvidia_gpu_with_another_tenant(fake_nvml):
    fake_nvml(load="100 0", memory="1400 81559", clock="1980 1980", pids="750:1386")

    found = check("cuda")

    assert found.status == FAILED
    assert found.seen == "GPU 0 is at 100 %; process 750 (python3) has 1386 MiB"
    assert found.remedy


def test_a_process_that_waits_on_an_idle_gpu_is_a_tenant(fake_nvml):
    fake_nvml(load="0", pids="750:1386 751")

    assert check("cuda").seen == (
        "process 750 (python3) has 1386 MiB; process 751 has the GPU open"
    )


def test_a_library_that_is_not_there():
    pytest.importorskip("pynvml")

    found = check("cuda")

    assert found.status == SKIPPED
    assert found.seen == (
        "load, memory and clocks of the GPU are not known: NVML cannot be used: NVML Shared "
        "Library Not Found"
    )


def test_without_the_package_it_says_how_to_install_it(without_package, fake_nvml, tmp_path):
    found = check("cuda")

    assert found.status == SKIPPED
    assert found.seen == (
        "load, memory and clocks of the GPU are not known: the package nvidia-ml-py is not "
        "installed (pip install 'pytest-xsched[nvidia]')"
    )


def test_amd_gpus(card, tmp_path):
    card("card0")
    card("card1", percent="87")

    found = check("hip", sys=tmp_path)

    assert found.status == FAILED
    assert found.seen == "card1 is at 87 %, 3072 of 196608 MiB used, clock 2100 MHz"


def test_an_amd_gpu_at_rest(card, tmp_path):
    card(clocks="")

    found = check("hip", sys=tmp_path)

    assert (found.status, found.remedy) == (OK, "")
    assert found.seen == "card0 is at 0 %, 3072 of 196608 MiB used, clock unknown"


def test_an_amd_gpu_where_no_kind_is_known(without_package, card, tmp_path):
    card()
    assert check(None, sys=tmp_path).status == OK


def test_no_gpu(without_package, tmp_path):
    found = check(None, sys=tmp_path)
    assert found.status == SKIPPED
    assert found.seen.startswith("load, memory and clocks of a GPU are not known: /sys/class/drm")


def test_memory_of_an_nvidia_gpu(monkeypatch, built):
    pynvml = pytest.importorskip("pynvml")
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(built("fake_nvml.c"))))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setenv("FAKE_NVML_MEMORY", "529 81559")
    assert used_bytes("0000:1b:00.0") == 529 << 20
    monkeypatch.setenv("FAKE_NVML_GPU", "0000:99:00.0")
    assert used_bytes("0000:1b:00.0") is None


def test_memory_of_a_gpu_that_nobody_knows(without_package):
    assert used_bytes("0000:1b:00.0") is None


def test_memory_of_an_amd_gpu(card, tmp_path):
    card("card3")
    assert used_bytes("0000:03:00.0", sys=tmp_path) == 3 << 30

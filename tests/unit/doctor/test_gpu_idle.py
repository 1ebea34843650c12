"""What the doctor reads of a GPU's load, memory and clocks: NVIDIA's tool, AMD's files."""

from __future__ import annotations

import pytest

from pytest_xsched.doctor.finding import FAILED, OK, SKIPPED
from pytest_xsched.doctor.gpu_idle import check_gpu, used_bytes


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """Leaves no tool on the path; gives a directory for them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def nvidia_smi(nothing):
    """Makes a tool that prints one text about the GPUs and another about processes."""

    def make(gpus, apps="", status=0):
        tool = nothing / "nvidia-smi"
        tool.write_text(
            f'#!/bin/sh\ncase "$1" in *compute-apps*) printf "%s" "{apps}";; '
            f'*) printf "%s" "{gpus}";; esac\nexit {status}\n'
        )
        tool.chmod(0o755)

    return make


@pytest.fixture
def card(tmp_path):
    """Makes a card of amdgpu in a tree like sysfs."""

    def make(name="card0", percent="0", clocks="0: 132Mhz\n1: 2100Mhz *\n"):
        device = tmp_path / "drm" / name / "device"
        device.mkdir(parents=True)
        (device / "gpu_busy_percent").write_text(f"{percent}\n")
        (device / "mem_info_vram_used").write_text(f"{3 << 30}\n")
        (device / "mem_info_vram_total").write_text(f"{192 << 30}\n")
        (device / "pp_dpm_sclk").write_text(clocks)

    return make


def test_an_nvidia_gpu_at_rest(nvidia_smi):
    nvidia_smi("0, NVIDIA H100 80GB HBM3, 0, 4, 81559, 345, 1980\n")

    found = check_gpu("cuda")

    assert found.status == OK
    assert found.seen == (
        "GPU 0 (NVIDIA H100 80GB HBM3) is idle, 4 of 81559 MiB used, 345 of 1980 MHz"
    )


def test_an_nvidia_gpu_with_another_tenant(nvidia_smi):
    nvidia_smi(
        "0, H100, 100, 1400, 81559, 1980, 1980\n1, H100, 0, 4, 81559, 345, 1980\n",
        "750, python3, 1386\n",
    )

    found = check_gpu("cuda")

    assert found.status == FAILED
    assert found.seen == "GPU 0 is at 100 %; process 750 (python3) has 1386 MiB"
    assert found.remedy


def test_a_process_that_waits_on_an_idle_gpu_is_a_tenant(nvidia_smi):
    nvidia_smi("0, H100, 0, 1400, 81559, 1980, 1980\n", "750, python3, 1386\n")

    assert check_gpu("cuda").seen == "process 750 (python3) has 1386 MiB"


def test_a_tool_that_fails(nvidia_smi):
    nvidia_smi("", status=9)

    found = check_gpu("cuda")

    assert found.status == SKIPPED
    assert "nvidia-smi" in found.seen and "exit status 9" in found.seen


def test_amd_gpus(nothing, card, tmp_path):
    card("card0")
    card("card1", percent="87")

    found = check_gpu("hip", sys=tmp_path / "drm")

    assert found.status == FAILED
    assert found.seen == "card1 is at 87 %, 3072 of 196608 MiB used, clock 2100Mhz"


def test_an_amd_gpu_at_rest(nothing, card, tmp_path):
    card(clocks="")

    found = check_gpu("hip", sys=tmp_path / "drm")

    assert (found.status, found.remedy) == (OK, "")
    assert found.seen == "card0 is at 0 %, 3072 of 196608 MiB used, clock unknown"


def test_no_gpu(nothing, tmp_path):
    assert check_gpu(None, sys=tmp_path / "drm").status == SKIPPED


def test_memory_of_an_nvidia_gpu(nvidia_smi):
    nvidia_smi("529\n")
    assert used_bytes("0000:1b:00.0") == 529 << 20


def test_memory_of_a_gpu_that_nobody_knows(nvidia_smi, nothing):
    assert used_bytes("0000:1b:00.0") is None
    nvidia_smi("No devices were found\n", status=6)
    assert used_bytes("0000:1b:00.0") is None


def test_memory_of_an_amd_gpu(nothing, tmp_path):
    device = tmp_path / "pci" / "0000:03:00.0"
    device.mkdir(parents=True)
    (device / "gpu_busy_percent").write_text("0\n")
    (device / "mem_info_vram_used").write_text(f"{3 << 30}\n")
    (tmp_path / "drm" / "card0").mkdir(parents=True)
    (tmp_path / "drm" / "card0" / "device").symlink_to(device)
    assert used_bytes("0000:03:00.0", sys=tmp_path / "drm") == 3 << 30

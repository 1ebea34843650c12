"""Who else is on a GPU: NVIDIA's library as a double, AMD's files and /proc made up."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from pytest_xsched.base.constants import POWER_CAP
from pytest_xsched.monitoring.gpu_monitor import (
    AmdMonitor,
    GpuState,
    monitor_of,
    split_processes,
)
from pytest_xsched.monitoring.noise import GpuReadings, Readings, unite_gpus, unite_readings
from pytest_xsched.monitoring.sampler import Sampler
from pytest_xsched.system.nvidia_gpu import SLOWDOWN_REASONS, NvidiaGpu, nvidia_gpu_count

PCI = "0000:1b:00.0"
MS = 10**6
S = 10**9


# ---- NVIDIA


@pytest.fixture(params=[(), ("-DOLD",)], ids=["now", "before 535"])
def nvml(request, built, monkeypatch):
    """Puts the double under the package nvidia-ml-py, and sets what it reports."""
    pynvml = pytest.importorskip("pynvml")
    flags = ("-shared", "-fPIC", *request.param)
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(built("fake_nvml.c", flags=flags))))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def report(**values):
        for name in ("GPU", "CLOCK", "REASONS", "PIDS", "MEMORY", "LOAD"):
            monkeypatch.delenv(f"FAKE_NVML_{name}", raising=False)
        for name, value in values.items():
            monkeypatch.setenv(f"FAKE_NVML_{name.upper()}", str(value))

    report()
    return report


def test_what_nvml_reports(nvml):
    nvml(gpu=PCI, clock=1755, reasons=hex(0x4 | 0x40), pids="self 750 751")
    assert monitor_of("cuda", PCI).read() == GpuState(
        clock_mhz=1755,
        slowdown_reasons=("power cap", "thermal slowdown"),
        processes=(os.getpid(), 750, 751),
    )


def test_of_a_gpu_in_parts_only_ours_counts(nvml):
    nvml(pids="749/1 self/2 750/2 751/3")
    assert NvidiaGpu(PCI).processes_on_own_part() == (os.getpid(), 750)
    nvml(pids="749/1 750/2")
    assert NvidiaGpu(PCI).processes_on_own_part() == (749, 750)


def test_at_rest_nothing_is_held_down_and_nobody_there(nvml):
    nvml(clock=345, reasons=hex(0x1 | 0x2 | 0x100), pids="")
    assert NvidiaGpu(PCI).slowdown_reasons() == ()
    assert NvidiaGpu(PCI).processes() == ()


def test_what_it_does_not_report_is_none(nvml):
    assert monitor_of("cuda", PCI).read() == GpuState()
    nvml(pids=" ".join(map(str, range(1, 400))))
    assert NvidiaGpu(PCI).processes_on_own_part() == tuple(range(1, 400))
    assert NvidiaGpu(PCI).memory_bytes() is None and NvidiaGpu(PCI).load_percent() is None


def test_of_every_gpu_by_its_index(nvml):
    nvml(load="100 3", memory="4 81559", clock="345 1980", pids="750:1386 751")
    assert nvidia_gpu_count() == 2
    assert [NvidiaGpu(i).load_percent() for i in (0, 1)] == [100, 3]
    gpu = NvidiaGpu(0)
    assert gpu.name() == "NVIDIA H100 80GB HBM3"
    assert (gpu.clock_mhz(), gpu.max_clock_mhz()) == (345, 1980)
    assert gpu.memory_bytes() == (4 << 20, 81559 << 20)
    assert [one.memory_bytes for one in gpu.processes()] == [1386 << 20, None]
    assert [gpu.process_name(one.pid) for one in gpu.processes()] == ["python3", ""]


def test_a_gpu_that_it_does_not_know(nvml):
    nvml(gpu="0000:99:00.0")
    assert monitor_of("cuda", PCI).read() == GpuState(
        unknown=f"clock and other processes of the GPU {PCI} are not known: NVML does not know the "
        f"GPU {PCI}: Not Found"
    )


def test_without_the_package_it_says_what_is_not_known_and_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert monitor_of("cuda", PCI).read() == GpuState(
        unknown=f"clock and other processes of the GPU {PCI} are not known: the package "
        "nvidia-ml-py is not installed (pip install 'pytest-xsched[nvidia]')"
    )


def test_without_the_library_it_says_so(monkeypatch):
    pynvml = pytest.importorskip("pynvml")

    def refuse():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert (
        monitor_of("cuda", PCI)
        .read()
        .unknown.endswith("NVML cannot be used: NVML Shared Library Not Found")
    )


def test_what_is_no_gpu_has_no_monitor():
    assert monitor_of("cpu", "") is None
    assert monitor_of("cuda", "") is None


# ---- AMD: no AMD GPU was ever asked


@pytest.fixture
def sysfs(tmp_path):
    """Makes a tree like that of amdgpu with a GPU at PCI."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    nodes = "class/kfd/kfd/topology/nodes"
    write(f"{nodes}/0/gpu_id", "0")  # the CPU
    write(f"{nodes}/0/properties", "location_id 0\ndomain 0")
    write(f"{nodes}/1/gpu_id", "4711")
    write(f"{nodes}/1/properties", "simd_count 304\nlocation_id 6912\ndomain 0")
    write(f"bus/pci/devices/{PCI}/pp_dpm_sclk", "0: 132Mhz\n1: 2100Mhz *")
    write.root = tmp_path
    return write


def test_what_the_files_of_amd_say(sysfs):
    for pid, queue, gpu in ((10, 0, 4711), (10, 1, 4711), (11, 0, 999), (12, 3, 4711)):
        sysfs(f"class/kfd/kfd/proc/{pid}/queues/{queue}/gpuid", gpu)
    sysfs("class/kfd/kfd/proc/13/pasid", 32770)  # has it open, and no queue
    sysfs("class/kfd/kfd/proc/14/queues/0/gpuid", "?")
    assert AmdMonitor(PCI, sysfs.root).read() == GpuState(clock_mhz=2100, processes=(10, 12))


def test_a_gpu_that_the_files_do_not_know(sysfs, tmp_path):
    assert AmdMonitor("0000:1c:00.0", sysfs.root).read() == GpuState()
    assert AmdMonitor(PCI, tmp_path / "nothing").read() == GpuState()


# ---- strangers


@pytest.fixture
def proc(tmp_path):
    """Makes processes: id, parent, name."""

    def make(*processes):
        for pid, parent, name in processes:
            directory = tmp_path / "proc" / str(pid)
            directory.mkdir(parents=True)
            (directory / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\n")
            (directory / "comm").write_text(f"{name}\n")
        return tmp_path / "proc"

    return make


def test_who_is_not_of_the_family_is_a_stranger(proc):
    there = proc(
        (1, 0, "init"),
        (100, 1, "pytest"),
        (101, 100, "python3"),  # this worker
        (102, 100, "sh"),
        (103, 102, "serve"),  # a program that the test started
        (200, 1, "python3"),
        (300, 1, "nvidia-cuda-mps-server"[:15]),
    )
    on_gpu = (101, 103, 200, 300, 999)
    ours = (101, 102, 103)  # the shell is none of them, but its child is
    strangers = ("process 200 (python3)", "process 999")
    assert split_processes(on_gpu, 101, 100, there) == (ours, strangers)
    assert split_processes((100, 101), 101, 100, there) == ((101,), ())


def test_who_does_not_find_itself_knows_no_stranger(proc):
    """In a container the driver may count processes as the host does."""
    there = proc((100, 1, "pytest"), (101, 100, "python3"))
    assert split_processes((5101, 750), 101, 100, there) == ((), ())
    assert split_processes((), 101, 100, there) == ((), ())
    assert split_processes(None, 101, 100, there) == ((), ())


# ---- over a window


class MadeUpMonitor:
    """Gives what it was made of, one after the other."""

    def __init__(self, *states):
        self.states = list(states)

    def read(self):
        return self.states.pop(0)


def test_a_gpu_is_looked_at_twice_a_second_in_the_window(tmp_path):
    gpu = MadeUpMonitor(
        GpuState(clock_mhz=1980, slowdown_reasons=()),
        GpuState(clock_mhz=1755, slowdown_reasons=(POWER_CAP,), processes=(os.getpid(), 4194305)),
        GpuState(clock_mhz=900, slowdown_reasons=(POWER_CAP, SLOWDOWN_REASONS[0x40])),
        GpuState(),
    )
    sampler = Sampler(
        [],
        on_host=False,
        warmup_ns=S,
        duration_ns=20 * S,
        gpus=[gpu],
        proc=tmp_path,
        cgroup=tmp_path,
    )
    # 0.5 s is in the warm-up, and 1.6 s too soon behind 1.5 s; 3 s is behind two blocks.
    for now_ms in (500, 1500, 1600, 2500, 3400):
        sampler.poll(now_ms * MS)
    assert sampler.readings().slowdown == (0, 1, 1) + (0,) * 17
    sampler.poll(3500 * MS, last=True)

    assert gpu.states == []
    assert sampler.readings().gpu == GpuReadings(
        clock_mhz=(900, 1980),
        reasons=("power cap", "thermal slowdown"),
        ours=(os.getpid(),),
        strangers=("process 4194305",),
    )


def test_readings_of_gpus_unite_and_are_said():
    first = GpuReadings(clock_mhz=(1755, 1980), reasons=("power cap",), strangers=("process 1",))
    second = GpuReadings(clock_mhz=(1700, 1800), reasons=("power cap", "power brake"))
    both = unite_gpus([first, None, second])
    assert both == GpuReadings(
        clock_mhz=(1700, 1980), reasons=("power cap", "power brake"), strangers=("process 1",)
    )
    assert str(both) == "1700 to 1980 MHz, power cap, power brake"
    assert str(GpuReadings(clock_mhz=(1980, 1980))) == "1980 MHz"
    assert str(GpuReadings()) == "" and unite_gpus([None]) is None
    readings = Readings(block_ns=S, on_host=False, slowdown=(0, 1), gpu=first)
    assert Readings.from_dict(readings.to_dict()) == readings
    other = Readings(block_ns=S, on_host=False, slowdown=(1, 0), gpu=second)
    assert unite_readings([readings, other]) == Readings(
        block_ns=S, on_host=False, slowdown=(1, 1), gpu=both
    )

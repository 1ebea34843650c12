"""An NVIDIA GPU as the package nvidia-ml-py describes it: clocks, memory, load, processes.

The package loads NVIDIA's management library (NVML). Only workers and the doctor's probes use this
module, so pytest's own process never loads that library because of this plugin.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

from pytest_xsched.base.constants import POWER_CAP

INSTALL = "pip install 'pytest-xsched[nvidia]'"
"""The command that installs the package."""

SLOWDOWN_REASONS = {
    0x4: POWER_CAP,
    0x8: "hardware slowdown",
    0x20: "thermal slowdown by the driver",
    0x40: "thermal slowdown",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReasons. Left out: idle, a setting of the user, a display."""


class NvmlUnavailable(Exception):
    """NVML does not describe the GPU; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that computes on a GPU.

    Attributes:
        pid: its id, as the driver counts processes.
        memory_bytes: memory of the GPU that it uses; None: unknown.
        part: number of the part of a GPU (MIG) that it uses; None: the GPU has no parts.
    """

    pid: int
    memory_bytes: int | None
    part: int | None


class NvidiaGpu:
    """One GPU. Each method returns None where the driver does not support the query.

    Args:
        gpu: PCI id, ``"0000:1b:00.0"``, or index.

    Raises:
        NvmlUnavailable: the package or the library is missing, or does not know the GPU.
    """

    def __init__(self, gpu: str | int) -> None:
        self._nvml = _load()
        find = "PciBusId" if isinstance(gpu, str) else "Index"
        try:
            self._handle = getattr(self._nvml, f"nvmlDeviceGetHandleBy{find}")(gpu)
        except self._nvml.NVMLError as error:
            raise NvmlUnavailable(f"NVML does not know the GPU {gpu}: {error}") from None

    def _query(self, *names: str, arguments: tuple[int, ...] = ()) -> Any:
        """Return the answer of the first function that the package and the driver have, or None."""
        for name in names:
            function = getattr(self._nvml, name, None)
            if function is None:
                continue
            try:
                return function(self._handle, *arguments)
            except self._nvml.NVMLError_FunctionNotFound:
                continue
            except self._nvml.NVMLError:
                return None
        return None

    def name(self) -> str | None:
        """Return the name of the model."""
        name: str | None = self._query("nvmlDeviceGetName")
        return name

    def clock_mhz(self) -> int | None:
        """Return the current clock of the multiprocessors."""
        return self._clock_mhz("nvmlDeviceGetClockInfo")

    def max_clock_mhz(self) -> int | None:
        """Return the highest clock of the multiprocessors."""
        return self._clock_mhz("nvmlDeviceGetMaxClockInfo")

    def _clock_mhz(self, name: str) -> int | None:
        clock: int | None = self._query(name, arguments=(self._nvml.NVML_CLOCK_SM,))
        return clock

    def slowdown_reasons(self) -> tuple[str, ...] | None:
        """Return what holds the clocks down at this moment: some of `SLOWDOWN_REASONS`."""
        bits = self._query(
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",  # its name in drivers before 535
        )
        if bits is None:
            return None
        return tuple(name for bit, name in SLOWDOWN_REASONS.items() if bits & bit)

    def load_percent(self) -> int | None:
        """Return the share of the last sampling period in which a kernel ran."""
        rates = self._query("nvmlDeviceGetUtilizationRates")
        return None if rates is None else int(rates.gpu)

    def memory_bytes(self) -> tuple[int, int] | None:
        """Return how much memory all processes use, and how much there is."""
        memory = self._query("nvmlDeviceGetMemoryInfo")
        return None if memory is None else (int(memory.used), int(memory.total))

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Return the processes with a context on the GPU."""
        found = self._query(
            "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"
        )
        if found is None:
            return None
        return tuple(
            GpuProcess(
                pid=one.pid,
                memory_bytes=one.usedGpuMemory,
                part=None if one.gpuInstanceId == 0xFFFFFFFF else one.gpuInstanceId,
            )
            for one in found
        )

    def process_name(self, pid: int) -> str:
        """Return the path of the program of a process on the GPU, or ''."""
        try:
            name: str = self._nvml.nvmlSystemGetProcessName(pid)
        except self._nvml.NVMLError:
            return ""
        return name

    def processes_on_own_part(self) -> tuple[int, ...] | None:
        """Return the ids of the processes on the part of the GPU (MIG) that this process uses.

        Returns all processes where the GPU has no parts or this process is on none of them.
        """
        found = self.processes()
        if found is None:
            return None
        own = {one.part for one in found if one.pid == os.getpid()}
        return tuple(one.pid for one in found if not own or one.part in own)


def nvidia_gpu_count() -> int:
    """Return the number of NVIDIA GPUs.

    Raises:
        NvmlUnavailable: the package or the library is missing.
    """
    nvml = _load()
    try:
        return int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError as error:
        raise NvmlUnavailable(f"NVML does not count the GPUs: {error}") from None


def _load() -> Any:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        raise NvmlUnavailable(f"the package nvidia-ml-py is not installed ({INSTALL})") from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NvmlUnavailable(f"NVML cannot be used: {error}") from None
    return nvml

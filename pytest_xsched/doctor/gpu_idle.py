"""Is the GPU idle, and at which clocks and memory? From NVML and from sysfs (check 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_xsched.doctor.finding import Finding, failed, ok, skipped
from pytest_xsched.doctor.subprocesses import start_module
from pytest_xsched.system.amd_gpu import AmdGpu, amd_gpus
from pytest_xsched.system.nvidia_gpu import NvidiaGpu, NvmlUnavailable

BUSY_PERCENT = 5
"""A desktop's GPU shows a few percent without any work."""
LIMIT_S = 3.0

_SYS = Path("/sys")
_REMEDY = (
    "end what runs there, or measure on another GPU: a second tenant is in every figure, and "
    "differs from run to run"
)
_BY_HAND = "make sure by hand that nothing else runs on the GPU"


def check_gpu(kind: str | None, environment: Mapping[str, str], *, sys: Path = _SYS) -> Finding:
    """Check 11: does anything else use the GPU?

    Args:
        kind: of the device that is checked; None: no driver was found.
        environment: of pytest's process.
        sys: where sysfs is mounted.
    """
    unavailable = ""
    if kind != "hip":
        gpus, unavailable = _nvidia_gpus(environment)
        if gpus:
            return _nvidia(gpus)
    if kind == "cuda":
        return skipped(f"load, memory and clocks of the GPU are not known: {unavailable}", _BY_HAND)
    if cards := amd_gpus(sys):
        return _amd(cards)
    return skipped(
        "load, memory and clocks of a GPU are not known: /sys/class/drm has no card of amdgpu"
        + (f", and {unavailable}" if unavailable else ""),
        _BY_HAND,
    )


def used_bytes(pci_id: str, *, sys: Path = _SYS) -> int | None:
    """Return how much memory of a GPU all processes use; None: unknown.

    Args:
        pci_id: of the GPU, ``"0000:1b:00.0"``.
        sys: where sysfs is mounted.
    """
    memory = AmdGpu(pci_id, sys).memory_bytes()
    if memory is None:
        try:
            memory = NvidiaGpu(pci_id).memory_bytes()
        except NvmlUnavailable:
            return None
    return None if memory is None else memory[0]


def _nvidia_gpus(environment: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
    """Return what NVML reports of each GPU, or why it reports nothing."""
    ended = start_module("pytest_xsched.doctor.nvidia_probe", environment, LIMIT_S).end()
    if ended.answer is None:
        return [], f"the process that asks NVML {ended.end_phrase}{ended.last_line}"
    gpus = ended.answer.get("gpus", [])
    return gpus, ended.answer.get("unavailable", "" if gpus else "NVML counts no GPU")


def _nvidia(gpus: Sequence[Mapping[str, Any]]) -> Finding:
    busy, idle = [], []
    for index, gpu in enumerate(gpus):
        if (gpu["load_percent"] or 0) > BUSY_PERCENT:
            busy.append(f"GPU {index} is at {gpu['load_percent']} %")
        idle.append(
            f"GPU {index} ({gpu['name']}) is idle, {_memory(gpu['memory_bytes'])}, "
            f"{_mhz(gpu['clock_mhz'])}"
            + (f" of {gpu['max_clock_mhz']}" if gpu["max_clock_mhz"] else "")
        )
    for process in (process for gpu in gpus for process in gpu["processes"]):
        name = f" ({process['name']})" if process["name"] else ""
        used = process["memory_bytes"]
        has = "has the GPU open" if used is None else f"has {used >> 20} MiB"
        busy.append(f"process {process['pid']}{name} {has}")
    return failed("; ".join(busy), _REMEDY) if busy else ok("; ".join(idle))


def _amd(cards: Mapping[str, AmdGpu]) -> Finding:
    busy, shown = [], []
    for name, gpu in cards.items():
        percent = gpu.load_percent()
        load = "load unknown" if percent is None else f"is at {percent} %"
        shown.append(f"{name} {load}, {_memory(gpu.memory_bytes())}, {_mhz(gpu.clock_mhz())}")
        if (percent or 0) > BUSY_PERCENT:
            busy.append(shown[-1])
    return failed("; ".join(busy), _REMEDY) if busy else ok("; ".join(shown))


def _memory(memory: Sequence[int] | None) -> str:
    if memory is None:
        return "memory unknown"
    used, total = memory
    return f"{used >> 20} of {total >> 20} MiB used"


def _mhz(clock: int | None) -> str:
    return "clock unknown" if clock is None else f"clock {clock} MHz"

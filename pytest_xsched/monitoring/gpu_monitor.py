"""Which processes compute on a GPU, and at which clock it runs: of NVIDIA's and of AMD's GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_xsched.system.amd_gpu import AmdGpu
from pytest_xsched.system.nvidia_gpu import NvidiaGpu, NvmlUnavailable
from pytest_xsched.system.process_tree import ancestry

_PROC = Path("/proc")
_MPS_SERVER = "nvidia-cuda-mps"
"""How the name of the server begins through which processes share an NVIDIA GPU. It computes
nothing itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """A GPU at one moment; None: unknown.

    Attributes:
        clock_mhz: of its multiprocessors.
        slowdown_reasons: what holds the clock down; see `nvidia_gpu.SLOWDOWN_REASONS`.
        processes: ids of those that compute there.
        unknown: why nothing is known of it, as a sentence, or "".
    """

    clock_mhz: int | None = None
    slowdown_reasons: tuple[str, ...] | None = None
    processes: tuple[int, ...] | None = None
    unknown: str = ""


class GpuMonitor(Protocol):
    """Reads the state of one GPU."""

    def read(self) -> GpuState:
        """Return its state at this moment."""


class NvidiaMonitor:
    """Reads the state of an NVIDIA GPU; arguments and errors are those of `NvidiaGpu`."""

    def __init__(self, pci_id: str) -> None:
        self._gpu = NvidiaGpu(pci_id)

    def read(self) -> GpuState:
        """Return its state at this moment."""
        return GpuState(
            clock_mhz=self._gpu.clock_mhz(),
            slowdown_reasons=self._gpu.slowdown_reasons(),
            processes=self._gpu.processes_on_own_part(),
        )


class AmdMonitor:
    """Reads the state of an AMD GPU; arguments are those of `AmdGpu`."""

    def __init__(self, pci_id: str, sys: Path = Path("/sys")) -> None:
        self._gpu = AmdGpu(pci_id, sys)

    def read(self) -> GpuState:
        """Return its state at this moment."""
        return GpuState(clock_mhz=self._gpu.clock_mhz(), processes=self._gpu.processes())


class UnknownMonitor:
    """Stands for a GPU whose state cannot be read."""

    def __init__(self, reason: str) -> None:
        self._state = GpuState(unknown=reason)

    def read(self) -> GpuState:
        """Return a state that says why nothing is known."""
        return self._state


def monitor_of(kind: str, pci_id: str) -> GpuMonitor | None:
    """Return a monitor for a device; None: the device is no GPU, or has no PCI id.

    Args:
        kind: one of `constants.DEVICES`.
        pci_id: ``"0000:1b:00.0"``, or "".
    """
    if kind == "cuda" and pci_id:
        try:
            return NvidiaMonitor(pci_id)
        except NvmlUnavailable as error:
            return UnknownMonitor(
                f"clock and other processes of the GPU {pci_id} are not known: {error}"
            )
    if kind == "hip" and pci_id:
        return AmdMonitor(pci_id)
    return None


def split_processes(
    processes: tuple[int, ...] | None, own: int, family: int, proc: Path = _PROC
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Split the processes on a GPU into those of the run and strangers.

    Both are empty where this process is not among them: then the driver counts processes in
    another namespace, and strangers cannot be distinguished.

    Args:
        processes: see `GpuState`.
        own: id of this process, which has the GPU open.
        family: a process; it and all its descendants belong to the run.
        proc: where the kernel shows processes.

    Returns:
        Ids of the processes of the run and of their ancestors within the family; and strangers by
        number and name.
    """
    if processes is None or own not in processes:
        return (), ()
    ours, strangers = {own}, []
    for process in sorted(set(processes) - {own}):
        name = _name(process, proc)
        line = ancestry(process, proc)
        if family in line:
            ours |= set(line[: line.index(family)])
        elif not name.startswith(_MPS_SERVER):
            strangers.append(f"process {process}" + (f" ({name})" if name else ""))
    return tuple(sorted(ours)), tuple(strangers)


def _name(process: int, proc: Path) -> str:
    try:
        return (proc / str(process) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

"""Who else computes on a GPU, and at which clock it runs: through NVML, or of AMD's through sysfs.

What is here for AMD has met no AMD GPU, only a made-up tree like that of its kernel driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_xsched.monitoring.environment import pci_facts
from pytest_xsched.system.nvml import Nvml
from pytest_xsched.system.process_tree import ancestry

_PROC = Path("/proc")
_SYS = Path("/sys")
_SHARED = "nvidia-cuda-mps"
"""How the name of the server begins through which NVIDIA's clients share a GPU; it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A GPU at one moment; None: it does not tell.

    Attributes:
        clock_mhz: of its multiprocessors.
        reasons: what holds the clock down; see `nvml.REASONS`.
        processes: ids of those that have it open for computing.
    """

    clock_mhz: int | None = None
    reasons: tuple[str, ...] | None = None
    processes: tuple[int, ...] | None = None


class Watch(Protocol):
    """Whatever gives glances at one GPU."""

    def glance(self) -> Glance:
        """Look at it, now."""


class NvidiaWatch:
    """An NVIDIA GPU; arguments and errors are those of `Nvml`."""

    def __init__(self, pci_id: str) -> None:
        self._nvml = Nvml(pci_id)

    def glance(self) -> Glance:
        """Look at it, now."""
        return Glance(
            clock_mhz=self._nvml.clock_mhz(),
            reasons=self._nvml.reasons(),
            processes=self._nvml.processes(),
        )


class AmdWatch:
    """An AMD GPU, by its PCI id, through the files of its kernel driver."""

    def __init__(self, pci_id: str, sys: Path = _SYS) -> None:
        self._pci_id = pci_id
        self._sys = sys
        self._gpu_id = _kfd_gpu_id(pci_id, sys)

    def glance(self) -> Glance:
        """Look at it, now."""
        clock_mhz = pci_facts(self._pci_id, self._sys)["core_clock_mhz"]
        return Glance(clock_mhz=clock_mhz, processes=self._processes())

    def _processes(self) -> tuple[int, ...] | None:
        """Give those with a queue on it. A process has a directory even without one."""
        if self._gpu_id is None:
            return None
        found = set()
        for file in (self._sys / "class/kfd/kfd/proc").glob("[0-9]*/queues/*/gpuid"):
            try:
                if int(file.read_text(encoding="ascii")) == self._gpu_id:
                    found.add(int(file.parents[2].name))
            except (OSError, ValueError):
                continue  # the queue is gone
        return tuple(sorted(found))


def watch_gpu(kind: str, pci_id: str) -> Watch | None:
    """Give a watch for a device; None: there is none for this one."""
    if kind == "cuda" and pci_id:
        try:
            return NvidiaWatch(pci_id)
        except OSError:
            return None
    if kind == "hip" and pci_id:
        return AmdWatch(pci_id)
    return None


def tell_apart(
    processes: tuple[int, ...] | None, own: int, family: int, proc: Path = _PROC
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Tell the processes of the run on a GPU from strangers.

    Nobody is either, where this process is not among them: then the driver counts in another
    namespace of process ids, and nobody can be told from us.

    Args:
        processes: see `Glance`.
        own: id of this process, which has the GPU open.
        family: a process all of whose descendants belong to the run, itself among them.
        proc: where the kernel shows processes.

    Returns:
        Ids of those of the family and of all that they descend from within it, and strangers by
        number and name.
    """
    if processes is None or own not in processes:
        return (), ()
    ours, strangers = {own}, []
    for process in sorted(set(processes) - {own}):
        name = _read(proc / str(process) / "comm")
        line = ancestry(process, proc)
        if family in line:
            ours |= set(line[: line.index(family)])
        elif not name.startswith(_SHARED):
            strangers.append(f"process {process}" + (f" ({name})" if name else ""))
    return tuple(sorted(ours)), tuple(strangers)


def _kfd_gpu_id(pci_id: str, sys: Path) -> int | None:
    """Find what the kernel's driver calls a GPU."""
    domain, bus, rest = pci_id.split(":")
    device, _, function = rest.partition(".")
    location = int(bus, 16) << 8 | int(device, 16) << 3 | int(function or "0", 16)
    for node in sorted((sys / "class/kfd/kfd/topology/nodes").glob("*")):
        lines = [line.split() for line in _read(node / "properties").splitlines()]
        known = {line[0]: line[1] for line in lines if len(line) == 2}
        place = (known.get("domain", "0"), known.get("location_id"))
        gpu_id = _read(node / "gpu_id")
        if place == (str(int(domain, 16)), str(location)) and gpu_id.isdecimal():
            return int(gpu_id) or None
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

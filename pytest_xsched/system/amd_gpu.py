"""An AMD GPU as its kernel driver, amdgpu, describes it in sysfs: clocks, memory, load, processes.

No AMD GPU has been available to this project: the tests use a made-up tree of such files.
"""

from __future__ import annotations

import re
from pathlib import Path

_SYS = Path("/sys")


class AmdGpu:
    """One GPU. Each method returns None where there is no such file.

    Args:
        pci_id: ``"0000:1b:00.0"``, in any case.
        sys: where sysfs is mounted.
    """

    def __init__(self, pci_id: str, sys: Path = _SYS) -> None:
        self.pci_id = pci_id.lower()
        self._device = sys / "bus" / "pci" / "devices" / self.pci_id
        self._kfd = sys / "class" / "kfd" / "kfd"

    def clock_mhz(self) -> int | None:
        """Return the current clock of the compute units."""
        return _current_mhz(_read(self._device / "pp_dpm_sclk"))

    def memory_clock_mhz(self) -> int | None:
        """Return the current clock of the memory."""
        return _current_mhz(_read(self._device / "pp_dpm_mclk"))

    def partition(self) -> str | None:
        """Return how the GPU is partitioned, ``"SPX/NPS1"``."""
        parts = [
            _read(self._device / f"current_{what}_partition") for what in ("compute", "memory")
        ]
        return "/".join(part for part in parts if part) or None

    def load_percent(self) -> int | None:
        """Return how busy the GPU is."""
        return _number(self._device / "gpu_busy_percent")

    def memory_bytes(self) -> tuple[int, int] | None:
        """Return how much memory all processes use, and how much there is."""
        used = _number(self._device / "mem_info_vram_used")
        total = _number(self._device / "mem_info_vram_total")
        return None if used is None or total is None else (used, total)

    def processes(self) -> tuple[int, ...] | None:
        """Return the ids of the processes with a queue on the GPU.

        A process that has opened the GPU has a directory there even without a queue.
        """
        gpu_id = self._kfd_gpu_id()
        if gpu_id is None:
            return None
        found = set()
        for file in (self._kfd / "proc").glob("[0-9]*/queues/*/gpuid"):
            if _number(file) == gpu_id:  # None: the queue is gone
                found.add(int(file.parents[2].name))
        return tuple(sorted(found))

    def _kfd_gpu_id(self) -> int | None:
        """Return the number by which the compute driver (kfd) knows the GPU."""
        domain, bus, rest = self.pci_id.split(":")
        device, _, function = rest.partition(".")
        location = int(bus, 16) << 8 | int(device, 16) << 3 | int(function or "0", 16)
        for node in sorted((self._kfd / "topology" / "nodes").glob("*")):
            lines = [line.split() for line in (_read(node / "properties") or "").splitlines()]
            known = {line[0]: line[1] for line in lines if len(line) == 2}
            place = (known.get("domain", "0"), known.get("location_id"))
            if place == (str(int(domain, 16)), str(location)):
                return _number(node / "gpu_id") or None  # 0: a CPU
        return None


def amd_gpus(sys: Path = _SYS) -> dict[str, AmdGpu]:
    """Return the GPUs that amdgpu drives, by the name of their graphics card, ``"card0"``."""
    cards = sorted((sys / "class" / "drm").glob("card*/device/gpu_busy_percent"))
    return {path.parts[-3]: AmdGpu(path.parent.resolve().name, sys) for path in cards}


def _current_mhz(text: str | None) -> int | None:
    """Return the clock that is marked as the current one: ``"1: 2100Mhz *"``."""
    found = re.search(r"^\s*\w+:\s*(\d+)\s*mhz\s*\*", text or "", re.IGNORECASE | re.MULTILINE)
    return int(found[1]) if found else None


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text is not None and text.isdecimal() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None

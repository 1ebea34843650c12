"""Is the GPU idle, and at which clocks and memory? From the vendor's tools and sysfs (check 11)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pytest_xsched.doctor.finding import Finding, failed, ok, skipped

BUSY_PERCENT = 5
"""A desktop's GPU shows a few percent without any work."""

_SYS = Path("/sys/class/drm")
_QUERY = "index,name,utilization.gpu,memory.used,memory.total,clocks.sm,clocks.max.sm"
_REMEDY = (
    "end what runs there, or measure on another GPU: a second tenant is in every figure, and "
    "differs from run to run"
)


def check_gpu(kind: str | None, *, sys: Path = _SYS) -> Finding:
    """Check 11: ask NVIDIA's tool or AMD's kernel driver.

    Args:
        kind: of the device that is looked at.
        sys: where the kernel lists graphics cards.
    """
    if kind in ("cuda", "opencl", None) and shutil.which("nvidia-smi"):
        return _nvidia()
    if kind != "cuda" and (cards := _amd_cards(sys)):
        return _amd(cards)
    return skipped(
        "neither nvidia-smi nor a card of amdgpu in /sys/class/drm is here, so load, memory and "
        "clocks cannot be read",
        "see to it by hand that nothing else runs on the GPU",
    )


def used_bytes(pci_id: str, *, sys: Path = _SYS) -> int | None:
    """Give how much memory of a GPU is in use, by all processes; None: nobody can tell.

    Args:
        pci_id: of the GPU, ``"0000:1b:00.0"``.
        sys: where the kernel lists graphics cards.
    """
    for card in _amd_cards(sys):
        if card.resolve().name == pci_id:
            return _number(card / "mem_info_vram_used")
    try:
        ((used,),) = _ask("--query-gpu=memory.used", f"--id={pci_id}")
        return int(used) << 20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _nvidia() -> Finding:
    try:
        cards = _ask("--query-gpu=" + _QUERY)
        apps = _ask("--query-compute-apps=pid,process_name,used_memory")
    except (OSError, subprocess.SubprocessError) as error:
        return skipped(f"nvidia-smi: {error}", "run nvidia-smi by hand")
    busy = [card for card in cards if card[2].isdecimal() and int(card[2]) > BUSY_PERCENT]
    if busy or apps:
        seen = [f"GPU {card[0]} is at {card[2]} %" for card in busy]
        seen += [f"process {app[0]} ({app[1]}) has {app[2]} MiB" for app in apps]
        return failed("; ".join(seen), _REMEDY)
    return ok(
        "; ".join(
            f"GPU {index} ({name}) is idle, {used} of {total} MiB used, {clock} of {most} MHz"
            for index, name, _, used, total, clock, most in cards
        )
    )


def _ask(*query: str) -> list[list[str]]:
    done = subprocess.run(
        ["nvidia-smi", *query, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=3,
        check=True,
    )
    return [[field.strip() for field in line.split(",")] for line in done.stdout.splitlines()]


def _amd_cards(sys: Path) -> list[Path]:
    return sorted(path.parent for path in sys.glob("card*/device/gpu_busy_percent"))


def _amd(cards: list[Path]) -> Finding:
    shown, busy = [], []
    for card in cards:
        name, percent = card.parent.name, _number(card / "gpu_busy_percent")
        used, total = (_number(card / f"mem_info_vram_{what}") for what in ("used", "total"))
        memory = f"{used >> 20} of {total >> 20} MiB used" if total else "memory unknown"
        shown.append(f"{name} is at {percent} %, {memory}, {_clock(card / 'pp_dpm_sclk')}")
        if percent > BUSY_PERCENT:
            busy.append(shown[-1])
    return failed("; ".join(busy), _REMEDY) if busy else ok("; ".join(shown))


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _clock(path: Path) -> str:
    """Find the state that is marked as current: ``"1: 2100Mhz *"``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    current = [line.split()[1] for line in lines if line.rstrip().endswith("*")]
    return f"clock {current[0]}" if current else "clock unknown"

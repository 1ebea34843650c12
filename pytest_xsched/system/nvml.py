"""NVIDIA's management library by ctypes: clocks of a GPU, what holds them down, who computes there.

It is opened where the driver is open already, never in pytest's own process because of us. What a
driver does not tell is None.
"""

from __future__ import annotations

import ctypes
import os

from pytest_xsched.base.constants import POWER_CAP

LIBRARY = "libnvidia-ml.so.1"
VARIABLE = "PYTEST_XSCHED_NVML"
"""Another file; empty: none."""

_SUCCESS = 0
_CLOCK_SM = 1
_PROCESSES_MAX = 256

REASONS = {
    0x4: POWER_CAP,
    0x8: "hardware slowdown",
    0x20: "thermal slowdown by the driver",
    0x40: "thermal slowdown",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReasons that are no rest, no setting and no display's."""


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t, as its calls take it since their version 2."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class Nvml:
    """One GPU, as the library sees it.

    Args:
        pci_id: ``"0000:1b:00.0"``.

    Raises:
        OSError: there is no such library, or it does not know the GPU.
    """

    def __init__(self, pci_id: str) -> None:
        path = os.environ.get(VARIABLE, LIBRARY)
        if not path:
            raise OSError(f"{VARIABLE} is empty")
        self._library = ctypes.CDLL(path)
        self._device = ctypes.c_void_p()
        if self._call("nvmlInit_v2") is not True:
            raise OSError(f"{path}: nvmlInit_v2 fails")
        known = self._call(
            "nvmlDeviceGetHandleByPciBusId_v2", pci_id.encode(), ctypes.byref(self._device)
        )
        if known is not True:
            raise OSError(f"{path}: there is no GPU {pci_id}")

    def _call(self, *names_and_arguments: object) -> bool:
        """Call a function, or the next of several names for it; whether it was there and went well.

        Names come first and are the strings among the arguments.
        """
        names = [one for one in names_and_arguments if isinstance(one, str)]
        arguments = [one for one in names_and_arguments if not isinstance(one, str)]
        for name in names:
            function = getattr(self._library, name, None)
            if function is not None:
                return int(function(*arguments)) == _SUCCESS
        return False

    def clock_mhz(self) -> int | None:
        """Give the clock of the multiprocessors, now."""
        clock = ctypes.c_uint()
        done = self._call("nvmlDeviceGetClockInfo", self._device, _CLOCK_SM, ctypes.byref(clock))
        return clock.value if done else None

    def reasons(self) -> tuple[str, ...] | None:
        """Give what holds the clocks down, now: some of `REASONS`."""
        bits = ctypes.c_ulonglong()
        done = self._call(
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",  # its name until driver 535
            self._device,
            ctypes.byref(bits),
        )
        return tuple(name for bit, name in REASONS.items() if bits.value & bit) if done else None

    def processes(self) -> tuple[int, ...] | None:
        """Give the ids of the processes with a context on the GPU, as the library counts them.

        Of a GPU that is cut up (MIG) only those on the part of this process, where that is known.
        """
        count = ctypes.c_uint(_PROCESSES_MAX)
        found = (_Process * _PROCESSES_MAX)()
        done = self._call(
            "nvmlDeviceGetComputeRunningProcesses_v3",
            "nvmlDeviceGetComputeRunningProcesses_v2",
            self._device,
            ctypes.byref(count),
            found,
        )
        if not done:
            return None
        there = found[: count.value]
        parts = {one.gpu_instance for one in there if one.pid == os.getpid()}
        return tuple(one.pid for one in there if not parts or one.gpu_instance in parts)

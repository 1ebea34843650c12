"""The names that options and scenarios share: kinds of device, schedulers, ways of waiting.

A light module, because pytest reads options at every start. Policies are in `policies`.
"""

from __future__ import annotations

from collections.abc import Iterable

DEVICES = ("cpu", "sim", "hip", "cuda", "opencl")
GPUS = ("hip", "cuda", "opencl")
"""Devices whose driver lives in worker processes only."""


def uses_cpu(names: Iterable[str]) -> bool:
    """Check whether one of some devices is `cpu`."""
    return any(split_device(name)[0] == "cpu" for name in names)


def split_device(name: str) -> tuple[str, int]:
    """Return kind and index of a device: `("cuda", 1)` for ``"cuda:1"``; the index may be missing.

    That of a UUID is 0: its processes see no other device. `validation.device_name` has checked
    the name.
    """
    kind, _, index = name.partition(":")
    return kind, int(index) if index.isdecimal() else 0


def uuid_of(name: str) -> str:
    """Return the UUID in the name of a device, ``"cuda:MIG-..."``, or ""."""
    _, _, index = name.partition(":")
    return "" if index.isdecimal() else index


def visible_devices(name: str) -> dict[str, str]:
    """Return the variables under which a process sees the device with a UUID, and no other."""
    uuid = uuid_of(name)
    return {"CUDA_VISIBLE_DEVICES": uuid} if uuid else {}


SCHEDULERS = ("native", "priority", "builtin", "xsched", "time-slicing", "mps")
APART = ("time-slicing", "mps")
"""Schedulers that share a GPU between processes, so that each queue has one of its own."""
PROCESSES = ("together", "separate")
"""Whether the queues of a run share a process, or have one each."""
NOISE = ("auto", "mask", "note", "off")
"""How to treat seconds in which the machine was noisy; see `noise.Rules`."""
NOISE_LIMIT_NS = 5_000_000
"""A second is noisy from here on: a tenth of a limit of 50 ms does not change a verdict."""
POWER_CAP = "power cap"
"""The reason for which a busy GPU lowers its clock; it is no noise."""
MILESTONE_NAME = "[a-z][a-z0-9_]{0,39}"
MILESTONE_NAMES_MAX = 16
"""The most names of milestones that a queue may have."""
TOKEN = "token"
"""The milestone of each piece of a streamed answer, and of a model after each of its steps."""
WAITING = ("yield", "spin", "sleep")
"""What a thread does that waits for a GPU, after it has spun for 200 us: yield the processor
between two polls, keep spinning, or sleep for 50 us. In the order of the native enum."""

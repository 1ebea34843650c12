"""The names that options and scenarios share: kinds of device, schedulers, policies.

Apart from `model`, because pytest reads options at every start and a start must cost nothing.
"""

DEVICES = ("cpu", "sim", "hip", "cuda", "opencl")
GPUS = ("hip", "cuda", "opencl")
"""Devices whose driver lives in worker processes only."""


def split_device(name: str) -> tuple[str, int]:
    """Give kind and index of a device: `("cuda", 1)` of ``"cuda:1"``, `("cuda", 0)` of ``"cuda"``.

    The name is one that was checked, by `checks.device_name`.
    """
    kind, _, index = name.partition(":")
    return kind, int(index or 0)


SCHEDULERS = ("native", "priority", "builtin", "xsched")
PROCESSES = ("together", "separate")
"""Whether the queues of a run share a process, or have one each."""
NOISE = ("auto", "mask", "note", "off")
"""What becomes of seconds in which the machine was noisy; see `noise.Rules`."""
NOISE_LIMIT_NS = 5_000_000
"""From where on they are: a tenth of a limit of 50 ms does not turn a verdict."""
POWER_CAP = "power cap"
"""What holds the clock of a GPU down that is at work, and is no noise."""
WAITING = ("yield", "spin", "sleep")
"""What a thread does that waits for a GPU, behind a first 200 us of spinning: let others run
between two looks, spin on, or sleep 50 us. In the order of the native enum."""

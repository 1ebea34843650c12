"""The parameters of the devices that replace a GPU, `cpu` and `sim`, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_xsched.base.units import MAX_NS
from pytest_xsched.base.validation import check_flag, set_integer, set_number
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.workload import Command

PARALLEL_MAX = 64  # commands executed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuModel:
    """The `cpu` device: worker threads that compute.

    Args:
        workers: commands executed at once, in [1, 64].
        priority: whether streams of higher priority come first; if not: first come, first served.
        spin_ns: how long a worker busy-waits for work before it sleeps.
    """

    workers: int = 1
    priority: bool = True
    spin_ns: int = 50_000

    def __post_init__(self) -> None:
        set_integer(self, "workers", "cpu", 1, PARALLEL_MAX)
        check_flag("cpu: priority", self.priority)
        set_integer(self, "spin_ns", "cpu", 0, MAX_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimModel:
    """The `sim` device: a model in virtual time.

    Streams are in order. `slots` commands execute at once and are not preempted. A launch reaches
    the device `launch_ns` after the later of its call and the previous launch of its stream
    reaching it. A free slot takes, of the commands at the heads of their streams, the one of the
    highest stream priority (if `priority`), else the one that reached the device first; the order
    of launch breaks ties. With `interleave` the one that could start first takes the place of the
    one that reached the device first: a command can start when it has reached the device and the
    command before it in its stream is complete. So streams take turns, as the kernels of several
    streams do on a GPU, and a request of many commands does not run before others as a whole. A
    command costs

        max(flops / flops_per_s, bytes / bytes_per_s) / min(1, items / full_items)

    with items = n*n*batch of a matmul and n of a vector_add. A spin costs its duration, for any
    share of the device and any waves.

    Args:
        slots: commands executed at once, in [1, 64].
        priority: whether streams of higher priority come first.
        interleave: whether streams of equal priority take turns.
        launch_ns: time from a launch to the device, serial per stream.
        tail_ns: how long before its end a command leaves its slot to commands of other streams, as
            the last blocks of a kernel leave multiprocessors of a GPU to other kernels. Then as
            many commands as there are streams can be at their ends at once.
        flops_per_s: rate of a full device, above 0.
        bytes_per_s: bandwidth of a full device, above 0.
        full_items: output elements that fill the device, at least 1; fewer leave part of it idle.

    >>> from pytest_xsched.scenario.workload import matmul
    >>> SimModel().cost_ns(matmul(512).commands[0])
    745654
    """

    slots: int = 1
    priority: bool = True
    interleave: bool = False
    launch_ns: int = 5_000
    tail_ns: int = 0
    flops_per_s: float = 1.44e12
    bytes_per_s: float = 4.0e12
    full_items: int = 2**20

    def __post_init__(self) -> None:
        set_integer(self, "slots", "sim", 1, PARALLEL_MAX)
        check_flag("sim: priority", self.priority)
        check_flag("sim: interleave", self.interleave)
        set_integer(self, "launch_ns", "sim", 0, MAX_NS)
        set_integer(self, "tail_ns", "sim", 0, MAX_NS)
        set_number(self, "flops_per_s", "sim", 0, math.inf)
        set_number(self, "bytes_per_s", "sim", 0, math.inf)
        set_integer(self, "full_items", "sim", 1, 2**53)

    @classmethod
    def gpu(cls) -> SimModel:
        """Return a model for requests of many kernels, as `recorded` makes them.

        Streams take turns, a captured graph is launched at once, and the last 10 us of a kernel
        leave room for others. With that `sim` shows what an H200 did with two models; see
        bench/RESULTS.md.
        """
        return cls(interleave=True, launch_ns=0, tail_ns=10_000)

    def parallel(self, streams: int) -> int:
        """Return how many commands of some streams can execute at once."""
        return max(self.slots, streams) if self.tail_ns else self.slots

    def cost_ns(self, command: Command) -> int:
        """Compute how long a command keeps its slot, in ns, rounded to the nearest."""
        if command.kind == "spin":
            return command.duration_ns
        if command.kernel is not None:
            raise ScenarioError(f"kernel {command.kernel.name!r} has no cost on the sim device")
        full_s = max(command.flops / self.flops_per_s, command.bytes / self.bytes_per_s)
        return round(full_s / min(1.0, command.items / self.full_items) * 1e9)

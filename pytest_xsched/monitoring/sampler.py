"""Sample the kernel's counters ten times a second during a run, and the GPU twice a second.

The counters are: how long the runner's threads were ready to run and did not (without the threads
of the device `cpu`, which are the device), and how often the kernel stopped the control group
because its time was used up. The wait for the run calls `Sampler.poll`, so it needs no thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pytest_xsched.base.constants import POWER_CAP
from pytest_xsched.monitoring.gpu_monitor import GpuMonitor, split_processes
from pytest_xsched.monitoring.noise import GpuReadings, Readings, block_length_ns, unite_gpus
from pytest_xsched.native.run import Queue

PERIOD_NS = 100_000_000
GPU_PERIOD_NS = 500_000_000
"""Less often, because each query makes the driver do work."""

_PROC = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")


class Sampler:
    """Samples the machine during one window.

    Args:
        queues: whose threads are sampled.
        on_host: see `Readings`.
        warmup_ns: begin of the window, since the start of the run.
        duration_ns: its length.
        gpus: one monitor for each GPU.
        family: see `gpu_monitor.split_processes`.
        proc: of this process.
        cgroup: where the kernel shows control groups.
    """

    def __init__(
        self,
        queues: Sequence[Queue],
        *,
        on_host: bool,
        warmup_ns: int,
        duration_ns: int,
        gpus: Sequence[GpuMonitor] = (),
        family: int | None = None,
        proc: Path = _PROC,
        cgroup: Path = _CGROUP,
    ) -> None:
        self.block_ns = block_length_ns(duration_ns)
        self._blocks = -(-duration_ns // self.block_ns)
        self.heartbeat_ns = np.zeros(self._blocks, np.int64)
        """The native runner fills it."""
        self._queues = queues
        self._on_host = on_host
        self._start_ns = warmup_ns
        self._proc = proc
        self._stats = cpu_stats(proc, cgroup)
        self._gpus = gpus
        self._family = os.getpid() if family is None else family
        self._gpu_ns: int | None = None
        self._gpu: GpuReadings | None = None
        self._last_ns: int | None = None
        self._counts: dict[str | int, int] = {}
        """At the last poll: run delay by thread, in ns, and "throttled"."""
        self._added: dict[str | int, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        """Increments by block: of the same, and "slowdown"."""

    def poll(self, now_ns: int, *, last: bool = False) -> None:
        """Read the counters if a period has passed, or at the end of the run.

        Args:
            now_ns: time since the start of the run.
            last: whether the run has ended.
        """
        if self._last_ns is not None and now_ns - self._last_ns < PERIOD_NS and not last:
            return
        since_ns, self._last_ns = self._last_ns, now_ns
        seen: dict[str | int, int | None] = {
            thread: run_delay_ns(self._proc, thread)
            for queue in self._queues
            if (thread := queue.thread_id())
        }
        seen["throttled"] = throttled(self._stats)
        for name, count in seen.items():
            if count is None:
                continue
            if name in self._counts and since_ns is not None:
                self._add(name, since_ns, now_ns, count - self._counts[name])
            self._counts[name] = count
        if last or self._gpu_ns is None or now_ns - self._gpu_ns >= GPU_PERIOD_NS:
            since_ns, self._gpu_ns = self._gpu_ns or 0, now_ns
            for gpu in self._gpus:
                self._read_gpu(gpu, since_ns, now_ns)

    def _read_gpu(self, gpu: GpuMonitor, since_ns: int, now_ns: int) -> None:
        if now_ns < self._start_ns:
            return
        seen = gpu.read()
        ours, strangers = split_processes(seen.processes, os.getpid(), self._family)
        clock = () if seen.clock_mhz is None else (seen.clock_mhz, seen.clock_mhz)
        reading = GpuReadings(
            clock_mhz=clock or None,
            reasons=seen.slowdown_reasons or (),
            ours=ours,
            strangers=strangers,
            unknown=(seen.unknown,) if seen.unknown else (),
        )
        self._gpu = unite_gpus([self._gpu, reading])
        if seen.slowdown_reasons is not None:
            held = any(reason != POWER_CAP for reason in seen.slowdown_reasons)
            self._add("slowdown", since_ns, now_ns, int(held))

    def _add(self, name: str | int, since_ns: int, now_ns: int, count: int) -> None:
        """Add a count to each block that overlaps the time between two polls.

        The event may have been in any of them.
        """
        by_block = self._added.setdefault(name, np.zeros(self._blocks, np.int64))
        first = max(0, (since_ns - self._start_ns) // self.block_ns)
        if now_ns > self._start_ns:
            by_block[first : (now_ns - self._start_ns - 1) // self.block_ns + 1] += count

    def readings(self) -> Readings:
        """Return all that was read; call it after the run."""
        delays = [by_block for name, by_block in self._added.items() if isinstance(name, int)]
        worst = np.minimum(np.max(delays, axis=0), self.block_ns).tolist() if delays else []
        beats = self.heartbeat_ns.tolist() if self.heartbeat_ns.any() else []
        return Readings(
            block_ns=self.block_ns,
            on_host=self._on_host,
            heartbeat_ns=tuple(beats),
            run_delay_ns=tuple(worst),
            throttled=self._by_block("throttled"),
            slowdown=tuple(min(1, count) for count in self._by_block("slowdown")),
            gpu=self._gpu,
        )

    def _by_block(self, name: str) -> tuple[int, ...]:
        return tuple(self._added[name].tolist()) if name in self._added else ()


def run_delay_ns(proc: Path, thread: int) -> int | None:
    """Return how long a thread was ready to run and did not, so far; None: unknown.

    Source: Linux, Documentation/scheduler/sched-stats.rst, the second field.
    """
    try:
        return int((proc / "task" / str(thread) / "schedstat").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return None


def cpu_stats(proc: Path, cgroup: Path) -> list[Path]:
    """Return the files that count how often the kernel stopped the control groups of a process.

    They are those of its group and of all groups above it, because each can have a limit; of
    version 2 or 1.
    """
    try:
        lines = (proc / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        if line.count(":") < 2:  # no line of the kernel
            continue
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroup / controllers  # version 2 has no name here
        group = root / path.lstrip("/")
        above = [up for up in group.parents if up == root or root in up.parents]
        found += [
            up / "cpu.stat" for up in (group, *above) if throttled([up / "cpu.stat"]) is not None
        ]
    return found


def throttled(stats: Sequence[Path]) -> int | None:
    """Return in how many periods control groups were stopped, so far; None: no limit is set."""
    counts = []
    for stat in stats:
        try:
            lines = stat.read_text(encoding="ascii").splitlines()
            counts += [int(line.split()[1]) for line in lines if line.startswith("nr_throttled ")]
        except (OSError, ValueError, IndexError):
            continue
    return sum(counts) if counts else None

"""How quiet the machine was during a run, block of time by block: what else may delay requests.

The signals do not depend on latencies, and their limit is set before the run, so that leaving out
the blocks in which one crosses it does not select latencies; see `sequential_test`. Pure functions.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.constants import NOISE_LIMIT_NS, POWER_CAP
from pytest_xsched.base.units import format_duration

S = 10**9
TOO_MUCH = 0.2
"""Share of the measured time. If more of it is noisy, the rest gives no verdict."""
MUCH = 0.5
"""Verdicts say so where noise is only noted and this share of the time was noisy."""
TOO_MUCH_AT_ONCE = 0.5
"""Share of ten successive blocks. If more of them are noisy, the run gives no verdict."""

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Begins and ends, ns since the start of the run, ascending and disjoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How noise is treated.

    Attributes:
        mode: one of `constants.NOISE`. ``"mask"``: latencies leave out requests of noisy blocks;
            ``"note"``: the report shows noise, and latencies keep all requests; ``"off"``: nothing
            is sampled; ``"auto"``: mask, but note where the device computes on the processors of
            the host, because the load itself is the noise there.
        limit_ns: lateness, or run delay in a block, above which a block is noisy.
    """

    mode: str = "auto"
    limit_ns: int = NOISE_LIMIT_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReadings:
    """What was read of the GPUs in a window.

    Attributes:
        clock_mhz: lowest and highest; None: unknown.
        reasons: what held a clock down; see `nvidia_gpu.SLOWDOWN_REASONS`.
        ours: ids of the processes of the run that computed there, and of their ancestors within the
            run; empty: unknown.
        strangers: other processes that computed there: "process 750 (python3)".
        unknown: why nothing is known of some of them, a sentence each.
    """

    clock_mhz: tuple[int, int] | None = None
    reasons: tuple[str, ...] = ()
    ours: tuple[int, ...] = ()
    strangers: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __or__(self, other: GpuReadings) -> GpuReadings:
        """Return what was read in either."""
        clocks = [*(self.clock_mhz or ()), *(other.clock_mhz or ())]
        return GpuReadings(
            clock_mhz=(min(clocks), max(clocks)) if clocks else None,
            reasons=tuple(dict.fromkeys((*self.reasons, *other.reasons))),
            ours=tuple(dict.fromkeys((*self.ours, *other.ours))),
            strangers=tuple(dict.fromkeys((*self.strangers, *other.strangers))),
            unknown=tuple(dict.fromkeys((*self.unknown, *other.unknown))),
        )

    def __str__(self) -> str:
        parts = []
        if self.clock_mhz is not None:
            least, most = self.clock_mhz
            parts.append(f"{least} MHz" if least == most else f"{least} to {most} MHz")
        return ", ".join([*parts, *self.reasons])


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the measuring process read during a window, for each block of it.

    A tuple is empty where this machine does not show the counter.

    Attributes:
        block_ns: length of a block; the last one may be shorter.
        on_host: whether a device computes on the processors of the host.
        heartbeat_ns: largest delay of a thread that does nothing but wake up periodically.
        run_delay_ns: how long a thread of the runner was ready to run and did not; the longest.
        throttled: periods in which the kernel stopped the control group of the process.
        slowdown: 1 where anything but a power cap held down the clock of a GPU.
        gpu: of the GPUs, in all blocks together; None: nothing was read.
    """

    block_ns: int
    on_host: bool
    heartbeat_ns: tuple[int, ...] = ()
    run_delay_ns: tuple[int, ...] = ()
    throttled: tuple[int, ...] = ()
    slowdown: tuple[int, ...] = ()
    gpu: GpuReadings | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the readings in JSON's types; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Readings:
        """Return the readings that `to_dict` has written."""
        by_block = {name: tuple(data[name]) for name in _BY_BLOCK}
        gpu = data["gpu"] and GpuReadings(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in data["gpu"].items()}
        )
        return cls(block_ns=data["block_ns"], on_host=data["on_host"], gpu=gpu, **by_block)


_BY_BLOCK = ("heartbeat_ns", "run_delay_ns", "throttled", "slowdown")


def block_length_ns(duration_ns: int) -> int:
    """Return the length of the blocks of a window: a second, or a twentieth of it below 20 s.

    It is at least 100 ms, the period of the sampler.
    """
    return min(S, max(S // 10, duration_ns // 20))


def unite_readings(parts: Sequence[Readings]) -> Readings | None:
    """Return the worst readings by block of several processes that measured at the same time."""
    if not parts:
        return None
    worst: dict[str, tuple[int, ...]] = {
        name: tuple(max(values) for values in zip(*there, strict=True))
        for name in _BY_BLOCK
        if (there := [getattr(part, name) for part in parts if getattr(part, name)])
    }
    on_host = any(part.on_host for part in parts)
    gpu = unite_gpus([part.gpu for part in parts])
    return Readings(block_ns=parts[0].block_ns, on_host=on_host, gpu=gpu, **worst)


def unite_gpus(parts: Sequence[GpuReadings | None]) -> GpuReadings | None:
    """Return what any of them read; None where none read anything."""
    there = [part for part in parts if part is not None]
    return functools.reduce(operator.or_, there) if there else None


def own_lateness(
    queues: Sequence[NDArray[np.void]], window_ns: tuple[int, int], block_ns: int
) -> tuple[int, ...]:
    """Return the largest lateness with which the runner submitted a request, by block.

    Only requests that found their queue idle count: a thread that has another request in the driver
    may be late because of the device, and then shows nothing about the machine.

    Args:
        queues: all samples of each queue with arrivals, in order of arrival.
        window_ns: begin and end of the measured window.
        block_ns: length of a block.
    """
    start, end = window_ns
    worst = np.zeros(-(-(end - start) // block_ns), np.int64)
    for samples in queues:
        scheduled, submitted = samples["scheduled_ns"], samples["submitted_ns"]
        before = np.concatenate(([0], samples["completed_ns"][:-1])) if len(samples) else scheduled
        idle = (before >= 0) & (before <= scheduled) & (submitted >= 0)
        here = idle & (submitted >= start) & (scheduled < end)
        late = submitted[here] - scheduled[here]
        first = np.maximum(scheduled[here] - start, 0) // block_ns
        last = np.minimum((submitted[here] - start) // block_ns, len(worst) - 1)
        np.maximum.at(worst, first, late)
        for i in np.flatnonzero(last > first):  # it was late in all these blocks
            span = slice(first[i], last[i] + 1)
            worst[span] = np.maximum(worst[span], late[i])
    return tuple(int(ns) for ns in worst)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedWindow:
    """One window, and how quiet the machine was.

    Attributes:
        start_ns: of the window, on the time of the run.
        end_ns: likewise.
        readings: of the machine, by block.
        late_ns: see `own_lateness`.
        limit_ns: see `Rules`.
    """

    start_ns: int
    end_ns: int
    readings: Readings
    late_ns: tuple[int, ...]
    limit_ns: int

    def signals(self) -> dict[str, tuple[int, ...]]:
        """Return the signals that can make a block noisy, by name, in the order of the report."""
        of_readings = {name: getattr(self.readings, name) for name in _BY_BLOCK}
        if self.readings.on_host:  # waiting threads give way to the device
            del of_readings["run_delay_ns"]
        return {"late_ns": self.late_ns, **{k: v for k, v in of_readings.items() if v}}

    def crossed(self) -> dict[str, NDArray[np.bool_]]:
        """Return for each signal in which blocks it is above its limit."""
        return {
            name: np.asarray(values) > (self.limit_ns if name.endswith("_ns") else 0)
            for name, values in self.signals().items()
        }

    def noisy(self) -> NDArray[np.bool_]:
        """Return which blocks are noisy: those in which a signal crosses its limit, and the next.

        Requests that were delayed in one block are served in the next.
        """
        found = np.logical_or.reduce(list(self.crossed().values()))
        noisy: NDArray[np.bool_] = found | np.concatenate(([False], found[:-1]))
        return noisy

    def spans_ns(self) -> Spans:
        """Return the noisy blocks as spans of the run, neighbours merged."""
        edges = np.flatnonzero(np.diff(np.concatenate(([0], self.noisy().view(np.int8), [0]))))
        at = np.minimum(self.start_ns + edges * self.readings.block_ns, self.end_ns)
        return tuple((int(begin), int(end)) for begin, end in at.reshape(-1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How quiet the machine was during a run.

    Attributes:
        masks: whether latencies leave out the requests of noisy blocks.
        windows: of the run, in order; at least one.
    """

    masks: bool
    windows: tuple[WatchedWindow, ...]

    @property
    def noisy_ns(self) -> int:
        """Time of the noisy blocks."""
        return sum(end - begin for window in self.windows for begin, end in window.spans_ns())

    @property
    def measured_ns(self) -> int:
        """Time of all of them."""
        return sum(window.end_ns - window.start_ns for window in self.windows)

    @property
    def remark(self) -> str:
        """Describe that much of the time was noisy although nothing is masked; "" if it was not."""
        share = self.noisy_ns / self.measured_ns
        if self.masks or share < MUCH:
            return ""
        return f"{100 * share:.0f} % of the measured time was noisy"

    @property
    def faults(self) -> tuple[str, ...]:
        """Return a sentence for each reason why the rest of the run gives no verdict."""
        if not self.masks:
            return ()
        strangers = self.gpu.strangers if self.gpu is not None else ()
        found = [f"{who} computed on the GPU, too" for who in strangers]
        if self._too_much():
            share = self.noisy_ns / self.measured_ns
            limit = format_duration(self.windows[0].limit_ns)
            found.append(f"{share:.0%} of the time, by a limit of {limit}: {self.cause}")
        return tuple(f"environment too noisy: {sentence}" for sentence in found)

    @property
    def gpu(self) -> GpuReadings | None:
        """Return what was read of the GPUs in all windows."""
        return unite_gpus([window.readings.gpu for window in self.windows])

    def _too_much(self) -> bool:
        if self.noisy_ns > TOO_MUCH * self.measured_ns:
            return True
        noisy = np.concatenate([window.noisy() for window in self.windows]).astype(np.int64)
        in_ten = np.convolve(noisy, np.ones(10, np.int64), "valid") if len(noisy) >= 10 else noisy
        return len(noisy) >= 10 and bool(in_ten.max() > TOO_MUCH_AT_ONCE * 10)

    @property
    def seen(self) -> str:
        """Describe the worst value of each signal."""
        return self._describe(set(_WORDS))

    @property
    def cause(self) -> str:
        """Describe the worst value of each signal that crossed its limit; empty: none did."""
        crossed = [window.crossed().items() for window in self.windows]
        return self._describe({name for one in crossed for name, blocks in one if blocks.any()})

    def _describe(self, names: set[str]) -> str:
        parts = []
        for name, words in _WORDS.items():
            worst = [
                _worst(name, values, window.readings.block_ns)
                for window in self.windows
                if (values := window.signals().get(name))
            ]
            if name not in names or not worst or (name == "late_ns" and not any(worst)):
                continue  # the runner paced no request: none is punctual to the ns
            if name.endswith("_ns"):
                parts.append(words.format(format_duration(max(worst))))
            elif any(worst):
                held = [one for one in (self.gpu or GpuReadings()).reasons if one != POWER_CAP]
                parts.append(words.format(sum(worst), " and ".join(held)))
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "mode": "mask" if self.masks else "note",
            "limit_ns": self.windows[0].limit_ns,
            "measured_ns": self.measured_ns,
            "noisy_ns": self.noisy_ns,
            "seen": self.seen,
            "cause": self.cause,
            "gpu": None if self.gpu is None else {**asdict(self.gpu), "said": str(self.gpu)},
            "windows": [
                {
                    "start_ns": window.start_ns,
                    "block_ns": window.readings.block_ns,
                    "noisy": window.noisy().tolist(),
                    **{name: list(values) for name, values in window.signals().items()},
                }
                for window in self.windows
            ],
        }


_WORDS = {
    "late_ns": "requests up to {} late",
    "heartbeat_ns": "heartbeat up to {} late",
    "run_delay_ns": "run delay up to {}/s",
    "throttled": "throttled in {} periods",
    "slowdown": "GPU held down by {1}",
}


def _worst(name: str, values: tuple[int, ...], block_ns: int) -> int:
    if not name.endswith("_ns"):
        return sum(values)
    return max(values) * S // block_ns if name == "run_delay_ns" else max(values)


def masks(rules: Rules, readings: Readings) -> bool:
    """Check whether latencies leave out noisy blocks on the measured device."""
    return rules.mode == "mask" or (rules.mode == "auto" and not readings.on_host)


def inside(times_ns: NDArray[np.int64], spans: Spans) -> NDArray[np.bool_]:
    """Return which times lie in one of the spans."""
    edges = np.asarray(spans, np.int64).reshape(-1)
    found: NDArray[np.bool_] = np.searchsorted(edges, times_ns, side="right") % 2 == 1
    return found

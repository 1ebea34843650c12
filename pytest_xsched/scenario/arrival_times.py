"""Arrival times of an open loop, made before the run and exact in number.

The measured window is cut into windows of 10 s. Each window has the count of requests that the rate
requires, and a random generator of its own. So a run that is extended by windows keeps its earlier
arrivals. The same seed, name and times give the same arrivals.
"""

from __future__ import annotations

import zlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import (
    Arrivals,
    Bursts,
    Closed,
    Constant,
    Gamma,
    Poisson,
    Replay,
    check_replay,
    request_count,
)
from pytest_xsched.scenario.stages import Stage, Stages
from pytest_xsched.scenario.trace_files import TraceFile

WINDOW_NS = 10 * 10**9

_ALL_WINDOWS = 2**32 - 1  # in place of a window's index, which never gets this high

_Times: TypeAlias = NDArray[np.int64]
_Floats: TypeAlias = NDArray[np.float64]


def arrival_times(
    arrivals: Arrivals, *, warmup_ns: int, duration_ns: int, seed: int, name: str
) -> _Times:
    """Return the arrival times of one queue.

    The number of requests is fixed, so that the offered rate is exact: round(rate * warmup_ns) in
    the warm-up, and round(rate * t) from the start of the measured window to the end t of each of
    its 10 s windows (halves round up). Within a window:

    - constant: request i of the measured window at (i + 1/2) / rate; the warm-up likewise.
    - poisson: sorted independent uniform times. That is the Poisson process given its number of
      events (S. Ross, Stochastic Processes, 2nd ed. 1996, Theorem 2.3.1).
    - gamma: a renewal process with gamma gaps given its number: `count` gaps, scaled to fill the
      window as if it were a circle, and turned by a uniform offset. With cv = 1 that is the Poisson
      process again (L. Devroye, Non-Uniform Random Variate Generation, 1986, chapter V.2). Where
      two windows meet, the parts of two gaps make one. With fewer than about 20 * cv**2 requests
      a window their cv is smaller, since the number in each window is fixed.
    - bursts: an interrupted Poisson process (A. Kuczura, Bell System Technical Journal 52, 1973)
      given its number: phases of exponential length, the requests uniform over the time that is
      on. Meant for phases well below 10 s; a window without an on phase gets one.
    - replay: the given times, after the warm-up, which has no requests.
    - trace_file: the times of the file before the end of the measured window, after the warm-up,
      which has no requests.
    - stages: poisson or constant, at a rate that changes; the windows of 10 s begin anew with each
      stage. Within a window the times are those at which the area below the rate reaches sorted
      uniform numbers (poisson), or i + 1/2 for request i of the measured window (constant). The
      warm-up has the rate at which the first stage begins.

    The draws are those of `random()` of PCG64, transformed here, so that they do not depend on the
    version of numpy; gamma uses numpy's `standard_gamma`, whose stream numpy may change.

    Args:
        arrivals: any kind but Closed, whose arrivals depend on its completions.
        warmup_ns: length of the warm-up, from 0; at least 0.
        duration_ns: length of the measured window after it, above 0.
        seed: of the run, in [0, 2**32).
        name: of the queue; queues of different names draw differently.

    Returns:
        int64[n], ns since the start of the run, ascending, in [0, warmup_ns + duration_ns).

    Raises:
        ScenarioError: for a closed loop, and for a replay that does not fit the measured window.
    """
    if isinstance(arrivals, Closed):
        raise ScenarioError(f"queue {name!r}: {arrivals} has no arrival times before the run")
    if isinstance(arrivals, Replay):
        check_replay(arrivals, duration_ns=duration_ns, name=name)
        return np.array(arrivals.times_ns, dtype=np.int64) + warmup_ns

    if isinstance(arrivals, TraceFile):
        times = arrivals.times_ns
        return times[: times.searchsorted(duration_ns)] + warmup_ns
    key = [seed, zlib.crc32(name.encode())]
    if isinstance(arrivals, Stages):
        return _stages_times(arrivals, warmup_ns, duration_ns, key)
    parts = [_window_times(arrivals, 0, warmup_ns, key, 0)]
    for index, start_ns in enumerate(range(0, duration_ns, WINDOW_NS), start=1):
        end_ns = min(start_ns + WINDOW_NS, duration_ns)
        parts.append(warmup_ns + _window_times(arrivals, start_ns, end_ns, key, index))
    return np.concatenate(parts)


def request_sizes(arrivals: Arrivals, *, duration_ns: int) -> dict[str, _Times]:
    """Return the sizes of the requests of `arrival_times`, in their order; empty: it has none.

    Returns:
        int64[n] by name: ``"tokens_in"`` and ``"tokens_out"``, as far as they are known.
    """
    if not isinstance(arrivals, TraceFile):
        return {}
    count = arrivals.times_ns.searchsorted(duration_ns)
    return {name: size[:count] for name, size in arrivals.sizes().items()}


def _stages_times(arrivals: Stages, warmup_ns: int, duration_ns: int, key: list[int]) -> _Times:
    first_hz = arrivals.stages[0].begin_hz
    parts = [np.empty(0, dtype=np.int64)]
    if first_hz:
        warm = (Constant if arrivals.process == "constant" else Poisson)(rate_hz=first_hz)
        parts.append(_window_times(warm, 0, warmup_ns, key, 0))
    for number, (stage, (begin_ns, end_ns)) in enumerate(
        zip(arrivals.stages, arrivals.spans_ns(), strict=True), start=1
    ):
        end_ns = min(end_ns, duration_ns)
        for index, start_ns in enumerate(range(begin_ns, end_ns, WINDOW_NS)):
            stop_ns = min(start_ns + WINDOW_NS, end_ns)
            first = arrivals.count_until(start_ns)
            count = arrivals.count_until(stop_ns) - first
            if arrivals.process == "constant":
                done = arrivals.area_until(start_ns)
                wanted = float(first - done) + 0.5 + np.arange(count, dtype=np.float64)
            else:
                area = float(arrivals.area_until(stop_ns) - arrivals.area_until(start_ns))
                wanted = np.sort(_generator([*key, number, index]).random(count)) * area
            offsets = _reached(stage, start_ns - begin_ns, wanted)
            inside = np.clip(offsets.astype(np.int64), 0, stop_ns - start_ns - 1)
            parts.append(warmup_ns + start_ns + inside)
    return np.concatenate(parts)


def _reached(stage: Stage, at_ns: int, requests: _Floats) -> _Floats:
    """Return when the area below the rate, from a time in a stage on, reaches some numbers.

    Args:
        stage: of the load.
        at_ns: a time in the stage, ns since its begin.
        requests: float64[n], at least 0.

    Returns:
        float64[n], ns since `at_ns`.
    """
    slope = (stage.end_hz - stage.begin_hz) / stage.duration_ns  # Hz in a ns
    hz = stage.begin_hz + slope * at_ns
    # The root of hz * t + slope * t**2 / 2 = area, without a difference of nearly equal numbers.
    root = np.sqrt(np.maximum(hz**2 + 2e9 * slope * requests, 0))
    with np.errstate(invalid="ignore"):  # 0 / 0 where a ramp begins at 0
        offsets: _Floats = np.nan_to_num(2e9 * requests / (hz + root), posinf=0.0)
    return offsets


def _window_times(
    arrivals: Constant | Poisson | Gamma | Bursts,
    start_ns: int,
    end_ns: int,
    key: list[int],
    index: int,
) -> _Times:
    """Return the arrivals in [start_ns, end_ns) of a window that belongs to a span from 0."""
    first = request_count(arrivals.rate_hz, start_ns)
    count = request_count(arrivals.rate_hz, end_ns) - first
    if count == 0:
        return np.empty(0, dtype=np.int64)
    span_ns = end_ns - start_ns
    rng = _generator([*key, index])
    if isinstance(arrivals, Constant):
        offsets = (np.arange(first, first + count) + 0.5) * 1e9 / arrivals.rate_hz - start_ns
    elif isinstance(arrivals, Poisson):
        offsets = np.sort(rng.random(count)) * span_ns
    elif isinstance(arrivals, Gamma):
        phase = _generator([*key, _ALL_WINDOWS]).random()
        offsets = _gamma_offsets(rng, arrivals.cv, count, phase) * span_ns
    else:
        offsets = _burst_offsets(rng, arrivals, count, span_ns)
    # Rounding may carry a time over an edge of its window, and so into the count of another.
    return start_ns + np.clip(offsets.astype(np.int64), 0, span_ns - 1)


def _generator(key: list[int]) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _gamma_offsets(rng: np.random.Generator, cv: float, count: int, phase: float) -> _Floats:
    """Return `count` arrivals on [0, 1): gaps that fill a circle, cut at a uniform point.

    `phase`, in [0, 1), is common to all windows: with a small cv each is cut at about this
    fraction of a gap, so that the end of one window and the start of the next make a whole gap.
    Cut independently, nearly equal gaps would meet in gaps of 0 to 2 times their length. With a cv
    from 1 the cuts are independent of `phase`, or nearly.
    """
    gaps = rng.standard_gamma(1 / cv**2, count)
    ends = np.cumsum(gaps)
    if ends[-1] == 0:  # with a large cv all of a few gaps may underflow: one burst
        return np.full(count, rng.random())
    # A uniform point falls into a gap in proportion to its length...
    cut = np.searchsorted(ends, rng.random() * ends[-1], side="right")
    # ...and anywhere in it. Folding keeps the fraction uniform whatever the cv.
    turned = phase + min(cv, 1.0) * (2 * rng.random() - 1)
    fraction = abs((turned + 1) % 2 - 1)
    gaps = np.roll(gaps / ends[-1], -min(int(cut), count - 1))
    gaps[0] *= fraction
    offsets: _Floats = np.cumsum(gaps)
    return offsets


def _burst_offsets(rng: np.random.Generator, arrivals: Bursts, count: int, span_ns: int) -> _Floats:
    starts, lengths = on_phases(rng, on_ns=arrivals.on_ns, off_ns=arrivals.off_ns, span_ns=span_ns)
    ends = np.cumsum(lengths)
    at = np.sort(rng.random(count)) * ends[-1]  # on the time that is on
    phase = np.minimum(np.searchsorted(ends, at, side="right"), len(ends) - 1)
    offsets: _Floats = starts[phase] + (at - (ends - lengths)[phase])
    return offsets


def on_phases(
    rng: np.random.Generator, *, on_ns: int, off_ns: int, span_ns: int
) -> tuple[_Floats, _Floats]:
    """Draw the on phases of a span that starts in the steady state.

    Args:
        rng: only its `random()` is used.
        on_ns: mean length of an on phase.
        off_ns: mean length of an off phase.
        span_ns: length of the span, above 0.

    Returns:
        float64[k] starts and float64[k] lengths of the phases, ns, ascending, within
        [0, span_ns]; k is at least 1.
    """
    starts_on = bool(rng.random() < on_ns / (on_ns + off_ns))
    means = np.array([on_ns, off_ns] if starts_on else [off_ns, on_ns], dtype=np.float64)
    chunk = 8 + int(1.2 * span_ns / (on_ns + off_ns))  # pairs of phases; mostly one chunk is enough
    lengths = np.empty(0)
    while lengths.sum() < span_ns:
        more = -np.log1p(-rng.random((chunk, 2))) * means
        lengths = np.concatenate([lengths, more.ravel()])
    edges = np.minimum(np.concatenate([[0.0], np.cumsum(lengths)]), span_ns)
    begin, end = edges[:-1], edges[1:]
    is_on = (np.arange(len(begin)) % 2 == 0) == starts_on
    kept = is_on & (end > begin)
    if not kept.any():
        start = rng.random() * span_ns
        length = -np.log1p(-rng.random()) * on_ns
        return np.array([start]), np.array([min(length, span_ns - start)])
    return begin[kept], (end - begin)[kept]

"""Statistics of a run's samples: percentiles and their bounds, saturation, means of batches.

Pure functions of int64 arrays in ns. A percentile is always a latency that was measured (nearest
rank). A request that did not complete counts as longer than all others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.int64]

CENSORED_NS = 2**63 - 1
"""Latency, and time of completion, of a request that never completed."""
COLD_START_MIN = 20  # requests of the first tenth; fewer show nothing
BATCHES_MIN = 10
"""The fewest batches whose means show their spread and their correlation."""


def nearest_rank(values_ns: Times, q: float) -> int:
    """Return the nearest-rank percentile: the ceil(q * n)-th smallest value, never interpolated.

    Source: R. Hyndman and Y. Fan, Sample Quantiles in Statistical Packages, The American
    Statistician 50(4), 1996, definition 1 (inverse of the empirical distribution function).

    Args:
        values_ns: int64[n], ns, in any order, n at least 1.
        q: in (0, 1]; taken as it is written, so that 0.29 of 100 is rank 29.

    Returns:
        One of the values, ns.

    Raises:
        ValueError: for no values, and for q outside (0, 1].
    """
    share = _as_written(q)
    if not 0 < share <= 1:
        raise ValueError(f"nearest_rank: q {q} is outside (0, 1]")
    if len(values_ns) == 0:
        raise ValueError(f"nearest_rank: no values to take the {q} quantile of")
    index = math.ceil(share * len(values_ns)) - 1
    return int(np.partition(values_ns, index)[index])


def requests_needed(q: float, confidence: float = 0.95) -> int:
    """Return the fewest requests with which a percentile has an upper bound.

    The largest of n values lies above the q quantile with probability 1 - q**n; this is the
    smallest n for which that is at least `confidence`. For P99 and 0.95 it is 299.

    Source: S. Wilks, Determination of Sample Sizes for Setting Tolerance Limits, The Annals of
    Mathematical Statistics 12(1), 1941.

    Args:
        q: in (0, 1).
        confidence: in (0, 1).

    Raises:
        ValueError: for q or confidence outside (0, 1).
    """
    for what, value in (("q", q), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ValueError(f"requests_needed: {what} {value} is outside (0, 1)")
    exponent = math.log(1 - _as_written(confidence)) / math.log(q)
    # An exact power (0.1**2 against 1 - 0.99) must not be lost to the last bit of a logarithm.
    return max(1, math.ceil(exponent * (1 - 1e-12)))


def percentile_bounds(values_ns: Times, q: float, error: float) -> tuple[int, int]:
    """Return two of the values between which the true percentile lies, for any distribution.

    Each is wrong with probability at most `error`, for independent values: the k-th smallest is
    below the q quantile if at least k of the n values are, and their number is binomial.

    Source: H. David and H. Nagaraja, Order Statistics, 3rd edition, 2003, section 7.1.

    Args:
        values_ns: int64[n], ns, in any order, n at least 1.
        q: in (0, 1).
        error: in (0, 0.5).

    Returns:
        Lower and upper bound, ns: 0 or CENSORED_NS where n is too small for one.

    Raises:
        ValueError: for no values, and for q or error out of range.
    """
    if len(values_ns) == 0 or not 0 < q < 1 or not 0 < error < 0.5:
        raise ValueError(f"percentile_bounds: n {len(values_ns)}, q {q}, error {error}")
    n = len(values_ns)
    k = np.arange(1, n + 1)
    # log P(k of n values below the quantile), from one to the next: no table of factorials.
    steps = np.log((n - k + 1) / k) + math.log(q / (1 - q))
    chances = np.exp(n * math.log1p(-q) + np.concatenate([[0.0], np.cumsum(steps)]))
    at_most = np.cumsum(chances)  # [k]: P(at most k are below)
    ordered = np.sort(values_ns)
    below = int(np.searchsorted(at_most, error, side="right"))  # P(fewer than `below`) <= error
    above = int(np.searchsorted(at_most, 1 - error, side="left")) + 1
    return (
        int(ordered[below - 1]) if below >= 1 else 0,
        int(ordered[above - 1]) if above <= n else CENSORED_NS,
    )


@dataclass(frozen=True, slots=True)
class BatchMeans:
    """A mean of correlated values, and its standard error.

    Attributes:
        mean: mean of all values.
        error: standard error of the mean, by the spread of the means of batches.
        batches: count of independent batches from which the error was computed; at least 2.
    """

    mean: float
    error: float
    batches: int

    def reach(self, chance: float) -> float:
        """Return the error of the mean on one side with probability `chance`, by Student's t."""
        return t_quantile(1 - chance, self.batches - 1) * self.error


def batch_means(values: NDArray[np.float64]) -> BatchMeans | None:
    """Average neighbours until the batches look uncorrelated; None for fewer than 10 batches.

    A correlation that the batches could have without showing it is added to their error: the
    variance of a mean is (1 + r) / (1 - r) times as large where neighbours correlate by r.

    Source: A. Law, Simulation Modeling and Analysis, 5th edition, 2015, sections 9.5.3 and 4.4;
    simulated in docs/error-rates.md.

    Args:
        values: float64[n], in order of time.
    """
    size = 1
    while True:
        count = len(values) // size
        if count < BATCHES_MIN:
            return None
        means = values[: count * size].reshape(count, size).mean(axis=1)
        around = means - means.mean()
        spread = float(around @ around)
        correlation = float(around[1:] @ around[:-1]) / spread if spread > 0 else 0.0
        unseen = 1 / math.sqrt(count)
        if correlation < unseen / 2:
            r = max(0.0, correlation) + unseen
            error = math.sqrt(spread / (count - 1) / count * (1 + r) / (1 - r))
            return BatchMeans(mean=float(values.mean()), error=error, batches=count)
        size *= 2


def blocks_needed(count: int) -> int:
    """Return the fewest values that `batch_means` needs, if `count` values are too few."""
    size = 1
    while count // size >= BATCHES_MIN:
        size *= 2
    return BATCHES_MIN * size


def t_quantile(chance: float, freedom: int) -> float:
    """Return the quantile of Student's t, by bisection of its distribution function.

    Source: M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 1964, 26.7.3-4.

    Args:
        chance: in (0, 1).
        freedom: degrees of freedom, at least 1.
    """
    low, high = -1e6, 1e6
    while high - low > 1e-9 * max(1.0, abs(low)):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, freedom) < chance else (low, middle)
    return (low + high) / 2


def _t_below(t: float, freedom: int) -> float:
    angle = math.atan(t / math.sqrt(freedom))
    squared = math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= squared * (k - 1) / k
        total += term
    inside = math.sin(angle) * total
    if odd:
        inside = 2 / math.pi * (angle + inside)
    return (1 + inside) / 2


def backlog(scheduled_ns: Times, completed_ns: Times) -> Times:
    """Count the unfinished requests that each arrival finds.

    Args:
        scheduled_ns: int64[n], ns, ascending.
        completed_ns: int64[n], ns, in any order; CENSORED_NS if never.

    Returns:
        int64[n], requests: arrivals before it less completions at or before it.
    """
    done = np.searchsorted(np.sort(completed_ns), scheduled_ns, side="right")
    return np.arange(len(scheduled_ns), dtype=np.int64) - done


def cold_start(latency_ns: Times) -> float | None:
    """Return how much slower the first tenth of the requests was than the others, if it was.

    The medians must differ by more than a tenth. And more of the first requests must lie above the
    median of the others than by chance in one of 740 cases (three standard deviations of a fair
    coin), if requests are independent.

    Args:
        latency_ns: int64[n], ns, in order of arrival.

    Returns:
        Median of the first tenth / median of the rest; None: not shown to be slower.
    """
    first, rest = np.split(latency_ns, [len(latency_ns) // 10])
    if len(first) < COLD_START_MIN:
        return None
    middle = float(np.median(rest))
    ratio = float(np.median(first)) / max(1.0, middle)
    above = np.count_nonzero(first > middle)
    shown = above > len(first) / 2 + 3 * np.sqrt(len(first)) / 2
    return ratio if ratio > 1.1 and shown else None


def saturated(scheduled_ns: Times, completed_ns: Times, start_ns: int, end_ns: int) -> bool:
    """Return whether more requests arrived than completed, so that latencies grow with the run.

    Two things must hold, with n the arrivals in [start_ns, end_ns). At `end_ns` more than
    max(3, 2 % of n) requests are unfinished; and the mean backlog found by the last quarter of the
    arrivals is by more than 1 above that found by the second quarter. The first alone is also true
    of a long but constant latency, the second alone of a burst that was worked off.

    Args:
        scheduled_ns: int64[m], ns, ascending; those before `start_ns` count in the backlog only.
        completed_ns: int64[m], ns; CENSORED_NS if never.
        start_ns: of the measured window.
        end_ns: of the measured window.

    Returns:
        Whether the queue was saturated. Of fewer than 4 arrivals: whether there are any and none of
        them ever completed.
    """
    window = (scheduled_ns >= start_ns) & (scheduled_ns < end_ns)
    n = int(np.count_nonzero(window))
    if n < 4:
        return n > 0 and bool(np.all(completed_ns[window] == CENSORED_NS))
    unfinished = int(np.count_nonzero((scheduled_ns < end_ns) & (completed_ns >= end_ns)))
    if unfinished <= 3 or unfinished * 50 <= n:
        return False
    found = backlog(scheduled_ns, completed_ns)[window]
    second, last = found[n // 4 : n // 2], found[n * 3 // 4 :]
    return float(last.mean() - second.mean()) > 1


def _as_written(value: float) -> Fraction:
    """Return the decimal as which a float was written: 0.29 * 100 is then exactly 29."""
    return Fraction(str(float(value)))

"""The shape of latencies in few numbers: a curve of percentiles, and figures block by block.

What a report draws, instead of all samples. Pure functions of int64 arrays in ns; None stands for a
latency that was never reached.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.stats.estimators import CENSORED_NS, Times, percentile_bounds

SHARES = tuple(
    Fraction(digits, 100 * 10**decade)
    for decade in range(6)
    for digits in (100, 70, 50, 35, 25, 20, 15, 12)
)
"""Shares of requests above a point of the curve, descending from 1: 0.05 is P95, 0.01 is P99."""
BOUNDED = (0.5, 0.95, 0.99)
"""The percentiles that get bounds."""
_BOUND_ERROR = 0.025
"""On each side, so that both bounds hold with 95 %."""


def curve(latency_ns: Times) -> list[int | None]:
    """Return the nearest-rank percentiles at `SHARES`, as far as at least one request is above.

    Args:
        latency_ns: int64[n], ns, in any order.

    Returns:
        At most as many as `SHARES`, ascending; none for no requests.
    """
    n = len(latency_ns)
    ordered = np.sort(latency_ns)
    ranks = [n - share.numerator * n // share.denominator for share in SHARES if share * n >= 1]
    return [_or_never(int(ordered[max(0, rank - 1)])) for rank in ranks]


def bounds(latency_ns: Times) -> list[tuple[int | None, int | None]]:
    """Return bounds of the percentiles in `BOUNDED` that hold with 95 % for independent requests.

    Returns:
        One pair a percentile, see `percentile_bounds`; 0 and None where n is too small. None for
        no requests.
    """
    if len(latency_ns) == 0:
        return []
    pairs = (percentile_bounds(latency_ns, q, _BOUND_ERROR) for q in BOUNDED)
    return [(low if low < CENSORED_NS else None, _or_never(high)) for low, high in pairs]


def by_block(
    at_ns: Times, latency_ns: Times, windows_ns: list[tuple[int, int]], block_ns: int
) -> dict[str, list[int | None]]:
    """Return count, P50, P99 and maximum of each block of the windows, as lists of equal length.

    Args:
        at_ns: int64[n], ns, when each request arrived.
        latency_ns: int64[n], ns, of the same requests.
        windows_ns: start and end of each window.
        block_ns: length of a block; the last of a window may be shorter.
    """
    found: dict[str, list[int | None]] = {"n": [], "p50_ns": [], "p99_ns": [], "max_ns": []}
    for start, end in windows_ns:
        inside = (at_ns >= start) & (at_ns < end)
        block: NDArray[np.int64] = (at_ns[inside] - start) // block_ns
        ordered = latency_ns[inside][np.lexsort((latency_ns[inside], block))]
        counts = np.bincount(block, minlength=int(-(-(end - start) // block_ns)))
        after = np.cumsum(counts)
        # Nearest ranks: ceil(n / 2), ceil(0.99 n) and n.
        for name, rank in (
            ("p50_ns", -(-counts // 2)),
            ("p99_ns", counts - counts // 100),
            ("max_ns", counts),
        ):
            at = np.where(counts > 0, after - counts + rank - 1, len(ordered))
            values = np.append(ordered, CENSORED_NS)[at]
            found[name] += map(_or_never, values.tolist())
        found["n"] += counts.tolist()
    return found


def _or_never(ns: int) -> int | None:
    return None if ns == CENSORED_NS else ns

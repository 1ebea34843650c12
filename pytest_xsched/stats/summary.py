"""The spread of latencies, in the numbers of a row of pytest-benchmark.

Pure functions of int64 arrays in ns. Quartiles and fences are defined as there. Otherwise its
`compare` would show other figures than ours under the same name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.stats.estimators import CENSORED_NS, Times

Spread = dict[str, int | float | str]


def spread(latency_ns: Times) -> Spread | None:
    """Compute the figures that pytest-benchmark calls `stats` of a benchmark, in seconds.

    Source: pytest_benchmark/stats.py, release 5.3. `ops` is 1 / mean there, which for requests that
    overlap or wait for an arrival is no throughput.

    Args:
        latency_ns: int64[n], ns, in any order.

    Returns:
        Values of Python's own types, all finite. None for no latencies, and where one is
        CENSORED_NS: without those that never completed, the others would look better than it was.
    """
    n = len(latency_ns)
    if n == 0 or bool(np.any(latency_ns == CENSORED_NS)):
        return None
    seconds = np.sort(latency_ns).astype(np.float64) / 1e9
    mean = float(seconds.mean())
    stddev = float(seconds.std(ddof=1)) if n > 1 else 0.0
    q1, q3 = _quartile(seconds), -_quartile(-seconds[::-1])
    iqr = q3 - q1
    low, high = q1 - 1.5 * iqr, q3 + 1.5 * iqr
    inside = seconds[(seconds >= low) & (seconds <= high)]
    stddev_outliers = int(np.count_nonzero(np.abs(seconds - mean) > stddev))
    iqr_outliers = n - len(inside)
    total = float(seconds.sum())
    return {
        "min": float(seconds[0]),
        "max": float(seconds[-1]),
        "mean": mean,
        "stddev": stddev,
        "rounds": n,
        "median": float(np.median(seconds)),
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": iqr_outliers,
        "stddev_outliers": stddev_outliers,
        "outliers": f"{stddev_outliers};{iqr_outliers}",
        "ld15iqr": float(inside[0]),
        "hd15iqr": float(inside[-1]),
        "ops": n / total if total else 0.0,
        "total": total,
    }


def _quartile(ascending: NDArray[np.float64]) -> float:
    """Return the first quartile: the median of the lower half, odd n by quarters (method 3)."""
    n = len(ascending)
    if n == 1:
        return float(ascending[0])
    if n % 2 == 0:
        return float(np.median(ascending[: n // 2]))
    whole, left = divmod(n, 4)
    if left == 1:
        return float(0.25 * ascending[whole - 1] + 0.75 * ascending[whole])
    return float(0.75 * ascending[whole] + 0.25 * ascending[whole + 1])

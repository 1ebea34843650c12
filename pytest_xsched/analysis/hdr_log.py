"""An HdrHistogram log of a queue's latencies, which tools of any language merge and draw.

The package `hdrh` makes the histogram. The lines of the log are written here, because its writer
knows no tags.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.extras import require_extra
from pytest_xsched.base.units import MAX_NS

_DIGITS = 3
"""Significant digits of a latency in the histogram: each is at most 0.1 % off."""


def hdr_log(name: str, latency_ns: NDArray[np.int64], windows_ns: list[tuple[int, int]]) -> str:
    """Return a log of one interval histogram.

    Source: HdrHistogram, Histogram log format version 1.3, and its encoding V2 with zlib.

    Args:
        name: of the queue, its tag.
        latency_ns: int64[n], ns, all completed, n at least 1.
        windows_ns: start and end of each measured window, ns since the start of the run.

    Raises:
        MissingExtra: the package `hdrhistogram` is not installed.
    """
    __tracebackhide__ = True
    require_extra("hdrh", "hdr")
    hdrh: Any = importlib.import_module("hdrh.histogram")
    histogram = hdrh.HdrHistogram(1, MAX_NS, _DIGITS)
    values, counts = np.unique(latency_ns, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(value, count)
    start, end = windows_ns[0][0], windows_ns[-1][1]
    longest_ms = int(latency_ns.max()) / 1e6
    payload = histogram.encode().decode("ascii")
    return (
        "#[Histogram log format version 1.3]\n"
        "#[pytest-xsched: latencies in ns, times in s since the start of the run, "
        "Interval_Max in ms]\n"
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
        f"Tag={name},{start / 1e9:.3f},{(end - start) / 1e9:.3f},{longest_ms:.6f},{payload}\n"
    )

"""When is a figure worse than the few that were kept: by a margin, and by more than they differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pytest_xsched.stats.estimators import t_quantile

FEWEST = 3
"""Fewer kept figures show next to nothing of how much they differ."""
CHANCE = 0.03
"""Of a figure that is no worse: that chance alone puts it beyond the bound."""


def is_below(now: float, kept: Sequence[float], margin: float) -> bool:
    """Check whether a figure is below all that were kept, as `is_beyond` does for one above.

    Args:
        now: the figure, at least 0.
        kept: at least FEWEST, in any order.
        margin: a share, above 0 and below 1.
    """
    if not now < min(kept, default=0) or now >= statistics.median_low(kept) * (1 - margin):
        return False
    if not all(map(math.isfinite, kept)):  # a figure that never was reached has no spread
        return False
    return now == 0 or is_beyond(1 / now, [1 / value for value in kept], 0)


def is_beyond(now: float, kept: Sequence[float], margin: float) -> bool:
    """Check whether a figure is above all that were kept, by a margin and beyond their spread.

    It must exceed each of them, their median by the margin, and the upper bound of a prediction
    interval for one more figure, from the logarithms of the kept ones. bench/margin_rates.py
    simulates how often that is wrong.

    Args:
        now: the figure; inf: it never was reached.
        kept: at least FEWEST, in any order.
        margin: a share, at least 0.
    """
    if len(kept) < FEWEST or not now > max(kept):
        return False
    if now <= statistics.median_low(kept) * (1 + margin):
        return False
    return math.isinf(now) or now > prediction_bound(kept)


def prediction_bound(kept: Sequence[float]) -> float:
    """Return what one more figure exceeds by chance in CHANCE of all cases; all are above 0.

    Source: prediction interval of the normal distribution; G. J. Hahn, W. Q. Meeker, Statistical
    Intervals, 1991, section 4.
    """
    count = len(kept)
    logs = [math.log(value) for value in kept]
    spread = statistics.stdev(logs) * math.sqrt(1 + 1 / count)
    return math.exp(statistics.mean(logs) + t_quantile(1 - CHANCE, count - 1) * spread)

"""Whether a series gets larger with time, so that what was measured says little of what comes.

Pure functions of numpy arrays.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

ERROR = 0.01
"""Share of series without a trend that are taken to have one; it costs time and no verdict."""
LEAST = 8
"""Values without which the test's normal approximation says nothing."""


def rises(values: NDArray[np.float64], *, error: float = ERROR, share: float = 0.1) -> bool:
    """Check whether later values are larger than earlier ones, beyond chance and by some amount.

    The test of Mann and Kendall counts the pairs that rise against those that fall. The slope of
    Theil and Sen, the median of the slopes of all pairs, says by how much.

    Sources: H. Mann, Nonparametric Tests Against Trend, Econometrica 13(3), 1945; P. Sen, Estimates
    of the Regression Coefficient Based on Kendall's Tau, Journal of the American Statistical
    Association 63(324), 1968.

    Args:
        values: float64[n], in order of time; inf for what never completed. Fewer than 8 values
            show no trend.
        error: probability that independent values seem to rise, in (0, 0.5).
        share: of the median by which the series has to rise from its begin to its end.
    """
    n = len(values)
    if n < LEAST:
        return False
    i, j = np.triu_indices(n, 1)
    with np.errstate(invalid="ignore"):  # inf - inf: a pair that neither rises nor falls
        steps = np.nan_to_num(values[j] - values[i], nan=0.0)
    score = float(np.sign(steps).sum())
    _, ties = np.unique(values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if score <= 0 or variance <= 0:
        return False
    if (score - 1) / math.sqrt(variance) <= NormalDist().inv_cdf(1 - error):
        return False
    slope = float(np.median(steps / (j - i)))
    return slope * (n - 1) > share * abs(float(np.median(values)))

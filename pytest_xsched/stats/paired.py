"""Statistics of paired episodes: bounds of a difference that a few repetitions show.

Pure functions of float arrays, with one number per episode: the logarithm of a ratio, or a share.
Clocks, temperature and other load are the same for both arms of a pair, because they run in turn.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.errors import InvalidRun

LEVEL = 0.95
"""Level of the intervals: a bound on one side is wrong in 2.5 % of comparisons."""

_EXACT = 14  # episodes up to which every subset is taken: 16383 of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number from several episodes, with its bounds.

    Attributes:
        value: the mean over the episodes; of ratios the geometric one.
        low: lower bound at `LEVEL`; -inf (of ratios 0) where the episodes are too few for one.
        high: upper bound; inf where they are too few.
        episodes: the number of each, in order.
    """

    value: float
    low: float
    high: float
    episodes: tuple[float, ...]

    def __float__(self) -> float:
        """Return the value, which says nothing without its bounds.

        Raises:
            InvalidRun: there are none, because the episodes are too few.
        """
        if not math.isfinite(self.high):
            count = len(self.episodes)
            raise InvalidRun(
                f"no verdict: {count} episode{'s' * (count != 1)} give{'s' * (count == 1)} no "
                f"bounds, which takes at least {episodes_needed()}; .value is the number without"
            )
        return self.value

    def inverse(self) -> Estimate:
        """Return the estimate of 1 / ratio, for positive numbers."""
        return Estimate(
            value=1 / self.value,
            low=1 / self.high,
            high=1 / self.low if self.low > 0 else math.inf,
            episodes=tuple(1 / number for number in self.episodes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate in JSON's types; null for a bound that does not exist."""
        bounded = math.isfinite(self.high)
        return {
            "value": self.value,
            "low": self.low if bounded else None,
            "high": self.high if bounded else None,
            "episodes": list(self.episodes),
        }


def episodes_needed(level: float = LEVEL) -> int:
    """Return the fewest episodes that give bounds: 6 for 0.95."""
    return math.ceil(math.log2(2 / (1 - level)) - 1e-9)


def bounds(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Return bounds of the centre of the distribution from which the values were drawn.

    The means of all subsets of n values cut the line into 2**n parts. Each part holds the
    centre with the same probability, if the values are independent and symmetric about it. No other
    shape is assumed, and they need not be alike. (The sign-flip test, turned into an interval.)

    Source: J. Hartigan, Using Subsample Values as Typical Values, Journal of the American
    Statistical Association 64(328), 1969.

    Args:
        values: float64[n].
        level: probability that the centre is between the bounds, in (0, 1).

    Returns:
        Lower and upper bound; (-inf, inf) where n is below `episodes_needed`. Of more than 14
        values as many random subsets are taken as 14 values have, always the same.
    """
    n = len(values)
    means = _subset_means(np.asarray(values, np.float64))
    outside = math.floor((1 - level) / 2 * (len(means) + 1) + 1e-9)
    if n == 0 or outside == 0:
        return -math.inf, math.inf
    means.sort()
    return float(means[outside - 1]), float(means[-outside])


def mean_estimate(values: list[float]) -> Estimate:
    """Estimate the mean of a number that each episode has."""
    low, high = bounds(np.array(values))
    return Estimate(value=float(np.mean(values)), low=low, high=high, episodes=tuple(values))


def ratio_estimate(numerators: list[float], denominators: list[float]) -> Estimate:
    """Estimate a ratio, by the logarithms of the ratios of the episodes.

    Args:
        numerators: one positive number per episode.
        denominators: likewise, in the same order.
    """
    ratios = np.array(numerators, np.float64) / np.array(denominators, np.float64)
    logs = np.log(ratios)
    low, high = bounds(logs)
    return Estimate(
        value=math.exp(float(logs.mean())),
        low=math.exp(low),
        high=math.exp(high) if math.isfinite(high) else math.inf,
        episodes=tuple(ratios.tolist()),
    )


def show_bounds(estimate: Estimate) -> str:
    """Return the bounds of a number as text: "0.4 to 0.44"."""
    if not math.isfinite(estimate.high):
        return "no bounds"
    return f"{estimate.low:.4g} to {estimate.high:.4g}"


def noise_floor(same: Estimate) -> float:
    """Return the largest factor, at least 1, by which two equal arms may differ in these runs.

    Args:
        same: ratio of an arm to its own repetition.

    Returns:
        inf where the episodes are too few to say.
    """
    return max(same.high, 1 / same.low) if same.low > 0 else math.inf


def beyond(ratio: Estimate, floor: float) -> bool:
    """Return whether a ratio differs from 1, by its bounds and by more than the noise."""
    sure = ratio.low > 1 or ratio.high < 1
    return sure and max(ratio.value, 1 / ratio.value) > floor


def _subset_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    n = len(values)
    if n > _EXACT:
        chosen = np.random.default_rng(1969).random((2**_EXACT - 1, n)) < 0.5
        chosen[~chosen.any(axis=1), 0] = True
    else:
        every = list(itertools.product((False, True), repeat=n))[1:]
        chosen = np.array(every, bool).reshape(len(every), n)
    means: NDArray[np.float64] = chosen @ values / chosen.sum(axis=1)
    return means

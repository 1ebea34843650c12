"""Two groups of figures that were measured at other times: does one lie above the other?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

CHANCE = 0.05
"""The largest probability with which chance alone may show one of two equal groups to be above."""


def chance_above(lower: Sequence[float], upper: Sequence[float]) -> Fraction:
    """Return how often chance alone puts a group as far above another one as this one is.

    Exact, whatever the distribution, if the figures of both are drawn from one. Equal figures count
    as not above, so they make the chance larger.

    Source: H. B. Mann, D. R. Whitney, On a Test of whether one of Two Random Variables is
    Stochastically Larger than the Other, Annals of Mathematical Statistics 18(1), 1947.

    Args:
        lower: the group below, at least one figure.
        upper: the group above, at least one figure.
    """
    above = sum(y > x for x in lower for y in upper)
    counts = _arrangements(len(lower), len(upper))
    return Fraction(sum(counts[above:]), sum(counts))


def runs_missing(first: int, second: int) -> int:
    """Return how many more figures the second group needs before anything can be shown.

    That is 0 where complete separation of the groups is rarer by chance than `CHANCE`.

    Args:
        first: how many figures the other group has, at least 1.
        second: how many this one has.
    """
    more = 0
    while math.comb(first + second + more, first) * CHANCE < 1 - 1e-9:
        more += 1
    return more


def _arrangements(first: int, second: int) -> list[int]:
    """Return, for each count of pairs, how many orders of two groups have that many pairs."""
    size = first * second + 1
    counts = [1] + [0] * (size - 1)
    for i in range(1, second + 1):  # the Gaussian binomial coefficient, as a polynomial
        step = first + i
        for at in range(size - 1, step - 1, -1):
            counts[at] -= counts[at - step]
        for at in range(i, size):
            counts[at] += counts[at - i]
    return counts

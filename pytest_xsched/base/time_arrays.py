"""Many times at once: as exact as one by one, and some hundred times as fast.

A float times a unit is computed in floats. Only where that may round to another nanosecond than
exact arithmetic does, near a half and beyond thirteen days, the exact result is taken instead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def nearest_ns(
    numbers: NDArray[np.float64], unit_ns: int, exact: Callable[[int], int]
) -> NDArray[np.int64]:
    """Return numbers times a unit, each rounded to the nearest nanosecond.

    Args:
        numbers: float64[n], finite; each is off by at most half of its last digit.
        unit_ns: length of the unit, ns, below 2**53.
        exact: returns the exact result of the number at an index.

    Raises:
        OverflowError: a result does not fit an int64.
    """
    products = numbers * float(unit_ns)
    nearest = np.rint(products)
    distance = np.abs(np.abs(products - nearest) - 0.5)
    unsure = np.flatnonzero(distance <= 4 * np.spacing(np.abs(products)))
    sure = np.abs(products) < 2**53
    result = np.where(sure, nearest, 0).astype(np.int64)
    for index in unsure:
        result[index] = exact(int(index))
    return result


def whole_ns(numbers: NDArray[np.integer], unit_ns: int, most_ns: int) -> NDArray[np.int64] | None:
    """Return whole numbers times a unit as int64[n]; None: one lies beyond `most_ns`."""
    if len(numbers) and max(abs(int(numbers.min())), abs(int(numbers.max()))) * unit_ns > most_ns:
        return None
    return numbers.astype(np.int64) * unit_ns

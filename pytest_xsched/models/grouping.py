"""Where the graph of a model is cut, out of measured times: pure functions.

A graph may be cut at some positions only. Pieces are first as fine as pays to measure, and then
neighbours are joined until each command takes about the wanted time. A longer one shortens nothing,
and a shorter one costs a launch, some 5 us.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.scenario.grouping import nearest

PIECES_MAX = 256
"""Most pieces that are measured: each is a graph of its own meanwhile."""
_STEADY = 1.1
_STEADY_COUNT = 3


def finest(cuts: Sequence[int] | NDArray[np.int64], most: int = PIECES_MAX) -> list[int]:
    """Return the ends of at most `most` pieces, about equally many nodes each.

    Args:
        cuts: positions at which the graph may be cut, ascending; the last is its end.
        most: at least 1.

    >>> finest([1, 2, 3, 4, 5, 6], 3)
    [2, 4, 6]
    """
    ends = [int(cut) for cut in cuts]
    if len(ends) <= most:
        return ends
    wanted = [ends[-1] * (k + 1) / most for k in range(most)]
    return nearest(ends, [float(end) for end in ends], wanted)


def divided(
    cuts: Sequence[int] | NDArray[np.int64],
    ends: Sequence[int],
    times_ns: Sequence[int],
    most: int = 2 * PIECES_MAX,
) -> list[int]:
    """Return the ends of at most `most` pieces: the longest ones are cut wherever they may be.

    One piece of several long kernels would be a command that is longer than each of them.

    Args:
        cuts: positions at which the graph may be cut, ascending; the last is its end.
        ends: of the pieces so far, some of the cuts.
        times_ns: of each piece.
        most: at least the number of pieces.

    >>> divided([1, 2, 3, 4, 5, 6], [2, 4, 6], [10, 30, 20], 4)
    [2, 3, 4, 6]
    """
    inner: dict[int, list[int]] = {}
    for cut, piece in zip(cuts, np.searchsorted(ends, cuts), strict=True):
        inner.setdefault(int(piece), []).append(int(cut))
    found = set(ends)
    for piece in sorted(inner, key=lambda number: -times_ns[number]):
        finer = found.union(inner[piece])
        if len(finer) > most:
            break
        found = finer
    return sorted(found)


def is_steady(times_ns: Sequence[int]) -> bool:
    """Check whether the latest times of requests are no longer shorter than those before them.

    The median of the last three is compared with that of the three before, and may be a tenth less.
    """
    if len(times_ns) < 2 * _STEADY_COUNT:
        return False
    before = sorted(times_ns[-2 * _STEADY_COUNT : -_STEADY_COUNT])[_STEADY_COUNT // 2]
    latest = sorted(times_ns[-_STEADY_COUNT:])[_STEADY_COUNT // 2]
    return before <= _STEADY * latest

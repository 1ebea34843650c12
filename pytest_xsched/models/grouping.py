"""Where the graph of a model is cut, out of measured times: pure functions.

A graph may be cut at some positions only. Pieces are first as fine as pays to measure, and then
neighbours are joined until each command takes about the wanted time. A longer one shortens nothing,
and a shorter one costs a launch, some 5 us.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PIECES_MAX = 256
"""Most pieces that are measured: each is a graph of its own meanwhile."""
TARGET_NS = 100_000
"""Time of a command that `commands="auto"` aims at."""
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
    return _nearest(ends, [float(end) for end in ends], wanted)


def joined_by_time(
    ends: Sequence[int], times_ns: Sequence[int], target_ns: int = TARGET_NS
) -> list[int]:
    """Return the ends of commands that take about `target_ns`: neighbours are joined.

    The next piece is joined if that brings the command nearer to the target.

    Args:
        ends: of the pieces, ascending.
        times_ns: of each, in order.
        target_ns: above 0.

    >>> joined_by_time([1, 2, 3, 4], [60, 30, 500, 20], 100)
    [2, 3, 4]
    """
    joined: list[int] = []
    sum_ns = 0
    for i, end in enumerate(ends):
        sum_ns += times_ns[i]
        is_last = i + 1 == len(ends)
        if is_last or abs(sum_ns + times_ns[i + 1] - target_ns) > abs(sum_ns - target_ns):
            joined.append(end)
            sum_ns = 0
    return joined


def joined_by_count(ends: Sequence[int], times_ns: Sequence[int], count: int) -> list[int]:
    """Return the ends of about `count` commands of about equal time.

    Args:
        ends: of the pieces, ascending.
        times_ns: of each, in order.
        count: at least 1; there are no more commands than pieces.

    >>> joined_by_count([1, 2, 3, 4], [10, 10, 10, 30], 2)
    [3, 4]
    """
    if count >= len(ends):
        return list(ends)
    passed = np.cumsum(np.maximum(np.asarray(times_ns, np.float64), 1.0))
    wanted = [float(passed[-1]) * (k + 1) / count for k in range(count)]
    return _nearest(list(ends), passed.tolist(), wanted)


def _nearest(ends: list[int], places: list[float], wanted: list[float]) -> list[int]:
    """Return the ends whose places are nearest to the wanted ones, each once, and the last."""
    at = np.asarray(places)
    chosen = {int(np.argmin(np.abs(at - place))) for place in wanted}
    return [ends[i] for i in sorted(chosen | {len(ends) - 1})]


def is_steady(times_ns: Sequence[int]) -> bool:
    """Check whether the latest times of requests are no longer shorter than those before them.

    The median of the last three is compared with that of the three before, and may be a tenth less.
    """
    if len(times_ns) < 2 * _STEADY_COUNT:
        return False
    before = sorted(times_ns[-2 * _STEADY_COUNT : -_STEADY_COUNT])[_STEADY_COUNT // 2]
    latest = sorted(times_ns[-_STEADY_COUNT:])[_STEADY_COUNT // 2]
    return before <= _STEADY * latest

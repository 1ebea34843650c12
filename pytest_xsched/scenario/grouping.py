"""Which neighbouring pieces of a request become one command: pure functions of their times.

A model is cut into small pieces, whose times are measured. A command that is too long makes other
queues wait; one that is too short costs more to launch than it takes. `model()` and `recorded()`
group by the same rule.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_xsched.base.units import DurationLike, parse_duration, spell_duration
from pytest_xsched.base.validation import integer
from pytest_xsched.errors import ScenarioError

AUTO = "auto"
AUTO_NS = 100_000
"""Target of ``"auto"``: some 2 % of it is the cost of a launch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """How the pieces of a request become commands: of about a time, or about a number of them.

    Exactly one of the two is not 0.

    Args:
        target_ns: the longest time of a command of several pieces.
        count: number of commands.
    """

    target_ns: int = 0
    count: int = 0

    def ends(self, times_ns: Iterable[float], cuts: Sequence[int] | None = None) -> list[int]:
        """Return where each command ends, ascending; the last end is that of the request.

        Args:
            times_ns: of the pieces, in order.
            cuts: where each piece ends, ascending; default 1, 2, 3, ...
        """
        times = list(times_ns)
        count = len(times)
        last = by_time(times, self.target_ns) if self.target_ns else by_count(times, self.count)
        where = range(1, count + 1) if cuts is None else cuts
        return [int(where[i - 1]) for i in last]


def parse_grouping(value: int | DurationLike, *, what: str, most: int) -> Grouping:
    """Return the grouping that a user wrote: ``"auto"``, a number of commands, or a time.

    Args:
        value: ``"auto"`` (AUTO_NS), 8, or the time of a command, ``"50us"`` or ``50 * us``.
        what: origin of the value; an error message begins with it.
        most: the most commands.

    Raises:
        ScenarioError: it is none of them.

    >>> parse_grouping("50us", what="commands", most=4096)
    Grouping(target_ns=50000, count=0)
    """
    if isinstance(value, str) and value == AUTO:
        return Grouping(target_ns=AUTO_NS)
    if hasattr(value, "__index__"):
        return Grouping(count=integer(what, value, 1, most))
    try:
        return Grouping(target_ns=parse_duration(value, what=what, units=("us", "ms")))
    except ScenarioError as error:
        raise ScenarioError(
            f'{error}; commands are "auto", a number as 8, or the time of one as "50us"'
        ) from None


def spell_grouping(grouping: Grouping) -> int | str:
    """Return what `parse_grouping` reads as the same grouping."""
    return grouping.count or spell_duration(grouping.target_ns)


def by_time(times_ns: Sequence[float], target_ns: float) -> list[int]:
    """Group pieces into commands of at most a time; a piece that is longer is one by itself.

    Returns:
        For each command the number of pieces up to its end.

    >>> by_time([40, 40, 40, 500, 10, 10], 100)
    [2, 3, 4, 6]
    """
    ends: list[int] = []
    sum_ns = 0.0
    for i, time_ns in enumerate(times_ns):
        if i and sum_ns + time_ns > target_ns:
            ends.append(i)
            sum_ns = 0.0
        sum_ns += time_ns
    return [*ends, len(times_ns)]


def by_count(times_ns: Sequence[float], count: int) -> list[int]:
    """Group pieces into a number of commands whose times are as equal as the pieces allow.

    A command has at least one piece, so there are fewer commands if there are fewer pieces.

    Returns:
        For each command the number of pieces up to its end.

    >>> by_count([10, 10, 10, 70, 10, 10], 2), by_count([5, 5], 8)
    ([3, 6], [1, 2])
    """
    pieces = len(times_ns)
    count = min(count, pieces)
    sums = [0.0, *itertools.accumulate(times_ns)]
    ends: list[int] = []
    at = 0
    for k in range(1, count):
        ideal = sums[-1] * k / count
        last = pieces - (count - k)  # leaves a piece for each command after this one
        at += 1
        while at < last and abs(sums[at + 1] - ideal) <= abs(sums[at] - ideal):
            at += 1
        ends.append(at)
    return [*ends, pieces]

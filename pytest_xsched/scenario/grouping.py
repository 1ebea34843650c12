"""Which neighbouring pieces of a request become one command, out of their times: pure functions.

A command that is longer than it must be makes other queues wait, and a shorter one costs a launch,
some 5 us. `model()` and `recorded()` group by the same rule.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

from pytest_xsched.base.units import parse_duration, spell_duration
from pytest_xsched.base.validation import integer
from pytest_xsched.errors import ScenarioError

AUTO = "auto"
COMMANDS_MAX = 4096  # of a request: the limit of the native runner
TARGET_NS = 100_000
"""Time of a command that `commands="auto"` aims at."""


def checked_commands(what: str, given: Any) -> int | str:
    """Return `commands` as a user wrote it: ``"auto"``, a number, or a time spelled as a text.

    Raises:
        ScenarioError: it is none of them.

    >>> checked_commands("model(resnet)", "0.05ms")
    '50us'
    """
    if isinstance(given, str):
        if given == AUTO:
            return AUTO
        if given.strip().isdecimal():
            raise ScenarioError(f"{what}: commands {given!r} is a text; write {int(given)}")
    elif not hasattr(given, "total_seconds") and not hasattr(given, "ns"):
        return integer(f"{what}: commands", given, 1, COMMANDS_MAX)
    try:
        return spell_duration(parse_duration(given, what=f"{what}: commands"))
    except ScenarioError as error:
        raise ScenarioError(
            f'{error}; commands is a number of them, the time of one, as in "100us", or "auto"'
        ) from None


def grouped(ends: Sequence[int], times_ns: Sequence[int], commands: int | str) -> list[int]:
    """Return the ends of commands: about that number of them, or of about that time.

    Args:
        ends: of the pieces, ascending.
        times_ns: of each, in order.
        commands: see `checked_commands`.
    """
    if isinstance(commands, int):
        return joined_by_count(ends, times_ns, commands)
    if commands == AUTO:
        return joined_by_time(ends, times_ns)
    return joined_by_time(ends, times_ns, parse_duration(commands, what="commands"))


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
    passed = list(itertools.accumulate(max(float(ns), 1.0) for ns in times_ns))
    wanted = [passed[-1] * (k + 1) / count for k in range(count)]
    return nearest(list(ends), passed, wanted)


def nearest(ends: list[int], places: list[float], wanted: list[float]) -> list[int]:
    """Return the ends whose places are nearest to the wanted ones, each once, and the last."""
    chosen = set()
    for place in wanted:
        after = min(bisect.bisect_left(places, place), len(places) - 1)
        before = max(after - 1, 0)
        chosen.add(before if place - places[before] <= places[after] - place else after)
    return [ends[i] for i in sorted(chosen | {len(ends) - 1})]

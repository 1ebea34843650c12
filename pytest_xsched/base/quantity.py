"""A measured number that knows its unit, its n and its origin.

`assert run.high.p99 < "50ms"` reads like the target, and prints the figures when it fails. A
comparison is a verdict: it needs the same evidence as the assert_* helpers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from pytest_xsched.base.units import (
    Duration,
    Rate,
    format_duration,
    format_rate,
    parse_duration,
    parse_rate,
)
from pytest_xsched.errors import ScenarioError

Limit: TypeAlias = "str | Duration | Rate | timedelta | Quantity"


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A latency in ns or a rate in Hz, comparable with `"50ms"`, `50 * ms` or `"20/s"`.

    Attributes:
        value: ns (int) or Hz (float); inf for a latency that no request reached.
        unit: ``"ns"`` or ``"Hz"``.
        what: metric and queue, "P99 of high".
        detail: n, maximum and the like, for messages.
    """

    # numpy then leaves `np.timedelta64(50, "ms") > p99` and `np.float64(2) * p99` to this class.
    __array_ufunc__ = None

    value: float
    unit: str
    what: str
    detail: str = ""
    require: Callable[[], None] = field(default=lambda: None, repr=False)
    """Raises InvalidRun if no verdict may be based on this number."""

    def __str__(self) -> str:
        return show(self.value, self.unit)

    @property
    def measured_as(self) -> str:
        """Describe it where something else is wanted that must not be measured."""
        return f"{self.what}, {self}"

    def __float__(self) -> float:
        return float(self.value)

    def __lt__(self, limit: Limit) -> bool:
        __tracebackhide__ = True
        return self.value < self.other(limit)

    def __le__(self, limit: Limit) -> bool:
        __tracebackhide__ = True
        return self.value <= self.other(limit)

    def __gt__(self, limit: Limit) -> bool:
        __tracebackhide__ = True
        return self.value > self.other(limit)

    def __ge__(self, limit: Limit) -> bool:
        __tracebackhide__ = True
        return self.value >= self.other(limit)

    def __eq__(self, limit: object) -> bool:
        known = (str, int, float, Duration, Rate, timedelta, Quantity)
        if not isinstance(limit, known) and not hasattr(limit, "dtype"):
            return NotImplemented
        __tracebackhide__ = True
        return self.value == self.other(limit)  # type: ignore[arg-type]  # numbers are refused

    __hash__ = None  # type: ignore[assignment]

    def __truediv__(self, other: Quantity) -> float:
        """Return the ratio of two quantities of one unit, such as P99 / P50."""
        if not isinstance(other, Quantity):
            return NotImplemented
        return self.value / self.other(other) if self.other(other) else float("inf")

    def __mul__(self, factor: float) -> Quantity:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        return Quantity(
            self.value * factor, self.unit, f"{factor} * {self.what}", self.detail, self.require
        )

    __rmul__ = __mul__

    def other(self, limit: Limit) -> float:
        """Return the limit in the unit of this quantity, after checking that both may be judged."""
        __tracebackhide__ = True
        self.require()
        if isinstance(limit, Quantity):
            limit.require()
            if limit.unit != self.unit:
                raise ScenarioError(f"{self.what} and {limit.what} have different units")
            return limit.value
        what = f"limit for {self.what}"
        if self.unit == "ns":
            return parse_duration(limit, what=what, allow_zero=True)  # type: ignore[arg-type]
        return parse_rate(limit, what=what)  # type: ignore[arg-type]


_DIGITS = {"ns": 3, "Hz": 4, "": 4}
"""Significant digits in reports, by unit; a ratio has none."""


def show(value: float, unit: str, more: int = 0) -> str:
    """Return a latency, a rate or a ratio as text for reports, with `more` digits than usual."""
    digits = _DIGITS[unit] + more
    if unit == "Hz":
        return format_rate(value, digits)
    if unit == "":
        return f"{value:.{digits}g}"
    return "never" if value == math.inf else format_duration(int(value), digits)


def show_apart(value: float, limit: float, unit: str) -> tuple[str, str]:
    """Return a figure and its limit as texts with enough digits to differ.

    Both have at least the digits with which the user wrote the limit; see `show_given`.
    """
    least = _more(limit, unit)
    for more in range(least, 12):  # up to what a float holds
        texts = show(value, unit, more), show(limit, unit, more)
        if texts[0] != texts[1]:
            return texts
    return show(value, unit, least), show(limit, unit, least)


def show_given(value: float, unit: str) -> str:
    """Return a limit with all digits that the user wrote, unless they are endless: 1/min in Hz."""
    return show(value, unit, _more(value, unit))


def _more(value: float, unit: str) -> int:
    """Return how many digits more than usual a number takes; 0 if it takes too many."""
    for more in range(7):
        if math.isclose(float(f"{value:.{_DIGITS[unit] + more}g}"), value, rel_tol=1e-12):
            return more
    return 0

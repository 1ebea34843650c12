"""A measured number that knows its unit, its n and its origin.

`assert run.high.p99 < "50ms"` reads like the target, and prints the figures when it fails. A
comparison is a verdict: it needs the same evidence as the assert_* helpers.
"""

from __future__ import annotations

import math
import re
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
    unit_of,
)
from pytest_xsched.errors import InvalidRun, ScenarioError

Limit: TypeAlias = "str | Duration | Rate | timedelta | Quantity"


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A latency in ns or a rate in Hz, comparable with `"50ms"`, `50 * ms` or `"20/s"`.

    ``p99 - p50``, ``p99 + p50``, ``p99 - "1ms"`` and ``2 * p99`` are quantities that may be judged
    if all their parts may. ``p99 / p50`` and ``p99 / ms`` are numbers. As text a quantity has three
    digits (a rate: four) and its unit, ``5.12 ms``; a format says how many digits the number of
    that text has: ``f"{p99:.2f}"`` is ``5.12 ms``, and ``f"{p99:>12}"`` is the text in 12 columns.
    For figures of one unit throughout, write ``f"{p99 / ms:.2f}"``.

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

    def __format__(self, form: str) -> str:
        try:
            if not _OF_NUMBER.search(form):
                return format(str(self), form)
            if self.value == math.inf:
                return "never"
            if self.unit == "Hz":
                return f"{format(float(self.value), form)}/s"
            unit, size = unit_of(self.value)
            return f"{format(self.value / size, form)} {unit}"
        except ValueError:
            raise ScenarioError(
                f'{self.what}: a latency or a rate has no format {form!r}; write ".2f" for the '
                'digits of its number, or ">12" for columns'
            ) from None

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

    def __add__(self, other: Limit) -> Quantity:
        return _combined(self, "+", self._operand(other))

    def __radd__(self, other: Limit) -> Quantity:
        return _combined(self._operand(other), "+", self)

    def __sub__(self, other: Limit) -> Quantity:
        return _combined(self, "-", self._operand(other))

    def __rsub__(self, other: Limit) -> Quantity:
        return _combined(self._operand(other), "-", self)

    def _operand(self, other: Limit) -> Quantity:
        """Return what is added or subtracted as a quantity of the same unit."""
        if isinstance(other, Quantity):
            self._check_unit(other)
            return other
        value = self._parsed(other, f"sum or difference with {self.what}")
        return Quantity(value, self.unit, show_given(value, self.unit))

    def __truediv__(self, other: Quantity | Duration | Rate) -> float:
        """Return the ratio of two quantities of one unit, P99 / P50, or how many units it has."""
        if not isinstance(other, (Quantity, Duration, Rate)):
            return NotImplemented
        return self.value / self.other(other) if self.other(other) else float("inf")

    def __mul__(self, factor: float) -> Quantity:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        return Quantity(
            self.value * factor,
            self.unit,
            f"{factor} * {_bracketed(self.what)}",
            self.detail,
            self.require,
        )

    __rmul__ = __mul__

    def other(self, limit: Limit) -> float:
        """Return the limit in the unit of this quantity, after checking that both may be judged."""
        __tracebackhide__ = True
        self.require()
        if isinstance(limit, Quantity):
            limit.require()
            self._check_unit(limit)
            return limit.value
        return self._parsed(limit, f"limit for {self.what}")

    def _check_unit(self, other: Quantity) -> None:
        if other.unit != self.unit:
            raise ScenarioError(f"{self.what} and {other.what} have different units")

    def _parsed(self, limit: object, what: str) -> float:
        if self.unit == "ns":
            return parse_duration(limit, what=what, allow_zero=True)  # type: ignore[arg-type]
        return parse_rate(limit, what=what)  # type: ignore[arg-type]


def _combined(left: Quantity, sign: str, right: Quantity) -> Quantity:
    """Return the sum or the difference of two quantities of one unit.

    Raises:
        InvalidRun: a latency that no request reached is subtracted, which has no result.
    """
    __tracebackhide__ = True
    what = f"{left.what} {sign} {_bracketed(right.what) if sign == '-' else right.what}"
    if sign == "-" and right.value == math.inf:
        raise InvalidRun(f"{what} has no value, because {right.what} is never")

    def require() -> None:
        __tracebackhide__ = True
        left.require()
        right.require()

    value = left.value + right.value if sign == "+" else left.value - right.value
    details = dict.fromkeys(detail for detail in (left.detail, right.detail) if detail)
    return Quantity(
        value, left.unit, what, "; ".join([f"{left} {sign} {right}", *details]), require
    )


def _bracketed(what: str) -> str:
    """Return the description of an operand, in brackets if it is a sum or a difference."""
    return f"({what})" if re.search(" [-+] ", what) else what


_OF_NUMBER = re.compile(r"\.[0-9]+[a-zA-Z%]?$|[a-rt-zA-Z%]$")
"""A format with a precision or a type; others, such as ">12", are of texts."""

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

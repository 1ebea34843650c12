"""Times, rates and fractions as users write them, and as reports show them.

In the package a time is an int of nanoseconds and a rate is a float of Hz. A bare number is refused
as a time or a rate, because it does not show whether it means seconds or milliseconds.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from numbers import Integral, Real
from typing import TypeAlias, TypeGuard, overload

from pytest_xsched.errors import ScenarioError

MAX_NS = 3653 * 24 * 3600 * 10**9
"""The longest time accepted: ten years. Sums of a few such times still fit an int64."""

MAX_HZ = 1e9
"""The highest rate accepted: one request per nanosecond."""


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time, in whole nanoseconds; negative only as a result of a subtraction.

    >>> 50 * ms
    Duration(ns=50000000)
    >>> str(1.2 * s), (50 * ms) / (200 * us)
    ('1.2 s', 250.0)
    """

    # numpy scalars then leave `np.int64(3) * ms` to __rmul__ instead of making an array of it.
    __array_ufunc__ = None

    ns: int

    def __post_init__(self) -> None:
        if not isinstance(self.ns, int) or isinstance(self.ns, bool):
            raise ScenarioError(f"Duration: {self.ns!r} is not an int of nanoseconds")

    def __mul__(self, other: float) -> Duration:
        if not _is_number(other):
            return NotImplemented
        if isinstance(other, Integral):
            return Duration(self.ns * int(other))
        return Duration(_whole(self.ns * float(other), f"{other} * {self}"))

    __rmul__ = __mul__

    @overload
    def __truediv__(self, other: Duration) -> float: ...
    @overload
    def __truediv__(self, other: float) -> Duration: ...
    def __truediv__(self, other: Duration | float) -> Duration | float:
        if isinstance(other, Duration):
            return self.ns / other.ns
        if not _is_number(other):
            return NotImplemented
        return Duration(_whole(self.ns / float(other), f"{self} / {other}"))

    def __add__(self, other: Duration) -> Duration:
        return Duration(self.ns + other.ns) if isinstance(other, Duration) else NotImplemented

    def __sub__(self, other: Duration) -> Duration:
        return Duration(self.ns - other.ns) if isinstance(other, Duration) else NotImplemented

    def __str__(self) -> str:
        return format_duration(self.ns)


ns = Duration(1)
us = Duration(1_000)
ms = Duration(1_000_000)
s = Duration(1_000_000_000)
minutes = Duration(60_000_000_000)


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """A rate, in Hz.

    >>> str(20 * per_s), str(90 * per_min)
    ('20/s', '1.5/s')
    """

    __array_ufunc__ = None

    hz: float

    def __mul__(self, other: float) -> Rate:
        return Rate(self.hz * float(other)) if _is_number(other) else NotImplemented

    __rmul__ = __mul__

    def __str__(self) -> str:
        return format_rate(self.hz)


per_s = Rate(1.0)
per_min = Rate(1 / 60)

DurationLike: TypeAlias = str | Duration | timedelta
RateLike: TypeAlias = str | Rate

_UNIT_NS = {
    "ns": 1,
    "us": 10**3,
    "\N{MICRO SIGN}s": 10**3,
    "\N{GREEK SMALL LETTER MU}s": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
}
# No exponents, and a bounded number of digits: "1e999999999s" must not be computed exactly.
_QUANTITY = re.compile(
    r"\s*([+-]?)([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})\s*((?![0-9.])\S*)\s*"
)


def parse_duration(value: DurationLike, *, what: str, allow_zero: bool = False) -> int:
    """Return the nanoseconds of a time as a user writes it.

    Args:
        value: ``"50ms"`` (ns, us, ms, s, min, h), ``50 * ms`` or a timedelta.
        what: purpose or origin of the value; an error message begins with it.
        allow_zero: whether 0 is a sensible value here.

    Returns:
        Nanoseconds, rounded to the nearest, in [0, MAX_NS]; 0 only if `allow_zero`.

    Raises:
        ScenarioError: for a bare number, and for a value that is no time, negative, 0 or too long.
    """
    result = _exact_ns(value, what)
    if result < 0:
        raise ScenarioError(f"{what}: {_show(value)} is negative")
    if result > MAX_NS:
        raise ScenarioError(f"{what}: {_show(value)} is longer than ten years")
    whole = round(result)
    if whole == 0 and (result != 0 or not allow_zero):
        raise ScenarioError(f"{what}: {_show(value)} is {'zero' if result == 0 else 'below 1 ns'}")
    return whole


def _exact_ns(value: object, what: str) -> Fraction:
    if isinstance(value, Duration):
        return Fraction(value.ns)
    if isinstance(value, timedelta):
        return Fraction(value // timedelta(microseconds=1) * 1000)
    advice = 'write "{0}s", {0} * s or a timedelta'
    number, unit = _split(value, what, "time", advice, example="60")
    if unit not in _UNIT_NS:
        raise ScenarioError(
            f"{what}: {_show(value)} has an unknown unit; use ns, us, ms, s, min, h"
        )
    return number * _UNIT_NS[unit]


def parse_rate(value: RateLike, *, what: str) -> float:
    """Return the Hz of a rate as a user writes it.

    Args:
        value: ``"20/s"`` (any unit of time), ``"20 Hz"``, ``"2 kHz"`` or ``20 * per_s``.
        what: purpose or origin of the value; an error message begins with it.

    Returns:
        Hz, in (0, MAX_HZ].

    Raises:
        ScenarioError: for a bare number, and for a value that is no rate, 0, negative or too high.
    """
    if isinstance(value, Rate):
        hz = value.hz
    else:
        number, unit = _split(value, what, "rate", 'write "{0}/s" or {0} * per_s', example="20")
        hz = float(number * _unit_hz(unit, value, what))
    if math.isnan(hz) or hz <= 0:
        raise ScenarioError(f"{what}: {_show(value)} is not above zero")
    if hz > MAX_HZ:
        raise ScenarioError(f"{what}: {_show(value)} is above {MAX_HZ:g}/s")
    return hz


def _unit_hz(unit: str, value: object, what: str) -> Fraction:
    known = {"hz": 1, "khz": 1000}
    if unit.lower() in known:
        return Fraction(known[unit.lower()])
    if unit.startswith("/") and unit[1:] in _UNIT_NS:
        return Fraction(10**9, _UNIT_NS[unit[1:]])
    raise ScenarioError(f'{what}: {_show(value)} is not a rate; write "20/s", "20/min" or "20 Hz"')


def parse_fraction(value: str | float, *, what: str, allow_zero: bool = True) -> float:
    """Return a share of a whole as a number.

    Args:
        value: ``"1%"`` or ``0.01``; a bare number is fine, since it has no unit to guess.
        what: purpose or origin of the value; an error message begins with it.
        allow_zero: whether 0 is a sensible value here.

    Returns:
        A float in [0, 1]; 0 only if `allow_zero`.

    Raises:
        ScenarioError: for a value that is no number, outside [0, 1], or zero.
    """
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None or match[3] not in ("", "%"):
            raise ScenarioError(f'{what}: {_show(value)} is not a fraction; write "1%" or 0.01')
        result = float(Fraction(match[1] + match[2]) / (100 if match[3] else 1))
    elif _is_number(value):
        result = float(value)
    else:
        raise ScenarioError(f'{what}: {_show(value)} is not a fraction; write "1%" or 0.01')
    if not 0 <= result <= 1:
        raise ScenarioError(f"{what}: {_show(value)} is outside [0, 1] (0% to 100%)")
    if result == 0 and not allow_zero:
        raise ScenarioError(f"{what}: {_show(value)} is zero, which any run would meet")
    return result


def format_duration(ns: int, digits: int = 3) -> str:
    """Return a time with three significant digits, or more, in ns, us, ms or s.

    >>> format_duration(740_000), format_duration(1_200_000_000), format_duration(999_950)
    ('740 us', '1.2 s', '1 ms')
    """
    for unit, size in (("ns", 1), ("us", 10**3), ("ms", 10**6)):
        if ns and abs(ns) < 999.5 * size:
            return f"{format_number(ns / size, digits)} {unit}"
    return f"{format_number(ns / 10**9, digits)} s"


def spell_duration(ns: int) -> str:
    """Return a time as text from which `parse_duration` reads the same nanoseconds.

    >>> spell_duration(500_000), spell_duration(1_234_500), spell_duration(0)
    ('500us', '1.2345ms', '0s')
    """
    units = (("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9))
    unit, size = next((pair for pair in units if 0 < abs(ns) < 1000 * pair[1]), units[-1])
    sign, (whole, rest) = "-" if ns < 0 else "", divmod(abs(ns), size)
    decimals = f"{rest:0{len(str(size)) - 1}d}".rstrip("0") if rest else ""
    return f"{sign}{whole}{'.' if decimals else ''}{decimals}{unit}"


def format_rate(hz: float, digits: int = 4) -> str:
    """Return a rate per second with four significant digits, or more.

    >>> format_rate(19.99), format_rate(20.0), format_rate(12345.6)
    ('19.99/s', '20/s', '12346/s')
    """
    return f"{format_number(hz, digits)}/s"


def format_number(value: float, digits: int) -> str:
    """Return a number with `digits` significant digits, and all digits before the point."""
    return f"{value:.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def _split(
    value: object, what: str, noun: str, advice: str, *, example: str
) -> tuple[Fraction, str]:
    """Return number and unit of a text; refuse everything else, with advice how to write it."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is not None and match[3]:
            return Fraction(match[1] + match[2]), match[3]
        fault = f"is not a {noun}" if match is None else "has no unit"
        if match is not None and not match[1]:
            example = match[2]
    elif _is_number(value):
        finite = math.isfinite(value)
        fault = "has no unit" if finite else "is not finite"
        if 1e-3 <= value < 1e9:  # what str() writes without an exponent
            example = str(value)
    else:
        fault = f"is not a {noun} but of type {type(value).__name__}"
    raise ScenarioError(f"{what}: {_show(value)} {fault}; {advice.format(example)}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _whole(value: float, source: str) -> int:
    if not math.isfinite(value):
        raise ScenarioError(f"{source} is not a finite time")
    return round(value)


def _show(value: object) -> str:
    """Return a value as text for a message: texts in quotes, times and rates as in reports."""
    return str(value) if isinstance(value, (Duration, Rate, timedelta)) else repr(value)

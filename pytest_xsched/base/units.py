"""Times, rates and fractions as users write them, and as reports show them.

In the package a time is an int of nanoseconds and a rate is a float of Hz. A bare number is refused
as a time or a rate, because it does not show whether it means seconds or milliseconds. Durations of
other libraries are read exactly or refused: nothing below a nanosecond is cut.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, overload

from pytest_xsched.errors import ScenarioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_NS = 3653 * 24 * 3600 * 10**9
"""The longest time accepted: ten years. Sums of a few such times still fit an int64."""

MAX_HZ = 1e9
"""The highest rate accepted: one request per nanosecond."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time, in whole nanoseconds; negative only as a result of a subtraction.

    >>> 50 * ms
    Duration(ns=50000000)
    >>> str(1.2 * s), (50 * ms) / (200 * us)
    ('1.2 s', 250.0)
    >>> 50 * ms < "1s"
    True
    """

    # numpy scalars then leave `np.int64(3) * ms` to __rmul__ instead of making an array of it.
    __array_ufunc__ = None

    ns: int

    def __post_init__(self) -> None:
        if not isinstance(self.ns, int) or isinstance(self.ns, bool):
            raise ScenarioError(f"Duration: {self.ns!r} is not an int of nanoseconds")

    @overload
    def __mul__(self, other: float | Decimal) -> Duration: ...
    @overload
    def __mul__(self, other: NDArray[Any]) -> NDArray[np.timedelta64]: ...
    def __mul__(self, other: Any) -> Any:
        """Return the multiple; of an array of numbers an array of timedelta64, in ns."""
        if _is_array(other):
            return _array_of_times(other, self.ns)
        if not _is_factor(other):
            return NotImplemented
        return Duration(_whole(other, f"{other} * {self}", lambda factor: factor * self.ns))

    __rmul__ = __mul__

    @overload
    def __truediv__(self, other: Duration) -> float: ...
    @overload
    def __truediv__(self, other: float | Decimal) -> Duration: ...
    def __truediv__(self, other: Duration | float | Decimal) -> Duration | float:
        if isinstance(other, Duration):
            if other.ns == 0:
                raise ScenarioError(f"{self} / {other} divides by zero")
            return self.ns / other.ns
        if not _is_factor(other):
            return NotImplemented
        if other == 0:
            raise ScenarioError(f"{self} / {other} divides by zero")
        # A quotient of whole numbers, as of a second by 3, is rounded like that of a float.
        divisor = float(other) if isinstance(other, Integral) else other
        return Duration(_whole(divisor, f"{self} / {other}", lambda by: self.ns / by))

    def __add__(self, other: Duration) -> Duration:
        return Duration(self.ns + other.ns) if isinstance(other, Duration) else NotImplemented

    def __sub__(self, other: Duration) -> Duration:
        return Duration(self.ns - other.ns) if isinstance(other, Duration) else NotImplemented

    def __lt__(self, other: DurationLike) -> bool:
        limit_ns = self._limit_ns(other)
        return NotImplemented if limit_ns is None else self.ns < limit_ns

    def __le__(self, other: DurationLike) -> bool:
        limit_ns = self._limit_ns(other)
        return NotImplemented if limit_ns is None else self.ns <= limit_ns

    def __gt__(self, other: DurationLike) -> bool:
        limit_ns = self._limit_ns(other)
        return NotImplemented if limit_ns is None else self.ns > limit_ns

    def __ge__(self, other: DurationLike) -> bool:
        limit_ns = self._limit_ns(other)
        return NotImplemented if limit_ns is None else self.ns >= limit_ns

    def _limit_ns(self, other: object) -> int | None:
        """Return the ns of a time as a user writes it; None: it is for `other` to compare."""
        if isinstance(other, Duration):
            return other.ns
        if isinstance(other, (str, timedelta)):
            return parse_duration(other, what=f"limit for {self}", allow_zero=True)
        return None

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

    def __mul__(self, other: float | Decimal) -> Rate:
        return Rate(self.hz * float(other)) if _is_factor(other) else NotImplemented

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
# A bounded number of digits, also of an exponent, as in f"{t}s" of a small t, which is "2.5e-05s":
# "1e999999999s" must not be computed exactly.
_QUANTITY = re.compile(
    r"\s*([+-]?)((?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?)"
    r"\s*((?![0-9.])\S*)\s*"
)
_DIGITS = re.compile("[0-9.]*", re.ASCII)
TIME_UNITS = ("ms", "s")
"""The units in which people think of a limit; a run is thought of in others."""


def parse_duration(
    value: DurationLike,
    *,
    what: str,
    allow_zero: bool = False,
    units: tuple[str, str] = TIME_UNITS,
) -> int:
    """Return the nanoseconds of a time as a user writes it.

    Args:
        value: ``"50ms"`` (ns, us, ms, s, min, h), ``50 * ms``, a timedelta, or a timedelta64 of
            numpy or pandas.
        what: purpose or origin of the value; an error message begins with it.
        allow_zero: whether 0 is a sensible value here.
        units: the two units that a bare number may mean here, for the error message.

    Returns:
        Nanoseconds in [0, MAX_NS], those of a text rounded to the nearest; 0 only if `allow_zero`.

    Raises:
        ScenarioError: for a bare number, for a value that is no time, negative, 0 or too long, and
            for an object whose exact time is not a whole number of nanoseconds.
    """
    result = _exact_ns(value, what, units)
    if result < 0:
        raise ScenarioError(f"{what}: {_show(value)} is negative")
    if result > MAX_NS:
        raise ScenarioError(f"{what}: {_show(value)} is longer than ten years")
    whole = round(result)
    if whole == 0 and (result != 0 or not allow_zero):
        raise ScenarioError(f"{what}: {_show(value)} is {'zero' if result == 0 else 'below 1 ns'}")
    if whole != result and not isinstance(value, str):
        raise ScenarioError(
            f"{what}: {_show(value)} is not a whole number of nanoseconds; round it first"
        )
    return whole


def parse_durations(values: Sequence[Any] | NDArray[Any], *, what: str) -> list[int]:
    """Return the nanoseconds of many times, 0 included; see `parse_duration`.

    Args:
        values: texts, numbers times a unit, an array of timedelta64.
        what: purpose of the times; an error message begins with "time 3 of" it.
    """
    fast = _times_of_array(values) if _is_array(values) else _times_of_list(list(values))
    if fast is not None and (not fast or (min(fast) >= 0 and max(fast) <= MAX_NS)):
        return fast
    return [  # also where a value is refused: one by one, for the sentence
        parse_duration(value, what=f"time {index} of {what}", allow_zero=True)
        for index, value in enumerate(values)
    ]


def _times_of_array(values: Any) -> list[int] | None:
    """Return the times of an array of timedelta64; None: they have to be read one by one."""
    import numpy as np

    from pytest_xsched.base.time_arrays import whole_ns

    if values.dtype.kind != "m" or values.ndim != 1:
        return None
    unit, count = np.datetime_data(values.dtype)
    unit_ns = _NUMPY_NS.get(unit, Fraction(1, 2)) * count
    if unit_ns.denominator != 1 or np.isnat(values).any():
        return None
    whole = whole_ns(values.astype(np.int64), int(unit_ns), MAX_NS)
    return None if whole is None else whole.tolist()


def _times_of_list(values: Sequence[Any]) -> list[int] | None:
    """Return the times of a list that is all texts of one unit, or all of one type."""
    kinds = set(map(type, values))
    if kinds == {Duration}:
        return [value.ns for value in values]
    if kinds == {timedelta}:
        micro = timedelta(microseconds=1)
        return [value // micro * 1000 for value in values]
    if kinds != {str}:
        return None
    first = _QUANTITY.fullmatch(str(values[0]))
    if first is None or first[3] not in _UNIT_NS:
        return None
    return _times_of_texts(values, first[3])


def _times_of_texts(texts: Sequence[str], unit: str) -> list[int] | None:
    """Return the times of texts such as "12.5ms" that all have one unit."""
    import numpy as np

    from pytest_xsched.base.time_arrays import nearest_ns

    numbers = [text[: -len(unit)] for text in texts if text.endswith(unit)]
    # Plain digits only, and not too many of them: all else is read one by one.
    if len(numbers) != len(texts) or not _DIGITS.fullmatch("".join(numbers)):
        return None
    try:
        floats = np.array(list(map(float, numbers)))
    except ValueError:
        return None
    if max(map(len, numbers)) > 30 or (floats * float(_UNIT_NS[unit]) > MAX_NS).any():
        return None
    unit_ns = _UNIT_NS[unit]
    whole = nearest_ns(floats, unit_ns, lambda index: round(Fraction(numbers[index]) * unit_ns))
    below = (whole == 0) & (floats != 0)  # "below 1 ns", which is refused
    return None if below.any() else whole.tolist()


def refuse_swapped(time: object, other: object, form: str) -> None:
    """Refuse a time that stands where another argument should, and show the right order.

    Args:
        time: the argument that should be a time.
        other: the argument that should be something else.
        form: the call in the right order.
    """
    if _is_time(other) and not _is_time(time):
        raise ScenarioError(
            f"{_show(time)} and {_show(other)} are in the wrong order; write {form}"
        )


def refuse_measured(value: object, what: str, example: str) -> None:
    """Refuse a measured number where something is wanted that is known before the run.

    Args:
        value: of the user.
        what: purpose or origin of the value.
        example: what to write.
    """
    shown = getattr(value, "measured_as", None)
    if shown is not None:
        raise ScenarioError(
            f"{what}: {shown}, was measured, and this must be known before; write {example}, or "
            "compare two measured numbers, as in assert run.high.p99 < run.low.p99"
        )


def _is_time(value: object) -> bool:
    try:
        _exact_ns(value, "", TIME_UNITS)
    except ScenarioError:
        return False
    return True


def _exact_ns(value: object, what: str, units: tuple[str, str]) -> Fraction:
    if isinstance(value, Duration):
        return Fraction(value.ns)
    refuse_measured(value, what, f'"50{units[0]}"')
    if type(value) is timedelta:
        return Fraction(value // timedelta(microseconds=1) * 1000)
    # pandas' Timedelta is a timedelta whose nanoseconds only its own method returns.
    exact = value.to_timedelta64() if hasattr(value, "to_timedelta64") else value
    if getattr(exact, "shape", None) == () and _dtype_kind(exact) == "m":
        return _numpy_ns(exact, what)
    if _dtype_kind(value) == "M" or type(value).__name__ in ("Timestamp", "datetime"):
        raise ScenarioError(
            f"{what}: {_show(value)} is a moment, not a length of time; subtract the first moment"
        )
    if _is_number(value) and value >= 10**6:  # of a clock that counts in nanoseconds
        units = ("ns", units[0])
    number, unit = _split(value, what, "time", tuple(f"{{0}}{unit}" for unit in units), "50")
    if unit not in _UNIT_NS:
        raise ScenarioError(
            f"{what}: {_show(value)} has an unknown unit; use ns, us, ms, s, min, h"
        )
    return number * _UNIT_NS[unit]


_NUMPY_NS = {
    **{unit: Fraction(_UNIT_NS[unit]) for unit in ("ns", "us", "ms", "s", "h")},
    "W": Fraction(7 * 24 * 3600 * 10**9),
    "D": Fraction(24 * 3600 * 10**9),
    "m": Fraction(60 * 10**9),
    "ps": Fraction(1, 10**3),
    "fs": Fraction(1, 10**6),
    "as": Fraction(1, 10**9),
}


def _dtype_kind(value: object) -> str | None:
    return getattr(getattr(value, "dtype", None), "kind", None)


def _numpy_ns(value: Any, what: str) -> Fraction:
    """Return the exact nanoseconds of a timedelta64 of numpy, in any of its units."""
    import numpy as np

    unit, count = np.datetime_data(value.dtype)
    if np.isnat(value):
        raise ScenarioError(f"{what}: {_show(value)} is not a time")
    if unit not in _NUMPY_NS:
        fault = "has no unit" if unit == "generic" else "counts months, which differ in length"
        raise ScenarioError(f'{what}: {_show(value)} {fault}; write np.timedelta64(50, "ms")')
    return int(value.astype(np.int64)) * count * _NUMPY_NS[unit]


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
        refuse_measured(value, what, '"20/s"')
        number, unit = _split(value, what, "rate", ("{0}/s", "{0}/min"), "20")
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
    text = str(value).strip()
    if unit in _UNIT_NS and not text.startswith(("-", "0")):  # the time between two requests
        per_second = float(Fraction(10**9, _UNIT_NS[unit]) / Fraction(text.removesuffix(unit)))
        raise ScenarioError(
            f"{what}: {_show(value)} is a time, not a rate; one request every {text} is "
            f'"{format_rate(per_second)}"'
        )
    number = text.removesuffix(unit).strip()
    raise ScenarioError(
        f'{what}: {_show(value)} is not a rate; write "{number}/s", "{number}/min" or "{number} Hz"'
    )


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
    refuse_measured(value, what, '"50%"')
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None or match[3] not in ("", "%"):
            raise ScenarioError(f'{what}: {_show(value)} is not a fraction; write "1%" or 0.01')
        result = float(Fraction(match[1] + match[2]) / (100 if match[3] else 1))
    elif isinstance(value, Decimal) or _is_number(value):
        result = float(value)
    else:
        raise ScenarioError(f'{what}: {_show(value)} is not a fraction; write "1%" or 0.01')
    if not 0 <= result <= 1:
        advice = ""
        if 1 < result <= 100 and "%" not in str(value):  # 99, which is to be 99 percent
            advice = f'; write "{result:g}%" or {result / 100:.12g}'
        raise ScenarioError(f"{what}: {_show(value)} is outside [0, 1] (0% to 100%){advice}")
    if result == 0 and not allow_zero:
        raise ScenarioError(f"{what}: {_show(value)} is zero, which any run would meet")
    return result


def format_duration(ns: int, digits: int = 3) -> str:
    """Return a time with three significant digits, or more, in ns, us, ms or s.

    >>> format_duration(740_000), format_duration(1_200_000_000), format_duration(999_950)
    ('740 us', '1.2 s', '1 ms')
    """
    unit, size = unit_of(ns)
    return f"{format_number(ns / size, digits)} {unit}"


def unit_of(ns: float) -> tuple[str, int]:
    """Return the unit in which a time is shown, and its length in ns."""
    for unit, size in (("ns", 1), ("us", 10**3), ("ms", 10**6)):
        if ns and abs(ns) < 999.5 * size:
            return unit, size
    return "s", 10**9


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
    value: object, what: str, noun: str, forms: tuple[str, ...], example: str
) -> tuple[Fraction, str]:
    """Return number and unit of a text; refuse everything else, and say how to write it.

    Args:
        value: as the user wrote it.
        what: purpose or origin of the value.
        noun: what the value should be.
        forms: the texts that a bare number may mean, with {0} in place of the number. There are at
            least two, because only the user knows which one is meant.
        example: number for the advice where the value has none.
    """
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is not None and match[3]:
            return Fraction(match[1] + match[2]), match[3]
        fault = f"is not a {noun}" if match is None else "has no unit"
        if match is not None and not match[1]:
            example = match[2]
    elif isinstance(value, Decimal) or _is_number(value):
        finite = math.isfinite(value)
        fault = "has no unit" if finite else "is not finite"
        if finite and value > 0:
            example = str(float(value) if isinstance(value, Fraction) else value)
    elif _is_array(value):
        fault = f"is an array, not a {noun}"
    else:
        fault = f"is not a {noun} but of type {type(value).__qualname__}"
    advice = " or ".join(f'"{form.format(example)}"' for form in forms)
    raise ScenarioError(f"{what}: {_show(value)} {fault}; write {advice}")


def _is_number(value: object) -> TypeGuard[float]:
    # numpy counts its timedelta64 among the whole numbers.
    return isinstance(value, Real) and not isinstance(value, bool) and _dtype_kind(value) != "m"


def _is_factor(value: object) -> TypeGuard[float | Decimal]:
    return _is_number(value) or isinstance(value, Decimal)


def _is_array(value: object) -> TypeGuard[NDArray[Any]]:
    """Check for an array of numpy, without importing it; a scalar of numpy is none."""
    return type(value).__name__ == "ndarray" and _dtype_kind(value) is not None


def _array_of_times(numbers: NDArray[Any], unit_ns: int) -> NDArray[np.timedelta64]:
    """Return an array of numbers times a unit, rounded like a single float times a unit."""
    import numpy as np

    if numbers.dtype.kind not in "iuf":
        raise ScenarioError(
            f"{_show(numbers)} * {Duration(unit_ns)}: an array of {numbers.dtype} has no numbers"
        )
    from pytest_xsched.base.time_arrays import nearest_ns, whole_ns

    flat = numbers.ravel()
    result: NDArray[np.int64] | None = None
    if flat.dtype.kind in "iu":
        result = whole_ns(flat, unit_ns, MAX_NS)
    elif np.isfinite(flat).all() and (np.abs(flat) * float(unit_ns) <= MAX_NS).all():
        result = nearest_ns(
            flat.astype(np.float64),
            unit_ns,
            lambda index: _whole(flat[index], "an array * a time", lambda n: n * unit_ns),
        )
    if result is None:
        for number in flat:
            _whole(number, "an array * a time", lambda n: n * unit_ns)
        raise ScenarioError(f"{_show(numbers)} * {Duration(unit_ns)} is longer than ten years")
    return result.astype("timedelta64[ns]").reshape(numbers.shape)


def _whole(value: float | Decimal, source: str, times: Callable[[Fraction], Fraction]) -> int:
    """Return a multiple in whole nanoseconds: that of a float is rounded, another must be exact."""
    if not math.isfinite(value):
        raise ScenarioError(f"{source} is not a finite time")
    is_exact = isinstance(value, (Decimal, Rational))
    if isinstance(value, Integral):
        factor = Fraction(int(value))  # a whole number of numpy would overflow
    else:
        factor = Fraction(value) if is_exact else Fraction(float(value))
    result = times(factor)
    if is_exact and result != round(result):
        raise ScenarioError(f"{source} is not a whole number of nanoseconds; round it first")
    return round(result)


def _show(value: object) -> str:
    """Return a value as one short line for a message: texts in quotes, times as in reports."""
    if isinstance(value, (Duration, Rate, timedelta)) or _is_factor(value):
        return str(value)
    return one_line(value)


def one_line(value: object) -> str:
    """Return the repr of any value as one line of at most some 80 characters."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    text = " ".join(_repr.repr(value).split())
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."


_SHOWN_MAX = 80
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _SHOWN_MAX

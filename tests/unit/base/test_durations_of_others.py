"""Times as numpy, pandas, pint and the standard library have them: taken exactly, or refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_xsched import closed, matmul, replay, spin
from pytest_xsched.base.quantity import Quantity
from pytest_xsched.base.units import (
    Duration,
    ms,
    one_line,
    parse_duration,
    parse_durations,
    parse_rate,
    per_s,
    s,
)
from pytest_xsched.errors import ScenarioError


class FakeTimedelta(timedelta):
    """Like pandas' Timedelta: a timedelta that counts nanoseconds, which timedelta cuts."""

    def to_timedelta64(self):
        return np.timedelta64(1500, "ns")


class FakeQuantity:
    """Like a quantity of pint."""

    def __repr__(self):
        return "<Quantity(50, 'millisecond')>"


@pytest.mark.parametrize("seconds", [2.5e-05, 1e-9, 0.1, 1e3, 1.5e5])
def test_a_float_of_seconds_as_text_is_read_also_with_an_exponent(seconds):
    assert parse_duration(f"{seconds}s", what="limit") == round(seconds * 1e9)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.timedelta64(50, "ms"), 50_000_000),
        (np.timedelta64(1, "D"), 86_400_000_000_000),
        (np.timedelta64(3, "m"), 180_000_000_000),
        (np.timedelta64(5, "25s"), 125_000_000_000),
        (np.timedelta64(2000, "ps"), 2),
        (np.array(50, "m8[ms]"), 50_000_000),
        (FakeTimedelta(microseconds=1), 1500),
        (0.05 * s, 50_000_000),
        (Decimal("0.05") * s, 50_000_000),
        (Fraction(1, 20) * s, 50_000_000),
        (s / Decimal(4), 250_000_000),
        (1.0 * Duration(2**53 + 1), 2**53 + 1),
    ],
)
def test_an_exact_duration_of_another_library_is_taken_exactly(value, expected):
    assert parse_duration(value, what="limit") == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.timedelta64(1500, "ps"), "is not a whole number of nanoseconds; round it first"),
        (np.timedelta64(1, "M"), "counts months, which differ in length"),
        (np.timedelta64("NaT", "ns"), "is not a time"),
        (np.timedelta64(-5, "ms"), "is negative"),
        (np.timedelta64(10**6, "W"), "is longer than ten years"),
        (np.datetime64("2020-01-01"), "is a moment, not a length of time; subtract the first"),
        (datetime(2020, 1, 1), "is a moment, not a length of time; subtract the first moment"),
        (np.array([1, 2], "m8[ms]"), "is an array, not a time"),
        (np.float64(50), '50.0 has no unit; write "50.0ms" or "50.0s"'),
        (np.int64(50), '50 has no unit; write "50ms" or "50s"'),
        (Decimal("0.05"), '0.05 has no unit; write "0.05ms" or "0.05s"'),
        (Fraction(1, 20), '1/20 has no unit; write "0.05ms" or "0.05s"'),
        (Decimal("NaN"), "NaN is not finite"),
        (FakeQuantity(), "is not a time but of type FakeQuantity; write "),
        (type("Own", (timedelta,), {})(seconds=1), "is not a time but of type Own; write "),
        (list(range(10**4)), "is not a time but of type list; write "),
    ],
)
def test_what_is_not_exact_is_refused_in_one_short_sentence(value, words):
    with pytest.raises(ScenarioError) as error:
        parse_duration(value, what="limit")
    text = str(error.value)
    assert text.startswith("limit: ") and words in text
    assert "\n" not in text and len(text) < 250


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (50, 'write "50ms" or "50s"'),
        ("50", 'write "50ms" or "50s"'),
        (0.05, 'write "0.05ms" or "0.05s"'),
        (50_000_000, 'write "50000000ns" or "50000000ms"'),  # of time.perf_counter_ns()
    ],
)
def test_a_bare_limit_is_answered_with_two_units_so_that_no_pasted_one_is_a_green_gate(
    number, advice
):
    p99 = Quantity(5_000_000, "ns", "P99 of high")
    for judge in (lambda: parse_duration(number, what="limit"), lambda: p99 < number):
        with pytest.raises(ScenarioError) as error:
            judge()
        assert str(error.value).endswith(f"has no unit; {advice}")


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: spin(5), 'write "5us" or "5ms"'),
        (lambda: closed(think=5), 'write "5ms" or "5s"'),
        (lambda: parse_rate(20, what="rate"), 'write "20/s" or "20/min"'),
        (lambda: parse_rate("20 rps", what="rate"), 'write "20/s", "20/min" or "20 Hz"'),
        (lambda: parse_rate("50ms", what="rate"), 'one request every 50ms is "20/s"'),
        (lambda: spin("1ms", fill=50), 'write "50%" or 0.5'),
        (lambda: spin("1ms", fill="150%"), "is outside [0, 1] (0% to 100%)"),
    ],
)
def test_the_advice_is_what_people_mean_by_the_quantity(make, advice):
    with pytest.raises(ScenarioError) as error:
        make()
    assert str(error.value).endswith(advice)


def test_shares_are_read_as_percent_too():
    assert spin("1ms", fill="50%") == spin("1ms", fill=0.5)


def test_an_array_times_a_unit_is_an_array_of_exact_times():
    times = np.array([0.1, 0.2]) * s
    assert times.dtype == "timedelta64[ns]" and times.tolist() == [100_000_000, 200_000_000]
    assert (ms * np.arange(4).reshape(2, 2)).tolist() == [[0, 10**6], [2 * 10**6, 3 * 10**6]]
    for wrong in (np.array([np.nan]), np.array([1e30]), np.array(["1"])):
        with pytest.raises(ScenarioError):
            wrong * s
    with pytest.raises(TypeError):
        np.timedelta64(1, "s") * s
    with pytest.raises(TypeError):
        np.timedelta64(1, "s") * per_s


def test_replay_takes_what_numpy_made_of_recorded_times():
    moments = np.array(["2020-01-01T00:00:00.001", "2020-01-01T00:00:01"], "M8[ms]")
    assert replay(moments - moments[0]).times_ns == (0, 999_000_000)
    assert replay(np.diff(moments)).times_ns == (999_000_000,)
    assert replay(np.array([0.1, 0.2]) * s).times_ns == (100_000_000, 200_000_000)
    with pytest.raises(ScenarioError, match=r"^time 0 of replay: .* is a moment, not a length"):
        replay(moments)
    with pytest.raises(ScenarioError, match=r"has no unit; write replay\(times \* s\) or "):
        replay(np.array([0.1, 0.2]))


def test_quantities_compare_with_times_of_numpy_from_both_sides():
    p99 = Quantity(5_000_000, "ns", "P99 of high")
    assert p99 < np.timedelta64(6, "ms") and np.timedelta64(6, "ms") > p99
    assert p99 == np.timedelta64(5, "ms") and np.float64(2) * p99 == "10ms"


def test_pandas_as_it_is():
    pd = pytest.importorskip("pandas")
    assert parse_duration(pd.Timedelta(1500, "ns"), what="limit") == 1500
    recorded = pd.Series(pd.to_timedelta([1, 2], unit="ms"))
    assert replay(recorded).times_ns == replay(recorded.values).times_ns == (10**6, 2 * 10**6)
    with pytest.raises(ScenarioError, match="NaT is not a time"):
        parse_duration(pd.NaT, what="limit")


def test_any_value_is_shown_in_one_short_line():
    assert len(one_line(np.arange(10**5).reshape(100, -1))) <= 80
    assert "\n" not in one_line(np.arange(100).reshape(10, -1))
    assert len(one_line(matmul(64, layers=4000))) <= 80


@pytest.mark.parametrize(
    "values",
    [
        [f"{i / 7:.9f}s" for i in range(200)],
        ["0.0000000015s", "2.5000000005s", "1.0000000025s"],  # halves
        ["1209600.0000000015s", "99999999.123456789s"],  # a float would cut digits
        ["0us", "12.us", ".5us"],
        [timedelta(microseconds=7), timedelta(days=3)],
        [5 * ms, 2 * s],
        np.array([0, 7, 3], "m8[3s]"),
        np.array([5, 6], "m8[25ns]"),
        np.array([2000, 5000], "m8[ps]"),
        ["1e3ms", "2ms"],
        ["5ms", 2 * s, timedelta(seconds=1)],
    ],
)
def test_many_times_at_once_are_what_each_is_alone(values):
    one_by_one = [parse_duration(one, what="time", allow_zero=True) for one in values]
    assert parse_durations(values, what="replay") == one_by_one


@pytest.mark.parametrize(
    "wrong", ["", "ms", "1_0ms", "-1ms", "nanms", "0.1ns", "9e99ms", "1.2.3ms"]
)
def test_one_wrong_time_of_many_is_named_by_its_index(wrong):
    with pytest.raises(ScenarioError, match=r"^time 2 of replay: "):
        parse_durations(["1ms", "2ms", wrong, "4ms"], what="replay")


@settings(deadline=None)
@given(st.lists(st.floats(0, 3e8, allow_nan=False), min_size=1))
def test_an_array_times_a_unit_rounds_each_number_like_that_number_times_the_unit(numbers):
    expected = [(number * s).ns for number in numbers]
    assert (np.array(numbers) * s).astype(np.int64).tolist() == expected

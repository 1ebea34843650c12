"""Times, rates and fractions: what is read, what is refused and with which words."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import timedelta

import pytest

from pytest_xsched.base.units import (
    MAX_NS,
    Duration,
    Rate,
    format_duration,
    format_rate,
    minutes,
    ms,
    ns,
    parse_duration,
    parse_fraction,
    parse_rate,
    per_min,
    per_s,
    s,
    spell_duration,
    us,
)
from pytest_xsched.errors import DeviceError, QosAssertionError, ScenarioError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("50ms", 50_000_000),
        (" 1.5 s ", 1_500_000_000),
        ("200us", 200_000),
        ("200\N{MICRO SIGN}s", 200_000),
        ("100ns", 100),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("+3ms", 3_000_000),
        ("0.3s", 300_000_000),  # exact, though the float 0.3 is not
        ("1.4ns", 1),
        (50 * ms, 50_000_000),
        (timedelta(milliseconds=50), 50_000_000),
        (timedelta(days=2, microseconds=1), 172_800_000_001_000),
    ],
)
def test_duration_is_read(value, expected):
    assert parse_duration(value, what="duration") == expected


def test_zero_duration_only_where_allowed():
    assert parse_duration("0ms", what="think", allow_zero=True) == 0
    with pytest.raises(ScenarioError, match=r"^think: '0ms' is zero$"):
        parse_duration("0ms", what="think")
    with pytest.raises(ScenarioError, match="below 1 ns"):
        parse_duration("0.1ns", what="think", allow_zero=True)


def test_bare_number_shows_how_to_write_it():
    with pytest.raises(ScenarioError) as error:
        parse_duration(60, what="duration")
    assert isinstance(error.value, ValueError)
    assert str(error.value) == 'duration: 60 has no unit; write "60ms" or "60s"'
    with pytest.raises(ScenarioError) as error:
        parse_duration("0.5", what="ini option xsched_duration")
    assert str(error.value) == (
        'ini option xsched_duration: \'0.5\' has no unit; write "0.5ms" or "0.5s"'
    )
    with pytest.raises(ScenarioError) as error:
        parse_rate(20, what="rate")
    assert str(error.value) == 'rate: 20 has no unit; write "20/s" or "20/min"'


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "has no unit"),
        (-5, "has no unit"),
        (float("nan"), "nan is not finite"),
        (float("inf"), "inf is not finite"),
        (True, "True is not a time but of type bool"),
        (None, "None is not a time but of type NoneType"),
        (20 * per_s, "20/s is not a time but of type Rate"),
        ("", "'' is not a time"),
        ("fast", "'fast' is not a time"),
        ("nan s", "'nan s' is not a time"),
        ("infs", "'infs' is not a time"),
        ("1e999999999s", "unknown unit"),
        ("1e999s", "is longer than ten years"),
        ("3e-10s", "is below 1 ns"),
        ("5m", "'5m' has an unknown unit"),
        ("5 parsecs", "unknown unit"),
        ("9" * 31 + "s", "is not a time"),
        ("1 2s", "'1 2s' is not a time"),
        ("1.2.3s", "'1.2.3s' is not a time"),
        ("-5ms", "'-5ms' is negative"),
        (-5 * ms, "-5 ms is negative"),
        (timedelta(seconds=-1), "is negative"),
        (0 * ms, "0 s is zero"),
        ("100000h", "'100000h' is longer than ten years"),
        (10**30 * ns, "is longer than ten years"),
    ],
)
def test_duration_is_refused_with_value_and_origin(value, words):
    with pytest.raises(ScenarioError) as error:
        parse_duration(value, what="limit of assert_p99_below")
    assert str(error.value).startswith("limit of assert_p99_below: ")
    assert words in str(error.value)


def test_longest_duration():
    assert parse_duration(MAX_NS * ns, what="duration") == MAX_NS
    with pytest.raises(ScenarioError, match="longer than ten years"):
        parse_duration((MAX_NS + 1) * ns, what="duration")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20/s", 20.0),
        ("1200/min", 20.0),
        ("5/ms", 5000.0),
        ("36 /h", 0.01),
        ("20 Hz", 20.0),
        ("20Hz", 20.0),
        ("2 kHz", 2000.0),
        ("0.5/s", 0.5),
        (20 * per_s, 20.0),
        (per_s * 2.5, 2.5),
    ],
)
def test_rate_is_read(value, expected):
    assert parse_rate(value, what="rate") == expected
    assert type(parse_rate(value, what="rate")) is float


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (20.0, "20.0 has no unit"),
        ("20", "'20' has no unit"),
        (False, "of type bool"),
        (50 * ms, "50 ms is not a rate"),
        ("50ms", "'50ms' is a time, not a rate; one request every 50ms is \"20/s\""),
        ("20/parsec", "'20/parsec' is not a rate"),
        ("0/s", "'0/s' is not above zero"),
        ("-1/s", "'-1/s' is not above zero"),
        (Rate(float("nan")), "nan/s is not above zero"),
        (Rate(float("inf")), "above 1e+09/s"),
        ("2/ns", "'2/ns' is above 1e+09/s"),
        (float("nan"), "nan is not finite"),
    ],
)
def test_rate_is_refused_with_value_and_origin(value, words):
    with pytest.raises(ScenarioError) as error:
        parse_rate(value, what="rate of queue 'high'")
    assert str(error.value).startswith("rate of queue 'high': ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1%", 0.01), ("0.5 %", 0.005), (0.01, 0.01), ("0.01", 0.01), (0, 0.0), (1, 1.0), ("100%", 1)],
)
def test_fraction_is_read(value, expected):
    assert parse_fraction(value, what="tolerance") == expected


@pytest.mark.parametrize(
    "value", [-0.01, 1.01, 5, "101%", "-1%", float("nan"), float("inf"), True, None, "1s", "much"]
)
def test_fraction_is_refused_with_value_and_origin(value):
    with pytest.raises(ScenarioError) as error:
        parse_fraction(value, what="tolerance")
    assert str(error.value).startswith(f"tolerance: {value!r} is ")


def test_duration_arithmetic():
    assert 50 * ms == ms * 50 == Duration(50_000_000)
    assert 1.5 * s == 1500 * ms
    assert 2 * minutes == 120 * s
    assert s + 500 * ms - 250 * ms == 1250 * ms
    assert (50 * ms) / (200 * us) == 250.0
    assert s / 4 == 250 * ms
    assert sorted([s, ms, us, ns]) == [ns, us, ms, s]
    assert len({1000 * ms, s, 1.0 * s}) == 1
    assert repr(50 * ms) == "Duration(ns=50000000)"
    assert (2**62 + 1) * ns == Duration(2**62 + 1)  # ints stay exact


def test_a_duration_is_compared_with_a_time_as_users_write_it():
    """`ticket.latency < "2ms"` was a TypeError, next to `run.high.p99 < "50ms"`."""
    assert 2 * ms < "3ms" and 2 * ms <= "2ms" and 2 * ms > "1ms" and 2 * ms >= timedelta(0)
    assert not 2 * ms < "2ms" and not 2 * ms > "2ms"
    with pytest.raises(ScenarioError, match="limit for 2 ms: '3'"):
        assert 2 * ms < "3"


def test_duration_refuses_other_types():
    with pytest.raises(TypeError):
        s + 1
    with pytest.raises(TypeError):
        assert s > 1
    with pytest.raises(TypeError):
        True * s
    with pytest.raises(TypeError):
        s * s
    with pytest.raises(TypeError):
        20 / s
    with pytest.raises(ScenarioError, match="nan"):
        float("nan") * s
    with pytest.raises(ScenarioError, match=r"1\.5"):
        Duration(1.5)


def test_numpy_scalars_make_durations_and_rates():
    np = pytest.importorskip("numpy")
    assert np.int64(3) * ms == 3 * ms
    assert np.float64(1.5) * s == 1500 * ms
    assert np.int64(20) * per_s == 20 * per_s
    with pytest.raises(ScenarioError, match="has no unit"):
        parse_duration(np.float64(60), what="duration")


def test_rate_arithmetic():
    assert 20 * per_s == Rate(20.0)
    assert (1200 * per_min).hz == pytest.approx(20)
    assert per_s < 2 * per_s
    with pytest.raises(TypeError):
        True * per_s


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (1, "1 ns"),
        (740_000, "740 us"),
        (746_123, "746 us"),
        (50_000_000, "50 ms"),
        (11_934_567, "11.9 ms"),
        (999_499, "999 us"),
        (999_500, "1 ms"),
        (999_999_999, "1 s"),
        (1_200_000_000, "1.2 s"),
        (60_000_000_000, "60 s"),
        (3_661_000_000_000, "3661 s"),
        (-50_000_000, "-50 ms"),
    ],
)
def test_duration_is_shown_with_three_digits(value, text):
    assert format_duration(value) == str(Duration(value)) == text


@pytest.mark.parametrize(
    "value", [1, 999, 1000, 1_234_567, 10**9, 10**9 + 1, 86_400 * 10**9, 10**17]
)
def test_spelled_duration_reads_back(value):
    assert parse_duration(spell_duration(value), what="duration") == value


@pytest.mark.parametrize(
    ("hz", "text"),
    [
        (19.99, "19.99/s"),
        (20.0, "20/s"),
        (19.99951, "20/s"),
        (0.0, "0/s"),
        (0.5, "0.5/s"),
        (999.96, "1000/s"),
        (12345.6, "12346/s"),
    ],
)
def test_rate_is_shown_with_four_digits(hz, text):
    assert format_rate(hz) == str(Rate(hz)) == text


def test_errors_survive_pickling_with_their_attributes():
    error = pickle.loads(pickle.dumps(DeviceError("no memory", call="cpu.launch", code=12)))
    assert (str(error), error.call, error.code) == ("no memory", "cpu.launch", 12)
    missed = pickle.loads(pickle.dumps(QosAssertionError("P99 60 ms", verdict={"n": 1})))
    assert (str(missed), missed.verdict) == ("P99 60 ms", {"n": 1})
    assert isinstance(missed, AssertionError)


def test_light_modules_import_the_standard_library_only():
    code = (
        "import sys, pytest_xsched.errors, pytest_xsched.base.units;"
        "import pytest_xsched.scenario.scenario;"
        "print([m for m in ('numpy', 'cffi', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

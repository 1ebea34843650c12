"""Quantities: compared with what users write, never with what they cannot mean."""

from __future__ import annotations

import math
import operator
from datetime import timedelta

import pytest

from pytest_xsched.base.quantity import Quantity, show, show_apart
from pytest_xsched.base.units import ms, per_s, us
from pytest_xsched.errors import InvalidRun, ScenarioError

p99 = Quantity(5_000_000, "ns", "P99 of high", "n = 300")
p50 = Quantity(2_000_000, "ns", "P50 of high")
never = Quantity(math.inf, "ns", "max of high")
rate = Quantity(20.0, "Hz", "throughput of high")


def test_latencies_compare_with_times():
    assert p99 < "6ms" and p99 <= "5ms" and p99 > "4ms" and p99 >= "5ms" and p99 == "5ms"
    assert not p99 < "5ms" and not p99 > "5ms" and p99 != "5001us"
    assert p99 == 5 * ms and p99 < 5001 * us and timedelta(milliseconds=6) > p99
    assert operator.gt("6ms", p99) and operator.eq("5ms", p99)
    assert p50 < p99 and p50 != p99
    assert p50 > "0s"


def test_never_is_longer_than_anything():
    assert never > "87600h" and not never < "87600h" and never > p99
    assert str(never) == "never"


def test_rates_compare_with_rates():
    assert rate == "20/s" and rate >= 20 * per_s and rate < "21/s" and rate > "1199/min"


def test_shown():
    assert (str(p99), str(rate), float(p99), float(rate)) == ("5 ms", "20/s", 5e6, 20.0)
    assert show(1_234_567, "ns") == "1.23 ms"
    assert "require" not in repr(p99)


def test_ratio_and_multiples():
    assert p99 / p50 == 2.5
    assert p99 * 2 == "10ms" and 0.5 * p99 == "2.5ms"
    assert (2 * p99).what == "2 * P99 of high"
    assert p50 / p99 < 1 and p99 / Quantity(0, "ns", "x") == math.inf
    for wrong in (lambda: p99 / 2, lambda: p99 * "2", lambda: p99 * True, lambda: p99 * p50):
        with pytest.raises(TypeError):
            wrong()


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda: p99 < 5, 'limit for P99 of high: 5 has no unit; write "5ms" or "5s"'),
        (lambda: p99 < "20/s", "limit for P99 of high: '20/s' has an unknown unit"),
        (lambda: p99 < 20 * per_s, "limit for P99 of high: 20/s is not a time"),
        (lambda: p99 < None, "limit for P99 of high: None is not a time"),
        (lambda: p99 == "fast", "limit for P99 of high: 'fast' is not a time"),
        (lambda: rate > 20, 'limit for throughput of high: 20 has no unit; write "20/s"'),
        (lambda: rate > 5 * ms, "limit for throughput of high: 5 ms is not a rate"),
        (lambda: p99 < rate, "P99 of high and throughput of high have different units"),
        (lambda: p99 == rate, "P99 of high and throughput of high have different units"),
        (lambda: p99 / rate, "P99 of high and throughput of high have different units"),
        (lambda: p99 - rate, "P99 of high and throughput of high have different units"),
        (lambda: p99 + 5, 'sum or difference with P99 of high: 5 has no unit; write "5ms" or'),
        (lambda: 5 - p99, 'sum or difference with P99 of high: 5 has no unit; write "5ms" or'),
        (lambda: p99 - None, "sum or difference with P99 of high: None is not a time"),
        (lambda: rate - "5ms", "sum or difference with throughput of high: '5ms' is a time"),
    ],
)
def test_no_sense(use, sentence):
    with pytest.raises(ScenarioError) as error:
        use()
    assert str(error.value).startswith(sentence)


def test_not_hashable_since_equal_quantities_come_of_different_runs():
    with pytest.raises(TypeError):
        hash(p99)


def test_comparing_needs_the_evidence_of_both_sides():
    def refuse():
        raise InvalidRun("nothing ran")

    unproven = Quantity(1, "ns", "P99 of low", "", refuse)
    uses = (
        lambda: unproven < "1s",
        lambda: unproven == "1s",
        lambda: p99 > unproven,
        lambda: p99 / unproven,
        lambda: unproven / p99,
        lambda: 2 * unproven < "1s",
        lambda: p99 - unproven < "1s",
        lambda: unproven + p99 < "1s",
        lambda: "1s" - unproven < "1s",
        lambda: unproven / ms,
    )
    for use in uses:
        with pytest.raises(InvalidRun, match="nothing ran"):
            use()
    assert str(unproven) == f"{unproven:.0f}" == "1 ns"  # looking is free
    assert str(p50 + unproven) == "2 ms"


def test_quantities_of_one_unit_are_added_and_subtracted_also_with_times():
    assert (p99 - p50).value == 3_000_000 and (p99 + p50).value == 7_000_000
    assert p99 - p50 == "3ms" and p50 - p99 < "0s" and str(p50 - p99) == "-3 ms"
    assert p99 - "1ms" == "4ms" and p99 + 1 * ms == "6ms" and timedelta(milliseconds=9) - p99 < p99
    assert 6 * ms - p99 == "1ms" and "1ms" + p99 == 1 * ms + p99 == "6ms"
    assert rate - "5/s" == "15/s" and rate + 1 * per_s == "21/s"
    assert p99 < p50 + "4ms" and never - p99 == never and p99 + never > "1h"


def test_a_sum_says_of_what_it_is():
    gap = p99 - p50
    assert (gap.what, gap.detail) == ("P99 of high - P50 of high", "5 ms - 2 ms; n = 300")
    assert (2 * gap).what == "2 * (P99 of high - P50 of high)"
    assert (p99 - (p50 + "1ms")).what == "P99 of high - (P50 of high + 1 ms)"
    assert (p99 + p99).detail == "5 ms + 5 ms; n = 300"


def test_a_latency_that_nothing_reached_is_not_subtracted():
    sentence = "^P99 of high - max of high has no value, because max of high is never$"
    for minuend in (p99, never):
        with pytest.raises(InvalidRun, match=sentence.replace("P99", minuend.what.split()[0])):
            minuend - never


def test_a_quantity_over_a_unit_is_a_number():
    assert p99 / ms == 5.0 and rate / per_s == 20.0 and p99 / (2 * us) == 2500
    for wrong in (lambda: p99 / per_s, lambda: rate / ms):
        with pytest.raises(ScenarioError, match=r"^limit for .* is not a (time|rate)"):
            wrong()


@pytest.mark.parametrize(
    ("quantity", "form", "text"),
    [
        (p99, "", "5 ms"),
        (p99, ".2f", "5.00 ms"),
        (p99, "8.2f", "    5.00 ms"),
        (p99, ".4g", "5 ms"),
        (p99, ".1", "5e+00 ms"),
        (p99, ">12", "        5 ms"),
        (p99, ".>8s", "....5 ms"),
        (p99 - p50, ".1f", "3.0 ms"),
        (p50 - p99, ".1f", "-3.0 ms"),
        (p99 - p99, ".1f", "0.0 s"),
        (Quantity(999_950, "ns", "x"), ".3f", "1.000 ms"),  # its text is "1 ms"
        (Quantity(1_234_567_891, "ns", "x"), ".6f", "1.234568 s"),
        (rate, ".2f", "20.00/s"),
        (Quantity(12345.6, "Hz", "x"), ",.1f", "12,345.6/s"),
        (never, ".2f", "never"),
        (never, ">8", "   never"),
    ],
)
def test_a_format_is_of_the_number_in_the_unit_of_the_text(quantity, form, text):
    assert format(quantity, form) == text


@pytest.mark.parametrize("form", ["d", "x", ".2q", "%Y", ".2s", "+8"])
def test_a_format_that_a_quantity_does_not_have(form):
    with pytest.raises(ScenarioError, match=r'^P99 of high: a latency .* write ".2f" for the'):
        format(p99, form)


@pytest.mark.parametrize(
    ("value", "limit", "unit", "texts"),
    [
        (300.0, 20.0, "Hz", ("300/s", "20/s")),
        (300.0, 300.001, "Hz", ("300/s", "300.001/s")),
        (299.9996, 300.0, "Hz", ("299.9996/s", "300/s")),
        (12345.6, 12346.0, "Hz", ("12345.6/s", "12346/s")),
        (299.96, 299.97, "Hz", ("299.96/s", "299.97/s")),  # not "300/s is not at least 299.97/s"
        (20.0, 20.0, "Hz", ("20/s", "20/s")),
        (1200 / 60.000000000000001, 20.0, "Hz", ("20/s", "20/s")),
        (1 / 60, 1 / 60, "Hz", ("0.01667/s", "0.01667/s")),
        (0.016668, 1 / 60, "Hz", ("0.016668/s", "0.016667/s")),
        (49_999_999, 50_000_000, "ns", ("49.999999 ms", "50 ms")),
        (50_000_000, 50_000_001, "ns", ("50 ms", "50.000001 ms")),
        (999_999_999, 1_000_000_000, "ns", ("0.999999999 s", "1 s")),
        (9_999_999_999, 10_000_000_000, "ns", ("9.999999999 s", "10 s")),
        (math.inf, 50_000_000, "ns", ("never", "50 ms")),
        (0.99997, 1.0, "", ("0.99997", "1")),
        (0.98, 0.99999, "", ("0.98", "0.99999")),
        (2.0000000000000004, 2.0, "", ("2", "2")),
        (math.inf, 1e300, "", ("inf", "1e+300")),
        (0, 0, "", ("0", "0")),
    ],
)
def test_a_figure_and_its_limit_are_told_apart(value, limit, unit, texts):
    assert show_apart(value, limit, unit) == texts

"""Drawings as text: short numbers, round ticks, and no markup out of texts."""

import pytest

from pytest_xsched.page.svg import Axis, element, latency_axis, number, path, text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "1"), (1.04, "1"), (1.06, "1.1"), (-0.04, "0"), (0.0, "0"), (10, "10")],
)
def test_numbers_have_at_most_one_decimal(value, shown):
    assert number(value) == shown


def test_texts_and_attributes_are_escaped():
    assert text(1, 2, "<b>&") == '<text x="1" y="2">&lt;b&gt;&amp;</text>'
    assert element("g", class_='"><script>') == '<g class="&quot;&gt;&lt;script&gt;"/>'
    assert element("g", data_points="\x1b") == '<g data-points="\\x1b"/>'


def test_lines_without_points_are_nothing():
    assert path([[]]) == "" == path([])
    assert path([[(0, 1), (2, 3)], [], [(4, 5)]]) == '<path d="M0 1L2 3M4 5"/>'


def test_an_axis_maps_its_ends_and_keeps_what_is_outside_at_them():
    axis = Axis(low=1.0, high=100.0, start=0.0, end=10.0, logarithmic=True)
    assert (axis.at(1), axis.at(10), axis.at(100), axis.at(1e9)) == (0, 5, 10, 10)
    axis = Axis(low=0.0, high=4.0, start=100.0, end=0.0)
    assert (axis.at(0), axis.at(1), axis.at(4), axis.at(-1)) == (100, 75, 0, 100)


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "ticks"),
    [
        (0.0, 10.0, False, [0, 2, 4, 6, 8, 10]),
        (0.0, 0.7, False, [0, 0.2, 0.4, 0.6]),
        (3.0, 61.0, False, [10, 20, 30, 40, 50, 60]),
        (1.0, 100.0, True, [1, 3, 10, 30, 100]),
        (1e3, 1e9, True, [1e3, 1e5, 1e7, 1e9]),
        (0.9, 1.2, True, [0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2]),
    ],
)
def test_ticks_are_round_and_few(low, high, logarithmic, ticks):
    axis = Axis(low=low, high=high, start=0.0, end=1.0, logarithmic=logarithmic)
    assert axis.ticks(7 if low == 0.9 else 6) == pytest.approx(ticks)


def test_latencies_that_span_more_than_30_to_1_are_on_a_logarithmic_axis():
    assert not latency_axis([1e6, 30e6], 0, 1).logarithmic
    assert latency_axis([1e6, 31e6], 0, 1).logarithmic
    assert latency_axis([], 0, 1).at(0) == 0

"""Charts: the points are where the figures are, and what is not known is not drawn."""

import json
import re

import pytest

from pytest_xsched.page import charts

MS = 1_000_000
SHARES = (1.0, 0.5, 0.1, 0.01)


def arm(name="", curve=(1, 2, 3, 4), n=100, max_ms=5, bounds=()):
    return charts.Distribution(
        name=name,
        curve_ns=[None if ms is None else ms * MS for ms in curve],
        n=n,
        max_ns=None if max_ms is None else max_ms * MS,
        bounds_ns=bounds,
    )


def readings(chart):
    return [words for _, words in json.loads(chart_attribute(chart, "data-points"))]


def chart_attribute(chart, name):
    import html

    return html.unescape(re.search(rf'{name}="([^"]*)"', chart)[1])


def lines(chart):
    return re.findall(r'<path d="([^"]*)" class="line ([^"]*)"', chart)


def limit(ms, share=0.01, status="PASS"):
    return charts.Limit(rule="P99 below", ns=ms * MS, share=share, status=status)


def test_the_curve_ends_at_the_maximum_and_each_point_can_be_read():
    chart = charts.distribution([arm()], [], SHARES, (), "title")
    assert readings(chart) == [
        "shortest: 1 ms",
        "P50 (1 of 2 is longer): 2 ms",
        "P90 (1 of 10 is longer): 3 ms",
        "P99 (1 of 100 is longer): 4 ms",
        "longest: 5 ms",
    ]
    ((points, style),) = lines(chart)
    assert style == "s0" and points.count("L") == 4


def test_equal_distances_are_equal_ratios_of_the_share_above():
    chart = charts.distribution([arm(n=10_000)], [], SHARES, (), "title")
    p90, p99, p999 = (
        float(re.search(rf'<text x="([0-9.]+)"[^>]*>{name}</text>', chart)[1])
        for name in ("P90", "P99", "P99.9")
    )
    assert p99 - p90 == pytest.approx(p999 - p99, abs=0.2)


def test_a_limit_is_marked_at_its_percentile_by_its_verdict():
    chart = charts.distribution([arm()], [limit(8, status="FAIL")], SHARES, (), "title")
    assert ">P99 below 8 ms</text>" in chart
    x = re.search(
        r'<polygon points="[0-9.,]+ [0-9.,]+ ([0-9.]+),[0-9.]+" class="limit fail mark"', chart
    )
    p99 = re.search(r'<text x="([0-9.]+)"[^>]*>P99</text>', chart)
    assert float(x[1]) == float(p99[1])


def test_requests_that_never_completed_are_drawn_at_the_top_and_called_never():
    chart = charts.distribution([arm(curve=(1, 2, None), max_ms=None)], [], SHARES, (), "title")
    assert ">never</text>" in chart
    assert [style for _, style in lines(chart)] == ["s0", "never s0"]
    assert readings(chart)[-1].endswith("never")


def test_bounds_are_drawn_of_one_arm_alone():
    bounds = [(1 * MS, 3 * MS), (2 * MS, None)]
    one = charts.distribution([arm(bounds=bounds)], [], SHARES, (0.5, 0.99), "title")
    assert "95 % bounds of P50: 1 ms to 3 ms" in one
    assert "95 % bounds of P99: 2 ms to no bound" in one
    two = charts.distribution([arm("a", bounds=bounds), arm("b")], [], SHARES, (0.5,), "title")
    assert "bounds" not in two
    assert readings(two)[0] == "shortest: a 1 ms, b 1 ms"


def blocks(**more):
    figures = {
        "n": [2, 0, 1, 1],
        "p50_ns": [MS, None, MS, 2 * MS],
        "p99_ns": [2 * MS, None, MS, None],
        "max_ns": [3 * MS, None, MS, None],
    }
    return charts.Blocks(
        **{
            "windows_ns": [[0, 2 * 10**9], [5 * 10**9, 7 * 10**9]],
            "block_ns": 10**9,
            "figures": figures,
            "noisy_ns": [(5 * 10**9, 6 * 10**9)],
            "masked": True,
            **more,
        }
    )


def test_over_time_has_windows_noise_gaps_and_readings():
    chart = charts.over_time(blocks(), [limit(4)], "title")
    assert re.findall(r"<title>(window [^<]*)<", chart) == [
        "window 1: 0 s to 2 s",
        "window 2: 5 s to 7 s",
    ]
    assert "<title>masked: 5 s to 6 s</title>" in chart
    assert readings(chart) == [
        "0.5 s: n = 2, P50 1 ms, P99 2 ms, max 3 ms",
        "1.5 s: n = 0",
        "5.5 s (masked): n = 1, P50 1 ms, P99 1 ms, max 1 ms",
        "6.5 s: n = 1, P50 2 ms, P99 never, max never",
    ]
    assert ">P99 below 4 ms</text>" in chart


def test_noise_that_masks_nothing_is_called_noisy():
    chart = charts.over_time(blocks(masked=False), [], "title")
    assert "<title>noisy: 5 s to 6 s</title>" in chart and "masked" not in chart


def interval(**more):
    values = {"value": 0.5, "low": 0.4, "high": 0.6, "episodes": (0.5, 0.45), "floor": 1.1}
    return charts.Interval(label="high: P99 of a / b", **{**values, **more})


def test_an_interval_has_its_bounds_its_episodes_and_the_noise_of_equal_arms():
    chart = charts.intervals([interval(limits=[(0.67, "PASS")])], "title")
    assert ">0.5 (0.4 to 0.6)</text>" in chart
    assert chart.count('class="episode"') == 2
    assert "noise: equal arms differ by up to 1.1" in chart
    assert 'class="limit pass"' in chart


def test_too_few_episodes_have_no_bounds_and_no_noise():
    chart = charts.intervals([interval(low=None, high=None, floor=None)], "title")
    assert ">0.5, no bounds</text>" in chart
    assert 'class="interval"' not in chart and 'class="floor"' not in chart


def test_the_history_of_a_baseline_ends_with_this_run():
    chart = charts.history([("2026-01-01", 1.0), ("2026-01-02", 2.0), ("now", 4.0)], "Hz", "title")
    assert readings(chart) == ["2026-01-01: 1/s", "2026-01-02: 2/s", "now: 4/s"]
    assert chart.count('class="dot') == 2 and chart.count('class="estimate"') == 1


def test_equal_input_gives_equal_bytes():
    assert charts.over_time(blocks(), [], "t") == charts.over_time(blocks(), [], "t")

"""The curve of the search for a rate, out of its record."""

from __future__ import annotations

from pytest_xsched.page import charts
from pytest_xsched.page.svg import Markup
from pytest_xsched.reporting import rate_table
from pytest_xsched.reporting.run_table import Record


def rate_curve(search: Record) -> Markup:
    """Draw the longest measurement at each rate, next to the other queues."""
    longest: dict[float, Record] = {}
    for point in search["curve"]:
        known = longest.get(point["rate_hz"])
        if not point["alone"] and (known is None or point["n"] >= known["n"]):
            longest[point["rate_hz"]] = point
    points = [
        charts.RatePoint(
            rate_hz=rate_hz,
            shown=f"{word}, " if (word := rate_table.SHOWN[point["status"]]) else "",
            n=point["n"],
            p50_ns=point["p50_ns"],
            value_ns=point["value_ns"],
        )
        for rate_hz, point in sorted(longest.items())
        if point["n"]
    ]
    target = search["target"]
    rule = f"{rate_table.metric(search)} {'within' if target['within'] else 'below'}"
    limit = charts.Limit(
        rule=rule, ns=target["limit_ns"], share=1 - target["share"], status="UNDECIDED"
    )
    bounds = search["lower_hz"], search["upper_hz"]
    return charts.over_rate(points, limit, bounds, f"{search['queue']}: latency over the rate")

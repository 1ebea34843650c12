"""The search for the highest rate as people read it: the latency at each rate, and the bounds.

Works on `HighestRate.to_dict` and nothing else, because under xdist that is all there is.
"""

from __future__ import annotations

from typing import Any

from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.reporting.run_table import Record, device_title
from pytest_xsched.reporting.table_layout import fitted, percent

SHOWN = {
    "PASS": "holds",
    "FAIL": "fails",
    "UNDECIDED": "undecided",
    "NO VERDICT": "no verdict",
    "LOOK": "",
}
"""What a rate showed, in the table."""
_USUAL = (0.5, 0.95, 0.99)
"""Percentiles that the table has anyway."""


def is_rate_search(record: Record) -> bool:
    """Check whether a record is the search for a rate, and not a run or a comparison."""
    return "curve" in record


def title(search: Record) -> str:
    """Return one line that names what was searched."""
    others = ", ".join(
        queue["name"] for queue in search["scenario"]["queues"] if queue["name"] != search["queue"]
    )
    with_others = f" next to {others}" if others else ""
    return (
        f"highest rate of {search['queue']} with {search['target']['text']}{with_others}, "
        f"{search['scheduler']} on {device_title(search)}, "
        f"{format_duration(search['measured_ns'])} of {format_duration(search['budget_ns'])}, "
        f"seed {search['scenario']['seed']}"
    )


def metric(search: Record) -> str:
    """Name the percentile that the target is about."""
    of = search["target"].get("latency", "")  # which older files do not have
    return f"{_percentile(search)}{f' of {of}' if of else ''}"


def _percentile(search: Record) -> str:
    return f"P{round(100 * search['target']['share'], 6):g}"


def rows(search: Record) -> list[tuple[str, ...]]:
    """Return the table as cells: the heads, then a row a rate, with the longest measurement."""
    kept: dict[tuple[Any, ...], Record] = {}
    for point in search["curve"]:
        key = point["rate_hz"], point["alone"], point["status"]
        if key not in kept or point["n"] >= kept[key]["n"]:
            kept[key] = point
    points = [kept[key] for key in sorted(kept)]
    of_target = search["target"]["share"] not in _USUAL
    more = [_percentile(search)] if of_target else []
    heads = ("rate", "shown", "P50", "P95", "P99", *more)
    return [
        (*heads, "misses", "n", "measured"),
        *(_row(point, of_target) for point in points),
    ]


def _row(point: dict[str, Any], of_target: bool) -> tuple[str, ...]:
    keys = ("p50_ns", "p95_ns", "p99_ns", *(["value_ns"] if of_target else []))
    share = point["misses"] / point["n"] if point["n"] else 0.0
    return (
        format_rate(point["rate_hz"]) + (" alone" if point["alone"] else ""),
        ", ".join(filter(None, [SHOWN[point["status"]], "saturated" * point["saturated"]])),
        *(_time(point[key], point["n"]) for key in keys),
        percent(share, 2),
        str(point["n"]),
        format_duration(point["measured_ns"]),
    )


def _time(ns: int | None, n: int) -> str:
    if ns is None:
        return "never" if n else "-"
    return format_duration(ns)


def remarks(search: Record) -> list[str]:
    """Return the bounds and why the search ended; what questions its figures begins with !."""
    lines = []
    for bound, what in (("lower_hz", "hold"), ("upper_hz", "fail")):
        if search[bound] is None:
            lines.append(f"! no rate was shown to {what}")
        else:
            lines.append(f"shown to {what} at {format_rate(search[bound])}")
    if search["rate_hz"] is not None:
        lines.append(f"the target probably begins to fail at {format_rate(search['rate_hz'])}")
    lines.append(f"the search ended because {search['ended']}")
    reasons = {point["reason"]: point["rate_hz"] for point in search["curve"] if point["reason"]}
    lines += [f"! at {format_rate(hz)}: {reason}" for reason, hz in reasons.items()]
    return lines


def table(search: Record, columns: int | None = None) -> list[str]:
    """Return the search as lines; see `run_table.table`."""
    inner = None if columns is None else columns - 2
    lines = fitted(rows(search), left=("shown",), keys=2, columns=inner)
    return [title(search), *(f"  {line}" for line in [*lines, *remarks(search)])]

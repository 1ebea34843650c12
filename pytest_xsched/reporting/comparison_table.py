"""A comparison as people read it: every arm, every ratio with its bounds, the noise, the marks.

Works on `Comparison.to_dict` and nothing else, because under xdist that is all there is.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.reporting.run_table import Record, device_title
from pytest_xsched.reporting.table_layout import fitted, percent

_FILES_SHOWN = 4
_COLUMNS = ("queue", "arm", "n", "P50", "P99", "max", "rate", "P99 of each episode")


def is_comparison(record: Record) -> bool:
    """Check whether a record is a comparison and not a run."""
    return "arms" in record


def is_alternating(comparison: Record) -> bool:
    """Check whether `compare` measured the arms, so that the baseline was measured twice."""
    return f"{comparison['baseline']} again" in comparison["arms"]


def title(comparison: Record) -> str:
    """Return one line that names what was compared."""
    count = comparison["episodes"]
    run = comparison["arms"][comparison["baseline"]][0]
    names = [_with_policy(comparison, scheduler) for scheduler in comparison["schedulers"]]
    return (
        f"{' and '.join(names)} compared with {_with_policy(comparison, comparison['baseline'])}, "
        f"{count} episode{'s' * (count > 1)} of "
        f"{format_duration(run['scenario']['duration_ns'])} each on {device_title(run)}"
    )


def _with_policy(comparison: Record, scheduler: str) -> str:
    """Return the name of an arm, with the policy of XQueues where it is not the default."""
    scenario = comparison["arms"][scheduler][0]["scenario"]
    is_other = scenario["scheduler"] == "builtin" and scenario["policy"] != "hpf"
    return f"{scheduler} ({scenario['policy']})" if is_other else scheduler


def rows(comparison: Record) -> list[tuple[str, ...]]:
    """Return the table as cells: the heads, then a row for each arm of each queue, with medians."""
    body = [
        _row(name if i == 0 else "", arm, figures, open_loop)
        for queue in comparison["queues"]
        for name, compared, open_loop in _with_latencies(queue)
        for i, (arm, figures) in enumerate(compared["arms"].items())
    ]
    return [_COLUMNS, *body]


def _with_latencies(queue: Record) -> Iterator[tuple[str, Record, bool]]:
    """Yield a queue, and after it its latencies to milestones, with name and whether P99 counts."""
    yield queue["name"], queue, queue["open_loop"]
    for latency in queue.get("latencies", ()):  # absent in old records
        yield f"{queue['name']}.{latency['name']}", latency, True


def remarks(comparison: Record) -> list[str]:
    """Return what was found of each queue, and with ! what was compared by force."""
    lines = [
        f"! FORCED although the runs differ: {difference}" for difference in comparison["forced"]
    ]
    lines += map(_build, comparison.get("builds", ()))
    shown = [one for queue in comparison["queues"] for one in _with_latencies(queue)]
    for compared_name, compared, _ in shown:
        for scheduler, contrasts in compared["contrasts"].items():
            of_both = f"of {scheduler} / {comparison['baseline']}"
            lines += [
                f"{compared_name}: {name} {of_both} {_ratio(contrast)}"
                for name, contrast in contrasts.items()
                if name != "reason"
            ]
            if "reason" in contrasts:
                lines.append(f"! {compared_name}: no P99 ratio {of_both}: {contrasts['reason']}")
    return lines


def _build(build: Record) -> str:
    """Describe what a queue ran in the arm of a build."""
    text = f"{build['queue']} of {build['arm']}: {build['workload']}"
    if not build["mapped"]:
        return text
    only = ", ".join(build["mapped_here_only"][:_FILES_SHOWN])
    more = len(build["mapped_here_only"]) - _FILES_SHOWN
    if only:
        return f"{text}; of its {build['mapped']} mapped files, in this arm only: {only}" + (
            f" and {more} more" if more > 0 else ""
        )
    return f"{text}; its {build['mapped']} mapped files are those of the other arms"


def table(comparison: Record, columns: int | None = None) -> list[str]:
    """Return the comparison as lines; see `run_table.table`."""
    inner = None if columns is None else columns - 2
    left = ("queue", "arm", _COLUMNS[-1])
    lines = fitted(rows(comparison), left=left, keys=2, columns=inner)
    return [title(comparison), *(f"  {line}" for line in [*lines, *remarks(comparison)])]


def _row(queue: str, arm: str, figures: Record, open_loop: bool) -> tuple[str, ...]:
    each = figures["p99_ns"] if open_loop else []
    rates = figures["throughput_hz"]  # a latency has none
    return (
        queue,
        arm,
        str(round(statistics.median(figures["n"]))),
        *(_time(figures[f"{key}_ns"]) for key in ("p50", "p99", "max")),
        format_rate(statistics.median(figures["throughput_hz"])) if rates else "",
        " ".join(_time([ns]) for ns in each),
    )


def _time(each_ns: list[int | None]) -> str:
    """Show the median; a request that never completed is longer than any. Nothing: not known."""
    if not each_ns:
        return "-"
    times = sorted(each_ns, key=lambda ns: (ns is None, ns))
    middle = times[len(times) // 2] if None in times else statistics.median(times)  # type: ignore[type-var]
    return "never" if middle is None else format_duration(round(middle))


def _ratio(contrast: dict[str, Any]) -> str:
    ratio, floor = contrast["ratio"], contrast["floor"]
    text = f"{ratio['value']:.4g}"
    if ratio["low"] is None:
        text += " (too few episodes for bounds)"
    else:
        text += f" ({ratio['low']:.4g} to {ratio['high']:.4g}"
        text += f", noise {floor:.4g})" if floor is not None else ", noise not measured)"
        is_unknown = floor is None and not ratio["low"] <= 1 <= ratio["high"]
        if not (contrast["difference_shown"] or is_unknown):
            text += ", no difference shown"
    removed = contrast.get("contention_removed")
    if removed is not None:
        text += f"; contention removed: {percent(removed['value'], 1)}"
        if removed["low"] is not None:
            text += f" ({percent(removed['low'], 1)} to {percent(removed['high'], 1)})"
    return text

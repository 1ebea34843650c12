"""The ratios of a comparison with what was claimed of them, out of its record."""

from __future__ import annotations

import re

from pytest_xsched.page import charts
from pytest_xsched.reporting.run_table import Record


def intervals(comparison: Record) -> list[charts.Interval]:
    """Return each ratio with its bounds, in the order of the queues."""
    rows = []
    for queue in comparison["queues"]:
        for scheduler, contrasts in queue["contrasts"].items():
            for name, contrast in contrasts.items():
                if name == "reason":
                    continue
                ratio = contrast["ratio"]
                pair = f"{name} of {scheduler} / {comparison['baseline']}"
                rows.append(
                    charts.Interval(
                        label=f"{queue['name']}: {pair}",
                        value=ratio["value"],
                        low=ratio["low"],
                        high=ratio["high"],
                        episodes=ratio["episodes"],
                        floor=contrast["floor"],
                        limits=_claims(comparison, queue["name"], name, scheduler),
                    )
                )
    return rows


def _claims(comparison: Record, queue: str, name: str, scheduler: str) -> list[tuple[float, str]]:
    """Return the limits that were claimed of a ratio; of an improvement the inverse."""
    found = []
    # A figure follows the names of the arms: one name may begin with the other.
    pair, inverse = (
        re.compile(rf" {re.escape(first)} / {re.escape(second)} \d")
        for first, second in (
            (scheduler, comparison["baseline"]),
            (comparison["baseline"], scheduler),
        )
    )
    for verdict in comparison["verdicts"]:
        rule, limit = verdict["rule"], verdict["limit"]
        if verdict["queue"] != queue or not rule.startswith(f"{name} ") or not limit:
            continue
        if "improved" in rule and inverse.search(verdict["sentence"]):
            found.append((1 / limit, verdict["status"]))
        elif "improved" not in rule and pair.search(verdict["sentence"]):
            found.append((limit, verdict["status"]))
    return found

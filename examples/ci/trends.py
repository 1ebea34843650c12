"""Turn the file of --xsched-json into one that a service for trends reads.

    python trends.py github qos.json > trends.json     # benchmark-action/github-action-benchmark
    python trends.py bencher qos.json > trends.json    # bencher.dev

It has P50, P99 and the throughput of each queue that may be compared: those with a row in the part
of pytest-benchmark. Such a service draws lines and warns; it knows no evidence and no error rate.
Let the tests decide, and compare with `--xsched-compare`.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def rows(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(row["fullname"], row["extra_info"]) for row in document["benchmarks"]]


def github(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what its tool "customSmallerIsBetter" reads."""
    return [
        {"name": f"{name} {what}", "unit": "ms", "value": row[f"{what}_ns"] / 1e6}
        for name, row in rows(document)
        for what in ("p50", "p99")
    ]


def bencher(document: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics that its adapter "json" reads, with measures of these names."""
    return {
        name: {
            "p50": {"value": row["p50_ns"]},
            "p99": {"value": row["p99_ns"]},
            "throughput": {"value": row["throughput_hz"]},
        }
        for name, row in rows(document)
    }


if __name__ == "__main__":
    to, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        found = {"github": github, "bencher": bencher}[to](json.load(file))
    json.dump(found, sys.stdout, indent=1)

"""The figures and verdicts of a session in the text format of OpenMetrics, for Prometheus.

Only gauges and summaries, so that readers of the older format of Prometheus, such as the textfile
collector of node_exporter, take it as well. Series have no times: what reads the file adds them.
Plain dicts only, because under xdist that is all there is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pytest_xsched.base.terminal_text import printable
from pytest_xsched.reporting.comparison_table import is_comparison
from pytest_xsched.reporting.rate_table import is_rate_search
from pytest_xsched.reporting.run_table import Record
from pytest_xsched.reporting.terminal_summary import NO_VERDICT, STATUSES

Labels = Mapping[str, str]

_QUANTILES = (("0.5", "p50_ns"), ("0.95", "p95_ns"), ("0.99", "p99_ns"))
FAMILIES = {
    "xsched_run": ("gauge", "", "A run, 1; its labels say what was measured and where."),
    "xsched_latency_seconds": (
        "summary",
        "seconds",
        "Latency from the scheduled arrival to the completion; +Inf: never.",
    ),
    "xsched_latency_max_seconds": ("gauge", "seconds", "The longest latency; +Inf: never."),
    "xsched_throughput_hertz": ("gauge", "hertz", "Requests completed per second."),
    "xsched_offered_hertz": ("gauge", "hertz", "Requests per second that an open loop sent."),
    "xsched_faults": (
        "gauge",
        "",
        "Reasons why the figures of a queue prove nothing; 0: there are none.",
    ),
    "xsched_unfinished_requests": ("gauge", "requests", "Requests that never completed."),
    "xsched_ratio": (
        "gauge",
        "",
        "A figure of a queue under a scheduler, divided by that under the baseline.",
    ),
    "xsched_target": ("gauge", "", "1 for the status that a target has, 0 for the others."),
    "xsched_environment": ("gauge", "", "A fact from the hook pytest_xsched_environment, 1."),
}
"""By name of the family: its type, its unit and its help text, in the order of the file."""


class _Text:
    """The samples of each family."""

    def __init__(self) -> None:
        self._samples: dict[str, list[str]] = {name: [] for name in FAMILIES}

    def add(self, family: str, labels: Labels, value: float | None, suffix: str = "") -> None:
        """Add a sample; None is never, which is above every limit."""
        named = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        number = "+Inf" if value is None or value == math.inf else repr(value)
        self._samples[family].append(f"{family}{suffix}{{{named}}} {number}")

    def whole(self) -> str:
        lines = []
        for name, (kind, unit, text) in FAMILIES.items():
            if not self._samples[name]:
                continue
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"# UNIT {name} {unit}"] if unit else []
            lines += self._samples[name]
        return "\n".join([*lines, "# EOF"]) + "\n"


def openmetrics(records: Sequence[Record], environment: Mapping[str, str]) -> str:
    """Return the file.

    Args:
        records: what `Run.to_dict`, `Comparison.to_dict` and `HighestRate.to_dict` returned; of the
            last only the verdicts are in the file.
        environment: what implementations of `pytest_xsched_environment` returned.
    """
    text = _Text()
    numbers: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        run = record["arms"][record["baseline"]][0] if is_comparison(record) else record
        scheduler = "" if is_comparison(record) else record["scheduler"]
        key = run["origin"], scheduler, run["scenario"]["device"]
        numbers[key] += 1
        names = {
            "test": run["origin"],
            "run": str(numbers[key]),
            "scheduler": scheduler,
            "device": run["scenario"]["device"],
        }
        if is_comparison(record):
            names.pop("scheduler")
            _compared(text, names, record)
        elif not is_rate_search(record):
            _measured(text, names, record)
        _targets(text, names, record)
    for name, value in environment.items():
        text.add("xsched_environment", {"name": name, "value": value}, 1)
    return text.whole()


def _measured(text: _Text, names: Labels, run: Record) -> None:
    scenario, facts = run["scenario"], run["fingerprint"]["devices"][0]
    more = {
        "policy": scenario["policy"],
        "seed": str(scenario["seed"]),
        "device_name": run["device_name"],
        "driver": str(facts["kernel_driver_version"] or facts["driver_version"] or ""),
    }
    text.add("xsched_run", {**names, **more}, 1)
    for queue in run["queues"]:
        labels = {**names, "queue": queue["name"]}
        _latency(text, labels, queue)
        for latency in queue["latencies"]:
            _latency(text, {**labels, "latency": latency["name"]}, latency)
        text.add("xsched_throughput_hertz", labels, queue["throughput_hz"])
        if queue["offered_hz"] is not None:
            text.add("xsched_offered_hertz", labels, queue["offered_hz"])
        evidence = run["evidence"]
        faults = len(evidence["faults"]) + len(evidence["queue_faults"][queue["name"]])
        text.add("xsched_faults", labels, faults)
        text.add("xsched_unfinished_requests", labels, queue["censored"])


def _latency(text: _Text, labels: Labels, figures: Record) -> None:
    """Add the figures of a queue or of a latency of it to a milestone."""
    if figures["n"]:
        for quantile, key in _QUANTILES:
            with_quantile = {**labels, "quantile": quantile}
            text.add("xsched_latency_seconds", with_quantile, _seconds(figures[key]))
        text.add("xsched_latency_max_seconds", labels, _seconds(figures["max_ns"]))
    text.add("xsched_latency_seconds", labels, figures["n"], "_count")


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e9


def _compared(text: _Text, names: Labels, comparison: Record) -> None:
    for queue in comparison["queues"]:
        for scheduler, contrasts in queue["contrasts"].items():
            for figure, contrast in contrasts.items():
                if figure == "reason":
                    continue
                for bound in ("low", "value", "high"):
                    labels = {
                        **names,
                        "queue": queue["name"],
                        "scheduler": scheduler,
                        "baseline": comparison["baseline"],
                        "figure": figure,
                        "bound": bound,
                    }
                    if (ratio := contrast["ratio"][bound]) is not None:
                        text.add("xsched_ratio", labels, ratio)


def _targets(text: _Text, names: Labels, record: Record) -> None:
    found: Iterable[tuple[str, str, str, str, str]] = [
        *(
            (v["queue"], v.get("latency", ""), v["rule"], v["nodeid"], v["status"])
            for v in record["verdicts"]
        ),
        *(("", "", "", one["nodeid"], NO_VERDICT) for one in record["refused"]),
    ]
    numbers: Counter[tuple[str, ...]] = Counter()
    for queue, latency, rule, nodeid, status in found:
        key = queue, latency, rule, nodeid
        numbers[key] += 1
        labels = {
            **names,
            "asserted_by": nodeid,
            "queue": queue,
            **({"latency": latency} if latency else {}),
            "rule": rule,
            "target": str(numbers[key]),
        }
        for one in STATUSES:
            text.add("xsched_target", {**labels, "status": one}, int(one == status))


def _escaped(text: str) -> str:
    plain = printable(text)
    return plain.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

"""Verdicts: a target, what was measured, and one sentence. Pure functions, nothing is raised.

Each judges numbers only; whether numbers may be judged at all is `evidence`'s question.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pytest_xsched.quantity import show
from pytest_xsched.result import QueueResult, percentile_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One target of one queue, judged.

    Attributes:
        status: ``"PASS"`` or ``"FAIL"``.
        queue: name of the queue.
        rule: "P99 below", "throughput at least".
        value: what was measured; ns, Hz or a ratio, by `unit`; inf for never.
        limit: in the same unit.
        unit: ``"ns"``, ``"Hz"`` or ``""``.
        n: requests behind the value.
        sentence: all of it in words.
        nodeid: of the test that asked; filled in by the plugin.
    """

    status: str
    queue: str
    rule: str
    value: float
    limit: float
    unit: str
    n: int
    sentence: str
    nodeid: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give the verdict in JSON's types; null for a value that was never reached."""
        names = ("status", "queue", "rule", "limit", "unit", "n", "sentence", "nodeid")
        data: dict[str, Any] = {name: getattr(self, name) for name in names}
        data["value"] = None if math.isinf(self.value) else self.value
        return data


def _show(value: float, unit: str) -> str:
    return show(value, unit) if unit else f"{value:.4g}"


def _judge(
    queue: QueueResult,
    *,
    good: bool,
    rule: str,
    value: float,
    limit: float,
    unit: str,
    more: str = "",
) -> Verdict:
    state = "is" if good else "is not"
    sentence = (
        f"{queue.name}: {rule.split()[0]} {_show(value, unit)} {state} "
        f"{' '.join(rule.split()[1:])} {_show(limit, unit)} (n = {queue.n}"
        f"{f', max {queue.max}' if queue.n else ''}"
        f"{f', {queue.censored} unfinished' if queue.censored else ''}{more})"
    )
    return Verdict(
        status="PASS" if good else "FAIL",
        queue=queue.name,
        rule=rule,
        value=value,
        limit=limit,
        unit=unit,
        n=queue.n,
        sentence=sentence,
    )


def percentile_below(queue: QueueResult, q: float, limit_ns: int) -> Verdict:
    """Judge P(q) < limit, by nearest rank."""
    value = queue.percentile(q).value
    return _judge(
        queue,
        good=value < limit_ns,
        rule=f"{percentile_name(q)} below",
        value=value,
        limit=limit_ns,
        unit="ns",
    )


def max_below(queue: QueueResult, limit_ns: int) -> Verdict:
    """Judge the longest latency < limit."""
    value = queue.max.value
    return _judge(
        queue, good=value < limit_ns, rule="max below", value=value, limit=limit_ns, unit="ns"
    )


def tail_ratio_below(queue: QueueResult, limit: float) -> Verdict:
    """Judge P99 / P50 < limit."""
    p50, p99 = queue.p50.value, queue.p99.value
    # A P50 of 0 ns is possible in virtual time; then any tail at all is infinitely longer.
    value = p99 / p50 if 0 < p50 < math.inf else (1.0 if p99 == p50 == 0 else math.inf)
    more = f", P50 {queue.p50}, P99 {queue.p99}"
    return _judge(
        queue,
        good=value < limit,
        rule="P99/P50 below",
        value=value,
        limit=limit,
        unit="",
        more=more,
    )


def throughput_at_least(queue: QueueResult, rate_hz: float, tolerance: float) -> Verdict:
    """Judge the throughput >= rate * (1 - tolerance)."""
    value = queue.throughput.value
    more = f", tolerance {tolerance:.3g}" if tolerance else ""
    if queue.saturated:
        more += f", saturated: {queue.offered} offered"
    # Rates are counts over a time: 1200 in 60 s must be 20/s, however the division rounds.
    good = value >= rate_hz * (1 - tolerance) * (1 - 1e-9)
    return _judge(
        queue,
        good=good,
        rule="throughput at least",
        value=value,
        limit=rate_hz,
        unit="Hz",
        more=more,
    )


def attainment_at_least(queue: QueueResult, deadline_ns: int, fraction: float) -> Verdict:
    """Judge the share of requests done within a deadline >= fraction."""
    value = queue.attainment(deadline_ns)
    return _judge(
        queue,
        good=value >= fraction,
        rule="attainment at least",
        value=value,
        limit=fraction,
        unit="",
        more=f", deadline {show(deadline_ns, 'ns')}",
    )


def no_errors(queue: QueueResult) -> Verdict:
    """Judge that no command failed and every measured request completed."""
    value = queue.counts.failed + queue.censored
    return _judge(queue, good=value == 0, rule="errors exactly", value=value, limit=0, unit="")

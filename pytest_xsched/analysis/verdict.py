"""A verdict: a target, what was measured, and one sentence. Data only; `targets` makes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.base.quantity import show_apart
from pytest_xsched.stats.sequential_test import FAIL, PASS, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on one target of one queue.

    Attributes:
        status: ``"PASS"``, ``"FAIL"`` or ``"UNDECIDED"``.
        queue: name of the queue; "" of the scheduler.
        rule: "P99 below", "throughput at least".
        value: what was measured, in `unit`; inf for never.
        limit: what it is compared with, in `unit`.
        unit: ``"ns"``, ``"Hz"``, or ``""`` for a ratio.
        n: requests from which the value was computed.
        sentence: the verdict in words.
        decision: the misses on which it rests, for a claim about future requests; None for a fact
            about the measured requests, and for rates.
        nodeid: of the test that asserted the target; the plugin fills it in.
        limit_origin: file and line of the assertion.
        part: which part of the run it is about, "in stage 1"; "": all of it.
        latency: which latency of the requests it is about, "first_token"; "": the one to the
            completion, or none.
    """

    status: str
    queue: str
    rule: str
    value: float
    limit: float
    unit: str
    n: int
    sentence: str
    decision: Decision | None = None
    nodeid: str = ""
    limit_origin: str = ""
    part: str = ""
    latency: str = ""

    @property
    def judged(self) -> str:
        """Name of what was judged: of the queue, or of a latency of it, "chat.first_token"."""
        return f"{self.queue}.{self.latency}" if self.latency else self.queue or "scheduler"

    def with_remark(self, remark: str) -> Verdict:
        """Return the verdict with a remark after its sentence."""
        return replace(self, sentence=f"{self.sentence}{remark}")

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict in JSON's types; null for a value that is infinite."""
        names = ("status", "queue", "rule", "limit", "limit_origin", "unit", "n", "sentence")
        data: dict[str, Any] = {name: getattr(self, name) for name in (*names, "nodeid")}
        data["part"] = self.part
        data["latency"] = self.latency
        data["value"] = None if math.isinf(self.value) else self.value
        data["decision"] = None if self.decision is None else self.decision.to_dict()
        return data


def state(
    queue: QueueResult,
    *,
    status: str,
    rule: str,
    value: float,
    limit: float,
    tolerance: float = 0.0,
    unit: str = "",
    more: str = "",
    decision: Decision | None = None,
    hint: str = "",
) -> Verdict:
    """Put a verdict on a queue into words.

    Args:
        queue: what was judged.
        status: see `Verdict`.
        rule: its first word is the metric, the others how it compares with the limit.
        value: what was measured.
        limit: what the value is compared with...
        tolerance: ...less this share of the limit.
        unit: of value and limit.
        more: further figures for the brackets, each after a comma.
        decision: see `Verdict`.
        hint: what would decide an undecided target.
    """
    metric, _, relation = rule.partition(" ")
    verb = {PASS: "is", FAIL: "is not"}.get(status, "may or may not be")
    figures = [f"n = {queue.n}"]
    if queue.n:
        figures.append(f"max {queue.max}")
    if queue.censored:
        figures.append(queue.lost)
    shown, _ = show_apart(value, limit * (1 - tolerance), unit)
    _, limit_shown = show_apart(value, limit, unit)
    less = f" less {100 * tolerance:.3g}%" if tolerance else ""
    sentence = (
        f"{queue.label}: {metric} {shown} {verb} {relation} {limit_shown}{less} "
        f"({', '.join(figures)}{more}{_misses(decision)})"
    )
    if status not in (PASS, FAIL):
        sentence += f"; {hint or _needed(decision)}"
    return Verdict(
        status=status,
        queue=queue.name,
        part=queue.part,
        latency=queue.latency,
        rule=rule,
        value=value,
        limit=limit,
        unit=unit,
        n=queue.n,
        sentence=sentence,
        decision=decision,
    )


def _misses(decision: Decision | None) -> str:
    if decision is None:
        return ""
    may = math.floor(decision.n * decision.allowed * (1 + 1e-12))
    groups = ""
    if decision.misses and decision.bursts is not None:
        groups = f" in {decision.bursts} group{'s' if decision.bursts != 1 else ''}"
    missed = f"{decision.misses} miss{'es' if decision.misses != 1 else ''}"
    text = f", {missed}{groups}, {may} allowed"
    if decision.noisy and decision.status != PASS:
        text += f", {decision.noisy} of them in noisy seconds"
    if decision.status == FAIL:
        text += f", odds {_odds(decision.log_odds_fail)} to 1 against chance"
    return text


def _odds(log: float) -> str:
    """Format odds with one digit, and up to a billion: more would say nothing."""
    if log > math.log(1e9):
        return "over a billion"
    odds = math.exp(log)
    digit = 10 ** math.floor(math.log10(odds))
    return f"{math.floor(odds / digit) * digit:.0f}"


def _needed(decision: Decision | None) -> str:
    if decision is not None and decision.incident and decision.needed is None:
        return (
            "the misses came in one incident, which alone fails nothing; measure longer to see "
            "whether it comes back"
        )
    if decision is None or decision.needed is None:
        return "the misses are too close to the limit for any number of requests to decide it"
    return f"about {decision.needed} more requests would decide it"

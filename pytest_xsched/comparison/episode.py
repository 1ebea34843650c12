"""One run of one arm of a comparison: the figures of its queues, none without its evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from pytest_xsched.analysis.comparability import Record, mapped_schedulers
from pytest_xsched.analysis.queue_result import percentile_name
from pytest_xsched.analysis.run import Run
from pytest_xsched.errors import InvalidRun, ScenarioError
from pytest_xsched.stats.estimators import requests_needed

Measured: TypeAlias = "Run | Mapping[str, Any]"
"""A run, or one out of a file in JSON's types."""

GATES = (0.99, 0.95, 0.5)
"""Percentiles by which a run is compared with another: the first for which both have requests."""
STORED = {0.5: "p50_ns", 0.95: "p95_ns", 0.99: "p99_ns"}
"""The percentiles that a run in JSON's types has, by their keys."""


_Judged = TypeVar("_Judged")


def first_with_a_figure(
    judge: Callable[[float], _Judged], status: Callable[[_Judged], str]
) -> _Judged:
    """Judge by the first of `GATES` for which a side has a figure; by the first if none has.

    Args:
        judge: judges by a percentile.
        status: of a judgement; ``"no figure"`` if neither side has one.
    """
    first = judge(GATES[0])
    if status(first) != "no figure":
        return first
    lower = map(judge, GATES[1:])
    return next((one for one in lower if status(one) != "no figure"), first)


def falls_behind(run: Record, queue: Record) -> bool:
    """Check whether a queue is saturated or completes nothing, and nothing else is wrong.

    Then it has no figure because it is slower than any that has one.

    Args:
        run: in JSON's types.
        queue: one of its queues.
    """
    behind = bool(queue.get("saturated")) or queue["throughput_hz"] == 0
    return behind and not run["evidence"]["faults"]


class Episode:
    """One run of one arm: figures of its queues, each with its evidence."""

    def __init__(self, arm: str, number: int, run: Measured) -> None:
        self.arm = arm
        self.number = number
        self.run = run
        self._windows = 0
        self._record: Record = {}

    @property
    def record(self) -> Record:
        """What was measured so far, in JSON's types: a run may measure on."""
        if not isinstance(self.run, Run):
            return dict(self.run)
        if self.run.windows != self._windows:
            self._windows, self._record = self.run.windows, self.run.to_dict()
        return self._record

    def latest_record(self) -> Record:
        """Return the record with the verdicts of this moment, for the report."""
        return self.run.to_dict() if isinstance(self.run, Run) else dict(self.run)

    @property
    def windows(self) -> int:
        """Count of the measured windows; 0 for a run out of a file."""
        return self.run.windows if isinstance(self.run, Run) else 0

    def numbers(self, queue: str) -> Record:
        """Return what the record says of a queue."""
        for numbers in self.record["queues"]:
            if numbers["name"] == queue:
                return dict(numbers)
        raise ScenarioError(f"{self.arm}: the run has no queue {queue!r}")

    @property
    def masked(self) -> float:
        """Share of the time whose requests are in no latency because the machine was noisy."""
        noise = self.record["evidence"].get("noise")
        if not noise or noise["mode"] != "mask":
            return 0.0
        return float(noise["noisy_ns"] / noise["measured_ns"])

    def latency_numbers(self, queue: str, latency: str) -> Record:
        """Return what the record says of a latency of a queue to a milestone.

        Raises:
            ScenarioError: no request of this run reached the milestone.
        """
        known = self.numbers(queue).get("latencies", ())  # absent in old records
        for numbers in known:
            if numbers["name"] == latency:
                return dict(numbers)
        names = ", ".join(one["name"] for one in known) or "none"
        raise ScenarioError(
            f"{self.arm}: {queue} has no latency {latency!r}; those to milestones: {names}"
        )

    def percentile_ns(self, queue: str, q: float, latency: str = "") -> float:
        """Return a percentile of the latency, ns.

        Args:
            queue: its name.
            q: in (0, 1).
            latency: name of a latency to a milestone; "": the one to the completion.

        Raises:
            InvalidRun: it means nothing, or was never reached.
            ScenarioError: a run out of a file does not have it.
        """
        numbers = self.latency_numbers(queue, latency) if latency else self.numbers(queue)
        faults = self.record["evidence"]["queue_faults"].get(queue, [])
        self._refuse([*self._faults(), *faults])
        if numbers["n"] < requests_needed(q):
            needed = requests_needed(q)
            self._refuse([f"a {percentile_name(q)} needs {needed} requests, not {numbers['n']}"])
        if isinstance(self.run, Run):
            measured = self.run[queue]
            value = (measured.latencies[latency] if latency else measured).percentile(q).value
        elif q in STORED:
            stored = numbers[STORED[q]]
            value = math.inf if stored is None else stored
        else:
            raise ScenarioError(
                f"a run out of a file has P50, P95 and P99, no {percentile_name(q)}"
            )
        if math.isinf(value):
            what = f"{queue}.{latency}" if latency else queue
            self._refuse([f"{percentile_name(q)} of {what} was never reached"])
        return value

    def throughput_hz(self, queue: str) -> float:
        """Return the requests completed per second.

        Raises:
            InvalidRun: it shows nothing of a scheduler, or no request completed.
        """
        evidence = self.record["evidence"]
        # Absent in old records.
        self._refuse([*self._faults(), *evidence.get("uncontended", {}).get(queue, [])])
        if any(c["queue"] == queue and c["suspended"] for c in self.record["scenario"]["changes"]):
            self._refuse([f"changes= held {queue}, so its throughput is not the scheduler's"])
        value = float(self.numbers(queue)["throughput_hz"])
        if value == 0:
            self._refuse([f"{queue} completed nothing"])
        return value

    def remarks(self, queue: str) -> list[str]:
        """Return what a verdict on a queue has to say of its contenders in this run."""
        remarks = self.record["evidence"].get("remarks", {})  # absent in old records
        return list(remarks.get(queue, []))

    def _faults(self) -> list[str]:
        """Describe what spoils every figure of the run, and of what its scheduler is not."""
        faults = list(self.record["evidence"]["faults"])
        if self.record["scheduler"] != "xsched":
            # A preloaded shim: the arm without XSched would go through it, too.
            faults += [f"{path} is mapped" for path in mapped_schedulers(self.record)]
        return faults

    def _refuse(self, faults: Sequence[str]) -> None:
        if faults:
            run = self.run if isinstance(self.run, Run) else None
            raise InvalidRun(
                f"no verdict: {self.arm}, episode {self.number}: {'; '.join(faults)}", run=run
            )

"""What a test asks of a run: `run.high.assert_p99_below("50ms")`.

Every assert_* needs the run's evidence first (else InvalidRun), records its verdict in the run, and
raises QosAssertionError with the verdict's sentence if the target was missed, or if too little was
measured to say.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_xsched import targets
from pytest_xsched.benchmark import publish
from pytest_xsched.checks import finite_number
from pytest_xsched.errors import InvalidRun, QosAssertionError, ScenarioError
from pytest_xsched.evidence import Evidence
from pytest_xsched.fingerprint import Fingerprint
from pytest_xsched.gate import PASS
from pytest_xsched.model import Scenario
from pytest_xsched.result import QueueResult
from pytest_xsched.targets import Terms
from pytest_xsched.units import (
    DurationLike,
    RateLike,
    parse_duration,
    parse_fraction,
    parse_rate,
)
from pytest_xsched.verdict import Verdict


class MeasuredQueue(QueueResult):
    """A queue of a run, and the targets it can be held against."""

    _run: Run

    def assert_p99_below(self, limit: DurationLike) -> None:
        """Assert that the 99th percentile of the latency is below a limit; see `percentile`.

        Args:
            limit: ``"50ms"``, ``50 * ms`` or a timedelta.

        Raises:
            QosAssertionError: it is not, or too little was measured to say; see `gate`.
            InvalidRun: the run proves nothing, or has fewer than 299 requests.
            ScenarioError: the limit is not a time.
        """
        __tracebackhide__ = True
        self._percentile_below(0.99, limit, "limit of assert_p99_below")

    def assert_percentile_below(self, q: float, limit: DurationLike) -> None:
        """Assert that a percentile of the latency is below a limit.

        Args:
            q: in (0, 1), 0.95 for P95.
            limit: ``"50ms"``, ``50 * ms`` or a timedelta.
        """
        __tracebackhide__ = True
        self._percentile_below(q, limit, "limit of assert_percentile_below")

    def _percentile_below(self, q: float, limit: DurationLike, what: str) -> None:
        __tracebackhide__ = True
        limit_ns = parse_duration(limit, what=what)
        self._run.require(self.name)
        self.percentile(q)  # is q a percentile at all?
        self.require_n(q)
        self._settle(lambda terms: targets.percentile_below(self, q, limit_ns, terms))

    def assert_max_below(self, limit: DurationLike) -> None:
        """Assert that no measured request took as long as a limit.

        A fact about this run: it says little about the requests of the next one.
        """
        __tracebackhide__ = True
        limit_ns = parse_duration(limit, what="limit of assert_max_below")
        self._run.require(self.name)
        self._settle(lambda _: targets.max_below(self, limit_ns))

    def assert_longest_wait_below(self, limit: DurationLike) -> None:
        """Assert that no request waited as long as a limit for its first launch: starvation."""
        __tracebackhide__ = True
        limit_ns = parse_duration(limit, what="limit of assert_longest_wait_below")
        self._run.require()
        self._settle(lambda _: targets.longest_wait_below(self, limit_ns))

    def assert_tail_ratio_below(self, limit: float) -> None:
        """Assert that P99 / P50 is below a limit, a plain number above 1.

        The ratio also gets better when P50 gets worse, so assert a limit of P50 beside it.
        """
        __tracebackhide__ = True
        ratio = finite_number("limit of assert_tail_ratio_below", limit, above=1)
        self._run.require(self.name)
        self.require_n(0.99)
        self._settle(lambda terms: targets.tail_ratio_below(self, ratio, terms))

    def assert_slowdown_below(
        self, limit: float, *, alone: MeasuredQueue, percentile: float = 0.99
    ) -> None:
        """Assert that a percentile of the latency is below a multiple of that of the queue alone.

        Args:
            limit: a plain number, 1.5 for half as long again.
            alone: the same work in a run of its own: ``alone.high``.
            percentile: in (0, 1).

        Raises:
            ScenarioError: `alone` is other work, or of another kind of device.
        """
        __tracebackhide__ = True
        factor = finite_number("limit of assert_slowdown_below", limit, above=0)
        if not isinstance(alone, MeasuredQueue):
            raise ScenarioError(f"alone={alone!r} is not a queue of a run; write alone=run.high")
        mine, its = ((q.workload, q._run.device_kind) for q in (self, alone))
        if mine != its:
            raise ScenarioError(
                f"{self.name} and {alone.name} are not the same work on one kind of device: "
                f"{mine[0].label} on {mine[1]}, {its[0].label} on {its[1]}"
            )
        for queue in (self, alone):
            queue._run.require(queue.name)
            queue.percentile(percentile)
            queue.require_n(percentile)
        self._settle(lambda terms: targets.slowdown_below(self, alone, percentile, factor, terms))

    def assert_throughput_at_least(self, rate: RateLike, *, tolerance: str | float = 0.0) -> None:
        """Assert that requests were completed at a rate; see `throughput`.

        Args:
            rate: ``"20/s"`` or ``20 * per_s``.
            tolerance: share of the rate that may be missing, ``"1%"`` or 0.01.
        """
        __tracebackhide__ = True
        hz = parse_rate(rate, what="rate of assert_throughput_at_least")
        share = parse_fraction(tolerance, what="tolerance of assert_throughput_at_least")
        # A saturated queue has no valid latency, but its throughput is what it is.
        self._run.require()
        self._settle(lambda terms: targets.throughput_at_least(self, hz, share, terms))

    def assert_attainment_at_least(self, deadline: DurationLike, fraction: str | float) -> None:
        """Assert that a share of the requests completes within a deadline.

        Args:
            deadline: ``"50ms"``, ``50 * ms`` or a timedelta.
            fraction: ``"99%"`` or 0.99; 1: all that were measured, which is a fact.
        """
        __tracebackhide__ = True
        deadline_ns = parse_duration(deadline, what="deadline of assert_attainment_at_least")
        share = parse_fraction(fraction, what="fraction of assert_attainment_at_least")
        self._run.require(self.name)
        if 0 < share < 1:  # the same claim as a percentile below the deadline
            self.require_n(share)
        self._settle(lambda terms: targets.attainment_at_least(self, deadline_ns, share, terms))

    def assert_goodput_at_least(self, deadline: DurationLike, rate: RateLike) -> None:
        """Assert that requests are completed within a deadline at a rate.

        Args:
            deadline: ``"50ms"``, ``50 * ms`` or a timedelta.
            rate: ``"19/s"`` or ``19 * per_s``.
        """
        __tracebackhide__ = True
        deadline_ns = parse_duration(deadline, what="deadline of assert_goodput_at_least")
        hz = parse_rate(rate, what="rate of assert_goodput_at_least")
        self._run.require(self.name)
        self._settle(lambda terms: targets.goodput_at_least(self, deadline_ns, hz, terms))

    def assert_no_errors(self) -> None:
        """Assert that no command failed and every measured request completed."""
        __tracebackhide__ = True
        self._run.require()
        self._settle(lambda _: targets.no_errors(self))

    def publish(self, benchmark: Any) -> None:
        """Make the latencies of this queue the rounds of pytest-benchmark's fixture.

        Its table, files and comparisons then have them. The test names both fixtures, `benchmark`
        and `xsched` or one made of it. Where pytest-benchmark is disabled, as it is under xdist,
        nothing happens.

        Args:
            benchmark: the fixture; it can be used once a test.

        Raises:
            InvalidRun: the latencies mean nothing, or one of them never ended.
            ScenarioError: it is not pytest-benchmark's fixture, or has a clock of its own.
        """
        __tracebackhide__ = True
        self._run.require(self.name)
        scenario, numbers = self._run.scenario, self.to_dict()
        facts = {"scheduler": scenario.scheduler, "device": scenario.device, "seed": scenario.seed}
        keys = ("workload", "n", "p50_ns", "p95_ns", "p99_ns", "max_ns", "throughput_hz")
        publish(self, benchmark, {"queue": self.name, **facts, **{k: numbers[k] for k in keys}})

    def _settle(self, judge: Callable[[Terms], Verdict]) -> None:
        __tracebackhide__ = True
        self._run.settle(judge)


class Run:
    """One scenario, measured. Its queues are attributes and items: `run.high`, `run["high"]`.

    Attributes:
        scenario: what was asked for.
        device_kind: one of `names.DEVICES`; a figure of a double is never one of a GPU.
        device_name: what the device says of itself.
        fingerprint: where it was measured: devices, drivers, settings, host.
        evidence: why the numbers can be trusted, or not.
        remark: about the way it was measured; empty where there is nothing to say.
        origin: node id of the test that made it, or of the first that asked a fixture for it.
        verdicts: of the targets asserted so far.
    """

    def __init__(
        self,
        *,
        scenario: Scenario,
        fingerprint: Fingerprint,
        queues: tuple[MeasuredQueue, ...],
        evidence: Evidence,
        remark: str = "",
    ) -> None:
        self.scenario = scenario
        self.device_kind = scenario.device_kind
        self.device_name = fingerprint.devices[0].name
        self.fingerprint = fingerprint
        self.evidence = evidence
        self.remark = remark
        self.origin = ""
        self.verdicts: list[Verdict] = []
        self.queues = {queue.name: queue for queue in queues}
        for queue in queues:
            queue._run = self
            queue._require = functools.partial(self.require, queue.name)
            queue._require_run = self.require

    def require(self, queue: str | None = None) -> None:
        """Raise InvalidRun unless verdicts may be based on the run, or also on one queue of it."""
        __tracebackhide__ = True
        faults = self.evidence.faults
        if queue is not None:
            faults += self.evidence.queue_faults[queue]
        if faults:
            raise InvalidRun("no verdict: " + "; ".join(faults), run=self)

    def assert_fair(
        self,
        *names: str,
        at_least: float = 0.8,
        alone: Mapping[str, MeasuredQueue] | None = None,
    ) -> None:
        """Assert that no queue of a priority gets less than a share of what another of it gets.

        Rates of completions are compared, of closed loops and saturated queues.

        Args:
            names: queues of equal priority; none: all of the highest priority that has several.
            at_least: least rate of one / rate of another, in (0, 1].
            alone: each queue in a run of its own, by name; rates then count as shares of those.
                Needed where the queues do not have the same work.

        Raises:
            QosAssertionError: one gets less, or too little was measured to say.
            ScenarioError: the queues cannot be compared.
        """
        __tracebackhide__ = True
        share = finite_number("at_least of assert_fair", at_least, above=0, high=1)
        queues = [self[name] for name in names] if names else self._peers()
        if len(queues) < 2 or len({queue.spec.priority for queue in queues}) > 1:
            raise ScenarioError("assert_fair: it takes two or more queues of equal priority")
        if not alone and len({queue.workload for queue in queues}) > 1:
            raise ScenarioError(
                "assert_fair: the queues have different work; pass each alone: "
                'alone={"a": alone_a.a, "b": alone_b.b}'
            )
        self.require()
        weights = [_rate_alone(queue.name, alone) if alone else 1.0 for queue in queues]
        self.settle(lambda terms: targets.fair(queues, weights, share, terms))

    def _peers(self) -> list[MeasuredQueue]:
        by_priority: dict[int, list[MeasuredQueue]] = {}
        for queue in self.queues.values():
            by_priority.setdefault(queue.spec.priority, []).append(queue)
        several = [priority for priority, queues in by_priority.items() if len(queues) > 1]
        return by_priority[max(several)] if several else []

    def settle(self, judge: Callable[[Terms], Verdict]) -> None:
        """Judge, keep the verdict, and raise it unless it is PASS.

        Args:
            judge: gives a verdict on the terms it is handed.

        Raises:
            QosAssertionError: FAIL or UNDECIDED.
        """
        __tracebackhide__ = True
        verdict = judge(self._terms())
        self.verdicts.append(verdict)
        if verdict.status != PASS:
            s = self.scenario
            raise QosAssertionError(
                f"{verdict.sentence}, {s.scheduler} on {s.device}, seed {s.seed}", verdict=verdict
            )

    def _terms(self) -> Terms:
        # Blocks of a second, or a twentieth of what is measured where that is short.
        return Terms(block_ns=min(10**9, max(1, self.scenario.duration_ns // 20)))

    @property
    def scheduler(self) -> str:
        """The mechanism that was in effect."""
        return self.scenario.scheduler

    def __getattr__(self, name: str) -> MeasuredQueue:
        try:
            return self.__dict__["queues"][name]  # type: ignore[no-any-return]
        except KeyError:
            known = ", ".join(self.__dict__.get("queues", ()))
            raise AttributeError(f"the run has no queue {name!r}; it has {known}") from None

    def __getitem__(self, name: str) -> MeasuredQueue:
        if name not in self.queues:
            raise ScenarioError(f"the run has no queue {name!r}; it has {', '.join(self.queues)}")
        return self.queues[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.queues)

    def __len__(self) -> int:
        return len(self.queues)

    def __repr__(self) -> str:
        s = self.scenario
        return f"<Run of {', '.join(self.queues)}: {s.scheduler} on {s.device}, seed {s.seed}>"

    def to_dict(self) -> dict[str, Any]:
        """Give scenario, evidence, numbers and verdicts in JSON's types."""
        return {
            "scenario": self.scenario.to_dict(),
            "digest": self.scenario.digest(),
            "device_kind": self.device_kind,
            "device_name": self.device_name,
            "fingerprint": self.fingerprint.to_dict(),
            "scheduler": self.scheduler,
            "evidence": self.evidence.to_dict(),
            "remark": self.remark,
            "origin": self.origin,
            "queues": [queue.to_dict() for queue in self.queues.values()],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
        }

    def to_json(self) -> str:
        """Give `to_dict` as one line; equal runs in virtual time are equal to the byte."""
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)


def _rate_alone(name: str, alone: Mapping[str, MeasuredQueue]) -> float:
    if name not in alone:
        raise ScenarioError(f"assert_fair: alone has no queue for {name!r}")
    alone[name]._run.require()
    rate = alone[name].throughput.value
    if not rate:
        raise InvalidRun(f"{name} alone completed nothing", run=alone[name]._run)
    return rate

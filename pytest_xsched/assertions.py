"""What a test asks of a run: `run.high.assert_p99_below("50ms")`.

Every assert_* needs the run's evidence first (else InvalidRun), records its verdict in the run, and
raises QosAssertionError with the verdict's sentence if the target was missed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from pytest_xsched import verdict as judge
from pytest_xsched.benchmark import publish
from pytest_xsched.checks import finite_number
from pytest_xsched.errors import InvalidRun, QosAssertionError, ScenarioError
from pytest_xsched.evidence import Evidence
from pytest_xsched.fingerprint import Fingerprint
from pytest_xsched.model import Scenario
from pytest_xsched.result import QueueResult
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
            QosAssertionError: it is not.
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
        self._settle(judge.percentile_below(self, q, limit_ns))

    def assert_max_below(self, limit: DurationLike) -> None:
        """Assert that no latency reached a limit."""
        __tracebackhide__ = True
        limit_ns = parse_duration(limit, what="limit of assert_max_below")
        self._run.require(self.name)
        self._settle(judge.max_below(self, limit_ns))

    def assert_tail_ratio_below(self, limit: float) -> None:
        """Assert that P99 / P50 is below a limit, a plain number above 1."""
        __tracebackhide__ = True
        ratio = finite_number("limit of assert_tail_ratio_below", limit, above=1)
        self._run.require(self.name)
        self.require_n(0.99)
        self._settle(judge.tail_ratio_below(self, ratio))

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
        self._settle(judge.throughput_at_least(self, hz, share))

    def assert_attainment_at_least(self, deadline: DurationLike, fraction: str | float) -> None:
        """Assert that a share of the requests completed within a deadline.

        Args:
            deadline: ``"50ms"``, ``50 * ms`` or a timedelta.
            fraction: ``"99%"`` or 0.99.
        """
        __tracebackhide__ = True
        deadline_ns = parse_duration(deadline, what="deadline of assert_attainment_at_least")
        share = parse_fraction(fraction, what="fraction of assert_attainment_at_least")
        self._run.require(self.name)
        if 0 < share < 1:  # the same claim as a percentile below the deadline
            self.require_n(share)
        self._settle(judge.attainment_at_least(self, deadline_ns, share))

    def assert_no_errors(self) -> None:
        """Assert that no command failed and every measured request completed."""
        __tracebackhide__ = True
        self._run.require()
        self._settle(judge.no_errors(self))

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

    def _settle(self, verdict: Verdict) -> None:
        __tracebackhide__ = True
        self._run.verdicts.append(verdict)
        if verdict.status != "PASS":
            s = self._run.scenario
            raise QosAssertionError(
                f"{verdict.sentence}, {s.scheduler} on {s.device}, seed {s.seed}", verdict=verdict
            )


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

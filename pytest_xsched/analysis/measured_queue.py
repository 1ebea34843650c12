"""What a test asks of a queue: `run.high.assert_p99_below("50ms")`.

Every assert_* needs the run's evidence first (else InvalidRun), records its verdict in the run, and
raises QosAssertionError with the verdict's sentence if the target was missed, or if too little was
measured to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_xsched.analysis import targets
from pytest_xsched.analysis.pytest_benchmark import publish
from pytest_xsched.analysis.queue_result import QueueResult, percentile_name
from pytest_xsched.analysis.targets import Terms
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.units import (
    DurationLike,
    RateLike,
    format_duration,
    format_rate,
    parse_duration,
    parse_fraction,
    parse_rate,
)
from pytest_xsched.base.validation import finite_number
from pytest_xsched.errors import InvalidRun, ScenarioError
from pytest_xsched.stats.estimators import requests_needed

if TYPE_CHECKING:
    from pytest_xsched.analysis.run import Run


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
        self._measure_for(q)
        self._settle(lambda terms: targets.percentile_below(self, q, limit_ns, terms))

    def assert_max_below(self, limit: DurationLike) -> None:
        """Assert that no measured request took as long as a limit.

        A fact about this run: it says little about the requests of the next one.
        """
        __tracebackhide__ = True
        limit_ns = parse_duration(limit, what="limit of assert_max_below")
        self._run.require(self.name)
        self._settle(lambda _: targets.max_below(self, limit_ns), fact=True)

    def assert_longest_wait_below(self, limit: DurationLike) -> None:
        """Assert that no request waited as long as a limit for its first launch: starvation."""
        __tracebackhide__ = True
        limit_ns = parse_duration(limit, what="limit of assert_longest_wait_below")
        self._require_run()
        # A starved queue may have none but one of the warm-up, which waits.
        self._measure_until(lambda: self.n > 0 or self.longest_wait.value > 0)
        self._settle(lambda _: targets.longest_wait_below(self, limit_ns), latency=False, fact=True)

    def assert_tail_ratio_below(self, limit: float) -> None:
        """Assert that P99 / P50 is below a limit, a plain number above 1.

        The ratio also gets better when P50 gets worse, so assert a limit of P50 beside it.
        """
        __tracebackhide__ = True
        ratio = finite_number("limit of assert_tail_ratio_below", limit, above=1)
        self._run.require(self.name)
        self._measure_for(0.99)
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
            ScenarioError: `alone` is other work, of another kind of device, or was not alone.
        """
        __tracebackhide__ = True
        factor = finite_number("limit of assert_slowdown_below", limit, above=0)
        self.require_alone(alone)
        for queue in (self, alone):
            queue._run.require(queue.name)
            queue.percentile(percentile)
            queue._measure_for(percentile)
        self._settle(
            lambda terms: targets.slowdown_below(self, alone, percentile, factor, terms),
            beside=alone._run,
        )

    def require_alone(self, alone: object) -> None:
        """Raise ScenarioError unless a queue is the same work, by itself in a run of its own."""
        __tracebackhide__ = True
        if not isinstance(alone, MeasuredQueue):
            raise ScenarioError(f"alone={alone!r} is not a queue of a run; write alone=run.high")
        mine, its = ((q.workload, q._run.device_kind) for q in (self, alone))
        if mine != its:
            raise ScenarioError(
                f"{self.name} and {alone.name} are not the same work on one kind of device: "
                f"{mine[0].label} on {mine[1]}, {its[0].label} on {its[1]}"
            )
        others = ", ".join(name for name in alone._run.queues if name != alone.name)
        if others or alone._run is self._run:
            there = f"with {others} in it" if others else "that is to be judged"
            raise ScenarioError(
                f"{self.name}: alone is of a run {there}; it takes another, of this queue only"
            )

    def assert_throughput_at_least(self, rate: RateLike, *, tolerance: str | float = 0.0) -> None:
        """Assert that requests were completed at a rate; see `throughput`.

        Args:
            rate: ``"20/s"`` or ``20 * per_s``.
            tolerance: share of the rate that may be missing, ``"1%"`` or 0.01; below a half.
        """
        __tracebackhide__ = True
        what = "tolerance of assert_throughput_at_least"
        hz = parse_rate(rate, what="rate of assert_throughput_at_least")
        share = parse_fraction(tolerance, what=what)
        if share >= 0.5:  # 1, say, which was to be one percent
            raise ScenarioError(
                f"{what}: {tolerance!r} lets half of the rate be missing or more; "
                'write one percent as "1%" or 0.01'
            )
        # A saturated queue has no valid latency, but its throughput is what it is.
        self._require_run()
        self._settle(
            lambda terms: targets.throughput_at_least(self, hz, share, terms), latency=False
        )

    def assert_attainment_at_least(self, deadline: DurationLike, fraction: str | float) -> None:
        """Assert that a share of the requests completes within a deadline.

        Args:
            deadline: ``"50ms"``, ``50 * ms`` or a timedelta.
            fraction: ``"99%"`` or 0.99, above 0; 1: all that were measured, which is a fact.
        """
        __tracebackhide__ = True
        deadline_ns = parse_duration(deadline, what="deadline of assert_attainment_at_least")
        share = parse_fraction(
            fraction, what="fraction of assert_attainment_at_least", allow_zero=False
        )
        self._run.require(self.name)
        if share < 1:  # the same claim as a percentile below the deadline
            self._measure_for(share)
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
        """Assert that no command failed and every measured request completed.

        Raises:
            QosAssertionError: one did not.
            InvalidRun: the run proves nothing, or there was no request.
        """
        __tracebackhide__ = True
        self._require_run()
        self._measure_until(lambda: self.n > 0)
        self._settle(lambda _: targets.no_errors(self), latency=False, fact=True)

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

    def _measure_for(self, q: float) -> None:
        """Measure on until a percentile has a bound, if the duration is long enough for that.

        Raises:
            InvalidRun: it is not, which is said at once; or fewer requests came than were to.
        """
        __tracebackhide__ = True
        needed, duration_ns = requests_needed(q), self._run.scenario.duration_ns
        measured_ns = self._run.measured_ns
        if self.n < needed and self.n * duration_ns < needed * measured_ns:
            rate_hz = self.n / measured_ns * 1e9
            tenths = math.ceil(10 * needed / rate_hz)
            raise InvalidRun(
                f"{self.name}: {percentile_name(q)} needs {needed} requests, "
                f"{tenths / 10:.1f} s at {format_rate(rate_hz)}; the duration is "
                f"{format_duration(duration_ns)}",
                run=self._run,
            )
        while self.n < needed and self._run.measure_on():
            pass
        self.require_n(q)

    def _measure_until(self, met: Callable[[], bool]) -> None:
        """Measure on until there is a request; raise InvalidRun if none ever comes."""
        __tracebackhide__ = True
        while not met():
            if not self._run.measure_on():
                raise InvalidRun(self.no_request, run=self._run)

    def _settle(
        self,
        judge: Callable[[Terms], Verdict],
        *,
        latency: bool = True,
        fact: bool = False,
        beside: Run | None = None,
    ) -> None:
        __tracebackhide__ = True

        def judge_valid(terms: Terms) -> Verdict:
            __tracebackhide__ = True
            # Once more at each look, because a later window may be worth nothing.
            self._run.require(self.name if latency else None)
            return judge(terms)

        self._run.settle(judge_valid, fact=fact, beside=beside)

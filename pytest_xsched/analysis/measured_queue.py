"""The targets of a queue: `run.high.assert_p99_below("50ms")`.

Every assert_* checks the evidence of the run first and raises InvalidRun if that is missing. It
then records its verdict in the run. If the target was missed, or too little was measured to decide,
it raises QosAssertionError with the sentence of the verdict.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_xsched.analysis import targets
from pytest_xsched.analysis.alone import require_alone
from pytest_xsched.analysis.assertion import Unjudged, asserts, target_advice
from pytest_xsched.analysis.evidence import LATENCY, LOWER_BOUND, RATE, WAIT
from pytest_xsched.analysis.explanation import Explanation, explain
from pytest_xsched.analysis.hdr_log import hdr_log
from pytest_xsched.analysis.milestone_times import Flags, kept, latency_names, split_name
from pytest_xsched.analysis.pytest_benchmark import publish
from pytest_xsched.analysis.queue_result import QueueResult, percentile_name
from pytest_xsched.analysis.targets import ErrorBudget
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.output_file import write_whole
from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.quantity import Quantity, show_given
from pytest_xsched.base.units import (
    DurationLike,
    RateLike,
    format_duration,
    format_rate,
    parse_duration,
    parse_fraction,
    parse_rate,
    refuse_swapped,
)
from pytest_xsched.base.validation import finite_number
from pytest_xsched.errors import InvalidRun, ScenarioError
from pytest_xsched.scenario.profile import Profile
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.stages import Stages
from pytest_xsched.stats.estimators import requests_needed
from pytest_xsched.stats.sequential_test import FAIL, PASS

if TYPE_CHECKING:
    from pytest_xsched.analysis.milestone_latency import MilestoneLatency
    from pytest_xsched.analysis.queue_part import Slices
    from pytest_xsched.analysis.run import Run


class MeasuredQueue(QueueResult):
    """A queue of a run, with a method for each target."""

    _run: Run
    latency_type: type[MilestoneLatency]
    """The type of `latencies`, which knows this one."""

    def __repr__(self) -> str:
        return f"<queue {self.label} of a run>"

    @property
    def stages(self) -> Stages:
        """The stages of its load.

        Raises:
            ScenarioError: it has another load.
        """
        arrivals = self.spec.arrivals
        if isinstance(arrivals, Stages):
            return arrivals
        raise ScenarioError(
            f"{self.name} has no stages but the load {python_text(arrivals)[:80]}; write "
            'arrivals=stages([("10s", "20/s"), ("30s", "100/s")])'
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers in JSON's types, for a load in stages also those of each stage."""
        data = super().to_dict()
        if isinstance(self.spec.arrivals, Stages) and not self.part:
            data["stages"] = self._run.parts.stages_to_list(self)
        return data

    def stage(self, which: int | str) -> MeasuredQueue:
        """Return the requests that arrived in one stage of the load, as a queue with all targets.

        Args:
            which: its index from 0, or its name: ``run.high.stage("burst")``.

        Raises:
            ScenarioError: the load has no such stage.
            InvalidRun: the run ended before it.
        """
        made: MeasuredQueue = self._run.parts.stage_of(self, which)
        return made

    @names_the_rest
    def every(self, length: DurationLike, *, step: DurationLike | None = None) -> Slices:
        """Return targets that must hold in every slice of the time, ``every("10s")``.

        All slices together are one target, which fails with the error rate of one. They fill the
        whole duration, so a PASS takes all of it.

        Args:
            length: of a slice; what remains at the end belongs to the last slice.
            step: from the begin of one slice to that of the next; the length. A shorter one makes
                slices that overlap.
        """
        made: Slices = self._run.parts.slices_of(self, length, step)
        return made

    @asserts
    def assert_recovers_within(
        self,
        time: DurationLike,
        *,
        below: DurationLike,
        after: int | str | None = None,
        percentile: float = 0.95,
    ) -> None:
        """Assert that the latency is back below a limit soon after a stage.

        It is back at the first request that begins 20 in a row (for a P99: 100) with this
        percentile below the limit. A fact about this run: it says little about future bursts.

        Args:
            time: the longest time from the end of the stage until that request arrives.
            below: the limit of the latency.
            after: the stage, by index or name; the one with the highest rate that is not the last.
            percentile: in (0, 1).

        Raises:
            QosAssertionError: it takes longer.
            InvalidRun: the evidence speaks against the run, or too few requests follow the stage.
            ScenarioError: the load has no such stage.
        """
        __tracebackhide__ = True
        within_ns = parse_duration(time, what="time of assert_recovers_within")
        below_ns = parse_duration(below, what="below of assert_recovers_within")
        part = self._run.parts.after_stage(self, after)
        part._begin(LOWER_BOUND)
        part.percentile(percentile)  # checks it
        count, may = self._run.parts.run_length(percentile)
        if part.n < count:
            raise InvalidRun(
                f"{part.label}: {count} requests in a row show a recovery, and there are {part.n}",
                run=self._run,
            )
        part._judge(
            lambda queue, _: targets.recovery_below(queue, within_ns, below_ns, count, may),
            fact=True,
        )

    def __getattr__(self, name: str) -> Any:
        """Return a latency to a milestone; else say how to write what has no name of its own."""
        if not name.startswith("_") and (found := self.find_latency(name)) is not None:
            return found
        advice = target_advice(self, name)
        if not advice and not name.startswith(("_", "assert_")) and self.milestones.names:
            advice = f"; its latencies to milestones are {', '.join(self.latencies)}"
        raise AttributeError(f"a queue of a run has no {name!r}{advice}")

    @property
    def of_requests(self) -> MeasuredQueue:
        """The queue itself; of a latency to a milestone the queue whose requests these are."""
        return self

    @property
    def latencies(self) -> dict[str, MilestoneLatency]:
        """The latencies of its requests to their milestones, by name; see `MilestoneLatency`.

        They are attributes, too: ``run.chat.first_token`` is ``run.chat.latencies["first_token"]``.
        """
        found = {name: self.find_latency(name) for name in latency_names(self)}
        return {name: one for name, one in found.items() if one is not None}

    def find_latency(self, name: str) -> MilestoneLatency | None:
        """Return a latency to a milestone by any name that it may have; None: there is none."""
        if split_name(self.milestones.names, name) is None:
            return None
        known: dict[str, MilestoneLatency] = self.__dict__.setdefault("_latencies", {})
        if name not in known:
            known[name] = self.latency_type(self, name)
        return known[name]

    def extend(self, *args: Any, **more: Any) -> None:
        """Add a window that was measured later; see `QueueResult.extend`."""
        super().extend(*args, **more)
        for latency in self.__dict__.get("_latencies", {}).values():
            latency.refresh()

    @asserts
    def assert_p95_below(self, limit: DurationLike) -> None:
        """Assert that the 95th percentile of the latency is below a limit; see `assert_p99_below`.

        It needs 59 requests.
        """
        __tracebackhide__ = True
        self._percentile_below(0.95, limit, "limit of assert_p95_below")

    @asserts
    def assert_p99_below(self, limit: DurationLike) -> None:
        """Assert that the 99th percentile of the latency is below a limit; see `percentile`.

        Args:
            limit: ``"50ms"``, ``50 * ms`` or a timedelta.

        Raises:
            QosAssertionError: it is not, or too little was measured to decide.
            InvalidRun: the evidence speaks against the run, or it has fewer than 299 requests.
            ScenarioError: the limit is not a time.
        """
        __tracebackhide__ = True
        self._percentile_below(0.99, limit, "limit of assert_p99_below")

    @asserts
    def assert_p999_below(self, limit: DurationLike) -> None:
        """Assert that P99.9 of the latency is below a limit; see `assert_p99_below`.

        It needs 2995 requests.
        """
        __tracebackhide__ = True
        self._percentile_below(0.999, limit, "limit of assert_p999_below")

    @asserts
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
        refuse_swapped(limit, q, 'assert_percentile_below(0.99, "50ms")')
        limit_ns = parse_duration(limit, what=what)
        self._begin(LOWER_BOUND)
        self.percentile(q)  # checks q
        self._measure_for(q)
        self._judge(lambda queue, budget: targets.percentile_below(queue, q, limit_ns, budget))

    @asserts
    def assert_max_below(self, limit: DurationLike) -> None:
        """Assert that no measured request took as long as a limit.

        A fact about this run: it says little about future requests.
        """
        __tracebackhide__ = True
        limit_ns = parse_duration(limit, what="limit of assert_max_below")
        self._begin(LOWER_BOUND)
        self._judge(lambda queue, _: targets.max_below(queue, limit_ns), fact=True)

    @asserts
    def assert_longest_wait_below(self, limit: DurationLike) -> None:
        """Assert that no request waited as long as a limit while nothing happened for it.

        That is starvation: a request waits for its first launch, or later none of its commands is
        launched or completed; see `longest_wait`. A running command counts as well, because its end
        is all that is seen of it: the limit has to exceed the longest command, and without XQueues
        (under ``"native"``), and in a program of your own, the longest request.
        """
        __tracebackhide__ = True
        limit_ns = parse_duration(limit, what="limit of assert_longest_wait_below")
        self._begin(WAIT)
        self._require_wait()
        # The only request of a starved queue may be one of the warm-up that still waits.
        self._measure_until(lambda: self.n > 0 or self.longest_wait.value > 0)
        self._judge(
            lambda queue, _: targets.longest_wait_below(queue, limit_ns), needs=WAIT, fact=True
        )

    @asserts
    def assert_tail_ratio_below(self, limit: float) -> None:
        """Assert that P99 / P50 is below a limit, a plain number above 1.

        The ratio also improves when P50 gets worse, so assert a limit of P50 as well.
        """
        __tracebackhide__ = True
        ratio = finite_number("limit of assert_tail_ratio_below", limit, above=1)
        self._begin(LATENCY)
        self._measure_for(0.99)
        self._judge(
            lambda queue, budget: targets.tail_ratio_below(queue, ratio, budget), needs=LATENCY
        )

    @asserts
    def assert_slowdown_below(
        self, limit: float, *, alone: MeasuredQueue, percentile: float = 0.99
    ) -> None:
        """Assert that a percentile of the latency is below a multiple of the same queue alone.

        Args:
            limit: the multiple, a plain number: 1.5 allows 50 % more.
            alone: the same queue of a run without other queues: ``alone.high``.
            percentile: in (0, 1).

        Raises:
            ScenarioError: `alone` has other work, another load or another kind of device, or it was
                held or not alone.
        """
        __tracebackhide__ = True
        factor = finite_number("limit of assert_slowdown_below", limit, above=0)
        self.require_alone(alone)
        for queue, needs in ((self, LOWER_BOUND), (alone, LATENCY)):
            queue._begin(needs)
            queue.percentile(percentile)
            queue._measure_for(percentile)

        def rule(queue: MeasuredQueue, budget: ErrorBudget) -> Verdict:
            __tracebackhide__ = True
            alone._run.require(alone.name)
            return targets.slowdown_below(queue, alone, percentile, factor, budget)

        self._judge(rule, other=alone._run)

    def require_alone(self, alone: object) -> None:
        """Raise ScenarioError unless `alone` is the same queue in a run without other queues."""
        __tracebackhide__ = True
        require_alone(self, alone)

    @asserts
    def assert_throughput_at_least(self, rate: RateLike, *, tolerance: str | float = 0.0) -> None:
        """Assert that requests complete at least at a rate; see `throughput`.

        Args:
            rate: ``"20/s"`` or ``20 * per_s``.
            tolerance: share of the rate that may be missing, ``"1%"`` or 0.01; below a half.
        """
        __tracebackhide__ = True
        what = "tolerance of assert_throughput_at_least"
        hz = parse_rate(rate, what="rate of assert_throughput_at_least")
        share = parse_fraction(tolerance, what=what)
        if share >= 0.5:  # such as 1, meant as one percent
            raise ScenarioError(
                f"{what}: {tolerance!r} lets half of the rate be missing or more; "
                'write one percent as "1%" or 0.01'
            )
        # A saturated queue has no valid latency, but its throughput is valid.
        self._require_run()
        self._judge(
            lambda queue, budget: targets.throughput_at_least(queue, hz, share, budget),
            needs=RATE,
        )

    @asserts
    def assert_attainment_at_least(self, deadline: DurationLike, fraction: str | float) -> None:
        """Assert that a share of the requests completes within a deadline.

        Args:
            deadline: ``"50ms"``, ``50 * ms`` or a timedelta.
            fraction: ``"99%"`` or 0.99, above 0; 1 means all measured requests, which is a fact.
        """
        __tracebackhide__ = True
        refuse_swapped(deadline, fraction, 'assert_attainment_at_least("50ms", "99%")')
        deadline_ns = parse_duration(deadline, what="deadline of assert_attainment_at_least")
        share = parse_fraction(
            fraction, what="fraction of assert_attainment_at_least", allow_zero=False
        )
        self._begin(LOWER_BOUND)
        if share < 1:  # the same target as a percentile below the deadline
            self._measure_for(share)
        self._judge(
            lambda queue, budget: targets.attainment_at_least(queue, deadline_ns, share, budget)
        )

    @names_the_rest
    def goodput(self, /, deadline: DurationLike | None = None, **limits: DurationLike) -> Quantity:
        """Return the requests per second that completed and kept all of some limits.

        Args:
            deadline: of the latency to the completion; None: none.
            limits: of latencies to milestones, by name: ``first_token="300ms"``. Of
                ``between_tokens`` the longest of each request counts.

        Raises:
            ScenarioError: a limit is not a time, or the queue has no such latency.
            InvalidRun: no request was measured.
        """
        deadline_ns, limits_ns, more = self._limits("goodput", deadline, limits)
        self._some_latency()
        value = targets.goodput(self, deadline_ns, self._kept(self, limits_ns))
        detail = more.removeprefix(", ")
        return Quantity(value, "Hz", f"goodput of {self.label}", detail, lambda: self._require())

    @asserts
    def assert_goodput_at_least(
        self,
        /,
        deadline: DurationLike | None = None,
        rate: RateLike | None = None,
        **limits: DurationLike,
    ) -> None:
        """Assert that requests that keep all of some limits complete at least at a rate.

        Args:
            deadline: of the latency to the completion: ``"50ms"``, ``50 * ms`` or a timedelta.
            rate: ``"19/s"`` or ``19 * per_s``.
            limits: of latencies to milestones, by name; see `goodput`. With these a deadline may be
                left out: ``assert_goodput_at_least(rate="19/s", first_token="300ms")``.
        """
        __tracebackhide__ = True
        refuse_swapped(deadline, rate, 'assert_goodput_at_least("50ms", "20/s")')
        if rate is None:
            raise ScenarioError(
                'assert_goodput_at_least: there is no rate; write rate="19/s", for example'
            )
        call = "assert_goodput_at_least"
        deadline_ns, limits_ns, more = self._limits(call, deadline, limits)
        hz = parse_rate(rate, what="rate of assert_goodput_at_least")
        self._begin(LOWER_BOUND)

        def rule(queue: MeasuredQueue, budget: ErrorBudget) -> Verdict:
            kept = self._kept(queue, limits_ns)
            return targets.goodput_at_least(queue, deadline_ns, hz, budget, kept=kept, more=more)

        self._judge(rule)

    def _limits(
        self, call: str, deadline: DurationLike | None, limits: Mapping[str, DurationLike]
    ) -> tuple[int | None, dict[str, int], str]:
        """Return the limits of a goodput in ns, and the words for them, each after a comma."""
        if deadline is None and not limits:
            raise ScenarioError(
                f'{call}: there is no limit; write deadline="50ms", or a latency to a milestone'
            )
        for name in limits:
            if split_name(self.milestones.names, name) is None:
                known = ", ".join(self.latencies) or "none"
                raise ScenarioError(
                    f"{call}: {self.label} has no latency {name!r}; those to milestones: {known}"
                )
        of_all = {"deadline": deadline, **limits}
        given = {name: one for name, one in of_all.items() if one is not None}
        limits_ns = {
            name: parse_duration(limit, what=f"{name} of {call}") for name, limit in given.items()
        }
        more = "".join(f", {name} {show_given(ns, 'ns')}" for name, ns in limits_ns.items())
        return limits_ns.pop("deadline", None), limits_ns, more

    def _kept(self, queue: MeasuredQueue, limits_ns: Mapping[str, int]) -> Flags | None:
        return kept(queue, limits_ns) if limits_ns else None

    @asserts
    def assert_no_errors(self) -> None:
        """Assert that no command failed and every measured request completed.

        Raises:
            QosAssertionError: one did not.
            InvalidRun: the evidence speaks against the run, or there was no request.
        """
        __tracebackhide__ = True
        self._require_run()
        self._measure_until(lambda: self.n > 0)
        self._judge(lambda queue, _: targets.no_errors(queue), needs=RATE, fact=True)

    def explain(self, limit: DurationLike | None = None) -> Explanation:
        """Explain where the time of the late requests went; nothing is asserted.

        It is computed from the commands on record, see `Session.run`, `trace`. Requests in masked
        seconds are left out. Print it, or see its attributes.

        Args:
            limit: requests that took longer are explained, ``"50ms"``; None: the worst 1 %, at
                least one.

        Raises:
            ScenarioError: the limit is not a time.
        """
        limit_ns = None if limit is None else parse_duration(limit, what="limit of explain")
        return explain(self._run, self, limit_ns)

    def publish(self, benchmark: Any) -> None:
        """Make the latencies of this queue the rounds of pytest-benchmark's fixture.

        They then appear in its table, files and comparisons. The test uses both fixtures,
        `benchmark` and `xsched` (or one that uses it). If pytest-benchmark is disabled, as under
        xdist, nothing happens.

        Args:
            benchmark: the fixture; a test can use it once.

        Raises:
            InvalidRun: the evidence speaks against the latencies, or a request never completed.
            ScenarioError: it is not pytest-benchmark's fixture, or it has another clock.
        """
        __tracebackhide__ = True
        self._require_evidence()
        scenario = self._run.scenario
        facts = {"scheduler": scenario.scheduler, "device": scenario.device, "seed": scenario.seed}
        publish(self, benchmark, {"queue": self.label, **facts, **self._published()})

    def _published(self) -> dict[str, Any]:
        """Return the figures that go into a benchmark's row, next to its own."""
        keys = ("workload", "n", "p50_ns", "p95_ns", "p99_ns", "max_ns", "throughput_hz")
        return {key: value for key, value in self.to_dict().items() if key in keys}

    @property
    def _unjudged(self) -> list[Unjudged]:
        return self._run._unjudged

    def save_hdr(self, path: str | os.PathLike[str]) -> None:
        """Write the latencies as an HdrHistogram log, which other tools merge, compare and draw.

        It holds what `percentile` reads, in ns with three digits; its tag is the queue. The
        histograms of several runs or machines can be added.

        Args:
            path: the file; its directory must exist.

        Raises:
            InvalidRun: the evidence speaks against the latencies, or a request never completed.
            MissingExtra: the package hdrhistogram is not installed.
            OSError: the file cannot be written.
        """
        __tracebackhide__ = True
        target = Path(expand_path(os.fspath(path), "save_hdr"))
        self._require_evidence()
        self.require_complete("save_hdr()")
        write_whole(target, hdr_log(self.label, self.client_latency_ns, self.windows_ns))

    def _begin(self, needs: str) -> None:
        """Check the evidence before a target is judged; first measure until a contender was met.

        Args:
            needs: see `Evidence.against`.

        Raises:
            InvalidRun: the evidence speaks against a verdict.
        """
        __tracebackhide__ = True
        while self.name in self._run.evidence.uncontended and self._run.measure_on():
            pass
        self._require_evidence(needs)

    def _require_evidence(self, needs: str = LATENCY) -> None:
        """Raise InvalidRun if the evidence speaks against the queue; see `Run.require`."""
        __tracebackhide__ = True
        self._run.require(self.name, needs)

    def _growing(self) -> tuple[str, ...]:
        """Return the faults under which a latency is a lower bound; see `Evidence`."""
        found: tuple[str, ...] = self._run.evidence.growing.get(self.name, ())
        return found

    def _budget(self, budget: ErrorBudget) -> ErrorBudget:
        """Return the error budget for a check of this queue."""
        return budget

    def profile(self) -> Profile:
        """Record the profile of the queue's model: the times of its commands, for `recorded`.

        The model is built once more on the device of the run, and its requests run alone. Keep the
        result: ``run.high.profile().save("resnet50.json")``.

        Raises:
            ScenarioError: the work of the queue is no model, or it has no commands.
            DeviceError: the driver refuses a call, or the GPU hangs.
            WorkerCrashed: the process that records ended without a result, or did not end.
        """
        __tracebackhide__ = True
        model = self.workload.model
        if model is None:
            raise ScenarioError(
                f"{self.name}: {self.workload.label} is no model whose commands could be recorded; "
                "write xsched.queue(..., model(build)), or replay what is known with recorded()"
            )
        return self._run.record_profile(model, self.spec.device or self._run.scenario.device)

    def _measure_for(self, q: float) -> None:
        """Measure on until the queue has enough requests for a percentile.

        Raises:
            InvalidRun: the whole duration is too short for that (raised at once), or fewer requests
                came than the rate promised.
        """
        __tracebackhide__ = True
        needed, duration_ns = requests_needed(q), self._run.scenario.duration_ns
        measured_ns = self._run.measured_ns
        if self.n < needed and self.n * duration_ns < needed * measured_ns:
            rate_hz = self.n / measured_ns * 1e9
            tenths = math.ceil(10 * needed / rate_hz)
            raise InvalidRun(
                f"{self.label}: {percentile_name(q)} needs {needed} {self.counted}, "
                f"{tenths / 10:.1f} s at {format_rate(rate_hz)}; the duration is "
                f"{format_duration(duration_ns)}{self.because_stalled}",
                run=self._run,
                starved=bool(self.stalled),
            )
        while self.n < needed and self._run.measure_on():
            pass
        self.require_n(q)

    def _measure_until(self, met: Callable[[], bool]) -> None:
        """Measure on until `met` returns true; raise InvalidRun if the duration ends first."""
        __tracebackhide__ = True
        while not met():
            if not self._run.measure_on():
                raise InvalidRun(self.no_request, run=self._run)

    def _judge(
        self,
        rule: Callable[[MeasuredQueue, ErrorBudget], Verdict],
        *,
        needs: str = LOWER_BOUND,
        fact: bool = False,
        other: Run | None = None,
    ) -> None:
        """Judge by a rule; see `Run.judge`.

        Args:
            rule: returns the verdict on a queue: on this one, or on lower bounds of its latencies.
            needs: see `Evidence.against`. `LOWER_BOUND`: a target that lower bounds miss is missed.
            fact: see `Run.judge`.
            other: see `Run.judge`.
        """
        __tracebackhide__ = True

        def rule_of_valid(budget: ErrorBudget) -> Verdict:
            __tracebackhide__ = True
            # At each check again, because a later window may spoil the run.
            self._require_evidence(needs)
            budget = self._budget(budget)
            growing = self._growing()
            remarks = self._run.evidence.remarks_on(self.name, needs)
            if needs != LOWER_BOUND or not growing:
                return rule(self, budget).with_remark(remarks)
            verdict = rule(self.lower_bounds(), budget)
            if verdict.status == FAIL:
                return verdict.with_remark(f"; at least that, because {growing[0]}{remarks}")
            if verdict.status == PASS or budget.spent:
                self._require_evidence()  # raises
            return verdict.with_remark(remarks)

        self._run.judge(rule_of_valid, fact=fact, other=other)

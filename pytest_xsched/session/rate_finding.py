"""The search for the highest rate, on the devices of a session: each rate is a run of its own."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_xsched.analysis.evidence import LOWER_BOUND
from pytest_xsched.analysis.latency_target import LatencyTarget
from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.milestone_times import BETWEEN, PER, names_of_latencies, split_name
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.units import (
    MAX_HZ,
    RateLike,
    format_duration,
    format_rate,
    one_line,
    parse_fraction,
    parse_rate,
)
from pytest_xsched.errors import InvalidRun, ScenarioError
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario, default_warmup_ns
from pytest_xsched.session.arguments import require_queues
from pytest_xsched.stats import rate_search
from pytest_xsched.stats.error_budget import SessionBudget
from pytest_xsched.stats.estimators import CENSORED_NS, nearest_rank, requests_needed
from pytest_xsched.stats.rate_search import Plan, Point
from pytest_xsched.stats.sequential_test import BETA, Misses
from pytest_xsched.stress.highest_rate import CurvePoint, HighestRate, Request

S = 10**9
_SEED_STEP = 15_485_863
"""Between the rates of a search: a prime, so that no two of a session's seeds meet soon."""
_LOWEST_PART = 8
"""The lowest rate that is tried has the requests of a verdict in that part of the budget."""
_FIGURES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class RateRequest:
    """The arguments of `Session.find_rate`, checked.

    Attributes:
        budget_ns: the most that is measured.
        option: the value of --xsched-duration, which is then the budget; None: it is that of the
            test.
        spec: of the queue whose rate is varied.
        start_hz: where the search begins.
        lowest_hz: no lower rate is tried.
        highest_hz: no higher one.
        share: how far apart the bounds may be when the search ends.
    """

    queues: Sequence[QueueSpec]
    queue: str
    target: LatencyTarget
    lowest: RateLike | None
    highest: RateLike | None
    within: str | float
    budget_ns: int
    option: str | None
    spec: QueueSpec = field(init=False)
    start_hz: float = field(init=False)
    lowest_hz: float = field(init=False)
    highest_hz: float = field(init=False)
    share: float = field(init=False)

    def __post_init__(self) -> None:
        def set_to(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if isinstance(self.queues, QueueSpec) or not isinstance(self.queues, (list, tuple)):
            given = self.queues
            shown = (
                f"is the queue {given.name!r}, not a list" if isinstance(given, QueueSpec) else ""
            )
            raise ScenarioError(
                f"find_rate(): queues {shown or one_line(given) + ' are no list'}; write "
                'find_rate([chat, low], queue="chat", ...)'
            )
        set_to("queues", tuple(self.queues))
        require_queues("find_rate", self.queues)
        if not isinstance(self.target, LatencyTarget):
            raise ScenarioError(
                f"target of find_rate: {one_line(self.target)} is not a target; write "
                'p99_below("50ms")'
            )
        known = {queue.name: queue for queue in self.queues}
        name = getattr(self.queue, "name", self.queue)
        if name not in known:
            raise ScenarioError(
                f"queue of find_rate: {one_line(self.queue)} is none of the queues; they are "
                f"{', '.join(known) or 'none'}"
            )
        spec = known[name]
        if spec.arrivals.rate_hz is None:
            raise ScenarioError(
                f"queue of find_rate: {name!r} has no rate that could be varied; write "
                'rate="20/s" or arrivals=poisson("20/s")'
            )
        set_to("queue", name)
        set_to("spec", spec)
        set_to("start_hz", spec.arrivals.rate_hz)
        lowest_hz = min(self.start_hz, self.least_requests * S / self.budget_ns)
        if self.lowest is not None:
            lowest_hz = parse_rate(self.lowest, what="lowest of find_rate")
        highest_hz = min(MAX_HZ, 4 * SAMPLES_MAX * S / self.budget_ns)
        if self.highest is not None:
            highest_hz = parse_rate(self.highest, what="highest of find_rate")
        if not lowest_hz < highest_hz:
            raise ScenarioError(self._not_below(lowest_hz, highest_hz))
        for other in self.queues:
            hz = other.arrivals.rate_hz
            if hz is not None and hz * self.budget_ns < _LOWEST_PART * S:
                raise ScenarioError(
                    f"find_rate(): {format_rate(hz)} of {other.name} is hardly a request while one "
                    f"rate is measured, with {self.budget_text}"
                )
        set_to("lowest_hz", lowest_hz)
        set_to("highest_hz", highest_hz)
        set_to("start_hz", min(highest_hz, max(lowest_hz, self.start_hz)))
        share = parse_fraction(self.within, what="within of find_rate", allow_zero=False)
        if share == 1:
            raise ScenarioError(
                'within of find_rate: 1 lets the bounds be twice as far apart; write "5%" or 0.05'
            )
        set_to("share", share)

    @property
    def least_requests(self) -> int:
        """How many requests the budget has at the lowest rate, unless the test names that."""
        return _LOWEST_PART * requests_needed(self.target.share)

    @property
    def budget_text(self) -> str:
        """The budget, by what names it."""
        if self.option is not None:
            return f"--xsched-duration={self.option}"
        return f"a budget of {format_duration(self.budget_ns)}"

    def _not_below(self, lowest_hz: float, highest_hz: float) -> str:
        """Return the sentence that there is no rate to try; each limit by what names it."""
        low, high, ways_out = f"lowest={self.lowest!r}", f"highest={self.highest!r}", []
        if self.lowest is None:
            low = f"the lowest rate that {self.budget_text} can judge, {format_rate(lowest_hz)},"
            if lowest_hz == self.start_hz:
                low = f"the rate of {self.queue}, {format_rate(lowest_hz)},"
            ways_out.append("; lowest= names a lower one")
        if self.highest is None:
            high = f"the highest that {self.budget_text} can measure, {format_rate(highest_hz)}"
            ways_out.append("; highest= names a higher one")
        return f"find_rate(): {low} is not below {high}{''.join(ways_out)}"


class _Probe:
    """A run at one rate, whose requests are judged by one target; see `rate_search.Probe`."""

    def __init__(self, run: Run, target: LatencyTarget, queue: str) -> None:
        self._run: Run | None = run
        self._target = target
        self._queue = queue
        self._read()

    def _read(self) -> None:
        """Read what was measured, which a later window changes.

        Raises:
            InvalidRun: the evidence speaks against the whole run.
        """
        run = self._run
        assert run is not None
        run.require()
        queue = self._judged(run)
        faults = run.evidence.against(self._queue, LOWER_BOUND)
        self.refused = "" if not faults else faults[0]
        self.saturated = run[self._queue].saturated
        self.measured_ns = run.measured_ns
        self.block = queue.requests_in(min(S, max(1, run.scenario.duration_ns // 20)))
        bounds = queue.lower_bounds() if run.evidence.growing.get(self._queue) else queue
        self.missed: Misses = self._target.missed(bounds)

    def _judged(self, run: Run) -> MeasuredQueue:
        """Return the queue, or the latency of it that the target is about.

        Raises:
            ScenarioError: its requests have no such latency.
        """
        queue = run[self._queue]
        if not self._target.latency:
            return queue
        found = queue.find_latency(self._target.latency)
        if found is None:
            raise _no_latency(self._queue, self._target, queue.latencies)
        return found

    def measure_on(self) -> bool:
        """Measure another window."""
        if self._run is None or not self._run.measure_on():
            return False
        self._read()
        return True

    def close(self) -> dict[str, int | None]:
        """Return the percentiles, and drop the requests themselves."""
        run, self._run = self._run, None
        assert run is not None
        latency_ns = self._judged(run).client_latency_ns
        shares = (*_FIGURES, self._target.share)
        values = [nearest_rank(latency_ns, q) if len(latency_ns) else CENSORED_NS for q in shares]
        names = ("p50_ns", "p95_ns", "p99_ns", "value_ns")
        return {
            name: None if ns == CENSORED_NS else ns for name, ns in zip(names, values, strict=True)
        }


def _no_latency(queue: str, target: LatencyTarget, known: Iterable[str]) -> ScenarioError:
    """Return the error that the requests of a queue do not have the latency of a target."""
    return ScenarioError(
        f"target of find_rate: {queue} has no latency {target.latency!r}; those to milestones: "
        f"{', '.join(known) or 'none'}; without latency= the target is of the completion"
    )


def _require_latency(spec: QueueSpec, target: LatencyTarget) -> None:
    """Check the latency of a target as far as it is known before a request is measured."""
    repeats = spec.workload.milestone_repeats
    if not target.latency or repeats is None:
        return
    found = split_name(tuple(repeats), target.latency)
    if found is None or (found[0] in (PER, BETWEEN) and not repeats[found[1]]):
        raise _no_latency(spec.name, target, names_of_latencies(repeats))


def find_rate(
    request: RateRequest,
    describe: Callable[..., Scenario],
    run: Callable[..., Run],
    budget: SessionBudget,
    burst: float,
    host: str | None,
) -> HighestRate:
    """Search for the highest rate; see `Session.find_rate`.

    Args:
        request: what to search.
        describe: returns a scenario of queues, a duration and a warm-up, both in ns.
        run: measures a scenario; see `Session`.
        budget: of errors; the search takes the part of one assertion.
        burst: requests that miss together, as long as no burst was seen.
        host: the machine that measures.
    """
    longest_ns = min(request.budget_ns, _longest_ns(request, request.start_hz))
    mix = at_rate(request, describe, request.start_hz, longest_ns, alone=False)
    placed = next(one for one in mix.queues if one.name == request.queue)
    _require_latency(placed, request.target)
    numbers = itertools.count()
    runs: list[Run] = []
    probes: list[_Probe] = []
    figures: list[dict[str, int | None]] = []

    def measure(rate_hz: float, least_ns: int, most_ns: int, alone: bool) -> _Probe:
        if probes:
            figures.append(probes[-1].close())
        most_ns = min(most_ns, _longest_ns(request, rate_hz))
        least_ns = min(least_ns, most_ns)
        scenario = at_rate(request, describe, rate_hz, most_ns, alone)
        seed = (scenario.seed + next(numbers) * _SEED_STEP) % 2**32
        made = run(
            dataclasses.replace(scenario, seed=seed),
            fixed=least_ns >= most_ns,
            at_least_ns=least_ns,
            trace="off",
            host=host,
        )
        runs[:] = [runs[0] if runs else made]
        made.burst = burst
        probes.append(_Probe(made, request.target, request.queue))
        return probes[-1]

    plan = Plan(
        allowed=request.target.allowed,
        start_hz=request.start_hz,
        lowest_hz=request.lowest_hz,
        highest_hz=request.highest_hz,
        within=request.share,
        budget_ns=request.budget_ns,
        alpha=budget.next_alpha(),
        beta=BETA,
        burst=burst,
        has_others=len(request.queues) > 1,
    )
    found = rate_search.search(plan, measure)
    figures.append(probes[-1].close())
    refused = [point.probe.refused for point in found.points]
    if all(refused):
        raise InvalidRun(f"no verdict: {refused[-1]}", run=runs[0])
    curve = [_curve_point(*pair) for pair in zip(found.points, figures, strict=True)]
    return HighestRate(
        request=Request(
            queue=request.queue,
            others=tuple(one.name for one in request.queues if one.name != request.queue),
            target=request.target,
            lowest_hz=request.lowest_hz,
            highest_hz=request.highest_hz,
            within=request.share,
            budget_ns=request.budget_ns,
            option=request.option,
            names_lowest=request.lowest is not None,
            least_requests=request.least_requests,
            alpha=plan.alpha,
            beta=plan.beta,
        ),
        found=found,
        curve=curve,
        first=runs[0],
    )


def _longest_ns(request: RateRequest, rate_hz: float) -> int:
    """Return how long a run at a rate may be, so that with its warm-up its requests fit."""
    others_hz = [one.arrivals.rate_hz or 0.0 for one in request.queues if one is not request.spec]
    return int(SAMPLES_MAX * S / 2 / (rate_hz + sum(others_hz)))


def at_rate(
    request: RateRequest,
    describe: Callable[..., Scenario],
    rate_hz: float,
    duration_ns: int,
    alone: bool,
) -> Scenario:
    """Return the scenario at a rate, of all queues or of the varied one alone."""
    spec = request.spec
    kind: Any = spec.arrivals  # one with a rate, see `RateRequest`
    varied = dataclasses.replace(spec, arrivals=dataclasses.replace(kind, rate_hz=rate_hz))
    queues = tuple(varied if one is spec else one for one in request.queues)
    # At least one request of each queue, or the mix would be another one.
    slowest_hz = min(one.arrivals.rate_hz for one in queues if one.arrivals.rate_hz is not None)
    duration_ns = max(duration_ns, math.ceil(S / slowest_hz))
    scenario = describe(
        queues=queues, duration_ns=duration_ns, warmup_ns=default_warmup_ns(duration_ns)
    )
    if not alone:
        return scenario
    mps = scenario.mps and scenario.mps.for_queues({spec.name})
    return dataclasses.replace(scenario, queues=(varied,), mps=mps)


def _curve_point(point: Point, figures: dict[str, int | None]) -> CurvePoint:
    return CurvePoint(
        rate_hz=point.rate_hz,
        status=point.status,
        n=point.n,
        misses=point.misses,
        measured_ns=point.probe.measured_ns,
        saturated=point.probe.saturated,
        alone=point.alone,
        reason=point.probe.refused,
        **figures,
    )

"""Search for the worst mix of a space: a search that climbs, by hypothesis's `target`.

The search measures each scenario once: with two values for one scenario it would take noise for
progress. It measures the worst one three more times, and the median counts. A mix in which the
queue is saturated is worse than any other, because its latency grows with the length of the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

try:
    import hypothesis
    from hypothesis import Phase
    from hypothesis.strategies import SearchStrategy
except ModuleNotFoundError:
    from pytest_xsched.base.extras import require_extra

    require_extra("hypothesis", "hypothesis")
    raise

from pytest_xsched.analysis.assertion import place_in_the_test
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.units import DurationLike, format_duration, one_line, parse_duration
from pytest_xsched.errors import InvalidRun, ScenarioError, TargetMissed, XSchedWarning
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stats.estimators import nearest_rank, requests_needed
from pytest_xsched.stats.sequential_test import FAIL, PASS

__all__ = ["OBJECTIVES", "Worst", "find_worst"]

OBJECTIVES = ("p99/alone", "max/alone", "p99", "max")
KEPT = 0.9
"""The part of the worst value that the smallest mix must reach."""


LEAST = 10
"""A search that the budget ends before this many scenarios shows nothing."""
LONGER = 4
"""A queue that looks saturated is measured again for this many times the duration."""
_FINITE = 1e300
"""Stands for infinity where hypothesis wants a finite number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The result of a search.

    Attributes:
        scenario: the smallest scenario with nearly the worst value.
        value: value of that scenario: a ratio to the queue alone, or ns; the median of three
            measurements; inf where the queue is saturated.
        highest: the worst value of all, measured once.
        peak: the scenario with the worst value of all, before it was made small.
        peak_value: value of that scenario, the median of three measurements.
        measured: count of measured scenarios, those of the shrinking included.
        tried: count of scenarios that were measured before the shrinking.
        examples: count of scenarios that were to be tried.
        cut: whether the budget was over before all of them were tried.
        objective: the figure that the search made worse, and its queue.
        median: of the values of the scenarios that were tried.
        targets: what was asserted: ``"status"``, ``"sentence"`` and ``"place"`` of each.
    """

    scenario: Scenario
    value: float
    highest: float
    peak: Scenario
    peak_value: float
    measured: int
    tried: int
    examples: int
    cut: bool
    objective: str
    median: float = math.nan
    targets: list[dict[str, str]] = field(default_factory=list, compare=False, repr=False)

    def assert_worst_case_below(self, limit: float | DurationLike) -> None:
        """Assert that the search found no mix as bad as a limit.

        Args:
            limit: of a ratio a plain number above 0; of ``"p99"`` and ``"max"`` a time,
                ``"50ms"``.

        Raises:
            QosAssertionError: the search found one; the message shows it as Python.
            InvalidRun: it found none, and the budget was over after fewer than 10 mixes.
            ScenarioError: the limit is neither.

        Warns:
            XSchedWarning: it found none, and the budget was over before all mixes were tried.
        """
        __tracebackhide__ = True
        bound, shown = self._limit(limit)
        for value, scenario in ((self.value, self.scenario), (self.peak_value, self.peak)):
            if value >= bound:
                figure = self._figure(value)
                sentence = f"{figure} in the worst of {self.measured} mixes, not below {shown}"
                self._keep(FAIL, sentence)
                raise TargetMissed(f"{sentence}:\n{scenario.to_python()}")
        if not self.cut:
            figure = self._figure(self.peak_value)
            self._keep(PASS, f"{figure} in the worst of {self.measured} mixes, below {shown}")
            return
        sentence = (
            f"{self.objective} is below {shown} in all mixes that were tried, but the budget of "
            f"the search was over after {self.tried} of {self.examples}; a longer one is set with "
            "budget="
        )
        self._keep("NO VERDICT" if self.tried < LEAST else PASS, sentence)
        if self.tried < LEAST:
            raise InvalidRun(f"no verdict: {sentence}")
        warnings.warn(sentence, XSchedWarning, stacklevel=2)

    def to_dict(self) -> dict[str, Any]:
        """Return the result in JSON's types; null for infinite values."""
        numbers = {
            key: value if math.isfinite(value) else None
            for key in ("value", "highest", "peak_value", "median")
            for value in [getattr(self, key)]
        }
        return {
            "objective": self.objective,
            "unit": "" if "/alone" in self.objective else "ns",
            **numbers,
            **{key: getattr(self, key) for key in ("measured", "tried", "examples", "cut")},
            "scenario": self.scenario.to_python(),
            "peak": self.peak.to_python(),
            "targets": list(self.targets),
        }

    def _keep(self, status: str, sentence: str) -> None:
        place = place_in_the_test()
        self.targets.append({"status": status, "sentence": sentence, "place": place})

    def _limit(self, limit: float | DurationLike) -> tuple[float, str]:
        """Return a limit in the unit of the objective, and as text."""
        what = "limit of assert_worst_case_below"
        if "/alone" not in self.objective:
            ns = parse_duration(limit, what=what)  # type: ignore[arg-type]
            return float(ns), format_duration(ns)
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
            name = self.objective.partition("/")[0]
            raise ScenarioError(
                f"{what}: {limit!r} is not a number above 0, and {self.objective} is a ratio; "
                f'write 2.5, or search with objective="{name}" for a limit such as "50ms"'
            )
        return float(limit), f"{limit:g}"

    def _figure(self, value: float) -> str:
        if math.isinf(value):
            queue = self.objective.rpartition(" ")[2]
            return f"{queue} is saturated, so that {self.objective} grows with the duration,"
        ratio = "/alone" in self.objective
        return f"{self.objective} is {f'{value:.4g}' if ratio else format_duration(round(value))}"


def find_worst(
    measure: Callable[[Scenario], Run],
    space: SearchStrategy[Scenario],
    *,
    queue: str,
    objective: str,
    budget_s: float,
    examples: int,
    seed: int,
) -> Worst:
    """Search a space; see `Session.search`."""
    if not isinstance(space, SearchStrategy):
        raise ScenarioError(
            f"space of search: {one_line(space)} is not a strategy; write scenarios()"
        )
    if not isinstance(queue, str):
        raise ScenarioError(f"queue of search: {one_line(queue)} is not the name of a queue")
    if objective not in OBJECTIVES:
        known = ", ".join(OBJECTIVES)
        raise ScenarioError(f"objective of search: {objective!r} is unknown; known: {known}")
    search = _Search(measure, queue, objective, time.monotonic() + budget_s)
    search.climb(space, seed, examples, shrink_from=None)
    if search.worst is None:
        raise ScenarioError(
            f"search: the budget was over before a scenario was measured for queue {queue!r}; a "
            "longer one is set with budget="
        )
    peak, tried, cut = search.worst, len(search.values), search.cut
    highest, median = search.values[peak.digest()], statistics.median(search.values.values())
    search.climb(space, seed, examples, shrink_from=KEPT * highest)
    value = search.median(search.worst)
    return Worst(
        scenario=search.worst,
        value=value,
        highest=highest,
        peak=peak,
        peak_value=value if search.worst == peak else search.median(peak),
        measured=len(search.values),
        tried=tried,
        examples=examples,
        cut=cut,
        objective=f"{objective} of {queue}",
        median=median,
    )


class _Found(Exception):
    """A scenario is bad enough."""


class _Search:
    def __init__(
        self, measure: Callable[[Scenario], Run], queue: str, objective: str, deadline_s: float
    ) -> None:
        self.values: dict[str, float] = {}
        self.worst: Scenario | None = None
        self.cut = False
        """Whether a scenario was not measured because the time was over."""
        self._alone: dict[str, float] = {}
        self._measure = measure
        self._queue = queue
        self._objective = objective
        self._deadline_s = deadline_s

    def climb(
        self,
        space: SearchStrategy[Scenario],
        seed: int,
        examples: int,
        *,
        shrink_from: float | None,
    ) -> None:
        """Search for the worst scenario; or search again, and shrink the first bad enough one."""
        phases = [Phase.generate, Phase.target]
        if shrink_from is not None:
            phases.append(Phase.shrink)

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            phases=phases,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
            report_multiple_bugs=False,
        )
        @hypothesis.given(space)
        def measure(scenario: Scenario) -> None:
            if not isinstance(scenario, Scenario):
                raise ScenarioError(f"space of search draws {one_line(scenario)}, not scenarios")
            value = self._value(scenario)
            if value is None:  # the budget is spent
                return
            hypothesis.target(min(value, _FINITE), label=self._objective)
            if shrink_from is None:
                if self.worst is None or value > self.values[self.worst.digest()]:
                    self.worst = scenario
            elif value >= shrink_from:
                self.worst = scenario  # hypothesis ends with the smallest
                raise _Found

        with contextlib.suppress(_Found):
            measure()

    def _value(self, scenario: Scenario) -> float | None:
        key = scenario.digest()
        if key not in self.values:
            if time.monotonic() > self._deadline_s:
                self.cut = True
                return None
            self.values[key] = self.evaluate(scenario)
        return self.values[key]

    def median(self, scenario: Scenario) -> float:
        """Measure a scenario three more times."""
        return statistics.median(self.evaluate(scenario) for _ in range(3))

    def evaluate(self, scenario: Scenario) -> float:
        """Measure a scenario, even if it was measured before."""
        value = self._figure(scenario)
        return value / self._figure_alone(scenario) if "/alone" in self._objective else value

    def _figure_alone(self, scenario: Scenario) -> float:
        values = {field: getattr(scenario, field) for field in scenario.__dataclass_fields__}
        own = tuple(spec for spec in scenario.queues if spec.name == self._queue)
        alone = Scenario(**{**values, "queues": own, "changes": ()})
        key = alone.digest()
        if key not in self._alone:
            self._alone[key] = self._figure(alone)
        if math.isinf(self._alone[key]):
            raise ScenarioError(
                f"search: queue {self._queue!r} is saturated when it runs alone, so no mix is the "
                f"cause; lower its rate: {alone.to_python()}"
            )
        return self._alone[key]

    def _figure(self, scenario: Scenario) -> float:
        """Return the percentile; it is infinite where the queue is saturated."""
        queue = self._measure(scenario)[self._queue]
        if queue.saturated:  # or it waits long and catches up, which takes a longer run to tell
            longer = dataclasses.replace(scenario, duration_ns=LONGER * scenario.duration_ns)
            queue = self._measure(longer)[self._queue]
            if queue.saturated:
                return math.inf
        latency_ns = queue.latency_ns
        if len(latency_ns) == 0:
            raise ScenarioError(f"search: queue {self._queue!r} has no request in {scenario!r}")
        if self._objective.startswith("max"):
            return float(nearest_rank(latency_ns, 1.0))
        if len(latency_ns) < requests_needed(0.99):
            name = "max/alone" if "/alone" in self._objective else "max"
            raise ScenarioError(
                f"search: a P99 needs {requests_needed(0.99)} requests, and queue {self._queue!r} "
                f'has {len(latency_ns)}; give the space a longer duration, such as duration="15s", '
                f'or search with objective="{name}": {scenario.to_python()}'
            )
        return float(nearest_rank(latency_ns, 0.99))

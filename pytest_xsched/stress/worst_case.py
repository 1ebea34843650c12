"""Search for the worst mix of a space: a search that climbs, by hypothesis's `target`.

The search measures each scenario once: with two values for one scenario it would take noise for
progress. It measures the worst one three more times, and the median counts.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

try:
    import hypothesis
    from hypothesis import Phase
    from hypothesis.strategies import SearchStrategy
except ModuleNotFoundError:
    from pytest_xsched.base.extras import require_extra

    require_extra("hypothesis", "hypothesis")
    raise

from pytest_xsched.analysis.run import Run
from pytest_xsched.base.units import one_line
from pytest_xsched.errors import QosAssertionError, ScenarioError
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stats.estimators import nearest_rank

__all__ = ["OBJECTIVES", "Worst", "find_worst"]

OBJECTIVES = ("p99/alone", "max/alone", "p99", "max")
KEPT = 0.9
"""The part of the worst value that the smallest mix must reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The result of a search.

    Attributes:
        scenario: the smallest scenario with nearly the worst value.
        value: value of that scenario: a ratio to the queue alone, or ns; the median of three
            measurements.
        highest: the worst value of all, measured once.
        measured: count of measured scenarios, those of the shrinking included.
        objective: the figure that the search made worse, and its queue.
    """

    scenario: Scenario
    value: float
    highest: float
    measured: int
    objective: str

    def assert_worst_case_below(self, limit: float) -> None:
        """Assert that the search found no mix as bad as a limit.

        Args:
            limit: above 0, in the objective's own unit: a ratio, or ns.

        Raises:
            QosAssertionError: the search found one; the message shows it as Python.
            ScenarioError: the limit is not a number above 0.
        """
        __tracebackhide__ = True
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
            raise ScenarioError(f"limit of assert_worst_case_below: {limit!r} is not above 0")
        if self.value >= limit:
            raise QosAssertionError(
                f"{self.objective} is {self.value:.4g} in the worst of {self.measured} mixes, not "
                f"below {limit:g}:\n{self.scenario.to_python()}"
            )


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
        raise ScenarioError(f"search: no scenario of the space has a value for queue {queue!r}")
    highest = search.values[search.worst.digest()]
    search.climb(space, seed, examples, shrink_from=KEPT * highest)
    again = [search.evaluate(search.worst) for _ in range(3)]
    return Worst(
        scenario=search.worst,
        value=statistics.median(again),
        highest=highest,
        measured=len(search.values),
        objective=f"{objective} of {queue}",
    )


class _Found(Exception):
    """A scenario is bad enough."""


class _Search:
    def __init__(
        self, measure: Callable[[Scenario], Run], queue: str, objective: str, deadline_s: float
    ) -> None:
        self.values: dict[str, float] = {}
        self.worst: Scenario | None = None
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
            if shrink_from is None:
                hypothesis.target(value, label=self._objective)
                if self.worst is None or value > self.values[self.worst.digest()]:
                    self.worst = scenario
            else:
                hypothesis.target(value, label=self._objective)
                if value >= shrink_from:
                    self.worst = scenario  # hypothesis ends with the smallest
                    raise _Found

        with contextlib.suppress(_Found):
            measure()

    def _value(self, scenario: Scenario) -> float | None:
        key = scenario.digest()
        if key not in self.values:
            if time.monotonic() > self._deadline_s:
                return None
            self.values[key] = self.evaluate(scenario)
        return self.values[key]

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
        return self._alone[key]

    def _figure(self, scenario: Scenario) -> float:
        """Return the percentile; it is infinite for requests that never ended."""
        latency_ns = self._measure(scenario)[self._queue].latency_ns
        if len(latency_ns) == 0:
            raise ScenarioError(f"search: queue {self._queue!r} has no request in {scenario!r}")
        quantile = 1.0 if self._objective.startswith("max") else 0.99
        return float(nearest_rank(latency_ns, quantile))

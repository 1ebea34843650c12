"""`xsched.search`: the search for the worst mix, as a method of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_xsched.analysis.run import Run
from pytest_xsched.base.units import DurationLike, parse_duration
from pytest_xsched.base.validation import integer
from pytest_xsched.scenario.scenario import Scenario

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from pytest_xsched.stress.worst_case import Worst


class Searcher:
    """What a session can search for; hypothesis is imported when it does."""

    @property
    def seed(self) -> int:
        """Seed of arrivals and inputs; the session's own."""
        raise NotImplementedError

    def run_scenario(self, scenario: Scenario) -> Run:
        """Run a scenario; the session's own."""
        raise NotImplementedError

    def search(
        self,
        space: SearchStrategy[Scenario],
        *,
        queue: str,
        objective: str = "p99/alone",
        budget: DurationLike = "5min",
        examples: int = 200,
        seed: int | None = None,
    ) -> Worst:
        """Search for the mix of a space that is worst for a queue.

        Half of the examples are random, the others climb from the worst of these. Each scenario is
        measured once; then the worst is shrunk to the smallest that is nearly as bad, and measured
        three times again.

        Args:
            space: of scenarios: `strategies.contentions(high)`, `strategies.scenarios()`.
            queue: the queue whose latency counts.
            objective: ``"p99/alone"`` (P99 against that of the queue alone), ``"max/alone"``,
                ``"p99"`` or ``"max"`` (in ns).
            budget: longest time in which scenarios are measured; what is not measured then counts
                as good.
            examples: scenarios to look at, at least 10, before the shrinking.
            seed: of the search; the session's.

        Raises:
            MissingExtra: hypothesis is not installed.
            MissingExtra: hypothesis is not installed.
            MissingExtra: hypothesis is not installed.
            MissingExtra: hypothesis is not installed.
            ScenarioError: a value is wrong, or the budget was too short for one scenario.
        """
        from pytest_xsched.stress.worst_case import find_worst

        return find_worst(
            self.run_scenario,
            space,
            queue=queue,
            objective=objective,
            budget_s=parse_duration(budget, what="budget of search") / 1e9,
            examples=integer("examples of search", examples, 10, 1_000_000),
            seed=self.seed if seed is None else integer("seed of search", seed, 0, 2**32 - 1),
        )

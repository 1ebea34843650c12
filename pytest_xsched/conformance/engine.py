"""Check policies against their rules: run random scenarios, and find the shortest that fails.

The engine runs a scenario once and remembers the outcome. A failure counts if two of three runs
show it. The engine then makes the scenario simpler as long as it still fails. It runs the result
again from the text that will be printed, each time in a fresh process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import hypothesis
from hypothesis import Phase
from hypothesis.strategies import SearchStrategy

import pytest_xsched
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.policies import Policy
from pytest_xsched.conformance.spec import IN_EFFECT, RETURNS, PolicyUnderTest
from pytest_xsched.errors import (
    DeviceBusy,
    DeviceUnavailable,
    NotBuilt,
    ScenarioError,
    SchedulerInactive,
    XSchedError,
)
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stress.rules import Rule
from pytest_xsched.stress.strategies import without_tests

LEAST = 3
"""Scenarios of a policy that run even if no time is left."""
ENOUGH = 10
"""A policy was not checked if the budget was over before it ran this many scenarios."""
HOLDS, FAILED, ONCE, UNSEEN = "holds", "failed", "once", "unseen"

Simpler: TypeAlias = Callable[[Scenario], Iterator[Scenario]]
"""Yields scenarios that are one step simpler than a given one."""
Runner: TypeAlias = Callable[[Scenario], Run]
_Outcome: TypeAlias = dict[str, list[str] | None]
"""What a run showed, by the ids of rules: sentences, or None if the run shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much to run.

    Attributes:
        search_s: time for random scenarios of a policy; LEAST of them run in any case.
        examples: the most random scenarios of a policy.
        shrink_s: time to make the scenario of one failure shorter.
        shrink_runs: the most runs for the same.
        repeats: runs of the shortest scenario.
    """

    search_s: float
    examples: int
    shrink_s: float
    shrink_runs: int
    repeats: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome for one rule.

    Attributes:
        rule: id of the rule.
        definition: what must hold.
        status: HOLDS, FAILED, ONCE (it failed, but not in two of three runs) or UNSEEN (no scenario
            showed anything about the rule).
        looked: scenarios that showed something about the rule.
        unit: what `looked` counts.
        failing: scenarios in which the rule failed.
        sentence: the breach in the shortest of these.
        scenario: the shortest of these; None if the rule holds, and for steps.
        steps: on live queues, the fewest that break the rule, as lines of Python.
        reproduced: how many of `repeats` runs of the printed text broke the rule again.
        repeats: runs of the printed text.
    """

    rule: str
    definition: str
    status: str
    looked: int
    unit: str = "scenario"
    failing: int = 0
    sentence: str = ""
    scenario: Scenario | None = None
    steps: tuple[str, ...] = ()
    reproduced: int = 0
    repeats: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """The outcome for a policy.

    Attributes:
        policy: the policy.
        scenarios: count of different scenarios.
        runs: count of runs, repeated ones included.
        seconds: time that all of it took.
        results: one for each rule.
        cut: whether the time was over before all scenarios had run.
    """

    policy: Policy
    scenarios: int
    runs: int
    seconds: float
    results: tuple[Result, ...]
    cut: bool = False

    @property
    def too_few(self) -> bool:
        """Whether the time was over before `ENOUGH` scenarios had run."""
        return self.cut and self.scenarios < ENOUGH

    @property
    def failed(self) -> tuple[Result, ...]:
        """The rules that do not hold."""
        return tuple(result for result in self.results if result.status == FAILED)


def examine(
    tested: PolicyUnderTest,
    space: SearchStrategy[Scenario],
    run: Runner,
    run_fresh: Runner,
    limits: Limits,
    *,
    seed: int,
    simpler: Simpler | None = None,
) -> Conformance:
    """Check a policy against its rules.

    Args:
        tested: the policy, with its checks.
        space: scenarios of the policy.
        run: runs a scenario; may use one process for many.
        run_fresh: runs a scenario in a fresh process.
        limits: how much to run.
        seed: seed of the search.
        simpler: yields simpler scenarios, where a run is too slow for the many attempts of
            hypothesis; None: hypothesis shrinks.

    Raises:
        DeviceUnavailable, DeviceBusy, NotBuilt: no scenario could be run at all.
    """
    start_s = time.monotonic()
    search = _Search(tested, space, run, limits, seed, simpler)
    cut = search.explore()
    results = tuple(_result(search, run_fresh, check.rule) for check in tested.checks)
    return Conformance(
        policy=tested.policy,
        scenarios=len(search.seen),
        runs=search.runs,
        seconds=time.monotonic() - start_s,
        results=results,
        cut=cut,
    )


def check_scenario(tested: PolicyUnderTest, run: Runner, scenario: Scenario) -> _Outcome:
    """Run a scenario and apply all checks; an error that ended the run is an outcome, too."""
    try:
        found = run(scenario)
    except (DeviceUnavailable, DeviceBusy, NotBuilt, ScenarioError):
        raise
    except SchedulerInactive as error:
        return {IN_EFFECT: [str(error)]}
    except XSchedError as error:
        return {RETURNS: [str(error)]}
    return {check.rule.id: check.judge(found) for check in tested.checks}


def _result(search: _Search, run_fresh: Runner, rule: Rule) -> Result:
    outcomes = [outcome.get(rule.id) for outcome in search.seen.values()]
    looked = sum(outcome is not None for outcome in outcomes)
    failing = sum(bool(outcome) for outcome in outcomes)
    if not failing:
        status = HOLDS if looked else UNSEEN
        return Result(rule=rule.id, definition=rule.text, status=status, looked=looked)
    # A simpler scenario may have failed by chance, and fail less often.
    for scenario in search.shortest(rule.id):
        printed = from_text(scenario.to_python())
        again = [
            sentences[0]
            for _ in range(search.limits.repeats)
            if (sentences := search.run_again(printed, run_fresh).get(rule.id))
        ]
        status = FAILED if 2 * len(again) > search.limits.repeats else ONCE
        if status == FAILED:
            break
    return Result(
        rule=rule.id,
        definition=rule.text,
        status=status,
        looked=looked,
        failing=failing,
        sentence=again[-1] if again else search.sentence(scenario, rule.id),
        scenario=printed,
        reproduced=len(again),
        repeats=search.limits.repeats,
    )


def from_text(text: str) -> Scenario:
    """Return the scenario that a printed form makes in a test, with the names of the package."""
    names = {name: getattr(pytest_xsched, name) for name in dir(pytest_xsched)}
    scenario = eval(text, names)
    assert isinstance(scenario, Scenario)
    return scenario


class _Found(Exception):
    """A scenario breaks the rule for which the engine looks for a simpler one."""


class _Spent(BaseException):
    """The time is over; not an Exception, so that hypothesis passes it on like Ctrl-C."""


@dataclass
class _Search:
    """The scenarios of a policy that were run, and their outcomes."""

    tested: PolicyUnderTest
    space: SearchStrategy[Scenario]
    run: Runner
    limits: Limits
    seed: int
    simpler: Simpler | None
    seen: dict[str, _Outcome] = field(default_factory=dict)
    """Outcomes of first runs, by digest of the scenario."""
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    """The scenarios themselves, by digest."""
    runs: int = 0
    _certain: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Whether two of three runs break a rule: by id of the rule and digest of the scenario."""
    _deadline_s: float = 0.0
    _runs_left: int = 0
    _in_any_case: int = 0

    def explore(self) -> bool:
        """Run random scenarios; return whether the time was over before all of them had run."""
        self._allow(self.limits.search_s, self.limits.examples, least=LEAST)
        return self._draw([Phase.generate], self._outcome_in_time)

    def shortest(self, rule: str) -> tuple[Scenario, ...]:
        """Return the simplest scenario found that breaks a rule in two of three runs.

        The scenario from which it was made follows, if that is another one.
        """
        self._allow(self.limits.shrink_s, self.limits.shrink_runs)
        failing = [self.scenarios[key] for key in self.seen if self.seen[key].get(rule)]
        if self.simpler is None:
            return (self._shrunk(rule) or failing[0],)
        for scenario in sorted(failing, key=lambda scenario: len(scenario.to_python())):
            if self._fails(scenario, rule):
                simplest = self._simplified(scenario, rule, self.simpler)
                return (simplest,) if simplest == scenario else (simplest, scenario)
        return (failing[0],)

    def _simplified(self, scenario: Scenario, rule: str, simpler: Simpler) -> Scenario:
        """Take one simplifying step after another, as long as one still fails."""
        while True:
            steps = (one for one in simpler(scenario) if self._fails(one, rule))
            found = next(steps, None)
            if found is None:
                return scenario
            scenario = found

    def _shrunk(self, rule: str) -> Scenario | None:
        """Let hypothesis shrink a failing scenario; None: none failed in two of three runs."""
        smallest: list[Scenario] = []

        def try_one(scenario: Scenario) -> None:
            self._outcome_in_time(scenario)
            if self._fails(scenario, rule):
                smallest[:] = [scenario]  # hypothesis ends with the smallest
                raise _Found

        self._draw([Phase.generate, Phase.shrink], try_one)
        return smallest[0] if smallest else None

    def run_again(self, scenario: Scenario, run: Runner) -> _Outcome:
        """Run a scenario once more and check it."""
        self.runs += 1
        return check_scenario(self.tested, run, scenario)

    def sentence(self, scenario: Scenario, rule: str) -> str:
        """Return the breach that the first run of a scenario showed."""
        return (self.seen[scenario.digest()].get(rule) or [""])[0]

    def _allow(self, seconds: float, runs: int, *, least: int = 0) -> None:
        self._deadline_s, self._runs_left = time.monotonic() + seconds, runs
        self._in_any_case = least

    def _may_run(self) -> bool:
        self._runs_left -= 1
        self._in_any_case -= 1
        in_time = self._runs_left >= 0 and time.monotonic() <= self._deadline_s
        return in_time or self._in_any_case >= 0

    def _outcome(self, scenario: Scenario) -> _Outcome | None:
        """Return the outcome of the first run of a scenario; None: no time is left for a run."""
        key = scenario.digest()
        if key not in self.seen:
            if not self._may_run():
                return None
            self.scenarios[key] = scenario
            self.seen[key] = self.run_again(scenario, self.run)
        return self.seen[key]

    def _outcome_in_time(self, scenario: Scenario) -> None:
        if self._outcome(scenario) is None:
            raise _Spent

    def _fails(self, scenario: Scenario, rule: str) -> bool:
        """Return whether the first run of a scenario breaks a rule, and one of two others too."""
        outcome, key = self._outcome(scenario), (rule, scenario.digest())
        if outcome is None or not outcome.get(rule):
            return False
        if key not in self._certain:
            self._certain[key] = any(self.run_again(scenario, self.run).get(rule) for _ in range(2))
        return self._certain[key]

    def _draw(self, phases: list[Phase], body: Callable[[Scenario], object]) -> bool:
        """Call `body` with scenarios: the same ones each time, as long as it does not raise.

        Returns:
            Whether the time ended it.
        """

        @hypothesis.seed(self.seed)
        @hypothesis.settings(
            max_examples=self.limits.examples,
            phases=phases,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
            report_multiple_bugs=False,
        )
        @hypothesis.given(self.space)
        def draw(scenario: Scenario) -> None:
            body(scenario)

        with without_tests(), contextlib.suppress(_Found):
            try:
                draw()
            except _Spent:
                return True
        return False

"""Policies held against what is claimed of them: random scenarios, and the shortest that fails.

A scenario is run once, and what it showed is remembered. A failure counts if it shows in two of
three runs; then its scenario is made simpler as long as that still fails, and what is left is run
again, from the text that will be printed, each time in a fresh process.
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
from pytest_xsched.conformance.spec import IN_EFFECT, RETURNS, Policy
from pytest_xsched.errors import (
    DeviceBusy,
    DeviceUnavailable,
    NotBuilt,
    ScenarioError,
    SchedulerInactive,
    XSchedError,
)
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stress.strategies import without_tests

LEAST = 3
"""Scenarios of a policy that are run however little time there is."""
HOLDS, FAILED, ONCE, UNSEEN = "holds", "failed", "once", "unseen"

Simpler: TypeAlias = Callable[[Scenario], Iterator[Scenario]]
"""Gives scenarios that are simpler than one, by a step each."""
Runner: TypeAlias = Callable[[Scenario], Run]
_Outcome: TypeAlias = dict[str, list[str] | None]
"""What a run showed, by the names of claims: sentences, or None where it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to look.

    Attributes:
        search_s: for random scenarios of a policy; LEAST are run in any case.
        examples: as many of them at most.
        shrink_s: for each failure, to make its scenario shorter.
        shrink_runs: the same in runs.
        repeats: of the shortest scenario.
    """

    search_s: float
    examples: int
    shrink_s: float
    shrink_runs: int
    repeats: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was found out about one claim.

    Attributes:
        claim: its name.
        definition: what is claimed.
        status: HOLDS, FAILED, ONCE (it failed, but not in two of three runs) or UNSEEN (no scenario
            showed anything of the kind).
        looked: scenarios that showed something of the kind.
        unit: what is counted there.
        failing: those in which it failed.
        sentence: what was seen in the shortest.
        scenario: the shortest; None where it holds, and of steps.
        steps: on live queues, the fewest, as lines of Python.
        reproduced: in how many of `repeats` runs of its printed text it failed again.
        repeats: of these.
    """

    claim: str
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
    """What was found out about a policy.

    Attributes:
        policy: which.
        scenarios: that were run.
        runs: of them, repeated ones included.
        seconds: that it took.
        results: by claim.
    """

    policy: Policy
    scenarios: int
    runs: int
    seconds: float
    results: tuple[Result, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        """What does not hold."""
        return tuple(result for result in self.results if result.status == FAILED)


def examine(
    policy: Policy,
    space: SearchStrategy[Scenario],
    run: Runner,
    run_fresh: Runner,
    limits: Limits,
    *,
    seed: int,
    simpler: Simpler | None = None,
) -> Conformance:
    """Hold a policy against its claims.

    Args:
        policy: with them.
        space: of its scenarios.
        run: runs one, as often as it likes in one process.
        run_fresh: runs one in a fresh process.
        limits: how long to look.
        seed: of the search.
        simpler: makes scenarios simpler where a run is too slow for the many that hypothesis
            tries; None: hypothesis does.

    Raises:
        DeviceUnavailable, DeviceBusy, NotBuilt: nothing could be run at all.
    """
    start_s = time.monotonic()
    search = _Search(policy, space, run, limits, seed, simpler)
    search.explore()
    results = tuple(
        _result(search, run_fresh, claim.name, claim.definition) for claim in policy.claims
    )
    return Conformance(
        policy=policy,
        scenarios=len(search.seen),
        runs=search.runs,
        seconds=time.monotonic() - start_s,
        results=results,
    )


def look(policy: Policy, run: Runner, scenario: Scenario) -> _Outcome:
    """Run a scenario, and hold the run against the claims; what ended it is an outcome, too."""
    try:
        found = run(scenario)
    except (DeviceUnavailable, DeviceBusy, NotBuilt, ScenarioError):
        raise
    except SchedulerInactive as error:
        return {IN_EFFECT: [str(error)]}
    except XSchedError as error:
        return {RETURNS: [str(error)]}
    return {claim.name: claim.judge(found) for claim in policy.claims}


def _result(search: _Search, run_fresh: Runner, claim: str, definition: str) -> Result:
    outcomes = [outcome.get(claim) for outcome in search.seen.values()]
    looked = sum(outcome is not None for outcome in outcomes)
    failing = sum(bool(outcome) for outcome in outcomes)
    if not failing:
        status = HOLDS if looked else UNSEEN
        return Result(claim=claim, definition=definition, status=status, looked=looked)
    # A simpler one may fail by chance, and more seldom.
    for scenario in search.shortest(claim):
        printed = from_text(scenario.to_python())
        again = [
            sentences[0]
            for _ in range(search.limits.repeats)
            if (sentences := search.look_again(printed, run_fresh).get(claim))
        ]
        status = FAILED if 2 * len(again) > search.limits.repeats else ONCE
        if status == FAILED:
            break
    return Result(
        claim=claim,
        definition=definition,
        status=status,
        looked=looked,
        failing=failing,
        sentence=again[-1] if again else search.sentence(scenario, claim),
        scenario=printed,
        reproduced=len(again),
        repeats=search.limits.repeats,
    )


def from_text(text: str) -> Scenario:
    """Make the scenario that its printed form makes in a test, with the names of the package."""
    names = {name: getattr(pytest_xsched, name) for name in pytest_xsched.__all__}
    scenario = eval(text, names)
    assert isinstance(scenario, Scenario)
    return scenario


class _Found(Exception):
    """A scenario fails the claim that is being shrunk."""


class _Spent(BaseException):
    """The time is over; no Exception, so that hypothesis lets it through as it does Ctrl-C."""


@dataclass
class _Search:
    """The scenarios of a policy that were run, and what they showed."""

    policy: Policy
    space: SearchStrategy[Scenario]
    run: Runner
    limits: Limits
    seed: int
    simpler: Simpler | None
    seen: dict[str, _Outcome] = field(default_factory=dict)
    """By digest: of the first run."""
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    """Likewise."""
    runs: int = 0
    _certain: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Whether a claim (first) fails in a scenario in two of three runs."""
    _deadline_s: float = 0.0
    _runs_left: int = 0
    _in_any_case: int = 0

    def explore(self) -> None:
        """Run random scenarios."""
        self._allow(self.limits.search_s, self.limits.examples, least=LEAST)
        self._draw([Phase.generate], self._outcome_in_time)

    def shortest(self, claim: str) -> tuple[Scenario, ...]:
        """Give the simplest scenario found in which a claim fails, in two of three runs.

        Behind it the one that it was made of, if that is another.
        """
        self._allow(self.limits.shrink_s, self.limits.shrink_runs)
        failing = [self.scenarios[key] for key in self.seen if self.seen[key].get(claim)]
        if self.simpler is None:
            return (self._shrunk(claim) or failing[0],)
        for scenario in sorted(failing, key=lambda scenario: len(scenario.to_python())):
            if self._fails(scenario, claim):
                simplest = self._simplified(scenario, claim, self.simpler)
                return (simplest,) if simplest == scenario else (simplest, scenario)
        return (failing[0],)

    def _simplified(self, scenario: Scenario, claim: str, simpler: Simpler) -> Scenario:
        """Take one step after another, as long as there is one that still fails."""
        while True:
            steps = (one for one in simpler(scenario) if self._fails(one, claim))
            found = next(steps, None)
            if found is None:
                return scenario
            scenario = found

    def _shrunk(self, claim: str) -> Scenario | None:
        """Let hypothesis shrink on the path on which it failed; None: not in two of three runs."""
        smallest: list[Scenario] = []

        def try_one(scenario: Scenario) -> None:
            self._outcome_in_time(scenario)
            if self._fails(scenario, claim):
                smallest[:] = [scenario]  # hypothesis ends with the smallest
                raise _Found

        self._draw([Phase.generate, Phase.shrink], try_one)
        return smallest[0] if smallest else None

    def look_again(self, scenario: Scenario, run: Runner) -> _Outcome:
        """Run a scenario once more."""
        self.runs += 1
        return look(self.policy, run, scenario)

    def sentence(self, scenario: Scenario, claim: str) -> str:
        """Give what was seen in the first run of a scenario."""
        return (self.seen[scenario.digest()].get(claim) or [""])[0]

    def _allow(self, seconds: float, runs: int, *, least: int = 0) -> None:
        self._deadline_s, self._runs_left = time.monotonic() + seconds, runs
        self._in_any_case = least

    def _may_run(self) -> bool:
        self._runs_left -= 1
        self._in_any_case -= 1
        in_time = self._runs_left >= 0 and time.monotonic() <= self._deadline_s
        return in_time or self._in_any_case >= 0

    def _outcome(self, scenario: Scenario) -> _Outcome | None:
        """Give what the first run of a scenario showed; None: there is no time for one."""
        key = scenario.digest()
        if key not in self.seen:
            if not self._may_run():
                return None
            self.scenarios[key] = scenario
            self.seen[key] = self.look_again(scenario, self.run)
        return self.seen[key]

    def _outcome_in_time(self, scenario: Scenario) -> None:
        if self._outcome(scenario) is None:
            raise _Spent

    def _fails(self, scenario: Scenario, claim: str) -> bool:
        """Whether a claim fails in the first run of a scenario, and in one of two others."""
        outcome, key = self._outcome(scenario), (claim, scenario.digest())
        if outcome is None or not outcome.get(claim):
            return False
        if key not in self._certain:
            self._certain[key] = any(
                self.look_again(scenario, self.run).get(claim) for _ in range(2)
            )
        return self._certain[key]

    def _draw(self, phases: list[Phase], body: Callable[[Scenario], object]) -> None:
        """Hand scenarios to `body`: the same each time, as long as it does not raise."""

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

        with without_tests(), contextlib.suppress(_Found, _Spent):
            draw()

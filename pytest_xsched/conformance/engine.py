"""Check policies against their rules: run random scenarios, and find the shortest that fails.

The engine runs a scenario once and remembers the outcome. The next scenario is of the policy that
had the least time so far, and it is one that may show something about rules that no scenario showed
yet. A failure counts if two of three runs show it. The engine then makes the scenario simpler as
long as it still fails. It runs the result again from the text that will be printed, each time in a
fresh process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import hypothesis
from hypothesis import Phase
from hypothesis.strategies import SearchStrategy

import pytest_xsched
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.policies import Policy
from pytest_xsched.conformance.spec import IN_EFFECT, RETURNS, Check, NotClaimed, PolicyUnderTest
from pytest_xsched.errors import (
    DeviceBusy,
    DeviceUnavailable,
    NotBuilt,
    ScenarioError,
    SchedulerInactive,
    XSchedError,
)
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stress.costs import Costs
from pytest_xsched.stress.rules import Rule
from pytest_xsched.stress.strategies import without_tests

LEAST = 3
"""Scenarios of a policy that run even if no time is left."""
ENOUGH = 10
"""A policy was not checked if the budget was over before it ran this many scenarios."""
WEIGHTS = {"builtin": 3, "xsched": 1}
"""What a second of each scheduler counts: scenarios take about a second in real time, and 20 ms in
virtual time."""
UNSEEN_COUNTS = 0.5
"""What a second counts that a policy has had, while a scenario may show an unseen rule of it."""
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
        examples: the most random scenarios of a policy.
        shrink_s: time to make the scenario of one failure shorter.
        shrink_runs: the most runs for the same.
        repeats: runs of the shortest scenario.
    """

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
        command: of a program that breaks the rule, the command line that runs it again.
        reproduced: how many of `repeats` runs of the printed text broke the rule again.
        repeats: runs of the printed text.
        shown: on live queues, in how many of `looked` each rule was checked.
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
    command: str = ""
    reproduced: int = 0
    repeats: int = 0
    shown: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """The outcome for a policy.

    Attributes:
        policy: the policy.
        scenarios: count of different scenarios.
        unit: what `scenarios` counts.
        runs: count of runs, repeated ones included.
        seconds: time that all of it took.
        results: one for each rule.
        cut: whether the time was over before all scenarios had run.
        not_claimed: the rules to which the policy is not held, and why.
        costs: what the scheduler costs under it; None: not measured.
    """

    policy: Policy
    scenarios: int
    runs: int
    seconds: float
    results: tuple[Result, ...]
    cut: bool = False
    unit: str = "scenario"
    not_claimed: tuple[NotClaimed, ...] = ()
    costs: Costs | None = None

    @property
    def too_few(self) -> bool:
        """Whether the time was over before `ENOUGH` scenarios had run."""
        return self.cut and self.scenarios < ENOUGH

    @property
    def failed(self) -> tuple[Result, ...]:
        """The rules that do not hold."""
        return tuple(result for result in self.results if result.status == FAILED)


class Examination:
    """The scenarios of one policy, which run one after another, and what they show.

    Args:
        tested: the policy, with its checks.
        space: scenarios of the policy.
        run: runs a scenario; may use one process for many.
        run_fresh: runs a scenario in a fresh process.
        limits: how much to run.
        seed: seed of the search.
        simpler: yields simpler scenarios, where a run is too slow for the many attempts of
            hypothesis; None: hypothesis shrinks.

    Attributes:
        seconds: the time that its scenarios took so far.
        cut: whether the time was over before all scenarios had run.
    """

    def __init__(
        self,
        tested: PolicyUnderTest,
        space: SearchStrategy[Scenario],
        run: Runner,
        run_fresh: Runner,
        limits: Limits,
        *,
        seed: int,
        simpler: Simpler | None = None,
    ) -> None:
        self.tested = tested
        self.seconds = 0.0
        self.cut = False
        self._search = _Search(tested, space, run, limits, seed, simpler)
        self._run_fresh = run_fresh
        self._left: list[Scenario] | None = None  # drawn in its first turn
        self._next = 0
        self._may_show_unseen = True
        self._results: tuple[Result, ...] | None = None  # of `conclude`, until the next run

    @property
    def has_more(self) -> bool:
        """Whether scenarios are left to run."""
        return self._left is None or bool(self._left)

    @property
    def scenarios(self) -> int:
        """Count the scenarios that ran."""
        return len(self._search.seen)

    @property
    def cost_s(self) -> float:
        """Return its time so far; it counts less while a scenario may show an unseen rule."""
        return (
            WEIGHTS[self.tested.policy.scheduler]
            * self.seconds
            * (UNSEEN_COUNTS if self._may_show_unseen else 1)
        )

    def run_next(self) -> tuple[tuple[str, str], ...]:
        """Run the next scenario; return rule and sentence of each first breach of a rule.

        Raises:
            DeviceUnavailable, DeviceBusy, NotBuilt: the scenario cannot be run at all.
        """
        begin_s = time.monotonic()
        self._results = None
        if self._left is None:
            self._left = list(self._search.drawn())
            self._choose(self._left)
        known = self._search.broken()
        outcome = self._search.first_outcome(self._left.pop(self._next))
        self._choose(self._left)
        self.seconds += time.monotonic() - begin_s
        return tuple(
            (rule, sentences[0])
            for rule, sentences in outcome.items()
            if sentences and rule not in known
        )

    def _choose(self, left: Sequence[Scenario]) -> None:
        """Choose the first scenario that may show something about most of the unseen rules."""
        unseen = self._search.unseen()
        counts = [sum(check.may_show(scenario) for check in unseen) for scenario in left]
        self._next = counts.index(max(counts)) if counts else 0
        self._may_show_unseen = max(counts, default=0) > 0

    def conclude(self, *, shorten: bool = True) -> Conformance:
        """Return the outcome; scenarios that fail are made shorter and run again first.

        Args:
            shorten: False leaves that out, unless it is done already, and what failed counts as
                seen once.
        """
        begin_s = time.monotonic()
        results = self._results
        if results is None:
            fresh = self._run_fresh if shorten else None
            results = tuple(_result(self._search, fresh, c.rule) for c in self.tested.checks)
            self._results = results if shorten else None
        self.seconds += time.monotonic() - begin_s
        return Conformance(
            policy=self.tested.policy,
            scenarios=self.scenarios,
            runs=self._search.runs,
            seconds=self.seconds,
            results=results,
            cut=self.cut,
            not_claimed=self.tested.not_claimed,
        )


def take_turns(
    examinations: Sequence[Examination],
    search_s: float,
    found: Callable[[PolicyUnderTest, str, str], None] | None = None,
    *,
    exit_first: bool = False,
) -> Examination | None:
    """Run the scenarios of all policies until the time is over.

    The next scenario is of the policy that took the least time. After the time is over, those run
    that had fewer than LEAST.

    Args:
        examinations: one for each policy.
        search_s: the time in seconds.
        found: called with the policy, the rule and the sentence of each first breach of a rule.
        exit_first: whether to end at the first breach.

    Returns:
        With exit_first the policy that showed a breach; None: the time is over.
    """
    deadline_s = time.monotonic() + search_s
    while examinations:
        may_run = [one for one in examinations if one.has_more]
        if time.monotonic() > deadline_s:
            may_run = [one for one in may_run if one.scenarios < LEAST]
        if not may_run:
            break
        one = min(may_run, key=lambda one: one.cost_s)
        breaches = one.run_next()
        for rule, sentence in breaches:
            if found is not None:
                found(one.tested, rule, sentence)
        if breaches and exit_first:
            return one
    for one in examinations:
        one.cut = one.has_more
    return None


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


def _result(search: _Search, run_fresh: Runner | None, rule: Rule) -> Result:
    outcomes = [outcome.get(rule.id) for outcome in search.seen.values()]
    looked = sum(outcome is not None for outcome in outcomes)
    failing = sum(bool(outcome) for outcome in outcomes)
    if not failing:
        status = HOLDS if looked else UNSEEN
        return Result(rule=rule.id, definition=rule.text, status=status, looked=looked)
    if run_fresh is None:
        (scenario, *_) = search.failing(rule.id)
        return Result(
            rule=rule.id,
            definition=rule.text,
            status=ONCE,
            looked=looked,
            failing=failing,
            sentence=search.sentence(scenario, rule.id),
            scenario=scenario,
        )
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

    def drawn(self) -> tuple[Scenario, ...]:
        """Return different random scenarios, without a run of any."""
        found: dict[str, Scenario] = {}
        self._draw([Phase.generate], lambda scenario: found.setdefault(scenario.digest(), scenario))
        return tuple(found.values())

    def unseen(self) -> tuple[Check, ...]:
        """Return the checks about whose rules no scenario showed anything yet."""
        shown = {
            rule for outcome in self.seen.values() for rule in outcome if outcome[rule] is not None
        }
        return tuple(check for check in self.tested.checks if check.rule.id not in shown)

    def broken(self) -> set[str]:
        """Return the ids of the rules that a scenario broke."""
        return {rule for outcome in self.seen.values() for rule in outcome if outcome[rule]}

    def failing(self, rule: str) -> list[Scenario]:
        """Return the scenarios whose first run broke a rule."""
        return [self.scenarios[key] for key in self.seen if self.seen[key].get(rule)]

    def shortest(self, rule: str) -> tuple[Scenario, ...]:
        """Return the simplest scenario found that breaks a rule in two of three runs.

        The scenario from which it was made follows, if that is another one.
        """
        self._allow(self.limits.shrink_s, self.limits.shrink_runs)
        failing = self.failing(rule)
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

    def first_outcome(self, scenario: Scenario) -> _Outcome:
        """Return the outcome of the first run of a scenario."""
        key = scenario.digest()
        if key not in self.seen:
            self.scenarios[key] = scenario
            self.seen[key] = self.run_again(scenario, self.run)
        return self.seen[key]

    def _allow(self, seconds: float, runs: int) -> None:
        self._deadline_s, self._runs_left = time.monotonic() + seconds, runs

    def _may_run(self) -> bool:
        self._runs_left -= 1
        return self._runs_left >= 0 and time.monotonic() <= self._deadline_s

    def _outcome(self, scenario: Scenario) -> _Outcome | None:
        """Return the outcome of the first run of a scenario; None: no time is left for a run."""
        if scenario.digest() not in self.seen and not self._may_run():
            return None
        return self.first_outcome(scenario)

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

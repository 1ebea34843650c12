"""The comparisons of a session: schedulers measured alternately, and runs that exist already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from pytest_xsched.analysis.run import Run
from pytest_xsched.base.units import one_line
from pytest_xsched.base.validation import integer, one_of
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.comparison.existing_runs import unlike
from pytest_xsched.errors import IncomparableError, ScenarioError
from pytest_xsched.scenario.builds import Build
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.session.mechanism import ArmLike, arms_by_name, replaced_queues

SEED_STEP = 104_729  # between episodes: a prime, so that no two of a session's seeds meet soon

_ATTRIBUTES = ("again", "arms", "baseline", "builds", "forced", "judgements", "schedulers")
"""Of a comparison, in addition to its methods and to those of a run."""

PlanArm: TypeAlias = "Callable[[tuple[QueueSpec, ...], ArmLike, int], Callable[[str], Run]]"
"""Checks queues under a scheduler, or of a build, with a seed; returns what measures them, given
its place among the runs."""
_Arm = TypeVar("_Arm")


class Comparing:
    """Measures the arms of a comparison, and keeps the comparisons of a session.

    Args:
        runs: of the session; those of a comparison are taken out of it.
        undecided: result of an undecided claim, ``"fail"`` or ``"warn"``.
    """

    def __init__(self, runs: list[Run], undecided: str) -> None:
        self.comparisons: list[Comparison] = []
        self._runs = runs
        self._undecided = undecided

    def compare(
        self,
        queues: tuple[QueueSpec, ...],
        schedulers: Sequence[ArmLike],
        *,
        arms: Sequence[str],
        episodes: int,
        seed: int,
        plan: PlanArm,
    ) -> Comparison:
        """Check all arms, then measure each once in each episode; see `Session.compare`.

        Args:
            queues: of all arms but those of a queue alone.
            schedulers: and builds; the first is the baseline.
            arms: more of them: ``"alone"``.
            episodes: at least 1.
            seed: of the first episode.
            plan: checks queues under a scheduler with a seed, and returns what measures them.
        """
        for queue in queues:
            if hasattr(Comparison, queue.name) or queue.name in _ATTRIBUTES:
                raise ScenarioError(
                    f"compare(): queue name {queue.name!r} would hide an attribute of the "
                    "comparison"
                )
        named = arms_by_name(schedulers, [queue.name for queue in queues])
        _check_arms(arms)
        integer("compare(): episodes", episodes, 1, 1000)
        integer("compare(): seed", seed, 0, 2**32 - 1)
        baseline, *others = named
        again = f"{baseline} again"
        alone = {f"{queue.name} alone": (queue,) for queue in queues} if arms else {}
        of_arms: dict[str, tuple[tuple[QueueSpec, ...], str]]
        of_arms = {name: (one, baseline) for name, one in alone.items()}
        of_arms |= {name: (queues, name) for name in named} | {again: (queues, baseline)}
        planned: list[tuple[str, Callable[[str], Run]]] = []
        for episode, arm in turns(episodes, list(of_arms)):
            of_arm, scheduler = of_arms[arm]
            measure = plan(of_arm, named[scheduler], (seed + episode * SEED_STEP) % 2**32)
            planned.append((arm, measure))
        before = len(self._runs)
        measured: dict[str, list[Run]] = {arm: [] for arm in of_arms}
        for number, (arm, measure) in enumerate(planned, 1):
            measured[arm].append(measure(f"run {number} of {len(planned)}"))
        del self._runs[before:]  # the report shows them as one comparison
        together = [run for arm in (*named, again) for run in measured[arm]]
        found = unlike(
            together,
            [run for arm in alone for run in measured[arm]],
            replaced=replaced_queues(named.values()),
        )
        if found:
            raise IncomparableError.of(found)
        return self.add(
            Comparison(
                measured,
                queues=[queue.name for queue in queues],
                baseline=baseline,
                schedulers=others,
                builds=[name for name, arm in named.items() if isinstance(arm, Build)],
            )
        )

    def add(self, comparison: Comparison) -> Comparison:
        """Keep a comparison for the report."""
        comparison.undecided = self._undecided
        self.comparisons.append(comparison)
        return comparison


def turns(episodes: int, arms: Sequence[_Arm]) -> Iterator[tuple[int, _Arm]]:
    """Yield episode and arm in the order of measuring: forwards, backwards, forwards, ..."""
    for episode in range(episodes):
        for arm in arms if episode % 2 == 0 else reversed(arms):
            yield episode, arm


def _check_arms(arms: object) -> None:
    """Check the arms that `compare` was given in addition to schedulers."""
    if not isinstance(arms, (list, tuple)):
        raise ScenarioError(f'compare(): arms {one_line(arms)} are no list; write ["alone"]')
    for arm in arms:
        one_of("compare(): arm", arm, ("alone",))

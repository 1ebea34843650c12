"""What a session compares: schedulers measured by turns, and runs that exist already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from pytest_xsched.analysis.run import Run
from pytest_xsched.base.constants import SCHEDULERS
from pytest_xsched.base.units import DurationLike
from pytest_xsched.base.validation import integer, one_of
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.comparison.existing_runs import Arm, compare_runs, unlike
from pytest_xsched.errors import IncomparableError, ScenarioError
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.xsched_settings import XSched

_SEED_STEP = 104_729  # between episodes: a prime, so that no two of a session's seeds meet soon


class Comparer:
    """The comparing half of a session, which brings `run`, `runs` and `seed`."""

    run: Callable[..., Run]
    runs: list[Run]

    @property
    def seed(self) -> int:
        """Seed of arrivals and inputs, unless run() is given another."""
        raise NotImplementedError

    def __init__(self, undecided: str) -> None:
        self.comparisons: list[Comparison] = []
        self._undecided = undecided

    def compare(
        self,
        *queues: QueueSpec,
        schedulers: Sequence[str | XSched] = ("native", "builtin"),
        arms: Sequence[str] = (),
        episodes: int = 7,
        duration: DurationLike | None = None,
        warmup: DurationLike | None = None,
        drain: DurationLike | None = None,
        policy: str | None = None,
        changes: Sequence[Change] = (),
        stream_priority: bool = True,
        seed: int | None = None,
        check: bool = False,
        processes: str = "together",
        cpu: CpuModel | None = None,
        sim: SimModel | None = None,
    ) -> Comparison:
        """Measure the same queues under several schedulers, by turns, and compare.

        An episode measures every arm once: the queues alone, if asked for, each scheduler, and the
        first scheduler again, whose difference from itself is the noise. Every other episode goes
        through them backwards, so that what drifts favours nobody. The arms of an episode have one
        seed, and so the same arrivals; the episodes have different ones.

        Args:
            queues: made by `queue`.
            schedulers: at least two, as of `run`; the first is the baseline.
            arms: more of them: ``"alone"``, each queue alone under the baseline.
            episodes: at least 1; fewer than 6 decide nothing.
            duration: of the measured window of each run; ``--xsched-duration`` overrides it.
            warmup: as of `run`, and so the others.
            drain: as of `run`.
            policy: of ``"builtin"``.
            changes: of queues during each run.
            stream_priority: of ``"builtin"``.
            seed: of the first episode.
            check: compare the results of the commands with numpy.
            processes: as of `run`.
            cpu: parameters of the device ``"cpu"``.
            sim: parameters of the device ``"sim"``.

        Returns:
            The comparison, its queues as attributes.

        Raises:
            ScenarioError: a value is wrong.
            IncomparableError: something else changed meanwhile, a driver, for one.
            DeviceError: a device call failed.
            SchedulerInactive: XSched is not installed, or was not in effect.
            WorkerCrashed: the process of a run ended without a result, or did not end.
        """
        named = _named(schedulers, arms)
        integer("compare(): episodes", episodes, 1, 1000)
        baseline, *others = named
        again = f"{baseline} again"
        alone = {f"{queue.name} alone": (queue,) for queue in queues} if arms else {}
        plan: dict[str, tuple[tuple[QueueSpec, ...], str]]
        plan = {name: (one, baseline) for name, one in alone.items()}
        plan |= {name: (queues, name) for name in named} | {again: (queues, baseline)}
        before = len(self.runs)
        measured: dict[str, list[Run]] = {arm: [] for arm in plan}
        for episode, arm in turns(episodes, list(plan)):
            of_arm, scheduler = plan[arm]
            builtin = scheduler == "builtin"
            there = {queue.name for queue in of_arm}
            run = self.run(
                *of_arm,
                duration=duration,
                whole=True,  # equally long, or what is rare differs
                warmup=warmup,
                drain=drain,
                scheduler=named[scheduler],
                policy=policy if builtin else "none",
                changes=[change for change in changes if change.queue in there],
                stream_priority=stream_priority or not builtin,
                seed=((self.seed if seed is None else seed) + episode * _SEED_STEP) % 2**32,
                check=check,
                processes=processes,
                cpu=cpu,
                sim=sim,
            )
            measured[arm].append(run)
        del self.runs[before:]  # they are shown as one comparison
        together = [run for arm in (*named, again) for run in measured[arm]]
        found = unlike(together, [run for arm in alone for run in measured[arm]])
        if found:
            raise IncomparableError.of(found)
        comparison = Comparison(
            measured,
            queues=[queue.name for queue in queues],
            baseline=baseline,
            schedulers=others,
        )
        return self._add(comparison)

    def _add(self, comparison: Comparison) -> Comparison:
        comparison.undecided = self._undecided
        self.comparisons.append(comparison)
        return comparison

    def compare_runs(
        self,
        baseline: Arm,
        scheduled: Arm,
        *,
        alone: Mapping[str, Arm] | None = None,
        force: bool = False,
    ) -> Comparison:
        """Compare runs that exist already; see `versus.compare_runs`. Shown in the report."""
        comparison = compare_runs(baseline, scheduled, alone=alone, force=force)
        return self._add(comparison)


def turns(episodes: int, arms: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Give episode and arm in the order of measuring: forwards, backwards, forwards, ..."""
    for episode in range(episodes):
        for arm in arms if episode % 2 == 0 else reversed(arms):
            yield episode, arm


def _named(schedulers: Sequence[str | XSched], arms: Sequence[str]) -> dict[str, str | XSched]:
    """Check what is to be measured, and name the schedulers: two of XSched by their policies."""
    if isinstance(schedulers, str) or len(schedulers) < 2:
        raise ScenarioError(
            f'compare(): schedulers {schedulers!r} are not two; write ["native", "builtin"]'
        )
    named: dict[str, str | XSched] = {}
    for scheduler in schedulers:
        name = f"xsched {scheduler.policy}" if isinstance(scheduler, XSched) else scheduler
        if not isinstance(scheduler, XSched):
            one_of("compare(): scheduler", scheduler, SCHEDULERS)
        if name in named:
            raise ScenarioError(
                f"compare(): schedulers {list(schedulers)} name one twice; the first is measured "
                "against itself in any case"
            )
        named[name] = scheduler
    if isinstance(arms, str):
        raise ScenarioError(f"compare(): arms {arms!r} are no list; write [{arms!r}]")
    for arm in arms:
        one_of("compare(): arm", arm, ("alone",))
    return named

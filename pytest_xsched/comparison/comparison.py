"""Schedulers compared, like with like: `comparison.high.assert_p99_improved(by=2)`.

A comparison is arms, each measured once an episode: the baseline scheduler, the others, the
baseline again (how far equal arms differ is the noise) and, where asked for, each queue alone.
Every target is about the ratios within the episodes; see `paired` for how sure it is.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_xsched.analysis.assertion import (
    Unjudged,
    asserts,
    place_in_the_test,
)
from pytest_xsched.analysis.comparability import Difference, schedulers_digests
from pytest_xsched.analysis.evidence import kind_of
from pytest_xsched.analysis.final_verdict import Judgement, Withdrawn, judge_again, require_good
from pytest_xsched.analysis.queue_result import percentile_name
from pytest_xsched.analysis.run import Run
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.units import one_line, parse_fraction
from pytest_xsched.base.validation import finite_number
from pytest_xsched.comparison.builds import describe_builds
from pytest_xsched.comparison.effect import Effect, RatioTarget
from pytest_xsched.comparison.episode import Episode, Measured
from pytest_xsched.errors import (
    InvalidRun,
    ScenarioError,
)
from pytest_xsched.stats.paired import Estimate, mean_estimate, noise_floor, ratio_estimate

_ROUNDING = 1e-9
"""Of counts over a time and of logarithms: a ratio of exactly 2 is at least 2."""

_LIKE_NOISE = 0.05
"""Of the time: this much more noise in one arm than in another may be chance."""

_FIGURES = ("n", "p50_ns", "p99_ns", "max_ns", "throughput_hz")


class ComparedQueue:
    """A queue in all arms of a comparison, and the targets that it may have.

    Its latencies to milestones are attributes, with the targets of latencies:
    ``comparison.chat.first_token.assert_p99_improved(by=2)``.
    """

    def __init__(self, name: str, comparison: Comparison, milestone_latency: str = "") -> None:
        self.name = name
        self._comparison = comparison
        self._latency = milestone_latency

    def __getattr__(self, name: str) -> ComparedQueue:
        if not name.startswith("_") and not self._latency and name in self.latencies:
            return self.latencies[name]
        raise AttributeError(f"a compared queue has no {name!r}")

    @property
    def label(self) -> str:
        """Name of the queue, and of the latency that this is."""
        return f"{self.name}.{self._latency}" if self._latency else self.name

    @property
    def latencies(self) -> dict[str, ComparedQueue]:
        """Its latencies to milestones, by name: those that all arms have."""
        c = self._comparison
        if self._latency:
            return {}
        found = [
            [one["name"] for one in episode.numbers(self.name).get("latencies", ())]
            for arm in self._arms()
            for episode in c.episodes(arm)
        ]
        return {
            name: ComparedQueue(self.name, c, name)
            for name in found[0]
            if all(name in names for names in found)
        }

    def latency(self, q: float, scheduler: str | None = None) -> Effect:
        """Compare a percentile of the latency with that under the baseline.

        Args:
            q: in (0, 1), 0.99 for P99.
            scheduler: which, where more than one is compared with the baseline.

        Raises:
            InvalidRun: an arm proves nothing, is saturated or has too few requests.
        """
        if isinstance(q, bool) or not isinstance(q, (int, float)) or not 0 < q < 1:
            raise ScenarioError(f"percentile {q!r} is outside (0, 1); P99 is 0.99")
        self._comparison.require_like_noise(self._comparison.baseline, scheduler)
        return self._effect(scheduler, self._percentile_ns(q))

    def _percentile_ns(self, q: float) -> Callable[[Episode], float]:
        return lambda episode: episode.percentile_ns(self.name, q, self._latency)

    def throughput(self, scheduler: str | None = None, *, of: str | None = None) -> Effect:
        """Compare the throughput with that under the baseline, or of another arm.

        Args:
            scheduler: which, where more than one is compared with the baseline.
            of: ``"alone"``: the queue alone.
        """
        if self._latency:
            raise ScenarioError(
                f"{self.label} is a latency and has no throughput; write comparison.{self.name}"
            )
        return self._effect(scheduler, lambda episode: episode.throughput_hz(self.name), of)

    def contention_removed(self, q: float = 0.99, scheduler: str | None = None) -> Estimate:
        """Compute what share of the latency that contention adds a scheduler takes away.

        (native - scheduled) / (native - alone) of a percentile, in each episode: 1 is a queue that
        runs as if alone, 0 a scheduler that does nothing, below 0 one that does harm.

        Args:
            q: in (0, 1), 0.99 for P99.
            scheduler: which, where more than one is compared with the baseline.

        Raises:
            InvalidRun: an arm proves nothing, or contention added nothing.
            ScenarioError: the queue was not measured alone.
        """
        c = self._comparison
        c.require_two_builds(scheduler)
        for reference in (self._alone(), c.baseline):
            c.require_like_noise(reference, scheduler)
        alone, native, scheduled = (
            [self._percentile_ns(q)(episode) for episode in c.episodes(arm)]
            for arm in (self._alone(), c.baseline, c.scheduler(scheduler))
        )
        if any(n <= a for n, a in zip(native, alone, strict=True)):
            raise InvalidRun(
                f"no verdict: {self.label} is as fast under {c.baseline} as alone, so there is no "
                "contention to remove"
            )
        return mean_estimate(
            [(n - s) / (n - a) for n, s, a in zip(native, scheduled, alone, strict=True)]
        )

    @asserts
    def assert_p99_improved(self, *, by: float = 1.0, scheduler: str | None = None) -> None:
        """Assert that the P99 under the baseline is at least `by` times that under a scheduler.

        Raises:
            QosAssertionError: it is not, or the episodes do not decide it.
            InvalidRun: an arm proves nothing; a saturated baseline, for one, has no P99.
        """
        __tracebackhide__ = True
        self.assert_percentile_improved(0.99, by=by, scheduler=scheduler)

    @asserts
    def assert_percentile_improved(
        self, q: float, *, by: float = 1.0, scheduler: str | None = None
    ) -> None:
        """Assert that a percentile under the baseline is at least `by` times that of a scheduler.

        Args:
            q: in (0, 1), 0.95 for P95.
            by: a plain number, at least 1.
            scheduler: which, where more than one is compared with the baseline.
        """
        __tracebackhide__ = True
        factor = finite_number("by of assert_percentile_improved", by, above=0)
        if factor < 1:
            raise ScenarioError(
                f"by of assert_percentile_improved {by!r} is below 1; by=2 is half the latency"
            )
        c, name = self._comparison, percentile_name(q)

        def target() -> RatioTarget:
            __tracebackhide__ = True
            effect = self.latency(q, scheduler)
            gain = effect.ratio.inverse()
            return RatioTarget(
                rule=f"{name} improved by",
                what=f"{name} of {c.baseline} / {c.scheduler(scheduler)}",
                ratio=gain,
                floor=effect.floor,
                relation="at least",
                limit=factor,
                good=gain.low >= factor * (1 - _ROUNDING) and effect.shown,
                bad=gain.high < factor * (1 - _ROUNDING),
            )

        self._judge(target)

    @asserts
    def assert_no_worse(
        self, *, by: str | float = "10%", q: float = 0.99, scheduler: str | None = None
    ) -> None:
        """Assert that a percentile under a scheduler exceeds the baseline's by at most a share.

        Not worse is not better: a scheduler that does nothing passes this.

        Args:
            by: ``"10%"`` or 0.1.
            q: in (0, 1), 0.99 for P99.
            scheduler: which, where more than one is compared with the baseline.
        """
        __tracebackhide__ = True
        if isinstance(by, (int, float)) and by == 1:
            raise ScenarioError(
                'by of assert_no_worse: 1 lets the latency double; write "1%" or 0.01, or "100%"'
            )
        limit = 1 + parse_fraction(by, what="by of assert_no_worse")
        c, name = self._comparison, percentile_name(q)

        def target() -> RatioTarget:
            __tracebackhide__ = True
            effect = self.latency(q, scheduler)
            ratio = effect.ratio
            return RatioTarget(
                rule=f"{name} no worse than",
                what=f"{name} of {c.scheduler(scheduler)} / {c.baseline}",
                ratio=ratio,
                floor=effect.floor,
                relation="at most",
                limit=limit,
                good=ratio.high <= limit * (1 + _ROUNDING),
                bad=ratio.low > limit * (1 + _ROUNDING) and effect.shown,
            )

        self._judge(target)

    @asserts
    def assert_best_effort_kept(
        self, share: str | float, *, of: str | None = None, scheduler: str | None = None
    ) -> None:
        """Assert that a scheduler leaves a queue a share of its throughput.

        Args:
            share: ``"90%"`` or 0.9, above 0.
            of: ``"alone"``: of what the queue does alone; None: of what it does under the baseline.
            scheduler: which, where more than one is compared with the baseline.
        """
        __tracebackhide__ = True
        limit = parse_fraction(share, what="share of assert_best_effort_kept", allow_zero=False)
        c = self._comparison

        def target() -> RatioTarget:
            __tracebackhide__ = True
            effect = self.throughput(scheduler, of=of)
            ratio = effect.ratio
            return RatioTarget(
                rule="throughput kept",
                what=f"throughput under {c.scheduler(scheduler)} / {of or c.baseline}",
                ratio=ratio,
                floor=effect.floor,
                relation="at least",
                limit=limit,
                good=ratio.low >= limit * (1 - _ROUNDING),
                bad=ratio.high < limit * (1 - _ROUNDING),
            )

        self._judge(target)

    def _effect(
        self,
        scheduler: str | None,
        figure: Callable[[Episode], float],
        of: str | None = None,
    ) -> Effect:
        c = self._comparison
        c.require_two_builds(scheduler)
        if of not in (None, "alone"):
            raise ScenarioError(f"of {of!r} is unknown; 'alone' or None, which is the baseline")
        reference = [figure(e) for e in c.episodes(c.baseline if of is None else self._alone())]
        scheduled = [figure(episode) for episode in c.episodes(c.scheduler(scheduler))]
        floor = math.inf
        if c.again in c.arms:
            again = [figure(episode) for episode in c.episodes(c.again)]
            native = [figure(episode) for episode in c.episodes(c.baseline)]
            floor = noise_floor(ratio_estimate(again, native))
        return Effect(ratio=ratio_estimate(scheduled, reference), floor=floor)

    @property
    def _unjudged(self) -> list[Unjudged]:
        return self._comparison._unjudged

    def _numbers(self, episode: Episode) -> dict[str, Any]:
        if self._latency:
            return episode.latency_numbers(self.name, self._latency)
        return episode.numbers(self.name)

    def _remarks(self) -> str:
        """Return what little contention there was in the arms, once for all of a kind."""
        c = self._comparison
        runs = [episode for arm in (c.baseline, *c.schedulers) for episode in c.episodes(arm)]
        found: dict[str, list[str]] = {}
        for episode in runs:
            for remark in episode.remarks(self.name):
                found.setdefault(kind_of(remark), []).append(remark)
        return "".join(
            f"; {said[0]} (in {len(said)} of {len(runs)} runs)" for said in found.values()
        )

    def _arms(self) -> list[str]:
        """Return the arms that have the queue."""
        arms = self._comparison.arms
        return [arm for arm in arms if not arm.endswith(" alone") or arm == self.alone]

    @property
    def alone(self) -> str:
        """Name of the arm in which the queue is alone, whether or not there is one."""
        return f"{self.name} alone"

    def _alone(self) -> str:
        if self.alone not in self._comparison.arms:
            raise ScenarioError(
                f'{self.name} was not measured alone; write compare(..., arms=["alone"])'
            )
        return self.alone

    def _judge(self, target: Callable[[], RatioTarget]) -> None:
        __tracebackhide__ = True
        c = self._comparison
        c.check_marker()
        c.measure_least()

        def rule() -> Verdict:
            __tracebackhide__ = True
            judged = target()
            n = sum(self._numbers(episode)["n"] for episode in c.episodes(c.baseline))
            verdict = judged.verdict(self.name, n, c.forced, self._latency)
            return verdict.with_remark(self._remarks())

        verdict = dataclasses.replace(rule(), limit_origin=place_in_the_test())
        c.verdicts.append(verdict)
        c.judgements.append(Judgement(rule=rule, windows=c.windows, judged=c.windows()))
        require_good(verdict, c.undecided)


class Comparison:
    """Arms measured alternately. Its queues are attributes and items: `comparison.high`.

    Attributes:
        baseline: name of the arm that the others are compared with.
        schedulers: names of those others.
        arms: all runs, by the name of their arm, in the order of the episodes.
        forced: how the arms differ apart from the scheduler, where that was allowed by force.
        builds: names of the arms in which queues may have other workloads than in the others.
        verdicts: of the targets asserted so far.
        refused: targets that got no verdict, as of a run.
    """

    def __init__(
        self,
        arms: Mapping[str, Sequence[Measured]],
        *,
        queues: Sequence[str],
        baseline: str,
        schedulers: Sequence[str],
        forced: Sequence[Difference] = (),
        builds: Sequence[str] = (),
    ) -> None:
        self.baseline = baseline
        self.builds = tuple(builds)
        self.schedulers = tuple(schedulers)
        self.forced = tuple(forced)
        self.arms = {
            arm: tuple(Episode(arm, number, run) for number, run in enumerate(runs, 1))
            for arm, runs in arms.items()
        }
        for episode in itertools.chain.from_iterable(self.arms.values()):
            if isinstance(episode.run, Run):
                episode.run.asserted = True
        self.again = f"{baseline} again"
        self.queues = {name: ComparedQueue(name, self) for name in queues}
        self.verdicts: list[Verdict] = []
        self.judgements: list[Judgement] = []
        """One for each of `verdicts`, in the same order."""
        self.refused: list[dict[str, str]] = []
        self._unjudged: list[Unjudged] = []
        self.undecided = "fail"
        """What becomes of an undecided target: ``"fail"`` or ``"warn"``."""
        self.check_marker: Callable[[], None] = lambda: None
        """See `Run.check_marker`."""

    def episodes(self, arm: str) -> tuple[Episode, ...]:
        """Return the runs of an arm, with their evidence."""
        return self.arms[arm]

    def take_unjudged(self) -> list[Unjudged]:
        """Return the targets that got no verdict since the last call."""
        found = list(self._unjudged)
        self._unjudged.clear()
        return found

    def measure_least(self) -> None:
        """Measure on until all runs are as long as the test that is running requires."""
        for episode in (one for arm in self.arms.values() for one in arm):
            while isinstance(episode.run, Run) and episode.run.is_too_short:
                if not episode.run.measure_on():
                    break

    def windows(self) -> tuple[int, ...]:
        """Return how many windows each run has; of a run out of a file they do not change."""
        return tuple(episode.windows for arm in self.arms.values() for episode in arm)

    @property
    def measured_ns(self) -> int:
        """Length of the longest of its runs, ns."""
        lengths = (one.record["measured_ns"] for arm in self.arms.values() for one in arm)
        return max(lengths, default=0)

    def judge_again(self) -> list[Withdrawn]:
        """Judge the targets again if a run measured on since; return the verdicts that fell."""
        return judge_again(self.verdicts, self.judgements, self.refused, self.undecided)

    def scheduler(self, name: str | None) -> str:
        """Return the name of the arm that is compared with the baseline."""
        if name is None and len(self.schedulers) == 1:
            return self.schedulers[0]
        if name not in self.schedulers:
            known = " or ".join(map(repr, self.schedulers))
            raise ScenarioError(
                f"scheduler {one_line(name)} is not compared with {self.baseline!r} here; name "
                f"{known}"
            )
        return str(name)

    def require_like_noise(self, reference: str, scheduler: str | None) -> None:
        """Raise InvalidRun where of one arm much more was masked than of the other.

        Then one of them made the noise, or the arms did not have the same machine.
        """
        __tracebackhide__ = True
        names = (reference, self.scheduler(scheduler))
        shares = [statistics.mean(one.masked for one in self.episodes(arm)) for arm in names]
        few, many = sorted(shares)
        if many > 2 * few and many - few > _LIKE_NOISE:
            told = " but ".join(
                f"{100 * s:.0f} % of {n}" for s, n in zip(shares, names, strict=True)
            )
            raise InvalidRun(
                f"no verdict: noise masked {told}, so the arms were not measured under "
                "comparable conditions"
            )

    def require_two_builds(self, scheduler: str | None) -> None:
        """Raise InvalidRun where two installations of XSched mapped the same libraries."""
        __tracebackhide__ = True
        name = self.scheduler(scheduler)
        first, second = (self.episodes(arm)[0].record for arm in (self.baseline, name))
        homes = [(run["scenario"].get("xsched") or {}).get("home") for run in (first, second)]
        if homes[0] == homes[1]:
            return
        one, other = (schedulers_digests(run) for run in (first, second))
        if one and one == other:
            raise InvalidRun(
                f"no verdict: {self.baseline} and {name} mapped the same libraries of XSched "
                f"({', '.join(sorted(one))}), so there is one build and not two"
            )

    def __getattr__(self, name: str) -> ComparedQueue:
        try:
            return self.__dict__["queues"][name]  # type: ignore[no-any-return]
        except KeyError:
            known = ", ".join(self.__dict__.get("queues", ()))
            raise AttributeError(f"the comparison has no queue {name!r}; it has {known}") from None

    def __getitem__(self, name: str) -> ComparedQueue:
        if name not in self.queues:
            known = ", ".join(self.queues)
            raise ScenarioError(f"the comparison has no queue {name!r}; it has {known}")
        return self.queues[name]

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.schedulers)} with {self.baseline}>"

    def to_dict(self) -> dict[str, Any]:
        """Return arms, ratios and verdicts in JSON's types."""
        return {
            "baseline": self.baseline,
            "schedulers": list(self.schedulers),
            "episodes": len(self.arms[self.baseline]),
            "forced": [str(difference) for difference in self.forced],
            **({"builds": describe_builds(self)} if self.builds else {}),
            "queues": [self._summary(queue) for queue in self.queues.values()],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "refused": list(self.refused),
            "arms": {
                arm: [episode.latest_record() for episode in episodes]
                for arm, episodes in self.arms.items()
            },
        }

    def _summary(self, queue: ComparedQueue) -> dict[str, Any]:
        """Return what the report shows of a queue: each arm's figures, each scheduler's ratios."""
        first = self.arms[self.baseline][0].numbers(queue.name)
        open_loop = first["offered_hz"] is not None
        return {
            "name": queue.name,
            "open_loop": open_loop,
            "arms": _figures(queue),
            "contrasts": {name: _contrasts(queue, name, open_loop) for name in self.schedulers},
            "latencies": [
                {
                    "name": name,
                    "arms": _figures(latency),
                    "contrasts": {
                        scheduler: _contrasts(latency, scheduler, open_loop=True)
                        for scheduler in self.schedulers
                    },
                }
                for name, latency in queue.latencies.items()
            ],
        }


def _figures(queue: ComparedQueue) -> dict[str, Any]:
    """Return the figures of a queue or a latency in each episode of its arms."""
    arms = queue._comparison.arms
    numbers = {arm: [queue._numbers(episode) for episode in arms[arm]] for arm in queue._arms()}
    return {
        arm: {key: [n[key] for n in of_arm if key in n] for key in _FIGURES}
        for arm, of_arm in numbers.items()
    }


def _contrasts(queue: ComparedQueue, scheduler: str, open_loop: bool) -> dict[str, Any]:
    """Of an open loop its latencies, of a closed one its throughput; or why there is no ratio."""
    found: dict[str, Any] = {}
    try:
        if not open_loop:
            found["throughput"] = queue.throughput(scheduler).to_dict()
            return found
        for q in (0.5, 0.99):
            found[percentile_name(q)] = queue.latency(q, scheduler).to_dict()
        if queue.alone in queue._comparison.arms:
            for q in (0.5, 0.99):
                removed = queue.contention_removed(q, scheduler)
                found[percentile_name(q)]["contention_removed"] = removed.to_dict()
    except InvalidRun as error:
        found["reason"] = str(error).removeprefix("no verdict: ")
    return found

"""The search for the highest rate at which a share of misses stays allowed. Pure.

Two kinds of measurements. A look says only where to search: it is short, and its requests count for
no verdict. A trial is judged by `sequential_test`, on requests of its own, at a rate that was
chosen before it began.

Error of many trials. Say that more than the allowed share misses above some rate, and at most that
share up to it. A trial above it that ends with PASS is the error. Each trial that does not end with
PASS makes the next one spend less: the trial after f of these spends beta / ((f + 1) (f + 2)). The
trials above that rate, up to the first wrong one, have different f, so that together they spend at
most beta. A trial that rightly ends with PASS costs nothing. The same holds of FAIL with alpha, for
the trials that do not end with FAIL. Source: B. Wiens, A fixed sequence Bonferroni procedure for
testing multiple endpoints, Pharmaceutical Statistics 2(3), 2003 (a level that a rejected hypothesis
leaves to the next).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.stats.sequential_test import (
    FAIL,
    PASS,
    UNDECIDED,
    Decision,
    Misses,
    decide,
    design_effect,
    independent_block,
)

S = 10**9
LOOK = "LOOK"
"""Status of a point whose requests count for no verdict."""
NO_VERDICT = "NO VERDICT"
"""Status of a point whose evidence speaks against a verdict."""

_STEP = 2.0
"""From one rate to the next, until the rate that is searched for lies between two."""
_CLOSE = 1.2
"""Ratio of two rates between which the logarithm of the share of misses is nearly a line."""
_LOOKED = 4.0
"""Misses that a first look has at the rate that is searched for."""
_CLEAR = 10.0
"""An eighth of a look is enough where that many times the allowed share misses."""
_REACH = 0.12
"""How far from the estimate a point counts for the line: standard deviation of the logarithm."""
_APART = 3.0
"""A rate is clear if its share of misses differs from the allowed one by this factor."""
_LOOKS = 0.3
"""The part of the budget that looks may spend."""
_PART = 0.45
"""How far from the rate that is searched for a trial is at least, as a part of `within`."""
_FIRST = {FAIL: 0.15, PASS: 0.3}
"""The part of what is left that the first trial for a bound may probably take."""
_CLOSER = 0.7
"""The same of a trial that brings a bound closer."""
_SURE = 2.5
"""How many standard errors of the place a trial is away from it, at least."""
_TRIALS_MAX = 24
_TRIAL_NS = 10 * S
"""The shortest trial, if the budget allows it: no verdict takes less."""
_FEW, _MANY = 0.2, 0.3
"""Bursts are those of rates at which more than this part of the allowed share, and at most that
share misses. Those of rates that fail count, because they are longer, and there are more."""
_MIXED = 1.5
"""What a mixture of bets costs, in logarithms of the odds, compared with the best of them."""


class Probe(Protocol):
    """What was measured at one rate, and may be measured on."""

    @property
    def missed(self) -> Misses:
        """Which requests missed, in order of arrival."""

    @property
    def saturated(self) -> bool:
        """Whether more requests came than were done."""

    @property
    def refused(self) -> str:
        """Why no verdict is possible; "" if one is."""

    @property
    def measured_ns(self) -> int:
        """Length of all that was measured, ns."""

    @property
    def block(self) -> int:
        """Requests in a block; see `sequential_test.decide`."""

    def measure_on(self) -> bool:
        """Measure more; return False if all the time of the probe was measured."""


_Floats: TypeAlias = NDArray[np.float64]
Measure = Callable[[float, int, int, bool], Probe]
"""Begins to measure: a rate in Hz, the shortest and the longest time in ns, whether it is alone."""


@dataclass(slots=True, kw_only=True)
class Point:
    """What one rate showed.

    Attributes:
        rate_hz: requests per second.
        status: `LOOK`, `NO_VERDICT`, ``"PASS"``, ``"FAIL"`` or ``"UNDECIDED"``.
        probe: what was measured.
        decision: of a trial; None: it was a look.
        alone: whether the queue had no other queue next to it.
    """

    rate_hz: float
    status: str
    probe: Probe
    decision: Decision | None = None
    alone: bool = False

    @property
    def n(self) -> int:
        """Requests that count."""
        return len(self.probe.missed)

    @property
    def misses(self) -> int:
        """Those that missed."""
        return int(np.count_nonzero(self.probe.missed))

    @property
    def failed(self) -> int:
        """Requests that speak against the rate: all, if it is saturated or cannot be judged."""
        return self.n if self.probe.saturated or self.probe.refused else self.misses

    @property
    def effect(self) -> float:
        """How many misses count for one independent miss; see `sequential_test`."""
        missed = self.probe.missed
        return design_effect(missed, independent_block(missed, self.probe.block), 1.0)


@dataclass(slots=True, kw_only=True)
class Found:
    """What a search found.

    Attributes:
        lower: the highest rate that was shown to hold; None: none was.
        upper: the lowest rate that was shown to fail; None: none was.
        rate_hz: where the share of misses is probably the allowed one; None: not known.
        points: in the order in which they were measured.
        ended: why the search ended.
        hopeless: whether the lowest rate was shown to fail.
    """

    lower: Point | None = None
    upper: Point | None = None
    rate_hz: float | None = None
    points: list[Point] = field(default_factory=list)
    ended: str = "the budget is spent"
    hopeless: bool = False

    @property
    def measured_ns(self) -> int:
        """Length of all that was measured, ns."""
        return sum(point.probe.measured_ns for point in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to search, and what it may cost.

    Attributes:
        allowed: share of requests that may miss, in (0, 1).
        start_hz: the first rate.
        lowest_hz: no lower rate is tried.
        highest_hz: no higher rate is tried.
        within: the search is over when `upper` / `lower` - 1 is at most this.
        budget_ns: the most that is measured.
        alpha: probability of any wrong FAIL.
        beta: probability of any wrong PASS.
        burst: requests that miss together, as long as no burst was seen.
        has_others: whether other queues are next to it.
    """

    allowed: float
    start_hz: float
    lowest_hz: float
    highest_hz: float
    within: float
    budget_ns: int
    alpha: float
    beta: float
    burst: float = 1.0
    has_others: bool = True


def search(plan: Plan, measure: Measure) -> Found:
    """Search for the highest rate at which at most the allowed share misses."""
    return _Search(plan, measure).run()


class _Search:
    def __init__(self, plan: Plan, measure: Measure) -> None:
        self._plan = plan
        self._measure = measure
        self._found = Found()
        self._not_passed = self._not_failed = 0

    def run(self) -> Found:
        found, plan = self._found, self._plan
        below, above = self._bracket()
        if not (below and above) and self._rest_ns < S:
            return found
        if below is None:
            self._show_hopeless()
        elif above is None:
            point = self._trial(plan.highest_hz, self._rest_ns)
            if point.status == PASS:
                found.ended = "the target holds at the highest rate that may be tried"
            elif self._rest_ns > 0:
                self._close(below, plan.highest_hz)
        else:
            self._close(below, above)
        return found

    # ---- time

    @property
    def _rest_ns(self) -> int:
        return self._plan.budget_ns - self._found.measured_ns

    def _looks_ns(self) -> int:
        """Return what looks may still spend."""
        used = sum(p.probe.measured_ns for p in self._found.points if p.decision is None)
        return int(min(self._rest_ns, _LOOKS * self._plan.budget_ns - used))

    # ---- looks

    def _bracket(self) -> tuple[float | None, float | None]:
        """Return two neighbours of the steps: one that seems to hold, one that seems to fail."""
        rate, below, above = self._bounded(self._plan.start_hz), None, None
        while True:
            if self._seems_to_fail(rate):
                above, following = rate, self._bounded(rate / _STEP)
            else:
                below, following = rate, self._bounded(rate * _STEP)
            if (below and above) or following == rate or self._rest_ns < S:
                return below, above
            rate = following

    def _seems_to_fail(self, rate_hz: float, times: float = 1.0) -> bool:
        """Measure a rate shortly, and one that is clear for an eighth of the requests only."""
        requests = times * _LOOKED / self._plan.allowed
        point = self._look(rate_hz, requests / 8)
        share = point.misses / max(1, point.n)
        if not point.probe.refused:  # else once more: the machine may have been busy
            if point.probe.saturated:
                return True
            if point.misses >= 5 and share > min(0.5, _CLEAR * self._plan.allowed):
                return True
        point = self._look(rate_hz, requests)
        if point.probe.refused or point.probe.saturated:
            return True
        return point.misses > self._plan.allowed * point.n

    def _look(self, rate_hz: float, requests: float) -> Point:
        time_ns = max(S, min(math.ceil(requests / rate_hz) * S, self._rest_ns))
        probe = self._measure(rate_hz, time_ns, time_ns, False)
        point = Point(rate_hz=rate_hz, status=NO_VERDICT if probe.refused else LOOK, probe=probe)
        self._found.points.append(point)
        return point

    # ---- trials

    def _trial(self, rate_hz: float, most_ns: int, least_ns: int = 0, alone: bool = False) -> Point:
        """Measure a rate until it is judged, or until its time is over."""
        plan = self._plan
        alpha = plan.alpha / ((self._not_failed + 1) * (self._not_failed + 2))
        beta = plan.beta / ((self._not_passed + 1) * (self._not_passed + 2))
        burst = self._burst()
        least_ns = max(S, min(least_ns, most_ns))
        probe = self._measure(rate_hz, least_ns, max(S, most_ns), alone)
        while True:
            decision = decide(
                probe.missed,
                allowed=plan.allowed,
                block=probe.block,
                alpha=alpha,
                beta=beta,
                burst=burst,
            )
            status = decision.status
            if status == PASS and probe.saturated:
                status = UNDECIDED  # its latencies grow with the time that is measured
            if probe.refused:
                status = NO_VERDICT
            left = (most_ns - probe.measured_ns) / S * rate_hz
            # What refused a verdict stays, and what needs more than is left is not decided.
            in_vain = probe.refused or decision.needed is None or decision.needed > left
            if status in (PASS, FAIL) or in_vain or not probe.measure_on():
                break
        self._not_passed += status != PASS
        self._not_failed += status != FAIL
        found = self._found
        point = Point(rate_hz=rate_hz, status=status, probe=probe, decision=decision, alone=alone)
        found.points.append(point)
        if alone:
            return point
        if status == PASS and (found.lower is None or rate_hz > found.lower.rate_hz):
            found.lower = point
        if status == FAIL and (found.upper is None or rate_hz < found.upper.rate_hz):
            found.upper = point
        return point

    def _show_hopeless(self) -> None:
        """Judge the lowest rate; if it fails, judge the queue alone at that rate."""
        found, lowest_hz = self._found, self._plan.lowest_hz
        point = self._trial(lowest_hz, self._rest_ns)
        if point.status == PASS:
            found.ended = "the lowest rate that may be tried holds, and a short look failed there"
        if point.status != FAIL:
            return
        found.hopeless = True
        found.ended = "the target fails at the lowest rate that may be tried"
        if self._plan.has_others:
            self._trial(lowest_hz, max(self._rest_ns, point.probe.measured_ns), alone=True)

    def _burst(self) -> float:
        """Return how many misses came together near the rate that is searched for."""
        allowed = self._plan.allowed
        seen = [p for p in self._found.points if p.misses >= 5 and p.misses < p.n and not p.alone]
        near = [p for p in seen if allowed * _FEW <= p.misses / p.n <= _MANY] or seen
        total = sum(point.misses for point in near)
        effects = sum(point.misses * point.effect for point in near)
        return max(self._plan.burst, effects / total if total else 1.0)

    # ---- between two rates

    def _close(self, below_hz: float, above_hz: float) -> None:
        """Find the place by looks, then show what holds below it and what fails above."""
        times, nearest = 1.0, 1 + self._plan.within / 2
        while self._looks_ns() > 0 and (
            above_hz > _CLOSE * below_hz
            # Where a little more is all at once too much, no line shows the place.
            or (above_hz > nearest * below_hz and self._is_cliff(below_hz, above_hz))
        ):
            times *= 1.5
            middle = self._bounded(math.sqrt(below_hz * above_hz))
            if self._seems_to_fail(middle, times):
                above_hz = middle
            else:
                below_hz = middle
        line = self._fit(math.log(below_hz * above_hz) / 2)
        side = 1
        while self._is_vague(line) and self._looks_ns() > 0:
            times *= 1.5
            offset = side * min(0.1, max(line.error, self._plan.within))
            requests = times * _LOOKED / self._plan.allowed
            rate = self._bounded(math.exp(line.crossing + offset))
            self._look(rate, min(requests, self._looks_ns() / S * rate))
            side = -side
            line = self._fit(line.crossing)
        self._show(line)

    def _is_vague(self, line: _Line) -> bool:
        """Check whether the place is not known well enough to choose the rate of a trial."""
        known = dataclasses.replace(line, error=0.0)
        margin, _ = self._margin(known, PASS, (1 - _LOOKS) / 2 * self._plan.budget_ns)
        return line.error > margin / 3

    def _bounded(self, rate_hz: float) -> float:
        """Return a rate that may be tried, as a report shows it: with four digits."""
        plan = self._plan
        return min(plan.highest_hz, max(plan.lowest_hz, float(f"{rate_hz:.4g}")))

    def _show(self, line: _Line) -> None:
        plan, found = self._plan, self._found
        widened, times = {PASS: 1.0, FAIL: 1.0}, 2.0
        for _ in range(_TRIALS_MAX):
            line = self._fit(line.crossing)
            found.rate_hz = math.exp(line.crossing)
            low = found.lower.rate_hz if found.lower else None
            high = found.upper.rate_hz if found.upper else None
            if low and high and high <= low * (1 + plan.within):
                found.ended = f"both bounds are within {100 * plan.within:g} %"
                return
            if self._rest_ns < S:
                break
            if (low and found.rate_hz <= low) or (high and found.rate_hz >= high):
                times *= 2
                line = self._begin_again(low, high, times)
                found.rate_hz = math.exp(line.crossing)
                if self._rest_ns < S:
                    break
            wanted = self._wanted(line, low, high, widened)
            part = _CLOSER if low and high else _FIRST[wanted]
            margin, needed = self._margin(line, wanted, part * self._rest_ns)
            margin *= widened[wanted]
            rate = self._bounded(math.exp(line.crossing + (margin if wanted == FAIL else -margin)))
            if wanted == FAIL and high is None:
                rate = max(rate, self._mostly_missed())
            if (low and rate <= low) or (high and rate >= high):
                found.ended = "closer bounds take more time than the budget has left"
                return
            # Judged from the requests on that it probably takes, because a trial that is judged
            # earlier passes as long as no burst has come.
            least_ns = int(max(needed * S / rate, _TRIAL_NS))
            most_ns = min(self._rest_ns, max(2 * least_ns, self._rest_ns // 4))
            point = self._trial(rate, most_ns, least_ns)
            if point.status not in (PASS, FAIL):
                widened[wanted] *= 1.6

    def _mostly_missed(self) -> float:
        """Return the lowest rate at which most requests missed, or 0: there a trial is short."""
        judged = [p for p in self._judged() if not p.probe.refused]
        return min((p.rate_hz for p in judged if 2 * p.failed >= p.n), default=0.0)

    def _wanted(
        self, line: _Line, low: float | None, high: float | None, widened: dict[str, float]
    ) -> str:
        """Return which bound the next trial is to show: the one that is missing, or farther.

        If both are missing: a rate that fails, which takes less time; and the other one after a
        trial that showed nothing.
        """
        if low is None and high is None:
            return FAIL if widened[FAIL] <= widened[PASS] else PASS
        if low is None or high is None:
            return PASS if low is None else FAIL
        return PASS if line.crossing - math.log(low) >= math.log(high) - line.crossing else FAIL

    def _begin_again(self, low: float | None, high: float | None, times: float) -> _Line:
        """Return a line through a look between the bounds: the looks before misled."""
        start = low or (high or 1.0) / _CLOSE
        end = high or start * _CLOSE
        middle = self._bounded(math.sqrt(start * end))
        self._look(middle, times * _LOOKED / self._plan.allowed)
        line = self._fit(math.log(middle))
        if start < math.exp(line.crossing) < end:
            return line
        return _Line(math.log(middle), line.error, line.slope)

    def _margin(self, line: _Line, wanted: str, time_ns: float) -> tuple[float, float]:
        """Return how far from the crossing a trial can be decided in a time, and the requests.

        Never closer than nearly half of `within`: closer bounds are not asked for. If no rate can
        be decided in that time: where a trial takes the least.
        """
        plan, effect = self._plan, self._burst()
        spent = self._not_passed if wanted == PASS else self._not_failed
        error = plan.beta if wanted == PASS else plan.alpha
        odds = math.log((spent + 1) * (spent + 2) / error) + _MIXED
        margin = max(_PART * math.log1p(plan.within), _SURE * line.error)
        fastest = (math.inf, margin, 0.0)
        while margin <= 1:
            change = margin if wanted == FAIL else -margin
            share = plan.allowed * math.exp(line.slope * change)
            requests = effect * odds / _divergence(min(0.9, share), plan.allowed)
            needed_ns = requests * S / math.exp(line.crossing + change)
            fastest = min(fastest, (needed_ns, margin, requests))
            if needed_ns <= time_ns:
                break
            margin *= 1.1
        return fastest[1:]

    def _fit(self, around: float) -> _Line:
        """Fit a line to the logarithm of the share of misses near a rate."""
        points = self._judged()
        line = fit(
            np.array([math.log(point.rate_hz) for point in points]),
            np.array([point.n for point in points], np.float64),
            np.array([point.failed for point in points], np.float64),
            allowed=self._plan.allowed,
            effect=self._burst(),
            around=around,
        )
        low, high = self._clear(points)
        if low is None or high is None:
            return line
        start, end = math.log(low.rate_hz), math.log(high.rate_hz)
        rise = math.log((high.failed + 0.5) / (high.n + 1) * (low.n + 1) / (low.failed + 0.5))
        room = min(end - start, self._plan.within) / 4  # for a trial on either side
        return _Line(
            crossing=min(end - room, max(start + room, line.crossing)),
            error=min(line.error, (end - start) / 3),
            slope=max(line.slope, rise / (end - start) / 2),
        )

    def _judged(self) -> list[Point]:
        """Return the points that say where the place is.

        One that cannot be judged says nothing if another one could be, at its rate or a higher one.
        """
        points = [p for p in self._found.points if p.n and not p.alone]
        highest_hz = max((p.rate_hz for p in points if not p.probe.refused), default=0.0)
        return [p for p in points if not p.probe.refused or p.rate_hz > highest_hz]

    def _clear(self, points: list[Point]) -> tuple[Point | None, Point | None]:
        """Return the closest two rates where one clearly holds and the other clearly fails."""
        allowed, burst = self._plan.allowed, self._burst()

        def effect(point: Point) -> float:
            return max(burst, point.effect)

        failing = [p for p in points if p.failed >= max(10 * effect(p), _APART * allowed * p.n)]
        high = min(failing, key=lambda p: p.rate_hz, default=None)
        holding = [
            p
            for p in points
            if allowed * p.n >= 4 * effect(p) and p.failed * _APART <= allowed * p.n
            if high is None or p.rate_hz < high.rate_hz
        ]
        return max(holding, key=lambda p: p.rate_hz, default=None), high

    def _is_cliff(self, below_hz: float, above_hz: float) -> bool:
        """Check whether one rate clearly holds and the next one clearly fails."""
        low, high = self._clear(self._judged())
        return (
            low is not None
            and high is not None
            and (low.rate_hz, high.rate_hz) == (below_hz, above_hz)
        )


@dataclass(frozen=True, slots=True)
class _Line:
    """Attributes: logarithm of the rate with the allowed share, its standard error, the slope."""

    crossing: float
    error: float
    slope: float


_SLOPE, _SLOPE_ERROR = 6.0, 6.0
"""What the slope is without any point: a tenth more requests, nearly twice as many misses."""
_SEEN = 3.0
"""Independent misses that have to lie near a rate, or points farther away count, too."""


def fit(
    logs: _Floats,
    n: _Floats,
    misses: _Floats,
    *,
    allowed: float,
    effect: float,
    around: float,
) -> _Line:
    """Return where the share of misses is the allowed one, by logistic regression on the rate.

    Points count less the farther they are from `around`. The slope has a weak prior, so that points
    at one rate do not make it infinite.

    Args:
        logs: logarithms of rates.
        n: requests at each rate.
        misses: those that missed.
        allowed: share that may miss.
        effect: misses that count for one independent miss.
        around: logarithm of the rate near which the line is needed.
    """
    x, reach = logs - around, _REACH
    while True:
        near = np.exp(-((x / reach) ** 2) / 2) / effect
        if near @ misses >= _SEEN or reach > 10:
            break
        reach *= 1.5
    level = math.log(allowed / (1 - allowed))
    a, b, prior = level, _SLOPE, 1 / _SLOPE_ERROR**2
    for _ in range(50):
        share = 1 / (1 + np.exp(-np.clip(a + b * x, -30, 30)))
        off, spread = near * (misses - n * share), near * n * share * (1 - share)
        # A weak prior of the level, too: one miss at `around`, or none.
        gradient = np.array([off.sum() - 0.1 * (a - level), off @ x - prior * (b - _SLOPE)])
        cross = float(spread @ x)
        inverse = np.linalg.inv(
            np.array([[spread.sum() + 0.1, cross], [cross, spread @ x**2 + prior]])
        )
        step = np.clip(inverse @ gradient, -1.0, 1.0)
        a, b = a + float(step[0]), max(1.0, b + float(step[1]))
        if float(np.abs(step).max()) < 1e-6:
            break
    crossing = (level - a) / b
    error = math.sqrt(np.array([1.0, crossing]) @ inverse @ np.array([1.0, crossing])) / b
    return _Line(around + min(0.5, max(-0.5, crossing)), error, b)


def _divergence(share: float, allowed: float) -> float:
    """Return how much a request adds to the logarithm of the odds, at best."""
    rest = (1 - share) * math.log((1 - share) / (1 - allowed))
    return max(1e-12, share * math.log(share / allowed) + rest)

"""The result of `xsched.find_rate`: the highest rate at which a target holds, with its bounds.

All that is asserted of it are statements about the same two bounds, which the search has paid for:
no assertion adds to the probability of a wrong one; see `rate_search`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_xsched.analysis.assertion import (
    Unjudged,
    asserts,
    place_in_the_test,
)
from pytest_xsched.analysis.final_verdict import Withdrawn, require_good
from pytest_xsched.analysis.latency_target import LatencyTarget
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.quantity import Quantity, show, show_given
from pytest_xsched.base.units import RateLike, format_duration, format_rate, parse_rate
from pytest_xsched.stats.sequential_test import FAIL, PASS, UNDECIDED

if TYPE_CHECKING:
    from pytest_xsched.analysis.run import Run
    from pytest_xsched.comparison.comparison import Comparison
    from pytest_xsched.stats.rate_search import Found, Point

__all__ = ["CurvePoint", "HighestRate", "Judged", "Request", "kind_of"]

Judged: TypeAlias = "Run | Comparison | HighestRate"
"""What has targets, and verdicts on them."""


def kind_of(judged: Judged) -> str:
    """Return the word for one of them, of the reports of failed tests."""
    if isinstance(judged, HighestRate):
        return "search"
    return "comparison" if hasattr(judged, "arms") else "run"


_ROUNDING = 1e-9
"""Of a rate that was written and one that was measured: 80/s is at least 80/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was searched.

    Attributes:
        queue: whose rate was varied.
        others: the queues next to it.
        target: what has to hold.
        lowest_hz: no lower rate was tried.
        highest_hz: no higher one.
        within: how far apart the bounds might be when the search ended.
        budget_ns: the most that was to be measured.
        option: the value of --xsched-duration that was this budget; None: the test named it.
        names_lowest: whether the test named the lowest rate.
        least_requests: how many requests the budget has at the lowest rate, if it did not.
        alpha: probability of any wrong FAIL.
        beta: of any wrong PASS.
    """

    queue: str
    others: tuple[str, ...]
    target: LatencyTarget
    lowest_hz: float
    highest_hz: float
    within: float
    budget_ns: int
    option: str | None
    names_lowest: bool
    least_requests: int
    alpha: float
    beta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What was measured at one rate.

    Attributes:
        rate_hz: requests per second that were offered.
        status: ``"LOOK"`` (only to find the place, no verdict), ``"PASS"``, ``"FAIL"``,
            ``"UNDECIDED"`` or ``"NO VERDICT"``.
        n: requests that count.
        misses: those that missed the limit of the target.
        measured_ns: how long was measured, ns.
        p50_ns: median of the latency; None: never.
        p95_ns: 95th percentile.
        p99_ns: 99th percentile.
        value_ns: the percentile that the target is about.
        saturated: whether more was offered than was done.
        alone: whether the queue had no other queue next to it.
        reason: why there is no verdict; "" if there may be one.
    """

    rate_hz: float
    status: str
    n: int
    misses: int
    measured_ns: int
    p50_ns: int | None
    p95_ns: int | None
    p99_ns: int | None
    value_ns: int | None
    saturated: bool
    alone: bool
    reason: str


class HighestRate:
    """The highest rate of a queue at which a target holds.

    Attributes:
        queue: name of the queue whose rate was varied.
        target: what has to hold.
        lower: the highest rate that was shown to hold; None: none was.
        upper: the lowest rate that was shown to fail; None: none was.
        rate: where the target probably begins to fail, for information only; None: not known.
        curve: the latency at each rate, in the order in which the rates were measured.
        ended: why the search ended.
        hopeless: whether the lowest rate that might be tried was shown to fail.
        measured_ns: length of all that was measured, without warm-ups, ns.
        verdicts: of what was asserted so far.
    """

    def __init__(
        self, *, request: Request, found: Found, curve: Sequence[CurvePoint], first: Run
    ) -> None:
        self.request = request
        self.queue, self.target = request.queue, request.target
        self.curve = tuple(curve)
        self.ended, self.hopeless = found.ended, found.hopeless
        self.measured_ns = found.measured_ns
        self.lower = _quantity(found.lower, f"rate of {self.queue} that was shown to hold")
        self.upper = _quantity(found.upper, f"rate of {self.queue} that was shown to fail")
        what = f"rate of {self.queue} at which {self.target} probably begins to fail"
        self.rate = None if found.rate_hz is None else Quantity(found.rate_hz, "Hz", what)
        self.origin, self.fixture = first.origin, first.fixture
        self.verdicts: list[Verdict] = []
        self.refused: list[dict[str, str]] = []
        """As of a run; the search itself raises where there can be no verdict."""
        self.undecided = "fail"
        """What becomes of an undecided target: ``"fail"`` or ``"warn"``."""
        self.check_marker: Callable[[], None] = lambda: None
        """See `Run.check_marker`."""
        self._found = found
        self._unjudged: list[Unjudged] = []
        record = first.to_dict()
        self._record = {
            key: record[key]
            for key in (
                *("scenario", "device_kind", "device_name"),
                *("fingerprint", "scheduler", "host"),
            )
        }

    @asserts
    def assert_sustains(self, rate: RateLike) -> None:
        """Assert that the target holds at a rate.

        PASS: it was shown to hold at that rate or at a higher one. FAIL: it was shown to fail at
        that rate or at a lower one. Neither: UNDECIDED.

        Args:
            rate: ``"80/s"`` or ``80 * per_s``.

        Raises:
            QosAssertionError: FAIL, or UNDECIDED unless that only warns.
            ScenarioError: it is no rate.
        """
        __tracebackhide__ = True
        hz = parse_rate(rate, what="rate of assert_sustains")
        self.check_marker()
        verdict = dataclasses.replace(self._verdict(hz), limit_origin=place_in_the_test())
        self.verdicts.append(verdict)
        require_good(verdict, self.undecided)

    def _verdict(self, hz: float) -> Verdict:
        lower, upper = self._found.lower, self._found.upper
        point: Point | None
        shown, what = show_given(hz, "Hz"), f"{self.target}{self._beside}"
        if lower is not None and hz <= lower.rate_hz * (1 + _ROUNDING):
            status, point = PASS, lower
            text = f"sustains {shown}: {what} was shown to hold at {_figures(lower)}"
        elif upper is not None and hz >= upper.rate_hz * (1 - _ROUNDING):
            status, point = FAIL, upper
            text = f"does not sustain {shown}: {what} was shown to fail at {_figures(upper)}"
            text += self._alone
        else:
            status, point = UNDECIDED, lower or upper
            text = f"may or may not sustain {shown}: {what} {self._bounds}; {self._way_out(hz)}"
        return Verdict(
            status=status,
            queue=self.queue,
            rule="sustained rate at least",
            value=point.rate_hz if point is not None else 0.0,
            limit=hz,
            unit="Hz",
            n=point.n if point is not None else 0,
            sentence=f"{self.queue}: {text}",
            decision=None if point is None else point.decision,
        )

    @property
    def _beside(self) -> str:
        others = self.request.others
        return f" next to {', '.join(others)}" if others else ""

    @property
    def _bounds(self) -> str:
        """Return both bounds in words."""
        parts = [
            f"{word} {bound}"
            for word, bound in (("hold at", self.lower), ("fail at", self.upper))
            if bound is not None
        ]
        return f"was shown to {' and to '.join(parts)}" if parts else "was shown at no rate"

    @property
    def _alone(self) -> str:
        """Describe what the queue does alone at a rate that is hopeless."""
        if not self.hopeless or not self.request.others:
            return ""
        found = {point.status for point in self._found.points if point.alone}
        if FAIL in found:
            return f"; {self.queue} fails alone, too"
        return f"; alone {self.queue} holds there" if PASS in found else ""

    def _way_out(self, hz: float) -> str:
        request = self.request
        name, value = "budget=", format_duration(request.budget_ns)
        if request.option is not None:
            name, value = "--xsched-duration", request.option
        if hz > request.highest_hz:
            limit = format_rate(request.highest_hz)
            return f"no rate above {limit} may be tried; highest= names a higher limit"
        if hz >= request.lowest_hz:
            return f"{self.ended}; a {name} above {value} would bring the bounds closer"
        limit = f"no rate below {format_rate(request.lowest_hz)} may be tried"
        if request.names_lowest:
            return f"{limit}; lowest= names a lower limit"
        least = f"{math.ceil(request.least_requests / hz)} s"
        return f"{limit} in {value}; a {name} of at least {least} can judge {format_rate(hz)}"

    def take_unjudged(self) -> list[Unjudged]:
        """Return the targets that got no verdict since the last call."""
        found = list(self._unjudged)
        self._unjudged.clear()
        return found

    def judge_again(self) -> list[Withdrawn]:
        """Return no verdict that fell: after the search nothing is measured."""
        return []

    def __repr__(self) -> str:
        return f"<HighestRate of {self.queue}: {self.target} {self._bounds}>"

    def to_dict(self) -> dict[str, Any]:
        """Return bounds, curve and verdicts in JSON's types: rates in Hz, times in ns."""
        request = self.request
        return {
            **self._record,
            "origin": self.origin,
            "fixture": self.fixture and dict(zip(("name", "scope"), self.fixture, strict=True)),
            "queue": self.queue,
            "target": self.target.to_dict(),
            "lower_hz": _value(self.lower),
            "upper_hz": _value(self.upper),
            "rate_hz": _value(self.rate),
            "lowest_hz": request.lowest_hz,
            "highest_hz": request.highest_hz,
            "within": request.within,
            "budget_ns": request.budget_ns,
            "measured_ns": self.measured_ns,
            "alpha": request.alpha,
            "beta": request.beta,
            "hopeless": self.hopeless,
            "ended": self.ended,
            "curve": [asdict(point) for point in self.curve],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "refused": list(self.refused),
        }


def _quantity(point: Point | None, what: str) -> Quantity | None:
    return None if point is None else Quantity(point.rate_hz, "Hz", what, f"n = {point.n}")


def _value(quantity: Quantity | None) -> float | None:
    return None if quantity is None else float(quantity.value)


def _figures(point: Point) -> str:
    """Return a rate with the requests that showed what it does."""
    decision = point.decision
    assert decision is not None
    may = int(decision.n * decision.allowed * (1 + 1e-12))
    plural = "es" if point.misses != 1 else ""
    figures = f"n = {point.n}, {point.misses} miss{plural}, {may} allowed"
    return f"{show(point.rate_hz, 'Hz')} ({figures})"

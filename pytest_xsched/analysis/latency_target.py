"""Targets as values: `p99_below("300ms")`, for what judges them at many rates.

Each names the requests that miss it, as the rule of its name in `targets` does, and the share that
may miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytest_xsched.analysis.queue_result import QueueResult, percentile_name
from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.units import (
    DurationLike,
    format_duration,
    one_line,
    parse_duration,
    parse_fraction,
    refuse_swapped,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.stats.sequential_test import Misses


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTarget:
    """A limit of the latency, and the share of requests that has to keep it.

    Made by `p99_below`, `p95_below`, `p999_below`, `percentile_below` and `attainment_at_least`.

    Attributes:
        share: of the requests that has to keep the limit, in (0, 1).
        limit_ns: the limit, ns.
        within: whether a latency that is equal to the limit keeps it, as a deadline does.
        latency: which latency of the requests, ``"first_token"``; "": the one to the completion.
    """

    share: float
    limit_ns: int
    within: bool = False
    latency: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.latency, str):
            raise ScenarioError(
                f"latency of a target: {one_line(self.latency)} is no name of a latency; write "
                'latency="first_token"'
            )

    @property
    def allowed(self) -> float:
        """The share of the requests that may miss the limit."""
        return round(1 - self.share, 12)

    def missed(self, queue: QueueResult) -> Misses:
        """Return which requests of a queue, or times of a latency of it, missed, in order."""
        latency_ns = queue.client_latency_ns
        missed: Misses = latency_ns > self.limit_ns if self.within else latency_ns >= self.limit_ns
        return missed

    def __str__(self) -> str:
        limit = format_duration(self.limit_ns)
        of = f" of {self.latency}" if self.latency else ""
        if self.within:
            return f"{100 * self.share:g} %{of} within {limit}"
        return f"{percentile_name(self.share)}{of} below {limit}"

    def to_dict(self) -> dict[str, Any]:
        """Return the target in JSON's types."""
        return {
            "text": str(self),
            "share": self.share,
            "limit_ns": self.limit_ns,
            "within": self.within,
            "latency": self.latency,
        }


@names_the_rest
def p95_below(limit: DurationLike, *, latency: str = "") -> LatencyTarget:
    """Return the target that the 95th percentile is below a limit; see `p99_below`."""
    limit_ns = parse_duration(limit, what="limit of p95_below")
    return LatencyTarget(share=0.95, limit_ns=limit_ns, latency=latency)


@names_the_rest
def p99_below(limit: DurationLike, *, latency: str = "") -> LatencyTarget:
    """Return the target that the 99th percentile of a latency is below a limit.

    Args:
        limit: ``"50ms"``, ``50 * ms`` or a timedelta.
        latency: which one, for requests with milestones: ``"first_token"``; "": the one to the
            completion.

    Raises:
        ScenarioError: the limit is not a time.
    """
    limit_ns = parse_duration(limit, what="limit of p99_below")
    return LatencyTarget(share=0.99, limit_ns=limit_ns, latency=latency)


@names_the_rest
def p999_below(limit: DurationLike, *, latency: str = "") -> LatencyTarget:
    """Return the target that P99.9 is below a limit; see `p99_below`."""
    limit_ns = parse_duration(limit, what="limit of p999_below")
    return LatencyTarget(share=0.999, limit_ns=limit_ns, latency=latency)


@names_the_rest
def percentile_below(q: float, limit: DurationLike, *, latency: str = "") -> LatencyTarget:
    """Return the target that a percentile of the latency is below a limit.

    Args:
        q: in (0, 1), 0.9 for P90.
        limit: ``"50ms"``, ``50 * ms`` or a timedelta.
        latency: as of `p99_below`.
    """
    refuse_swapped(limit, q, 'percentile_below(0.99, "50ms")')
    limit_ns = parse_duration(limit, what="limit of percentile_below")
    if isinstance(q, bool) or not isinstance(q, (int, float)) or not 0 < q < 1:
        raise ScenarioError(f"percentile {q!r} is outside (0, 1); P99 is 0.99")
    return LatencyTarget(share=float(q), limit_ns=limit_ns, latency=latency)


@names_the_rest
def attainment_at_least(
    deadline: DurationLike, fraction: str | float, *, latency: str = ""
) -> LatencyTarget:
    """Return the target that a share of the requests completes within a deadline.

    Args:
        deadline: ``"50ms"``, ``50 * ms`` or a timedelta.
        fraction: ``"99%"`` or 0.99, above 0 and below 1.
        latency: as of `p99_below`.
    """
    refuse_swapped(deadline, fraction, 'attainment_at_least("50ms", "99%")')
    deadline_ns = parse_duration(deadline, what="deadline of attainment_at_least")
    share = parse_fraction(fraction, what="fraction of attainment_at_least", allow_zero=False)
    if share == 1:
        raise ScenarioError(
            f"fraction of attainment_at_least: {fraction!r} allows no miss, and no number of "
            'requests shows that there is none; write "99.9%"'
        )
    return LatencyTarget(share=share, limit_ns=deadline_ns, within=True, latency=latency)

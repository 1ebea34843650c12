"""A figure under two schedulers: the effect, and the verdict on a target of it, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_xsched.analysis.comparability import Difference
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.quantity import show_apart
from pytest_xsched.stats.paired import Estimate, beyond, episodes_needed, show_bounds
from pytest_xsched.stats.sequential_test import FAIL, PASS, UNDECIDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A figure of a queue under a scheduler, against the same under the baseline.

    Attributes:
        ratio: scheduler / baseline.
        floor: the factor by which equal arms may differ as measured here; inf: not known.
    """

    ratio: Estimate
    floor: float

    @property
    def shown(self) -> bool:
        """Whether there is a difference: sure enough, and beyond the noise."""
        return beyond(self.ratio, self.floor)

    def to_dict(self) -> dict[str, Any]:
        """Return the effect in JSON's types."""
        floor = self.floor if math.isfinite(self.floor) else None
        return {"ratio": self.ratio.to_dict(), "floor": floor, "difference_shown": self.shown}


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioTarget:
    """A target of a ratio, judged.

    Attributes:
        rule: short, as `Verdict.rule`.
        what: whose ratio it is.
        ratio: as measured.
        floor: see `Effect`.
        relation: ``"at least"`` or ``"at most"``.
        limit: of the ratio.
        good: whether it is shown to be met.
        bad: whether it is shown to be missed.
    """

    rule: str
    what: str
    ratio: Estimate
    floor: float
    relation: str
    limit: float
    good: bool
    bad: bool

    def verdict(
        self, queue: str, n: int, forced: Sequence[Difference], latency: str = ""
    ) -> Verdict:
        """Return the verdict, in words.

        Args:
            queue: its name.
            n: requests under the baseline.
            forced: how the arms differ apart from the scheduler.
            latency: name of a latency to a milestone; "": the one to the completion, or a rate.
        """
        judged = f"{queue}.{latency}" if latency else queue
        status = PASS if self.good else FAIL if self.bad else UNDECIDED
        verb = {PASS: "is", FAIL: "is not"}.get(status, "may or may not be")
        count = len(self.ratio.episodes)
        noise = f"{self.floor:.4g}" if math.isfinite(self.floor) else "unknown"
        shown, limit = show_apart(self.ratio.value, self.limit, "")
        sentence = (
            f"{judged}: {self.what} {shown} {verb} {self.relation} {limit} "
            f"({show_bounds(self.ratio)}, {count} episode{'s' * (count > 1)}, noise {noise}"
            f"{'; ' + self._hint() if status == UNDECIDED else ''})"
        )
        rule = self.rule
        if forced:
            rule += " (forced)"
            more = f" and {len(forced) - 1} more" if len(forced) > 1 else ""
            sentence += f", FORCED although the runs differ: {forced[0]}{more}"
        return Verdict(
            status=status,
            queue=queue,
            latency=latency,
            rule=rule,
            value=self.ratio.value,
            limit=self.limit,
            unit="",
            n=n,
            sentence=sentence,
        )

    def _hint(self) -> str:
        """Describe what would decide it."""
        count = len(self.ratio.episodes)
        if count < episodes_needed():
            return f"at least {episodes_needed()} episodes are needed to decide anything"
        margin = abs(math.log(self.ratio.value / self.limit)) if self.limit > 0 else math.inf
        half = math.log(self.ratio.high / self.ratio.low) / 2
        if margin > half:
            return "within the noise of equal arms"
        more = math.ceil(count * (half / margin) ** 2) if margin > 0 else math.inf
        return (
            f"about {more} episodes would decide it"
            if more <= 1000
            else "too close to the limit to decide"
        )

"""What schedules a run, out of the name or the object that a test passes as scheduler."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, TypeAlias

from pytest_xsched.scenario.mps_settings import MPS
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.arguments import require_scheduler

SchedulerLike: TypeAlias = "str | XSched | MPS"


class Mechanism(NamedTuple):
    """A scheduler of `constants.SCHEDULERS`, with its settings."""

    name: str
    xsched: XSched | None
    mps: MPS | None


def mechanism_of(given: SchedulerLike) -> Mechanism:
    """Return the mechanism of a name or of an object with settings."""
    require_scheduler(given)
    if isinstance(given, XSched):
        return Mechanism("xsched", given, None)
    if isinstance(given, MPS):
        return Mechanism("mps", None, given)
    return Mechanism(
        given, XSched() if given == "xsched" else None, MPS() if given == "mps" else None
    )


def arm_name(given: SchedulerLike) -> str:
    """Return the name of the arm of a comparison with a scheduler."""
    return given if isinstance(given, str) else given.label


def for_queues(given: SchedulerLike, names: Collection[str]) -> SchedulerLike:
    """Return a scheduler without settings of other queues than some."""
    return given.for_queues(names) if isinstance(given, MPS) else given

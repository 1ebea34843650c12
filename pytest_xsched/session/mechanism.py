"""What schedules a run, out of the name or the object that a test passes as scheduler."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from pytest_xsched.base.policies import Policy, policy_of
from pytest_xsched.base.units import one_line
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.builds import Build
from pytest_xsched.scenario.mps_settings import MPS
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.arguments import require_scheduler

SchedulerLike: TypeAlias = "str | XSched | MPS"
LiveScheduler: TypeAlias = "str | XSched | None"
ArmLike: TypeAlias = "SchedulerLike | Build"


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


def arm_name(given: ArmLike) -> str:
    """Return the name of an arm of a comparison: its scheduler, or its build."""
    if isinstance(given, Build):
        return given.name
    return given if isinstance(given, str) else given.label


def scheduler_of(given: ArmLike) -> SchedulerLike:
    """Return the scheduler of an arm."""
    return given.scheduler if isinstance(given, Build) else given


def arms_by_name(given: object, names: Collection[str]) -> dict[str, ArmLike]:
    """Check what `compare` was given as schedulers, and return each by the name of its arm.

    Args:
        given: schedulers and builds.
        names: of the queues.
    """
    if not isinstance(given, (list, tuple)) or len(given) < 2:
        raise ScenarioError(
            f'compare(): schedulers {one_line(given)} are not two; write ["native", "builtin"]'
        )
    named: dict[str, ArmLike] = {}
    for arm in given:
        require_scheduler(scheduler_of(arm), "compare(): scheduler")
        name = arm_name(arm)
        if name in named:
            raise ScenarioError(
                f"compare(): schedulers {list(given)} name one twice; the first is measured "
                "against itself in any case"
            )
        for part in (arm, scheduler_of(arm)):
            if isinstance(part, (Build, MPS)):
                part.require_queues(names)
        named[name] = arm
    _require_different([arm for arm in named.values() if isinstance(arm, Build)])
    return named


def _require_different(builds: Sequence[Build]) -> None:
    """Raise ScenarioError where two builds run the same in all queues."""
    for first, second in itertools.combinations(builds, 2):
        if (first.workloads, first.scheduler) == (second.workloads, second.scheduler):
            raise ScenarioError(
                f"compare(): the builds {first.name!r} and {second.name!r} run the same; the first "
                "is measured against itself in any case"
            )


def replaced_queues(arms: Iterable[ArmLike]) -> set[str]:
    """Return the queues whose workloads differ between arms."""
    return {name for arm in arms if isinstance(arm, Build) for name in arm.workloads}


def for_queues(given: SchedulerLike, names: Collection[str]) -> SchedulerLike:
    """Return a scheduler without settings of other queues than some."""
    return given.for_queues(names) if isinstance(given, MPS) else given


def policy_of_queues(policy: str, xsched: XSched | None) -> Policy:
    """Return the policy of live queues: ours by its name, or that of XSched."""
    if xsched is None or xsched.policy == "none":
        return policy_of("builtin", policy if xsched is None else "none")
    return policy_of("xsched", xsched.policy)

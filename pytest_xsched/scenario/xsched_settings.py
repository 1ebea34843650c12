"""The user's own XSched as a scheduler, as data: which policy, which level, whose scheduler.

Source: XSched's C API (xsched/types.h and xsched/xsched.h of XpuOS/xsched), whose numbers and
names these are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from pytest_xsched.base import policies
from pytest_xsched.base.paths import expand_path
from pytest_xsched.base.units import Duration, DurationLike, one_line, parse_duration
from pytest_xsched.base.validation import checked_fields, checked_object, one_of, set_integer
from pytest_xsched.errors import ScenarioError

POLICY_NUMBERS = {"none": 0} | {
    policy.name: policy.number for policy in policies.XSCHED if policy.number is not None
}
"""XSched's numbers of its policies; "none" goes with the scheduler "app"."""
SCHEDULER_NUMBERS = {"app": 1, "local": 2, "global": 3}

_US = 1000
_TIMESLICE_US = (100, 10_000_000)  # XSched's own range
_K_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class XSched:
    """The real XSched, from the installation that ``--xsched-home`` or `home` names.

    Args:
        policy: ``"hpf"`` (highest priority first), ``"hhpf"``, ``"chpf"``, ``"up"`` (utilization
            partition), ``"pup"``, ``"kedf"`` (earliest deadline), ``"lax"`` (laxity), ``"awf"``,
            ``"cfs"`` or ``"mlfq"``; ``"none"`` with the scheduler ``"app"``.
        level: level of preemption, 1 to 3: stop launching, deactivate, interrupt. A level that the
            device lacks counts as 1. Levels 2 and 3 write registers of the GPU.
        scheduler: ``"local"`` (in the process), ``"global"`` (the xserver of the installation, for
            queues in processes of their own) or ``"app"`` (queues are held by `changes` only).
        timeslice: timeslice of the policies that have one, ``"5ms"``; None: XSched's default.
            XSched has one for a process, and not one for a queue.
        k: count of queues that run at once under ``"kedf"``; None: one.
        home: the directory of an installation, in place of that of the session. So one comparison
            holds two builds: ``schedulers=[XSched(home="main"), XSched(home="pr")]``.
    """

    policy: str = "hpf"
    level: int = 1
    scheduler: str = "local"
    timeslice: DurationLike | None = None
    k: int | None = None
    home: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        one_of("XSched: scheduler", self.scheduler, tuple(SCHEDULER_NUMBERS))
        if self.policy == "spup":
            raise ScenarioError(
                "XSched: XSched declares the policy 'spup', but does not implement it"
            )
        one_of("XSched: policy", self.policy, tuple(POLICY_NUMBERS))
        if (self.policy == "none") != (self.scheduler == "app"):
            raise ScenarioError(
                f"XSched: policy {self.policy!r} does not fit scheduler {self.scheduler!r}; "
                "'app' needs the policy 'none', the others need another one"
            )
        set_integer(self, "level", "XSched", 1, 3)
        if self.timeslice is not None:
            timeslice_ns = parse_duration(self.timeslice, what="XSched: timeslice")
            low, high = _TIMESLICE_US
            if not low * _US <= timeslice_ns <= high * _US:
                raise ScenarioError(
                    f"XSched: timeslice {Duration(timeslice_ns)} is outside "
                    f"[{Duration(low * _US)}, {Duration(high * _US)}]"
                )
            object.__setattr__(self, "timeslice", Duration(timeslice_ns))
        if self.k is not None:
            set_integer(self, "k", "XSched", 1, _K_MAX)
        if self.home is not None:
            object.__setattr__(self, "home", _path(self.home))

    @property
    def label(self) -> str:
        """Name of an arm of a comparison: "xsched hpf level 2 of build/pr"."""
        level = f" level {self.level}" if self.level != 1 else ""
        build = f" of {self.home}" if self.home is not None else ""
        return f"xsched {self.policy}{level}{build}"

    @property
    def timeslice_us(self) -> int:
        """The timeslice in whole us; 0 if there is none."""
        return self.timeslice.ns // _US if isinstance(self.timeslice, Duration) else 0


def read_xsched(data: Any) -> XSched | None:
    """Return the settings from their JSON; None: the scheduler is another one."""
    if data is None:
        return None
    values = checked_fields(XSched, {"home": None, **checked_object(data, "xsched")}, "xsched")
    if values["timeslice"] is not None:
        values["timeslice"] = Duration(**values["timeslice"])
    return XSched(**values)


def _path(given: object) -> str:
    text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else given
    if not isinstance(text, str) or not text or "\0" in text:
        raise ScenarioError(f"XSched: home {one_line(given)} is not the path of a directory")
    return expand_path(text, "XSched: home")

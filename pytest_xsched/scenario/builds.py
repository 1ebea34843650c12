"""Two builds of a program in one comparison: an arm with workloads of its own, as data."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from pytest_xsched.base.units import one_line
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.mps_settings import MPS
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.workload import Workload
from pytest_xsched.scenario.xsched_settings import XSched


@dataclass(frozen=True, slots=True)
class Build:
    """An arm of `compare` in which some queues have other workloads, such as another build.

    Args:
        name: of the arm: ``"pr"``.
        workloads: by name of a queue, what it runs in this arm: ``{"server": command([...],
            env={"LD_LIBRARY_PATH": "build/pr"})}``. The others run what `compare` was given.
        scheduler: of the arm, as of `run`.
    """

    name: str
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    scheduler: str | XSched | MPS = "native"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.+-]*", self.name):
            raise ScenarioError(
                f"Build: {one_line(self.name)} is not a name of letters, digits and . _ + -; write "
                'Build("pr", {"server": command([...])})'
            )
        if self.name == "alone":
            raise ScenarioError(
                'Build: "alone" is the arm in which a queue is alone; write another name'
            )
        given = self.workloads
        if not isinstance(given, Mapping) or not all(
            isinstance(workload, Workload) for workload in given.values()
        ):
            raise ScenarioError(
                f"Build {self.name!r}: {one_line(given)} are not workloads by name of a queue; "
                'write {"server": command([...])}'
            )

    def require_queues(self, names: Collection[str]) -> None:
        """Raise ScenarioError if a queue that has a workload here is not among some."""
        for name in self.workloads:
            if name not in names:
                raise ScenarioError(
                    f"Build {self.name!r} names queue {name!r}; known: {', '.join(sorted(names))}"
                )

    def apply(self, queue: QueueSpec) -> QueueSpec:
        """Return a queue with its workload in this arm."""
        workload = self.workloads.get(queue.name)
        return queue if workload is None else replace(queue, workload=workload)

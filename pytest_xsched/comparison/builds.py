"""What the queues of a comparison ran where arms are builds: their workloads and mapped files."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from pytest_xsched.analysis.run import Run

if TYPE_CHECKING:
    from pytest_xsched.analysis.comparability import Record
    from pytest_xsched.comparison.comparison import Comparison


def describe_builds(comparison: Comparison) -> list[dict[str, Any]]:
    """Return, of each queue whose workload differs between arms, what it ran in each arm.

    The libraries and programs that were mapped are known of programs, and the first run of an arm
    stands for all.
    """
    arms = (comparison.baseline, *comparison.schedulers)
    first = {arm: comparison.arms[arm][0] for arm in arms}
    found = []
    for queue in comparison.queues:
        plain = {arm: _workload(first[arm].record, queue) for arm in arms}
        if all(one == plain[comparison.baseline] for one in plain.values()):
            continue
        mapped = {arm: _mapped(first[arm].run, queue) for arm in arms}
        for arm in arms:
            others = set().union(*(mapped[other] for other in arms if other != arm))
            label = first[arm].numbers(queue)["workload"]
            program = plain[arm]["program"]
            variables = () if program is None else program["env"]
            with_them = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables)
            found.append(
                {
                    "arm": arm,
                    "queue": queue,
                    "workload": f"{label} with {with_them}" if with_them else label,
                    "mapped": len(mapped[arm]),
                    "mapped_here_only": sorted(mapped[arm] - others),
                }
            )
    return found


def _workload(run: Record, queue: str) -> Record:
    (spec,) = (spec for spec in run["scenario"]["queues"] if spec["name"] == queue)
    return dict(spec["workload"])


def _mapped(run: object, queue: str) -> set[str]:
    return set(run.evidence.program_files.get(queue, ())) if isinstance(run, Run) else set()

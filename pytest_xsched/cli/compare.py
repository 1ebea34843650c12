"""`pytest-xsched compare A B`: the runs of two JSON files, paired by their scenario.

Runs of one scenario and scheduler are paired in the order of the files. What is left over is paired
with runs of the same scenario under another scheduler. Each pair is one episode of a comparison.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_xsched.analysis.comparability import likeness, machine_part
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.comparison.existing_runs import compare_runs
from pytest_xsched.comparison.pairs import Judgement, judge_pairs
from pytest_xsched.errors import IncomparableError, ScenarioError
from pytest_xsched.reporting import comparison_table
from pytest_xsched.reporting.json_export import part_of, read_content
from pytest_xsched.reporting.run_table import Record, title

_KEYS = {"scenario", "queues", "fingerprint", "evidence", "scheduler", "measured_ns"}
_SCENARIO_KEYS = {"duration_ns", "seed", "scheduler", "policy", "xsched", "processes", "changes"}
_QUEUE_KEYS = {"name", "n", "p50_ns", "p95_ns", "p99_ns", "throughput_hz", "offered_hz"}
_DEVICE_KEYS = {"kind", "index", "driver_version", "kernel_driver_version"}
"""What is read of a run, of its scenario, and of each of its queues and devices."""


@dataclass(slots=True)
class Result:
    """Everything that a comparison of two files found.

    Attributes:
        comparisons: one a scenario that both files have, each with the judgements of its queues.
        notes: what was not compared, and why, in sentences.
    """

    comparisons: list[tuple[Comparison, list[Judgement]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def worse(self) -> bool:
        """Whether a queue is worse in B."""
        return any(one.status == "worse" for _, judged in self.comparisons for one in judged)

    @property
    def nothing_compared(self) -> bool:
        """Whether there was no scenario that both files have and that could be compared."""
        return not self.comparisons

    @property
    def undecided(self) -> bool:
        """Whether B may be worse in something that was not compared, or not decided."""
        for _, judged in self.comparisons:
            statuses = {one.status for one in judged}
            if statuses & {"undecided", "not compared"} or statuses == {"no figure"}:
                return True
        return bool(self.notes)

    def lines(self) -> list[str]:
        """Return the result as text."""
        lines = []
        for comparison, judged in self.comparisons:
            lines += comparison_table.table(comparison.to_dict())
            lines += [f"  {one.status.upper()} {one.sentence}" for one in judged]
        lines += self.notes
        if self.undecided and not (self.worse or self.nothing_compared):
            lines.append("UNDECIDED whether B is worse: not everything was compared and decided")
        return lines

    def to_json(self) -> str:
        """Return the result as one JSON object."""
        found = [
            {
                **{key: value for key, value in c.to_dict().items() if key != "arms"},
                "judgements": [dataclasses.asdict(one) for one in judged],
            }
            for c, judged in self.comparisons
        ]
        return json.dumps(
            {
                "worse": self.worse,
                "undecided": self.undecided,
                "comparisons": found,
                "notes": self.notes,
            },
            indent=2,
        )


def compare_files(a: Path, b: Path) -> Result:
    """Compare two files of --xsched-json.

    Raises:
        ScenarioError: a file cannot be read or holds no runs.
    """
    result = Result()
    for first, second in _pairs(read_runs(a), read_runs(b)):
        _compare(first, second, result)
    return result


def read_runs(path: Path) -> list[Record]:
    """Read the runs of a file of --xsched-json.

    Raises:
        ScenarioError: it cannot be read, is not such a file, or holds no runs.
    """
    way_out = f"write it with `pytest --xsched-json={path}`"
    runs = part_of(path, read_content(path, way_out), "runs", way_out)
    if not isinstance(runs, list) or not all(_is_run(run) for run in runs):
        raise ScenarioError(f"{path} has runs of another format; {way_out}")
    if not runs:
        raise ScenarioError(f"{path} holds no runs; {way_out}")
    return runs


def _is_run(run: Any) -> bool:
    if not (isinstance(run, dict) and run.keys() >= _KEYS):
        return False
    try:
        likeness(run, scheduler=True)
        return (
            run["scenario"].keys() >= _SCENARIO_KEYS
            and run["evidence"].keys() >= {"faults", "queue_faults"}
            and all(queue.keys() >= _QUEUE_KEYS for queue in run["queues"])
            and all(device.keys() >= _DEVICE_KEYS for device in run["fingerprint"]["devices"])
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _pairs(a: list[Record], b: list[Record]) -> list[tuple[list[Record], list[Record]]]:
    """Group the runs of two files by scenario; one side is empty where a file has none."""
    pairs = []
    for scheduler in (True, False):
        groups_a, groups_b = (_grouped(runs, scheduler=scheduler) for runs in (a, b))
        both = [key for key in groups_a if key in groups_b]
        pairs += [(groups_a[key], groups_b[key]) for key in both]
        a, b = (
            [run for key, runs in groups.items() if key not in both for run in runs]
            for groups in (groups_a, groups_b)
        )
    return [*pairs, *(([run], []) for run in a), *(([], [run]) for run in b)]


def _grouped(runs: list[Record], *, scheduler: bool) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for run in runs:
        fields = likeness(run, scheduler=scheduler)
        key = json.dumps({k: v for k, v in fields.items() if not machine_part(k)}, sort_keys=True)
        groups.setdefault(key, []).append(run)
    return groups


def _compare(first: list[Record], second: list[Record], result: Result) -> None:
    name = title((first or second)[0])
    if not first or not second:
        result.notes.append(f"only in {'A' if first else 'B'}: {name}")
        return
    count = min(len(first), len(second))
    if len(first) != len(second):
        result.notes.append(
            f"A has {len(first)} and B {len(second)} runs of {name}: the first {count} of each "
            "are compared"
        )
    try:
        comparison = compare_runs(first[:count], second[:count])
    except IncomparableError as error:
        result.notes.append(f"not comparable: {name}: {'; '.join(map(str, error.differences))}")
        return
    judged = [judge_pairs(comparison, queue) for queue in comparison.queues]
    result.comparisons.append((comparison, judged))

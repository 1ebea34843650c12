"""Comparisons of runs that exist already, also out of files: like with like, or marked as not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pytest_xsched.assertions import Run
from pytest_xsched.comparison import Comparison
from pytest_xsched.episode import Measured
from pytest_xsched.errors import IncomparableError, ScenarioError
from pytest_xsched.likeness import Difference, Record, differences

Arm: TypeAlias = "Measured | Sequence[Measured]"


def compare_runs(
    baseline: Arm,
    scheduled: Arm,
    *,
    alone: Mapping[str, Arm] | None = None,
    force: bool = False,
) -> Comparison:
    """Compare runs, of which only the scheduler may differ.

    Args:
        baseline: a run or one out of a JSON file, or a list of them, one an episode.
        scheduled: as many, under another scheduler.
        alone: runs of one queue each, by its name.
        force: compare even if more differs; the report, the JSON file and JUnit then say so.

    Raises:
        IncomparableError: more than the scheduler differs; names the fields with both values.
        ScenarioError: the arms have different numbers of episodes, or no queue in common.
    """
    first, second = _episodes(baseline), _episodes(scheduled)
    single = {name: _episodes(arm) for name, arm in (alone or {}).items()}
    counts = {len(runs) for runs in (first, second, *single.values())}
    if len(counts) != 1 or 0 in counts:
        raise ScenarioError(f"arms of {sorted(counts)} runs; each needs one run an episode")
    every = [*first, *second, *itertools.chain.from_iterable(single.values())]
    if len({id(run) for run in every}) < len(every):
        raise ScenarioError("compare_runs(): a run is named twice; one run is one episode")
    found = unlike([*first, *second], list(itertools.chain.from_iterable(single.values())))
    if found and not force:
        raise IncomparableError.of(found)
    names = [record["scheduler"] for record in map(_record, (first[0], second[0]))]
    if names[0] == names[1]:
        names = [f"{names[0]} before", f"{names[1]} now"]
    queues = _queues(first[0])
    arms = {f"{name} alone": runs for name, runs in single.items()}
    arms |= {names[0]: first, names[1]: second}
    return Comparison(
        arms,
        queues=[name for name in queues if name in _queues(second[0])],
        baseline=names[0],
        schedulers=[names[1]],
        forced=found,
    )


def unlike(runs: Sequence[Measured], single: Sequence[Measured]) -> list[Difference]:
    """List in what runs differ from the first of them, but for the scheduler.

    Args:
        runs: of the same queues.
        single: of one queue each: there only what is not about the others counts.
    """
    first = _record(runs[0])
    found = {
        str(difference): difference
        for run in runs[1:]
        for difference in differences(first, _record(run))
    }
    for run in single:
        own = _queues(run)
        for difference in differences(first, _record(run)):
            part, _, rest = difference.field.partition(".")
            if part != "queues" or rest.partition(".")[0] in own:
                found[str(difference)] = difference
    return list(found.values())


def _episodes(arm: Arm) -> list[Measured]:
    return [arm] if isinstance(arm, (Run, Mapping)) else list(arm)


def _record(run: Measured) -> Record:
    return run.to_dict() if isinstance(run, Run) else dict(run)


def _queues(run: Measured) -> list[Any]:
    return [queue["name"] for queue in _record(run)["queues"]]

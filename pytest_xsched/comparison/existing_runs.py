"""Comparisons of runs that exist already, also out of files: like with like, or marked as not."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pytest_xsched.analysis.comparability import Difference, Record, differences
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.units import format_duration
from pytest_xsched.base.validation import check_flag
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.comparison.episode import Measured
from pytest_xsched.errors import IncomparableError, ScenarioError

Arm: TypeAlias = "Measured | Sequence[Measured]"

_OF_A_RUN = {"scenario", "queues", "fingerprint", "evidence", "scheduler"}
_RUNS = (
    "pass what xsched.run() gave, or of a file of --xsched-json one of "
    'json.load(file)["xsched"]["runs"], or a list of such'
)


def compare_runs(
    baseline: Arm,
    scheduled: Arm,
    *,
    alone: Mapping[str, Arm] | None = None,
    force: bool = False,
) -> Comparison:
    """Compare runs that differ in nothing but the scheduler.

    Those of a file of --xsched-json are ``json.load(file)["xsched"]["runs"]``, in the order in
    which they were made.

    Args:
        baseline: a run or one out of a JSON file, or a list of them, one an episode.
        scheduled: as many, under another scheduler.
        alone: runs of one queue each, by its name.
        force: compare even if more differs; the report, the JSON file and JUnit then say so.

    Raises:
        IncomparableError: more than the scheduler differs; names the fields with both values.
        ScenarioError: what is passed is no run; the arms have different numbers of episodes, or no
            queue in common; or a run of `alone` has other queues.
    """
    if alone is not None and not isinstance(alone, Mapping):
        raise ScenarioError(
            f'compare_runs(): alone {reprlib.repr(alone)} is no dict; write {{"high": run}}'
        )
    check_flag("compare_runs(): force", force)
    first, second = _episodes(baseline), _episodes(scheduled)
    single = {name: _episodes(arm) for name, arm in (alone or {}).items()}
    counts = {len(runs) for runs in (first, second, *single.values())}
    if len(counts) != 1 or 0 in counts:
        raise ScenarioError(f"arms of {sorted(counts)} runs; each needs one run an episode")
    every = [*first, *second, *itertools.chain.from_iterable(single.values())]
    if len({id(run) for run in every}) < len(every):
        raise ScenarioError("compare_runs(): a run is named twice; one run is one episode")
    for name, runs in single.items():
        for there in map(_queues, runs):
            if there != [name]:
                raise ScenarioError(
                    f"compare_runs(): alone of {name!r} is a run of {', '.join(there)}; it takes "
                    "runs of this queue only"
                )
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


def unlike(
    runs: Sequence[Measured], single: Sequence[Measured], *, replaced: Collection[str] = ()
) -> list[Difference]:
    """List in what runs differ from the first of them, but for the scheduler.

    How long they were measured counts: a run that stopped when its target was decided shows another
    part of the load than one that went on.

    Args:
        runs: of the same queues.
        single: of one queue each: there only what is not about the others counts.
        replaced: queues whose workloads differ on purpose, by builds.
    """
    first = _record(runs[0])
    found = {
        str(difference): difference
        for run in runs[1:]
        for difference in _unlike(first, _record(run), replaced)
    }
    for run in single:
        own = _queues(run)
        for difference in _unlike(first, _record(run), replaced):
            part, _, rest = difference.field.partition(".")
            if part != "queues" or rest.partition(".")[0] in own:
                found[str(difference)] = difference
    return list(found.values())


def _unlike(first: Record, other: Record, replaced: Collection[str] = ()) -> list[Difference]:
    """List the fields in which two runs differ, and how long they were measured if that does."""
    parts = ("workload", "kernels", "framework")
    of_builds = {f"queues.{name}.{part}" for name in replaced for part in parts}
    found = [one for one in differences(first, other) if one.field not in of_builds]
    lengths = [record.get("measured_ns") for record in (first, other)]
    if None not in lengths and lengths[0] != lengths[1]:
        a, b = (format_duration(ns) for ns in lengths if ns is not None)
        advice = "; `-o xsched_fixed_duration=yes` measures all of the duration"
        found.append(Difference(field="measured", first=a, second=b, advice=advice))
    return found


def _episodes(arm: Arm) -> list[Measured]:
    no_list = isinstance(arm, (Run, Mapping, str)) or not isinstance(arm, Iterable)
    runs: list[Any] = [arm] if no_list else list(arm)
    for run in runs:
        if not (isinstance(run, Run) or (isinstance(run, Mapping) and run.keys() >= _OF_A_RUN)):
            raise ScenarioError(f"compare_runs(): {_shown(run)} is no run; {_RUNS}")
        if isinstance(run, Mapping) and not isinstance(run["fingerprint"], Mapping):
            raise ScenarioError(
                "compare_runs(): a run of a comparison in a file names parts that are elsewhere in "
                f"the file; {_RUNS}"
            )
    return runs


def _shown(given: object) -> str:
    if isinstance(given, Mapping):
        return f"a dict of {', '.join(map(repr, given)) or 'nothing'}"
    return reprlib.repr(given)


def _record(run: Measured) -> Record:
    return run.to_dict() if isinstance(run, Run) else dict(run)


def _queues(run: Measured) -> list[Any]:
    return [queue["name"] for queue in _record(run)["queues"]]

"""Baselines of a session: its runs are compared with the stored ones, then stored.

A stored run was measured at another time, so differences between sessions are part of it. Only
many stored runs show how large these are. To compare schedulers, use `compare`.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_xsched.analysis.comparability import Difference, Record, differences, machine_part
from pytest_xsched.analysis.queue_result import percentile_name
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.quantity import show
from pytest_xsched.comparison.baseline_store import Baseline
from pytest_xsched.comparison.episode import STORED, falls_behind, first_with_a_figure
from pytest_xsched.comparison.stored_line import no_figure
from pytest_xsched.reporting.json_export import commit_info
from pytest_xsched.reporting.run_table import title
from pytest_xsched.stats.kept_runs import FEWEST, is_below, is_beyond
from pytest_xsched.stats.sequential_test import FAIL

RUNS_NEEDED = 19
"""Of 20 runs that differ by chance only, one is the worst: 5 %. A run that is worse than all stored
runs shows something only if at least 19 are stored."""
RUNS_NEEDED_BUT_ONE = 39
"""With 39 stored runs it may be better than one of them, or one bad run that was stored would hide
all that is worse later: of 40 runs two are the worst, 5 % as well."""
MARGIN = 0.1
"""And it must differ from their median by more than this share, unless --xsched-regression names
another one: then FEWEST stored runs can show something; see `kept_runs`."""

_HISTORY_MAX = 100
"""The most stored runs in the history of a queue."""

FAILED, NOT_APPLICABLE = 1, 8
"""Exit statuses: a run is shown to be worse; a run was to be compared, and that was not possible or
did not decide whether it is worse."""
_STATUSES = {
    "worse": FAILED,
    "failed": FAILED,
    "not applicable": NOT_APPLICABLE,
    "no baseline": NOT_APPLICABLE,
    "not compared": NOT_APPLICABLE,
    "undecided": NOT_APPLICABLE,
}
_IS_WORSE = (
    "it is worse than the stored runs, and would hide that the next one is; to accept it, run with "
    "--xsched-save and without --xsched-compare"
)
_ALTHOUGH = (
    ", although it may be worse, because chance does that to equal builds, too; if the build is to "
    "blame, delete that line"
)
_OF_THE_WORKLOAD = re.compile(r"queues\..+\.(workload|kernels|framework)")
_FIELDS_SHOWN = 5
"""Of those in which the nearest stored run differs: another test differs in all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """What came of one queue, one run or one line of a file.

    Attributes:
        status: ``"first"`` (no stored run is alike, and this one is stored), ``"worse"``,
            ``"better"``, ``"no difference shown"``, ``"undecided"`` (worse than all stored runs,
            which are too few to show it), ``"no figure"`` (on neither side, while another queue of
            the run was compared), ``"not compared"`` (a figure on one side only, or none of the run
            at all), ``"not applicable"``, ``"no baseline"``, ``"damaged"``, ``"saved"``, ``"not
            saved"`` or ``"failed"`` (to read or write).
        sentence: all of it in words.
        origin: node id of the test that made the run.
        unit: of `history`: ``"ns"`` or ``"Hz"``.
        history: time and figure of the stored runs with which the run was compared, and at last
            its own; None: never. Empty where there is no such figure.
    """

    status: str
    sentence: str
    origin: str = ""
    unit: str = ""
    history: tuple[tuple[str, float | None], ...] = ()

    def to_dict(self) -> Record:
        """Return the result in JSON's types."""
        return asdict(self)


def exit_status(findings: Iterable[Record]) -> int:
    """Return the exit status that findings ask for; 0: none."""
    statuses = [_STATUSES.get(finding["status"], 0) for finding in findings]
    return FAILED if FAILED in statuses else max(statuses, default=0)


def compare_and_store(
    runs: list[Run],
    *,
    compare: Baseline | None,
    save: Baseline | None,
    rootdir: Path,
    regression: float | None = None,
    first_passes: bool = True,
) -> list[BaselineResult]:
    """Compare the runs of a session with one baseline, then add them to another.

    Where both are the same one, a run that is worse is not added. One that may be worse is: it may
    be chance, and without such runs the stored ones would be the best ones only.

    Args:
        runs: all of the session.
        compare: with what; None: not.
        save: where; None: not.
        rootdir: of the tests, for the commit they are of.
        regression: the margin by which a run must be worse than few stored ones; None: few show
            nothing.
        first_passes: whether a run that is the first of its kind, and is stored, is green.
    """
    found: list[BaselineResult] = []
    statuses: list[set[str]] = [set() for _ in runs]
    same = compare is not None and save is not None and compare.path == save.path
    try:
        if compare is not None:
            kept = compare.read()
            found += [BaselineResult(status="damaged", sentence=text) for text in kept.damaged]
            begins = same and first_passes and not kept.damaged
            for place, run in enumerate(runs):
                results = _compare_or_begin(run, kept.entries, compare, regression, begins=begins)
                found += results
                if same:
                    statuses[place] = {result.status for result in results}
        if save is not None:
            found += _store_all(save, runs, rootdir, statuses)
    except OSError as error:
        found.append(BaselineResult(status="failed", sentence=f"baselines: {error}"))
    return found


def _store_all(
    baseline: Baseline, runs: list[Run], rootdir: Path, statuses: list[set[str]]
) -> list[BaselineResult]:
    """Store the runs, each unless it is worse than those that are stored there."""
    commit, found = commit_info(rootdir), []
    for run, of_run in zip(runs, statuses, strict=True):
        name = title(run.to_dict())
        if reasons := [*_why_not_stored(run), *([_IS_WORSE] if "worse" in of_run else [])]:
            sentence = f"{name} is not stored: {'; '.join(reasons)}"
            found.append(BaselineResult(status="not saved", sentence=sentence, origin=run.origin))
            continue
        try:
            key = baseline.store(run, commit)
        except OSError as error:  # those that were stored before are stored
            sentence = f"baselines: {name} is not stored: {error}"
            found.append(BaselineResult(status="failed", sentence=sentence, origin=run.origin))
            continue
        sentence = f"{name} is stored in {baseline.path} as {key}"
        if "undecided" in of_run:
            sentence += _ALTHOUGH
        found.append(BaselineResult(status="saved", sentence=sentence, origin=run.origin))
    return found


def _why_not_stored(run: Run) -> list[str]:
    """Return a sentence for each fact that makes a run unfit to be compared with."""
    missed = [verdict.sentence for verdict in run.verdicts if verdict.status == FAIL]
    missed += run.plain_misses
    return [*run.evidence.faults, *(f"it missed a target: {text}" for text in missed)]


def _compare_or_begin(
    run: Run,
    entries: list[Record],
    baseline: Baseline,
    regression: float | None,
    *,
    begins: bool,
) -> list[BaselineResult]:
    """Compare a run with the stored ones of the same scenario, scheduler and machine.

    Args:
        run: of the session.
        entries: of the baseline.
        baseline: with which.
        regression: see `compare_and_store`.
        begins: whether a run that is stored there afterwards may be the first one.
    """
    results = _compare(run, entries, baseline, regression)
    if not begins or results[0].status != "no baseline" or _why_not_stored(run):
        return results
    sentence = f"{title(run.to_dict())} is the first of its kind in {baseline.path}"
    if entries:
        sentence += f", compared with nothing: {results[0].sentence.partition(': ')[2]}"
    if count := _with_other_workloads(run, entries):
        sentence += (
            f"; {count} stored run{'s' * (count > 1)} of this test differ{'s' * (count == 1)} in "
            "nothing but the workload, and while it changes nothing is compared: "
            "xsched_first_run=fail makes that exit status 8"
        )
    return [BaselineResult(status="first", sentence=sentence, origin=run.origin)]


def _with_other_workloads(run: Run, entries: list[Record]) -> int:
    """Count the stored runs of the same test that differ in what their queues ran only."""
    record = run.to_dict()
    found = (
        differences(entry["run"], record, scheduler=True)
        for entry in entries
        if entry["run"].get("origin") == run.origin
    )
    return sum(all(_OF_THE_WORKLOAD.fullmatch(one.field) for one in fields) for fields in found)


def _compare(
    run: Run, entries: list[Record], baseline: Baseline, regression: float | None
) -> list[BaselineResult]:
    record = run.to_dict()
    name, origin = title(record), run.origin
    found = [differences(entry["run"], record, scheduler=True) for entry in entries]
    alike = [entry for entry, fields in zip(entries, found, strict=True) if not fields]
    elsewhere = [f for f in found if f and all(machine_part(one.field) for one in f)]
    if not alike and not elsewhere:
        sentence = f"no baseline for {name} in {baseline.path}: {_nearest(found)}"
        return [BaselineResult(status="no baseline", sentence=sentence, origin=origin)]
    if not alike:
        fields = "; ".join(map(str, elsewhere[-1]))
        sentence = f"baseline not applicable to {name}: {fields}"
        return [BaselineResult(status="not applicable", sentence=sentence, origin=origin)]
    kept = [entry["run"] for entry in alike]
    judged = [_judge(record, queue, kept, regression) for queue in record["queues"]]
    if all(status == "no figure" for status, _ in judged):  # or pytest would exit with 0
        judged = [("not compared", sentence) for _, sentence in judged]
    results = []
    for queue, (status, sentence) in zip(record["queues"], judged, strict=True):
        unit, history = _history(record, queue, alike)
        results.append(
            BaselineResult(
                status=status,
                sentence=f"{name}: {sentence}",
                origin=origin,
                unit=unit,
                history=history,
            )
        )
    return results


def _history(
    record: Record, queue: Record, entries: list[Record]
) -> tuple[str, tuple[tuple[str, float | None], ...]]:
    """Return the unit and the figures of a queue in the stored runs, and at last in this one."""
    key, unit = ("throughput_hz", "Hz") if queue["offered_hz"] is None else ("p99_ns", "ns")
    stored = [
        (entry["time"], other[key])
        for entry in entries
        for other in entry["run"]["queues"]
        if other["name"] == queue["name"] and not no_figure(entry["run"], other)
    ]
    if not stored or no_figure(record, queue):
        return "", ()
    return unit, (*stored[-_HISTORY_MAX:], ("now", queue[key]))


def _nearest(found: list[list[Difference]]) -> str:
    """Describe how the most similar stored run differs; of several the last."""
    if not found:
        return "no readable run is stored there"
    fields = min(reversed(found), key=len)
    more = len(fields) - _FIELDS_SHOWN
    shown = [*map(str, fields[:_FIELDS_SHOWN]), *([f"and {more} more"] if more > 0 else [])]
    return f"the nearest stored run differs in {'; '.join(shown)}"


def _judge(
    record: Record, queue: Record, kept: list[Record], regression: float | None
) -> tuple[str, str]:
    """Compare the P99 of an open loop, or a lower percentile; of a closed one the throughput."""
    return first_with_a_figure(
        lambda q: _judge_by(record, queue, kept, regression, q), lambda found: found[0]
    )


def _judge_by(
    record: Record, queue: Record, kept: list[Record], regression: float | None, q: float
) -> tuple[str, str]:
    name = queue["name"]
    needed = RUNS_NEEDED if regression is None else FEWEST
    closed = queue["offered_hz"] is None
    metric, key, unit = percentile_name(q), STORED[q], "ns"
    if closed:
        metric, key, unit = "throughput", "throughput_hz", "Hz"
    reason = no_figure(record, queue, q)
    theirs = [(run, other) for run in kept for other in run["queues"] if other["name"] == name]
    reasons = [no_figure(run, other, q) for run, other in theirs]
    others = sorted(
        _number(other[key]) for (_, other), why in zip(theirs, reasons, strict=True) if not why
    )
    count = len(others)
    if reason and not others:
        return (
            "no figure",
            f"{name} is not compared: {reason}; no stored run has its {metric} either",
        )
    if reason:
        has = "1 stored run has" if count == 1 else f"{count} stored runs have"
        behind = [falls_behind(run, other) for run, other in theirs]
        if falls_behind(record, queue) and not any(behind) and count >= needed:
            return "worse", f"{name}: {reason}; {has} its {metric}: worse"
        return "not compared", f"{name} is not compared: {reason}; {has} its {metric}"
    if not others:
        sentence = f"{name} is not compared: no stored run has its {metric}: {reasons[-1]}"
        return "not compared", sentence
    now = _number(queue[key])
    middle = statistics.median_low(others)
    sentence = (
        f"{name}: {metric} {show(now, unit)} against {show(middle, unit)}, the median of {count} "
        f"stored run{'s' * (count > 1)} ({show(others[0], unit)} to {show(others[-1], unit)})"
    )
    spare = 1 if count >= RUNS_NEEDED_BUT_ONE else 0
    margin = MARGIN if regression is None else regression
    high = now > others[-1 - spare] and now > middle * (1 + margin)
    low = now < others[spare] and now < middle * (1 - margin)
    if regression is not None and FEWEST <= count < RUNS_NEEDED:
        high = high and is_beyond(now, others, margin)
        low = low and is_below(now, others, margin)
    if not (high or low):
        return "no difference shown", f"{sentence}: no difference shown"
    status = "worse" if high != closed else "better"
    if count < needed:
        advice = "" if regression is not None else " (with --xsched-regression=20% 3 gate)"
        return (
            "undecided" if status == "worse" else "no difference shown",
            f"{sentence}: {status} than all of them, but at least {needed} stored runs are "
            f"needed to show a difference{advice}; by chance 1 of {count + 1} equal runs is",
        )
    return status, f"{sentence}: {status}"


def _number(value: Any) -> float:
    return math.inf if value is None else float(value)

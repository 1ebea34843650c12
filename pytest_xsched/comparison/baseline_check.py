"""What a session does with baselines: it sets its runs beside those kept, then keeps them.

A kept run was measured at another time, so that differences between two sessions are in it; how
large these are, only many kept runs can say. Claims about schedulers belong to `compare`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_xsched.analysis.comparability import Difference, Record, differences, machine_part
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.quantity import show
from pytest_xsched.comparison.baseline_store import Baseline, no_figure
from pytest_xsched.reporting.json_export import commit_info
from pytest_xsched.reporting.run_table import title

RUNS_NEEDED = 19
"""Of 20 runs that differ by chance only, one is the worst: 5 %. So many must be kept before one
that is worse than all of them shows anything."""
MARGIN = 0.1
"""And it must differ from their median by more than this share."""

FAILED, NOT_APPLICABLE = 1, 8
"""Exit statuses: a run is shown to be worse; a run was to be compared and could not be."""
_STATUSES = {
    "worse": FAILED,
    "failed": FAILED,
    "not applicable": NOT_APPLICABLE,
    "no baseline": NOT_APPLICABLE,
    "not compared": NOT_APPLICABLE,
}
_FIELDS_SHOWN = 5
"""Of those in which the nearest kept run differs: another test differs in all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one queue, one run or one line of a file.

    Attributes:
        status: ``"worse"``, ``"better"``, ``"no difference shown"``, ``"no figure"``
            (on neither side, while another queue of the run was compared), ``"not compared"`` (a
            figure on one side only, or none of the run at all), ``"not applicable"``,
            ``"no baseline"``, ``"damaged"``, ``"saved"``, ``"not saved"`` or ``"failed"`` (to read
            or write).
        sentence: all of it in words.
        origin: node id of the test that made the run.
    """

    status: str
    sentence: str
    origin: str = ""

    def to_dict(self) -> Record:
        """Give the finding in JSON's types."""
        return asdict(self)


def exit_status(findings: Iterable[Record]) -> int:
    """Give the exit status that findings ask for; 0: none."""
    statuses = [_STATUSES.get(finding["status"], 0) for finding in findings]
    return FAILED if FAILED in statuses else max(statuses, default=0)


def settle(
    runs: list[Run], *, compare: Baseline | None, save: Baseline | None, rootdir: Path
) -> list[Finding]:
    """Compare the runs of a session with those kept under one name, then keep them under another.

    Args:
        runs: all of the session.
        compare: with what; None: not.
        save: where; None: not.
        rootdir: of the tests, for the commit they are of.
    """
    found = []
    try:
        if compare is not None:
            found += _compare_all(compare, runs)
        if save is not None:
            found += _keep_all(save, runs, rootdir)
    except OSError as error:
        found.append(Finding(status="failed", sentence=f"baselines: {error}"))
    return found


def _keep_all(baseline: Baseline, runs: list[Run], rootdir: Path) -> list[Finding]:
    commit, found = commit_info(rootdir), []
    for run in runs:
        name = title(run.to_dict())
        if run.evidence.faults:
            sentence = f"{name} is not kept: {'; '.join(run.evidence.faults)}"
            found.append(Finding(status="not saved", sentence=sentence, origin=run.origin))
            continue
        key = baseline.keep(run, commit)
        sentence = f"{name} is kept in {baseline.path} as {key}"
        found.append(Finding(status="saved", sentence=sentence, origin=run.origin))
    return found


def _compare_all(baseline: Baseline, runs: list[Run]) -> list[Finding]:
    """Set the runs beside those kept of the same scenario, scheduler and machine."""
    kept = baseline.read()
    found = [Finding(status="damaged", sentence=sentence) for sentence in kept.damaged]
    for run in runs:
        found += _compare(run, [entry["run"] for entry in kept.entries], baseline)
    return found


def _compare(run: Run, kept: list[Record], baseline: Baseline) -> list[Finding]:
    record = run.to_dict()
    name, origin = title(record), run.origin
    found = [differences(other, record, scheduler=True) for other in kept]
    alike = [other for other, fields in zip(kept, found, strict=True) if not fields]
    elsewhere = [f for f in found if f and all(machine_part(one.field) for one in f)]
    if not alike and not elsewhere:
        sentence = f"no baseline for {name} in {baseline.path}: {_nearest(found)}"
        return [Finding(status="no baseline", sentence=sentence, origin=origin)]
    if not alike:
        fields = "; ".join(map(str, elsewhere[-1]))
        sentence = f"baseline not applicable to {name}: {fields}"
        return [Finding(status="not applicable", sentence=sentence, origin=origin)]
    judged = [_judge(record, queue, alike) for queue in record["queues"]]
    if all(status == "no figure" for status, _ in judged):  # else a run beside nothing is green
        judged = [("not compared", sentence) for _, sentence in judged]
    return [
        Finding(status=status, sentence=f"{name}: {sentence}", origin=origin)
        for status, sentence in judged
    ]


def _nearest(found: list[list[Difference]]) -> str:
    """Say in what the kept run differs that differs least; of several the last."""
    if not found:
        return "nothing readable is kept there"
    fields = min(reversed(found), key=len)
    more = len(fields) - _FIELDS_SHOWN
    shown = [*map(str, fields[:_FIELDS_SHOWN]), *([f"and {more} more"] if more > 0 else [])]
    return f"the nearest kept run differs in {'; '.join(shown)}"


def _judge(record: Record, queue: Record, kept: list[Record]) -> tuple[str, str]:
    """Compare the P99 of an open loop, the throughput of a closed one."""
    name = queue["name"]
    closed = queue["offered_hz"] is None
    metric, key, unit = ("throughput", "throughput_hz", "Hz") if closed else ("P99", "p99_ns", "ns")
    reason = no_figure(record, queue)
    theirs = [(run, other) for run in kept for other in run["queues"] if other["name"] == name]
    reasons = [no_figure(run, other) for run, other in theirs]
    others = sorted(
        _number(other[key]) for (_, other), why in zip(theirs, reasons, strict=True) if not why
    )
    count = len(others)
    if reason and not others:
        return "no figure", f"{name} is not compared: {reason}; nor has a kept run its {metric}"
    if reason:
        has = "1 kept run has" if count == 1 else f"{count} kept runs have"
        return "not compared", f"{name} is not compared: {reason}; {has} its {metric}"
    if not others:
        sentence = f"{name} is not compared: no kept run has its {metric}: {reasons[-1]}"
        return "not compared", sentence
    now = _number(queue[key])
    middle = statistics.median_low(others)
    sentence = (
        f"{name}: {metric} {show(now, unit)} against {show(middle, unit)}, the median of {count} "
        f"kept run{'s' * (count > 1)} ({show(others[0], unit)} to {show(others[-1], unit)})"
    )
    high = now > others[-1] and now > middle * (1 + MARGIN)
    low = now < others[0] and now < middle * (1 - MARGIN)
    if not (high or low):
        return "no difference shown", f"{sentence}: no difference shown"
    if count < RUNS_NEEDED:
        return (
            "no difference shown",
            f"{sentence}: outside all of them, but {RUNS_NEEDED} kept runs are the fewest that "
            "show a difference",
        )
    status = "worse" if high != closed else "better"
    return status, f"{sentence}: {status}"


def _number(value: Any) -> float:
    return math.inf if value is None else float(value)

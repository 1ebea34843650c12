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

from pytest_xsched.assertions import Run
from pytest_xsched.baselines import Baseline
from pytest_xsched.likeness import Record, differences, machine_part
from pytest_xsched.quantity import show
from pytest_xsched.report import title
from pytest_xsched.rows import commit_info
from pytest_xsched.stats import requests_needed

RUNS_NEEDED = 19
"""Of 20 runs that differ by chance only, one is the worst: 5 %. So many must be kept before one
that is worse than all of them shows anything."""
MARGIN = 0.1
"""And it must differ from their median by more than this share."""

FAILED, NOT_APPLICABLE = 1, 8
"""Exit statuses: a run is shown to be worse; a run was to be compared and there is nothing to
compare it with."""
_STATUSES = {
    "worse": FAILED,
    "failed": FAILED,
    "not applicable": NOT_APPLICABLE,
    "no baseline": NOT_APPLICABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one queue, one run or one line of a file.

    Attributes:
        status: ``"worse"``, ``"better"``, ``"no difference shown"``, ``"no figure"``,
            ``"not applicable"``, ``"no baseline"``, ``"damaged"``, ``"saved"``, ``"not saved"`` or
            ``"failed"`` (to read or write).
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
    alike: list[Record] = []
    elsewhere: list[str] = []
    for other in kept:
        found = differences(other, record, scheduler=True)
        if not found:
            alike.append(other)
        elif all(machine_part(difference.field) for difference in found):
            elsewhere.append("; ".join(map(str, found)))
    if not alike and not elsewhere:
        sentence = f"no baseline for {name} in {baseline.path}"
        return [Finding(status="no baseline", sentence=sentence, origin=origin)]
    if not alike:
        sentence = f"baseline not applicable to {name}: {elsewhere[-1]}"
        return [Finding(status="not applicable", sentence=sentence, origin=origin)]
    return [
        Finding(status=status, sentence=f"{name}: {sentence}", origin=origin)
        for queue in record["queues"]
        for status, sentence in [_judge(record, queue, alike)]
    ]


def _judge(record: Record, queue: Record, kept: list[Record]) -> tuple[str, str]:
    """Compare the P99 of an open loop, the throughput of a closed one."""
    name = queue["name"]
    faults = [*record["evidence"]["faults"], *record["evidence"]["queue_faults"][name]]
    closed = queue["offered_hz"] is None
    if not closed and queue["n"] < requests_needed(0.99):
        faults.append(f"a P99 needs {requests_needed(0.99)} requests, not {queue['n']}")
    if faults:
        return "no figure", f"{name} is not compared: {'; '.join(faults)}"
    metric, key, unit = ("throughput", "throughput_hz", "Hz") if closed else ("P99", "p99_ns", "ns")
    now = _number(queue[key])
    others = sorted(
        _number(other[key]) for run in kept for other in run["queues"] if other["name"] == name
    )
    middle = statistics.median_low(others)
    count = len(others)
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

"""What the report of one test gets: properties, the table of a failed run, the word ERROR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_xsched.analysis.run import Run
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.quantity import Quantity
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.errors import InvalidRun, QosAssertionError, XSchedError
from pytest_xsched.reporting.run_table import properties
from pytest_xsched.reporting.terminal_summary import summary

_PACKAGE = Path(__file__).parents[1]


def failed(call: pytest.CallInfo[None]) -> bool:
    """Whether a phase of a test ended with an error, not by a skip or Ctrl-C."""
    error = call.excinfo.value if call.excinfo else None
    return isinstance(error, Exception) and not isinstance(error, pytest.skip.Exception)


def hide_own_frames(call: pytest.CallInfo[None]) -> None:
    """Hide the frames of this package in the traceback of one of its own errors."""
    if call.excinfo is None:
        return
    for entry in call.excinfo.traceback:
        if _PACKAGE in Path(entry.path).parents:
            # Pytest asks a frame's globals, too; of an error that is not ours nothing is hidden.
            entry.frame.f_globals.setdefault("__tracebackhide__", _is_ours)


def _is_ours(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    return isinstance(excinfo.value, XSchedError)


def set_properties(
    item: pytest.Item, call: pytest.CallInfo[None], fresh: list[tuple[Run | Comparison, Verdict]]
) -> None:
    """Put the verdicts of a test where JUnit finds them; a repeated test replaces its own.

    And why there is none, because JUnit's files know no error in a test but a failure.
    """
    new = dict(pair for _, verdict in fresh for pair in properties(verdict.to_dict()))
    if call.excinfo and isinstance(call.excinfo.value, InvalidRun):
        new["xsched.no_verdict"] = _sentence(call.excinfo.value)
    item.user_properties[:] = [pair for pair in item.user_properties if pair[0] not in new] + list(
        new.items()
    )


def _sentence(error: InvalidRun) -> str:
    return str(error).partition("\n")[0].removeprefix("no verdict: ")


def add_run_tables(
    report: pytest.TestReport,
    call: pytest.CallInfo[None],
    fresh: list[tuple[Run | Comparison, Verdict]],
    rerun_command: Callable[[str | None], str],
) -> None:
    """Add the table of every run that failed; mark a run without evidence as an error.

    Args:
        report: of a phase of the test.
        call: the same phase.
        fresh: the verdicts that were given in it.
        rerun_command: returns the command that runs the test again on a device, if known.
    """
    runs = [run for run, verdict in fresh if verdict.status != "PASS"]
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, InvalidRun):
        report.__dict__["xsched_invalid"] = report.failed  # crosses to the xdist controller
        if error.run is not None:
            runs.append(error.run)
            error.run.refused.append({"sentence": _sentence(error), "nodeid": report.nodeid})
    if not report.failed:
        return
    for run in {id(run): run for run in runs}.values():
        title = "xsched comparison" if isinstance(run, Comparison) else "xsched run"
        report.sections.append((title, "\n".join(summary([run.to_dict()]))))
    if runs:
        devices = [run.scenario.device for run in runs if isinstance(run, Run)]
        report.sections.append(("to run it again", rerun_command(next(iter(devices), None))))


def fail_after_earlier_miss(
    report: pytest.TestReport, call: pytest.CallInfo[None], misses: dict[str, str], compared: bool
) -> None:
    """Fail a test that passes after it missed a target: rerunning until it passes proves nothing.

    A run without evidence may be repeated, because it says nothing about what was measured; but not
    one in which a queue was starved.

    Args:
        report: of a phase of the test.
        call: the same phase.
        misses: by node id, what was missed in earlier attempts; this one is added.
        compared: whether a comparison of measured numbers failed in this test.
    """
    if report.when != "call":
        return
    error = call.excinfo.value if call.excinfo else None
    missed = (
        isinstance(error, QosAssertionError)
        or (isinstance(error, InvalidRun) and error.starved)
        or (compared and isinstance(error, AssertionError))
    )
    if report.failed and missed:
        misses.setdefault(report.nodeid, str(error).partition("\n")[0])
    elif report.passed and report.nodeid in misses:
        report.outcome = "failed"
        report.longrepr = (
            "missed a target in an earlier attempt, which a rerun does not undo: "
            f"{misses[report.nodeid]}"
        )


def compare_lines(op: str, left: object, right: object) -> list[str] | None:
    """Explain a failed `assert run.high.p99 < "50ms"`."""
    quantities = [side for side in (left, right) if isinstance(side, Quantity)]
    if not quantities:
        return None
    sides = [str(side) if isinstance(side, Quantity) else repr(side) for side in (left, right)]
    lines = [f"{sides[0]} {op} {sides[1]}"]
    lines += [f"{q.what}: {q} ({q.detail})" if q.detail else f"{q.what}: {q}" for q in quantities]
    return lines

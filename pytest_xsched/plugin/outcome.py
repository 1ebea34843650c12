"""What the report of one test gets: properties, the table of a failed run, the word ERROR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_xsched.analysis.assertion import Unjudged
from pytest_xsched.analysis.run import Run
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.quantity import Quantity
from pytest_xsched.errors import InvalidRun, QosAssertionError, XSchedError
from pytest_xsched.plugin.misses import Miss, Misses
from pytest_xsched.reporting.run_table import properties, property_name
from pytest_xsched.reporting.terminal_summary import once
from pytest_xsched.stats.sequential_test import FAIL, PASS
from pytest_xsched.stress.highest_rate import Judged, kind_of

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


def say_the_sentence(report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Begin what pytest shows of an error in one line with its sentence, and not with its class.

    That is the short summary, where few characters fit, ``--tb=line``, and `message` in JUnit.
    """
    error = call.excinfo.value if call.excinfo else None
    crash = getattr(report.longrepr, "reprcrash", None)  # None with --tb=native and the like
    if crash is None or not isinstance(error, (QosAssertionError, InvalidRun)):
        return
    verdict = getattr(error, "verdict", None)
    if isinstance(error, InvalidRun):
        sentence = f"NO VERDICT {_without_label(str(error))}"
    else:
        sentence = f"{FAIL if verdict is None else verdict.status} {error}"
    crash.message = sentence


def set_properties(
    item: pytest.Item, call: pytest.CallInfo[None], fresh: list[tuple[Judged, Verdict]]
) -> None:
    """Put the verdicts of a test where JUnit finds them; a repeated test replaces its own.

    And why there is none, because JUnit's files know no error in a test but a failure.
    """
    new = dict(pair for _, verdict in fresh for pair in properties(verdict.to_dict()))
    for host in [run.host for run, _ in fresh if isinstance(run, Run) and run.host is not None]:
        new["xsched.host"] = host
    if call.excinfo and isinstance(call.excinfo.value, InvalidRun):
        new["xsched.no_verdict"] = _sentence(call.excinfo.value)
    item.user_properties[:] = [pair for pair in item.user_properties if pair[0] not in new] + list(
        new.items()
    )


def _sentence(error: InvalidRun) -> str:
    return _without_label(_first_line(error))


def _without_label(text: str) -> str:
    return text.removeprefix("no verdict: ")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def add_run_tables(
    report: pytest.TestReport,
    call: pytest.CallInfo[None],
    fresh: list[tuple[Judged, Verdict]],
    rerun_command: Callable[[str | None], str],
    *,
    columns: int | None = None,
    shown: dict[str, str],
    one_line: bool = False,
) -> None:
    """Add the table of every run that failed; mark a run without evidence as an error.

    A table that the report of another test has is not added again.

    Args:
        report: of a phase of the test.
        call: the same phase.
        fresh: the verdicts that were given in it.
        rerun_command: returns the command that runs the test again on a device, if known.
        columns: of the terminal; see `terminal_summary.summary`.
        shown: what reports show already, see `terminal_summary.parts`; this report's is added.
        one_line: whether the user wants a line for each failure, ``--tb=line``: nothing is added.
    """
    runs = [run for run, verdict in fresh if verdict.status != "PASS"]
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, InvalidRun):
        report.__dict__["xsched_invalid"] = report.failed  # crosses to the xdist controller
        if error.run is not None:
            runs.append(error.run)
            error.run.refused.append({"sentence": _sentence(error), "nodeid": report.nodeid})
    if one_line or not report.failed:
        return
    for run in {id(run): run for run in runs}.values():
        title = f"xsched {kind_of(run)}"
        text = once(run.to_dict(), report.nodeid, shown, columns)
        report.sections.append((title, text))
    if runs:
        devices = [run.scenario.device for run in runs if isinstance(run, Run)]
        report.sections.append(("to run it again", rerun_command(next(iter(devices), None))))


def judge_misses(
    item: pytest.Item,
    report: pytest.TestReport,
    call: pytest.CallInfo[None],
    fresh: list[tuple[Judged, Verdict]],
    misses: Misses,
) -> None:
    """Fail a phase that passes although a target was missed; keep the misses that were expected.

    Rerunning until a test passes proves nothing, so a miss of an earlier attempt fails the test,
    too. A run without evidence may be repeated, because it says nothing about what was measured;
    but not one in which a queue was starved.

    Args:
        item: the test.
        report: of a phase of the test.
        call: the same phase.
        fresh: the verdicts that were given in it.
        misses: of all tests so far; those of this phase are added.
    """
    found = misses.of_phase(
        [
            (verdict, property_name(verdict.to_dict()))
            for judged, verdict in fresh
            if verdict.status == FAIL or (verdict.status != PASS and judged.undecided == "fail")
        ]
    )
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, InvalidRun) and error.starved:
        found.append(Miss(_first_line(error)))
    is_excused = report.when == "teardown" and hasattr(report, "wasxfail")
    if is_excused and any(
        verdict.status != PASS and getattr(judged, "fixture", None) for judged, verdict in fresh
    ):
        # A fixture of all tests: the xfail of the last of them is not about its targets.
        del report.wasxfail
        report.outcome = "failed"  # with the error that it had
    how = "xfail" if hasattr(report, "wasxfail") else ""
    if report.failed:
        for miss in found:
            if not miss.expected:
                misses.report(miss.sentence)
        return
    hidden = [miss for miss in found if not (miss.expected or how)]
    for miss in found:
        if miss not in hidden:
            _expect(item, report, miss, miss.expected or how, misses)
    earlier = misses.earlier.get(item.nodeid, "")
    if hidden:
        misses.report(hidden[0].sentence)
        _fail(report, _hidden(report, hidden[0]))
    elif report.when == "call" and earlier and how != "xfail":
        _set_property(item, report, "xsched.earlier_miss", earlier)
        _fail(
            report,
            f"missed a target in an earlier attempt, which a rerun does not undo: {earlier}",
        )
    elif report.when == "call" and report.passed and misses.reported:
        _fail(report, f"missed a target in a subtest: {misses.reported}")


def judge_refusals(
    report: pytest.TestReport,
    call: pytest.CallInfo[None],
    fresh: list[tuple[Judged, Verdict]],
    unjudged: list[tuple[Judged, Unjudged]],
    misses: Misses,
) -> None:
    """Fail a phase that passes although a target got no verdict and something caught the error.

    A test may repeat a run without evidence: the same assertion then gets its verdict later.

    Args:
        report: of a phase of the test.
        call: the same phase.
        fresh: the verdicts that were given in it.
        unjudged: the targets that got no verdict in it.
        misses: knows what `pytest.raises` received.
    """
    in_raises = misses.take_refusals()
    error = call.excinfo.value if call.excinfo else None
    shown = isinstance(error, InvalidRun) and _first_line(error)
    for judged, one in unjudged:
        if shown == one.sentence or any(v.limit_origin == one.origin for _, v in fresh):
            continue
        sentence = one.sentence.removeprefix("no verdict: ")
        judged.refused.append({"sentence": sentence, "nodeid": report.nodeid})
        if report.passed and one.sentence not in in_raises:
            where = _WHERE[str(report.when)]
            _fail(report, f"{where} went on without a verdict: {sentence}\n{_ADVICE_REFUSED}")
            report.__dict__["xsched_invalid"] = True


_WHERE = {
    "setup": "the set-up of a fixture",
    "call": "the test",
    "teardown": "the teardown of a fixture",
}
_ADVICE = (
    "something caught the error, try/except or contextlib.suppress for example; a test that "
    "expects a miss says so: with pytest.raises(QosAssertionError): ..."
)
_ADVICE_SKIP = (
    "a skip does not undo a miss; a test that expects one says so: "
    "with pytest.raises(QosAssertionError): ..., or pytest.xfail()"
)
_ADVICE_REFUSED = (
    "something caught the error, try/except or contextlib.suppress for example; a test that "
    "expects it says so: with pytest.raises(InvalidRun): ..., or repeats the run until the same "
    "assertion gets a verdict"
)
_ADVICE_UNDECIDED = (
    "an UNDECIDED target is no miss, so pytest.raises(QosAssertionError) shows nothing here; "
    "measure longer, or choose a limit farther from the value"
)


def _hidden(report: pytest.TestReport, miss: Miss) -> str:
    """Describe a miss that no failed report shows, and the way out."""
    where = _WHERE[str(report.when)]
    if miss.undecided and miss.in_raises:
        return f"{where} expected a miss and did not see one: {miss.sentence}\n{_ADVICE_UNDECIDED}"
    what = "left a target UNDECIDED" if miss.undecided else "missed a target"
    if report.skipped:
        return f"{where} {what} and was skipped: {miss.sentence}\n{_ADVICE_SKIP}"
    then = "passed" if report.when == "call" else "went on"
    return f"{where} {what} and {then}: {miss.sentence}\n{_ADVICE}"


def _fail(report: pytest.TestReport, text: str) -> None:
    report.outcome, report.longrepr = "failed", text


def _expect(
    item: pytest.Item, report: pytest.TestReport, miss: Miss, how: str, misses: Misses
) -> None:
    """Keep a miss that the test expected, for the summary and for JUnit."""
    misses.expected.append({"sentence": miss.sentence, "nodeid": item.nodeid, "how": how})
    if miss.name:
        _set_property(item, report, f"{miss.name}.expected_miss", how)


def _set_property(item: pytest.Item, report: pytest.TestReport, name: str, value: str) -> None:
    for properties_of in (item.user_properties, report.user_properties):
        properties_of[:] = [pair for pair in properties_of if pair[0] != name] + [(name, value)]


def compare_lines(op: str, left: object, right: object) -> list[str] | None:
    """Explain a failed `assert run.high.p99 < "50ms"`."""
    quantities = [side for side in (left, right) if isinstance(side, Quantity)]
    if not quantities:
        return None
    sides = [str(side) if isinstance(side, Quantity) else repr(side) for side in (left, right)]
    lines = [f"{sides[0]} {op} {sides[1]}"]
    lines += [f"{q.what}: {q} ({q.detail})" if q.detail else f"{q.what}: {q}" for q in quantities]
    return lines

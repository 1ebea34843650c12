"""Verdicts that fall after their test: a later test measured on, and the run got worse.

Such a test is over, so its failure is a report of its own. Pytest's hook for reports takes it to
the terminal, to JUnit and to the exit status. Under xdist a worker packs it for the controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from pytest_xsched.analysis.final_verdict import Withdrawn
from pytest_xsched.reporting.run_table import properties
from pytest_xsched.reporting.terminal_summary import once
from pytest_xsched.stress.highest_rate import Judged, kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTest:
    """A test with verdicts: what a report on it needs after it is over.

    Attributes:
        location: file, line and name, as of `pytest.Item.location`.
        command: runs the test again.
    """

    location: tuple[str, int | None, str]
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LateFailure:
    """The failure of a test whose verdict fell after it; builtin types only, for xdist.

    Attributes:
        nodeid: of the test.
        location: see `JudgedTest`.
        measured_ns: how long the run was measured in the end.
        text: what the run shows in the end.
        invalid: whether the run gives no verdict any more.
        sections: title and text of the sections of the report.
        user_properties: for JUnit.
    """

    nodeid: str
    location: tuple[str, int | None, str]
    measured_ns: int
    text: str
    invalid: bool
    sections: tuple[tuple[str, str], ...]
    user_properties: tuple[tuple[str, str | int | float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return asdict(self)


def judge_again(
    judged: Iterable[Judged],
    tests: dict[str, JudgedTest],
    excused: set[str],
    shown: dict[str, str],
    columns: int | None = None,
) -> list[LateFailure]:
    """Judge all targets again whose runs measured on since; return a failure for each that fell.

    Args:
        judged: runs and comparisons of the session.
        tests: with verdicts, by node id.
        excused: node ids of tests that failed anyway, or were to fail.
        shown: what reports show already, see `terminal_summary.parts`; theirs is added.
        columns: of the terminal.
    """
    found = []
    for run in judged:
        fell = [one for one in run.judge_again() if one.nodeid not in excused]
        for nodeid in dict.fromkeys(one.nodeid for one in fell):
            if nodeid in tests:
                mine = [one for one in fell if one.nodeid == nodeid]
                text = once(run.to_dict(), nodeid, shown, columns)
                found.append(_failure(run, nodeid, mine, tests[nodeid], text))
    return found


def _failure(
    run: Judged, nodeid: str, fell: list[Withdrawn], test: JudgedTest, report: str
) -> LateFailure:
    verdicts = [one.verdict.to_dict() for one in fell if one.verdict is not None]
    pairs: list[tuple[str, str | int | float]] = [
        pair for verdict in verdicts for pair in properties(verdict)
    ]
    pairs += [("xsched.no_verdict", one.sentence) for one in fell if one.verdict is None]
    return LateFailure(
        nodeid=nodeid,
        location=test.location,
        measured_ns=run.measured_ns,
        text="\n".join(f"the verdict did not stand: {one.sentence}" for one in fell),
        invalid=not verdicts,
        sections=(
            (f"xsched {kind_of(run)}", report),
            # On another machine there is no cache that says how long to measure.
            ("to run it again", f"{test.command} -o xsched_fixed_duration=yes"),
        ),
        user_properties=tuple(pairs),
    )


def report_of(failure: LateFailure) -> pytest.TestReport:
    """Return the report that makes a test fail that is over."""
    report = pytest.TestReport(
        nodeid=failure.nodeid,
        location=failure.location,
        keywords={},
        outcome="failed",
        longrepr=failure.text,
        when="call",
        sections=failure.sections,
        user_properties=failure.user_properties,
    )
    report.__dict__["xsched_invalid"] = failure.invalid
    return report


def read_failure(data: dict[str, Any]) -> LateFailure:
    """Read what `LateFailure.to_dict` returned, after JSON made lists of its tuples."""
    pairs = {key: tuple(map(tuple, data[key])) for key in ("sections", "user_properties")}
    return LateFailure(**{**data, **pairs, "location": tuple(data["location"])})

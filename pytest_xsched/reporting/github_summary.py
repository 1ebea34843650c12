"""The runs and comparisons of a session as Markdown, for the summary page of a job on GitHub.

Plain dicts only, because under xdist that is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pytest_xsched.base import output_file
from pytest_xsched.reporting import comparison_table, run_table
from pytest_xsched.reporting.comparison_table import is_comparison
from pytest_xsched.reporting.run_table import Record

_MARKS = {"PASS": ":white_check_mark:", "FAIL": ":x:"}


def append(path: Path, records: list[Record]) -> None:
    """Append to what other steps have written.

    Raises:
        OSError: it cannot be written.
    """
    output_file.append(path, "\n".join(page(records)) + "\n")


def page(records: list[Record]) -> list[str]:
    """Return the lines: the table of each run and comparison, the remarks on it, the targets."""
    lines = ["## pytest-xsched", ""]
    for run in records:
        text = comparison_table if is_comparison(run) else run_table
        head, *body = text.rows(run)
        lines += [f"### {_escape(text.title(run))}", "", _row(head), _row(("---",) * len(head))]
        lines += [*(_row(row) for row in body), ""]
        lines += [f"- {_escape(remark)}" for remark in text.remarks(run)]
        for verdict in run["verdicts"]:
            mark = _MARKS.get(verdict["status"], ":grey_question:")
            where = f" <sub>{_escape(verdict['nodeid'])}</sub>" if verdict["nodeid"] else ""
            lines.append(f"- {mark} {verdict['status']} {_escape(verdict['sentence'])}{where}")
        for no in run["refused"]:
            where = f" <sub>{_escape(no['nodeid'])}</sub>"
            lines.append(f"- :x: NO VERDICT {_escape(no['sentence'])}{where}")
        lines.append("")
    return lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """Keep what Markdown or HTML would take for its own, such as test_it[<b>-x|y]."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", text)

"""The runs of a session, and what uses them, as Markdown, for the page of a job on GitHub.

Plain dicts only, because under xdist that is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_xsched.base import output_file
from pytest_xsched.reporting import run_table
from pytest_xsched.reporting.host_table import host_lines
from pytest_xsched.reporting.run_table import Record
from pytest_xsched.reporting.terminal_summary import NO_VERDICT, STATUSES, text_of

MOST_BYTES = 1_000_000
"""Of the file: GitHub shows nothing of one that is larger than 1 MiB."""
_MARKS = {"PASS": ":white_check_mark:", "FAIL": ":x:", NO_VERDICT: ":x:"}
_OF_BASELINES = {
    "worse": ":x:",
    "failed": ":x:",
    **dict.fromkeys(("not applicable", "no baseline", "not compared"), ":grey_question:"),
    **dict.fromkeys(("undecided", "damaged", "not saved"), ":grey_question:"),
    **dict.fromkeys(("better", "no difference shown", "first"), ":white_check_mark:"),
}
"""The findings about baselines and builds that are shown, with their marks, the worst first."""
_MOST_FINDINGS = 50
_NO_ROOM = (
    "\n**{count} of {of} runs and comparisons are not shown, or not whole:** a page of GitHub has "
    "at most 1 MiB. The files of `--xsched-json` and `--xsched-html` have all of them.\n"
)


def append(path: Path, records: Sequence[Record], findings: Sequence[Record] = ()) -> None:
    """Append to what other steps have written, as much as GitHub shows.

    Args:
        path: of the page.
        records: of the session.
        findings: of baselines and builds; see `BaselineResult`.

    Raises:
        OSError: it cannot be written.
    """
    there = path.stat().st_size if path.exists() else 0
    text = fitting(records, MOST_BYTES - there, findings)
    if text:
        output_file.append(path, text)


def fitting(records: Sequence[Record], most: int, findings: Sequence[Record] = ()) -> str:
    """Return the page within a number of bytes, what was missed first; "" if nothing fits.

    Args:
        records: of the session.
        most: bytes of the page in UTF-8.
        findings: of baselines and builds.
    """
    text = "\n".join(page(records, findings)) + "\n"
    if _size(text) <= most:
        return text
    left = most - _size(_NO_ROOM.format(count=len(records), of=len(records)))
    lines, whole = _head(records, findings), 0
    blocks = _blocks(records)
    left -= sum(_size(line) + 1 for line in lines)
    if left < 0:
        return ""
    for block in blocks:
        taken = 0
        for line in block:
            left -= _size(line) + 1
            if left < 0:
                break
            lines.append(line)
            taken += 1
        if taken < len(block):
            break
        whole += 1
    note = _NO_ROOM.format(count=len(records) - whole, of=len(records))
    return "\n".join(lines) + "\n" + note


def page(records: Sequence[Record], findings: Sequence[Record] = ()) -> list[str]:
    """Return the lines of the page, whatever its size."""
    return [*_head(records, findings), *(line for block in _blocks(records) for line in block)]


def _head(records: Sequence[Record], findings: Sequence[Record]) -> list[str]:
    """Return the title, a row for each machine where there are several, and the findings."""
    machines = host_lines(records)
    table = ["```", *map(_plain, machines), "```", ""] if machines else []
    order = list(_OF_BASELINES)
    shown = [one for one in findings if one["status"] in _OF_BASELINES]
    shown.sort(key=lambda one: order.index(one["status"]))
    lines = [
        f"- {_OF_BASELINES[one['status']]} {one['status'].upper()} {_escape(one['sentence'])}"
        for one in shown[:_MOST_FINDINGS]
    ]
    if len(shown) > _MOST_FINDINGS:
        lines.append(f"- and {len(shown) - _MOST_FINDINGS} more")
    return ["## pytest-xsched", "", *table, *lines, *([""] if lines else [])]


def _plain(line: str) -> str:
    return line.replace("`", "'")


def _blocks(records: Sequence[Record]) -> list[list[str]]:
    return [_block(record) for record in sorted(records, key=_rank)]


def _size(text: str) -> int:
    return len(text.encode("utf-8", errors="backslashreplace"))


def _rank(record: Record) -> int:
    """Return the place of a run: those with missed targets come first, then those that waver."""
    found = {verdict["status"] for verdict in record["verdicts"]}
    if record["refused"]:
        found.add(NO_VERDICT)
    return next((at for at, status in enumerate(STATUSES) if status in found), len(STATUSES))


def _block(run: Record) -> list[str]:
    """Return the lines of a run or a comparison: its targets, its table, the remarks on it."""
    text = text_of(run)
    rows = run_table.rows_with_latencies if text is run_table else text.rows
    head, *body = rows(run)
    verdicts = [
        *((one["status"], one["sentence"], one["nodeid"]) for one in run["verdicts"]),
        *((NO_VERDICT, one["sentence"], one["nodeid"]) for one in run["refused"]),
    ]
    lines = [f"### {_escape(text.title(run))}", ""]
    for status, sentence, nodeid in sorted(verdicts, key=lambda one: STATUSES.index(one[0])):
        mark = _MARKS.get(status, ":grey_question:")
        where = f" <sub>{_escape(nodeid)}</sub>" if nodeid else ""
        lines.append(f"- {mark} {status} {_escape(sentence)}{where}")
    for why in run.get("why", ()):
        lines.append(f"- why {_escape(why['queue'])} was late: {_escape(why['lines'][0])}")
    lines += ["", _row(head), _row(("---",) * len(head)), *(_row(row) for row in body), ""]
    lines += [f"- {_escape(remark)}" for remark in text.remarks(run)]
    return [*lines, ""]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """Keep what Markdown or HTML would take for its own, such as test_it[<b>-x|y]."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", text)

"""What the end of a session, and the report of a failed test, show of runs and of what uses them.

Works on `Run.to_dict`, `Comparison.to_dict` and `HighestRate.to_dict` and nothing else, because
under xdist that is all there is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import ModuleType

from pytest_xsched.base.terminal_text import printable
from pytest_xsched.reporting import comparison_table, rate_table, run_table
from pytest_xsched.reporting.comparison_table import is_comparison
from pytest_xsched.reporting.rate_table import is_rate_search
from pytest_xsched.reporting.run_table import Record
from pytest_xsched.reporting.table_layout import fitted, wrapped

Shown = Mapping[str, str]
"""Parts of reports that are printed already, see `parts`, and the test whose report has them."""

NO_VERDICT = "NO VERDICT"
STATUSES = ("FAIL", "UNDECIDED", NO_VERDICT, "PASS")
"""The worst first, in overviews and on the page."""
_COLOURS = {"PASS": "green", "FAIL": "red", "UNDECIDED": "yellow", NO_VERDICT: "purple"}
_LEAST_OF_OVERVIEW = 3
_TESTS_SHOWN = 3
"""The most tests that the line about runs without a target names."""
_FIGURES = ("n", "P50", "P99", "max", "rate")


def summary(
    records: list[Record],
    columns: int | None = None,
    shown: Shown | None = None,
    *,
    only: str = "",
) -> list[str]:
    """Return every run and comparison as lines: whose it is, its table, every target of it.

    Args:
        records: of the session.
        columns: of the terminal, which the lines then fit; None, as for a file: any length.
        shown: what is printed already and is left out.
        only: node id; verdicts of other tests are left out where the table is.
    """
    return [line for line, _ in coloured(records, columns, shown, only=only)]


def coloured(
    records: list[Record],
    columns: int | None = None,
    shown: Shown | None = None,
    *,
    only: str = "",
) -> list[tuple[str, str]]:
    """Return the lines of `summary`, each with its colour or "bold"; "" for a plain line."""
    lines: list[tuple[str, str]] = []
    shown = shown or {}
    for record in records:
        whose, table, whys = _whose(record), _table(record, columns), _whys(record, columns)
        elsewhere = shown.get("\n".join([whose, *table]))
        lines += [(whose, "bold")] if whose else []
        if elsewhere is None:
            lines += [(line, "yellow" if line.startswith("  ! ") else "") for line in table]
        else:
            lines += [(table[0], ""), (f"  the table is in the report of {elsewhere}", "")]
        mine = only if elsewhere is not None else ""
        for verdict in record["verdicts"]:
            if mine in ("", verdict["nodeid"]):
                where = f"  [{verdict['nodeid']}]" if verdict["nodeid"] else ""
                text = f"  {verdict['status']} {verdict['sentence']}{where}"
                lines.append((text, _COLOURS[verdict["status"]]))
        lines += [(line, "") for why in whys if "\n".join(why) not in shown for line in why]
        lines += [
            (f"  {NO_VERDICT} {no['sentence']}  [{no['nodeid']}]", _COLOURS[NO_VERDICT])
            for no in record["refused"]
            if mine in ("", no["nodeid"])
        ]
        lines += [(f"  ! {one}", "yellow") for one in run_table.advice(record["verdicts"])]
    return [(fits, colour) for line, colour in lines for fits in wrapped(line, columns)]


def parts(record: Record, columns: int | None = None) -> list[str]:
    """Return the parts of a report that are printed once: the table, and each why."""
    table = "\n".join([_whose(record), *_table(record, columns)])
    return [table, *map("\n".join, _whys(record, columns))]


def once(record: Record, nodeid: str, shown: dict[str, str], columns: int | None) -> str:
    """Return the section on a run in the report of a failed test, and add its parts to `shown`.

    What the report of another test has is left out.
    """
    of_others = {part: test for part, test in shown.items() if test != nodeid}
    text = "\n".join(summary([record], columns, of_others, only=nodeid))
    for part in parts(record, columns):
        shown.setdefault(part, nodeid)
    return text


def shown_by(
    sections: Iterable[tuple[str, str]], records: list[Record], columns: int | None
) -> dict[str, str]:
    """Return the parts of the reports of runs that pytest printed with its failures.

    Args:
        sections: node id and text of each.
        records: of the session.
        columns: of the terminal.
    """
    known = [part for record in records for part in parts(record, columns)]
    return {part: test for test, text in sections for part in known if part in text}


def text_of(record: Record) -> ModuleType:
    """Return the module that makes the text of a record: title, rows, table, remarks."""
    if is_rate_search(record):
        return rate_table
    return comparison_table if is_comparison(record) else run_table


def _table(record: Record, columns: int | None) -> list[str]:
    lines = text_of(record).table(record, columns)
    return [fits for line in lines for fits in wrapped(line, columns)]


def _whys(record: Record, columns: int | None) -> list[list[str]]:
    found = []
    for why in record.get("why", ()):  # absent in comparisons and in old records
        first, *more = why["lines"]
        lines = [f"  why {why['queue']} was late: {first}", *(f"    {line}" for line in more)]
        found.append([fits for line in lines for fits in wrapped(line, columns)])
    return found


def _whose(record: Record) -> str:
    """Return the test that a run is of, or the fixture and the test that it was made for."""
    run = record["arms"][record["baseline"]][0] if is_comparison(record) else record
    origin, fixture = printable(run["origin"]), run.get("fixture")  # absent in old records
    if not fixture:
        return origin
    return f"fixture {printable(fixture['name'])} ({fixture['scope']}), made for {origin}"


def overviews(records: list[Record], columns: int | None = None) -> list[tuple[str, str]]:
    """Return one table for each test that was run with three parameters or more; see `coloured`."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if text_of(record) is run_table and "[" in record["origin"]:
            groups.setdefault(record["origin"].partition("[")[0], []).append(record)
    lines: list[tuple[str, str]] = []
    for test, runs in groups.items():
        if len({run["origin"] for run in runs}) < _LEAST_OF_OVERVIEW:
            continue
        table: list[tuple[str, ...]] = [("parameters", "queue", "verdict", *_FIGURES)]
        for run in runs:
            heads, *rows = run_table.rows(run)
            figures = [heads.index(head) for head in _FIGURES]
            parameters = printable(run["origin"][len(test) + 1 :].removesuffix("]"))
            for queue, row in zip(run["queues"], rows, strict=True):
                cells = (row[0], _worst(run, queue["name"]), *(row[i] for i in figures))
                table.append((parameters, *cells))
        inner = None if columns is None else columns - 2
        body = fitted(table, left=("parameters", "queue", "verdict"), keys=2, columns=inner)
        lines.append((f"{printable(test)}: {len(runs)} runs", "bold"))
        lines += [(f"  {line}", "") for line in body]
    return lines


def _worst(run: Record, queue: str) -> str:
    """Return the worst verdict on a queue; "-" if there is none."""
    found = {verdict["status"] for verdict in run["verdicts"] if verdict["queue"] in ("", queue)}
    if run["refused"]:
        found.add(NO_VERDICT)
    return next((status for status in STATUSES if status in found), "-")


def is_worth_a_look(record: Record) -> bool:
    """Check whether something is to be said of a run with ``-q``: a target, or a remark with !."""
    if record["refused"] or any(verdict["status"] != "PASS" for verdict in record["verdicts"]):
        return True
    return any(remark.startswith("! ") for remark in text_of(record).remarks(record))


def without_target(records: list[Record]) -> list[str]:
    """Return one line about the runs that no target judged, with the first of their tests.

    There is none if there are none.

    Args:
        records: of the session; those of old files do not say whether anything was.
    """
    runs = [record for record in records if text_of(record) is run_table]
    idle = [run for run in runs if not run.get("asserted", True)]
    if not idle:
        return []
    tests = list(dict.fromkeys(run["origin"] or "no test" for run in idle))
    shown = ", ".join(tests[:_TESTS_SHOWN])
    if len(tests) > _TESTS_SHOWN:
        shown += f" and {len(tests) - _TESTS_SHOWN} more"
    return [f"! no target was asserted of {len(idle)} run{'s' * (len(idle) > 1)}: {shown}"]


_MISSING = re.compile(r"Skipped: (no \w+(?::\d+)? device: .*)", re.DOTALL)


def missing_devices(reasons: Iterable[str]) -> list[str]:
    """Return why tests were skipped for want of a device, one line a reason.

    Args:
        reasons: of all skipped tests, as pytest reports them.
    """
    found = (_MISSING.fullmatch(reason) for reason in reasons)
    counts = Counter(match[1] for match in found if match)
    return [
        f"skipped {count} test{'s' * (count > 1)}: {reason} (--xsched-require-device makes this "
        "an error)"
        for reason, count in counts.items()
    ]

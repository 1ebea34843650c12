"""What the end of a session, and the report of a failed test, show of runs and comparisons.

Works on `Run.to_dict` and `Comparison.to_dict` and nothing else, because under xdist that is all
there is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from pytest_xsched.reporting import comparison_table, run_table
from pytest_xsched.reporting.comparison_table import is_comparison
from pytest_xsched.reporting.run_table import Record
from pytest_xsched.reporting.table_layout import wrapped


def summary(records: list[Record], columns: int | None = None) -> list[str]:
    """Return the table of every run and comparison, and after it every target of it, as lines.

    Args:
        records: of the session.
        columns: of the terminal, which the lines then fit; None, as for a file: any length.
    """
    lines = []
    for record in records:
        lines += (comparison_table if is_comparison(record) else run_table).table(record, columns)
        for verdict in record["verdicts"]:
            where = f"  [{verdict['nodeid']}]" if verdict["nodeid"] else ""
            lines.append(f"  {verdict['status']} {verdict['sentence']}{where}")
        for why in record.get("why", ()):  # absent in comparisons and in old records
            first, *more = why["lines"]
            lines += [f"  why {why['queue']} was late: {first}", *(f"    {line}" for line in more)]
        lines += [f"  NO VERDICT {no['sentence']}  [{no['nodeid']}]" for no in record["refused"]]
        lines += [f"  ! {sentence}" for sentence in run_table.advice(record["verdicts"])]
    return [fits for line in lines for fits in wrapped(line, columns)]


def without_target(records: list[Record]) -> list[str]:
    """Return one line that names the tests whose runs no target judged; none if there are none.

    Args:
        records: of the session; those of old files do not say whether anything was.
    """
    idle = [run for run in records if not is_comparison(run) and not run.get("asserted", True)]
    if not idle:
        return []
    tests = ", ".join(dict.fromkeys(run["origin"] or "no test" for run in idle))
    return [f"! no target was asserted of {len(idle)} run{'s' * (len(idle) > 1)}: {tests}"]


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

"""The machines of a session: a row for each host, with what its runs showed."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_xsched.base.terminal_text import printable
from pytest_xsched.reporting.comparison_table import is_comparison
from pytest_xsched.reporting.run_table import Record
from pytest_xsched.reporting.table_layout import fitted

HERE = "here"
_HEADS = ("host", "device", "runs", "PASS", "FAIL", "UNDECIDED", "NO VERDICT")


def host_lines(
    records: Sequence[Record], fleet: Sequence[str] = (), columns: int | None = None
) -> list[str]:
    """Return a table with a row for each machine; none where a session had one machine only.

    Args:
        records: runs and comparisons of the session.
        fleet: hosts on which tests were repeated; one without a record measured nothing.
        columns: of the terminal; None: any width fits.
    """
    of_hosts: dict[str, list[Record]] = {host: [] for host in fleet}
    for record in records:
        of_hosts.setdefault(host_of(record), []).append(record)
    if len(of_hosts) < 2:
        return []
    table = [_HEADS, *(_row(host, mine) for host, mine in of_hosts.items())]
    inner = None if columns is None else columns - 2
    lines = fitted(table, left=("host", "device"), keys=1, columns=inner)
    return [f"{len(of_hosts)} machines", *(f"  {line}" for line in lines)]


def host_of(record: Record) -> str:
    """Return the host that measured a run, or the arms of a comparison."""
    return str(_run(record).get("host") or HERE)  # absent in old records


def _run(record: Record) -> Record:
    run: Record = record
    if is_comparison(record):
        run = record["arms"][record["baseline"]][0]
    return run


def _row(host: str, records: list[Record]) -> tuple[str, ...]:
    devices = dict.fromkeys(_run(record)["device_name"] for record in records)
    verdicts = [verdict["status"] for record in records for verdict in record["verdicts"]]
    refused = sum(len(record["refused"]) for record in records)
    return (
        printable(host),
        printable(", ".join(devices)) or "-",
        str(len(records)) if records else "none",
        *(str(verdicts.count(status)) for status in ("PASS", "FAIL", "UNDECIDED")),
        str(refused),
    )

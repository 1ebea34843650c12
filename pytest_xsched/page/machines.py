"""The machines of a page: a row for each, and a table for what was measured on several of them.

A machine is that of a file, or a host of one of its runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from pytest_xsched.page.session_facts import machine, machine_key, moment
from pytest_xsched.page.source import Made, Source
from pytest_xsched.reporting import run_table
from pytest_xsched.reporting.comparison_table import is_comparison
from pytest_xsched.reporting.host_table import HERE
from pytest_xsched.reporting.run_table import Record
from pytest_xsched.reporting.terminal_summary import STATUSES

_FIGURES = slice(3, 8)
"""Of the cells of a row of the report: n, P50, P99, max and rate."""

VerdictsOf: TypeAlias = Callable[[Made], list[Record]]
"""Returns the targets of a run or a comparison."""


class Hosts:
    """Tell hosts of one name apart: another file may know another machine by it.

    In one file hosts of a name are one machine where processor and kernel are the same. In two
    files they are another one also where they have GPUs, and none in common.

    Args:
        everything: runs and comparisons of the page.
    """

    def __init__(self, everything: Iterable[Made]) -> None:
        gpus: dict[tuple[str, ...], set[str]] = {}
        for made in filter(_host, everything):
            gpus.setdefault(_in_its_file(made), set()).update(_gpus(made))
        known: dict[tuple[str, ...], list[set[str]]] = {}
        self._keys: dict[tuple[str, ...], tuple[str, ...]] = {}
        for place, found in gpus.items():
            _, *facts = place
            alike = known.setdefault(tuple(facts), [])
            there = (n for n, one in enumerate(alike) if not (one and found) or one & found)
            number = next(there, len(alike))
            if number == len(alike):
                alike.append(set())
            alike[number] |= found
            self._keys[place] = ("host", *facts, str(number))

    def key(self, made: Made) -> tuple[str, ...]:
        """Return what tells the machine of a run or a comparison from others."""
        if not _host(made):
            return machine_key(made.source.document)
        return self._keys[_in_its_file(made)]

    def name(self, made: Made) -> str:
        """Return the name of a host, with a number where there are several of that name."""
        host = _host(made)
        same = list(dict.fromkeys(key for key in self._keys.values() if key[1] == host))
        return host if len(same) == 1 else f"{host} ({same.index(self.key(made)) + 1})"


def _in_its_file(made: Made) -> tuple[str, ...]:
    facts = _run(made)["fingerprint"]
    return (
        *(str(id(made.source)), _host(made)),
        *(str(facts[name]) for name in ("cpu", "kernel", "cpu_count")),
    )


def _gpus(made: Made) -> set[str]:
    devices = _run(made)["fingerprint"]["devices"]
    return {str(device["uuid"]) for device in devices if device.get("uuid")}


def machines(
    sources: Sequence[Source], everything: Sequence[Made], verdicts_of: VerdictsOf, hosts: Hosts
) -> list[Record]:
    """Describe every machine in a row; none where there is one only."""
    rows: dict[tuple[str, ...], Record] = {}
    for source in sources:
        mine = [made for made in everything if made.source is source]
        if not mine or not all(map(_host, mine)):
            devices = ", ".join(map(str, source.document["machine_info"]["xsched_devices"]))
            key = machine_key(source.document)
            _add(rows, key, source, machine(source.document), devices)
    for made in everything:
        if _host(made):
            facts = _run(made)["fingerprint"]
            what = _joined(hosts.name(made), facts["cpu"], f"Linux {facts['kernel']}")
            _add(rows, hosts.key(made), made.source, what, _run(made)["device_name"])
        row = rows[hosts.key(made)]
        row["runs"] += made.anchor.startswith("run")
        row["counts"].update(verdict["status"] for verdict in verdicts_of(made))
    if len(sources) < 2 and len(rows) < 2:
        return []
    for row in rows.values():
        if len(sources) < 2:  # a page of a session is that of its file
            row["files"] = []
        row["counts"] = [(status, row["counts"][status]) for status in STATUSES]
    return list(rows.values())


def _add(
    rows: dict[tuple[str, ...], Record],
    key: tuple[str, ...],
    source: Source,
    name: str,
    devices: str,
) -> None:
    row = rows.setdefault(
        key,
        {
            "machine": name,
            "devices": devices,
            "files": [],
            "commits": [],
            "runs": 0,
            "counts": Counter(),
        },
    )
    commit = source.document["commit_info"]["id"][:12]
    time = moment(source.document["datetime"])
    for of_row, value in (("files", f"{source.name}, {time}"), ("commits", commit)):
        if value not in row[of_row]:
            row[of_row].append(value)


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)


def _run(made: Made) -> Record:
    """Return a run, or the first of a comparison."""
    run: Record = made.record
    if is_comparison(run):
        run = run["arms"][run["baseline"]][0]
    return run


def _host(made: Made) -> str:
    """Return the host that measured; "" for the machine of the file."""
    return str(_run(made).get("host") or "")  # absent in old files


def alike(runs: Iterable[Made], verdicts_of: VerdictsOf, hosts: Hosts) -> list[Record]:
    """Describe what was measured on several machines: a table a scenario, a row a run."""
    groups: dict[tuple[str, ...], list[Made]] = {}
    for made in runs:
        record = made.record
        names = (queue["workload"] for queue in record["queues"])
        key = (_origin(made), record["scheduler"], *map(str, names))
        groups.setdefault(key, []).append(made)
    tables = []
    for (origin, *_), of_scenario in groups.items():
        if len(set(map(hosts.key, of_scenario))) < 2:
            continue
        rows = [
            {
                "machine": (_host(made) and hosts.name(made))
                or made.source.document["machine_info"]["node"],
                "device": run_table.device_title(made.record),
                "anchor": made.anchor,
                "queue": name,
                "first": number == 0,
                "cells": run_table.rows(made.record)[index][_FIGURES],
                "worst": worst(
                    verdict for verdict in verdicts_of(made) if verdict["queue"] in ("", name)
                ),
            }
            for index, name in enumerate(_queue_names(of_scenario[0].record), 1)
            for number, made in enumerate(of_scenario)
        ]
        head = run_table.rows(of_scenario[0].record)[0][_FIGURES]
        tables.append({"title": origin, "head": head, "rows": rows})
    return tables


def _origin(made: Made) -> str:
    """Return the test of a run without its host, on which --xsched-hosts repeats it."""
    origin = str(made.record["origin"])
    found = re.fullmatch(r"(.*)\[(.*)\]", origin)
    name = f"-{_host(made) or HERE}-"
    if not found or name not in f"-{found[2]}-":
        return origin
    others = f"-{found[2]}-".replace(name, "-", 1).strip("-")
    return f"{found[1]}[{others}]" if others else found[1]


def _queue_names(run: Record) -> list[str]:
    return [queue["name"] for queue in run["queues"]]


def worst(verdicts: Iterable[Record]) -> str:
    """Return the worst status of some verdicts; "" of none."""
    found = {verdict["status"] for verdict in verdicts}
    return next((status for status in STATUSES if status in found), "")

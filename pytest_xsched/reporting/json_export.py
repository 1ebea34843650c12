"""The JSON file in pytest-benchmark's schema, for its `compare`, `--csv` and `--histogram`.

One row a queue of each run, grouped by what makes runs comparable: a table of several files then
groups what may be compared. Our own data has the key "xsched". Plain dicts
only, because under xdist that is all there is.
"""

from __future__ import annotations

import datetime
import itertools
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from pytest_xsched.analysis.comparability import likeness_digest
from pytest_xsched.base.output_file import read_regular, write_whole
from pytest_xsched.base.units import format_duration
from pytest_xsched.errors import ScenarioError
from pytest_xsched.reporting.comparison_table import is_alternating, is_comparison
from pytest_xsched.reporting.rate_table import is_rate_search
from pytest_xsched.reporting.run_table import Record, title
from pytest_xsched.reporting.shared_parts import SharedParts, layout
from pytest_xsched.stats.shape import BOUNDED, SHARES

FORMAT = 3
"""Of the data under "xsched"; 3 has the commands of tests, shared parts, curves and blocks."""
READABLE = (2, FORMAT)
"""Formats of files that this version reads."""


def write_json(path: Path, content: Record) -> None:
    """Write a document to a file, whole or not at all.

    Args:
        path: the file, see `output_file.write_whole`.
        content: see `document`.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(path, layout(content) + "\n")


def read_back(content: Record) -> Record:
    """Return a document as a program gets it that reads the file."""
    return json.loads(layout(content))  # type: ignore[no-any-return]


_WAY_OUT = "write it with `pytest --xsched-json=FILE`"


def checked(path: Path, content: Any) -> Record:
    """Return the content of a file if it is one of --xsched-json with a format that is known.

    Raises:
        ScenarioError: it is not.
    """
    version = part_of(path, content, "format", _WAY_OUT)
    if version not in READABLE:
        raise ScenarioError(
            f"{path}: its format is {version!r}, and this version of pytest-xsched reads "
            f"{' and '.join(map(str, READABLE))}; {_WAY_OUT} again"
        )
    return content  # type: ignore[no-any-return]


def read_content(path: Path, way_out: str = _WAY_OUT) -> Any:
    """Return the content of a JSON file.

    Args:
        path: of the file; also a pipe that a shell hands down, as ``<(zcat qos.json.gz)``.
        way_out: what to do where it is no such file.

    Raises:
        ScenarioError: it cannot be read, or is no JSON.
    """
    try:
        handed_down = str(path).startswith("/dev/")  # such a pipe has its writer already
        data = path.read_bytes() if handed_down else read_regular(path)
        return json.loads(data, parse_constant=_refuse_constant)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}; {way_out}") from None
    except (ValueError, RecursionError):
        raise _not_ours(path, way_out) from None


def part_of(path: Path, content: Any, key: str, way_out: str) -> Any:
    """Return one key of what is under "xsched" in the content of a file.

    Raises:
        ScenarioError: there is none.
    """
    try:
        return content["xsched"][key]
    except (LookupError, TypeError):
        raise _not_ours(path, way_out) from None


def _not_ours(path: Path, way_out: str) -> ScenarioError:
    return ScenarioError(f"{path} is not a JSON file of pytest-xsched; {way_out}")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of a run")


def document(
    records: list[Record],
    rootdir: Path,
    findings: list[Record],
    reruns: Mapping[str, str] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
    searches: Sequence[Record] = (),
) -> Record:
    """Return the content of the file.

    Args:
        records: what `Run.to_dict`, `Comparison.to_dict` and `HighestRate.to_dict` gave.
        rootdir: where the tests lie, for the commit they are of.
        findings: about baselines, see `baseline_check.BaselineResult`.
        reruns: commands that run tests again, by node id.
        environment: what implementations of `pytest_xsched_environment` returned.
        searches: for the worst case, see `Worst.to_dict`; each with its test.
    """
    rate_searches = [record for record in records if is_rate_search(record)]
    runs = [
        record for record in records if not is_comparison(record) and not is_rate_search(record)
    ]
    comparisons = [record for record in records if is_comparison(record)]
    made = [row(run, queue) for run in runs for queue in run["queues"]]
    without = [one for one in made if "stats" not in one]
    measured = list(runs)
    for comparison in filter(is_alternating, comparisons):
        without += _of_arms(comparison["arms"])
        measured += itertools.chain.from_iterable(comparison["arms"].values())
    measured += rate_searches
    shared = SharedParts(runs)
    comparisons = [shared.without(comparison) for comparison in comparisons]
    return {
        "machine_info": machine_info(measured),
        "commit_info": commit_info(rootdir),
        "benchmarks": [row for row in made if "stats" in row],
        "datetime": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "version": _version(measured),
        "xsched": {
            "format": FORMAT,
            "shares_above": [float(share) for share in SHARES],
            "bounded": list(BOUNDED),
            "runs": runs,
            "comparisons": comparisons,
            "rate_searches": rate_searches,
            "shared": shared.tables,
            "tests": {nodeid: {"rerun": command} for nodeid, command in reruns.items()},
            "environment": dict(environment),
            "searches": list(searches),
            "baselines": findings,
            "without_a_row": without,
        },
    }


def _of_arms(arms: Record) -> list[Record]:
    """Describe of each queue of each arm that it has no rows: one an episode would be many."""
    return [
        {
            **_names(runs[0], queue),
            "reason": "comparisons have no rows: the runs of this queue are under "
            f'"comparisons", arm {arm!r}: {len(runs)}',
        }
        for arm, runs in arms.items()
        for queue in runs[0]["queues"]
    ]


def row(run: Record, queue: Record) -> Record:
    """Return the row of one queue, or, where its latencies mean nothing, name and `reason`."""
    scheduler = run["scheduler"]
    alike = likeness_digest(run)[:12]
    names = _names(run, queue)
    reason = _reason(run, queue)
    if reason:
        return {**names, "reason": reason}
    figures = ("p50_ns", "p95_ns", "p99_ns", "max_ns", "throughput_hz", "offered_hz", "suspended")
    return {
        "group": f"{queue['name']}: {queue['workload']}, "
        f"{format_duration(run['scenario']['duration_ns'])} on {run['device_kind']} ({alike})",
        **names,
        "param": scheduler,
        "params": {"scheduler": scheduler, "device": run["device_kind"]},
        "extra_info": {
            "run": title(run),
            "origin": run["origin"],
            **{key: queue[key] for key in figures},
            "verdicts": [
                verdict["sentence"]
                for verdict in run["verdicts"]
                if verdict["queue"] == queue["name"]
            ],
        },
        "options": {
            "disable_gc": False,
            "timer": "pytest-xsched",
            "min_rounds": queue["n"],
            "max_time": run["scenario"]["duration_ns"] / 1e9,
            "min_time": run["scenario"]["duration_ns"] / 1e9,
            "warmup": run["scenario"]["warmup_ns"] > 0,
        },
        "stats": {**queue["spread"], "iterations": 1},
    }


def _names(run: Record, queue: Record) -> Record:
    """Return both names of a row, which are equal for what is alike but for the draw."""
    start, scheduler = queue["name"], run["scheduler"]
    file = run["origin"].partition("::")[0]
    return {
        "name": f"{start}[{scheduler}]",
        "fullname": f"{file}::{start}[{scheduler}-{likeness_digest(run)[:12]}]",
    }


def _reason(run: Record, queue: Record) -> str:
    """Describe why the latencies of a queue cannot be compared with others; "" where they can."""
    evidence = run["evidence"]
    faults = [*evidence["faults"], *evidence["queue_faults"][queue["name"]]]
    if queue["spread"] is None and not faults:
        faults = [f"{queue['censored']} of {queue['n']} requests never completed"]
    return "; ".join(faults)


def machine_info(runs: list[Record]) -> Record:
    """Describe what machine this is, as pytest-benchmark does, and which devices it has."""
    devices = {run["device_name"]: None for run in runs}
    cpu = next((run["fingerprint"]["cpu"] for run in runs), None)
    return {
        "node": platform.node(),
        "processor": platform.processor(),
        "machine": platform.machine(),
        "python_implementation": platform.python_implementation(),
        "python_implementation_version": platform.python_version(),
        "python_version": platform.python_version(),
        "python_build": list(platform.python_build()),
        "release": platform.release(),
        "system": platform.system(),
        "cpu": {"brand_raw": cpu},
        "xsched_devices": list(devices),
    }


def commit_info(rootdir: Path) -> Record:
    """Describe the commit of the tests, as pytest-benchmark does; "unversioned" outside git."""
    commit = _git(rootdir, "rev-parse", "HEAD")
    if commit is None:
        return {"id": "unversioned", "time": None, "author_time": None, "dirty": False} | {
            "project": rootdir.name,
            "branch": "(unknown)",
        }
    branch = _git(rootdir, "rev-parse", "--abbrev-ref", "HEAD")
    return {
        "id": commit,
        "time": _git(rootdir, "show", "-s", "--pretty=format:%cI"),
        "author_time": _git(rootdir, "show", "-s", "--pretty=format:%aI"),
        "dirty": bool(_git(rootdir, "status", "--porcelain", "--untracked-files=no")),
        "project": rootdir.name,
        "branch": "(detached head)" if branch == "HEAD" else branch,
    }


def _git(rootdir: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(rootdir), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(runs: list[Record]) -> Any:
    """Name who wrote the file; pytest-benchmark writes its own release there."""
    package = next((run["fingerprint"]["packages"].get("pytest-xsched") for run in runs), None)
    return f"pytest-xsched {package}" if package else "pytest-xsched"

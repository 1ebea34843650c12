"""Every request of a session as one CSV file, which pandas, numpy, R and databases read at once.

The columns of a request are those of `Run.to_frame`. Those before them say which run it is of, and
which latency of its requests.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_xsched.analysis.run import Run

_OF_RUN = ("test", "run", "comparison", "arm", "episode", "scheduler", "device", "queue", "latency")
_OF_REQUEST = (
    *("scheduled_ns", "submitted_ns", "launched_ns", "completed_ns"),
    *("flags", "latency_ns", "measured"),
)
COLUMNS = (*_OF_RUN, *_OF_REQUEST)

Part = dict[str, Any]
"""The requests of a run or of a comparison in JSON's types, for the way out of an xdist worker."""


def part(runs: Iterable[tuple[str, int, Run]], *, is_comparison: bool) -> Part:
    """Return the requests of one run, or of the runs of a comparison.

    Args:
        runs: the arm and the number of the episode of each, and the run; "" and 0 where there is no
            comparison.
        is_comparison: whether they are of a comparison.
    """
    return {
        "is_comparison": is_comparison,
        "blocks": [
            {
                "test": run.origin,
                "arm": arm,
                "episode": episode,
                "scheduler": run.scheduler,
                "device": queue.spec.device or run.scenario.device,
                "queue": queue.name,
                "latency": queue.latency,
                "rows": _packed(_rows(queue.columns())),
            }
            for arm, episode, run in runs
            for of_requests in run.queues.values()
            for queue in (of_requests, *of_requests.latencies.values())
        ],
    }


def samples_file(path: Path, parts: Sequence[Part]) -> bytes:
    """Return the content of the file, compressed if its name says so.

    Args:
        path: of the file.
        parts: in the order of the runs and comparisons in the JSON file.
    """
    text = io.StringIO()
    text.write(",".join(COLUMNS) + "\n")
    places = {False: 0, True: 0}
    for one in parts:
        place = places[one["is_comparison"]]
        places[one["is_comparison"]] += 1
        run, comparison = (-1, place) if one["is_comparison"] else (place, -1)
        for block in one["blocks"]:
            values = {**block, "run": run, "comparison": comparison}
            start = _cells([values[name] for name in _OF_RUN])
            for row in _unpacked(block["rows"]).splitlines():
                text.write(f"{start},{row}\n")
    data = text.getvalue().encode("utf-8", errors="backslashreplace")
    return gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data


def _rows(columns: dict[str, Any]) -> str:
    lists = (columns[name].tolist() for name in _OF_REQUEST)
    return "\n".join(",".join(map(str, row)) for row in zip(*lists, strict=True))


def _cells(values: Sequence[object]) -> str:
    """Return the cells of a row, quoted where a name has commas, quotes or ends of lines."""
    row = io.StringIO()
    csv.writer(row).writerow(values)  # before Python 3.13 it quotes only the ends that it writes
    return row.getvalue().removesuffix("\r\n")


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode("ascii"), 1)).decode("ascii")


def _unpacked(text: str) -> str:
    return zlib.decompress(base64.b64decode(text)).decode("ascii")

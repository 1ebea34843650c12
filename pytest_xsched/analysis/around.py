"""What all queues did around one request, in JSON's types: for the timeline of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.native.command_record import CommandRecord, device_tells

if TYPE_CHECKING:
    from pytest_xsched.analysis.late_requests import LateRequest
    from pytest_xsched.analysis.run import Run

_MARGIN = 8
"""The time before and after the request is its latency divided by this."""
_SEEN = 400
"""A gap between commands of a request is drawn if it is longer than the whole divided by this."""
_SLICES_MOST = 120
"""Of one queue."""
_NEVER = np.iinfo(np.int64).max


def around(run: Run, queue: str, late: LateRequest) -> dict[str, Any] | None:
    """Return the commands and suspensions of all queues around a request.

    Args:
        run: of the request.
        queue: of the request.
        late: the request.

    Returns:
        None: the commands are not on record. Times are ns since the start of the run. A command is
        its request (an index of the samples of its queue), and when it was launched, began and
        ended. Where the device does not tell, it began when it was launched and the command before
        it was over. A command that only waits begins and ends at the end.
    """
    windows = [window for window in run.trace.windows if window.first[queue] <= late.index]
    if not windows:
        return None
    margin = max(1, late.latency_ns // _MARGIN)
    start = late.scheduled_ns - margin
    end = late.scheduled_ns + late.latency_ns + margin
    window = windows[-1]
    told = device_tells(window.records.values())
    return {
        "start_ns": start,
        "end_ns": end,
        "queues": [
            {"name": name, **_of_queue(record, window.first[name], start, end, told)}
            for name, record in window.records.items()
        ],
    }


def _of_queue(
    record: CommandRecord, first: int, start: int, end: int, told: bool
) -> dict[str, Any]:
    slices = _united(_slices(record.commands, first, start, end, told), (end - start) // _SEEN)
    longest = sorted(slices, key=lambda one: one[2] - one[3])[:_SLICES_MOST]
    return {
        "commands": sorted(longest, key=lambda one: one[1:]),
        "left_out": len(slices) - len(longest),
        "suspended": _suspended(record.suspensions, start, end),
    }


def _slices(
    commands: NDArray[np.void], first: int, start: int, end: int, told: bool
) -> list[list[int]]:
    launched = commands["launched_ns"]
    ended = commands["ended_ns" if told else "completed_ns"]
    if told:
        began = np.where(commands["began_ns"] < 0, np.maximum(launched, end), commands["began_ns"])
    else:
        over = np.where(ended < 0, _NEVER, ended)
        before = np.searchsorted(over, over, side="left") - 1  # one mark may cover several
        began = np.where(before < 0, launched, np.maximum(launched, over[before]))
    ended = np.where(ended < 0, np.maximum(began, end), ended)
    there = (launched < end) & (ended > start)
    columns = (commands["request"] + first, launched, began, ended)
    return [list(row) for row in zip(*(column[there].tolist() for column in columns), strict=True)]


def _united(slices: list[list[int]], gap_ns: int) -> list[list[int]]:
    """Make one slice of successive commands of a request that touch in the drawing."""
    found: list[list[int]] = []
    for request, launched, began, ended in slices:
        if found and found[-1][0] == request and began - found[-1][3] <= gap_ns:
            found[-1][3] = max(found[-1][3], ended)
        else:
            found.append([request, launched, began, ended])
    return found


def _suspended(changes: NDArray[np.void], start: int, end: int) -> list[list[int]]:
    """Return the spans in which a queue was suspended, within some time."""
    found: list[list[int]] = []
    since: int | None = None
    for at, suspended in zip(changes["at_ns"].tolist(), changes["suspended"].tolist(), strict=True):
        if suspended and since is None:
            since = at
        elif not suspended and since is not None:
            found.append([since, at])
            since = None
    if since is not None:
        found.append([since, end])
    inside = ([max(a, start), min(b, end)] for a, b in found if a < end and b > start)
    return list(inside)[:_SLICES_MOST]

"""For programs under test: says when their requests begin and end, and paces them.

    from pytest_xsched.client import requests

    for _ in requests():
        work()  # returns when the device has done it

Standard library only, one file: a program may also carry a copy. Without pytest-xsched around it,
it goes on for ever, as fast as it can.

The protocol, for programs in other languages. Times are ns of CLOCK_MONOTONIC, lines end with a
newline and are written at once. PYTEST_XSCHED_REPORT is the number of a descriptor to write to:
"ready PID" when the work is set up, then "begin TIME" and "end TIME" for each request, and at last
"done". PYTEST_XSCHED_START is one to read from: behind "ready" comes the line "START END"; its end
of file says that the program may end, and comes behind "done". PYTEST_XSCHED_ARRIVALS names a file
with the arrivals, one a line, in ns behind START; where it is not set, requests follow one another
until END, with a pause of PYTEST_XSCHED_THINK_NS.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

REPORT = "PYTEST_XSCHED_REPORT"
START = "PYTEST_XSCHED_START"
ARRIVALS = "PYTEST_XSCHED_ARRIVALS"
THINK_NS = "PYTEST_XSCHED_THINK_NS"

_SPIN_NS = 200_000  # a sleep may end that much late


def requests() -> Iterator[int]:
    """Yield once a request, when it is its time; gives its number.

    A request begins when it is yielded, and has ended when the next one is asked for. Once a
    process.
    """
    if REPORT not in os.environ:
        yield from itertools.count()
        return
    # Not for the children of this process: the end of file is one of this process.
    report, start = int(os.environ.pop(REPORT)), int(os.environ.pop(START))
    os.set_inheritable(report, False)
    os.set_inheritable(start, False)
    schedule = _arrivals()
    _say(report, f"ready {os.getpid()}")
    begin_ns, end_ns = _told(start)
    due = _closed(end_ns) if schedule is None else (begin_ns + at for at in schedule)
    for number, due_ns in enumerate(due):
        _sleep_until(due_ns)
        _say(report, f"begin {time.monotonic_ns()}")
        yield number
        _say(report, f"end {time.monotonic_ns()}")
    _say(report, "done")
    while os.read(start, 64):  # it is looked at until then
        pass


def _arrivals() -> list[int] | None:
    path = os.environ.get(ARRIVALS)
    if path is None:
        return None
    with open(path, encoding="ascii") as file:
        return [int(line) for line in file]


def _told(start: int) -> tuple[int, int]:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(start, 64)
        if not piece:
            raise SystemExit("pytest-xsched does not want this program any more")
        line += piece
    begin_ns, end_ns = line.split()
    _sleep_until(int(begin_ns))
    return int(begin_ns), int(end_ns)


def _closed(end_ns: int) -> Iterator[int]:
    think_ns = int(os.environ.get(THINK_NS, "0"))
    due_ns = time.monotonic_ns()
    while due_ns < end_ns:
        yield due_ns
        due_ns = time.monotonic_ns() + think_ns


def _sleep_until(due_ns: int) -> None:
    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        if left_ns > _SPIN_NS:
            time.sleep((left_ns - _SPIN_NS) / 1e9)


def _say(report: int, line: str) -> None:
    os.write(report, f"{line}\n".encode())

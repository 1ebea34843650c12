"""For programs under test: report when their requests begin and end, and pace them.

    from pytest_xsched.client import requests

    for _ in requests():
        work()  # returns when the device has finished

One file that needs only the standard library, so a program may carry a copy. Without pytest-xsched
the requests never end, and follow each other as fast as possible.

The protocol, for programs in other languages. Times are ns of CLOCK_MONOTONIC. A line ends with a
newline, and one call writes it whole. PYTEST_XSCHED_REPORT is the number of a file descriptor: the
program writes "ready PID" there when its work is set up and warm, then "begin TIME" and "end TIME"
for each request, and "done" at last. Requests that it does before "ready" do not count.
PYTEST_XSCHED_START is the number of a descriptor that it reads: the line "START END" comes after
"ready"; the end of file comes after "done", and then the program may end. PYTEST_XSCHED_ARRIVALS
names a file with the arrivals, one a line, in ns after START. Where it is not set, each request
follows the previous one until END, after a pause of PYTEST_XSCHED_THINK_NS. A time that cannot be
true, such as one after the moment when the line was read, makes the run invalid.

A run may have several windows; then PYTEST_XSCHED_AGAIN is 1. The program may write "ready PID"
again after "done", without a warm-up, and read the next line "START END", for which the file has
new arrivals; or the end of file. A program that does not do this is started anew for each window.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

__all__ = ["requests"]

REPORT = "PYTEST_XSCHED_REPORT"
START = "PYTEST_XSCHED_START"
ARRIVALS = "PYTEST_XSCHED_ARRIVALS"
THINK_NS = "PYTEST_XSCHED_THINK_NS"
AGAIN = "PYTEST_XSCHED_AGAIN"

_SPIN_NS = 200_000  # a sleep may end this late

_WARM_MOST = 100
_WARM_MOST_NS = 10_000_000_000
_WARM_BLOCK = 5
_WARM_GAIN = 0.9


def requests(*, warmup: int | None = None) -> Iterator[int]:
    """Yield the number of each request, when it is due.

    A request begins when its number is yielded, and ends when the loop continues. Call this once in
    a process.

    Requests that do not count come first, one after the other. They warm the program up, and then
    it reports that it is ready. They have the numbers of the first requests, 0, 1, 2, ..., and the
    measured requests begin again at 0. The warm-up ends when requests no longer become faster: the
    median of five is at least 0.9 times that of the five before. It ends after 100 requests in any
    case, or 10 s after its first request, which may compile. Without pytest-xsched there is none.

    A run may be measured in several windows. Then the numbers begin at 0 in each of them, and there
    is no further warm-up.

    Args:
        warmup: how many requests warm the program up; 0: none, the program does that itself before
            it calls this; None: as many as it takes.

    Raises:
        ValueError: `warmup` is no such number.
    """
    if warmup is not None and (type(warmup) is not int or warmup < 0):
        raise ValueError(
            f"requests(): warmup {warmup!r} is no number of requests; write 0 for none, or leave "
            "it out, and there are as many as it takes until their times are steady"
        )
    return _requests(warmup)


def _requests(warmup: int | None) -> Iterator[int]:
    if REPORT not in os.environ:
        yield from itertools.count()
        return
    # Children do not inherit them, or the end of file would wait for the children, too.
    report, start = int(os.environ.pop(REPORT)), int(os.environ.pop(START))
    os.set_inheritable(report, False)
    os.set_inheritable(start, False)
    may_go_on = os.environ.pop(AGAIN, "") == "1"
    schedule = _arrivals()
    yield from _warm_up(warmup, _warm_up_numbers(schedule))
    _write(report, f"ready {os.getpid()}")
    times_ns = _read_start(start)
    if times_ns is None:
        raise SystemExit("pytest-xsched has cancelled the run of this program")
    while times_ns is not None:
        yield from _window(report, schedule, *times_ns)
        if may_go_on:
            _write(report, f"ready {os.getpid()}")
        times_ns = _read_start(start)  # pytest-xsched inspects this process until then
        if times_ns is not None:
            schedule = _arrivals()  # of the next window


def _window(report: int, schedule: list[int] | None, begin_ns: int, end_ns: int) -> Iterator[int]:
    _sleep_until(begin_ns)
    due = _back_to_back(end_ns) if schedule is None else (begin_ns + at for at in schedule)
    for number, due_ns in enumerate(due):
        _sleep_until(due_ns)
        _write(report, f"begin {time.monotonic_ns()}")
        yield number
        _write(report, f"end {time.monotonic_ns()}")
    _write(report, "done")


def _warm_up_numbers(schedule: list[int] | None) -> Iterator[int]:
    """Yield no number that the measured requests do not have."""
    return itertools.cycle(range(len(schedule))) if schedule else itertools.count()


def _warm_up(count: int | None, numbers: Iterator[int]) -> Iterator[int]:
    taken_ns: list[int] = []
    while not _is_warm(taken_ns) if count is None else len(taken_ns) < count:
        begin_ns = time.monotonic_ns()
        yield next(numbers)
        taken_ns.append(time.monotonic_ns() - begin_ns)


def _is_warm(taken_ns: list[int]) -> bool:
    """Check whether a warm-up may end after requests that took these times."""
    if len(taken_ns) >= _WARM_MOST or sum(taken_ns[1:]) >= _WARM_MOST_NS:
        return True
    if len(taken_ns) < 2 * _WARM_BLOCK or len(taken_ns) % _WARM_BLOCK:
        return False
    earlier, latest = taken_ns[-2 * _WARM_BLOCK : -_WARM_BLOCK], taken_ns[-_WARM_BLOCK:]
    return sorted(latest)[_WARM_BLOCK // 2] >= _WARM_GAIN * sorted(earlier)[_WARM_BLOCK // 2]


def _arrivals() -> list[int] | None:
    path = os.environ.get(ARRIVALS)
    if path is None:
        return None
    with open(path, encoding="ascii") as file:
        return [int(line) for line in file]


def _read_start(start: int) -> tuple[int, int] | None:
    """Return begin and end of the next window; None: there is none."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(start, 64)
        if not piece:
            return None
        line += piece
    begin_ns, end_ns = line.split()
    return int(begin_ns), int(end_ns)


def _back_to_back(end_ns: int) -> Iterator[int]:
    think_ns = int(os.environ.get(THINK_NS, "0"))
    due_ns = time.monotonic_ns()
    while due_ns < end_ns:
        yield due_ns
        due_ns = time.monotonic_ns() + think_ns


def _sleep_until(due_ns: int) -> None:
    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        if left_ns > _SPIN_NS:
            time.sleep((left_ns - _SPIN_NS) / 1e9)


def _write(report: int, line: str) -> None:
    os.write(report, f"{line}\n".encode())

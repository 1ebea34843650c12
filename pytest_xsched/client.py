"""For programs under test: report when their requests begin and end, and pace them.

    from pytest_xsched.client import milestone, requests

    for _ in requests():
        work()  # returns when the device has finished
        milestone("copied")  # if there are moments in a request that have limits of their own
        more()

A program with many requests in flight has a coroutine for each of them:

    from pytest_xsched.client import milestone, run_requests

    async def answer(number):
        async for token in model.stream(prompts[number]):
            milestone("token")

    asyncio.run(run_requests(answer))

Where the load has sizes of requests, such as a trace, ``sizes(number)`` returns those of one.

One file that needs only the standard library, so a program may carry a copy. Without pytest-xsched
the requests never end, and follow each other as fast as possible.

docs/reference/programs.md has the protocol, for programs in other languages. This client speaks
version 2 where pytest-xsched does, else version 1.
"""

from __future__ import annotations

import contextvars
import itertools
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["fail", "milestone", "requests", "run_requests", "sizes"]

REPORT = "PYTEST_XSCHED_REPORT"
START = "PYTEST_XSCHED_START"
ARRIVALS = "PYTEST_XSCHED_ARRIVALS"
THINK_NS = "PYTEST_XSCHED_THINK_NS"
AGAIN = "PYTEST_XSCHED_AGAIN"
PROTOCOL = "PYTEST_XSCHED_PROTOCOL"
SIZES = "PYTEST_XSCHED_SIZES"

WARM_UP = "warm up"
"""In place of a start: another run begins, so do a warm-up and report ready. Only the programs of
eager models get it; see `requests`."""

_SPIN_NS = 200_000  # a sleep may end this late
_COARSE_NS = 1_200_000  # and one of asyncio
_CANCELLED = "pytest-xsched has cancelled the run of this program"

_WARM_MOST = 100
_WARM_MOST_NS = 10_000_000_000
_WARM_BLOCK = 5
_WARM_GAIN = 0.9

_NAME = re.compile("[a-z][a-z0-9_]{0,39}")
_REASON_MAX = 200


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
    _check_warmup("requests()", warmup)
    return _requests(warmup)


def milestone(name: str) -> None:
    """Report that the current request has reached a moment with a name, such as "first_token".

    The moment is now. A name may come once in a request, or several times, as "token" does. The
    current request is the one that `requests` has yielded, or the one whose coroutine calls this
    under `run_requests`, also by `asyncio.to_thread`. In a warm-up, and without pytest-xsched,
    nothing happens.

    Args:
        name: letters a-z, digits and underscores, at most 40; a program has at most 16 names.

    Raises:
        ValueError: `name` is no such name.
        RuntimeError: there is no current request, but there are others.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"milestone(): {name!r} is no name; write up to 40 letters a-z, digits and "
            'underscores, such as "first_token"'
        )
    request = _current("milestone()")
    if request is not None:
        request.reach(name)


def fail(reason: str) -> None:
    """Report that the current request has failed; its latency is then above every limit.

    A failed request still ends where it ends: when the loop of `requests` continues. Under
    `run_requests` an exception does the same.

    Args:
        reason: what went wrong, in few words: equal reasons are counted.

    Raises:
        RuntimeError: there is no current request, but there are others.
    """
    request = _current("fail()")
    if request is not None:
        request.reason = " ".join(str(reason).split())[:_REASON_MAX] or "no reason"


async def run_requests(
    work: Callable[[int], Awaitable[object]],
    *,
    limit: int | None = None,
    warmup: int | None = None,
) -> None:
    """Await `work(number)` for each request, begun when it is due, with many in flight.

    A request ends when its coroutine returns, and has failed if that raises an exception; the
    exception goes no further. Call this once in a process. The warm-up and the windows of a run
    are those of `requests`; in a warm-up, and in a closed loop, requests follow each other.

    Args:
        work: is called with the number of the request.
        limit: the most requests in flight. One that is due while there are as many begins later,
            and counts as held: its latency still counts from when it was due. None: no limit.
        warmup: see `requests`. What the coroutine raises in the warm-up ends the program.

    Raises:
        ValueError: `limit` or `warmup` is no such number.
    """
    import asyncio  # takes long, and is needed here only

    if limit is not None and (type(limit) is not int or limit < 1):
        raise ValueError(
            f"run_requests(): limit {limit!r} is no number of requests in flight; write 1 or more, "
            "or leave it out"
        )
    _check_warmup("run_requests()", warmup)
    connection = _connect()
    if connection is None:
        for number in itertools.count():
            await work(number)
        return
    schedule = _arrivals()
    for number in _warm_up(warmup, _warm_up_numbers(schedule)):
        await work(number)
    connection.ready()
    times_ns = await asyncio.to_thread(connection.read_start)
    if times_ns is None:
        raise SystemExit(_CANCELLED)
    while times_ns is not None:
        await _concurrent_window(connection, work, limit, schedule, *times_ns)
        connection.ready_again()
        times_ns = await asyncio.to_thread(connection.read_start)
        if times_ns is not None:
            schedule = _arrivals()


async def _concurrent_window(
    connection: _Connection,
    work: Callable[[int], Awaitable[object]],
    limit: int | None,
    schedule: list[int] | None,
    begin_ns: int,
    end_ns: int,
) -> None:
    import asyncio

    async def one(request: _Request, number: int) -> None:
        current_request.set(request)
        try:
            await work(number)
        except (Exception, asyncio.CancelledError) as error:
            fail(f"{type(error).__name__}: {error}")
        request.end()

    in_flight: set[asyncio.Task[None]] = set()
    _state.many = True
    await _wait_until(begin_ns)
    due = _back_to_back(end_ns) if schedule is None else (begin_ns + at for at in schedule)
    most = limit if connection.is_numbered and schedule is not None else 1
    free_ns = 0
    for number, due_ns in enumerate(due):
        await _wait_until(due_ns)
        while most is not None and len(in_flight) >= most:
            await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
            free_ns = time.monotonic_ns()
        if due_ns < free_ns:  # it waited for room, itself or after others
            connection.hold(number)
        request = _Request(connection, number)
        request.begin()
        task = asyncio.create_task(one(request, number))
        in_flight.add(task)
        task.add_done_callback(in_flight.discard)
        if schedule is None:
            await task
    if in_flight:
        await asyncio.wait(in_flight)
    _state.many = False
    connection.write("done")


async def _wait_until(due_ns: int) -> None:
    import asyncio

    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        await asyncio.sleep(max(0, left_ns - _COARSE_NS) / 1e9)


def _requests(warmup: int | None) -> Iterator[int]:
    connection = _connect()
    if connection is None:
        yield from itertools.count()
        return
    schedule = _arrivals()
    yield from _warm_up(warmup, _warm_up_numbers(schedule))
    connection.ready()
    times_ns = connection.read_start()
    if times_ns is None:
        raise SystemExit(_CANCELLED)
    while times_ns is not None:
        yield from _window(connection, schedule, *times_ns)
        connection.ready_again()
        line = connection.read_line()  # pytest-xsched inspects this process until then
        if line:
            schedule = _arrivals()  # of the next window
        if line == WARM_UP:
            yield from _warm_up(warmup, _warm_up_numbers(schedule))
            connection.ready()
            line = connection.read_line()
        times_ns = _times(line)


def _window(
    connection: _Connection, schedule: list[int] | None, begin_ns: int, end_ns: int
) -> Iterator[int]:
    _sleep_until(begin_ns)
    due = _back_to_back(end_ns) if schedule is None else (begin_ns + at for at in schedule)
    ended_ns = 0
    for number, due_ns in enumerate(due):
        if schedule is not None and due_ns < ended_ns:
            connection.hold(number)
        _sleep_until(due_ns)
        request = _Request(connection, number)
        request.begin()
        _state.one = request
        yield number
        _state.one = None
        ended_ns = request.end()
    connection.write("done")


class _Connection:
    """The descriptors of the protocol."""

    def __init__(self) -> None:
        # Children do not inherit them, or the end of file would wait for the children, too.
        self._report, self._start = int(os.environ.pop(REPORT)), int(os.environ.pop(START))
        os.set_inheritable(self._report, False)
        os.set_inheritable(self._start, False)
        self._may_go_on = os.environ.pop(AGAIN, "") == "1"
        self.is_numbered = int(os.environ.pop(PROTOCOL, "1")) >= 2

    def write(self, line: str) -> None:
        os.write(self._report, f"{line}\n".encode(errors="backslashreplace"))

    def ready(self) -> None:
        self.write(f"ready {os.getpid()}" + (" 2" if self.is_numbered else ""))

    def ready_again(self) -> None:
        if self._may_go_on:
            self.ready()

    def hold(self, number: int) -> None:
        if self.is_numbered:
            self.write(f"held {number}")

    def read_start(self) -> tuple[int, int] | None:
        """Return begin and end of the next window; None: there is none."""
        return _times(self.read_line())

    def read_line(self) -> str:
        """Return the next line without its end; "": there is none."""
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self._start, 64)
            if not piece:
                return ""
            line += piece
        return line[:-1].decode("ascii")


def _times(line: str) -> tuple[int, int] | None:
    if not line:
        return None
    begin_ns, end_ns = line.split()
    return int(begin_ns), int(end_ns)


class _Request:
    """A request that is reported."""

    def __init__(self, connection: _Connection, number: int) -> None:
        self._connection = connection
        self._number = f"{number} " if connection.is_numbered else ""
        self.reason = ""

    def begin(self) -> None:
        self._connection.write(f"begin {self._number}{time.monotonic_ns()}")

    def reach(self, name: str) -> None:
        if self._number:
            self._connection.write(f"at {self._number}{name} {time.monotonic_ns()}")

    def end(self) -> int:
        """Report the end; return its time."""
        now_ns = time.monotonic_ns()
        if not self.reason:
            self._connection.write(f"end {self._number}{now_ns}")
        elif self._number:
            self._connection.write(f"fail {self._number}{now_ns} {self.reason}")
        else:
            raise SystemExit(
                f"a request failed: {self.reason}; pytest-xsched is too old to count it"
            )
        return now_ns


class _State:
    one: _Request | None = None
    """The request that `requests` has yielded."""
    many = False
    """Whether `run_requests` has requests."""
    sizes: list[dict[str, int]] | None = None
    """The sizes of the requests of the window; None: not read yet."""


_state = _State()
current_request: contextvars.ContextVar[Any] = contextvars.ContextVar("request", default=None)
"""The request whose coroutine runs: what has `reach(name)` and a `reason`."""


def _current(call: str) -> _Request | None:
    request: _Request | None = current_request.get() or _state.one
    if request is None and _state.many:
        raise RuntimeError(
            f"{call} was called outside of a request; in another thread it takes the context of "
            "the request, as asyncio.to_thread() gives it"
        )
    return request


def is_measured() -> bool:
    """Return whether the current request is measured, and belongs to no warm-up."""
    return _current("is_measured()") is not None


def _connect() -> _Connection | None:
    return _Connection() if REPORT in os.environ else None


def _check_warmup(call: str, warmup: int | None) -> None:
    if warmup is not None and (type(warmup) is not int or warmup < 0):
        raise ValueError(
            f"{call}: warmup {warmup!r} is no number of requests; write 0 for none, or leave "
            "it out, and there are as many as it takes until their times are steady"
        )


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


def sizes(number: int) -> dict[str, int]:
    """Return the sizes of a request by name, such as ``{"tokens_in": 4096, "tokens_out": 12}``.

    Args:
        number: of the request, as `requests` yields it.

    Returns:
        Nothing where the load has no sizes, and without pytest-xsched.
    """
    if _state.sizes is None:
        path = os.environ.get(SIZES)
        lines = []
        if path is not None:
            with open(path, encoding="utf-8") as file:
                lines = [line.rstrip("\n").split(",") for line in file]
        _state.sizes = [dict(zip(lines[0], map(int, line), strict=True)) for line in lines[1:]]
    return _state.sizes[number] if number < len(_state.sizes) else {}


def _arrivals() -> list[int] | None:
    _state.sizes = None  # of the window before
    path = os.environ.get(ARRIVALS)
    if path is None:
        return None
    with open(path, encoding="ascii") as file:
        return [int(line) for line in file]


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

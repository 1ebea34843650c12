"""Send requests when they are due: in open loop as many at once as it takes, on one asyncio loop.

Request i is sent at START + arrival i, whatever became of those before it. A timer file of the
kernel wakes the loop a little earlier, and the rest is spent spinning. While a window is measured
Python collects no garbage.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from pytest_xsched.clients.request import Failed, ReportWriter, Request
from pytest_xsched.clients.timer import Timer

SPIN_NS = 100_000
"""Time before a request is due at which the loop is woken: the kernel may need as long."""
FLUSH_S = 0.02
"""Time between two writes of the lines about requests."""


class Sender(Protocol):
    """Does requests in one way, such as HTTP/1.1."""

    def prepare(self, number: int, sizes: dict[str, int] | None) -> Any:
        """Return what the request sends; this is called before it is due.

        Args:
            number: among all requests that are sent to the server; none comes twice.
            sizes: of the request; None: it has none.
        """

    async def send(self, request: Request) -> None:
        """Send a request; call `request.begin()` when it is really sent.

        Raises:
            Exception: it failed; `describe` makes the reason of it.
        """

    def describe(self, error: BaseException) -> str:
        """Return why a request failed, in a few words."""


class _Unprepared:
    def __init__(self, error: Exception) -> None:
        self.error = error


class Engine:
    """Does the requests of a window.

    Args:
        sender: of requests.
        writer: of the lines about them.
        in_flight: the most requests at once.
        timeout_ns: longest time of a request.
        sizes: of the requests; None: the load has none.
        first: number of the first request, among all that are sent to the server.
    """

    def __init__(
        self,
        sender: Sender,
        writer: ReportWriter,
        *,
        in_flight: int,
        timeout_ns: int,
        sizes: Sequence[dict[str, int]] | None = None,
        first: int = 0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sender = sender
        self._writer = writer
        self._in_flight = in_flight
        self._timeout_ns = timeout_ns
        self._sizes = sizes
        self.following = first
        """Number of the request that is prepared next."""
        self._due_ns: list[int] = []
        self._next = 0
        self._prepared: Any = None
        self._held: deque[Request] = deque()
        self._deadlines: deque[tuple[int, Request, asyncio.Task[None]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: Timer | None = None
        self.fault = ""
        """Why a request of a warm-up failed; empty: it did not."""

    async def warm_up(self, number: int) -> int:
        """Send a request that is not reported; return how long it took, in ns."""
        sizes = None if self._sizes is None else self._sizes[number]
        silent = ReportWriter(None)
        request = Request(number, silent, sizes, self._prepare(number))
        begin_ns = time.monotonic_ns()
        await self._watched(request)
        return time.monotonic_ns() - begin_ns

    async def open_loop(self, start_ns: int, arrivals_ns: Sequence[int]) -> None:
        """Send a request at each arrival; return when all have ended.

        Args:
            start_ns: moment of CLOCK_MONOTONIC from which arrivals count.
            arrivals_ns: ascending.
        """
        self._due_ns = [start_ns + at for at in arrivals_ns]
        if not self._due_ns:
            return
        self._timer = Timer(self._loop, self._dispatch)
        with _without_garbage_collection(), self._flushing():
            self._prepared = self._prepare(0)
            self._timer.set(self._due_ns[0] - SPIN_NS)
            await self._over
        self._timer.close()

    async def closed_loop(self, start_ns: int, end_ns: int, think_ns: int) -> None:
        """Send requests one after the other until `end_ns`, with a pause after each."""
        due_ns, number = start_ns, 0
        with _without_garbage_collection(), self._flushing():
            while due_ns < end_ns:
                sizes = None if self._sizes is None else self._sizes[number % len(self._sizes)]
                request = Request(number, self._writer, sizes, self._prepare(number))
                await self._sleep_until(due_ns)
                await self._watched(request)
                due_ns = time.monotonic_ns() + think_ns
                number += 1

    # ---- inside

    def _prepare(self, number: int) -> Any:
        sizes = self._sizes
        size = None if sizes is None else sizes[number % len(sizes)]
        following, self.following = self.following, self.following + 1
        try:
            return self._sender.prepare(following, size)
        except Exception as error:  # of the user's function; the request fails when it is due
            return _Unprepared(error)

    async def _sleep_until(self, due_ns: int) -> None:
        if due_ns - SPIN_NS > time.monotonic_ns():
            woken = asyncio.Event()
            timer = Timer(self._loop, woken.set)
            timer.set(due_ns - SPIN_NS)
            await woken.wait()
            timer.close()
        _spin_until(due_ns)

    def _dispatch(self) -> None:
        """Send the next request, if it is due, and set the timer for the one after it."""
        due_ns = self._due_ns[self._next]
        assert self._timer is not None
        if due_ns - SPIN_NS > time.monotonic_ns():
            self._timer.set(due_ns - SPIN_NS)
            return
        number, self._next = self._next, self._next + 1
        sizes = None if self._sizes is None else self._sizes[number]
        request = Request(number, self._writer, sizes, self._prepared)
        _spin_until(due_ns)
        if self._held or len(self._running) >= self._in_flight:
            self._writer.add(f"held {number}")
            self._held.append(request)
        else:
            self._launch(request)
        # One request a turn of the loop, so that answers are read between two that are due.
        if self._next < len(self._due_ns):
            self._prepared = self._prepare(self._next)
            self._timer.set(self._due_ns[self._next] - SPIN_NS)

    def _launch(self, request: Request) -> None:
        task = _start(self._loop, self._do(request))
        self._running.add(task)
        self._deadlines.append((time.monotonic_ns() + self._timeout_ns, request, task))
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not self._over.done():
                self._over.set_exception(error)  # a bug of ours, not of the server
            return
        while self._held and len(self._running) < self._in_flight:
            self._launch(self._held.popleft())
        if self._next == len(self._due_ns) and not self._running and not self._over.done():
            self._over.set_result(None)

    async def _watched(self, request: Request) -> None:
        """Send one request on its own, with its deadline."""
        task = asyncio.ensure_future(self._do(request))
        if not (await asyncio.wait([task], timeout=self._timeout_ns / 1e9))[0]:
            request.timed_out = True
            task.cancel()
        await task

    async def _do(self, request: Request) -> None:
        try:
            if isinstance(request.prepared, _Unprepared):
                raise request.prepared.error
            await self._sender.send(request)
        except asyncio.CancelledError:  # by us for its time, or by the user's code
            self._fail(request, self._late() if request.timed_out else "it was cancelled")
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # also SystemExit, and what pytest.skip raises
            self._fail(request, self._sender.describe(error))
        else:
            request.begin()
            request.end()
            if request.reason:
                self._fail(request, request.reason)
            elif request.timed_out or request.ended_ns - request.begun_ns > self._timeout_ns:
                self._fail(request, self._late())
            else:
                request.report_success()

    def _late(self) -> str:
        return f"no whole answer within {self._timeout_ns / 1e9:g} s"

    def _fail(self, request: Request, reason: str) -> None:
        self.fault = reason
        request.report_failure(reason)

    def _cancel_late(self) -> None:
        now_ns = time.monotonic_ns()
        while self._deadlines and (self._deadlines[0][0] <= now_ns or self._deadlines[0][2].done()):
            _, request, task = self._deadlines.popleft()
            if not task.done():
                request.timed_out = True
                task.cancel()

    @contextmanager
    def _flushing(self) -> Iterator[None]:
        """Write the lines every few milliseconds, and cancel what takes too long."""

        flushing = asyncio.ensure_future(self._flush_for_ever())
        try:
            yield
        finally:
            flushing.cancel()
            self._deadlines.clear()
            self._writer.flush_all()

    async def _flush_for_ever(self) -> None:
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                self._writer.flush()
                self._cancel_late()
        except Exception as error:  # pytest-xsched no longer reads
            if not self._over.done():
                self._over.set_exception(error)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those from which it came."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or one in seen:
            continue
        yield one
        seen.append(one)
        todo += [one.__context__, one.__cause__, getattr(one, "os_error", None)]


def describe_error(error: BaseException) -> str:
    """Return why a request failed, where the error is one of the network or ours."""
    if isinstance(error, Failed):
        return str(error)
    for cause in causes(error):
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, (ConnectionResetError, BrokenPipeError)):
            return "connection reset"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _spin_until(due_ns: int) -> None:
    while time.monotonic_ns() < due_ns:
        pass


_Start = Callable[[asyncio.AbstractEventLoop, Coroutine[Any, Any, None]], "asyncio.Task[None]"]


def _start_eagerly(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]
) -> asyncio.Task[None]:
    """Start a task at once, and not in the next turn of the loop."""
    return asyncio.Task(work, loop=loop, eager_start=True)  # type: ignore[call-arg,unused-ignore]


def _start_soon(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]
) -> asyncio.Task[None]:
    return loop.create_task(work)


_start: _Start = _start_eagerly if sys.version_info >= (3, 12) else _start_soon


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Collect what there is, and nothing more until the end of the window."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

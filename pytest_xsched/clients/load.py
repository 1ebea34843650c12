"""The load process: `python -m pytest_xsched.clients.load` sends the requests of an endpoint.

It runs as a program of the user does, and speaks version 2 of the protocol of programs. What is
wrong with the endpoint it writes as one sentence, which `error_of` finds.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pytest_xsched.base.extras import require_extra
from pytest_xsched.client import AGAIN, ARRIVALS, REPORT, SIZES, START, THINK_NS
from pytest_xsched.clients.engine import Engine
from pytest_xsched.clients.request import ReportWriter
from pytest_xsched.errors import MissingExtra, ScenarioError
from pytest_xsched.models.factory import Place
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX
from pytest_xsched.scenario.endpoint import ENDPOINT_VARIABLE, MAKERS, Endpoint

PLACE_VARIABLE = "PYTEST_XSCHED_ENDPOINT_PLACE"
"""The variable with the place of the user's code, as JSON."""
FIRST_VARIABLE = "PYTEST_XSCHED_FIRST_NUMBER"
"""The variable with the number of the first request that is measured. A process of pytest gives no
number twice, also in a warm-up, a later window or another run: a server with a cache would not
compute that request."""
_STARTED = itertools.count()
"""Load processes of this process so far."""

_ERROR = "pytest-xsched, endpoint: "
_FAILED = 3
_WARM_MOST, _WARM_BLOCK, _WARM_GAIN = 50, 5, 0.9
_WARM_MOST_NS = 5_000_000_000
_SPARE_FILES = 64


def variables() -> dict[str, str]:
    """Return what the next load process needs from the process that starts it."""
    first = next(_STARTED) * SAMPLES_MAX
    return {PLACE_VARIABLE: json.dumps(asdict(Place.here())), FIRST_VARIABLE: str(first)}


def error_of(output: str) -> str:
    """Return the sentence that the load process wrote about its endpoint; '' if it wrote none."""
    lines = [line for line in output.splitlines() if line.startswith(_ERROR)]
    return lines[-1].removeprefix(_ERROR) if lines else ""


def require_packages(endpoint: Endpoint) -> None:
    """Check that the package that sends the requests is installed.

    Raises:
        MissingExtra: it is not.
    """
    if endpoint.url.startswith("grpc"):
        require_extra("tritonclient", "triton")
        require_extra("grpc", "triton")
    elif endpoint.http2:
        require_extra("httpx", "http")
        require_extra("h2", "http")
    elif endpoint.url:
        require_extra("aiohttp", "http")


def main() -> int:
    """Send the requests of an endpoint, as the run wants them."""
    endpoint = Endpoint.from_json(os.environ.pop(ENDPOINT_VARIABLE))
    data = json.loads(os.environ.pop(PLACE_VARIABLE))
    place = Place(**{**data, "paths": tuple(data["paths"])})
    try:
        asyncio.run(_serve(endpoint, place))
    except (ScenarioError, MissingExtra) as error:
        print(f"{_ERROR}{error}", file=sys.stderr, flush=True)
        return _FAILED
    except BrokenPipeError:  # pytest-xsched has ended
        return _FAILED
    return 0


async def _serve(endpoint: Endpoint, place: Place) -> None:
    report, start = int(os.environ.pop(REPORT)), int(os.environ.pop(START))
    for fd in (report, start):
        os.set_inheritable(fd, False)
    may_go_on = os.environ.pop(AGAIN, "") == "1"
    in_flight = _open_files(endpoint.in_flight)
    writer = ReportWriter(report)
    async with make_sender(endpoint, place) as sender:
        arrivals, sizes = _arrivals(), _sizes()
        following = int(os.environ.pop(FIRST_VARIABLE))
        warm_ups = following + SAMPLES_MAX - _WARM_MOST
        await _warm_up(endpoint, sender, arrivals, sizes, first=warm_ups)
        while True:
            writer.add(f"ready {os.getpid()} 2")
            writer.flush_all()
            window_ns = await _read_start(start)
            if window_ns is None:
                return
            arrivals, sizes = _arrivals(), _sizes()
            engine = Engine(
                sender,
                writer,
                in_flight=in_flight,
                timeout_ns=endpoint.timeout_ns,
                sizes=sizes,
                first=following,
            )
            if arrivals is None:
                think_ns = int(os.environ.get(THINK_NS, "0"))
                await engine.closed_loop(*window_ns, think_ns)
            else:
                await engine.open_loop(window_ns[0], arrivals)
            following = engine.following
            writer.add("done")
            writer.flush_all()
            if not may_go_on:
                await _read_start(start)  # pytest-xsched inspects this process until then
                return


def make_sender(endpoint: Endpoint, place: Place) -> Any:
    """Return what sends the requests of an endpoint, an asynchronous context manager.

    Raises:
        MissingExtra: a package is not installed.
        ScenarioError: a function of the user is not found, or a variable is not set.
    """
    require_packages(endpoint)
    from pytest_xsched.clients.functions import ClientSender, UserFunction

    what = MAKERS[endpoint.api]
    if endpoint.api == "client":
        return ClientSender(endpoint, place)
    body = success = None
    if endpoint.body_function:
        body = UserFunction(what, endpoint.body_function, place)
    if endpoint.success_function:
        success = UserFunction(what, endpoint.success_function, place)
    if endpoint.url.startswith("grpc"):
        from pytest_xsched.clients.kserve import GrpcSender

        return GrpcSender(endpoint, body)
    if endpoint.api == "kserve":
        from pytest_xsched.clients.kserve import KServeSender

        return KServeSender(endpoint, body)
    if endpoint.api in ("chat", "completions"):
        from pytest_xsched.clients.openai import OpenAISender

        return OpenAISender(endpoint, body)
    from pytest_xsched.clients.http import Http2Sender, HttpSender

    return (Http2Sender if endpoint.http2 else HttpSender)(endpoint, body, success)


async def _warm_up(
    endpoint: Endpoint,
    sender: Any,
    arrivals: Sequence[int] | None,
    sizes: Sequence[dict[str, int]] | None,
    *,
    first: int,
) -> None:
    """Send requests that do not count until they no longer become faster.

    Raises:
        ScenarioError: the first one failed.
    """
    engine = Engine(
        sender,
        ReportWriter(None),
        in_flight=1,
        timeout_ns=endpoint.timeout_ns,
        sizes=sizes,
        first=first,
    )
    count = _WARM_MOST if arrivals is None else len(arrivals)
    taken_ns: list[int] = []
    while count and not _is_warm(taken_ns):
        taken_ns.append(await engine.warm_up(len(taken_ns) % count))
        if engine.fault and len(taken_ns) == 1:
            fault = engine.fault
            if fault == "connection refused" and endpoint.server is None:
                fault += "; start the server first, or let the run start it: server="
            raise ScenarioError(f"{_what(endpoint)}: the first request failed: {fault}")
        if engine.fault:
            return


def _what(endpoint: Endpoint) -> str:
    if endpoint.api == "client":
        return f"own_client({endpoint.function.rpartition(':')[2]})"
    where = f" by unix socket {endpoint.unix_socket}" if endpoint.unix_socket else ""
    return f"{endpoint.method} {endpoint.url}{where}"


def _is_warm(taken_ns: list[int]) -> bool:
    if len(taken_ns) >= _WARM_MOST or sum(taken_ns[1:]) >= _WARM_MOST_NS:
        return True
    if len(taken_ns) < 2 * _WARM_BLOCK or len(taken_ns) % _WARM_BLOCK:
        return False
    earlier, latest = taken_ns[-2 * _WARM_BLOCK : -_WARM_BLOCK], taken_ns[-_WARM_BLOCK:]
    return sorted(latest)[_WARM_BLOCK // 2] >= _WARM_GAIN * sorted(earlier)[_WARM_BLOCK // 2]


def _open_files(in_flight: int) -> int:
    """Return how many requests may be in flight, after raising the limit of open files for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = in_flight + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return in_flight
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ScenarioError(
            f"in_flight={in_flight} needs {needed} open files, and this user may have {hard}; "
            f"write in_flight={max(1, hard - _SPARE_FILES)} or raise the limit (ulimit -n)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return in_flight


def _arrivals() -> list[int] | None:
    path = os.environ.get(ARRIVALS)
    if path is None:
        return None
    with open(path, encoding="ascii") as file:
        return [int(line) for line in file]


def _sizes() -> list[dict[str, int]] | None:
    path = os.environ.get(SIZES)
    if path is None:
        return None
    with open(path, encoding="ascii", newline="") as file:
        return [{name: int(value) for name, value in row.items()} for row in csv.DictReader(file)]


async def _read_start(fd: int) -> tuple[int, int] | None:
    """Return begin and end of the next window; None: there is none.

    The loop runs meanwhile, so that connections that a server closes are noticed.
    """
    line = b""
    while not line.endswith(b"\n"):
        await _readable(fd)
        piece = os.read(fd, 64)
        if not piece:
            return None
        line += piece
    begin_ns, end_ns = line.split()
    return int(begin_ns), int(end_ns)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)


if __name__ == "__main__":
    sys.exit(main())

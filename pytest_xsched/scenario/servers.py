"""A server that a run starts and ends, as data: its command, and how it shows that it is ready."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.base.units import MAX_NS, DurationLike, one_line, parse_duration
from pytest_xsched.base.validation import checked_fields, set_integer
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.programs import Program, make_program, read_program

_LABEL_MAX = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that the requests of one or several queues go to.

    Args:
        program: that is the server.
        ready: URL that answers with success, or address that accepts connections, once it is ready.
        start_ns: longest time until it is ready.
    """

    program: Program
    ready: str
    start_ns: int

    def __post_init__(self) -> None:
        if not isinstance(self.program, Program) or self.program.reports:
            raise ScenarioError(f"server: {one_line(self.program)} is not the program of a server")
        set_integer(self, "start_ns", "server", 1_000_000, MAX_NS)
        _check_ready(self.ready)

    @property
    def label(self) -> str:
        """Name in messages."""
        line = shlex.join((os.path.basename(self.program.argv[0]), *self.program.argv[1:]))
        return f"{line[: _LABEL_MAX - 3]}..." if len(line) > _LABEL_MAX else line

    @property
    def address(self) -> tuple[str, int] | str:
        """Host and port at which it listens, or the path of its socket."""
        parts = urlsplit(self.ready)
        if parts.scheme == "unix":
            return parts.path
        assert parts.hostname is not None
        return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


@names_the_rest
def server(
    argv: Iterable[str | os.PathLike[str]],
    *,
    ready: str,
    env: Mapping[str, str] | None = None,
    preload: str | os.PathLike[str] | None = None,
    start_timeout: DurationLike = "120s",
) -> Server:
    """Describe a server that a run starts, for ``endpoint(..., server=)`` and its kin.

    It is started once for all windows of a run, before the first request, and it is ended with all
    that it started. Runs of a comparison or of `find_rate` that follow each other share it if they
    would start it alike. Queues with equal servers share one. It runs under the scheduler of the
    run as a program does: in its driver's time slices, as a client of MPS, or with XSched
    preloaded, with the priority of its queues.

    Args:
        argv: the program and its arguments.
        ready: ``"http://127.0.0.1:8000/health"``: it is ready when that answers with 200 to 299.
            ``"tcp://127.0.0.1:8000"`` or ``"unix:///run/it.sock"``: when that accepts connections.
        env: variables in addition to those of pytest.
        preload: as of `command`.
        start_timeout: longest time until it is ready.

    Raises:
        ScenarioError: a value is wrong; or, in a run, another process listens there already.
        WorkerCrashed: in a run, it is not ready in time, or ends before the run does.
    """
    try:
        program = make_program(argv, env, preload, False)
    except ScenarioError as error:
        raise ScenarioError(f"server: {str(error).removeprefix('command: ')}") from None
    return Server(
        program=program,
        ready=ready,
        start_ns=parse_duration(start_timeout, what="server: start_timeout", units=("s", "ms")),
    )


def read_server(data: Any) -> Server:
    """Return a server from its JSON."""
    values = checked_fields(Server, data, "server")
    values["program"] = read_program(values["program"])
    return Server(**values)


def _check_ready(ready: object) -> None:
    way_out = 'write ready="http://127.0.0.1:8000/health" or ready="tcp://127.0.0.1:8000"'
    if not isinstance(ready, str):
        raise ScenarioError(f"server: ready {one_line(ready)} is not a text; {way_out}")
    try:
        parts = urlsplit(ready)
        port = parts.port
    except ValueError as error:
        raise ScenarioError(f"server: ready {ready!r} is no URL: {error}; {way_out}") from None
    complete = {
        "http": bool(parts.hostname),
        "https": bool(parts.hostname),
        "tcp": bool(parts.hostname) and port is not None,
        "unix": len(parts.path) > 1 and not parts.netloc,
    }
    if not complete.get(parts.scheme, False):
        raise ScenarioError(f"server: ready {ready!r} is no address of a server; {way_out}")

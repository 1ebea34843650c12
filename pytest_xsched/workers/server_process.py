"""A server as a process of a run: started before the first request, asked whether it is ready.

It is a program without requests of its own, for the queues that send it theirs. It lives on over
the windows of the run. `marked_keeper` ends it and all that it started where this process is
killed.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from pytest_xsched.base.units import format_duration
from pytest_xsched.clients import load
from pytest_xsched.errors import ScenarioError, WorkerCrashed
from pytest_xsched.scenario.endpoint import Endpoint
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.servers import Server
from pytest_xsched.system import marked_keeper
from pytest_xsched.workers.program_process import MARK, ProgramProcess
from pytest_xsched.workers.worker import READY
from pytest_xsched.workers.worker_process import last_words
from pytest_xsched.xsched.preload import Preload

_ASK_S = 0.2
"""Time between two questions whether it is ready."""
_ANSWER_S = 1.0
"""Longest time that it has for an answer."""


class ServerProcess(ProgramProcess):
    """One server, from its start to the end of the run.

    Args:
        directory: for its output.
        scenario: of the first window.
        index: of one of its queues, for which it is named and whose priority it has.
        setting: as of `ProgramProcess`.
        sharing: as of `ProgramProcess`.
        allowed_s: time for a window, once it is ready.

    Raises:
        ScenarioError: another process listens at its address.
    """

    kind = "the server"

    def __init__(
        self,
        directory: Path,
        scenario: Scenario,
        index: int,
        *,
        setting: Preload | None,
        sharing: dict[str, str] | None,
        allowed_s: float,
    ) -> None:
        endpoint = scenario.queues[index].workload.endpoint
        assert endpoint is not None and endpoint.server is not None
        load.require_packages(endpoint)  # before it takes its time
        self._server, self._verify = endpoint.server, endpoint.verify
        self._asked_s = 0.0
        self._said = "nothing listens there"
        _require_free(self._server, scenario.servers[self._server])
        super().__init__(
            directory,
            scenario,
            index,
            setting=setting,
            sharing=sharing,
            allowed_s=allowed_s,
        )
        self.allow(self._server.start_ns / 1e9)
        try:
            self._keeper = marked_keeper.start(f"{MARK}={self._mark}")
        except BaseException:
            super().end()
            raise

    def _program_of(self, spec: QueueSpec) -> tuple[Program, Endpoint | None]:
        return self._server.program, None

    # ---- what `multi_process` calls

    def goes_on(self) -> bool:
        """Check whether it runs."""
        return self.is_running()

    def renew_for(self, scenario: Scenario, index: int, *, allowed_s: float) -> bool:
        """Prepare it for another window, or run, with one of its queues; False: it has ended."""
        if not self.is_running():
            return False
        self.scenario, self.index, self.spec = scenario, index, scenario.queues[index]
        self._start_ns = None
        self.reached = {READY}
        self.allow(allowed_s)
        return True

    def end(self) -> None:
        """Stop all its processes."""
        try:
            super().end()
        finally:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait()

    def is_absent(self, on_gpu: Collection[int]) -> bool:
        """Check whether none of its processes is among those of the run on a GPU; see `noise`."""
        return bool(on_gpu) and not self.processes & set(on_gpu)

    # ---- inside

    @property
    def _who(self) -> str:
        return f"the server of queue {self.spec.name!r}, {self._server.label},"

    def _has_begun(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._asked_s + _ASK_S:
            return False
        self._said = _fault(self._server, self._verify)
        self._asked_s = time.monotonic()
        if not self._said:
            self._record_processes()
        return not self._said

    def _raise_late(self, output: str) -> NoReturn:
        allowed = format_duration(self._server.start_ns)
        raise WorkerCrashed(
            f"{self._who} was not ready within {allowed}: {self._server.ready}: {self._said}; "
            "name a URL with ready= that it answers with 200, or give it more time with "
            f"start_timeout={last_words(output)}",
            returncode=self.exit_status,
        )


def _require_free(server: Server, queues: Sequence[QueueSpec]) -> None:
    """Raise ScenarioError if another process has the server's address, or takes its requests."""
    taken = [(queues[0].name, server.ready, server.address)]
    for queue in queues:
        endpoint = queue.workload.endpoint
        if endpoint is not None and (address := endpoint.address) is not None:
            taken.append((queue.name, endpoint.host, address))
    for name, where, address in taken:
        if _accepts(address):
            raise ScenarioError(
                f"queue {name!r}: another process listens at {where} already, so the server "
                f"{server.label} cannot; end it, take another port, or leave server= out to "
                "measure the one that runs"
            )


def _accepts(address: tuple[str, int] | str) -> bool:
    """Check whether a process listens at an address."""
    with contextlib.suppress(OSError), _connected(address):
        return True
    return False


def _connected(address: tuple[str, int] | str) -> socket.socket:
    if isinstance(address, tuple):
        return socket.create_connection(address, _ANSWER_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_ANSWER_S)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _fault(server: Server, verify: str | None) -> str:
    """Ask a server whether it is ready; return "" if it is, else what it says instead.

    Args:
        server: to ask.
        verify: as of `Endpoint`.
    """
    parts = urlsplit(server.ready)
    try:
        if parts.scheme in ("tcp", "unix"):
            with _connected(server.address):
                return ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=verify or None)
            if verify is None:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                parts.netloc, timeout=_ANSWER_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=_ANSWER_S)
        with contextlib.closing(connection):
            query = f"?{parts.query}" if parts.query else ""
            connection.request("GET", f"{parts.path or '/'}{query}")
            status = connection.getresponse().status
    except ConnectionRefusedError:
        return "nothing listens there"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    return "" if 200 <= status < 300 else f"it answers {status}"

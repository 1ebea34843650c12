"""Run XSched's server, which schedules the queues of several processes.

The server would listen on all network interfaces, so it is started with a library that binds its
port to the loopback interface; see native/loopback/loopback.c.

A machine has one server. Clients find it by a System V message queue with a fixed key. A second
server removes that queue and makes its own, and the first then ends. So this module holds a lock
while its server runs, starts none where another one runs, and leaves the queue of another one.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from pytest_xsched.base.terminal_text import printable
from pytest_xsched.errors import SchedulerInactive, XSchedError
from pytest_xsched.system import exec_with_parent
from pytest_xsched.system.gpu_lock import lock_server
from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.workers.worker_process import last_words
from pytest_xsched.xsched.environment import is_xsched_variable

KEY = 0x58000001
"""Of the message queue; 'X' and the number of the server's channel (XSched 1.2.0)."""
NAME = "xserver"
"""Of the process of a server."""
START_S = 10.0
_STOP_S = 5.0
_POLL_S = 0.05
_SAID_BYTES = 2**24
_IPC_RMID = 0
_PRIORITY_HINT = 1
"""Number of that kind of hint in XSched's protocol."""
_HINT_S = 10.0
"""Longest wait for the answer to a hint."""
_NOT_AS_EXPECTED = (ValueError, KeyError, TypeError, OverflowError)
"""Errors of an answer that is not JSON, or other JSON."""
EXPOSED = (
    "XSched's server listened on every network interface of this machine and asks for no password: "
    "every process that reaches its port can change policy and hints"
)
"""A remark on a run."""
LOOPBACK = Path(__file__).parents[1] / "native" / "_native_loopback.so"
"""A library for LD_PRELOAD: its process listens on the loopback interface instead of on all."""
_SEPARATORS = " :"
"""What the loader takes as the end of a path in LD_PRELOAD."""
_LISTENS = "0A"
"""State of a socket in /proc/net/tcp."""


class Server:
    """A running server.

    Attributes:
        port: on which it answers HTTP requests.
    """

    def __init__(
        self, port: int, output: IO[bytes], require_alive: Callable[[Server], None]
    ) -> None:
        self.port = port
        self._output = output
        self._require_alive = require_alive

    def require_alive(self) -> None:
        """Raise SchedulerInactive if it has ended."""
        self._require_alive(self)

    def output(self) -> str:
        """Return its output so far."""
        # Not with seek(), which would move the position at which the server writes.
        return printable(os.pread(self._output.fileno(), _SAID_BYTES, 0).decode(errors="replace"))

    def is_exposed(self) -> bool:
        """Check whether it can be reached from other machines; False: no, or not known."""
        return any(_is_everywhere(line.split(), self.port) for line in _sockets())

    def busy_processes(self) -> frozenset[int] | None:
        """Return the ids of processes with an XQueue that has unfinished work; None: no answer."""
        answer = _get(self.port, "/xqueues")
        try:
            queues = json.loads(answer or b"")["xqueues"]
            return frozenset(int(queue["pid"]) for queue in queues if queue["ready"])
        except _NOT_AS_EXPECTED:
            return None

    def xqueues_of(self, pid: int) -> tuple[int, ...]:
        """Return the handles of the XQueues of a process; (): it has none, or no answer."""
        answer = _get(self.port, "/xqueues")
        try:
            queues = json.loads(answer or b"")["xqueues"]
            return tuple(int(queue["handle"]) for queue in queues if int(queue["pid"]) == pid)
        except _NOT_AS_EXPECTED:
            return ()

    def hint_priority(self, handle: int, priority: int) -> str:
        """Set the priority of an XQueue, as xcli does; return "" or why the server refuses it."""
        hint = {"hint_type": _PRIORITY_HINT, "handle": handle, "priority": priority}
        answer = _ask(self.port, "POST", "/hint", json.dumps(hint), _HINT_S)
        if answer is None:
            return f"it does not answer within {_HINT_S:g} s"
        status, body = answer
        if status == http.client.OK:
            return ""
        return printable(f"status {status}, {body.decode(errors='replace')!r}")


@contextlib.contextmanager
def xserver(
    program: str,
    policy: str,
    *,
    lock_timeout_s: float = 600.0,
    waiting: Callable[[str], None] | None = None,
) -> Iterator[Server]:
    """Run a server for the time of a `with`.

    Args:
        program: path of the installation's xserver.
        policy: as XSched spells it, "HPF".
        lock_timeout_s: longest wait for another pytest that has one.
        waiting: called while it waits for that; see `lock_gpus`.

    Raises:
        DeviceBusy: another pytest used a server for longer than that.
        SchedulerInactive: another server runs, this one cannot be started, or it ended too early.
    """
    locks = lock_server(timeout_s=lock_timeout_s, waiting=waiting)
    try:
        if other := _running_server():
            raise SchedulerInactive(
                f"scheduler inactive: an xserver runs already, process {other}, and a machine can "
                "have only one; stop that process"
            )
        with tempfile.TemporaryFile() as output:
            process = ManagedProcess(START_S)
            server = Server(
                _free_port(), output, lambda server: _require_alive(process, policy, server)
            )
            variables = {
                name: value for name, value in os.environ.items() if not is_xsched_variable(name)
            }
            variables["XLOG_LEVEL"] = "INFO"
            if LOOPBACK.exists() and not set(_SEPARATORS) & set(str(LOOPBACK)):
                others = variables.get("LD_PRELOAD", "")
                variables["LD_PRELOAD"] = f"{LOOPBACK} {others}".strip()
            own_queue = None
            try:
                process.start(
                    exec_with_parent.command_line([program, policy, str(server.port)]),
                    environment=variables,
                    output=output,
                )
                _await(process, server.port)
                own_queue = _message_queue()
                _require_alive(process, policy, server)
                yield server
                _require_alive(process, policy, server)
            except XSchedError as error:  # of a client, which ends with the server
                if not isinstance(error, SchedulerInactive):
                    _require_alive(process, policy, server)
                raise
            finally:
                _stop(process, own_queue)
    finally:
        locks.release()


def _await(process: ManagedProcess, port: int) -> None:
    while not process.has_ended() and not _answers(port):
        if process.is_late():
            raise SchedulerInactive(
                f"scheduler inactive: xserver did not answer on port {port} within {START_S:g} s"
            )
        time.sleep(_POLL_S)


def _require_alive(process: ManagedProcess, policy: str, server: Server) -> None:
    if not process.has_ended():
        return
    process.stop(0)
    raise SchedulerInactive(
        f"scheduler inactive: xserver {policy} {describe_exit(process.exit_status)}"
        f"{last_words(server.output())}"
    )


def _answers(port: int) -> bool:
    """Check whether it answers; its message queue exists before it does."""
    return _get(port, "/policy") is not None


def _get(port: int, path: str) -> bytes | None:
    answer = _ask(port, "GET", path, None, 1.0)
    return answer[1] if answer and answer[0] == http.client.OK else None


def _ask(
    port: int, method: str, path: str, body: str | None, timeout_s: float
) -> tuple[int, bytes] | None:
    """Return the status and the body of an answer; None: there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _stop(process: ManagedProcess, own_queue: int | None) -> None:
    """End a server, and remove its message queue: clients would send to it and wait for ever.

    That of another server stays.

    Args:
        process: of the server.
        own_queue: id of its message queue; None: not known.
    """
    if process.has_ended():  # perhaps because another one has taken its queue
        own_queue = None
    process.send_signal(signal.SIGINT)  # the server cleans up after this one
    process.stop(_STOP_S)
    queue = own_queue
    if queue is None:
        queue = _message_queue()  # first: another server runs before it makes its own
        if _server_process() is not None:
            return
    if queue is not None:
        ctypes.CDLL(None).msgctl(queue, _IPC_RMID, None)


def _running_server() -> int | None:
    """Return the process id of a server that has the message queue."""
    return None if _message_queue() is None else _server_process()


def _message_queue() -> int | None:
    """Return the id of the message queue of this machine's server; None: there is none."""
    queue = int(ctypes.CDLL(None).msgget(ctypes.c_int(KEY), 0))
    return None if queue < 0 else queue


def _server_process() -> int | None:
    """Return the id of a process that is a server, and has not ended; None: there is none."""
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text(errors="replace").partition("\n")
            if name == f"Name:\t{NAME}" and "State:\tZ" not in rest:
                return int(path.parent.name)
    return None


def _sockets() -> Iterator[str]:
    """Yield the lines of the kernel about the TCP sockets of this machine."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            yield from Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]


def _is_everywhere(fields: Sequence[str], port: int) -> bool:
    """Check whether a socket listens on a port of all interfaces: its address is 0 there."""
    address, _, number = fields[1].partition(":")
    return fields[3] == _LISTENS and not address.strip("0") and int(number, 16) == port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""XSched's server, which schedules the queues of several processes: started, awaited, stopped.

There is one for a machine. Its clients find it by a System V message queue with a fixed key, and a
second server takes that queue from the first, which ends. So ours has a lock, and none is started
where somebody else's runs.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from pytest_xsched.errors import SchedulerInactive, XSchedError
from pytest_xsched.system import exec_with_parent
from pytest_xsched.system.gpu_lock import lock_server
from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.workers.worker_process import last_words
from pytest_xsched.xsched.environment import of_xsched

KEY = 0x58000001
"""Of the message queue; 'X' and the number of the server's channel (XSched 1.2.0)."""
START_S = 10.0
_STOP_S = 5.0
_POLL_S = 0.05
_SAID_BYTES = 2**24
_IPC_RMID = 0


class Server:
    """A server that runs.

    Attributes:
        port: on which it answers.
    """

    def __init__(self, port: int, output: IO[bytes]) -> None:
        self.port = port
        self._output = output

    def said(self) -> str:
        """Give what it wrote so far."""
        # Not by seek(), which would move the place where the server writes.
        return os.pread(self._output.fileno(), _SAID_BYTES, 0).decode(errors="replace")

    def ready(self) -> frozenset[int] | None:
        """Give the ids of processes with an XQueue that has unfinished work; None: no answer."""
        answer = _get(self.port, "/xqueues")
        if answer is None:
            return None
        try:
            queues = json.loads(answer)["xqueues"]
            return frozenset(int(queue["pid"]) for queue in queues if queue["ready"])
        except (ValueError, KeyError, TypeError, OverflowError):
            return None


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
        waiting: called while it waits for that, as `lock_gpus` does.

    Raises:
        DeviceBusy: that one was not done in time.
        SchedulerInactive: somebody else's server runs, ours cannot be started, or it ended before
            it was to.
    """
    locks = lock_server(timeout_s=lock_timeout_s, waiting=waiting)
    try:
        if other := _other():
            raise SchedulerInactive(
                f"scheduler inactive: an xserver runs already, process {other}, and XSched has one "
                "for a machine; stop that one"
            )
        with tempfile.TemporaryFile() as output:
            server = Server(_free_port(), output)
            variables = {name: value for name, value in os.environ.items() if not of_xsched(name)}
            variables["XLOG_LEVEL"] = "INFO"
            process = ManagedProcess(START_S)
            try:
                process.start(
                    exec_with_parent.command_line([program, policy, str(server.port)]),
                    environment=variables,
                    output=output,
                )
                _await(process, server.port)
                _require_alive(process, policy, server)
                yield server
                _require_alive(process, policy, server)
            except XSchedError as error:  # of its clients, which end with it
                if not isinstance(error, SchedulerInactive):
                    _require_alive(process, policy, server)
                raise
            finally:
                _stop(process)
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
        f"{last_words(server.said())}"
    )


def _answers(port: int) -> bool:
    """Ask for its policy; the message queue is there before it can be asked."""
    return _get(port, "/policy") is not None


def _get(port: int, path: str) -> bytes | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read() if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _stop(process: ManagedProcess) -> None:
    process.send_signal(signal.SIGINT)  # the server cleans up after this one
    process.stop(_STOP_S)
    # A queue that is left would let clients send to nobody, and wait for ever.
    libc = ctypes.CDLL(None)
    queue = libc.msgget(ctypes.c_int(KEY), 0)
    if queue >= 0:
        libc.msgctl(queue, _IPC_RMID, None)


def _other() -> int | None:
    """Give the process id of a server that has the message queue."""
    if ctypes.CDLL(None).msgget(ctypes.c_int(KEY), 0) < 0:
        return None
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text() == "xserver\n":
                return int(path.parent.name)
    return None  # the queue of one that was killed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

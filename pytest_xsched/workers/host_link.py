"""The connection to a host: a process of its launcher, and messages over its input and output.

A host is another machine, or a container. Its launcher is a prefix of a command, such as
``ssh gpu7``; the Python there runs `session.host`. Its end, whatever ends it, is the end of the
input of the host, which then ends what it has started.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pytest_xsched.errors import HostError, XSchedError
from pytest_xsched.monitoring.environment import package_version
from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.workers import host_frames
from pytest_xsched.workers.host_frames import HELLO, MODULE, Decoder, Message
from pytest_xsched.workers.worker_process import OUTPUT_BYTES, error_from_dict, last_words

PACKAGE = "pytest-xsched"
END_S = 15.0
"""Time for the end of a host after the end of its input; it may have processes to end."""
_EXIT_S = 5.0
"""Time for the end of a launcher that has closed its output."""
_POLL_S = 0.5
_READ_BYTES = 2**20
_PYTHON = re.compile(r"(.*/)?python[\d.]*t?")
_NOT_THERE = re.compile(r"No module named '?pytest_xsched")

Heard = Callable[[Message], None]
"""Takes in what a host reports while it works."""


def command_of(prefix: Sequence[str]) -> list[str]:
    """Return the command that starts a host: a prefix that ends with a Python names the Python."""
    python = [] if prefix and _PYTHON.fullmatch(prefix[-1]) else ["python3"]
    return [*prefix, *python, "-m", MODULE]


class HostLink(ManagedProcess):
    """A connection to a host, from its first line to the end of its process.

    Args:
        name: of the host, for messages.
        prefix: the command that starts a program there.
        timeout_s: longest wait for its first line; a launcher may wait for a free machine.
        waiting: called with "waiting for ..." meanwhile.

    Attributes:
        facts: what the host has said of itself.

    Raises:
        HostError: it cannot be reached, or has another version of pytest-xsched.
    """

    def __init__(
        self,
        name: str,
        prefix: Sequence[str],
        *,
        timeout_s: float,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(timeout_s)
        self.name = name
        self._timeout_s = timeout_s
        self._command = command_of(prefix)
        self._heard_s = time.monotonic()
        self._received = b""
        """Before the first line."""
        self._decoder: Decoder | None = None
        """After it."""
        self._is_closed = False
        self._doing = ""
        self._turn = threading.Lock()
        """Held while a message is written."""
        self._is_writing = False
        self._over = threading.Event()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._words = ""
        try:
            self.start(
                self._command,
                environment=os.environ,
                output=self._output,
                has_stdin=True,
                messages_on_stdout=True,
            )
            self.facts: Message = self._greet(waiting)
        except OSError as error:
            self.close()
            raise HostError(
                f"host {name!r}: {self._command[0]} cannot be started: {error.strerror}; its "
                f"launcher is {shlex.join(prefix)!r}"
            ) from None
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._beat, name=f"pytest-xsched {name}", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Check whether the connection was closed."""
        return self._over.is_set()

    def call(
        self,
        call: str,
        values: Message | None = None,
        parts: Sequence[bytes] = (),
        *,
        doing: str = "",
        heard: Heard | None = None,
    ) -> tuple[Any, list[bytes]]:
        """Let the host call a function, and return its value and the bytes that go with it.

        Anything but an answer closes the connection, Ctrl-C too: the host then ends what it does.

        Args:
            call: name of a method of `session.host`.
            values: its arguments.
            parts: bytes that go with them.
            doing: what it does, as a sentence in the past, for messages.
            heard: called with what it reports meanwhile.

        Raises:
            HostError: the host was lost.
            XSchedError: the host raised it.
        """
        self._doing = doing
        try:
            self._heard_s = time.monotonic()
            self._write(host_frames.encode({"call": call, "values": values or {}}, parts))
            message, parts_there = self._answer(heard)
        except BaseException:
            self.close()
            raise
        if "error" in message:
            raise _named(self.name, message["error"])
        if "failed" in message:
            raise HostError(f"host {self.name!r}: {message['failed']}")
        return message["answer"], parts_there

    def close(self) -> None:
        """End the host, and all that it has started."""
        if self._over.is_set():
            return
        self._over.set()
        if self._is_writing and self._process is not None:  # it reads no more; close() would wait
            self.send_signal(signal.SIGKILL)
        self.stop(END_S)
        self._words = self._said()
        self._output.close()

    # ---- the messages

    def _greet(self, waiting: Callable[[str], None] | None) -> Message:
        """Return the facts of the first line, after checking its version."""
        while (line := self._first_line()) is None:
            if self.has_ended():
                self.drain()
                if (line := self._first_line()) is not None:
                    break
                raise self._not_reached(self._how_it_ended())
            if self.is_late():
                raise self._not_reached(f"said nothing within {self._timeout_s:g} s")
            if waiting is not None:
                waiting(f"waiting for host {self.name}")
            self.listen(_POLL_S)
        if line.endswith(b"\r"):
            raise HostError(
                f"host {self.name!r}: its launcher gives it a terminal, which changes what it "
                "writes; leave out -t"
            )
        facts: Message = json.loads(line)
        there, here = facts["version"], package_version(PACKAGE)
        if there != here:
            raise HostError(
                f"host {self.name!r} has {PACKAGE} {there}, and here it is {here}: both must be "
                f"the same; {self._advice(here)}"
            )
        return facts

    def _first_line(self) -> bytes | None:
        start = self._received.find(HELLO)
        end = self._received.find(b"\n", max(start, 0))
        if start < 0 or end < 0:
            return None
        line = self._received[start + len(HELLO) : end]
        self._decoder = Decoder(self._received[end + 1 :])
        self._received = b""
        return line

    def _not_reached(self, how: str) -> HostError:
        output = self._said()
        if _NOT_THERE.search(output):
            here = package_version(PACKAGE)
            return HostError(
                f"host {self.name!r}: its Python has no {PACKAGE} {here}; {self._advice(here)}, "
                "or name another Python at the end of its launcher"
            )
        return HostError(
            f"host {self.name!r} was not reached: {shlex.join(self._command)} {how}"
            f"{last_words(output)}"
        )

    def _advice(self, version: str | None) -> str:
        python = shlex.join(self._command[: -len(["-m", MODULE])])
        return f"install {PACKAGE}=={version} there, for the Python of {python!r}"

    def _answer(self, heard: Heard | None) -> tuple[Message, list[bytes]]:
        while True:
            found = self._next()
            if found is None:
                self._listen()
                continue
            message, parts = found
            if "answer" in message or "error" in message or "failed" in message:
                return message, parts
            if heard is not None and "beat" not in message:
                heard(message)

    def _next(self) -> tuple[Message, list[bytes]] | None:
        assert self._decoder is not None
        try:
            return self._decoder.next()
        except ValueError:
            raise self._lost("wrote something else than messages") from None

    def _listen(self) -> None:
        before = self._heard_s
        self.listen(_POLL_S)
        if self._heard_s != before:
            return
        if self._is_closed or self.has_ended():
            self.drain()
            if self._heard_s == before:
                raise self._lost(self._how_it_ended())
        if time.monotonic() - self._heard_s > host_frames.LOST_S:
            raise self._lost(f"said nothing for {host_frames.LOST_S:g} s")

    def _lost(self, how: str) -> HostError:
        when = f" while {self._doing}" if self._doing else ""
        return HostError(
            f"host {self.name!r} was lost{when}: {shlex.join(self._command)} {how}"
            f"{last_words(self._said())}"
        )

    def _how_it_ended(self) -> str:
        if not self.wait(_EXIT_S):
            return "closed its output"
        self.close()
        return describe_exit(self.exit_status).removesuffix(",")

    def _said(self) -> str:
        """Return the end of what the launcher and the host have written to stderr."""
        if self._output.closed:
            return self._words
        fd = self._output.fileno()
        size = os.fstat(fd).st_size
        # Not with seek(), which would move the position at which they write.
        return os.pread(fd, OUTPUT_BYTES, max(0, size - OUTPUT_BYTES)).decode(errors="replace")

    def _read(self) -> bool:
        data = os.read(self._read_fd, _READ_BYTES)
        if not data:
            self._is_closed = True
            return False
        self._heard_s = time.monotonic()
        if self._decoder is None:
            self._received += data
        else:
            self._decoder.feed(data)
        return True

    def _write(self, data: bytes) -> bool:
        with self._turn:
            self._is_writing = True
            written = self.write_input(data)
            self._is_writing = False
        return written

    def _beat(self) -> None:
        beat = host_frames.encode({"beat": 1})
        while not self._over.wait(host_frames.BEAT_S) and self._write(beat):
            pass


def _named(host: str, plain: dict[str, Any]) -> XSchedError:
    return error_from_dict({**plain, "message": f"host {host!r}: {plain['message']}"})

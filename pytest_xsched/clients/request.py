"""One request of a load process, and the lines about it that go to pytest-xsched."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time
from typing import Any

PIPE_BYTES = 1024 * 1024
"""Size of the pipe for the lines: pytest-xsched reads it every 10 to 50 ms."""
REASON_MAX = 200


class Failed(Exception):
    """A request failed; the text is the reason, a few words that are equal for equal failures."""


class ReportWriter:
    """Collect lines and write them, some milliseconds later, without waiting for the reader.

    Args:
        fd: the end of the pipe; None: a warm-up, and nothing is reported.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._lines: list[str] = []
        self._rest = b""
        if fd is not None:
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError):  # the limit of this user is lower
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def add(self, line: str) -> None:
        """Add a line, without its end."""
        if self._fd is not None:
            self._lines.append(line)

    def flush(self) -> None:
        """Write as much as the pipe takes.

        Raises:
            BrokenPipeError: pytest-xsched no longer reads.
        """
        if self._fd is None:
            return
        if self._lines:
            self._rest += ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
        while self._rest:
            try:
                written = os.write(self._fd, self._rest)
            except BlockingIOError:
                return
            self._rest = self._rest[written:]

    def flush_all(self) -> None:
        """Write all, however long that takes; errors are those of `flush`."""
        self.flush()
        while self._rest and self._fd is not None:
            select.select([], [self._fd], [])
            self.flush()


class Request:
    """A request from when it is due until it ends.

    Attributes:
        number: its index in the arrivals.
        sizes: tokens of input and output, where the load has sizes.
        prepared: what its sender has prepared for it before it was due.
        begun_ns: moment of CLOCK_MONOTONIC at which it was sent; 0: it has not been.
        ended_ns: moment at which its answer was there; 0: it is not.
        timed_out: whether the engine has cancelled it for its time.
        reason: why it has failed, as the user's code said by `client.fail`; '' if it did not.
    """

    __slots__ = (
        "_writer",
        "begun_ns",
        "ended_ns",
        "number",
        "prepared",
        "reason",
        "sizes",
        "timed_out",
    )

    def __init__(
        self, number: int, writer: ReportWriter, sizes: dict[str, int] | None, prepared: Any
    ) -> None:
        self.number = number
        self.sizes = sizes
        self.prepared = prepared
        self.begun_ns = 0
        self.ended_ns = 0
        self.timed_out = False
        self.reason = ""
        self._writer = writer

    def begin(self) -> None:
        """Report that it is being sent now, unless that was reported."""
        if not self.begun_ns:
            self.begun_ns = time.monotonic_ns()
            self._writer.add(f"begin {self.number} {self.begun_ns}")

    def reach(self, name: str, at_ns: int | None = None) -> None:
        """Report a milestone, of now or of a moment that was taken."""
        at_ns = time.monotonic_ns() if at_ns is None else at_ns
        self._writer.add(f"at {self.number} {name} {at_ns}")

    def end(self) -> None:
        """Take the moment of its end, which is now, unless that was taken."""
        if not self.ended_ns:
            self.ended_ns = time.monotonic_ns()

    def report_success(self) -> None:
        """Report that it has ended, at the moment that `end` took."""
        self._writer.add(f"end {self.number} {self.ended_ns}")

    def report_failure(self, reason: str) -> None:
        """Report that it has failed, now."""
        self.begin()
        text = " ".join(reason.split())[:REASON_MAX] or "no reason"
        self._writer.add(f"fail {self.number} {time.monotonic_ns()} {text}")

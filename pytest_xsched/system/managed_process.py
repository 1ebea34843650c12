"""A child process: started, listened to, given a deadline, stopped, and its end described.

The child leads a process group of its own, so that all processes that it has started are killed
with it. Its exit status is taken last: until then the kernel gives its id to no other process, and
no signal to the group reaches a stranger.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_POLL_S = 0.01
_READ_BYTES = 65536
_DRAIN_READS = 64
"""More than a pipe holds. A child that writes without end does not keep `drain` going."""


class ManagedProcess:
    """A child process with a deadline, an input, and a pipe for the messages that it writes.

    The pipes exist before `start`, because a command line or a job file names their numbers.
    A message is one line; `receive` gets each.

    Args:
        allowed_s: time from now until the process is late.

    Attributes:
        line_bytes: length of the longest message that is kept; None: any.
        messages_fd: the child's end of the pipe for messages; valid until `start` returns.
        input_fd: the child's end of its input; valid until `start` returns.
        is_in_time: whether the process was not late when that was last checked.
    """

    line_bytes: int | None = None

    def __init__(self, allowed_s: float) -> None:
        self.is_in_time = True
        self.allow(allowed_s)
        self._partial = b""
        self._line_is_too_long = False
        self._process: subprocess.Popen[bytes] | None = None
        self._read_fd, self.messages_fd = os.pipe()
        self.input_fd, write_fd = os.pipe()
        self._input = os.fdopen(write_fd, "wb")

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        output: IO[bytes],
        directory: str | Path | None = None,
        inherits: Sequence[int] = (),
        has_stdin: bool = False,
        messages_on_stdout: bool = False,
    ) -> None:
        """Start the process.

        Args:
            command: program and arguments.
            environment: all of its variables.
            output: file for its stdout and stderr.
            directory: its working directory; None: that of this process.
            inherits: numbers of files that it inherits, such as `messages_fd`.
            has_stdin: whether stdin is its input; else stdin is empty.
            messages_on_stdout: whether its stdout is the pipe for messages, and not the file.

        Raises:
            OSError: the program cannot be started.
        """
        try:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=dict(environment),
                stdin=self.input_fd if has_stdin else subprocess.DEVNULL,
                stdout=self.messages_fd if messages_on_stdout else output,
                stderr=output,
                pass_fds=inherits,
                start_new_session=True,  # Ctrl-C reaches this process, which stops the child
            )
        finally:
            self._close_ends_of_child()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._started.pid

    @property
    def exit_status(self) -> int:
        """Return the exit status after `stop`; negative: the number of the signal that ended it."""
        status = self._started.returncode
        if status is None:
            raise RuntimeError("the exit status is known after stop()")
        return int(status)

    @property
    def has_exit_status(self) -> bool:
        """Check whether `stop` has taken the exit status."""
        return self._started.returncode is not None

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the process was not started")
        return self._process

    # ---- deadline

    def allow(self, more_s: float) -> None:
        """Set the deadline to `more_s` seconds from now."""
        self.deadline_s = time.monotonic() + more_s

    def is_late(self) -> bool:
        """Check whether the deadline has passed."""
        self.is_in_time = time.monotonic() <= self.deadline_s
        return not self.is_in_time

    # ---- messages

    def receive(self, messages: Sequence[str]) -> None:
        """Handle the messages of one read; subclasses override this."""

    def receive_unfinished(self, start_of_line: str) -> None:
        """Handle the start of a message longer than `line_bytes`; subclasses override this."""

    def listen(self, timeout_s: float) -> None:
        """Pass messages to `receive`; wait for them at most `timeout_s` seconds."""
        if not select.select([self._read_fd], [], [], timeout_s)[0]:
            return
        if not self._read():  # the child has closed its end, or has ended
            time.sleep(timeout_s)

    def listen_until(self, timeout_s: float, is_enough: Callable[[], bool] | None = None) -> None:
        """Listen, each time for at most `timeout_s`, until the process ends or is late.

        If `is_enough` is given, also until it returns true. The loop is not in the caller because
        of Ctrl-C: in CPython 3.12 and 3.13, a `try` around `while condition` does not cover the
        jump back to the condition, so an exception there would skip `finally`.
        """
        while self.is_running() and not self.is_late() and not (is_enough and is_enough()):
            self.listen(timeout_s)

    def is_running(self) -> bool:
        """Check whether the process runs; if it has ended, all its messages were received."""
        if not self.has_ended():
            return True
        self.drain()
        return False

    def drain(self) -> None:
        """Pass all messages that were written so far to `receive`."""
        for _ in range(_DRAIN_READS):
            if not select.select([self._read_fd], [], [], 0)[0] or not self._read():
                break

    def _read(self) -> bool:
        data = os.read(self._read_fd, _READ_BYTES)
        *lines, self._partial = (self._partial + data).split(b"\n")
        if lines and self._line_is_too_long:
            del lines[0]  # its end
            self._line_is_too_long = False
        if lines:
            self.receive([_text(line) for line in lines])
        if self.line_bytes is not None and len(self._partial) > self.line_bytes:
            self.receive_unfinished(_text(self._partial))
            self._partial = b""
            self._line_is_too_long = True
        return bool(data)

    @property
    def unfinished(self) -> str:
        """Return the start of a message whose end was not read."""
        return _text(self._partial)

    # ---- input

    def write_line(self, line: str) -> None:
        """Write a line to the input. A child that has ended is noticed by `is_running`."""
        with contextlib.suppress(BrokenPipeError):
            self._input.write(f"{line}\n".encode())
            self._input.flush()

    def write_input(self, data: bytes) -> bool:
        """Write to the input, and return whether the child still reads it."""
        try:
            self._input.write(data)
            self._input.flush()
        except (BrokenPipeError, ValueError):  # the child has closed it, or this process has
            return False
        return True

    def close_input(self) -> None:
        """Close the input, which tells the child that it may end."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    # ---- the end

    def has_ended(self) -> bool:
        """Check whether the process has ended, without taking its exit status."""
        process = self._started
        if process.returncode is not None:
            return True
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, process.pid, options) is not None
        except ChildProcessError:  # other code took the status, or SIGCHLD is ignored
            process.poll()
            return True

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end at most `timeout_s` seconds; return whether the process has ended."""
        deadline_s = time.monotonic() + timeout_s
        while not self.has_ended():
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_POLL_S)
        return True

    def send_signal(self, number: int) -> None:
        """Send a signal to the process group, unless the exit status was taken."""
        if self._started.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._started.pid, number)

    def stop(self, grace_s: float) -> bool:
        """Close the input, wait, and kill what is left of the process group.

        Args:
            grace_s: time that the process has for ending by itself.

        Returns:
            Whether it ended by itself. Also True for one that was never started.
        """
        self.close_input()
        self._close_ends_of_child()
        ended = True
        if self._process is not None:
            ended = self.wait(grace_s)
            self.send_signal(signal.SIGKILL)
            self._process.wait()
        if self._read_fd >= 0:
            os.close(self._read_fd)
            self._read_fd = -1
        return ended

    def _close_ends_of_child(self) -> None:
        for fd in (self.messages_fd, self.input_fd):
            if fd >= 0:
                os.close(fd)
        self.messages_fd = self.input_fd = -1


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace")


def describe_exit(status: int) -> str:
    """Return how a process ended, as the end of a sentence: "was ended by SIGSEGV".

    Args:
        status: exit status as `subprocess` returns it; negative: the number of a signal.
    """
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return f"was ended by signal {-status}"
    hint = ", as the kernel does where memory is short," if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"

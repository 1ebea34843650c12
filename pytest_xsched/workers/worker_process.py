"""A worker process as its parent sees it: its messages, the data that it left, and why it ended."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_xsched import errors
from pytest_xsched.base.constants import visible_devices
from pytest_xsched.base.terminal_text import printable
from pytest_xsched.errors import DeviceError, WorkerCrashed, XSchedError
from pytest_xsched.runner.measure import Measurement, Progress
from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.workers.measurement_data import ARRAYS, from_plain, read_arrays
from pytest_xsched.workers.worker import (
    AGAIN,
    ANSWER,
    DOING,
    ERROR,
    JOB,
    LEFT,
    LOCKED,
    MOVED,
    OUTPUT,
    READY,
    RESULT,
    SCENARIO,
    UNWRITABLE,
    WAITING,
)

OUTPUT_BYTES = 64 * 1024
"""How much is kept of the output of a worker: its end."""

_ERROR_LINE = re.compile(r"\[XSCHED ERRO|\[ERRO @|Assertion failed")
"""How XSched reports why it ends the process, before its version 1.2 and since."""

_CHATTER = re.compile(r"\[(XSCHED )?(INFO|DEBG) @|\[.*unsupported hint type")
"""Lines of XSched that do not explain an end: queues pass all their hints to any policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """How the environment of a worker differs from that of this process.

    Attributes:
        scrubbed: prefixes of the names that it does not inherit.
        values: added then, by name.
    """

    scrubbed: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    def apply(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the worker.

        Args:
            inherited: the environment of this process.
        """
        kept = {
            name: value
            for name, value in inherited.items()
            if not (self.scrubbed and name.startswith(self.scrubbed))
        }
        return {**kept, **self.values}


class WorkerMessages:
    """What a worker has written while it works.

    Args:
        allowed_s: time that it has from its start, and again after each step that it reports.
        grace_s: time for its end after it has left its data.
        progress: called with elapsed and total ns of the run.
        waiting: called with a phrase, "waiting for ...", while another process has the GPU.

    Attributes:
        reached: LOCKED, READY, LEFT: the steps that it has reported.
        doing: what it did last, as a sentence in the past.
        unwritable: why it could not write a file.
        answers: to requests, the oldest first; the caller of `read` removes them.
    """

    def __init__(
        self,
        allowed_s: float,
        grace_s: float,
        progress: Progress | None,
        waiting: Callable[[str], None] | None,
    ) -> None:
        self.allowed_s = allowed_s
        self.grace_s = grace_s
        self._progress = progress
        self._waiting = waiting
        self.reached: set[str] = set()
        self.doing = ""
        self.unwritable = ""
        self.answers: list[str] = []

    def begin_again(
        self,
        allowed_s: float,
        progress: Progress | None,
        waiting: Callable[[str], None] | None,
    ) -> None:
        """Forget that the worker has left its data, how long it had, and who followed its progress.

        Args:
            allowed_s: see the class; another window may be longer.
            progress: see the class.
            waiting: see the class.
        """
        self.reached.discard(LEFT)
        self.allowed_s = allowed_s
        self._progress, self._waiting = progress, waiting

    def read(self, messages: Sequence[str]) -> float | None:
        """Take in messages and pass the last one to `progress` or `waiting`.

        Returns:
            The time that the worker has from now, in seconds; None: its deadline stays. It begins
            anew after waiting for a GPU, and is short when the data is there.
        """
        more_s = None
        for message in messages:
            if message.startswith(WAITING) or message == MOVED:
                more_s = self.allowed_s
            elif message in (LOCKED, READY, LEFT):
                self.reached.add(message)
                more_s = self.grace_s if message == LEFT else self.allowed_s
            elif message.startswith(DOING):
                self.doing = message.removeprefix(DOING)
            elif message.startswith(ANSWER):
                self.answers.append(message.removeprefix(ANSWER))
            elif message.startswith(UNWRITABLE):
                self.unwritable = message.removeprefix(UNWRITABLE)
        for message in messages[-1:]:
            if message.startswith(WAITING):
                if self._waiting is not None:
                    self._waiting(message)
            elif self._progress is not None and message[:1].isdecimal():
                elapsed, total = message.split()
                self._progress(int(elapsed), int(total))
        return more_s


class WorkerProcess(ManagedProcess):
    """One worker process, from its start to the data that it left.

    It is exec'd, never forked, so that no state of a driver in this process reaches it, and it does
    not outlive this process.

    Args:
        directory: empty, for the job and the data.
        job: made by `make_job`.
        messages: takes in what it writes.
        environment: how its environment differs from that of this process.
        module: what it runs.
        owner: the queues that it measures, for messages: "queue 'low'"; empty where it measures
            all of them.
    """

    def __init__(
        self,
        directory: Path,
        job: dict[str, Any],
        *,
        messages: WorkerMessages,
        environment: Environment | None,
        module: str,
        owner: str = "",
    ) -> None:
        super().__init__(messages.allowed_s)
        self.messages = messages
        self._directory = directory
        self._owner = owner
        self._name = f"the worker process of {owner}" if owner else "the worker process"
        job = {**job, "parent": os.getpid(), "progress_fd": self.messages_fd}
        try:
            (directory / JOB).write_text(json.dumps(job), encoding="utf-8")
            with open(directory / OUTPUT, "wb") as output:
                self.start(
                    [sys.executable, "-m", module],
                    directory=directory,  # -m puts it on sys.path, and the user's stays off
                    environment={
                        **_environment(environment or Environment()),
                        **visible_devices(job.get("device") or job["scenario"]["device"]),
                    },
                    output=output,
                    inherits=(self.messages_fd,),
                    has_stdin=True,  # the end of stdin tells it to stop
                )
        except BaseException:
            self.stop(0)
            raise

    def receive(self, messages: Sequence[str]) -> None:
        """Take in what it wrote."""
        more_s = self.messages.read(messages)
        if more_s is not None:
            self.allow(more_s)

    def is_running(self) -> bool:
        """Check whether the process runs; if it has ended, all its messages were received."""
        if super().is_running():
            return True
        if (self._directory / RESULT).exists():
            self.messages.reached.add(LEFT)  # even if it ended before it could write that
        return False

    @property
    def processes(self) -> frozenset[int]:
        """Return its process id, as the set that a program has; see `ProgramProcess`."""
        return frozenset((self.pid,))

    @property
    def reached(self) -> set[str]:
        """Return the steps that it has reported; see `WorkerMessages`."""
        return self.messages.reached

    def begin(self, start_clock_ns: int) -> None:
        """Send the moment of the start to a worker that is ready."""
        self.allow(self.messages.allowed_s)
        self.write_line(str(start_clock_ns))

    def measure_again(self, scenario: dict[str, Any]) -> None:
        """Let a worker that has left its data measure another window; see `worker.AGAIN`."""
        (self._directory / RESULT).unlink()
        (self._directory / SCENARIO).write_text(json.dumps(scenario), encoding="utf-8")
        self.allow(self.messages.allowed_s)
        self.write_line(AGAIN)

    def request_stop(self) -> None:
        """Close its input: it stops where it is, or ends if it has left its data."""
        self.close_input()

    def end(self) -> None:
        """Stop the process, and all that it has started, such as compilers."""
        self.stop(0.5 if self.is_in_time else 0)  # it ends by itself when it next reads its input

    def measurement(self) -> Measurement:
        """Return the data that it left, after it has ended.

        Raises:
            WorkerCrashed: it left none.
            XSchedError: the worker raised it.
        """
        left = (self._directory / RESULT).exists()
        error = self.error()
        if error is not None and not left:
            raise error
        if not left:
            raise self.crash(", without a result")
        output = self._output()
        how = describe_exit(self.exit_status)
        remark = ""
        if self.exit_status != 0 or not self.is_in_time:
            if not self.is_in_time:
                how = "did not end and was killed"
            why = f" ({error})" if error else ""
            remark = (
                f"{self._name} {how}{self._when()}{why}, after it had left its data"
                f"{last_words(output)}"
            )
        return self.data(remark)

    def data(self, remark: str = "") -> Measurement:
        """Return the data that it left; it may run on.

        Args:
            remark: see `Measurement`.
        """
        data = json.loads((self._directory / RESULT).read_text(encoding="utf-8"))
        arrays = {name: read_arrays(str(self._directory / f"{name}.npz")) for name in ARRAYS}
        return replace(from_plain(data, arrays), remark=remark, output=self._output())

    def error(self) -> XSchedError | None:
        """Return the error that the worker raised, or None."""
        if not (self._directory / ERROR).exists():
            return None
        plain = json.loads((self._directory / ERROR).read_text(encoding="utf-8"))
        if not plain["message"].startswith(self._owner):
            plain["message"] = f"{self._owner}: {plain['message']}"
        return error_from_dict(plain)

    def crash(self, lacking: str = "") -> WorkerCrashed:
        """Return an error that says how it ended, after it has."""
        how = describe_exit(self.exit_status)
        if not self.is_in_time:
            how = "did not end in time and was killed"
        when = self._when()
        why = f" ({self.messages.unwritable})" if self.messages.unwritable else ""
        return WorkerCrashed(
            f"{self._name} {how}{when}{lacking}{why}{last_words(self._output())}",
            returncode=self.exit_status,
        )

    def _when(self) -> str:
        return f" while {self.messages.doing}" if self.messages.doing else ""

    def _output(self) -> str:
        return end_of_output(self._directory / OUTPUT)


def _environment(changes: Environment) -> dict[str, str]:
    environment = changes.apply(os.environ)
    # Absolute, because the worker has another working directory.
    if path := environment.get("PYTHONPATH"):
        absolute = [os.path.abspath(part) for part in path.split(os.pathsep)]
        environment["PYTHONPATH"] = os.pathsep.join(absolute)
    if path := environment.get("PYTEST_XSCHED_CACHE"):
        environment["PYTEST_XSCHED_CACHE"] = os.path.abspath(path)
    return environment


def error_from_dict(plain: dict[str, Any]) -> XSchedError:
    """Return an error from its JSON; see `worker.error_to_dict`.

    Its message may quote a driver or a compiler.
    """
    kind: type[XSchedError] = getattr(errors, plain["type"])
    message = printable(plain["message"])
    if issubclass(kind, DeviceError):
        return kind(message, call=plain["call"], code=plain["code"])
    if issubclass(kind, WorkerCrashed):
        return kind(message, returncode=plain["returncode"])
    return kind(message)


def end_of_output(path: Path) -> str:
    """Read the last OUTPUT_BYTES of the output of a process."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - OUTPUT_BYTES))
        return printable(file.read(OUTPUT_BYTES).decode(errors="replace"))


def last_words(output: str) -> str:
    """Return the end of a sentence with the last lines of an output: XSched's last error first."""
    lines = [line.strip() for line in printable(output).splitlines()]
    lines = [line for line in lines if line and not _CHATTER.match(line)]
    error_at = max((i for i, line in enumerate(lines) if _ERROR_LINE.search(line)), default=None)
    first = [] if error_at is None else [lines[error_at]]
    after = 0 if error_at is None else error_at + 1
    words = first + lines[after:][len(first) - 3 :]
    return f"; its last words: {' | '.join(words)}" if words else ""

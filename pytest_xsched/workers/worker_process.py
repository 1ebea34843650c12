"""A child process that measures: started, listened to, ended, and its end understood.

It is exec'd, never forked, so that no state of a driver in this process reaches it, and it does not
outlive this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_xsched import errors
from pytest_xsched.errors import DeviceError, WorkerCrashed, XSchedError
from pytest_xsched.monitoring.environment import Fingerprint
from pytest_xsched.monitoring.noise import Readings
from pytest_xsched.native.run import Counts
from pytest_xsched.runner.measure import Measurement, Progress
from pytest_xsched.system.process_group import await_end, has_ended, kill_group
from pytest_xsched.workers.worker import (
    ANSWER,
    DOING,
    ERROR,
    JOB,
    LEFT,
    LOCKED,
    OUTPUT,
    READY,
    RESULT,
    SAMPLES,
    UNWRITABLE,
    WAITING,
)
from pytest_xsched.xsched.activation import Activity

OUTPUT_BYTES = 64 * 1024
"""Kept of what a worker wrote: its end."""

_ERROR_LINE = re.compile(r"\[XSCHED ERRO|\[ERRO @|Assertion failed")
"""How XSched says why it ends the process, before and behind its version 1.2."""

_CHATTER = re.compile(r"\[(XSCHED )?(INFO|DEBG) @|\[.*unsupported hint type")
"""Lines of XSched that say nothing about an end: queues give all their hints to any policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a worker finds in its environment that this process has not, or has otherwise.

    Attributes:
        scrubbed: prefixes of the names that it does not inherit.
        values: set behind that, by name.
    """

    scrubbed: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    def apply(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Give the environment of the worker from that of this process."""
        kept = {
            name: value
            for name, value in inherited.items()
            if not (self.scrubbed and name.startswith(self.scrubbed))
        }
        return {**kept, **self.values}


class News:
    """What a worker says while it works, and the time until which it has to be done.

    Attributes:
        said: LOCKED, READY, LEFT, as far as it got.
        doing: what it did last, as a sentence in the past.
        unwritable: why it could not write a file.
        answers: to requests, the oldest first; whoever asked takes them out.
        deadline_s: by time.monotonic().
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
        self._told = b""
        self.said: set[str] = set()
        self.doing = ""
        self.unwritable = ""
        self.answers: list[str] = []
        self.allow(allowed_s)

    def allow(self, more_s: float) -> None:
        """Let the time begin anew."""
        self.deadline_s = time.monotonic() + more_s

    def read(self, news: bytes) -> None:
        """Take in what was said, and hand on the last of it.

        The worker's time begins behind the waiting, and is short when its data is there.
        """
        *lines, self._told = (self._told + news).split(b"\n")
        texts = [line.decode() for line in lines]
        for text in texts:
            if text.startswith(WAITING):
                self.allow(self.allowed_s)
            elif text in (LOCKED, READY, LEFT):
                self.said.add(text)
                self.allow(self.grace_s if text == LEFT else self.allowed_s)
            elif text.startswith(DOING):
                self.doing = text.removeprefix(DOING)
            elif text.startswith(ANSWER):
                self.answers.append(text.removeprefix(ANSWER))
            elif text.startswith(UNWRITABLE):
                self.unwritable = text.removeprefix(UNWRITABLE)
        for text in texts[-1:]:
            if text.startswith(WAITING):
                if self._waiting is not None:
                    self._waiting(text)
            elif self._progress is not None and text[:1].isdecimal():
                elapsed, total = text.split()
                self._progress(int(elapsed), int(total))


class Worker:
    """One worker process, from its start to what it left.

    Args:
        directory: empty, for the job and the data.
        job: made by `make_job`.
        news: takes in what it says.
        environment: in which it differs from this process.
        module: what it runs.
        of: whose it is, for messages: "queue 'low'"; empty where there is only one.
    """

    def __init__(
        self,
        directory: Path,
        job: dict[str, Any],
        *,
        news: News,
        environment: Environment | None,
        module: str,
        of: str = "",
    ) -> None:
        self.news = news
        self._directory = directory
        self._of = of
        self._who = f"the worker process of {of}" if of else "the worker process"
        self._in_time = True
        self.progress_fd, write_fd = os.pipe()
        job = {**job, "parent": os.getpid(), "progress_fd": write_fd}
        try:
            (directory / JOB).write_text(json.dumps(job), encoding="utf-8")
            with open(directory / OUTPUT, "wb") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", module],
                    cwd=directory,  # also what -m puts on sys.path: nothing of the user's
                    env=_environment(environment or Environment()),
                    stdin=subprocess.PIPE,  # its end is the sign to stop
                    stdout=output,
                    stderr=output,
                    pass_fds=(write_fd,),
                    start_new_session=True,  # Ctrl-C reaches us, and we stop it
                )
        except BaseException:
            os.close(self.progress_fd)
            raise
        finally:
            os.close(write_fd)

    def works(self) -> bool:
        """Whether the process has not ended; if it has, all that it said was read."""
        if not has_ended(self._process):
            return True
        while select.select([self.progress_fd], [], [], 0)[0]:
            said = os.read(self.progress_fd, 65536)
            if not said:
                break
            self.news.read(said)
        if (self._directory / RESULT).exists():
            self.news.said.add(LEFT)  # even if it ended before it could say so
        return False

    def is_late(self) -> bool:
        """Whether its time is over."""
        self._in_time = time.monotonic() <= self.news.deadline_s
        return not self._in_time

    def listen(self, timeout_s: float) -> None:
        """Hand on what it says; wait for that if it says nothing."""
        if not select.select([self.progress_fd], [], [], timeout_s)[0]:
            return
        said = os.read(self.progress_fd, 65536)
        if not said:  # closed on purpose or by its end
            time.sleep(timeout_s)
        self.news.read(said)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def said(self) -> set[str]:
        """How far it got; see `News`."""
        return self.news.said

    def allow(self, more_s: float) -> None:
        """Let its time begin anew."""
        self.news.allow(more_s)

    def start(self, start_clock_ns: int) -> None:
        """Tell one that is ready the moment of the start; one that is gone is noticed elsewhere."""
        self.news.allow(self.news.allowed_s)
        self.write(str(start_clock_ns))

    def write(self, line: str) -> None:
        """Write a line to its stdin; that it is gone is noticed elsewhere."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Say that nothing is to come: it stops where it is, or ends if it has left its data."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """See to it that the process is gone, and what it started with it, such as compilers."""
        self.dismiss()
        await_end(self._process, 0.5 if self._in_time else 0)  # it stops by itself at its next look
        kill_group(self._process)
        if self.progress_fd >= 0:
            os.close(self.progress_fd)
            self.progress_fd = -1

    def measurement(self) -> Measurement:
        """Read what it left, when it has ended.

        Raises:
            WorkerCrashed: it left nothing.
            XSchedError: what was raised there.
        """
        left = (self._directory / RESULT).exists()
        error = self.error()
        if error is not None and not left:
            raise error
        output = self._output()
        returncode = self._process.returncode
        how = how_it_ended(returncode)
        if not left:
            raise self.crash(", without a result")
        remark = ""
        if returncode != 0 or not self._in_time:
            if not self._in_time:
                how = "did not end and was killed"
            why = f" ({error})" if error else ""
            remark = f"{self._who} {how}{why}, after it had left its data{last_words(output)}"
        data = json.loads((self._directory / RESULT).read_text(encoding="utf-8"))
        with np.load(self._directory / SAMPLES, allow_pickle=False) as samples:
            return Measurement(
                fingerprint=Fingerprint.from_dict(data["fingerprint"]),
                counts=tuple(Counts(**counts) for counts in data["counts"]),
                samples=tuple(samples[name] for name in samples.files),
                wrong_results=tuple(data["wrong_results"]),
                priority_effect=data["priority_effect"],
                alone_ns=tuple(data["alone_ns"]),
                activity=data["activity"] and Activity.from_dict(data["activity"]),
                readings=data["readings"] and Readings.from_dict(data["readings"]),
                remark=remark,
                output=output,
            )

    def error(self) -> XSchedError | None:
        """Read what was raised there."""
        if not (self._directory / ERROR).exists():
            return None
        plain = json.loads((self._directory / ERROR).read_text(encoding="utf-8"))
        if not plain["message"].startswith(self._of):
            plain["message"] = f"{self._of}: {plain['message']}"
        return error_of(plain)

    def crash(self, lacking: str = "") -> WorkerCrashed:
        """Say how it ended, when it has."""
        how = how_it_ended(self._process.returncode)
        if not self._in_time:
            how = "did not end in time and was killed"
        when = f" while {self.news.doing}" if self.news.doing else ""
        why = f" ({self.news.unwritable})" if self.news.unwritable else ""
        return WorkerCrashed(
            f"{self._who} {how}{when}{lacking}{why}{last_words(self._output())}",
            returncode=self._process.returncode,
        )

    def _output(self) -> str:
        with open(self._directory / OUTPUT, "rb") as file:
            file.seek(max(0, os.path.getsize(file.name) - OUTPUT_BYTES))
            return file.read().decode(errors="replace")


def _environment(changes: Environment) -> dict[str, str]:
    environment = changes.apply(os.environ)
    # Absolute, because the worker has a directory of its own.
    if path := environment.get("PYTHONPATH"):
        absolute = [os.path.abspath(part) for part in path.split(os.pathsep)]
        environment["PYTHONPATH"] = os.pathsep.join(absolute)
    if path := environment.get("PYTEST_XSCHED_CACHE"):
        environment["PYTEST_XSCHED_CACHE"] = os.path.abspath(path)
    return environment


def error_of(plain: dict[str, Any]) -> XSchedError:
    """Make an error from its JSON; see `worker.plain_error`."""
    kind: type[XSchedError] = getattr(errors, plain["type"])
    if issubclass(kind, DeviceError):
        return kind(plain["message"], call=plain["call"], code=plain["code"])
    return kind(plain["message"])


def how_it_ended(returncode: int) -> str:
    """Say it of an exit status as `subprocess` gives it: negative for a signal."""
    if returncode >= 0:
        return f"ended with exit status {returncode}"
    try:
        name = signal.Signals(-returncode).name
        hint = ", as the kernel does where memory is short," if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    except ValueError:
        return f"was ended by signal {-returncode}"


def last_words(output: str) -> str:
    """Give the end of a sentence with the last lines of an output: XSched's last error first."""
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not _CHATTER.match(line)]
    told = max((i for i, line in enumerate(lines) if _ERROR_LINE.search(line)), default=None)
    first = [] if told is None else [lines[told]]
    behind = 0 if told is None else told + 1
    words = first + lines[behind:][len(first) - 3 :]
    return f"; its last words: {' | '.join(words)}" if words else ""

"""Measuring in a worker process, which may die: start it, watch it, understand its end.

The worker is exec'd, never forked, so that no state of a driver in this process reaches it, and it
does not outlive this process.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_xsched import errors
from pytest_xsched._running import Counts
from pytest_xsched.errors import DeviceError, WorkerCrashed, XSchedError
from pytest_xsched.fingerprint import Fingerprint
from pytest_xsched.harness import Measurement, Progress
from pytest_xsched.libraries import Libraries, find_libraries
from pytest_xsched.model import Scenario
from pytest_xsched.worker import ERROR, JOB, LEFT, RESULT, SAMPLES, UNWRITABLE, WAITING

SET_UP_S = 60.0
"""Allowed beyond the run itself: importing, opening the device, compiling, reading results."""

GRACE_S = 10.0
"""Allowed for the end of a worker that has left its data."""

OUTPUT_BYTES = 64 * 1024
"""Kept of what a worker wrote: its end."""

_POLL_S = 0.05
_OUTPUT = "output.txt"
_ERROR_LINE = re.compile(r"\[XSCHED ERRO|\[ERRO @|Assertion failed")
"""How XSched says why it ends the process, before and behind its version 1.2."""


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


def measure_in_worker(
    scenario: Scenario,
    progress: Progress | None = None,
    *,
    waiting: Callable[[str], None] | None = None,
    libraries: Libraries | None = None,
    lock_timeout_s: float = 600.0,
    environment: Environment | None = None,
    set_up_s: float = SET_UP_S,
    grace_s: float = GRACE_S,
    module: str = "pytest_xsched.worker",
) -> Measurement:
    """Measure a scenario in a fresh process.

    Args:
        scenario: what is to be run.
        progress: called with elapsed and total ns of the run.
        waiting: called with a phrase, "waiting for ...", while another process measures on the
            GPU. That time does not count against the worker.
        libraries: of the GPU; None: those that the environment names.
        lock_timeout_s: longest wait of that kind.
        environment: in which it differs from this process; None: in nothing.
        set_up_s: wall time beyond the run after which the worker is killed.
        grace_s: the same behind the moment at which it has left its data.
        module: what the process runs.

    Raises:
        DeviceBusy: another process measured for longer than that.
        WorkerCrashed: it ended without a result, or did not end; the message says how.
        XSchedError: what was raised there, as here.
    """
    if libraries is None:
        libraries = find_libraries(scenario.device_kind)
    run_ns = scenario.warmup_ns + scenario.duration_ns + scenario.drain_ns
    news = _News(set_up_s + run_ns / 1e9, grace_s, progress, waiting)
    variables = _environment(environment or Environment())
    with tempfile.TemporaryDirectory(prefix="pytest-xsched-") as name:
        directory = Path(name)
        job = {
            "scenario": scenario.to_dict(),
            "libraries": libraries.to_dict(),
            "lock_timeout_s": lock_timeout_s,
        }
        worker, progress_fd = _start(directory, job, module, variables)
        try:
            in_time = _watch(worker, progress_fd, news)
        finally:  # also on Ctrl-C and time-outs: nobody waits for the result any more
            os.close(progress_fd)
            _end(worker)
        return _understand(directory, worker.returncode, in_time, news.unwritable)


def _start(
    directory: Path, job: dict[str, Any], module: str, variables: dict[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    read_fd, write_fd = os.pipe()
    job = {**job, "parent": os.getpid(), "progress_fd": write_fd}
    (directory / JOB).write_text(json.dumps(job), encoding="utf-8")
    try:
        with open(directory / _OUTPUT, "wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=directory,  # also what -m puts on sys.path: nothing of the user's
                env=variables,
                stdin=subprocess.PIPE,  # its end is the sign to stop
                stdout=output,
                stderr=output,
                pass_fds=(write_fd,),
                start_new_session=True,  # Ctrl-C reaches us, and we stop it
            )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    return worker, read_fd


def _environment(changes: Environment) -> dict[str, str]:
    environment = changes.apply(os.environ)
    # Absolute, because the worker has a directory of its own.
    if path := environment.get("PYTHONPATH"):
        absolute = [os.path.abspath(part) for part in path.split(os.pathsep)]
        environment["PYTHONPATH"] = os.pathsep.join(absolute)
    if path := environment.get("PYTEST_XSCHED_CACHE"):
        environment["PYTEST_XSCHED_CACHE"] = os.path.abspath(path)
    return environment


class _News:
    """What a worker says while it works, and the time until which it has to be done."""

    def __init__(
        self,
        allowed_s: float,
        grace_s: float,
        progress: Progress | None,
        waiting: Callable[[str], None] | None,
    ) -> None:
        self._allowed_s = allowed_s
        self._grace_s = grace_s
        self._progress = progress
        self._waiting = waiting
        self._told = b""
        self.deadline_s = time.monotonic() + allowed_s
        self.unwritable = ""
        """Why it could not write a file."""

    def read(self, news: bytes) -> None:
        """Take in what was said, and hand on the last of it.

        The worker's time begins behind the waiting, and is short when its data is there.
        """
        *lines, self._told = (self._told + news).split(b"\n")
        texts = [line.decode() for line in lines]
        for text in texts:
            if text.startswith(WAITING):
                self.deadline_s = time.monotonic() + self._allowed_s
            elif text == LEFT:
                self.deadline_s = time.monotonic() + self._grace_s
            elif text.startswith(UNWRITABLE):
                self.unwritable = text.removeprefix(UNWRITABLE)
        for text in texts[-1:]:
            if text.startswith(WAITING):
                if self._waiting is not None:
                    self._waiting(text)
            elif self._progress is not None and text[:1].isdecimal():
                elapsed, total = text.split()
                self._progress(int(elapsed), int(total))


def _watch(worker: subprocess.Popen[bytes], progress_fd: int, news: _News) -> bool:
    """Hand on the news until the worker ends; False if it did not within its time."""
    while worker.poll() is None:
        if time.monotonic() > news.deadline_s:
            return False
        if not select.select([progress_fd], [], [], _POLL_S)[0]:
            continue
        said = os.read(progress_fd, 65536)
        if not said:  # closed on purpose or by its end
            time.sleep(_POLL_S)
        news.read(said)
    while select.select([progress_fd], [], [], 0)[0] and (said := os.read(progress_fd, 65536)):
        news.read(said)  # what it said last
    return True


def _end(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    worker.stdin.close()
    if worker.poll() is None:
        try:
            worker.wait(0.5)  # it stops by itself at its next look
        except subprocess.TimeoutExpired:
            worker.kill()
    worker.wait()


def _understand(directory: Path, returncode: int, in_time: bool, unwritable: str) -> Measurement:
    left = (directory / RESULT).exists()
    error = None
    if (directory / ERROR).exists():
        error = _error(json.loads((directory / ERROR).read_text(encoding="utf-8")))
        if not left:
            raise error
    output = _output(directory)
    if not left:
        how = _how(returncode) if in_time else "did not end in time and was killed"
        why = f" ({unwritable})" if unwritable else ""
        raise WorkerCrashed(
            f"the worker process {how}, without a result{why}{last_words(output)}",
            returncode=returncode,
        )
    data = json.loads((directory / RESULT).read_text(encoding="utf-8"))
    remark = ""
    if returncode != 0 or not in_time:
        how = _how(returncode) if in_time else "did not end and was killed"
        why = f" ({error})" if error else ""
        remark = f"the worker process {how}{why}, after it had left its data{last_words(output)}"
    with np.load(directory / SAMPLES, allow_pickle=False) as samples:
        return Measurement(
            fingerprint=Fingerprint.from_dict(data["fingerprint"]),
            counts=tuple(Counts(**counts) for counts in data["counts"]),
            samples=tuple(samples[name] for name in samples.files),
            wrong_results=tuple(data["wrong_results"]),
            priority_effect=data["priority_effect"],
            remark=remark,
            output=output,
        )


def _error(plain: dict[str, Any]) -> XSchedError:
    kind: type[XSchedError] = getattr(errors, plain["type"])
    if issubclass(kind, DeviceError):
        return kind(plain["message"], call=plain["call"], code=plain["code"])
    return kind(plain["message"])


def _how(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit status {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"


def _output(directory: Path) -> str:
    with open(directory / _OUTPUT, "rb") as file:
        file.seek(max(0, os.path.getsize(file.name) - OUTPUT_BYTES))
        return file.read().decode(errors="replace")


def last_words(output: str) -> str:
    """Give the end of a sentence with the last lines of an output: XSched's last error first."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = max((i for i, line in enumerate(lines) if _ERROR_LINE.search(line)), default=None)
    first = [] if told is None else [lines[told]]
    behind = 0 if told is None else told + 1
    words = first + lines[behind:][len(first) - 3 :]
    return f"; its last words: {' | '.join(words)}" if words else ""

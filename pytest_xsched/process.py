"""Measuring in a worker process, which may die: start it, watch it, understand its end.

The worker is exec'd, never forked, so that no state of a driver in this process reaches it, and it
does not outlive this process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
from pytest_xsched.worker import ERROR, JOB, RESULT, SAMPLES, WAITING

SET_UP_S = 60.0
"""Allowed beyond the run itself: importing, opening the device, compiling, reading results."""

_POLL_S = 0.05
_OUTPUT = "output.txt"


def measure_in_worker(
    scenario: Scenario,
    progress: Progress | None = None,
    *,
    waiting: Callable[[str], None] | None = None,
    libraries: Libraries | None = None,
    lock_timeout_s: float = 600.0,
    set_up_s: float = SET_UP_S,
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
        set_up_s: wall time beyond the run after which the worker is killed.
        module: what the process runs.

    Raises:
        DeviceBusy: another process measured for longer than that.
        WorkerCrashed: it ended without a result, or did not end; the message says how.
        XSchedError: what was raised there, as here.
    """
    if libraries is None:
        libraries = find_libraries(scenario.device_kind)
    run_ns = scenario.warmup_ns + scenario.duration_ns + scenario.drain_ns
    news = _News(set_up_s + run_ns / 1e9, progress, waiting)
    with tempfile.TemporaryDirectory(prefix="pytest-xsched-") as name:
        directory = Path(name)
        job = {
            "scenario": scenario.to_dict(),
            "libraries": libraries.to_dict(),
            "lock_timeout_s": lock_timeout_s,
        }
        worker, progress_fd = _start(directory, job, module)
        try:
            in_time = _watch(worker, progress_fd, news)
        finally:  # also on Ctrl-C and time-outs: nobody waits for the result any more
            os.close(progress_fd)
            _end(worker)
        return _understand(directory, worker.returncode, in_time)


def _start(
    directory: Path, job: dict[str, Any], module: str
) -> tuple[subprocess.Popen[bytes], int]:
    read_fd, write_fd = os.pipe()
    job = {**job, "parent": os.getpid(), "progress_fd": write_fd}
    (directory / JOB).write_text(json.dumps(job), encoding="utf-8")
    try:
        with open(directory / _OUTPUT, "wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=directory,  # also what -m puts on sys.path: nothing of the user's
                env=_environment(),
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


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
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
        progress: Progress | None,
        waiting: Callable[[str], None] | None,
    ) -> None:
        self._allowed_s = allowed_s
        self._progress = progress
        self._waiting = waiting
        self._told = b""
        self.deadline_s = time.monotonic() + allowed_s

    def read(self, news: bytes) -> None:
        """Hand on the last of what was said; the worker's time begins behind the waiting."""
        *lines, self._told = (self._told + news).split(b"\n")
        texts = [line.decode() for line in lines]
        if any(text.startswith(WAITING) for text in texts):
            self.deadline_s = time.monotonic() + self._allowed_s
        for text in texts[-1:]:
            if text.startswith(WAITING):
                if self._waiting is not None:
                    self._waiting(text)
            elif self._progress is not None:
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


def _understand(directory: Path, returncode: int, in_time: bool) -> Measurement:
    if (directory / ERROR).exists():
        raise _error(json.loads((directory / ERROR).read_text(encoding="utf-8")))
    last_words = _last_words(directory)
    if not (directory / RESULT).exists():
        how = _how(returncode) if in_time else "did not end in time and was killed"
        raise WorkerCrashed(
            f"the worker process {how}, without a result{last_words}", returncode=returncode
        )
    data = json.loads((directory / RESULT).read_text(encoding="utf-8"))
    remark = ""
    if returncode != 0 or not in_time:
        how = _how(returncode) if in_time else "did not end and was killed"
        remark = f"the worker process {how}, after it had left its data{last_words}"
    with np.load(directory / SAMPLES, allow_pickle=False) as samples:
        return Measurement(
            fingerprint=Fingerprint.from_dict(data["fingerprint"]),
            counts=tuple(Counts(**counts) for counts in data["counts"]),
            samples=tuple(samples[name] for name in samples.files),
            wrong_results=tuple(data["wrong_results"]),
            priority_effect=data["priority_effect"],
            remark=remark,
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


def _last_words(directory: Path) -> str:
    text = (directory / _OUTPUT).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()][-3:]
    return f"; its last words: {' | '.join(lines)}" if lines else ""

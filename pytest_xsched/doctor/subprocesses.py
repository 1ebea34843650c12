"""The doctor's own processes: start several, wait for each for a while, say how each ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_xsched.system.process_group import await_end, kill_group
from pytest_xsched.xsched.environment import of_xsched

LOAD_S = 3.0
"""For a process that loads libraries; a tenth of a second is what it takes."""
_SCRIPT = Path(__file__).with_name("load_probe.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        answers: what it found, an object each line, as far as it got.
        returncode: its exit status; negative: the signal that ended it.
        late_s: 0, or the time after which it was killed.
        output: what it and the dynamic loader wrote.
    """

    answers: tuple[dict[str, Any], ...]
    returncode: int
    late_s: float
    output: str

    @property
    def answer(self) -> dict[str, Any] | None:
        """The only object of a process that answers once; None: it ended before."""
        return self.answers[0] if self.answers else None

    @property
    def how(self) -> str:
        """Its end as the end of a sentence, "was ended by SIGSEGV"."""
        if self.late_s:
            return f"did not end within {self.late_s:.0f} s"
        if self.returncode >= 0:
            return f"ended with exit status {self.returncode}"
        try:
            return f"was ended by {signal.Signals(-self.returncode).name}"
        except ValueError:
            return f"was ended by signal {-self.returncode}"

    @property
    def last_line(self) -> str:
        """The last that was written, in brackets, or ''."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return f" ({lines[-1]})" if lines else ""


class Child:
    """A running process of the doctor's.

    Args:
        arguments: of Python, the number of the file for the answers among them as ``"FD"``.
        environment: its own, whole.
        limit_s: after which it is killed.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], limit_s: float
    ) -> None:
        # Files and no pipes: nobody has to read while it runs, whatever it writes.
        self._answers = tempfile.TemporaryFile()  # noqa: SIM115
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        fd = self._answers.fileno()
        self._process = subprocess.Popen(
            [sys.executable, *(str(fd) if word == "FD" else word for word in arguments)],
            cwd="/",  # what -m puts on sys.path: nothing of the user's
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            pass_fds=(fd,),
            start_new_session=True,
        )
        self._limit_s = limit_s
        self._deadline_s = time.monotonic() + limit_s

    def end(self) -> Ended:
        """Wait for its end, until its time is up, and kill it then."""
        in_time = await_end(self._process, self._deadline_s - time.monotonic())
        returncode = kill_group(self._process)
        with self._answers, self._output:
            answers, output = (_read(file) for file in (self._answers, self._output))
        # A line that was not written to its end is none.
        lines = answers.split("\n")[:-1]
        return Ended(
            answers=tuple(json.loads(line) for line in lines),
            returncode=returncode,
            late_s=0.0 if in_time else self._limit_s,
            output=output,
        )


def start_loading(*action: str, environment: Mapping[str, str]) -> Child:
    """Start `load_probe` with one of its actions and the arguments of that."""
    return Child(["-I", "-S", str(_SCRIPT), "FD", *action], environment, LOAD_S)


def start_working(job: dict[str, Any], environment: Mapping[str, str], limit_s: float) -> Child:
    """Start `gpu_probe`, which needs the package and what that needs."""
    found = environment.get("PYTHONPATH", "").split(os.pathsep)
    absolute = os.pathsep.join(os.path.abspath(part) for part in found if part)
    return Child(
        ["-m", "pytest_xsched.doctor.gpu_probe", "FD", json.dumps(job)],
        {**environment, "PYTHONPATH": absolute},
        limit_s,
    )


def clean(environment: Mapping[str, str], **more: str) -> dict[str, str]:
    """Give an environment in which a library of XSched does nothing but be loaded."""
    kept = {
        name: value
        for name, value in environment.items()
        if not of_xsched(name) and name != "LD_PRELOAD"
    }
    return {**kept, "XLOG_LEVEL": "WARN", **more}


def _read(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode("utf-8", "backslashreplace"))

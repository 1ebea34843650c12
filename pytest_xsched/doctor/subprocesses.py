"""The doctor's own processes: start several, wait for each, and describe how each ended."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_xsched.base.terminal_text import printable
from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.xsched.environment import is_xsched_variable

LOAD_S = 3.0
"""Time for a process that loads libraries, which normally takes a tenth of a second."""
_POLL_S = 0.05
_PACKAGE_FOLDER = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """How a process ended.

    Attributes:
        answers: what it found, up to its end.
        exit_status: as `ManagedProcess` has it; negative: the signal that ended it.
        late_s: 0, or the time after which it was killed.
        output: of the process and of the dynamic loader.
    """

    answers: tuple[dict[str, Any], ...]
    exit_status: int
    late_s: float
    output: str

    @property
    def answer(self) -> dict[str, Any] | None:
        """Return the first answer; None: the process ended before it."""
        return self.answers[0] if self.answers else None

    @property
    def end_phrase(self) -> str:
        """Return how it ended, as the end of a sentence: "was ended by SIGSEGV"."""
        if self.late_s:
            return f"did not end within {self.late_s:.0f} s"
        return describe_exit(self.exit_status)

    @property
    def last_line(self) -> str:
        """Return the last line of the output, in brackets, or ''."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return f" ({lines[-1]})" if lines else ""


class Probe(ManagedProcess):
    """A running process of the doctor's; each message is an answer, as JSON.

    Args:
        arguments: of Python, with ``"FD"`` where the number of the pipe for answers belongs.
        environment: all of its variables.
        limit_s: time after which it is killed.
        directory: its working directory, which -m puts on sys.path: nothing of the user's is in /.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        limit_s: float,
        *,
        directory: str = "/",
    ) -> None:
        super().__init__(limit_s)
        self._limit_s = limit_s
        self._answers: list[dict[str, Any]] = []
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        fd = str(self.messages_fd)
        self.start(
            [sys.executable, *(fd if word == "FD" else word for word in arguments)],
            directory=directory,
            environment=environment,
            output=self._output,
            inherits=(self.messages_fd,),
        )

    def receive(self, messages: Sequence[str]) -> None:
        """Keep its answers."""
        self._answers += [json.loads(message) for message in messages]

    def end(self) -> ProbeResult:
        """Wait until it ends or is late, and kill it then."""
        self.listen_until(_POLL_S)
        self.drain()  # of one that was late before this was called, too
        self.stop(0)
        with self._output:
            self._output.seek(0)
            output = printable(self._output.read().decode("utf-8", "backslashreplace"))
        return ProbeResult(
            answers=tuple(self._answers),
            exit_status=self.exit_status,
            late_s=0.0 if self.is_in_time else self._limit_s,
            output=output,
        )


def start_loading(*action: str, environment: Mapping[str, str]) -> Probe:
    """Start `load_probe` with one of its actions and the arguments of that."""
    script = (
        f"import sys; sys.path.append({str(_PACKAGE_FOLDER)!r}); "
        "from pytest_xsched.doctor import load_probe; load_probe.main()"
    )
    return Probe(["-I", "-S", "-c", script, "FD", *action], environment, LOAD_S)


def start_module(
    module: str, environment: Mapping[str, str], limit_s: float, *arguments: str
) -> Probe:
    """Start a module with what the package needs; its first argument is the pipe for answers."""
    found = environment.get("PYTHONPATH", "").split(os.pathsep)
    absolute = os.pathsep.join(os.path.abspath(part) for part in found if part)
    return Probe(["-m", module, "FD", *arguments], {**environment, "PYTHONPATH": absolute}, limit_s)


def start_gpu_process(job: dict[str, Any], environment: Mapping[str, str], limit_s: float) -> Probe:
    """Start `gpu_probe`."""
    return start_module("pytest_xsched.doctor.gpu_probe", environment, limit_s, json.dumps(job))


def clean(environment: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return an environment in which XSched can be loaded and schedules nothing."""
    kept = {
        name: value
        for name, value in environment.items()
        if not is_xsched_variable(name) and name != "LD_PRELOAD"
    }
    return {**kept, "XLOG_LEVEL": "WARN", **more}

"""A program of `process_programs` that runs: what it does by its own report, and how it ended."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.workers.worker_process import last_words

POLL_S = 0.02


class Skipped(Exception):
    """A case cannot be run here; the message says why."""


class Observed(ManagedProcess):
    """A program of ours: what it does, by its own report.

    Attributes:
        rounds: those that it has completed.
        doing: the last step of each of its processes.
        shims: for each program that began in it, whether a shim was mapped.
        limit_s: time for its rounds, and for its end.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], limit_s: float):
        super().__init__(limit_s)
        self.rounds = 0
        self.doing: dict[str, str] = {}
        self.shims: list[bool] = []
        self.limit_s = limit_s
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._begin_s = time.monotonic()
        self.start(
            command,
            environment=environment,
            output=self._output,
            directory="/",
            has_stdin=True,
            messages_on_stdout=True,
        )

    def receive(self, messages: Sequence[str]) -> None:
        """Keep what it reports."""
        for message in messages:
            who, _, what = message.partition(": ")
            if who == "round":
                self.rounds += 1
            elif who == "shim":
                self.shims.append(what == "yes")
            else:
                self.doing[who] = what

    def goes_on(self, rounds: int) -> bool:
        """Wait until it has completed more rounds; return False if it ended or hangs first.

        Rounds that it completed before do not count, also where its lines were not read yet.
        """
        self.drain()
        target = self.rounds + rounds
        self.allow(self.limit_s)
        while self.rounds < target:
            if not self.is_running() or self.is_late():
                return False
            self.listen(POLL_S)
        return True

    def end(self) -> Ended:
        """Wait until it ends or hangs, and kill it then."""
        self.listen_until(POLL_S)
        self.drain()
        has_ended = self.stop(0)
        with self._output:
            self._output.seek(0)
            output = self._output.read().decode(errors="replace")
        child, program = self.doing.get("child"), self.doing.get("program", "starts")
        if child is not None and program.startswith("waits for its child"):
            last = f"its child hangs when it {child}"
        else:
            last = f"its program hangs when it {program}"
        return Ended(
            status=self.exit_status if has_ended else None,
            seconds=time.monotonic() - self._begin_s,
            last=last,
            shims=tuple(self.shims),
            words=last_words(output),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended.

    Attributes:
        status: exit status, negative for a signal; None: it hung and was killed.
        seconds: from start to end.
        last: where it hung, if it did.
        shims: for each program that began in it, whether a shim was mapped.
        words: the end of its output, as the end of a sentence, or "".
    """

    status: int | None
    seconds: float
    last: str
    shims: tuple[bool, ...]
    words: str

    @property
    def phrase(self) -> str:
        """Return how it ended, with its subject."""
        if self.status is None:
            return self.last
        return f"its program {describe_exit(self.status)}{self.words}"

"""What a program reports of its requests, checked line by line; see `client` for the protocol.

A time counts only if it can be true: between the moment when its line could be written and the
moment when the line was read. The first line that breaks a rule makes the run invalid, and no line
after it counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.terminal_text import quoted
from pytest_xsched.base.units import Duration
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX
from pytest_xsched.workers.numbered_requests import OTHER_CLOCK, TIME_MAX_NS, NumberedRequests

_LINE = re.compile(r"(?:(?P<word>begin|end) (?P<time>[0-9]+)|done)")
_READY = re.compile(r"ready(?: [0-9]{1,10}(?: (?P<version>[0-9]{1,10}))?)?")
_OF_VERSION_2 = re.compile(r"(?:(?:begin|end|held) [0-9]+|at|fail)(?: .*)?")
VERSIONS = (1, 2)
"""Versions of the protocol."""
_NOT_STARTED = "comes before the program was started: wait for the line with START and END"
_GOES_ON = "comes while a request goes on"


class ProgramReports:
    """The lines of one program.

    Args:
        arrivals_ns: of its requests, since the start, ascending; None: a closed loop.
        names: of milestones that its requests have in any case, also where none gets there.
        may_go_on: whether it may report that it is ready for a further window.
        version: of the protocol, which it named when it was ready before an earlier window; None:
            it has not reported yet that it is ready.

    Attributes:
        version: of the protocol that it speaks; None: it has not reported yet that it is ready.
        numbered: what it reported of its requests, if it speaks version 2 and was started.
        begun_ns: times of CLOCK_MONOTONIC when requests of a program began that speaks version 1.
        ended_ns: times when they ended; the last one may go on.
        is_ready: whether it has reported that.
        is_ready_again: whether it has reported that after it was done.
        is_done: whether it has reported that, or has ended its last request.
        fault: what was wrong with which line; empty: nothing.
    """

    def __init__(
        self,
        arrivals_ns: Sequence[int] | None,
        *,
        names: Sequence[str] = (),
        may_go_on: bool = False,
        version: int | None = None,
    ) -> None:
        self._arrivals_ns = arrivals_ns
        self._names = names
        self._may_go_on = may_go_on
        self._start_ns: int | None = None
        self.begun_ns: list[int] = []
        self.ended_ns: list[int] = []
        self.version = version
        self.numbered: NumberedRequests | None = None
        self.is_ready_again = False
        self._said_done = False
        self.fault = ""

    @property
    def is_ready(self) -> bool:
        """Check whether it has reported that it is ready."""
        return self.version is not None

    @property
    def is_done(self) -> bool:
        """Check whether it has done all its requests."""
        arrivals = self._arrivals_ns
        done = len(self.ended_ns) if self.numbered is None else self.numbered.done
        return self._said_done or (arrivals is not None and done == len(arrivals))

    def start(self, start_clock_ns: int) -> None:
        """Set the moment of CLOCK_MONOTONIC that the program was sent as its start."""
        self._start_ns = start_clock_ns
        if self.version == 2:
            self.numbered = NumberedRequests(self._arrivals_ns, start_clock_ns, self._names)

    def read(self, line: str, read_ns: int) -> None:
        """Take in a line.

        Args:
            line: without its end.
            read_ns: the moment of CLOCK_MONOTONIC at which it was read, or a later one.
        """
        if self.fault:
            return
        if self.numbered is not None and not line.startswith(("ready", "done")):
            wrong = self._after_done() or self.numbered.read(line, read_ns)
        elif match := _READY.fullmatch(line):
            wrong = self._ready(int(match["version"] or 1))
        elif (match := _LINE.fullmatch(line)) is None:
            wrong = self._unknown(line)
        elif match["word"]:
            wrong = self._time(match["word"], match["time"], read_ns)
        else:
            wrong = self._done()
        if wrong:
            self.fault = f"the line {quoted(line)} {wrong}"

    def _unknown(self, line: str) -> str:
        if self.version == 2 and self._start_ns is None and _OF_VERSION_2.fullmatch(line):
            return _NOT_STARTED
        wrong = "is none of 'ready PID', 'begin TIME', 'end TIME', 'done'"
        if _OF_VERSION_2.fullmatch(line):
            wrong += "; one of version 2 takes a program that has written 'ready PID 2'"
        return wrong

    def read_unfinished(self, start_of_line: str, *, is_over: bool) -> None:
        """Take in the beginning of a line that has no end.

        Args:
            start_of_line: the text that was read.
            is_over: whether the program has ended; else the text is longer than any line.
        """
        if not self.fault and start_of_line:
            why = "when the program ended" if is_over else "and is longer than any line can be"
            self.fault = f"the line {quoted(start_of_line)} had no end {why}"

    def spans(self, end_ns: int) -> NDArray[np.int64]:
        """Return when requests were in flight: int64[n, 2], begin and end, CLOCK_MONOTONIC.

        The spans follow each other: requests that overlap are in one.

        Args:
            end_ns: the end of those that go on.
        """
        if self.numbered is not None:
            times = self.numbered.times()
            there = times.begun_ns >= 0
            gone = np.maximum(times.ended_ns, times.failed_ns)[there]
            return _united(times.begun_ns[there], np.where(gone < 0, end_ns, gone))
        begun = np.asarray(self.begun_ns, np.int64)
        ended = np.full_like(begun, end_ns)
        ended[: len(self.ended_ns)] = self.ended_ns
        return np.column_stack((begun, ended))

    def _ready(self, version: int) -> str:
        if self.is_ready_again or (self.is_ready and not (self._may_go_on and self._said_done)):
            return "comes a second time"
        if version not in VERSIONS:
            return f"names version {version} of the protocol; there are 1 and 2"
        if self.version not in (None, version):
            return f"names another version of the protocol than {self.version}, as before"
        self.version, self.is_ready_again = version, self.is_ready
        return ""

    def _done(self) -> str:
        if self._said_done:
            return "comes a second time"
        if self._start_ns is None:
            return "comes before the program was started"
        going_on = len(self.begun_ns) - len(self.ended_ns)
        if self.numbered is not None:
            going_on = self.numbered.open
        if going_on:
            return f"comes while {going_on} requests go on" if going_on > 1 else _GOES_ON
        self._said_done = True
        return ""

    def _after_done(self) -> str:
        return "comes after 'done'" if self._said_done else ""

    def _time(self, word: str, digits: str, read_ns: int) -> str:
        if self._start_ns is None:
            return _NOT_STARTED
        if wrong := self._after_done():
            return wrong
        if len(digits) > len(str(TIME_MAX_NS)) or (time_ns := int(digits)) > TIME_MAX_NS:
            return "has a time that no clock shows"
        if time_ns > read_ns:
            after = Duration(time_ns - read_ns)
            return f"has a time that is {after} after the line was read{OTHER_CLOCK}"
        if time_ns < self._start_ns:
            before = Duration(self._start_ns - time_ns)
            return f"has a time that is {before} before the start of the run{OTHER_CLOCK}"
        return self._begin(time_ns) if word == "begin" else self._end(time_ns)

    def _begin(self, time_ns: int) -> str:
        number, arrivals = len(self.begun_ns), self._arrivals_ns
        assert self._start_ns is not None
        if number > len(self.ended_ns):
            return f"{_GOES_ON}: requests follow each other"
        if number >= (SAMPLES_MAX if arrivals is None else len(arrivals)):
            return f"begins a request that was never offered: there were {number}"
        if self.ended_ns and time_ns < self.ended_ns[-1]:
            before = Duration(self.ended_ns[-1] - time_ns)
            return f"has a time that is {before} before the end of the previous request"
        if arrivals is not None and time_ns < (due_ns := self._start_ns + int(arrivals[number])):
            before = Duration(due_ns - time_ns)
            return f"has a time that is {before} before request {number} arrives"
        self.begun_ns.append(time_ns)
        return ""

    def _end(self, time_ns: int) -> str:
        if len(self.ended_ns) == len(self.begun_ns):
            return "ends a request that has not begun"
        if time_ns < self.begun_ns[-1]:
            before = Duration(self.begun_ns[-1] - time_ns)
            return f"has a time that is {before} before the request began"
        self.ended_ns.append(time_ns)
        return ""


def _united(begin_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the spans that some spans cover together, ascending: int64[n, 2]."""
    order = np.argsort(begin_ns, kind="stable")
    begin_ns, end_ns = begin_ns[order], np.maximum.accumulate(end_ns[order])
    first = np.ones(len(begin_ns), np.bool_)
    first[1:] = begin_ns[1:] > end_ns[:-1]
    last = np.roll(first, -1)
    return np.column_stack((begin_ns[first], end_ns[last]))

"""What a program reports of its requests, checked line by line; see `client` for the protocol.

A time counts only if it can be true: between the moment when its line could be written and the
moment when the line was read. The first line that breaks a rule makes the run invalid, and no line
after it counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_xsched.base.terminal_text import quoted
from pytest_xsched.base.units import Duration
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX

_LINE = re.compile(r"(?:(?P<word>begin|end) (?P<time>[0-9]+)|ready(?: [0-9]{1,10})?|done)")
_TIME_MAX_NS = 2**63 - 1


class ProgramReports:
    """The lines of one program.

    Args:
        arrivals_ns: of its requests, since the start, ascending; None: a closed loop.
        may_go_on: whether it may report that it is ready for a further window.
        is_ready: whether it has reported that it is ready, before an earlier window.

    Attributes:
        begun_ns: times of CLOCK_MONOTONIC when requests began.
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
        may_go_on: bool = False,
        is_ready: bool = False,
    ) -> None:
        self._arrivals_ns = arrivals_ns
        self._may_go_on = may_go_on
        self._start_ns: int | None = None
        self.begun_ns: list[int] = []
        self.ended_ns: list[int] = []
        self.is_ready = is_ready
        self.is_ready_again = False
        self._said_done = False
        self.fault = ""

    @property
    def is_done(self) -> bool:
        """Check whether it has done all its requests."""
        arrivals = self._arrivals_ns
        return self._said_done or (arrivals is not None and len(self.ended_ns) == len(arrivals))

    def start(self, start_clock_ns: int) -> None:
        """Set the moment of CLOCK_MONOTONIC that the program was sent as its start."""
        self._start_ns = start_clock_ns

    def read(self, line: str, read_ns: int) -> None:
        """Take in a line.

        Args:
            line: without its end.
            read_ns: the moment of CLOCK_MONOTONIC at which it was read, or a later one.
        """
        if self.fault:
            return
        match = _LINE.fullmatch(line)
        if match is None:
            wrong = "is none of 'ready PID', 'begin TIME', 'end TIME', 'done'"
        elif match["word"]:
            wrong = self._time(match["word"], match["time"], read_ns)
        else:
            wrong = self._ready() if line.startswith("ready") else self._done()
        if wrong:
            self.fault = f"the line {quoted(line)} {wrong}"

    def read_unfinished(self, start_of_line: str, *, is_over: bool) -> None:
        """Take in the beginning of a line that has no end.

        Args:
            start_of_line: the text that was read.
            is_over: whether the program has ended; else the text is longer than any line.
        """
        if not self.fault and start_of_line:
            why = "when the program ended" if is_over else "and is longer than any line can be"
            self.fault = f"the line {quoted(start_of_line)} had no end {why}"

    def _ready(self) -> str:
        if self.is_ready_again or (self.is_ready and not (self._may_go_on and self._said_done)):
            return "comes a second time"
        self.is_ready, self.is_ready_again = True, self.is_ready
        return ""

    def _done(self) -> str:
        if self._said_done:
            return "comes a second time"
        if self._start_ns is None:
            return "comes before the program was started"
        if len(self.ended_ns) < len(self.begun_ns):
            return "comes while a request goes on"
        self._said_done = True
        return ""

    def _time(self, word: str, digits: str, read_ns: int) -> str:
        if self._start_ns is None:
            return "comes before the program was started: wait for the line with START and END"
        if self._said_done:
            return "comes after 'done'"
        if len(digits) > len(str(_TIME_MAX_NS)) or (time_ns := int(digits)) > _TIME_MAX_NS:
            return "has a time that no clock shows"
        if time_ns > read_ns:
            after = Duration(time_ns - read_ns)
            return f"has a time that is {after} after the line was read{_OTHER_CLOCK}"
        if time_ns < self._start_ns:
            before = Duration(self._start_ns - time_ns)
            return f"has a time that is {before} before the start of the run{_OTHER_CLOCK}"
        return self._begin(time_ns) if word == "begin" else self._end(time_ns)

    def _begin(self, time_ns: int) -> str:
        number, arrivals = len(self.begun_ns), self._arrivals_ns
        assert self._start_ns is not None
        if number > len(self.ended_ns):
            return "comes while a request goes on: requests follow each other"
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


_OTHER_CLOCK = "; is it one of CLOCK_MONOTONIC, in ns?"

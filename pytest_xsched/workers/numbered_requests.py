"""What a program reports of its requests in version 2 of the protocol: many may be in flight.

Each line names its request. See `client` for the lines, and `program_reports` for the rules on
times, which hold for each request.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.terminal_text import printable
from pytest_xsched.base.units import Duration
from pytest_xsched.native.milestones import NAME_PATTERN, NAMES_MAX, Milestones
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX

MILESTONES_MAX = 20_000_000
"""The most milestones of a queue in a window: 13 bytes each."""
REASON_MAX = 200
"""Characters of the reason of a failure that are kept."""
REASONS_MAX = 100
"""The most reasons that are counted apart."""
OTHER_REASONS = "other reasons"
LINES = (
    "'begin ID TIME', 'at ID NAME TIME', 'end ID TIME', 'fail ID TIME REASON', 'held ID', 'done'"
)
TIME_MAX_NS = 2**63 - 1
OTHER_CLOCK = "; is it one of CLOCK_MONOTONIC, in ns?"

_NAME = re.compile(NAME_PATTERN)
_ID_DIGITS, _TIME_DIGITS = len(str(SAMPLES_MAX)), len(str(TIME_MAX_NS))
_NOT_BEGUN, _IN_FLIGHT, _ENDED, _FAILED = range(4)
_LAST = {_ENDED: "has ended", _FAILED: "has failed"}


class RequestTimes(NamedTuple):
    """What was reported of the requests of a window; times of CLOCK_MONOTONIC, -1 for never.

    Attributes:
        begun_ns: int64[n].
        ended_ns: int64[n], of requests that did not fail.
        failed_ns: int64[n], of requests that failed.
        held: bool[n], whether the request was due while as many as the program allows were in
            flight.
    """

    begun_ns: NDArray[np.int64]
    ended_ns: NDArray[np.int64]
    failed_ns: NDArray[np.int64]
    held: NDArray[np.bool_]


class NumberedRequests:
    """The lines of one window of a program that speaks version 2.

    Args:
        arrivals_ns: of its requests, since the start, ascending; None: a closed loop, in which a
            request begins after the end of the previous one.
        start_ns: the moment of CLOCK_MONOTONIC that the program was sent as its start.
        names: of milestones that its requests have in any case, also where none gets there.

    Attributes:
        open: how many requests have begun and not ended.
        done: how many have ended or failed.
    """

    def __init__(
        self, arrivals_ns: Sequence[int] | None, start_ns: int, names: Sequence[str] = ()
    ) -> None:
        self._due_ns = None if arrivals_ns is None else [start_ns + int(at) for at in arrivals_ns]
        self._start_ns = start_ns
        known = 0 if arrivals_ns is None else len(arrivals_ns)
        self._state = bytearray(known)
        self._held = bytearray(known)
        self._begun_ns = array("q", [-1]) * known
        self._last_ns = array("q", [-1]) * known
        """The time of the last line of each request."""
        self._names = {name: index for index, name in enumerate(names)}
        self._at_request, self._at_name, self._at_ns = array("i"), array("b"), array("q")
        self._reasons: dict[int, str] = {}
        self._known_reasons: set[str] = set()
        self.open = 0
        self.done = 0

    def read(self, line: str, read_ns: int) -> str:
        """Take in a line other than 'ready' and 'done'; return what is wrong with it, or ''."""
        words = line.split(" ", 3)
        word, count = words[0], len(words)
        if word == "held" and count == 2:
            number = self._number(words[1])
            return number if isinstance(number, str) else self._hold(number, read_ns)
        if word == "at" and count == 4:
            digits = words[3]
        elif (word in ("begin", "end") and count == 3) or (word == "fail" and count == 4):
            digits = words[2]
        else:
            return f"is none of {LINES}"
        number = self._number(words[1])
        if isinstance(number, str):
            return number
        if not (digits.isdigit() and digits.isascii()):
            return f"is none of {LINES}"
        if len(digits) > _TIME_DIGITS or (time_ns := int(digits)) > TIME_MAX_NS:
            return "has a time that no clock shows"
        if time_ns > read_ns:
            after = Duration(time_ns - read_ns)
            return f"has a time that is {after} after the line was read{OTHER_CLOCK}"
        if word == "begin":
            return self._begin(number, time_ns)
        state = self._state[number] if number < len(self._state) else _NOT_BEGUN
        if state != _IN_FLIGHT:
            return f"comes {self._why_not(number, state)}"
        if time_ns < (last_ns := self._last_ns[number]):
            before = Duration(last_ns - time_ns)
            return f"has a time that is {before} before the previous line of request {number}"
        self._last_ns[number] = time_ns
        if word == "at":
            return self._reach(number, words[2], time_ns)
        self.open -= 1
        self.done += 1
        self._state[number] = _ENDED
        if word == "fail":
            self._state[number] = _FAILED
            self._keep_reason(number, words[3])
        return ""

    def _number(self, digits: str) -> int | str:
        """Return the number of a request, or what is wrong with it."""
        if not (digits.isdigit() and digits.isascii()):
            return f"is none of {LINES}"
        offered = SAMPLES_MAX if self._due_ns is None else len(self._due_ns)
        if len(digits) > _ID_DIGITS or (number := int(digits)) >= offered:
            return f"names a request that was never offered: there were {offered}"
        return number

    def _why_not(self, number: int, state: int) -> str:
        if state == _NOT_BEGUN:
            return f"before request {number} has begun"
        return f"after request {number} {_LAST[state]}"

    def _hold(self, number: int, read_ns: int) -> str:
        if self._due_ns is None:
            return "comes in a closed loop, in which no request has to wait for its begin"
        if self._state[number] != _NOT_BEGUN:
            return f"comes after request {number} has begun"
        if self._held[number]:
            return "comes a second time"
        if read_ns < (due_ns := self._due_ns[number]):
            return f"comes {Duration(due_ns - read_ns)} before request {number} arrives"
        self._held[number] = True
        return ""

    def _begin(self, number: int, time_ns: int) -> str:
        if time_ns < self._start_ns:
            before = Duration(self._start_ns - time_ns)
            return f"has a time that is {before} before the start of the run{OTHER_CLOCK}"
        if self._due_ns is None:
            if wrong := self._follow(number, time_ns):
                return wrong
        elif self._state[number] != _NOT_BEGUN:
            return f"begins request {number} a second time"
        elif time_ns < (due_ns := self._due_ns[number]):
            before = Duration(due_ns - time_ns)
            return f"has a time that is {before} before request {number} arrives"
        self._state[number] = _IN_FLIGHT
        self._begun_ns[number] = self._last_ns[number] = time_ns
        self.open += 1
        return ""

    def _follow(self, number: int, time_ns: int) -> str:
        """Add a request of a closed loop, in which one follows the other."""
        begun = len(self._state)
        if number < begun:
            return f"begins request {number} a second time"
        if self.open:
            return "comes while a request goes on: those of a closed loop follow each other"
        if number > begun:
            return f"begins request {number}, but the next one is {begun}"
        if begun and time_ns < self._last_ns[-1]:
            before = Duration(self._last_ns[-1] - time_ns)
            return f"has a time that is {before} before the end of the previous request"
        self._state.append(_NOT_BEGUN)
        self._held.append(False)
        self._begun_ns.append(-1)
        self._last_ns.append(-1)
        return ""

    def _reach(self, number: int, name: str, time_ns: int) -> str:
        index = self._names.get(name)
        if index is None:
            if not _NAME.fullmatch(name):
                return f"has a name that is none; it has to match {NAME_PATTERN}"
            if len(self._names) == NAMES_MAX:
                return f"has one name too many: a program may have {NAMES_MAX}"
            index = self._names[name] = len(self._names)
        if len(self._at_ns) >= MILESTONES_MAX:
            return f"is one milestone too many: a window may have {MILESTONES_MAX}"
        self._at_request.append(number)
        self._at_name.append(index)
        self._at_ns.append(time_ns)
        return ""

    def _keep_reason(self, number: int, text: str) -> None:
        reason = " ".join(printable(text[:REASON_MAX]).split()) or "no reason"
        if reason not in self._known_reasons:
            if len(self._known_reasons) >= REASONS_MAX:
                reason = OTHER_REASONS
            self._known_reasons.add(reason)
        self._reasons[number] = reason

    # ---- what was reported

    def times(self) -> RequestTimes:
        """Return when the requests began and how they ended."""
        state = np.frombuffer(self._state, np.uint8)
        last_ns = np.array(self._last_ns, np.int64)
        return RequestTimes(
            begun_ns=np.array(self._begun_ns, np.int64),
            ended_ns=np.where(state == _ENDED, last_ns, -1),
            failed_ns=np.where(state == _FAILED, last_ns, -1),
            held=np.frombuffer(self._held, np.uint8).astype(np.bool_),
        )

    def milestones(self) -> Milestones:
        """Return the milestones, ns since the start."""
        return Milestones(
            names=tuple(self._names),
            request=np.array(self._at_request, np.int64),
            name=np.array(self._at_name, np.int64),
            at_ns=np.array(self._at_ns, np.int64) - self._start_ns,
        )

    def reasons(self, counted: NDArray[np.bool_]) -> dict[str, int]:
        """Return why requests failed and how often, most frequent first.

        Args:
            counted: bool[n], which requests count.
        """
        found = Counter(reason for number, reason in self._reasons.items() if counted[number])
        return dict(found.most_common())

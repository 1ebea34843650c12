"""Where the time of one request went, from the record of commands; pure functions.

A stream executes its commands in order. So at each moment a request waits for one command: the
oldest one of its queue that has not ended, which may be one of an earlier request. What that
command does at that moment is where the time of the request goes. The parts follow one another, so
they add up to the latency.

In virtual time the device tells when it began and ended each command. In real time only launches
and completions are seen. What a command took longer than alone then counts as one part, for the
time in which other queues had work in flight: waiting for it and being slowed by it look alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.native.command_record import CommandRecord, device_tells

AFTER = "after"
HARNESS = "harness"
OWN = "own"
HELD = "held"
HELD_BY_TEST = "held by test"
ROOM = "room"
LAUNCH = "launch"
IN_FLIGHT = "in flight"
SHARED = "shared"
RUNNING = "running"
STRETCHED = "stretched"
SEEN = "seen"
UNKNOWN = "unknown"
PARTS = (
    *(AFTER, HARNESS, OWN, HELD, HELD_BY_TEST, ROOM, LAUNCH, IN_FLIGHT, SHARED, RUNNING, STRETCHED),
    *(SEEN, UNKNOWN),
)
"""Parts of a latency, in the order of the docstring of `Explanation`."""
NEVER = int(np.iinfo(np.int64).max)

_Span: TypeAlias = "tuple[int, int]"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the time of a request.

    Attributes:
        part: one of `PARTS`.
        ns: its length, above 0.
        queue: the other queue, for `AFTER`, `IN_FLIGHT`, `SHARED` and `HELD`; "" where there is
            none.
        command: the request and the index of the command that the request waited for there.
        launched_ns: when that command was launched.
        whole_ns: how long that command took.
    """

    part: str
    ns: int
    queue: str = ""
    command: tuple[int, int] | None = None
    launched_ns: int = -1
    whole_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to explain.

    Attributes:
        number: counted from the first request of its window.
        commands: how many commands it has.
        scheduled_ns: its arrival.
        submitted_ns: when it was submitted; -1: never.
        end_ns: its completion, or until when its time is to be explained.
        completed: whether it completed.
        after: the queue whose request it waited for; "": it waited for none.
        released_ns: when that request completed, or `NEVER`.
    """

    number: int
    commands: int
    scheduled_ns: int
    submitted_ns: int
    end_ns: int
    completed: bool = True
    after: str = ""
    released_ns: int = 0

    def before(self, submitted_ns: int) -> Iterator[Piece]:
        """Yield where the time until the request was submitted went."""
        released = min(max(self.released_ns, self.scheduled_ns), submitted_ns)
        yield from _piece(AFTER, self.scheduled_ns, released, queue=self.after)
        yield from _piece(HARNESS, released, submitted_ns)


class _Times:
    """When the commands of a queue were launched, began and ended; NEVER: not within the record."""

    def __init__(self, record: CommandRecord, told: bool) -> None:
        rows = record.commands
        self.rows = rows
        self.launched = _or_never(rows["launched_ns"])
        self.told = told
        self.began = _or_never(rows["began_ns"]) if self.told else self.launched
        self.ended = _or_never(rows["ended_ns" if self.told else "completed_ns"])
        # Commands that did not begin the moment the one before them ended.
        self._apart = np.flatnonzero(self.began[1:] != self.ended[:-1]) + 1

    def end_of_run(self, row: int, most: int) -> int:
        """Return the first command, at most `most`, that did not follow at once on those before."""
        at = int(np.searchsorted(self._apart, row, side="right"))
        return min(most, int(self._apart[at])) if at < len(self._apart) else most

    def active(self, start_ns: int, end_ns: int) -> range:
        """Return which commands were on the device at any time between two moments."""
        first = int(np.searchsorted(self.ended, start_ns, side="right"))
        return range(first, max(first, int(np.searchsorted(self.began, end_ns, side="left"))))


def _or_never(times: NDArray[np.int64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.where(times < 0, NEVER, times)
    return found


class Attribution:
    """Explains the requests of one queue in one window.

    Args:
        record: of the queue.
        submitted_ns: of each request of the queue in the window, int64[n], -1: never.
        others: the records of the other queues on its device.
        slots: commands that the device executes at once; 0: unknown.
        alone_ns: what a command of the queue takes alone, on average; None: unknown.
        holds: whether what delays a launch is a scheduler between the runner and the device.
    """

    def __init__(
        self,
        record: CommandRecord,
        submitted_ns: NDArray[np.int64],
        others: Mapping[str, CommandRecord],
        *,
        slots: int,
        alone_ns: float | None,
        holds: bool = False,
    ) -> None:
        told = device_tells((record, *others.values()))
        self._own = _Times(record, told)
        self._submitted = submitted_ns
        self._suspensions = record.suspensions
        self._others = {name: _Times(one, told) for name, one in others.items()}
        self._slots = max(1, slots)
        self._alone_ns = alone_ns
        self._unlaunched = HELD if holds else LAUNCH

    def steps(self, request: Request) -> int:
        """Return how many commands `pieces` goes through, at most."""
        own = self._own
        first = int(np.searchsorted(own.rows["request"], request.number, side="left"))
        waiting = int(np.searchsorted(own.ended, request.submitted_ns, side="right"))
        steps = max(0, first - waiting) + request.commands
        if own.told:
            steps -= max(0, own.end_of_run(waiting, first) - waiting - 1) if waiting < first else 0
        return steps

    def pieces(self, request: Request) -> list[Piece]:
        """Return where the time of a request went; the pieces add up to its latency."""
        found = list(self._pieces(request))
        assert sum(piece.ns for piece in found) == request.end_ns - request.scheduled_ns
        return found

    def _pieces(self, request: Request) -> Iterator[Piece]:
        end = request.end_ns
        submitted = end if request.submitted_ns < 0 else min(request.submitted_ns, end)
        yield from request.before(submitted)
        own = self._own
        numbers = own.rows["request"]
        first = int(np.searchsorted(numbers, request.number, side="left"))
        last = int(np.searchsorted(numbers, request.number, side="right"))
        if request.completed and last - first < request.commands:
            yield from _piece(UNKNOWN, submitted, end)
            return
        now = submitted
        row = min(int(np.searchsorted(own.ended, now, side="right")), first)
        while row < last and now < end:
            ended = int(own.ended[row])
            same = row + 1
            if own.told and row < first and now >= own.began[row]:
                same = own.end_of_run(row, first)  # there may be thousands of them
                ended = int(own.ended[same - 1])
            elif not own.told:  # one mark may cover several commands
                while same < last and own.ended[same] == ended and (same < first) == (row < first):
                    same += 1
            launched = min(int(own.launched[row]), end)
            if now < launched:
                yield from self._waits_for_launch(now, launched, self._idle(row))
                now = launched
            until = min(ended, end)
            if until > now:
                mine = row >= first
                yield from (
                    self._on_device(row, mine, now, until)
                    if own.told
                    else self._in_flight(same - row, mine, now, until)
                )
                now = until
            row = same
        if now < end and last - first < request.commands:
            yield from self._waits_for_launch(now, end, self._unlaunched)
        else:
            yield from _piece(SEEN, now, end)

    def _idle(self, row: int) -> str:
        """Name the time in which nothing of the queue was in flight before a launch.

        If the command could have been launched while the one before it was in flight, it had no
        room then.
        """
        if row == 0 or self._unlaunched != LAUNCH:
            return self._unlaunched
        ended = int(self._own.ended[row - 1])
        could = ended > self._possible_since(row) and not list(self._suspended(ended - 1, ended))
        return ROOM if could else LAUNCH

    def _possible_since(self, row: int) -> int:
        """Return since when a command could have been launched but for the threshold."""
        could = int(self._submitted[self._own.rows["request"][row]])
        return could if row == 0 else max(could, int(self._own.launched[row - 1]))

    def _waits_for_launch(self, start: int, end: int, idle: str) -> Iterator[Piece]:
        """Divide a time in which the command was not launched by whether its queue might launch."""
        for since, until, held in self._suspended(start, end):
            yield from _piece(idle, start, since)
            part = HELD_BY_TEST if held else HELD
            yield from _piece(part, since, until, queue=self._runs(since, until))
            start = until
        yield from _piece(idle, start, end)

    def _suspended(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Yield since when, until when and whether by the test the queue was suspended."""
        changes = self._suspensions
        at = max(0, int(np.searchsorted(changes["at_ns"], start, side="right")) - 1)
        for i in range(at, len(changes)):
            since = int(changes["at_ns"][i])
            if since >= end:
                return
            until = int(changes["at_ns"][i + 1]) if i + 1 < len(changes) else NEVER
            since, until = max(since, start), min(until, end)
            if changes["suspended"][i] and until > since:
                yield since, until, bool(changes["held"][i])

    def _runs(self, start: int, end: int) -> str:
        """Return the queue that had most on the device meanwhile; "" for none."""
        busy = {
            name: sum(
                min(int(times.ended[i]), end) - max(int(times.began[i]), start)
                for i in times.active(start, end)
            )
            for name, times in self._others.items()
        }
        most = max(busy, key=busy.__getitem__, default="")
        return most if most and busy[most] > 0 else ""

    def _on_device(self, row: int, mine: bool, start: int, end: int) -> Iterator[Piece]:
        """Divide the time from the launch to the end of a command, which the device told."""
        began = min(max(int(self._own.began[row]), start), end)
        idle = ROOM if self._lacked_room(row) else LAUNCH
        for since, until, active in self._segments(start, began):
            if len(active) < self._slots:
                yield from _piece(idle, since, until)
                continue
            name, other = min(active, key=lambda one: int(self._others[one[0]].ended[one[1]]))
            yield self._wait(IN_FLIGHT, until - since, name, other)
        yield from _piece(RUNNING if mine else OWN, began, end)

    def _lacked_room(self, row: int) -> bool:
        """Whether a command could have been launched earlier but for the threshold."""
        launched = int(self._own.launched[row])
        late = launched > self._possible_since(row)
        return late and not list(self._suspended(launched - 1, launched))

    def _segments(self, start: int, end: int) -> Iterator[tuple[int, int, list[tuple[str, int]]]]:
        """Divide a time where a command of another queue comes to the device or leaves it."""
        if start >= end:
            return
        there = [
            (name, i) for name, times in self._others.items() for i in times.active(start, end)
        ]
        edges = {start, end}
        for name, i in there:
            times = self._others[name]
            edges |= {int(t) for t in (times.began[i], times.ended[i]) if start < t < end}
        ordered = sorted(edges)
        for since, until in itertools.pairwise(ordered):
            yield (
                since,
                until,
                [
                    (name, i)
                    for name, i in there
                    if self._others[name].began[i] <= since and self._others[name].ended[i] >= until
                ],
            )

    def _in_flight(self, count: int, mine: bool, start: int, end: int) -> Iterator[Piece]:
        """Divide the time in flight of some commands that were seen complete at once."""
        alone = 0 if self._alone_ns is None else round(count * self._alone_ns)
        more = max(0, end - start - alone)
        if end - start > more:
            yield Piece(RUNNING if mine else OWN, end - start - more)
        for since, until, active in self._segments(start, end):
            ns = min(more, until - since)
            if active and ns > 0:
                name, other = min(active, key=lambda one: int(self._others[one[0]].began[one[1]]))
                yield self._wait(SHARED, ns, name, other)
                more -= ns
        if more > 0:
            yield Piece(STRETCHED if mine else OWN, more)

    def _wait(self, part: str, ns: int, name: str, row: int) -> Piece:
        times = self._others[name]
        command = times.rows[row]
        ended = int(times.ended[row])
        return Piece(
            part=part,
            ns=ns,
            queue=name,
            command=(int(command["request"]), int(command["index"])),
            launched_ns=int(times.launched[row]),
            whole_ns=0 if ended == NEVER else ended - int(times.began[row]),
        )


def _piece(part: str, start: int, end: int, queue: str = "") -> Iterator[Piece]:
    if end > start:
        yield Piece(part, end - start, queue)

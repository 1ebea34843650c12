"""The timeline of a run as tracks, which both formats of trace files draw.

A track has slices that never overlap, instants, or the values of a counter. Requests of a queue
may overlap, so they share as many tracks as are needed.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pytest_xsched.base.terminal_text import printable

Timeline: TypeAlias = "dict[str, Any]"
"""What `timeline` returned."""


@dataclass(slots=True)
class Slice:
    """A span of time on a track; `begins` and `ends` are the number of an arrow, or None."""

    name: str
    start_ns: int
    end_ns: int
    facts: dict[str, int | str] = field(default_factory=dict)
    begins: int | None = None
    ends: int | None = None


@dataclass(slots=True)
class Track:
    """A line of the picture.

    Attributes:
        name: of the track.
        slices: ascending and disjoint.
        instants: time and name, ascending.
        values: time and value of a counter, ascending; None: the track is no counter.
    """

    name: str
    slices: list[Slice] = field(default_factory=list)
    instants: list[tuple[int, str]] = field(default_factory=list)
    values: list[tuple[int, int]] | None = None


def run_title(timeline: Timeline) -> str:
    """Name a run in a trace; control characters of its test id are escaped."""
    policy = f" ({timeline['policy']})" if timeline["scheduler"] == "builtin" else ""
    how = f"{timeline['scheduler']}{policy} on {timeline['device']}, seed {timeline['seed']}"
    origin = printable(timeline["origin"]).replace("\n", "\\n").replace("\t", "\\t")
    return f"{origin}: {how}" if origin else how


def tracks(timeline: Timeline, first_arrow: int = 1) -> list[Track]:
    """Return the tracks of a run.

    Args:
        timeline: of the run.
        first_arrow: number of the first arrow, from the arrival of a request to its completion.
    """
    numbers = itertools.count(first_arrow)
    end_ns = _end_ns(timeline)
    found = [
        Track(
            "windows",
            [
                Slice(f"measured window {i}", start, end)
                for i, (start, end) in enumerate(timeline["windows"], 1)
            ],
        )
    ]
    if timeline["noisy"]:
        cause = {"cause": printable(timeline["noise"])} if timeline["noise"] else {}
        noisy = [Slice("noisy", start, end, dict(cause)) for start, end in timeline["noisy"]]
        found.append(Track("noise", noisy))
    if timeline["held_down"]:
        said = {"clock": printable(timeline["clock"])}
        slow = [
            Slice("clock held down", start, end, dict(said)) for start, end in timeline["held_down"]
        ]
        found.append(Track("GPU clock", slow))
    if decisions := _decisions(timeline):
        found.append(Track("policy", instants=decisions))
    for queue in timeline["queues"]:
        commands, last = _commands(queue)
        requests = []
        for index, scheduled, submitted, launched, completed in queue["requests"]:
            over = completed >= 0
            one = Slice(
                f"request {index}",
                scheduled,
                completed if over else max(end_ns, scheduled),
                {"submitted_ns": submitted, "launched_ns": launched, "completed_ns": completed},
            )
            if over and index in last:
                one.begins = last[index].ends = next(numbers)
            requests.append(one)
        lanes = _lanes(requests)
        for i, lane in enumerate(lanes, 1):
            found.append(Track(f"{queue['name']}: requests{'' if i == 1 else f' {i}'}", lane))
        if queue["milestones"]:
            instants = [(at, f"{name} of request {i}") for i, name, at in queue["milestones"]]
            found.append(Track(f"{queue['name']}: milestones", instants=instants))
        found.append(Track(f"{queue['name']}: commands", commands))
        if suspended := list(_suspended(queue, end_ns)):
            found.append(Track(f"{queue['name']}: suspended", suspended))
        found.append(Track(f"{queue['name']}: commands in flight", values=_in_flight(queue)))
    return found


def _end_ns(timeline: Timeline) -> int:
    """Return the last moment that a timeline has."""
    times: list[int] = [end for _, end in timeline["windows"]]
    for queue in timeline["queues"]:
        times += [request[4] for request in queue["requests"]]
        times += [max(command[3:]) for command in queue["commands"]]
    return max(times)


def _commands(queue: dict[str, Any]) -> tuple[list[Slice], dict[int, Slice]]:
    """Return the commands of a queue as slices, and by request the slice in which it ended.

    If the device told when it executed a command, that is its slice. Else a slice is the time in
    flight of the commands that were seen complete at once, after those before them.
    """
    found: list[Slice] = []
    last: dict[int, Slice] = {}
    before = 0
    told = any(command[3] >= 0 for command in queue["commands"])
    for _, alike in itertools.groupby(queue["commands"], lambda c: (c[3], c[5]) if told else c[5]):
        group = list(alike)
        request, index, launched, began, ended, completed = group[0]
        start, end = (began, ended) if told else (max(launched, before), completed)
        if end < 0:
            continue  # it was not seen to end
        facts = {"request": request, "command": index, "launched_ns": launched}
        name = queue["labels"][index]
        if len(group) > 1:
            name, facts["commands"] = f"{name} and {len(group) - 1} more", len(group)
        one = Slice(name, start, end, {**facts, "completed_ns": completed})
        found.append(one)
        last.update((command[0], one) for command in group)
        before = end
    return found, last


def _lanes(slices: list[Slice]) -> list[list[Slice]]:
    """Divide slices, ascending by their starts, among as few tracks as have no overlaps."""
    lanes: list[list[Slice]] = []
    free: list[tuple[int, int]] = []  # since when each lane is free, and its number; ascending
    for one in slices:
        if free and free[0][0] <= one.start_ns:
            _, lane = free.pop(0)
        else:
            lane = len(lanes)
            lanes.append([])
        lanes[lane].append(one)
        bisect.insort(free, (one.end_ns, lane))
    return lanes or [[]]


def _suspended(queue: dict[str, Any], end_ns: int) -> Iterator[Slice]:
    since: int | None = None
    by_test = False
    for at, suspended, held in queue["suspensions"]:
        if suspended and since is None:
            since, by_test = at, bool(held)
        elif not suspended and since is not None:
            yield _suspension(since, at, by_test)
            since = None
    if since is not None and since < end_ns:
        yield _suspension(since, end_ns, by_test)


def _suspension(start_ns: int, end_ns: int, by_test: bool) -> Slice:
    return Slice(f"suspended by the {'test' if by_test else 'policy'}", start_ns, end_ns)


def _decisions(timeline: Timeline) -> list[tuple[int, str]]:
    """Return the moments at which queues were suspended or resumed, and which."""
    at: dict[int, list[str]] = defaultdict(list)
    for queue in timeline["queues"]:
        for ns, suspended, _ in queue["suspensions"]:
            at[ns].append(f"{'suspend' if suspended else 'resume'} {queue['name']}")
    return [(ns, ", ".join(at[ns])) for ns in sorted(at)]


def _in_flight(queue: dict[str, Any]) -> list[tuple[int, int]]:
    """Return how many of the commands on record were in flight, at each moment of a change."""
    steps: dict[int, int] = defaultdict(int)
    for _, _, launched, _, _, completed in queue["commands"]:
        steps[launched] += 1
        if completed >= 0:
            steps[completed] -= 1
    times = sorted(steps)
    values = itertools.accumulate(steps[ns] for ns in times)
    return list(zip(times, values, strict=True))

"""Why requests were late: where their time went, in parts that add up, and the cause in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_xsched.analysis.attribution import PARTS
from pytest_xsched.analysis.cause import find_cause
from pytest_xsched.analysis.late_requests import LateRequest, LateRequests
from pytest_xsched.analysis.milestone_times import BETWEEN, times_between_milestones
from pytest_xsched.base.units import format_duration

if TYPE_CHECKING:
    from pytest_xsched.analysis.queue_result import QueueResult
    from pytest_xsched.analysis.run import Run

SHOWN = 5
"""The most requests whose parts are in the JSON, the worst of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where the time of the late requests of a queue went.

    Attributes:
        queue: its name.
        limit_ns: requests that took longer are explained; None: the worst 1 %.
        late: how many there are.
        requests: those that are explained, at most `MOST`, the worst first.
        cause: a word for the cause: one of `cause.CAUSES`.
        sentence: the cause in words.
        parts: time of each part in all explained requests, by its name and its other queue; it adds
            up to the sum of their latencies. The names, and what the oldest command of the queue
            that had not ended did meanwhile:

            - after: the request waited for one of the other queue, which it starts after;
            - harness: the request was not yet submitted;
            - own: it was one of an earlier request, and it ran;
            - held: the policy suspended its queue;
            - held by test: the test suspended its queue;
            - room: it came to the device late, because its queue had as many commands in flight as
              its threshold allows;
            - launch: it was being launched;
            - in flight: it waited for work in flight of another queue;
            - shared: (in real time) it took longer than alone while another queue had work in
              flight: waiting for it and being slowed by it look alike;
            - running: it ran, for as long as alone;
            - stretched: it ran for longer than alone;
            - seen: the last command had ended, and the runner had not seen that;
            - unknown: the commands are not on record.
        milestones: time of all explained requests until each milestone from the one before, in ns,
            by the name of its latency: "first_token", "between_tokens"; "" is the time after the
            last one. It adds up to the sum of their latencies; empty: there are no milestones.
    """

    queue: str
    limit_ns: int | None
    late: int
    requests: tuple[LateRequest, ...]
    cause: str
    sentence: str
    milestones: Mapping[str, int] = field(default_factory=dict)

    @property
    def parts(self) -> dict[tuple[str, str], int]:
        """Time of each part in all explained requests, the longest first."""
        found: Counter[tuple[str, str]] = Counter()
        for request in self.requests:
            found.update(request.parts())
        return dict(sorted(found.items(), key=lambda one: (-one[1], PARTS.index(one[0][0]))))

    @property
    def latency_ns(self) -> int:
        """Sum of the latencies of the explained requests."""
        return sum(request.latency_ns for request in self.requests)

    @property
    def lines(self) -> tuple[str, ...]:
        """The sentence, and after it the parts on average."""
        if not self.requests:
            return (self.sentence,)
        count = len(self.requests)
        total, *times = (
            format_duration(round(ns / count)) for ns in (self.latency_ns, *self.parts.values())
        )
        parts = ", ".join(
            f"{time} {part_name(*key)}" for time, key in zip(times, self.parts, strict=True)
        )
        average = " on average" if count > 1 else ""
        unfinished = sum(not request.completed for request in self.requests)
        if unfinished == count:
            time = f"waited {total}{average} until the end of the window, unfinished"
        elif unfinished:
            time = f"took {total}{average}, {unfinished} of them unfinished"
        else:
            time = f"took {total}{average}"
        return self.sentence, f"{self._which()} {time}: {parts}", *self._of_milestones(total)

    def _of_milestones(self, total: str) -> list[str]:
        """Return the line with the time to each milestone on average."""
        times = [
            f"{format_duration(round(ns / len(self.requests)))} {milestone_part(name)}"
            for name, ns in self.milestones.items()
        ]
        return [f"of {total}: {', '.join(times)}"] if times else []

    def _which(self) -> str:
        """Name the requests that are explained."""
        count = len(self.requests)
        if self.limit_ns is None:
            return "the slowest request" if count == 1 else f"the {count} slowest requests"
        above = f"above {format_duration(self.limit_ns)}"
        if count < self.late:
            return f"the {count} slowest of {self.late} requests {above}"
        return f"the request {above}" if count == 1 else f"the {count} requests {above}"

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation in JSON's types."""
        return {
            "queue": self.queue,
            "limit_ns": self.limit_ns,
            "late": self.late,
            "explained": len(self.requests),
            "latency_ns": self.latency_ns,
            "cause": self.cause,
            "sentence": self.sentence,
            "lines": list(self.lines),
            "parts": [
                {"part": part, "queue": queue, "ns": ns} for (part, queue), ns in self.parts.items()
            ],
            **({"milestones": dict(self.milestones)} if self.milestones else {}),
            "requests": [request.to_dict() for request in self.requests[:SHOWN]],
        }

    def __str__(self) -> str:
        return "\n".join(self.lines)


OF_LATENCY = ("P99/P50 below", "slowdown below", "attainment at least")
"""Rules about latencies whose limit is no time."""
_NAMES = {
    "after": "waiting for the request",
    "harness": "not yet sent by the harness",
    "own": "running its own earlier requests",
    "held": "held by the policy",
    "held by test": "suspended by the test",
    "room": "without room of its threshold",
    "launch": "being launched",
    "in flight": "waiting for work in flight",
    "shared": "waiting for, or slowed by, work in flight",
    "running": "running",
    "stretched": "running longer than alone",
    "seen": "until the completion was seen",
    "unknown": "not on record",
}


def part_name(part: str, queue: str) -> str:
    """Name a part of a latency in words."""
    if not queue:
        return _NAMES[part]
    return f"{_NAMES[part]} while {queue} ran" if part == "held" else f"{_NAMES[part]} of {queue}"


def milestone_part(name: str) -> str:
    """Name the time until a milestone in words; see `Explanation.milestones`."""
    if not name:
        return "after the last milestone"
    return name.replace("_", " ", 1) if name.startswith(BETWEEN) else f"until {name}"


def explain(run: Run, queue: QueueResult, limit_ns: int | None = None) -> Explanation:
    """Explain the requests of a queue that took longer than a limit.

    Args:
        run: of the queue.
        queue: whose requests.
        limit_ns: None: the worst 1 % are explained, at least one.
    """
    explained = LateRequests(run, queue)
    late, requests = explained.worst(limit_ns)
    cause, sentence = find_cause(run, queue, requests, limit_ns, explained.explain)
    return Explanation(
        queue=queue.name,
        limit_ns=limit_ns,
        late=late,
        requests=requests,
        cause=cause,
        sentence=sentence,
        milestones=times_between_milestones(queue, [(r.index, r.latency_ns) for r in requests]),
    )

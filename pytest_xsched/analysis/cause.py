"""The cause of late requests in one sentence, from the parts of their time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_xsched.analysis.attribution import (
    AFTER,
    HARNESS,
    HELD,
    HELD_BY_TEST,
    IN_FLIGHT,
    LAUNCH,
    OWN,
    ROOM,
    RUNNING,
    SEEN,
    SHARED,
    STRETCHED,
    UNKNOWN,
    Piece,
)
from pytest_xsched.analysis.late_requests import LateRequest, exact_alone_ns
from pytest_xsched.base.units import format_duration
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.queue_spec import AUTO, QueueSpec
from pytest_xsched.scenario.workload import command_label

if TYPE_CHECKING:
    from pytest_xsched.analysis.queue_result import QueueResult
    from pytest_xsched.analysis.run import Run

CAUSES = (
    *("none", "work", "long command", "threshold", "policy off", "equal priorities"),
    *("not held back", "priority", "starvation", "held by test", "backlog", "clients", "burst"),
    *("piled up", "room", "launch", "cold start", "clock", "slow", "noise", "harness", "seen"),
    *("after", "unknown"),
)
"""What `find_cause` returns."""
_MOSTLY = 0.9
"""Share of the time, or of a device, from which on it is nearly all."""


def find_cause(
    run: Run,
    queue: QueueResult,
    requests: Sequence[LateRequest],
    limit_ns: int | None,
    explain: Callable[[int], LateRequest],
) -> tuple[str, str]:
    """Return the cause of late requests: one of `CAUSES`, and a sentence.

    Args:
        run: of the queue.
        queue: of the requests.
        requests: that were late.
        limit_ns: see `Explanation`.
        explain: explains another request, by the place of its sample.
    """
    if not requests:
        above = "" if limit_ns is None else f" took longer than {format_duration(limit_ns)}"
        return "none", f"no request of {queue.name}{above or ' was measured'}"
    parts: Counter[tuple[str, str]] = Counter()
    for request in requests:
        parts.update(request.parts())
    total = sum(parts.values())
    ran = parts.pop((RUNNING, ""), 0)
    excess = total - ran
    each_ns = round(ran / len(requests))
    time = format_duration(each_ns)
    enough_ns = round(_MOSTLY * total / len(requests)) if limit_ns is None else limit_ns
    largest = max(parts.values(), default=0)
    if excess == 0 or (each_ns >= enough_ns and ran >= largest):
        return "work", f"{_percent(ran, total)} of the time is the work itself, {time} alone"
    (part, other), most = max(parts.items(), key=lambda one: one[1])
    cause, words = _Words(run, queue, requests, part, other, explain).find()
    if part in (HELD, HELD_BY_TEST) and queue.censored:
        cause = "starvation"
        words += f"; {queue.censored} of {queue.n} requests never completed"
    if limit_ns is not None and each_ns >= limit_ns:
        words += f"; the work itself takes {time} alone, so no request can be below the limit"
    return cause, f"{_percent(most, excess)} of the excess is {words}"


def _percent(ns: int, of_ns: int) -> str:
    if ns == of_ns:
        return "all"
    share = f"{100 * ns / of_ns:.0f} %"
    return share if share != "100 %" else "nearly all"


class _Words:
    """Puts the largest part into words."""

    def __init__(
        self,
        run: Run,
        queue: QueueResult,
        requests: Sequence[LateRequest],
        part: str,
        other: str,
        explain: Callable[[int], LateRequest],
    ) -> None:
        self.run = run
        self.queue = queue
        self.requests = requests
        self.part = part
        self.other = other
        self.explain = explain
        self.me = queue.name

    def find(self) -> tuple[str, str]:
        """Return cause and words, which go on after "of the excess is"."""
        if self.part in (IN_FLIGHT, SHARED):
            return self._in_flight()
        find = {
            AFTER: self._after,
            HARNESS: self._harness,
            OWN: self._own,
            HELD: self._held,
            STRETCHED: self._stretched,
            UNKNOWN: self._unknown,
        }.get(self.part)
        if find is not None:
            return find()
        threshold = _threshold(self.queue.spec)
        words = {
            HELD_BY_TEST: ("held by test", f"a suspension of {self.me} that the test asked for"),
            ROOM: (
                "room",
                f"waiting for room: {threshold}, so the device ran dry between its commands",
            ),
            LAUNCH: ("launch", f"the launching of the commands of {self.me}"),
            SEEN: ("seen", "after the last command had ended: its completion was seen late"),
        }
        return words[self.part]

    # ---- work in flight of another queue

    def _in_flight(self) -> tuple[str, str]:
        """Describe for which commands of the other queue the requests waited, and why."""
        spec = self.run.queues[self.other].spec
        labels: Counter[str] = Counter()
        whole: dict[str, int] = {}
        indices: dict[str, int] = {}
        late_ns = all_ns = 0
        for request in self.requests:
            for piece in self._mine(request):
                index = piece.command[1] if piece.command else 0
                label = command_label(spec.workload, index)
                labels[label] += piece.ns
                indices[label] = index
                whole[label] = max(whole.get(label, 0), piece.whole_ns)
                all_ns += piece.ns
                if piece.launched_ns >= max(request.submitted_ns, request.scheduled_ns):
                    late_ns += piece.ns
        label, _ = labels.most_common(1)[0]
        count = sorted(
            len({piece.command for piece in self._mine(request)}) for request in self.requests
        )[len(self.requests) // 2]
        what = "one command" if count <= 1 else f"{count} commands"
        verb = "waiting for" if self.part == IN_FLIGHT else "waiting for, or slowed by,"
        time = format_duration(self._command_alone_ns(indices[label], whole[label]))
        each = "" if count <= 1 else " each"
        words = f"{verb} {what} of {self.other}, `{label}`, {time}{each} alone"
        were = "was" if count <= 1 else "were"
        if 2 * late_ns > all_ns:
            cause, why = self._not_held_back(spec)
            return cause, f"{words}, which {were} launched while {self.me} waited: {why}"
        if count <= 1:
            return "long command", words
        return "threshold", f"{words}, which were in flight already: {self._depth(spec)}"

    def _mine(self, request: LateRequest) -> list[Piece]:
        return [
            piece
            for piece in request.pieces
            if piece.part == self.part and piece.queue == self.other
        ]

    def _command_alone_ns(self, index: int, seen_ns: int) -> int:
        """Return what a command of the other queue takes alone.

        On `sim` that is what was seen, and a spin takes its duration. Of the others the average is
        known.
        """
        workload = self.run.queues[self.other].workload
        alone_ns = exact_alone_ns(self.run, self.other)
        if self.run.device_kind == "sim" or alone_ns is None:
            return seen_ns
        if index < len(workload.commands) and workload.commands[index].kind == "spin":
            return workload.commands[index].duration_ns
        per_request = max(
            window.records[self.other].per_request for window in self.run.trace.windows
        )
        return round(alone_ns / max(1, per_request))

    def _not_held_back(self, spec: QueueSpec) -> tuple[str, str]:
        scenario, mine = self.run.scenario, self.queue.spec.priority
        if scenario.scheduler != "builtin":
            return "policy off", f"scheduler {scenario.scheduler} did not hold {self.other} back"
        if scenario.policy == "none":
            return "policy off", "policy none holds no queue back"
        if scenario.policy == "hpf" and spec.priority == mine:
            return "equal priorities", f"both have priority {mine}, so hpf lets both launch"
        if scenario.policy == "hpf" and spec.priority > mine:
            more = f"{spec.priority} against {mine}"
            return "priority", f"{self.other} has the higher priority, {more}"
        return "not held back", f"policy {scenario.policy} let {self.other} launch"

    def _depth(self, spec: QueueSpec) -> str:
        if self.run.scenario.scheduler != "builtin":
            scheduler = self.run.scenario.scheduler
            return f"scheduler {scheduler} does not bound what {self.other} has in flight"
        return _threshold(spec)

    # ---- the queue itself

    def _held(self) -> tuple[str, str]:
        scenario = self.run.scenario
        if scenario.xsched is not None:
            by = f"XSched's policy {scenario.xsched.policy}"
        else:
            by = f"policy {scenario.policy}"
        if not self.other:
            return "priority", f"{self.me} being suspended by {by}"
        mine, its = self.queue.spec.priority, self.run.queues[self.other].spec.priority
        return (
            "priority",
            f"{self.me} (priority {mine}) being suspended by {by} while {self.other} "
            f"(priority {its}) ran",
        )

    def _own(self) -> tuple[str, str]:
        """Describe why there were earlier requests to wait for."""
        words = f"running earlier requests of {self.me} itself"
        arrivals = self.queue.spec.arrivals
        if isinstance(arrivals, Closed):
            return "clients", f"{words}: it has {arrivals.concurrency} clients and one stream"
        worst = max(self.requests, key=lambda one: one.parts().get((OWN, ""), 0))
        first = self._busy_since(worst.index)
        if first < worst.index and (root := self._delay_of(first, worst)):
            return "piled up", f"{words}, which piled up {root}"
        alone_ns = exact_alone_ns(self.run, self.me)
        arrived = self.queue.arrived
        load = len(arrived) * (alone_ns or 0) / (self.queue.seconds * 1e9)
        if load >= _MOSTLY:
            return "backlog", f"{words}: they take {100 * load:.0f} % of the measured time alone"
        samples = self.queue.samples["scheduled_ns"]
        before = worst.index - first
        ns = int(samples[worst.index] - samples[first])
        when = f"in the {format_duration(ns)} before" if ns else "at the same time"
        plural = "s" if before != 1 else ""
        return "burst", f"{words}: a burst, {before} request{plural} arrived {when}"

    def _busy_since(self, index: int) -> int:
        """Return the first of the requests since which the queue had work all the time."""
        samples = self.queue.samples
        starts = {window.first[self.me] for window in self.run.trace.windows}
        while index > 0 and index not in starts:
            before = int(samples["completed_ns"][index - 1])
            if 0 <= before <= int(samples["scheduled_ns"][index]):
                return index
            index -= 1
        return index

    def _delay_of(self, first: int, worst: LateRequest) -> str:
        """Describe what delayed the first request of a pile, if that explains the pile."""
        parts = self.explain(first).parts()
        own = sum(ns for (part, _), ns in worst.parts().items() if part == OWN)
        others = {
            key: ns for key, ns in parts.items() if key[0] not in (OWN, RUNNING, HARNESS, LAUNCH)
        }
        if not others:
            return ""
        (part, other), ns = max(others.items(), key=lambda one: one[1])
        if 2 * ns < own:
            return ""
        how = {
            HELD: f"while {self.me} was suspended for {{}} by the policy",
            HELD_BY_TEST: f"while the test suspended {self.me} for {{}}",
            IN_FLIGHT: f"while the first waited {{}} for work in flight of {other}",
            SHARED: f"while the first waited {{}} for work in flight of {other}",
        }.get(part, "while the first was delayed for {}")
        return how.format(format_duration(ns))

    def _stretched(self) -> tuple[str, str]:
        """Describe what may have slowed the device down."""
        total = sum(request.parts().get((STRETCHED, ""), 0) for request in self.requests)
        ran = sum(request.parts().get((RUNNING, ""), 0) for request in self.requests)
        times = f"{(total + ran) / ran:.2g} times as long as" if ran else "longer than"
        words = f"running {times} alone, with nothing of another queue in flight"
        noise = self.run.evidence.noise
        gpu = None if noise is None else noise.gpu
        if gpu is not None and gpu.reasons:
            return "clock", f"{words}: the clock of the GPU was held down ({gpu})"
        tenth = len(self.queue.arrived) // 10
        early = sum(request.index < tenth + self._warmed_up() for request in self.requests)
        if self.queue.cold_start is not None and 2 * early > len(self.requests):
            return "cold start", f"{words}, at the start: the warm-up may be too short"
        return "slow", words

    def _warmed_up(self) -> int:
        start_ns = self.queue.windows_ns[0][0]
        return int(np.searchsorted(self.queue.samples["scheduled_ns"], start_ns))

    def _after(self) -> tuple[str, str]:
        lower = self.run.queues[self.other].spec.priority < self.queue.spec.priority
        words = f"waiting for the requests of {self.other}, which {self.me} starts after"
        return "after", f"{words}; {self.other} has the lower priority" if lower else words

    def _harness(self) -> tuple[str, str]:
        noise = self.run.evidence.noise
        words = "the harness, which sent them late"
        if noise is not None and noise.cause:
            return "noise", f"{words}, in noisy seconds: {noise.cause}"
        return "harness", words

    def _unknown(self) -> tuple[str, str]:
        if self.queue.workload.own_program is not None:
            where = "program" if self.queue.workload.endpoint is None else "server"
            return "unknown", f"in the {where} of {self.me}, whose commands are not on record"
        if self.run.trace.mode == "off":
            return "unknown", 'not on record: the run was measured with trace="off"'
        return "unknown", "not on record: later commands pushed these out"


def _threshold(spec: QueueSpec) -> str:
    if spec.threshold == AUTO:
        return f"{spec.name} has an automatic threshold"
    return f"the threshold of {spec.name} is {spec.depth[0]}"

"""A part of what a run measured on a queue: a stage of its load, or every slice of its time.

A part is a queue of its own: the requests that arrived in it, with all targets. Its blocks are
shorter than those of the run, so that a part has as many of them as a run has.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_xsched.analysis import targets
from pytest_xsched.analysis.assertion import Unjudged, asserts
from pytest_xsched.analysis.evidence import LATENCY, LOWER_BOUND, RATE, WAIT
from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.queue_result import percentile_name
from pytest_xsched.analysis.targets import ErrorBudget
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.units import (
    DurationLike,
    format_duration,
    parse_duration,
    refuse_swapped,
)
from pytest_xsched.errors import InvalidRun, ScenarioError
from pytest_xsched.native.binding import DRAIN, WARMUP
from pytest_xsched.stats.estimators import requests_needed
from pytest_xsched.stats.sequential_test import FAIL, PASS, UNDECIDED

SLICES_MAX = 1000


class QueuePart(MeasuredQueue):
    """The requests of a queue that arrived in a part of the run; see `MeasuredQueue.stage`."""

    def _growing(self) -> tuple[str, ...]:
        """Return why the latencies of the part grow with its length.

        The queue may be saturated in another part: all requests of this one were done in time.
        """
        return super()._growing() if self.saturated or self.unfinished else ()

    def _require_evidence(self, needs: str = LATENCY) -> None:
        __tracebackhide__ = True
        self._run.require(
            self.name, needs, excused=super()._growing() if not self._growing() else ()
        )

    def _budget(self, budget: ErrorBudget) -> ErrorBudget:
        span_ns = sum(end - start for start, end in self.windows_ns)
        block_ns = min(budget.block_ns, max(1, span_ns // 20))
        return replace(budget, block_ns=block_ns, spent=True, once=True)

    def _measure_for(self, q: float) -> None:
        __tracebackhide__ = True
        needed = requests_needed(q)
        if self.n < needed:
            raise InvalidRun(
                f"{self.label}: {percentile_name(q)} needs {needed} requests, and there are "
                f"{self.n}; make that part longer, or assert a lower percentile"
                f"{self.because_stalled}",
                run=self._run,
                starved=bool(self.stalled),
            )


def part_of(
    queue: MeasuredQueue, spans_ns: list[tuple[int, int]], part: str, *, others: bool = True
) -> MeasuredQueue:
    """Return the part of a queue whose requests were scheduled in some spans.

    Args:
        queue: of a run.
        spans_ns: start and end of each, ns since the start of the run, ascending, each within one
            measured window.
        part: what it is, for sentences, after the name of the queue: ``"in stage 1"``.
        others: whether to keep the requests of other parts, which count in backlogs and rates.
    """
    if queue.latency:  # to a milestone: that of the part
        return part_of(queue.of_requests, spans_ns, part).latencies[queue.latency]
    made = object.__new__(QueuePart)
    made.__dict__.update(queue.__dict__)
    for of_all in ("_omitted", "_latencies"):
        made.__dict__.pop(of_all, None)
    made.part = part
    made.windows_ns = spans_ns
    # Samples are in order of arrival.
    edges = np.searchsorted(queue.samples["scheduled_ns"], spans_ns)
    if others:  # as those of the warm-up and of the drain
        samples = queue.samples.copy()
        samples["flags"][: edges[0][0]] |= WARMUP
        for first, last in zip(edges[:, 1], [*edges[1:, 0], len(samples)], strict=True):
            samples["flags"][first:last] |= DRAIN
    else:
        samples = np.concatenate([queue.samples[first:last] for first, last in edges])
    made.samples = samples
    made.latency_ns = made._span("scheduled_ns")
    made.saturated = any(made._is_saturated(samples, span_ns) for span_ns in spans_ns)
    made.cold_start = None
    made._drawings = {}
    made._require = made._require_evidence
    made._require_wait = functools.partial(made._require_evidence, WAIT)
    made._require_run = functools.partial(made._require_evidence, RATE)
    return made


class Slices:
    """Targets that hold in every slice of the time of a queue; see `MeasuredQueue.every`."""

    def __init__(self, queue: MeasuredQueue, length_ns: int, step_ns: int) -> None:
        self._queue = queue
        self._length_ns = length_ns
        self._step_ns = step_ns

    @property
    def _unjudged(self) -> list[Unjudged]:
        return self._queue._unjudged

    @asserts
    def assert_p95_below(self, limit: DurationLike) -> None:
        """Assert that the 95th percentile of the latency is below a limit in every slice."""
        __tracebackhide__ = True
        self._percentile_below(0.95, limit, "limit of assert_p95_below")

    @asserts
    def assert_p99_below(self, limit: DurationLike) -> None:
        """Assert that the 99th percentile of the latency is below a limit in every slice.

        Args:
            limit: ``"50ms"``, ``50 * ms`` or a timedelta.

        Raises:
            QosAssertionError: in one it is not, or a slice has too few requests to decide.
            InvalidRun: the evidence speaks against the run, or a slice has fewer than 299 requests.
        """
        __tracebackhide__ = True
        self._percentile_below(0.99, limit, "limit of assert_p99_below")

    @asserts
    def assert_percentile_below(self, q: float, limit: DurationLike) -> None:
        """Assert that a percentile of the latency, in (0, 1), is below a limit in every slice."""
        __tracebackhide__ = True
        self._percentile_below(q, limit, "limit of assert_percentile_below")

    def _percentile_below(self, q: float, limit: DurationLike, what: str) -> None:
        __tracebackhide__ = True
        refuse_swapped(limit, q, 'assert_percentile_below(0.99, "50ms")')
        limit_ns = parse_duration(limit, what=what)
        queue = self._queue
        queue._begin(LOWER_BOUND)
        queue.percentile(q)  # checks q
        queue._measure_for(q)

        def rule(queue: MeasuredQueue, budget: ErrorBudget) -> Verdict:
            __tracebackhide__ = True
            return self._rule(queue, q, limit_ns, budget)

        queue._judge(rule, fact=True)  # of the slices to come nothing is known

    def _rule(self, queue: MeasuredQueue, q: float, limit_ns: int, budget: ErrorBudget) -> Verdict:
        __tracebackhide__ = True
        parts, noisy = self._parts(queue, q)
        planned_ns = queue._run.scenario.duration_ns if queue.part == "" else 0
        planned = max(len(parts), (planned_ns - self._length_ns) // self._step_ns + 1)
        budget = replace(budget, alpha=budget.alpha / planned)
        found = [
            targets.percentile_below(part, q, limit_ns, part._budget(budget)) for part in parts
        ]
        for status in (FAIL, UNDECIDED, PASS):
            chosen = [verdict for verdict in found if verdict.status == status]
            if chosen:
                break
        worst = max(chosen, key=lambda verdict: (verdict.value, _misses(verdict)))
        word = {PASS: "pass", FAIL: "fail", UNDECIDED: "are undecided"}[status]
        length = format_duration(self._length_ns)
        said = f"; {len(chosen)} of {len(found)} slices of {length} {word}, this is the worst"
        if noisy:
            said += f"; {noisy} with noisy seconds are left out"
        name = f"every {length}" if queue.part == "" else f"{queue.part}, every {length}"
        return replace(worst, part=name).with_remark(said)

    def _parts(self, queue: MeasuredQueue, q: float) -> tuple[list[MeasuredQueue], int]:
        """Return the slices of the measured time, and how many noise leaves too few requests.

        The windows of a run are one time, in which a slice may lie in two of them. What remains at
        its end, shorter than a slice, belongs to the last slice.
        """
        __tracebackhide__ = True
        found: list[MeasuredQueue] = []
        needed, noisy = requests_needed(q), 0
        of_bounds = queue is not self._queue  # see `MeasuredQueue._judge`
        whole_ns = sum(end - start for start, end in queue.windows_ns)
        count = max(1, (whole_ns - self._length_ns) // self._step_ns + 1)
        for index in range(count):
            begin_ns = index * self._step_ns
            end_ns = whole_ns if index == count - 1 else begin_ns + self._length_ns
            name = f"{queue.part} from {_seconds(begin_ns)} to {_seconds(end_ns)}".strip()
            part = part_of(queue, _spans(queue, begin_ns, end_ns), name, others=False)
            if part.n >= needed:
                found.append(part.lower_bounds() if of_bounds else part)
            elif part.n + part.masked >= needed:
                noisy += 1
            else:
                raise InvalidRun(
                    f"{part.label}: {percentile_name(q)} needs {needed} {part.counted} in every "
                    f"slice, and there are {part.n + part.masked}; take longer slices, or "
                    f"assert a lower percentile{queue.because_stalled}",
                    run=queue._run,
                    starved=bool(queue.stalled),
                )
        if not found:
            raise InvalidRun(f"{queue.label}: every slice has noisy seconds", run=queue._run)
        return found, noisy


def _spans(queue: MeasuredQueue, begin_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """Return where a part of the measured time lies, in ns since the start of the run."""
    found, before_ns = [], 0
    for start, end in queue.windows_ns:
        first = start + max(0, begin_ns - before_ns)
        last = min(end, start + end_ns - before_ns)
        if first < last:
            found.append((first, last))
        before_ns += end - start
    return found


def slices_of(queue: MeasuredQueue, length: DurationLike, step: DurationLike | None) -> Slices:
    """Return the slices of a queue's time; see `MeasuredQueue.every`."""
    length_ns = parse_duration(length, what="length of every()")
    step_ns = length_ns if step is None else parse_duration(step, what="step of every()")
    if step_ns > length_ns:
        raise ScenarioError(
            f"every(): step {format_duration(step_ns)} is longer than the slices, "
            f"{format_duration(length_ns)}, so requests between them would not be judged"
        )
    whole_ns = queue._run.scenario.duration_ns
    if queue.part:
        whole_ns = sum(end - start for start, end in queue.windows_ns)
    if length_ns > whole_ns:
        raise ScenarioError(
            f"every(): a slice of {format_duration(length_ns)} is longer than what is measured, "
            f"{format_duration(whole_ns)}"
        )
    if whole_ns // step_ns > SLICES_MAX:
        raise ScenarioError(f"every(): {whole_ns // step_ns} slices are above {SLICES_MAX}")
    return Slices(queue, length_ns, step_ns)


def _misses(verdict: Verdict) -> int:
    return 0 if verdict.decision is None else verdict.decision.misses


def _seconds(ns: int) -> str:
    return f"{round(ns / 1e9, 3):g} s"


def stage_of(queue: MeasuredQueue, which: int | str) -> MeasuredQueue:
    """Return the requests of one stage; see `MeasuredQueue.stage`."""
    span_ns, label = stage_span_ns(queue, which)
    return part_of(queue, [span_ns], f"in {label}")


def stages_to_list(queue: MeasuredQueue) -> list[dict[str, Any]]:
    """Return the numbers of all measured stages in JSON's types; null for never."""
    found = []
    first_ns, last_ns = queue.windows_ns[0]
    for index, (stage, (start_ns, _)) in enumerate(
        zip(queue.stages.stages, queue.stages.spans_ns(), strict=True)
    ):
        if first_ns + start_ns >= last_ns:
            break
        part = stage_of(queue, index)
        data: dict[str, Any] = {
            "index": index,
            "name": stage.name,
            "rates": stage.rates,
            "start_ns": int(part.windows_ns[0][0]),
            "end_ns": int(part.windows_ns[0][1]),
            "n": part.n,
            "censored": part.censored,
            "saturated": part.saturated,
        }
        for key in ("p50", "p95", "p99", "max"):
            value = getattr(part, key).value if part.n else math.inf
            data[f"{key}_ns"] = None if value == math.inf else int(value)
        found.append(data)
    return found


def after_stage(queue: MeasuredQueue, which: int | str | None) -> MeasuredQueue:
    """Return the requests after a stage, until the end of the run; None: the busiest stage."""
    stages = queue.stages
    if which is None:
        loads = [max(one.begin_hz, one.end_hz) for one in stages.stages[:-1]]
        if not loads:
            raise ScenarioError(f"{queue.name}: its load has one stage, and no stage after it")
        which = int(np.argmax(loads))
    (_, end_ns), label = stage_span_ns(queue, which)
    last_ns = queue.windows_ns[0][1]
    if end_ns >= last_ns:
        raise InvalidRun(
            f"{queue.name}: nothing was measured after {label}, with which the run ended",
            run=queue._run,
        )
    return part_of(queue, [(end_ns, last_ns)], f"after {label}")


def stage_span_ns(queue: MeasuredQueue, which: int | str) -> tuple[tuple[int, int], str]:
    """Return when a stage was measured, ns since the start of the run, and how it is called.

    The name says how much of a stage was measured that the end of the run cut.

    Raises:
        InvalidRun: the run ended before the stage.
    """
    index = queue.stages.index_of(which)
    start_ns, end_ns = queue.stages.spans_ns()[index]
    first_ns, last_ns = queue.windows_ns[0]
    label = queue.stages.label(index)
    if first_ns + start_ns >= last_ns:
        raise InvalidRun(
            f"{queue.name}: {label} was not measured: it begins at {_seconds(start_ns)}, and the "
            f"run took {_seconds(last_ns - first_ns)}",
            run=queue._run,
        )
    if first_ns + end_ns > last_ns:
        reached_ns = last_ns - first_ns - start_ns
        label += f" (the first {_seconds(reached_ns)} of its {_seconds(end_ns - start_ns)})"
    return (first_ns + start_ns, min(first_ns + end_ns, last_ns)), label


def run_length(q: float) -> tuple[int, int]:
    """Return how many requests in a row show a recovery, and how many of them may be late."""
    count = max(20, math.ceil(round(1 / (1 - q), 9)))
    return count, count - math.ceil(round(q * count, 9))

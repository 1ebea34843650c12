"""Check runs under XSched in real time against the rules of `stress.rules`.

The time of a launch is exact: it is when XSched called the driver. A completion is seen later than
it happened, and a decision of the scheduler takes effect some time after its cause. So each check
reports only what no delay explains, also not the time that threads of the process had to wait for a
processor. It returns None for a run that shows nothing about its rule.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.run import Run
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.stress.invariants import CHECKS

MS = 1_000_000
REACTION_NS = 50 * MS
"""Time from an event until the scheduler's decision is in effect; it is about 0.1 ms on an idle
machine. The delay of threads comes in addition, here and below."""
SLACK_NS = 200 * MS
"""Room for delays of all kinds, in checks of waits."""
REST_NS = 1000 * MS
"""Time without a completion at the end of a drain that shows that the rest is not just slow."""
PART = 0.25
"""The part of its nominal duration that a command surely takes, even after a bad calibration. Also
the least part of another queue's work that a queue gets if the two share."""
TICK_NS = {"cfs": 1 * MS, "mlfq": 150 * MS}
"""The longest turn of a queue; under mlfq the slices of all levels, 10 + 20 + 40 + 80 ms."""
TIMESLICE_NS = 5 * MS
"""Duration of a whole round of up, unless the settings name another."""
ADVANTAGE_MOST = 1.2**20
"""The largest ratio of two weights that is checked under cfs."""

_Times = NDArray[np.int64]
_LATE = np.int64(2**62)


@dataclass(frozen=True, slots=True)
class Wait:
    """A time in which a queue surely had commands that were not launched.

    It begins when the first one was submitted and ends when the last one was launched. In between
    the queue was ready all the time, in the sense of XSched.
    """

    start_ns: int
    end_ns: int


def waits(queue: MeasuredQueue) -> list[Wait]:
    """Return when a queue surely was ready, in order; a command never launched: no end."""
    found: list[Wait] = []
    for start, end in zip(queue.samples["submitted_ns"], launches(queue), strict=True):
        if start < 0:
            continue
        if found and start <= found[-1].end_ns:
            found[-1] = Wait(found[-1].start_ns, max(found[-1].end_ns, int(end)))
        else:
            found.append(Wait(int(start), int(end)))
    return found


def launches(queue: MeasuredQueue) -> _Times:
    """Return the first launch of each request; _LATE if it did not complete, so none is known."""
    return np.where(queue.samples["completed_ns"] < 0, _LATE, queue.samples["launched_ns"])


def delay_ns(run: Run) -> int:
    """Return how long threads of the process had to wait for a processor; 0: not known."""
    return 0 if run.scheduler_cost is None else run.scheduler_cost.run_delay_ns


def not_by_delay(
    judge: Callable[[Run], list[str] | None],
) -> Callable[[Run], list[str] | None]:
    """Return a check under which a breach shows nothing if a delay of threads explains it."""

    def check(run: Run) -> list[str] | None:
        exact = copy.copy(run)
        exact.scheduler_cost = None
        found = judge(exact)
        return (judge(run) or None) if found else found

    return check


def _policy(run: Run) -> str:
    assert run.scenario.xsched is not None
    return run.scenario.xsched.policy


# ---- every policy


def all_through_it(run: Run) -> list[str] | None:
    """Compare the commands that XSched counted with those that it received."""
    activity = run.evidence.activity
    if activity is None:
        return None
    return activity.faults({name: queue.counts.launched for name, queue in run.queues.items()})


def ends_cleanly(run: Run) -> list[str] | None:
    """Report how the process ended after its work, if not cleanly."""
    return [run.remark] if run.remark else []


def everything_ends(run: Run) -> list[str] | None:
    """Count requests that were not done after the drain, when nothing completed any more."""
    found = []
    if _was_slow(run):
        return None
    for queue in run.queues.values():
        waiting = int(np.count_nonzero(queue.samples["completed_ns"] < 0))
        if waiting:
            found.append(
                f"{queue.name}: {waiting} of {len(queue.samples)} requests never completed"
            )
    return found


def _was_slow(run: Run) -> bool:
    """Return whether something still completed when the drain ended."""
    scenario = run.scenario
    end_ns = scenario.warmup_ns + scenario.duration_ns + scenario.drain_ns
    last_ns = max(int(q.samples["completed_ns"].max(initial=0)) for q in run.queues.values())
    return last_ns > end_ns - REST_NS - delay_ns(run)


def no_circular_wait(run: Run) -> list[str] | None:
    """Find a queue that waits for another one, when nothing completed any more."""
    if _was_slow(run) or not any(queue.spec.after for queue in run.queues.values()):
        return None
    return list(CHECKS["no circular wait"](run))


def inversion_is_bounded(run: Run) -> list[str] | None:
    """Find a wait for a lower queue that all work of the run which was there does not explain."""
    found, shown = [], False
    for queue in run.queues.values():
        source = None if queue.spec.after is None else run.queues[queue.spec.after]
        if source is None or source.spec.priority >= queue.spec.priority:
            continue
        begins, ends = source.samples["submitted_ns"], source.samples["completed_ns"]
        waits_ns = np.where(ends < 0, 0, ends - begins)
        if not len(waits_ns):
            continue
        shown = True
        at = int(np.argmax(waits_ns))
        work_ns = sum(_work_ns(other, begins[at], ends[at]) for other in run.queues.values())
        if waits_ns[at] > work_ns / PART + SLACK_NS + delay_ns(run):
            found.append(
                f"{queue.name}: request {at} waited {waits_ns[at]} ns for {source.name}, of lower "
                f"priority; all work that was there takes {work_ns} ns"
            )
    return found if shown else None


def _work_ns(queue: MeasuredQueue, begin_ns: int, end_ns: int) -> int:
    """Return the nominal work of the requests of a queue that were there at some time."""
    submitted, completed = queue.samples["submitted_ns"], queue.samples["completed_ns"]
    there = (submitted >= 0) & (submitted < end_ns) & ((completed < 0) | (completed > begin_ns))
    each_ns = sum(command.duration_ns for command in queue.workload.commands)
    return int(np.count_nonzero(there)) * each_ns


def _all_done(run: Run) -> bool:
    """Return whether all requests completed; if not, `everything_ends` reports it."""
    return all(np.all(queue.samples["completed_ns"] >= 0) for queue in run.queues.values())


def threshold(run: Run) -> list[str] | None:
    """Find launches that come before the device can have made room for them."""
    found, shown = [], False
    for queue in run.queues.values():
        depth, each = queue.spec.depth[0], len(queue.workload.commands)
        shortest_ns = min(command.duration_ns for command in queue.workload.commands)
        times = launches(queue)
        times = times[times < _LATE]
        step = math.ceil(depth / each) if depth else len(times)
        if len(times) <= step or not shortest_ns:
            continue
        shown = True
        # `done` of the commands between two launches must have completed between them.
        done = step * each - depth + 1
        gaps = times[step:] - times[:-step]
        least_ns = int(done * shortest_ns * PART)
        if np.any(gaps < least_ns):
            at = int(np.argmax(gaps < least_ns))
            found.append(
                f"{queue.name}: launches {at * each} to {(at + step) * each} took {gaps[at]} ns, "
                f"too short for {done} commands of {shortest_ns} ns: more than {depth} were in "
                "flight"
            )
    return found if shown else None


def works_while_there_is_work(run: Run) -> list[str] | None:
    """Find a long time in which commands waited and none was in flight."""
    if not _all_done(run):
        return None
    waiting = [wait for queue in run.queues.values() for wait in waits(queue)]
    flights = []
    for queue in run.queues.values():
        ends = queue.samples["completed_ns"]
        flights += list(zip(launches(queue), np.where(ends < 0, _LATE, ends), strict=True))
    busy_until = 0
    for start, end in sorted((int(a), int(b)) for a, b in flights):
        for wait in waiting:
            idle_ns = min(start, wait.end_ns) - max(busy_until, wait.start_ns)
            if idle_ns > SLACK_NS + delay_ns(run):
                return [f"for {idle_ns} ns a queue had work and nothing was in flight"]
        busy_until = max(busy_until, end)
    return [] if waiting else None


# ---- who goes first


def _overtaken(
    run: Run, first: MeasuredQueue, other: MeasuredQueue, after_ns: int
) -> Iterator[str]:
    """Yield a sentence for launches of `other` while `first`, which precedes it, waits."""
    times = launches(other)
    for wait in waits(first):
        start_ns = wait.start_ns + after_ns + REACTION_NS + delay_ns(run)
        count = int(np.count_nonzero((times > start_ns) & (times < wait.end_ns)))
        if count:
            yield (
                f"{other.name} launched {count} requests between {start_ns} and {wait.end_ns} ns, "
                f"while {first.name}, which precedes it, had been waiting since "
                f"{wait.start_ns} ns"
            )


def _meet(run: Run, first: MeasuredQueue, other: MeasuredQueue, after_ns: int) -> bool:
    """Return whether `other` had commands to launch while it had to wait for `first`."""
    after_ns += REACTION_NS + delay_ns(run)
    return any(
        w.start_ns + after_ns < min(w.end_ns, o.end_ns) and o.start_ns < w.end_ns
        for w in waits(first)
        for o in waits(other)
    )


def _in_order(run: Run, pairs: list[tuple[MeasuredQueue, MeasuredQueue, int]]) -> list[str] | None:
    pairs = [pair for pair in pairs if _meet(run, *pair)]
    if not pairs:
        return None
    return [sentence for pair in pairs for sentence in _overtaken(run, *pair)]


def highest_first(run: Run) -> list[str] | None:
    """Find launches of lower priority while a queue of higher priority waits."""
    queues = run.queues.values()
    return _in_order(
        run,
        [(a, b, 0) for a in queues for b in queues if a.spec.priority > b.spec.priority],
    )


def earliest_first(run: Run) -> list[str] | None:
    """Find launches of a queue that is due later, or has no deadline, while another one waits."""
    if run.scenario.xsched and run.scenario.xsched.k not in (None, 1):
        return None
    due = {}
    for queue in run.queues.values():
        found = waits(queue)
        if len(found) == 1:  # with more it is unknown when XSched took the queue for ready
            deadline_ns = queue.spec.deadline_ns
            due[queue.name] = _LATE if deadline_ns is None else found[0].start_ns + deadline_ns
    pairs = [
        (run.queues[a], run.queues[b], 0)
        for a, b in itertools.permutations(due, 2)
        if due[a] + REACTION_NS < due[b]
    ]
    return _in_order(run, pairs)


def critical_first(run: Run) -> list[str] | None:
    """Find launches of a queue that is never as urgent as a waiting one whose laxity is over."""
    pairs = []
    for a, b in itertools.permutations(run.queues.values(), 2):
        highest = b.spec.priority if b.spec.laxity_ns is not None else 0
        if a.spec.laxity_ns is not None and a.spec.priority > max(0, highest):
            pairs.append((a, b, a.spec.laxity_ns))
    return _in_order(run, pairs)


# ---- who shares


def _common(one: MeasuredQueue, two: MeasuredQueue) -> Wait | None:
    """Return the longest time in which both queues were waiting."""
    both = [
        Wait(max(a.start_ns, b.start_ns), min(a.end_ns, b.end_ns))
        for a in waits(one)
        for b in waits(two)
    ]
    return max(both, key=lambda wait: wait.end_ns - wait.start_ns, default=None)


def _used_ns(queue: MeasuredQueue, wait: Wait) -> int:
    """Return the nominal work that a queue launched during a wait."""
    times = launches(queue)
    count = int(np.count_nonzero((times >= wait.start_ns) & (times < wait.end_ns)))
    return count * sum(command.duration_ns for command in queue.workload.commands)


def _together(run: Run) -> list[MeasuredQueue]:
    """Return the queues that the policy treats alike and that no other queue precedes."""
    queues = list(run.queues.values())
    if _policy(run) in ("hpf", "hhpf"):
        top = max(queue.spec.priority for queue in queues)
        return [queue for queue in queues if queue.spec.priority == top]
    if _policy(run) == "lax":
        return queues if all(queue.spec.laxity_ns is None for queue in queues) else []
    return queues


def equals_run_together(run: Run) -> list[str] | None:
    """Find a queue that gets almost nothing while an equal one runs.

    A device that takes commands in their order serves queues in proportion to what each may have in
    flight.
    """
    found, shown = [], False
    for one, two in itertools.permutations(_together(run), 2):
        wait = _common(one, two)
        if wait is None or wait.end_ns - wait.start_ns < SLACK_NS:
            continue
        own, others = _used_ns(one, wait) + _held_ns(one), _used_ns(two, wait)
        least = PART * min(1.0, _held_ns(one) / _held_ns(two)) * others
        shown = True
        if own + delay_ns(run) < least:
            found.append(
                f"while both waited {one.name} launched {own} ns of work, {two.name} {others} ns"
            )
    return found if shown else None


def _held_ns(queue: MeasuredQueue) -> int:
    """Return the work of a full threshold, by which a turn can be longer or shorter."""
    depth = queue.spec.depth[0] or 16  # XSched's own
    each_ns = max(command.duration_ns for command in queue.workload.commands)
    return each_ns * max(depth, len(queue.workload.commands))


def _weight(run: Run, queue: MeasuredQueue) -> float:
    if _policy(run) == "up":
        return queue.spec.utilization or 100
    return float(1.2**queue.spec.priority) if _policy(run) == "cfs" else 1.0


def _turn_ns(run: Run, queue: MeasuredQueue) -> int:
    """Return the longest turn of a queue, without the commands in flight at its end."""
    if _policy(run) != "up":
        return TICK_NS[_policy(run)]
    assert run.scenario.xsched is not None
    round_ns = run.scenario.xsched.timeslice_us * 1000 or TIMESLICE_NS
    weights = sum(_weight(run, other) for other in run.queues.values())
    return int(round_ns * _weight(run, queue) / weights)


def time_by_weight(run: Run) -> list[str] | None:
    """Check that shares of pairs lie between equal shares and those of the weights.

    Only queues that begin together are compared, because earlier use may count or not. At the end
    of each turn the commands in flight fill the threshold, of a light queue as of a heavy one. So
    shares lie between equal ones and those of the weights; the shorter the turns, the more equal.
    """
    found, shown = [], False
    for one, two in itertools.combinations(run.queues.values(), 2):
        wait = _common(one, two)
        if wait is None or _held_ns(one) != _held_ns(two):
            continue
        begins = [found.start_ns for queue in (one, two) for found in waits(queue)[:1]]
        if abs(begins[0] - begins[1]) > REACTION_NS:
            continue
        weights = _weight(run, one), _weight(run, two)
        used = _used_ns(one, wait), _used_ns(two, wait)
        turn_ns = max(_turn_ns(run, queue) + _held_ns(queue) for queue in (one, two))
        if sum(used) < 4 * turn_ns or max(weights) > min(weights) * ADVANTAGE_MOST:
            continue
        share = used[0] / sum(used)
        low, high = sorted((0.5, weights[0] / sum(weights)))
        slack = 0.1 + (turn_ns + delay_ns(run)) / sum(used)
        shown = True
        if not low - slack <= share <= high + slack:
            found.append(
                f"{one.name} got {share:.0%} of the time that it shared with {two.name}, not "
                f"{low:.0%} to {high:.0%}; a turn and the threshold explain {slack:.0%}"
            )
    return found if shown else None


def takes_turns(run: Run) -> list[str] | None:
    """Find a queue whose next command waits for longer than a turn of all others."""
    if not _all_done(run):
        return None
    found, shown = [], False
    queues = list(run.queues.values())
    for queue in queues:
        others = [other for other in queues if other is not queue]
        if not others or any(isinstance(other.spec.arrivals, Closed) for other in queues):
            continue
        times, submitted = launches(queue), queue.samples["submitted_ns"]
        before = np.concatenate([[-1], times[:-1]])
        longest_ns = int((times - np.maximum(submitted, before)).max(initial=0))
        round_ns = sum(
            math.ceil(max(1.0, _weight(run, other) / _weight(run, queue)))
            * (_turn_ns(run, other) + _held_ns(other))
            for other in others
        )
        backlog_ns = sum(
            len(other.samples) * sum(c.duration_ns for c in other.workload.commands)
            for other in others
        )
        if backlog_ns <= round_ns + SLACK_NS + delay_ns(run):
            continue  # the work of the others is too short for such a wait
        shown = True
        if longest_ns > 2 * round_ns + SLACK_NS + delay_ns(run):
            found.append(
                f"{queue.name} waited {longest_ns} ns for its turn; the turns of all others take "
                f"{round_ns} ns"
            )
    return found if shown else None

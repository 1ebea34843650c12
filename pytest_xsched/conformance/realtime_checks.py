"""What must hold for runs under XSched on a device of real time, with room for a busy machine.

A launch is known to the moment at which XSched called for it; a completion is seen later than it
happened, and a decision of the scheduler takes effect some time behind its cause. So each claim
here is about what no delay explains, and says nothing (None) of a run that shows no such thing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.run import Run
from pytest_xsched.scenario.arrival_process import Closed

MS = 1_000_000
REACTION_NS = 50 * MS
"""From an event until the scheduler's decision is in effect, on a machine that has other things to
do: it is some 0.1 ms on one that has not."""
SLACK_NS = 200 * MS
"""What a claim about a wait leaves to delays of all kinds."""
REST_NS = 1000 * MS
"""Time at the end of a drain in which nothing completed, so that what is left is not just slow."""
PART = 0.25
"""Of a command's nominal duration: it surely takes so long, however badly it was calibrated. And of
what another queue gets: nobody who shares with it gets less."""
TICK_NS = {"cfs": 1 * MS, "mlfq": 150 * MS}
"""Longest turn of a queue; under mlfq the slices of all levels, 10 + 20 + 40 + 80 ms."""
TIMESLICE_NS = 5 * MS
"""Of a whole round of `up`, where no other was named."""
ADVANTAGE_MOST = 1.2**20
"""Weight of the heaviest queue against that of the lightest, that is looked at under cfs."""

_Times = NDArray[np.int64]
_LATE = np.int64(2**62)


@dataclass(frozen=True, slots=True)
class Wait:
    """A time in which a queue surely had commands that were not launched.

    It begins when the first was submitted and ends when the last was launched; in between the
    queue was ready all along, in the sense of XSched.
    """

    start_ns: int
    end_ns: int


def waits(queue: MeasuredQueue) -> list[Wait]:
    """Give the times in which a queue surely was ready, in order; one never launched: no end."""
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
    """Give the first launch of each request; far behind all others where there was none.

    Of a request that did not complete it is not known.
    """
    return np.where(queue.samples["completed_ns"] < 0, _LATE, queue.samples["launched_ns"])


def _policy(run: Run) -> str:
    assert run.scenario.xsched is not None
    return run.scenario.xsched.policy


# ---- of every policy


def all_through_it(run: Run) -> list[str] | None:
    """Compare what XSched counted with what it was handed."""
    activity = run.evidence.activity
    if activity is None:
        return None
    return activity.faults({name: queue.counts.launched for name, queue in run.queues.items()})


def ends_cleanly(run: Run) -> list[str] | None:
    """Look at how the process ended, behind its work."""
    return [run.remark] if run.remark else []


def everything_ends(run: Run) -> list[str] | None:
    """Count requests that were not done when the drain was over, and nothing was done any more."""
    found = []
    scenario = run.scenario
    end_ns = scenario.warmup_ns + scenario.duration_ns + scenario.drain_ns
    last_ns = max(int(q.samples["completed_ns"].max(initial=0)) for q in run.queues.values())
    if last_ns > end_ns - REST_NS:
        return None  # all was slow
    for queue in run.queues.values():
        waiting = int(np.count_nonzero(queue.samples["completed_ns"] < 0))
        if waiting:
            found.append(
                f"{queue.name}: {waiting} of {len(queue.samples)} requests never completed"
            )
    return found


def _all_done(run: Run) -> bool:
    """Whether all requests completed; else `everything_ends` says what there is to say."""
    return all(np.all(queue.samples["completed_ns"] >= 0) for queue in run.queues.values())


def threshold(run: Run) -> list[str] | None:
    """Look for launches that come sooner than the device can have made room for them."""
    found, looked = [], False
    for queue in run.queues.values():
        depth, each = queue.spec.depth[0], len(queue.workload.commands)
        shortest_ns = min(command.duration_ns for command in queue.workload.commands)
        times = launches(queue)
        times = times[times < _LATE]
        step = math.ceil(depth / each) if depth else len(times)
        if len(times) <= step or not shortest_ns:
            continue
        looked = True
        # Those between the two, and so many commands of them must have completed in between.
        done = step * each - depth + 1
        gaps = times[step:] - times[:-step]
        least_ns = int(done * shortest_ns * PART)
        if np.any(gaps < least_ns):
            at = int(np.argmax(gaps < least_ns))
            found.append(
                f"{queue.name}: launches {at * each} to {(at + step) * each} took {gaps[at]} ns, "
                f"in which no device does {done} commands of {shortest_ns} ns: more than "
                f"{depth} in flight"
            )
    return found if looked else None


def works_while_there_is_work(run: Run) -> list[str] | None:
    """Look for a long time in which commands waited and none was in flight."""
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
            if idle_ns > SLACK_NS:
                return [f"for {idle_ns} ns a queue had work and nothing was in flight"]
        busy_until = max(busy_until, end)
    return [] if waiting else None


# ---- who goes first


def _overtaken(
    run: Run, first: MeasuredQueue, other: MeasuredQueue, after_ns: int
) -> Iterator[str]:
    """Say of launches of `other` while `first`, which comes before it, waits for longer."""
    times = launches(other)
    for wait in waits(first):
        start_ns = wait.start_ns + after_ns + REACTION_NS
        count = int(np.count_nonzero((times > start_ns) & (times < wait.end_ns)))
        if count:
            yield (
                f"{other.name} launched {count} requests between {start_ns} and {wait.end_ns} ns, "
                f"while {first.name}, which goes before it, had been waiting since "
                f"{wait.start_ns} ns"
            )


def _meet(first: MeasuredQueue, other: MeasuredQueue, after_ns: int) -> bool:
    """Whether `other` had something to launch when it was not to."""
    return any(
        w.start_ns + after_ns + REACTION_NS < min(w.end_ns, o.end_ns) and o.start_ns < w.end_ns
        for w in waits(first)
        for o in waits(other)
    )


def _in_order(run: Run, pairs: list[tuple[MeasuredQueue, MeasuredQueue, int]]) -> list[str] | None:
    pairs = [pair for pair in pairs if _meet(*pair)]
    if not pairs:
        return None
    return [sentence for pair in pairs for sentence in _overtaken(run, *pair)]


def highest_first(run: Run) -> list[str] | None:
    """Look for launches of lower priority."""
    queues = run.queues.values()
    return _in_order(
        run,
        [(a, b, 0) for a in queues for b in queues if a.spec.priority > b.spec.priority],
    )


def earliest_first(run: Run) -> list[str] | None:
    """Look for launches of a queue that is due later, or has no deadline, which is never."""
    if run.scenario.xsched and run.scenario.xsched.k not in (None, 1):
        return None
    due = {}
    for queue in run.queues.values():
        found = waits(queue)
        if len(found) == 1:  # of another one it is not known when XSched took it for ready
            deadline_ns = queue.spec.deadline_ns
            due[queue.name] = _LATE if deadline_ns is None else found[0].start_ns + deadline_ns
    pairs = [
        (run.queues[a], run.queues[b], 0)
        for a, b in itertools.permutations(due, 2)
        if due[a] + REACTION_NS < due[b]
    ]
    return _in_order(run, pairs)


def critical_first(run: Run) -> list[str] | None:
    """Look for launches of a queue that never gets as urgent as one whose laxity is over."""
    pairs = []
    for a, b in itertools.permutations(run.queues.values(), 2):
        highest = b.spec.priority if b.spec.laxity_ns is not None else 0
        if a.spec.laxity_ns is not None and a.spec.priority > max(0, highest):
            pairs.append((a, b, a.spec.laxity_ns))
    return _in_order(run, pairs)


# ---- who shares


def _common(one: MeasuredQueue, two: MeasuredQueue) -> Wait | None:
    """Give the longest time in which both were waiting."""
    both = [
        Wait(max(a.start_ns, b.start_ns), min(a.end_ns, b.end_ns))
        for a in waits(one)
        for b in waits(two)
    ]
    return max(both, key=lambda wait: wait.end_ns - wait.start_ns, default=None)


def _used_ns(queue: MeasuredQueue, wait: Wait) -> int:
    """Give the nominal work that a queue launched in a time."""
    times = launches(queue)
    count = int(np.count_nonzero((times >= wait.start_ns) & (times < wait.end_ns)))
    return count * sum(command.duration_ns for command in queue.workload.commands)


def _together(run: Run) -> list[MeasuredQueue]:
    """Give the queues that the policy does not tell apart, and that nobody goes before."""
    queues = list(run.queues.values())
    if _policy(run) in ("hpf", "hhpf"):
        top = max(queue.spec.priority for queue in queues)
        return [queue for queue in queues if queue.spec.priority == top]
    if _policy(run) == "lax":
        return queues if all(queue.spec.laxity_ns is None for queue in queues) else []
    return queues


def equals_run_together(run: Run) -> list[str] | None:
    """Look for a queue that gets next to nothing beside one that it is equal to."""
    found, looked = [], False
    for one, two in itertools.permutations(_together(run), 2):
        wait = _common(one, two)
        if wait is None or wait.end_ns - wait.start_ns < SLACK_NS:
            continue
        looked = True
        own, others = _used_ns(one, wait) + _held_ns(one), _used_ns(two, wait)
        if own < PART * others:
            found.append(
                f"while both waited {one.name} launched {own} ns of work, {two.name} {others} ns"
            )
    return found if looked else None


def _held_ns(queue: MeasuredQueue) -> int:
    """Give the work of a full threshold: what a turn can be longer or shorter by."""
    depth = queue.spec.depth[0] or 16  # XSched's own
    each_ns = max(command.duration_ns for command in queue.workload.commands)
    return each_ns * max(depth, len(queue.workload.commands))


def _weight(run: Run, queue: MeasuredQueue) -> float:
    if _policy(run) == "up":
        return queue.spec.utilization or 100
    return float(1.2**queue.spec.priority) if _policy(run) == "cfs" else 1.0


def _turn_ns(run: Run, queue: MeasuredQueue) -> int:
    """Give the longest turn of a queue, without what is in flight at its end."""
    if _policy(run) != "up":
        return TICK_NS[_policy(run)]
    assert run.scenario.xsched is not None
    round_ns = run.scenario.xsched.timeslice_us * 1000 or TIMESLICE_NS
    weights = sum(_weight(run, other) for other in run.queues.values())
    return int(round_ns * _weight(run, queue) / weights)


def time_by_weight(run: Run) -> list[str] | None:
    """Compare shares of pairs: between the equal one and that of the weights, and a turn.

    Of queues that begin together, because what one used before may count, or may not. At each end
    of a turn as much is in flight as the threshold allows, for the light queue as for the heavy
    one, so shares lie between those of the weights and equal ones, nearer to these where turns are
    short.
    """
    found, looked = [], False
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
        slack = 0.1 + turn_ns / sum(used)
        looked = True
        if not low - slack <= share <= high + slack:
            found.append(
                f"{one.name} got {share:.0%} of what it shared with {two.name}, not {low:.0%} to "
                f"{high:.0%}, of which a turn and the threshold explain {slack:.0%}"
            )
    return found if looked else None


def takes_turns(run: Run) -> list[str] | None:
    """Look for a queue whose next command waits for longer than a turn of all others."""
    if not _all_done(run):
        return None
    found, looked = [], False
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
        if backlog_ns <= round_ns + SLACK_NS:
            continue  # it could not wait for so long, whatever the policy did
        looked = True
        if longest_ns > 2 * round_ns + SLACK_NS:
            found.append(
                f"{queue.name} waited {longest_ns} ns for its turn; all others have had theirs in "
                f"{round_ns} ns"
            )
    return found if looked else None

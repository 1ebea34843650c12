"""Check a run against the rules of `stress.rules`, exactly, and describe each breach.

A check reads the samples and counts of a run and nothing else, so it works for any scheduler. A
check that depends on the device (its costs, virtual time) yields nothing for runs on another one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.policies import Policy, policy_of
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.dependencies import pipeline_of
from pytest_xsched.scenario.queue_spec import THRESHOLD_MAX, QueueSpec
from pytest_xsched.stress.rules import RULES

__all__ = ["broken_rules", "check_invariants", "rules_of"]

NEVER = np.int64(2**63 - 1)

_Times = NDArray[np.int64]


def rules_of(policy: Policy) -> tuple[str, ...]:
    """Return the ids of the rules that runs of a built-in policy keep, in the catalogue's order."""
    own = policy.rules
    return tuple(id for id in CHECKS if RULES[id].general or id in own)


def broken_rules(run: Run) -> dict[str, list[str]]:
    """Check a run against every rule that its policy keeps.

    Returns:
        Sentences by the ids of the broken rules; empty if all rules hold.
    """
    found = {}
    for rule in rules_of(_policy(run)):
        sentences = list(CHECKS[rule](run))
        if sentences:
            found[rule] = sentences
    return found


def check_invariants(run: Run) -> None:
    """Check that a run breaks no rule of its policy.

    Raises:
        AssertionError: names the broken rules, and shows the scenario as Python.
    """
    __tracebackhide__ = True
    found = broken_rules(run)
    if found:
        lines = [f"{rule}: {sentences[0]}" for rule, sentences in found.items()]
        raise AssertionError("\n".join([*lines, run.scenario.to_python()]))


def _policy(run: Run) -> Policy:
    return policy_of("builtin", run.scenario.policy)


# ---- every scheduler


def _lost_or_twice(run: Run) -> Iterator[str]:
    for queue in run.queues.values():
        c, each = queue.counts, len(queue.workload.commands)
        done = int(np.count_nonzero(queue.samples["completed_ns"] >= 0))
        if c.failed:
            yield f"{queue.name}: {c.failed} commands failed"
        if c.completed != c.launched or c.launched > c.submitted:
            yield (
                f"{queue.name}: {c.submitted} commands submitted, {c.launched} launched, "
                f"{c.completed} completed"
            )
        if c.submitted != c.requests_submitted * each:
            yield f"{queue.name}: {c.requests_submitted} requests of {each} are {c.submitted}"
        if done != c.requests_completed or c.completed < done * each:
            yield (
                f"{queue.name}: {done} samples and {c.requests_completed} requests completed, "
                f"with {c.completed} commands of {each} each"
            )


def _order(run: Run) -> Iterator[str]:
    for queue in run.queues.values():
        done = queue.samples[queue.samples["completed_ns"] >= 0]
        stages = ("scheduled_ns", "submitted_ns", "launched_ns", "completed_ns")
        for stage in stages:
            if np.any(np.diff(done[stage]) < 0):
                at = int(np.argmax(np.diff(done[stage]) < 0))
                yield f"{queue.name}: {stage} of request {at + 1} is before that of {at}"
        for before, after in itertools.pairwise(stages):
            if np.any(done[after] < done[before]):
                at = int(np.argmax(done[after] < done[before]))
                yield f"{queue.name}: {after} of request {at} is before its {before}"
        if not np.array_equal(np.flatnonzero(queue.samples["completed_ns"] >= 0), range(len(done))):
            yield f"{queue.name}: a request completed, and one before it did not"


def _threshold(run: Run) -> Iterator[str]:
    for queue in run.queues.values():
        threshold = queue.spec.depth[0] or THRESHOLD_MAX  # an automatic one bounds time
        limit = threshold if run.scenario.scheduler == "builtin" else THRESHOLD_MAX
        if queue.counts.most_in_flight > limit:
            yield f"{queue.name}: {queue.counts.most_in_flight} in flight, threshold {limit}"


# ---- every policy, in virtual time


def _everything_ends(run: Run) -> Iterator[str]:
    if run.device_kind != "sim":
        return
    loops = [q.spec for q in run.queues.values() if isinstance(q.spec.arrivals, Closed)]
    for queue in run.queues.values():
        pipeline = pipeline_of(queue.spec, run.scenario.queues)
        if queue.spec in loops or any(
            _may_starve(run, loop, spec) for loop in loops for spec in pipeline
        ):
            continue
        waiting = int(np.count_nonzero(queue.samples["completed_ns"] < 0))
        if waiting:
            yield f"{queue.name}: {waiting} requests did not complete within the drain"


def _may_starve(run: Run, loop: QueueSpec, spec: QueueSpec) -> bool:
    """Return whether a closed loop may keep a request of an open one waiting beyond the drain.

    A closed loop continues while such a request waits.
    """
    policy = _policy(run)
    if policy.by_weight:
        return True  # a share can be small
    if policy.reads[:1] == ("deadline_ns",):
        return loop.deadline_ns is not None and spec.deadline_ns is None
    if policy.stream_priority:
        return max(_priorities(run, loop)) >= min(_priorities(run, spec))
    return True  # the registry does not say which queue the policy prefers


def _works_while_there_is_work(run: Run) -> Iterator[str]:
    """Compare busy time with work: known for one slot, free launches and fixed thresholds."""
    model = run.scenario.sim
    queues = list(run.queues.values())
    if run.device_kind != "sim" or model.slots != 1 or model.launch_ns or model.tail_ns:
        return
    if run.scenario.scheduler != "builtin" or any(not q.spec.depth[0] for q in queues):
        return
    if any(queue.counts.completed != queue.counts.submitted for queue in queues):
        return  # some requests were censored
    work_ns = sum(queue.counts.requests_completed * _cost_ns(run, queue) for queue in queues)
    spans = np.concatenate([np.stack(_span(queue), axis=1) for queue in queues])
    starts, ends = _merged(spans[:, 0], spans[:, 1])
    busy_ns = int((ends - starts).sum())
    if busy_ns != work_ns:
        yield f"requests waited for {busy_ns} ns in total, with {work_ns} ns of work"


def _cost_ns(run: Run, queue: MeasuredQueue) -> int:
    return sum(run.scenario.sim.cost_ns(command) for command in queue.workload.commands)


def _span(queue: MeasuredQueue) -> tuple[_Times, _Times]:
    """Return when requests were submitted and when they completed."""
    return queue.samples["submitted_ns"], queue.samples["completed_ns"]


def _merged(starts: _Times, ends: _Times) -> tuple[_Times, _Times]:
    """Return intervals [start, end) with those that touch merged: int64[k] each, ascending."""
    if len(starts) == 0:
        return starts, ends
    order = np.argsort(starts, kind="stable")
    starts, latest = starts[order], np.maximum.accumulate(ends[order])
    begins = np.concatenate([[True], starts[1:] > latest[:-1]])
    last = np.concatenate([begins[1:], [True]])
    return starts[begins], latest[last]


# ---- queues that start after others


def _pairs(run: Run) -> Iterator[tuple[MeasuredQueue, MeasuredQueue]]:
    """Yield each queue that starts after another one, and that one."""
    for queue in run.queues.values():
        if queue.spec.after is not None:
            yield queue, run.queues[queue.spec.after]


def _starts_after(run: Run) -> Iterator[str]:
    for queue, source in _pairs(run):
        ends, begun = source.samples["completed_ns"], queue.samples["launched_ns"]
        early = (begun >= 0) & ((ends < 0) | (begun < ends))
        if np.any(early):
            at = int(np.argmax(early))
            yield (
                f"{queue.name}: request {at} launched at {begun[at]} ns, before that of "
                f"{source.name} was complete"
            )
        submitted = queue.samples["submitted_ns"]
        if run.device_kind == "sim" and np.any((submitted >= 0) & (submitted != ends)):
            at = int(np.argmax((submitted >= 0) & (submitted != ends)))
            yield (
                f"{queue.name}: request {at} could start at {submitted[at]} ns, and that of "
                f"{source.name} was complete at {ends[at]} ns"
            )


def _no_circular_wait(run: Run) -> Iterator[str]:
    """Find two queues without an end, one after the other, when no further queue has work."""
    open_ones = {
        queue.name
        for queue in run.queues.values()
        if np.any(queue.samples["completed_ns"] < 0) or isinstance(queue.spec.arrivals, Closed)
    }
    for queue, source in _pairs(run):
        if {queue.name, source.name} == open_ones:
            at = int(np.argmax(source.samples["completed_ns"] < 0))
            yield (
                f"{queue.name} waited for request {at} of {source.name}, which did not complete, "
                "although no other queue had work"
            )


def _inversion_is_bounded(run: Run) -> Iterator[str]:
    """Bound each wait for a lower queue by what that one had to do and what goes before it."""
    if run.device_kind != "sim" or run.scenario.changes:
        return
    for queue, source in _pairs(run):
        if source.spec.priority >= queue.spec.priority:
            continue
        for index, (begin, end) in enumerate(zip(*_span(source), strict=True)):
            if end < 0:
                continue  # it is not known how long the wait would have been
            explained_ns = _explained_ns(run, source, index, int(begin), int(end))
            if end - begin > explained_ns:
                yield (
                    f"{queue.name}: request {index} waited {end - begin} ns for {source.name}, of "
                    f"lower priority; its work and that of queues before it is {explained_ns} ns"
                )
                break


def _explained_ns(run: Run, source: MeasuredQueue, index: int, begin: int, end: int) -> int:
    """Return the most time that a request of a queue can take under a policy by priority."""
    total = 0
    for other in run.queues.values():
        submitted, completed = _span(other)
        ended = np.where(completed < 0, NEVER, completed)
        there = (submitted >= 0) & (submitted < end) & (ended > begin)
        if other is source:
            there[index + 1 :] = False
        each_ns = _cost_ns(run, other) + run.scenario.sim.launch_ns * len(other.workload.commands)
        all_ns = int(np.count_nonzero(there)) * each_ns
        before = other.spec.priority >= source.spec.priority
        total += all_ns if before else min(all_ns, _most_in_flight_ns(run, other))
    return total


# ---- order by priority


def _priorities(run: Run, spec: QueueSpec) -> list[int]:
    """Return the priorities that a queue has, in order of time."""
    return [spec.priority, *(priority for _, priority in _changes(run, spec))]


def _changes(run: Run, spec: QueueSpec) -> list[tuple[int, int]]:
    """Return when the priority of a queue changes, in ns since the start, and to what."""
    return [
        (run.scenario.warmup_ns + change.at_ns, change.priority)
        for change in run.scenario.changes
        if change.queue == spec.name and change.priority is not None
    ]


def _priority_at(run: Run, spec: QueueSpec, times: _Times) -> NDArray[np.int64]:
    """Return the priority of a queue at each time; a change at that moment is in effect."""
    moments = np.array([at_ns for at_ns, _ in _changes(run, spec)], np.int64)
    values = np.array(_priorities(run, spec), np.int64)
    found: NDArray[np.int64] = values[np.searchsorted(moments, times, side="right")]
    return found


def _highest_first(run: Run) -> Iterator[str]:
    if run.device_kind != "sim":
        return  # in real time a launch may cross an arrival that its thread has not read yet
    for low in run.queues.values():
        for high in run.queues.values():
            if high is low or len(high.samples) == 0:
                continue
            starts, ends = _merged(*_span(high))
            launched = low.samples["launched_ns"]
            above = _priority_at(run, high.spec, launched) > _priority_at(run, low.spec, launched)
            at = np.searchsorted(starts, launched, side="right") - 1
            inside = above & (at >= 0) & (launched < ends[np.maximum(at, 0)])
            if np.any(inside):
                yield (
                    f"{low.name} launched at {launched[np.argmax(inside)]} ns, while {high.name} "
                    "of higher priority had work"
                )


def _delay_of_the_highest(run: Run) -> Iterator[str]:
    """Bound each completion in turn, from what others may have in flight before a burst."""
    if run.device_kind != "sim":
        return
    queues = sorted(run.queues.values(), key=lambda queue: queue.spec.priority)
    top, others = queues[-1], queues[:-1]
    lowest = min(_priorities(run, top.spec))
    if any(max(_priorities(run, queue.spec)) >= lowest for queue in others):
        return  # no queue is above all others from begin to end
    launch_ns = run.scenario.sim.launch_ns
    in_flight_ns = sum(_most_in_flight_ns(run, queue) for queue in others)
    work_ns = _cost_ns(run, top) + launch_ns * len(top.workload.commands)
    latest = 0
    for index, (submitted, completed) in enumerate(zip(*_span(top), strict=True)):
        latest = max(latest, int(submitted) + in_flight_ns) + work_ns
        if completed > latest:
            yield (
                f"{top.name}: request {index} completed {completed - latest} ns later than the "
                f"commands of others in flight ({in_flight_ns} ns) explain"
            )
            return


def _most_in_flight_ns(run: Run, queue: MeasuredQueue) -> int:
    """Return the work of the most commands ever in flight, taking the longest commands."""
    costs = sorted(run.scenario.sim.cost_ns(command) for command in queue.workload.commands)
    most = queue.counts.most_in_flight
    if isinstance(queue.spec.arrivals, Closed) or len(queue.samples) > 1:
        costs = sorted(costs * (1 + most // len(costs)))  # of several requests
    return sum(costs[len(costs) - min(most, len(costs)) :])


# ---- order by deadline


def _earliest_first(run: Run) -> Iterator[str]:
    if run.device_kind != "sim":
        return
    queues = list(run.queues.values())
    for launching in queues:
        times = launching.samples["launched_ns"]
        times = times[times >= 0]
        own = _due(launching, times)
        for other in queues:
            late = _due(other, times) < own
            if np.any(late):
                yield (
                    f"{launching.name} launched at {times[np.argmax(late)]} ns, while a request of "
                    f"{other.name} was due earlier"
                )


def _due(queue: MeasuredQueue, times: _Times) -> _Times:
    """Return when the oldest unfinished request is due, at each time; NEVER: there is none."""
    samples = queue.samples
    deadline_ns = queue.spec.deadline_ns
    if len(samples) == 0 or deadline_ns is None:
        return np.full(len(times), NEVER)
    ends = np.where(samples["completed_ns"] < 0, NEVER, samples["completed_ns"])
    oldest = np.searchsorted(ends, times, side="right")
    here = np.minimum(oldest, len(samples) - 1)
    submitted = np.where(samples["submitted_ns"] < 0, NEVER, samples["submitted_ns"])
    ready = (oldest < len(samples)) & (submitted[here] <= times)
    due: _Times = np.where(ready, samples["scheduled_ns"][here] + deadline_ns, NEVER)
    return due


# ---- device time by weight

TICK_NS = 1_000_000
"""Between two calls of a policy by weight; see native/policies/weight.c."""


def _time_by_weight(run: Run) -> Iterator[str]:
    """Compare closed loops that never pause: they have work from the start to the window's end."""
    model, end_ns = run.scenario.sim, run.scenario.warmup_ns + run.scenario.duration_ns
    if run.device_kind != "sim" or model.slots != 1 or model.launch_ns or model.tail_ns:
        return
    if model.interleave:
        return  # the runner charges time as if commands ran in the order of their launches
    if _policy(run).reads[0] == "priority" and run.scenario.changes:
        return  # this check knows one weight of a queue for a whole run
    loops = [
        queue
        for queue in run.queues.values()
        if isinstance(queue.spec.arrivals, Closed) and not queue.spec.arrivals.think_ns
    ]
    got = []
    for queue in loops:
        ends, weight = queue.samples["completed_ns"], _weight(run, queue)
        request_ns = _cost_ns(run, queue)
        used_ns = int(np.count_nonzero((ends >= 0) & (ends <= end_ns))) * request_ns
        slack_ns = request_ns + _most_in_flight_ns(run, queue) + TICK_NS
        got.append((used_ns / weight, slack_ns / weight, queue.name))
    for (one, slack, name), (two, more, other) in itertools.combinations(got, 2):
        if abs(one - two) > slack + more:
            yield (
                f"{name} got {one:.0f} ns per weight and {other} {two:.0f} ns; turns explain a "
                f"difference of {slack + more:.0f} ns"
            )


def _weight(run: Run, queue: MeasuredQueue) -> float:
    if _policy(run).reads[0] == "utilization":
        return (queue.spec.utilization or 100) / 100
    return float(1.2 ** max(-20, min(20, queue.spec.priority)))


CHECKS: dict[str, Callable[[Run], Iterator[str]]] = {
    "nothing lost, nothing twice": _lost_or_twice,
    "in order": _order,
    "threshold": _threshold,
    "everything ends": _everything_ends,
    "works while there is work": _works_while_there_is_work,
    "starts after": _starts_after,
    "no circular wait": _no_circular_wait,
    "inversion is bounded": _inversion_is_bounded,
    "highest first": _highest_first,
    "delay of the highest": _delay_of_the_highest,
    "earliest first": _earliest_first,
    "time by weight": _time_by_weight,
}
"""The check of each rule, by the rule's id: yields a sentence for each breach."""

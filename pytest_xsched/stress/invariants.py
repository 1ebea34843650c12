"""What must hold for every run, whatever its load; what does not is said in sentences.

A property looks at the samples and counts of a run and nothing else, so it holds for any mechanism.
Where it needs to know the device (its costs, that time is virtual) it says so, and is silent for
runs on another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.run import Run
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.queue_spec import THRESHOLD_MAX, QueueSpec
from pytest_xsched.scenario.scenario import Scenario

NEVER = np.int64(2**63 - 1)

_Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One thing that must hold.

    Attributes:
        name: short, for reports.
        definition: what is claimed, and where the claim comes from.
        broken: gives a sentence for each place where it does not hold.
        policies: the policies of which it is claimed; none named: all.
    """

    name: str
    definition: str
    broken: Callable[[Run], Iterator[str]]
    policies: tuple[str, ...] = ()


def broken_properties(run: Run) -> dict[str, list[str]]:
    """Hold a run against every property that is claimed of its policy.

    Returns:
        Sentences by the names of the properties that do not hold; empty if all do.
    """
    found = {}
    for prop in PROPERTIES:
        if not prop.policies or run.scenario.policy in prop.policies:
            sentences = list(prop.broken(run))
            if sentences:
                found[prop.name] = sentences
    return found


def check_invariants(run: Run) -> None:
    """Raise an AssertionError that names the properties which do not hold for a run."""
    __tracebackhide__ = True
    found = broken_properties(run)
    if found:
        lines = [f"{name}: {sentences[0]}" for name, sentences in found.items()]
        raise AssertionError("\n".join([*lines, run.scenario.to_python()]))


# ---- of every mechanism


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


# ---- of every policy, where time is virtual


def _everything_ends(run: Run) -> Iterator[str]:
    if run.device_kind != "sim":
        return
    loops = [q.spec for q in run.queues.values() if isinstance(q.spec.arrivals, Closed)]
    for queue in run.queues.values():
        if queue.spec in loops or any(_may_starve(run, loop, queue.spec) for loop in loops):
            continue
        waiting = int(np.count_nonzero(queue.samples["completed_ns"] < 0))
        if waiting:
            yield f"{queue.name}: {waiting} requests did not complete within the drain"


def _may_starve(run: Run, loop: QueueSpec, spec: QueueSpec) -> bool:
    """Closed loops go on while a request of an open one waits: whether beyond the drain, even."""
    if run.scenario.policy in ("partition", "fair"):
        return True  # a share can be small
    if run.scenario.policy == "edf":
        return loop.deadline_ns is not None and spec.deadline_ns is None
    return max(_priorities(run, loop)) >= min(_priorities(run, spec))


def _works_while_there_is_work(run: Run) -> Iterator[str]:
    """One slot, no way to the device, fixed thresholds: then it is known what it must do."""
    model = run.scenario.sim
    queues = list(run.queues.values())
    if run.device_kind != "sim" or model.slots != 1 or model.launch_ns:
        return
    if run.scenario.scheduler != "builtin" or any(not q.spec.depth[0] for q in queues):
        return
    if any(queue.counts.completed != queue.counts.submitted for queue in queues):
        return  # some were censored
    work_ns = sum(queue.counts.requests_completed * _cost_ns(run, queue) for queue in queues)
    spans = np.concatenate([np.stack(_span(queue), axis=1) for queue in queues])
    starts, ends = _merged(spans[:, 0], spans[:, 1])
    busy_ns = int((ends - starts).sum())
    if busy_ns != work_ns:
        yield f"requests waited during {busy_ns} ns, for {work_ns} ns of work"


def _cost_ns(run: Run, queue: MeasuredQueue) -> int:
    return sum(run.scenario.sim.cost_ns(command) for command in queue.workload.commands)


def _span(queue: MeasuredQueue) -> tuple[_Times, _Times]:
    """Give when requests were submitted and completed."""
    return queue.samples["submitted_ns"], queue.samples["completed_ns"]


def _merged(starts: _Times, ends: _Times) -> tuple[_Times, _Times]:
    """Merge intervals [start, end) that touch: int64[k] starts and ends, ascending."""
    if len(starts) == 0:
        return starts, ends
    order = np.argsort(starts, kind="stable")
    starts, latest = starts[order], np.maximum.accumulate(ends[order])
    begins = np.concatenate([[True], starts[1:] > latest[:-1]])
    last = np.concatenate([begins[1:], [True]])
    return starts[begins], latest[last]


# ---- of hpf


def _priorities(run: Run, spec: QueueSpec) -> list[int]:
    """Give those that a queue has one after the other."""
    return [spec.priority, *(priority for _, priority in _changes(run, spec))]


def _changes(run: Run, spec: QueueSpec) -> list[tuple[int, int]]:
    """Give when its priority changes, ns since the start, and to what."""
    return [
        (run.scenario.warmup_ns + change.at_ns, change.priority)
        for change in run.scenario.changes
        if change.queue == spec.name and change.priority is not None
    ]


def _priority_at(run: Run, spec: QueueSpec, times: _Times) -> NDArray[np.int64]:
    """Give its priority at each of the times: a change at that moment has happened."""
    moments = np.array([at_ns for at_ns, _ in _changes(run, spec)], np.int64)
    values = np.array(_priorities(run, spec), np.int64)
    found: NDArray[np.int64] = values[np.searchsorted(moments, times, side="right")]
    return found


def _highest_first(run: Run) -> Iterator[str]:
    if run.device_kind != "sim":
        return  # in real time a launch may cross an arrival that its thread has not seen
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
    """Bound its completions one after the other, from what may be in flight before each burst."""
    if run.device_kind != "sim":
        return
    queues = sorted(run.queues.values(), key=lambda queue: queue.spec.priority)
    top, others = queues[-1], queues[:-1]
    lowest = min(_priorities(run, top.spec))
    if any(max(_priorities(run, queue.spec)) >= lowest for queue in others):
        return  # none is above all others from begin to end
    launch_ns = run.scenario.sim.launch_ns
    in_flight_ns = sum(_most_in_flight_ns(run, queue) for queue in others)
    work_ns = _cost_ns(run, top) + launch_ns * len(top.workload.commands)
    latest = 0
    for index, (submitted, completed) in enumerate(zip(*_span(top), strict=True)):
        latest = max(latest, int(submitted) + in_flight_ns) + work_ns
        if completed > latest:
            yield (
                f"{top.name}: request {index} completed {completed - latest} ns later than what "
                f"was in flight of others ({in_flight_ns} ns) explains"
            )
            return


def _most_in_flight_ns(run: Run, queue: MeasuredQueue) -> int:
    """Give the work of as many commands as were ever in flight, the longest of them."""
    costs = sorted(run.scenario.sim.cost_ns(command) for command in queue.workload.commands)
    most = queue.counts.most_in_flight
    if isinstance(queue.spec.arrivals, Closed) or len(queue.samples) > 1:
        costs = sorted(costs * (1 + most // len(costs)))  # of several requests
    return sum(costs[len(costs) - min(most, len(costs)) :])


# ---- of edf


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
    """Give when the oldest unfinished request is due at each of the times; NEVER: none is there."""
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


# ---- of partition and fair

TICK_NS = 1_000_000
"""Between two questions to a policy by weight; see native/policies/weight.c."""


def _by_weight(run: Run) -> Iterator[str]:
    """Compare closed loops that never pause: they have work from the start to the window's end."""
    model, end_ns = run.scenario.sim, run.scenario.warmup_ns + run.scenario.duration_ns
    if run.device_kind != "sim" or model.slots != 1 or model.launch_ns:
        return
    if run.scenario.policy == "fair" and run.scenario.changes:
        return  # a weight is one of a whole run here
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
                f"{name} got {one:.0f} ns of its weight and {other} {two:.0f} ns; turns explain "
                f"{slack + more:.0f} ns"
            )


def _weight(run: Run, queue: MeasuredQueue) -> float:
    if run.scenario.policy == "partition":
        return (queue.spec.utilization or 100) / 100
    return float(1.2 ** max(-20, min(20, queue.spec.priority)))


PROPERTIES = (
    Property(
        name="nothing lost, nothing twice",
        definition="Every command that was submitted is launched once and completes once.",
        broken=_lost_or_twice,
    ),
    Property(
        name="in order",
        definition="Commands of a queue are launched, and complete, in order of submission.",
        broken=_order,
    ),
    Property(
        name="threshold",
        definition="Never more commands of a queue in flight than its threshold "
        "(progressive command launching, XSched, OSDI'25, section 4).",
        broken=_threshold,
    ),
    Property(
        name="everything ends",
        definition="No open loop waits for ever: when arrivals end, all requests complete, but "
        "for those that a closed loop keeps from it by what the policy goes by.",
        broken=_everything_ends,
    ),
    Property(
        name="works while there is work",
        definition="The device is never idle while a queue has work.",
        broken=_works_while_there_is_work,
    ),
    Property(
        name="highest first",
        definition="While a queue is ready, none of lower priority launches (HPF of XSched).",
        broken=_highest_first,
        policies=("hpf",),
    ),
    Property(
        name="delay of the highest",
        definition="The one queue of highest priority waits for what others had in flight when its "
        "burst began, and for nothing else.",
        broken=_delay_of_the_highest,
        policies=("hpf",),
    ),
    Property(
        name="earliest first",
        definition="A queue launches only while no request of another is due earlier (C. L. Liu, "
        "J. W. Layland, 1973).",
        broken=_earliest_first,
        policies=("edf",),
    ),
    Property(
        name="time by weight",
        definition="Queues that always have work get device time in proportion to their weights, "
        "but for a turn of each (C. A. Waldspurger, W. E. Weihl, 1995).",
        broken=_by_weight,
        policies=("partition", "fair"),
    ),
)
"""Of each: its name, what it claims, of which policies, and how it is looked for."""


def claimed_of(scenario: Scenario) -> tuple[Property, ...]:
    """Give the properties that runs of a scenario are held against."""
    return tuple(p for p in PROPERTIES if not p.policies or scenario.policy in p.policies)

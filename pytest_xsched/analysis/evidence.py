"""The evidence that the numbers of a run mean something, gathered before any verdict.

If it is missing, `Run.require` refuses a verdict and says what is missing: a run in which nothing
was executed has excellent latencies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from pytest_xsched.analysis.cold_program import cold_program
from pytest_xsched.analysis.contention import Contenders, Contention, Holds
from pytest_xsched.analysis.inversion import Inversion, inversions
from pytest_xsched.analysis.plausibility import Plausible, overwork, plausible
from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.base.units import format_duration
from pytest_xsched.monitoring.mps_clients import MpsClients
from pytest_xsched.monitoring.noise import Noise
from pytest_xsched.xsched.activation import Activity

LATENCY, LOWER_BOUND, WAIT, RATE = "latency", "lower bound", "wait", "rate"
"""What a verdict is about; see `Evidence.against`."""
_ByQueue: TypeAlias = "dict[str, tuple[str, ...]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a run and what speaks against it.

    Attributes:
        faults: one sentence for each fact that makes every number of the run worthless.
        queue_faults: by queue, the same for the latencies of that queue.
        priority_effect: whether stream priorities had an effect on the device, as measured:
            ``"yes"``, ``"no"`` or ``"unknown"``; None if the run did not use them.
        checked: whether all results were compared with numpy.
        unchecked: one sentence for each kind of result that could not be compared.
        activity: what shows that XSched was in effect; None under other schedulers.
        mps: which processes were clients of MPS; None under other schedulers.
        program_files: of queues that are programs: what their processes had mapped. It is in no
            file, because there are hundreds.
        contention: what the queues of the highest priority met of the other queues.
        noise: how quiet the machine was; None if noise was not measured, or time is virtual.
        plausible: what requests took, compared with what they take alone, where that is known.
        starvation: those of the faults that say that a queue got nothing, or less than it was
            offered, while others ran.
        open: those of the faults that a later window may end: there was no request so far.
        rate_faults: by queue, those of its faults that make its rates and counts worthless, too.
        growing: by queue, those of its faults under which a latency is a lower bound: the queue is
            saturated or got nothing. A target that is missed by these latencies is missed.
        uncontended: by queue, that it had nothing to contend with: what its latencies and waits
            say of a scheduler is nothing.
        remarks: by queue, what its verdicts have to say of its contenders.
        ranks: by queue, what verdicts on its latency also have to say: which contenders go first.
        failures: by queue that has any, why its requests failed, as its program reported, and how
            often, most frequent first.
        held: by queue that has any, how many of its requests began late because of a limit of its
            program; their latency counts from their arrival.
        inversions: queues that waited for one of lower priority, under a policy by priority.
    """

    faults: tuple[str, ...]
    queue_faults: dict[str, tuple[str, ...]]
    checked: bool
    priority_effect: str | None = None
    unchecked: tuple[str, ...] = ()
    activity: Activity | None = None
    mps: MpsClients | None = None
    program_files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    contention: tuple[Contention, ...] = ()
    noise: Noise | None = None
    plausible: tuple[Plausible, ...] = ()
    starvation: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    rate_faults: dict[str, tuple[str, ...]] = field(default_factory=dict)
    growing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    uncontended: dict[str, tuple[str, ...]] = field(default_factory=dict)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ranks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failures: dict[str, dict[str, int]] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    inversions: tuple[Inversion, ...] = ()

    def against(self, queue: str | None, needs: str = LATENCY) -> tuple[str, ...]:
        """Return the faults that forbid a verdict on a queue; None: on the whole run.

        Args:
            queue: its name.
            needs: what the verdict is about: `LATENCY`, `LOWER_BOUND` (of a latency), `WAIT` or
                `RATE`.
        """
        if queue is None:
            return self.faults
        uncontended = self.uncontended.get(queue, ())
        if needs in (WAIT, RATE):
            faults = (*self.faults, *self.rate_faults.get(queue, ()))
            return faults if needs == RATE else (*faults, *uncontended)
        faults = (*self.faults, *self.queue_faults[queue], *uncontended)
        if needs == LOWER_BOUND:
            faults = tuple(fault for fault in faults if fault not in self.growing.get(queue, ()))
        return faults

    def remarks_on(self, queue: str, needs: str) -> str:
        """Return what a verdict on a queue has to say of its contenders and of noise, or "".

        Args:
            queue: its name.
            needs: what the verdict is about; see `against`.
        """
        said = [*self.remarks.get(queue, ())]
        if needs == RATE:
            said += self.uncontended.get(queue, ())
        elif needs != WAIT:
            said += self.ranks.get(queue, ())
        if self.noise is not None and self.noise.remark:
            said.append(self.noise.remark)
        return "".join(f"; {one}" for one in said)

    def keeping(self, earlier: Evidence, where: str = "") -> Evidence:
        """Return the evidence with the faults of an earlier or smaller part of the run added.

        A fault of any part is one of the run, also where the rest of the run makes its share small.

        Args:
            earlier: evidence of that part. Its faults of the same kind as one of this evidence
                differ in their numbers only, and are left out.
            where: put before its faults: "in window 2: ".
        """

        def both(own: tuple[str, ...], other: Iterable[str]) -> tuple[str, ...]:
            known = {kind_of(fault) for fault in own}
            kept = [fault for fault in other if fault not in earlier.open]
            return (*own, *(f"{where}{one}" for one in kept if kind_of(one) not in known))

        def by_queue(own: _ByQueue, other: _ByQueue) -> _ByQueue:
            return {name: both(faults, other.get(name, ())) for name, faults in own.items()}

        return replace(
            self,
            faults=both(self.faults, earlier.faults),
            queue_faults=by_queue(self.queue_faults, earlier.queue_faults),
            rate_faults=by_queue(self.rate_faults, earlier.rate_faults),
            growing=by_queue(self.growing, earlier.growing),
            starvation=both(self.starvation, earlier.starvation),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence in JSON's types."""
        return {
            "valid": not self.faults,
            "faults": list(self.faults),
            "queue_faults": {
                name: [*faults, *self.uncontended.get(name, ())]
                for name, faults in self.queue_faults.items()
            },
            "results_checked": self.checked,
            "priority_effect": self.priority_effect,
            "results_not_checked": list(self.unchecked),
            "contention": [one.to_dict() for one in self.contention],
            "uncontended": {name: list(found) for name, found in self.uncontended.items()},
            "remarks": {name: list(said) for name, said in self.remarks.items() if said},
            "failures": {
                name: [{"reason": why, "count": count} for why, count in found.items()]
                for name, found in self.failures.items()
            },
            "held": dict(self.held),
            **({"inversions": [i.to_dict() for i in self.inversions]} if self.inversions else {}),
            "plausible": [one.to_dict() for one in self.plausible],
            "xsched": None if self.activity is None else self.activity.to_dict(),
            **({} if self.mps is None else {"mps": self.mps.to_dict()}),
            "noise": None if self.noise is None else self.noise.to_dict(),
        }


def gather(
    queues: tuple[QueueResult, ...],
    others: tuple[str, ...],
    *,
    checked: bool,
    priority_effect: str | None = None,
    unchecked: tuple[str, ...] = (),
    activity: Activity | None = None,
    mps: MpsClients | None = None,
    noise: Noise | None = None,
    alone_ns: Sequence[int | None] = (),
    slots: int | None = None,
    holds: Holds | None = None,
    device: str | None = None,
    order: Mapping[str, Sequence[str]] | None = None,
    ranks: Mapping[str, Sequence[str]] | None = None,
    by_priority: bool = False,
) -> Evidence:
    """Judge a run by its counts, its arrivals, its speed and, with check=True, its results.

    Args:
        queues: the measured queues.
        others: sentences about settings that spoil every figure, and about wrong results.
        checked: whether any results were compared.
        priority_effect: see `Evidence`.
        unchecked: sentences about results that could not be compared.
        activity: see `Evidence`.
        mps: see `Evidence`.
        noise: see `Evidence`.
        alone_ns: what a request of each queue takes alone, None where that is not known; empty if
            it is known for no queue.
        slots: slots of the device model from which alone_ns comes; None if that was measured.
        holds: when `changes=` held a queue.
        device: name of the run's device, which is that of every queue that names none.
        order: by queue, that nothing orders it and its contenders; see `policy_hints`.
        ranks: by queue, which contenders go first.
        by_priority: whether queues of higher priority go first.
    """
    alone_ns = alone_ns or (None,) * len(queues)
    speed = plausible(queues, alone_ns, exact=slots is not None)
    faults = [fault for queue in queues for fault in _count_faults(queue, queues)]
    faults += [fault for one in speed if (fault := one.fault())]
    if slots is not None and (fault := overwork(queues, alone_ns, slots)):
        faults.append(fault)
    growing = {queue.name: (*_starved(queue, queues), *_saturated(queue)) for queue in queues}
    contenders = Contenders(queues, holds, device)
    idle = {
        queue.name: _next_to_starved(queue, contenders.rivals(queue), queues) for queue in queues
    }
    starvation = [
        sentence
        for queue in queues
        for sentence in (*_never_launched(queue), *_saturated(queue))
        if any(other.counts.completed for other in queues if other is not queue)
    ] + [sentence for queue in queues for sentence in idle[queue.name]]
    silent = [fault for queue in queues for fault in _no_request(queue)]
    met = contenders.met()
    apart = contenders.away(met)
    nothing = {name: said for name, said in contenders.nothing().items() if name not in apart}
    little = contenders.little(alone_ns)
    return Evidence(
        faults=(*faults, *others, *(() if noise is None else noise.faults)),
        queue_faults={
            queue.name: (
                *_starved(queue, queues),
                *_load_faults(queue),
                *idle[queue.name],
                *apart.get(queue.name, []),
            )
            for queue in queues
        },
        priority_effect=priority_effect,
        checked=checked and not unchecked,
        unchecked=unchecked,
        activity=activity,
        mps=mps,
        contention=met,
        noise=noise,
        plausible=speed,
        starvation=tuple(starvation),
        rate_faults={queue.name: (*_late(queue), *apart.get(queue.name, [])) for queue in queues},
        growing=growing,
        open=(*silent, *(queue.no_request for queue in queues)),
        uncontended={name: tuple(found) for name, found in nothing.items()},
        remarks={
            queue.name: (*little[queue.name], *(order or {}).get(queue.name, ()))
            for queue in queues
        },
        ranks={name: tuple(said) for name, said in (ranks or {}).items()},
        failures={
            queue.name: dict(queue.failures.most_common()) for queue in queues if queue.failures
        },
        held={queue.name: queue.held for queue in queues if queue.held},
        inversions=inversions(queues, alone_ns) if by_priority else (),
    )


def kind_of(fault: str) -> str:
    """Return a fault without its window, its numbers and their units."""
    plain = re.sub(r"^in window \d+: ", "", fault)
    return re.sub(r"\d[\d.]*( ?(ns|us|ms|s|min|h|/s|%)(?!\w))?", "#", plain)


def _count_faults(queue: QueueResult, queues: Sequence[QueueResult]) -> list[str]:
    c, faults = queue.counts, []
    program = queue.workload.own_program
    if program is not None:  # its commands are not counted
        return _no_request(queue)
    if c.failed:
        faults.append(f"{c.failed} commands of {queue.name} failed")
    if not _starved(queue, queues):
        faults += _never_launched(queue)
    if c.completed != c.launched:
        faults.append(f"{queue.name} launched {c.launched} commands, but completed {c.completed}")
    return faults


def _no_request(queue: QueueResult) -> list[str]:
    program = queue.workload.own_program
    if program is None or not program.reports or queue.counts.requests_submitted:
        return []
    return [f"the program of {queue.name} began no request"]


def _never_launched(queue: QueueResult) -> list[str]:
    if queue.counts.launched or queue.workload.own_program is not None:
        return []
    return [f"no command of {queue.name} was launched"]


def _starved(queue: QueueResult, queues: Sequence[QueueResult]) -> list[str]:
    """Describe that a queue with requests got nothing while another one completed commands."""
    c, done = queue.counts, queue.samples["completed_ns"] >= 0
    if len(done) == 0 or done.any() or c.failed or c.completed:
        return []
    others = any(other.counts.completed for other in queues if other is not queue)
    return _never_launched(queue) if others else []


def _next_to_starved(
    queue: QueueResult, rivals: Sequence[QueueResult], queues: Sequence[QueueResult]
) -> list[str]:
    """Describe that a contender of at most the same priority got nothing.

    One of higher priority is another matter: its work waited all the time, and did not help it.
    """
    return [
        f"{sentence}, so {queue.name} had nothing to contend with"
        for other in rivals
        if other.spec.priority <= queue.spec.priority
        for sentence in _starved(other, queues)
        if queue.counts.completed
    ]


def _saturated(queue: QueueResult) -> list[str]:
    if not queue.saturated or queue.n == 0 or _late_process(queue):
        return []
    cold = cold_program(queue)
    return [
        f"{queue.name} is saturated: {queue.offered} were offered but {queue.throughput} "
        "completed, so its latency depends on the length of the run" + (f"; {cold}" if cold else "")
    ]


def _load_faults(queue: QueueResult) -> list[str]:
    faults = []
    if queue.workload.own_program is not None and not queue.workload.own_program.reports:
        faults.append(f"{queue.name} is a program that reports no requests")
    elif queue.n == 0:
        faults.append(queue.no_request)
    else:
        faults += _saturated(queue) or _late(queue)
    return faults


def _late(queue: QueueResult) -> list[str]:
    """Describe that the load generator was late, or a program that was cold.

    A saturated queue is late by itself, but for one whose requests a load process of ours sends.
    """
    if queue.workload.endpoint is not None:
        return _late_process(queue)
    if queue.closed_loop or queue.saturated or queue.n == 0 or queue.spec.after is not None:
        return []
    late = _late_share(queue)
    if late <= 0.02:
        return []
    if cold := cold_program(queue):
        return [
            f"{cold}, so {late:.0%} of its requests were submitted more than a period late; warm "
            "it up before it reports 'ready', as requests() does"
        ]
    return [
        f"the requests of {queue.name} did not arrive at the offered rate: {late:.0%} of them "
        "were submitted more than a period late"
    ]


def _late_process(queue: QueueResult) -> list[str]:
    """Describe that the load process of an endpoint was late, so that latencies are its own.

    It sends each request when it is due, whatever the server does. Less than a tenth of the time
    that an answer usually takes does not matter, however high the rate is.
    """
    if queue.workload.endpoint is None or queue.closed_loop or queue.n == 0:
        return []
    assert queue.offered is not None
    done = queue.arrived[queue.arrived["completed_ns"] >= 0]
    taken_ns = float(np.median(done["completed_ns"] - done["launched_ns"])) if len(done) else 0
    least_ns = max(1e9 / queue.offered.value, taken_ns / 10)
    late = _late_share(queue, least_ns)
    if late <= 0.02:
        return []
    return [
        f"the load process of {queue.name} sent {late:.0%} of its requests more than "
        f"{format_duration(round(least_ns))} late, so their latency is its own; lower the rate, or "
        "leave it a processor"
    ]


def _late_share(queue: QueueResult, least_ns: float | None = None) -> float:
    """Return the share of requests that the load generator sent late.

    Args:
        queue: in open loop.
        least_ns: how late; None: by more than a mean gap.
    """
    assert queue.offered is not None
    least_ns = 1e9 / queue.offered.value if least_ns is None else least_ns
    m = queue.arrived
    late = (m["submitted_ns"] < 0) | (m["submitted_ns"] - m["scheduled_ns"] > least_ns)
    return float(np.mean(late))

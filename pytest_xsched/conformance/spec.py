"""What is claimed of each policy, ours and XSched's, by its definition; nothing is run here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_xsched.analysis.run import Run
from pytest_xsched.base.constants import POLICIES
from pytest_xsched.conformance import realtime_checks
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stress.invariants import PROPERTIES, Property

RETURNS = "returns in time"
IN_EFFECT = "in effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One thing that must hold for every run of a policy.

    Attributes:
        name: short, for the report.
        definition: what is claimed, and where the claim comes from.
        judge: gives a sentence for each place where it does not hold; None where the run shows
            nothing of the kind, which is no sign that it holds.
    """

    name: str
    definition: str
    judge: Callable[[Run], list[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy, and what is claimed of it.

    Attributes:
        scheduler: whose it is: ``"builtin"`` or ``"xsched"``.
        name: what the scheduler calls it.
        definition: its rule in a sentence, and the source of that.
        claims: of every policy, and of this one.
    """

    scheduler: str
    name: str
    definition: str
    claims: tuple[Claim, ...]


_OURS = {
    "hpf": "The ready queues of the highest priority run, all others wait (XSched, OSDI'25, 5).",
    "none": "Nobody waits for anybody: the device takes what comes, in the order in which it does.",
    "edf": "The queue whose oldest request is due first runs (C. L. Liu, J. W. Layland, 1973).",
    "partition": "Device time in proportion to utilization, by stride scheduling (C. A. "
    "Waldspurger, W. E. Weihl, 1995).",
    "fair": "Device time in proportion to weights, 1.2 more a step of priority (as CFS of Linux).",
}

_UNAWARE = "so the queues of one process run together"
_XSCHEDS = {
    "hpf": "The ready queues of the highest priority of a device run, all others are suspended "
    "(XSched, OSDI'25, section 5).",
    "hhpf": "As hpf, with one highest priority over all devices (XSched, OSDI'25, section 6).",
    "chpf": f"As hpf by the kernel's priority of the process, {_UNAWARE} (chpf.h of XSched).",
    "up": "Queues take turns, each for its utilization's part of the timeslice, 100 unless hinted "
    "(up.h, types.h of XSched; XSched, OSDI'25, section 5).",
    "pup": f"As up by process, {_UNAWARE} (pup.h of XSched).",
    "kedf": "The k ready queues that are due first run, a queue being due its deadline behind the "
    "begin of its burst (K-EDF; K. K. W. Ng and others, Paella, SOSP'23).",
    "lax": "Queues of the highest priority run; a queue gets its critical one when it has been "
    "ready for longer than its laxity (XSched, OSDI'25, section 7).",
    "awf": "Where a process has the active window, others wait; without a window none does, "
    f"{_UNAWARE} (awf.h of XSched).",
    "cfs": "The ready queue that had least of its weight runs, the weight being 1.2 more a step of "
    "priority; ticks of 1 ms (cfs.h of XSched; sched-design-CFS of Linux).",
    "mlfq": "Queues take turns of 10 to 80 ms, longer and of lower rank the more they use "
    "(mlfq.h of XSched; F. J. Corbato and others, 1962).",
}


def _different(scenario: Scenario, field: str) -> bool:
    return len({getattr(queue, field) for queue in scenario.queues}) > 1


def _bare(scenario: Scenario) -> bool:
    return scenario.sim.slots == 1 and not scenario.sim.launch_ns


_SHOWN_BY: dict[str, Callable[[Scenario], bool]] = {
    "works while there is work": lambda s: _bare(s) and all(q.depth[0] for q in s.queues),
    "highest first": lambda s: _different(s, "priority"),
    "delay of the highest": lambda s: _different(s, "priority"),
    "earliest first": lambda s: _different(s, "deadline_ns"),
    "time by weight": lambda s: _bare(s) and _loops(s) > 1,
}
"""Which scenarios show something of a property of virtual time; none named: all."""


def _loops(scenario: Scenario) -> int:
    """Count the queues that always have work."""
    loads = [queue.arrivals for queue in scenario.queues]
    return sum(isinstance(load, Closed) and not load.think_ns for load in loads)


def _of_a_run(prop: Property) -> Claim:
    shows = _SHOWN_BY.get(prop.name)
    return Claim(
        name=prop.name,
        definition=prop.definition,
        judge=lambda run: list(prop.broken(run)) if shows is None or shows(run.scenario) else None,
    )


_BY_NAME = {prop.name: prop for prop in PROPERTIES}

_GENERIC = (
    Claim(
        name=RETURNS,
        definition="Every call returns, and the process that measures ends by itself, with a "
        "result.",
        judge=realtime_checks.ends_cleanly,
    ),
    Claim(
        name=IN_EFFECT,
        definition="XSched says that the policy is in effect, and hints decide which of two queues "
        "goes first.",
        judge=lambda run: [],  # or it would have been no run
    ),
    _of_a_run(_BY_NAME["nothing lost, nothing twice"]),
    Claim(
        name="all through XSched",
        definition="XSched counts and launches as many commands as it was handed.",
        judge=realtime_checks.all_through_it,
    ),
    _of_a_run(_BY_NAME["in order"]),
    Claim(
        name="threshold",
        definition=_BY_NAME["threshold"].definition,
        judge=realtime_checks.threshold,
    ),
    Claim(
        name="everything ends",
        definition="No request waits for ever: when arrivals end, all complete.",
        judge=realtime_checks.everything_ends,
    ),
    Claim(
        name="works while there is work",
        definition="The device is not idle for long while a queue has work.",
        judge=realtime_checks.works_while_there_is_work,
    ),
)

_HIGHEST = Claim(
    name="highest first",
    definition="While a queue is ready, none of lower priority launches.",
    judge=realtime_checks.highest_first,
)
_TOGETHER = Claim(
    name="equals run together",
    definition="Of queues that the policy does not tell apart, none keeps another from running.",
    judge=realtime_checks.equals_run_together,
)
_WEIGHTS = Claim(
    name="time by weight",
    definition="Queues that wait at the same time get device time by their weights; as much as is "
    "in flight at the end of a turn brings shares nearer to one another.",
    judge=realtime_checks.time_by_weight,
)
_TURNS = Claim(
    name="takes turns",
    definition="A queue that waits has its turn when all others had one, whatever they, or it, "
    "used before.",
    judge=realtime_checks.takes_turns,
)
_OWN = {
    "hpf": (_HIGHEST, _TOGETHER),
    "hhpf": (_HIGHEST, _TOGETHER),
    "chpf": (_TOGETHER,),
    "up": (_WEIGHTS, _TURNS),
    "pup": (_TOGETHER,),
    "kedf": (
        Claim(
            name="earliest first",
            definition="While a queue is ready, none that is due later launches; one without a "
            "deadline is due last of all.",
            judge=realtime_checks.earliest_first,
        ),
    ),
    "lax": (
        Claim(
            name="critical first",
            definition="When a queue has been ready for longer than its laxity, none launches that "
            "is less urgent.",
            judge=realtime_checks.critical_first,
        ),
        _TOGETHER,
    ),
    "awf": (_TOGETHER,),
    "cfs": (_WEIGHTS, _TURNS),
    "mlfq": (_WEIGHTS, _TURNS),
}

BUILTIN = tuple(
    Policy(
        scheduler="builtin",
        name=name,
        definition=_OURS[name],
        claims=tuple(
            _of_a_run(prop) for prop in PROPERTIES if not prop.policies or name in prop.policies
        ),
    )
    for name in POLICIES
)
"""Ours, with the exact properties of virtual time."""

XSCHED = tuple(
    Policy(scheduler="xsched", name=name, definition=_XSCHEDS[name], claims=(*_GENERIC, *own))
    for name, own in _OWN.items()
)
"""All of XSched's that can be chosen, with properties for real time."""

NAMES = tuple(dict.fromkeys(policy.name for policy in (*BUILTIN, *XSCHED)))
"""Of all policies, ours first."""

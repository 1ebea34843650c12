"""What a scheduler costs on live queues, measured the same way each time, and its limits.

Each function makes queues of its own. `first_broken` calls them once before it takes random steps,
and `check_xqueues` once after that, because they are no matter of chance. All limits are of
processor time, counts or bytes, because other load of the machine changes the time that passes.
They leave room of a factor of ten for slow processors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from pytest_xsched.base.units import Duration
from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.scenario.workload import spin
from pytest_xsched.stress.steps import BrokenRule, Step

__all__ = [
    "STEPS",
    "CostOfCommands",
    "CostOfEvents",
    "CostOfQueues",
    "CostOfSuspend",
    "CostOfTime",
    "Costs",
    "all_costs",
    "cost_at_rest",
    "cost_of_commands",
    "cost_of_events",
    "cost_of_queues",
    "cost_of_suspend",
    "cost_of_time",
    "cost_under_load",
    "first_breach",
    "measure",
    "measure_events",
    "measure_memory",
    "measure_queues",
    "measure_rest",
]

SHARE_MOST = 0.2
"""The most processors that 200 events a second may take."""
RATE = 200
SOON = Duration(100_000_000)
"""How long suspend() and resume() may take."""
ATTEMPTS = 3
"""A limit is crossed if that many measurements cross it."""
QUEUES = 12
EVENTS = ((1, 30, "5ms"), (QUEUES, 30, "5ms"), (QUEUES, 120, "1ms"))
"""Queues, count and pause of the events that are measured."""
REST_MOST_HZ = 100
"""Wake-ups a second of a thread without work."""
BURST, BURSTS = 2000, 3
PENDING = 500
KEPT_MOST, PENDING_MOST = 16, 4096
"""Bytes of a command that is complete, and of one that waits."""
GONE = 20
KEPT_OF_QUEUE_MOST = 1024
"""Bytes of a queue that was destroyed."""
CALLS = frozenset({"wait returns", "destroy returns", "submit returns"})
"""Rules on the calls that all measuring steps make."""
_LONG = spin("50ms")
_NOTHING = spin("0s")


class Breach(NamedTuple):
    """What crosses a limit.

    Attributes:
        rule: id of the rule.
        sentence: what was measured.
    """

    rule: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOfEvents:
    """What the threads of a scheduler use for an event: a request on an idle queue.

    Attributes:
        queues: that had requests, in turn.
        events: count of requests.
        pause: between the end of a request and the next request.
        processor_time: for each event.
        wakeups: of threads, for each event.
    """

    queues: int
    events: int
    pause: str
    processor_time: Duration
    wakeups: float

    @property
    def share(self) -> float:
        """How many processors 200 events a second take."""
        return self.processor_time.ns * RATE / 1e9

    def __str__(self) -> str:
        return (
            f"{self.processor_time} of processor time and {self.wakeups:.1f} wake-ups for each of "
            f"{self.events} events of {self.queues} queue{'s' if self.queues > 1 else ''}, "
            f"{self.pause} apart"
        )


def cost_of_events(live: XQueues, queues: int, events: int, pause: str) -> CostOfEvents:
    """Measure what events cost.

    Args:
        live: live queues, without work.
        queues: how many queues to make; they get requests in turn and are destroyed at the end.
        events: count of requests.
        pause: between the end of a request and the next request.
    """
    made = [live() for _ in range(queues)]
    for xq in made:  # the first request compiles, and starts what starts late
        xq.submit(_NOTHING).wait()
    live.sleep("10ms")
    before = live.scheduler_cost
    for number in range(events):
        made[number % queues].submit(_NOTHING).wait()
        live.sleep(pause)
    used = live.scheduler_cost - before
    for xq in made:
        xq.destroy()
    return CostOfEvents(
        queues=queues,
        events=events,
        pause=pause,
        processor_time=Duration(used.processor_time.ns // events),
        wakeups=used.wakeups / events,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOfQueues:
    """What remains of queues that were created, used and destroyed.

    Attributes:
        threads: of the scheduler, of all queues together.
        kept: bytes of each queue; None: not known.
    """

    threads: int
    kept: float | None

    def __str__(self) -> str:
        memory = "" if self.kept is None else f", {self.kept:.0f} bytes of each"
        return f"{self.threads} threads of destroyed queues{memory}"


def cost_of_queues(live: XQueues) -> CostOfQueues:
    """Measure what remains of twenty queues, one after the other."""

    def use() -> None:
        xq = live()
        xq.submit(_NOTHING).wait()
        xq.destroy()

    for _ in range(3):  # what is made once
        use()
    live.sleep("10ms")
    before, threads = live.heap_bytes, live.scheduler_cost.threads
    for _ in range(GONE):
        use()
    live.sleep("10ms")
    after = live.heap_bytes
    return CostOfQueues(
        threads=live.scheduler_cost.threads - threads,
        kept=None if before is None or after is None else (after - before) / GONE,
    )


def measure_queues(live: XQueues) -> list[Breach]:
    """Measure what remains of destroyed queues, and return what is too much."""
    cost = cost_of_queues(live)
    if cost.threads <= 0 and (cost.kept is None or cost.kept <= KEPT_OF_QUEUE_MOST):
        return []
    return [Breach("a destroyed queue leaves nothing", f"after {GONE} queues: {cost}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOfTime:
    """What the threads of a scheduler use in some time.

    Attributes:
        threads: of the scheduler.
        processors: that they used; 0.05 is a twentieth of one.
        wakeups_hz: wake-ups of all threads in a second.
        preemptions_hz: how often the kernel took the processor of one of them, in a second.
    """

    threads: int
    processors: float
    wakeups_hz: float
    preemptions_hz: float

    def __str__(self) -> str:
        return (
            f"{self.threads} thread{'s' if self.threads != 1 else ''}, "
            f"{self.processors:.3f} processors, {self.wakeups_hz:.0f} wake-ups and "
            f"{self.preemptions_hz:.0f} preemptions a second"
        )


def cost_of_time(live: XQueues, duration: str) -> CostOfTime:
    """Measure what the threads of a scheduler use while a duration passes."""
    before, begin = live.scheduler_cost, live.now
    live.sleep(duration)
    used, passed_s = live.scheduler_cost - before, (live.now - begin).ns / 1e9
    return CostOfTime(
        threads=used.threads,
        processors=used.processor_time.ns / 1e9 / passed_s,
        wakeups_hz=used.wakeups / passed_s,
        preemptions_hz=used.preemptions / passed_s,
    )


def cost_at_rest(live: XQueues) -> CostOfTime:
    """Measure what the threads of a scheduler use while no queue has work: three new queues."""
    made = [live() for _ in range(3)]
    for xq in made:
        xq.submit(_NOTHING).wait()
    live.sleep("20ms")  # some spin for a while before they sleep
    cost = cost_of_time(live, "100ms")
    for xq in made:
        xq.destroy()
    return cost


def cost_under_load(live: XQueues) -> CostOfTime:
    """Measure what the threads of a scheduler use while three queues always have work."""
    made = [live(priority=priority) for priority in range(3)]
    for xq in made:
        xq.submit(spin("1ms", layers=300))
    cost = cost_of_time(live, "200ms")
    for xq in reversed(made):
        xq.wait()
        xq.destroy()
    return cost


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOfSuspend:
    """What suspend() and resume() of a queue with work take.

    Attributes:
        suspend: median time of the call.
        suspend_most: the longest.
        resume: median time of the call.
        resume_most: the longest.
    """

    suspend: Duration
    suspend_most: Duration
    resume: Duration
    resume_most: Duration

    def __str__(self) -> str:
        return (
            f"suspend() {self.suspend}, at most {self.suspend_most}; "
            f"resume() {self.resume}, at most {self.resume_most}"
        )


def cost_of_suspend(live: XQueues) -> CostOfSuspend:
    """Measure twenty calls of suspend() and resume() on a queue with work."""
    xq = live()
    xq.submit(spin("1ms", layers=100))
    took = [(xq.suspend(), xq.resume()) for _ in range(20)]
    xq.wait()
    xq.destroy()
    suspends, resumes = (sorted(column) for column in zip(*took, strict=True))
    return CostOfSuspend(
        suspend=suspends[10],
        suspend_most=suspends[-1],
        resume=resumes[10],
        resume_most=resumes[-1],
    )


def measure_rest(live: XQueues) -> list[Breach]:
    """Measure the threads while no queue has work, and return what is too much."""
    cost = cost_at_rest(live)
    if cost.wakeups_hz <= REST_MOST_HZ * cost.threads:
        return []
    return [Breach("rests without work", f"while no queue had work: {cost}")]


def measure_events(live: XQueues) -> list[Breach]:
    """Measure events of one queue, of many queues, and at a high rate; return what is too much."""
    one, many, fast = (cost_of_events(live, *how) for how in EVENTS)
    found = [
        Breach("costs little", f"{cost}: 200 a second take {cost.share:.2f} processors")
        for cost in (one, many)
        if cost.share > SHARE_MOST
    ]
    found += [
        Breach("wake-ups grow with events", f"{more}, after {less}")
        for more, less in ((many, one), (fast, many))
        if more.wakeups > 2 * less.wakeups + 4
    ]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOfCommands:
    """The memory of commands.

    Attributes:
        pending: bytes of each command that was submitted and not launched.
        kept: bytes that remain of each command after its completion.
    """

    pending: float
    kept: float

    def __str__(self) -> str:
        return (
            f"{self.pending:.0f} bytes of a command that waits, {self.kept:.1f} of one that is "
            "complete"
        )


def cost_of_commands(live: XQueues) -> CostOfCommands | None:
    """Measure the memory of commands on a queue of its own; None: memory is not known."""
    xq = live(threshold=16, batch_size=8)
    burst = spin("0s", layers=BURST)

    def heap() -> int:
        live.sleep("10ms")  # what ended is freed a little later
        return live.heap_bytes or 0

    xq.submit(burst).wait()  # what is made once
    before = heap()
    for _ in range(BURSTS):
        xq.submit(burst).wait()
    after = heap()
    xq.submit(_LONG)
    xq.submit(spin("0s", layers=PENDING))
    pending = heap()
    xq.wait()
    xq.destroy()
    if not before:
        return None
    return CostOfCommands(
        pending=(pending - after) / PENDING, kept=(after - before) / (BURSTS * BURST)
    )


def measure_memory(live: XQueues) -> list[Breach]:
    """Measure the memory of commands, and return what is too much."""
    cost = cost_of_commands(live)
    found = []
    if cost is not None and cost.kept > KEPT_MOST:
        found.append(
            Breach(
                "memory is given back",
                f"after {BURSTS} bursts of {BURST} commands each, {cost.kept:.0f} bytes remain of "
                "each command",
            )
        )
    if cost is not None and cost.pending > PENDING_MOST:
        found.append(
            Breach(
                "commands are small",
                f"each of {PENDING} commands that wait takes {cost.pending:.0f} bytes",
            )
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """All that is measured of a scheduler, by the functions `cost_*`.

    Attributes:
        rest: while no queue has work.
        load: while three queues have work.
        events: of one queue, of many queues, and of these at a high rate.
        commands: memory; None: not known.
        queues: that were destroyed.
        suspend: time of the calls.
    """

    rest: CostOfTime
    load: CostOfTime
    events: tuple[CostOfEvents, ...]
    commands: CostOfCommands | None
    queues: CostOfQueues
    suspend: CostOfSuspend

    def lines(self) -> list[str]:
        """Return a line of text for each kind of cost."""
        memory = [] if self.commands is None else [f"memory: {self.commands}"]
        return [
            f"at rest: {self.rest}",
            f"under load: {self.load}",
            *(f"events: {one}" for one in self.events),
            *memory,
            f"left: {self.queues}",
            str(self.suspend),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types; times in ns, memory in bytes."""
        return {
            "at_rest": dataclasses.asdict(self.rest),
            "under_load": dataclasses.asdict(self.load),
            "events": [
                {
                    "queues": one.queues,
                    "events": one.events,
                    "pause": one.pause,
                    "processor_ns": one.processor_time.ns,
                    "wakeups": one.wakeups,
                }
                for one in self.events
            ],
            "commands": self.commands and dataclasses.asdict(self.commands),
            "queues": dataclasses.asdict(self.queues),
            "suspend_ns": {"median": self.suspend.suspend.ns, "max": self.suspend.suspend_most.ns},
            "resume_ns": {"median": self.suspend.resume.ns, "max": self.suspend.resume_most.ns},
            "said": self.lines(),
        }


def all_costs(live: XQueues) -> Costs:
    """Measure all of them, on live queues without work in real time."""
    return Costs(
        rest=cost_at_rest(live),
        load=cost_under_load(live),
        events=tuple(cost_of_events(live, *how) for how in EVENTS),
        commands=cost_of_commands(live),
        queues=cost_of_queues(live),
        suspend=cost_of_suspend(live),
    )


STEPS: dict[str, tuple[Callable[[XQueues], list[Breach]], tuple[str, ...]]] = {
    "measure_rest": (measure_rest, ("rests without work",)),
    "measure_queues": (measure_queues, ("a destroyed queue leaves nothing",)),
    "measure_memory": (measure_memory, ("memory is given back", "commands are small")),
    "measure_events": (measure_events, ("costs little", "wake-ups grow with events")),
}
"""Steps that measure, each with its function and its rules."""


def measure(step: str, live: XQueues, without: Collection[str]) -> None:
    """Take a measuring step; what is too much once counts if it is so each time.

    Raises:
        BrokenRule: a limit was crossed in each attempt.
    """
    check, _ = STEPS[step]
    found: list[Breach] = []
    for attempt in range(ATTEMPTS):
        rules = {breach.rule for breach in found}
        found = [
            breach
            for breach in check(live)
            if breach.rule not in without and (attempt == 0 or breach.rule in rules)
        ]
        if not found:
            return
    raise BrokenRule(*found[0])


def first_breach(
    play: Callable[[tuple[Step, ...]], BrokenRule | None], without: Collection[str]
) -> BrokenRule | None:
    """Take each measuring step on queues of its own, and return the first breach of its rules.

    Args:
        play: takes steps on fresh live queues.
        without: ids of rules that are not checked. If calls are known not to return, nothing is
            measured, because each attempt would take as long as patience lasts.
    """
    if not CALLS.isdisjoint(without):
        return None
    for step, (_, rules) in STEPS.items():
        if set(rules) <= set(without):
            continue
        broken = play((Step(does=step),))
        if broken is not None:  # random steps find what is no matter of costs
            return broken if broken.rule in rules else None
    return None

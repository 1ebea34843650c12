"""What a scheduler costs on live queues, measured the same way each time, and its limits.

Each function makes queues of its own. `first_broken` calls them once before it takes random steps,
and `check_xqueues` once after that, because they are no matter of chance. All limits are of
processor time, counts or bytes, because other load of the machine changes the time that passes.
They leave room of a factor of ten for slow processors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from pytest_xsched.base.units import Duration
from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.scenario.workload import spin
from pytest_xsched.stress.steps import BrokenRule, Step

__all__ = [
    "STEPS",
    "CostOfCommands",
    "CostOfEvents",
    "cost_of_commands",
    "cost_of_events",
    "first_breach",
    "measure",
    "measure_events",
    "measure_memory",
]

SHARE_MOST = 0.2
"""The most processors that 200 events a second may take."""
RATE = 200
SOON_S = 0.1
"""How long suspend() and resume() may take."""
ATTEMPTS = 3
"""A limit is crossed if that many measurements cross it."""
QUEUES = 12
BURST, BURSTS = 2000, 3
PENDING = 500
KEPT_MOST, PENDING_MOST = 16, 4096
"""Bytes of a command that is complete, and of one that waits."""
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


def measure_events(live: XQueues) -> list[Breach]:
    """Measure events of one queue, of many queues, and at a high rate; return what is too much."""
    one = cost_of_events(live, 1, 30, "5ms")
    many = cost_of_events(live, QUEUES, 30, "5ms")
    fast = cost_of_events(live, QUEUES, 120, "1ms")
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


STEPS: dict[str, tuple[Callable[[XQueues], list[Breach]], tuple[str, ...]]] = {
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
        without: ids of rules that are not checked.
    """
    for step, (_, rules) in STEPS.items():
        if set(rules) <= set(without):
            continue
        broken = play((Step(does=step),))
        if broken is not None:  # random steps find what is no matter of costs
            return broken if broken.rule in rules else None
    return None

"""Steps on live XQueues as data, and a player that takes them and checks the rules behind each.

What is checked holds on every device and under every scheduler that keeps to its policy; where
time is virtual it is exact, because nothing goes on between two steps. `statemachine` draws them.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_xsched._running import Counts
from pytest_xsched.errors import QueueTimeout, WorkerCrashed, WorkerHung, XSchedError
from pytest_xsched.live import Ticket, XQueue, XQueues
from pytest_xsched.spelling import python_text
from pytest_xsched.workload import Workload, spin

RULES = {
    "nothing lost, nothing twice": "A queue counts what was submitted to it, and in the end "
    "launched and completed as much.",
    "order of counts": "completed <= launched <= submitted at every look, and none ever falls.",
    "in order": "Requests of a queue are launched, and complete, in the order of their submission.",
    "threshold": "Never more commands in flight than the largest threshold that the queue had "
    "(progressive command launching, XSched, OSDI'25, section 4).",
    "held launches nothing": "From suspend() to resume() a queue launches nothing.",
    "a fresh queue is fresh": "A new queue has counts of zero and the priority it was given.",
    "highest runs": "A ready queue of the highest priority launches what its threshold allows, and "
    "equals do alike (HPF of XSched); virtual time.",
    "lower waits": "Below a queue that was ready before, nothing is launched; virtual time.",
    "no call fails": "No call answers with an error.",
    "the process survives": "No call ends its process.",
    "returns": "Each call returns, and a wait for a queue that nobody holds. `wait returns`, "
    "`destroy returns`, ...; behind it stands `of a held queue` or `beside a held queue` if that "
    "queue, or another one, was held with work.",
}
"""What is checked, by name."""


_PLAIN = spin("1ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; of what follows `queue` each kind of step needs some.

    Attributes:
        does: the name of a method of XQueue, "create", "set_priority" or "sleep".
        queue: number of the queue, in order of creation.
        home: on which of the devices it is.
    """

    does: str
    queue: int = -1
    home: int = 0
    priority: int = 0
    depth: tuple[int, int] = (4, 2)
    workload: Workload = _PLAIN
    duration: str = "1ms"

    def __str__(self) -> str:
        """Write it as Python."""
        name = f"q{self.queue}"
        depth = f"threshold={self.depth[0]}, batch_size={self.depth[1]}"
        home = "xqueues" if not self.home else f"xqueues{self.home}"
        return {
            "create": f"{name} = {home}(priority={self.priority}, {depth})",
            "submit": f"{name}.submit({python_text(self.workload)})",
            "set_priority": f"{name}.priority = {self.priority}",
            "set_launch_config": f"{name}.set_launch_config({depth})",
            "sleep": f'xqueues.sleep("{self.duration}")',
        }.get(self.does, f"{name}.{self.does}()")


class BrokenRule(AssertionError):
    """A rule did not hold.

    Attributes:
        rule: its name.
        sentence: what was seen.
        steps: that led to it.
    """

    def __init__(self, rule: str, sentence: str, steps: Iterable[Step] = ()) -> None:
        self.rule = rule
        self.sentence = sentence
        self.steps = tuple(steps)
        super().__init__("\n".join([f"{rule}: {sentence}", *map(str, self.steps)]))


@dataclass(eq=False)
class Known:
    """What the player knows of a queue without asking it."""

    xq: XQueue
    home: int
    priority: int
    threshold: int
    held: bool = False
    submitted: int = 0
    tickets: list[Ticket] = field(default_factory=list)
    deepest: int = 0
    """The largest of its thresholds so far."""
    seen: Counts | None = None
    """Behind the last step."""

    def is_ready(self, counts: Counts) -> bool:
        return counts.completed < counts.submitted and not self.held

    @property
    def has_work(self) -> bool:
        return self.seen is None or self.seen.completed < self.submitted


class Player:
    """Takes steps, and raises BrokenRule where something does not hold.

    Args:
        homes: live XQueues, each on a device of its own.
        without: names of rules that are not looked at; steps that would break them are left out.
        patience: how long a wait may take.
        first: number of the first queue.
    """

    def __init__(
        self,
        homes: Sequence[XQueues],
        *,
        without: Collection[str] = (),
        patience: str = "10s",
        first: int = 0,
    ) -> None:
        self.homes = homes
        self.queues: dict[int, Known] = {}
        self.taken: list[Step] = []
        self._made = first
        self._without = without
        self._patience = patience
        self._news: set[Known] = set()

    # ---- taking steps

    def take(self, step: Step) -> None:
        """Take a step, unless there is no such queue, and look at everything."""
        if step.does == "create":
            if step.queue < 0:
                step = dataclasses.replace(step, queue=self._made)
            self._made = step.queue + 1
        elif step.does != "sleep" and step.queue not in self.queues:
            return
        name = f"{step.does} returns{self._circumstance(step)}"
        if name in self._without:
            return
        self.taken.append(step)
        with self._watched(name):
            getattr(self, f"_{step.does}")(step)
            self._look()

    def finish(self) -> None:
        """Let everybody go on, wait for all that was submitted, and destroy the queues."""
        for number, known in self.queues.items():
            if known.held:
                self.take(Step(does="resume", queue=number))
        for number, known in self.queues.items():
            if known.has_work:
                self.take(Step(does="wait", queue=number))
        with self._watched("wait returns"):
            for known in self.queues.values():
                if not known.has_work:
                    self._check_end(known)
        for number in list(self.queues):
            self.take(Step(does="destroy", queue=number))

    def _circumstance(self, step: Step) -> str:
        """Say who is held with work: the step's own queue, or another."""
        held = [n for n, known in self.queues.items() if known.held and known.has_work]
        if step.does in ("sleep", "create") or not held:
            return ""
        return " of a held queue" if step.queue in held else " beside a held queue"

    @contextlib.contextmanager
    def _watched(self, name: str) -> Iterator[None]:
        try:
            yield
        except BrokenRule as broken:
            raise self._broken(broken.rule, broken.sentence) from None
        except (QueueTimeout, WorkerHung) as error:
            raise self._broken(name, str(error)) from error
        except WorkerCrashed as error:
            raise self._broken("the process survives", str(error)) from error
        except XSchedError as error:
            raise self._broken("no call fails", str(error)) from error

    def _broken(self, rule: str, sentence: str) -> BrokenRule:
        return BrokenRule(rule, sentence, self.taken)

    def _check(self, rule: str, holds: bool, sentence: str) -> None:
        if not holds and rule not in self._without:
            raise BrokenRule(rule, sentence)

    # ---- the steps

    def _create(self, step: Step) -> None:
        threshold, batch_size = step.depth
        xq = self.homes[step.home](
            priority=step.priority, threshold=threshold, batch_size=batch_size
        )
        c = xq.counts
        used = c.submitted or c.launched or c.completed or c.suspended or c.most_in_flight
        self._check(
            "a fresh queue is fresh", not used and c.priority == step.priority, f"{xq.name}: {c}"
        )
        self.queues[step.queue] = Known(xq, step.home, step.priority, threshold, deepest=threshold)

    def _submit(self, step: Step) -> None:
        known = self.queues[step.queue]
        known.tickets.append(known.xq.submit(step.workload))
        known.submitted += len(step.workload.commands)

    def _suspend(self, step: Step) -> None:
        known = self.queues[step.queue]
        known.xq.suspend()
        known.held = True
        known.seen = known.xq.counts

    def _resume(self, step: Step) -> None:
        known = self.queues[step.queue]
        known.held = False
        known.xq.resume()
        self._news.add(known)

    def _set_priority(self, step: Step) -> None:
        known = self.queues[step.queue]
        known.xq.priority = known.priority = step.priority
        self._news.add(known)
        seen = known.xq.priority
        self._check("no call fails", seen == step.priority, f"{known.xq.name}: priority {seen}")

    def _set_launch_config(self, step: Step) -> None:
        known = self.queues[step.queue]
        known.threshold, batch_size = step.depth
        known.deepest = max(known.deepest, known.threshold)
        known.xq.set_launch_config(threshold=known.threshold, batch_size=batch_size)

    def _wait(self, step: Step) -> None:
        known = self.queues[step.queue]
        if not known.held:
            known.xq.wait(self._patience)
            done = known.xq.counts.completed
            self._check(
                "nothing lost, nothing twice",
                done == known.submitted,
                f"{known.xq.name}: {done} of {known.submitted} commands completed behind a wait",
            )
        elif known.xq.counts.completed < known.submitted:
            self._wait_in_vain(known)

    def _wait_in_vain(self, known: Known) -> None:
        """What is held may end by itself, if all of it is in flight."""
        launched = known.xq.counts.launched
        try:
            known.xq.wait("20ms")
        except QueueTimeout:
            return
        self._check(
            "held launches nothing",
            launched == known.submitted,
            f"{known.xq.name} completed what it had not launched when it was held",
        )

    def _destroy(self, step: Step) -> None:
        self.queues[step.queue].xq.destroy()
        del self.queues[step.queue]

    def _sleep(self, step: Step) -> None:
        for home in self.homes:
            home.sleep(step.duration)

    # ---- what holds behind each of them

    def _look(self) -> None:
        now = {known: known.xq.counts for known in self.queues.values()}
        for known, c in now.items():
            self._check_counts(known, c)
        for number, home in enumerate(self.homes):
            if home.is_virtual:
                self._check_virtual({k: c for k, c in now.items() if k.home == number})
        for known, c in now.items():
            known.seen = c
        self._news.clear()

    def _check_counts(self, known: Known, c: Counts) -> None:
        name = known.xq.name
        counted = (c.submitted, c.requests_submitted, c.failed)
        given = (known.submitted, len(known.tickets), 0)
        self._check(
            "nothing lost, nothing twice",
            counted == given,
            f"{name}: submitted commands, requests and failures are {counted}, not {given}",
        )
        self._check(
            "order of counts",
            c.completed <= c.launched <= c.submitted
            and (known.seen is None or c.completed >= known.seen.completed),
            f"{name}: {c.submitted} submitted, {c.launched} launched, {c.completed} completed",
        )
        self._check(
            "threshold",
            c.most_in_flight <= known.deepest,
            f"{name}: {c.most_in_flight} in flight, threshold {known.deepest}",
        )
        if known.held and known.seen is not None:
            self._check(
                "held launches nothing",
                c.state == "suspended" and c.launched == known.seen.launched,
                f"{name} is {c.state} and launched {c.launched - known.seen.launched} commands",
            )

    def _check_virtual(self, now: dict[Known, Counts]) -> None:
        """Where nothing goes on between steps: the policy, and who works while there is work."""
        ready = [known for known, c in now.items() if known.is_ready(c)]
        top = max((known.priority for known in ready), default=None)
        for known in ready:
            c = now[known]
            if known.priority == top:
                full = c.launched - c.completed >= known.threshold
                self._check(
                    "highest runs",
                    c.state == "ready" and (full or c.launched == c.submitted),
                    f"{known.xq.name} may launch, and does not: {c}",
                )
        for known, c in now.items():
            for higher in ready:
                if known.seen is None or known in self._news or higher in self._news:
                    continue
                was_ready = higher.seen is not None and higher.is_ready(higher.seen)
                if higher.priority > known.priority and was_ready:
                    self._check(
                        "lower waits",
                        c.launched == known.seen.launched,
                        f"{known.xq.name} launched below {higher.xq.name}",
                    )

    def _check_end(self, known: Known) -> None:
        c, name = known.xq.counts, known.xq.name
        all_of = c.submitted == c.launched == c.completed == known.submitted
        self._check(
            "nothing lost, nothing twice",
            all_of and c.requests_completed == len(known.tickets),
            f"{name} in the end: {c.submitted} commands submitted, {c.launched} launched, "
            f"{c.completed} completed; {c.requests_completed} of {len(known.tickets)} requests",
        )
        times = [(ticket.launched_ns, ticket.completed_ns) for ticket in known.tickets]
        ends = [end for _, end in times]
        self._check(
            "in order",
            times == sorted(times)
            and ends == sorted(ends)
            and all(begin <= end for begin, end in times),
            f"{name}: its requests were launched and completed at {times} ns",
        )

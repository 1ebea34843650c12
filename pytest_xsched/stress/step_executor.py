"""Takes steps on live XQueues and checks the rules behind each.

What is checked holds on every device and under every scheduler that keeps to its policy; where
time is virtual it is exact, because nothing goes on between two steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_xsched.errors import QueueTimeout, WorkerCrashed, WorkerHung, XSchedError
from pytest_xsched.native.run import Counts
from pytest_xsched.runner.live_queues import Ticket, XQueue, XQueues
from pytest_xsched.scenario.workload import Workload, spin
from pytest_xsched.stress.steps import IDLE, BrokenRule, Step

_SHORT, _SHARED = spin("100us", layers=5), spin("200us", layers=24)


_ASKS = {"idle": "idle burns nothing", "share": "equals share", "switch_off": "off means off"}
"""Steps that are there for one rule."""


@dataclass(eq=False)
class Known:
    """What the player knows of a queue without asking it."""

    xq: XQueue
    home: int
    priority: int
    threshold: int
    held: bool = False
    submitted: int = 0
    pending: bool = False
    """Whether something was submitted since it was waited for. What is decided by this, and by
    nothing that a clock decides, is the same whenever the steps are the same."""
    tickets: list[Ticket] = field(default_factory=list)
    deepest: int = 0
    """The largest of its thresholds so far."""
    widest: int = 0
    """The largest of its batch sizes so far."""
    seen: Counts | None = None
    """Behind the last step."""

    def is_ready(self, counts: Counts) -> bool:
        return counts.completed < counts.submitted and not self.held


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
        self._off: set[int] = set()  # homes

    # ---- taking steps

    def take(self, step: Step) -> None:
        """Take a step, unless there is no such queue, and look at everything."""
        if step.does == "create":
            if step.queue < 0:
                step = dataclasses.replace(step, queue=self._made)
            self._made = step.queue + 1
        elif not self._can(step):
            return
        name = f"{step.does} returns{self._circumstance(step)}"
        if name in self._without or _ASKS.get(step.does) in self._without:
            return
        self.taken.append(step)
        with self._watched(name):
            getattr(self, f"_{step.does}")(step)
            self._look()

    def _can(self, step: Step) -> bool:
        if step.does in ("sleep", "switch_off"):
            return True
        if step.does == "idle":
            return not any(known.pending for known in self.queues.values())
        return step.queue in self.queues and (step.does != "share" or bool(self._equal(step)))

    def finish(self) -> None:
        """Let everybody go on, wait for all that was submitted, and destroy the queues."""
        for number, known in self.queues.items():
            if known.held:
                self.take(Step(does="resume", queue=number))
        for number, known in self.queues.items():
            if known.pending:
                self.take(Step(does="wait", queue=number))
        with self._watched("wait returns"):
            for known in self.queues.values():
                if not known.pending:
                    self._check_end(known)
        for number in list(self.queues):
            self.take(Step(does="destroy", queue=number))

    def _circumstance(self, step: Step) -> str:
        """Say who is held with work: the step's own queue, or another."""
        held = [n for n, known in self.queues.items() if known.held and known.pending]
        if step.queue < 0 or step.does == "create" or not held:
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
        known = Known(xq, step.home, step.priority, threshold)
        known.deepest, known.widest = threshold, batch_size
        self.queues[step.queue] = known

    def _submit(self, step: Step) -> None:
        self._give(self.queues[step.queue], step.workload)

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
        known.widest = max(known.widest, batch_size)
        known.xq.set_launch_config(threshold=known.threshold, batch_size=batch_size)

    def _wait(self, step: Step) -> None:
        known = self.queues[step.queue]
        if not known.held:
            known.xq.wait(self._patience)
            known.pending = False
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

    def _idle(self, _step: Step) -> None:
        for home in self.homes:
            if home.is_virtual:
                continue
            begin, used = home.now.ns, home.processor_time.ns
            home.sleep(IDLE)
            used, passed = home.processor_time.ns - used, home.now.ns - begin
            self._check("idle burns nothing", used < passed / 2, f"{used} ns of {passed} ns")

    def _switch_off(self, step: Step) -> None:
        self.homes[step.home].switch_off()
        self._off.add(step.home)
        for known in self.queues.values():
            if known.home == step.home and not known.held and not self.homes[step.home].is_virtual:
                try:
                    known.xq.wait(self._patience)
                    known.pending = False
                except QueueTimeout as error:
                    raise BrokenRule("off means off", str(error)) from error

    def _equal(self, step: Step) -> Known | None:
        """Give a queue that is to share with another: nobody is above them, and nobody held."""
        one = self.queues[step.queue]
        here = [known for known in self.queues.values() if known.home == one.home]
        if any(known.held or (known.pending and known.priority > one.priority) for known in here):
            return None
        return next((k for k in here if k is not one and k.priority == one.priority), None)

    def _share(self, step: Step) -> None:
        """Keep a queue at work until another one has made progress, or the device has its work."""
        one, other = self.queues[step.queue], self._equal(step)
        assert other is not None
        self._give(one, _SHORT)
        self._give(other, _SHARED)
        before, rounds, begin_s = other.xq.counts.launched, 0, time.monotonic()
        while (c := other.xq.counts).launched == before and c.launched == c.completed:
            self._give(one, _SHORT)  # before the last one ends, so that it never idles
            one.tickets[-2].wait(self._patience)
            rounds += 1
            # As many as no chance explains, on a machine that is as busy as it likes.
            if rounds > 200 and (time.monotonic() - begin_s > 2 or self.homes[0].is_virtual):
                self._check("equals share", False, f"{other.xq.name} waits for {one.xq.name}")
                return

    def _give(self, known: Known, workload: Workload) -> None:
        known.tickets.append(known.xq.submit(workload))
        known.submitted += len(workload.commands)
        known.pending = True

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
        off = bool(ready) and ready[0].home in self._off
        for known in ready:
            c = now[known]
            if known.priority == top or off:
                full = c.launched - c.completed >= known.threshold
                self._check(
                    "off means off" if off else "highest runs",
                    c.state == "ready" and (full or c.launched == c.submitted),
                    f"{known.xq.name} may launch, and does not: {c}",
                )
        self._check_shares(now, ready)
        for known, c in now.items():
            for higher in () if off else ready:
                if known.seen is None or known in self._news or higher in self._news:
                    continue
                was_ready = higher.seen is not None and higher.is_ready(higher.seen)
                if higher.priority > known.priority and was_ready:
                    self._check(
                        "lower waits",
                        c.launched == known.seen.launched,
                        f"{known.xq.name} launched below {higher.xq.name}",
                    )

    def _check_shares(self, now: dict[Known, Counts], ready: list[Known]) -> None:
        """Let commands of one wait for no more of another, while both are the highest.

        The device is first come first served, so what comes before a command is what was in flight
        when it was launched, or one more that was on its way; the rest is what marks hide.
        """
        if self.taken[-1].does not in ("sleep", "wait"):
            return
        before = [k for k in now if k.seen is not None and k.is_ready(k.seen)]
        top = max((known.priority for known in before), default=None)
        equals = [known for known in before if known.priority == top]
        for one, other in itertools.permutations(equals, 2):
            if other not in ready:
                continue
            assert one.seen is not None and other.seen is not None
            did = now[one].completed - one.seen.completed
            mine = now[other].completed - other.seen.completed
            most = (one.deepest + 1) * (mine + other.widest + 1) + one.widest
            self._check(
                "equals share", did <= most, f"{one.xq.name}: {did}, {other.xq.name}: {mine}"
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

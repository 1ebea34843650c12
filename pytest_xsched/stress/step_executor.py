"""Execute steps on live XQueues, and check the live rules of `rules` after each step.

The checks hold on every device and under every scheduler that keeps to hpf. In virtual time they
are exact, because nothing happens between two steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from pytest_xsched.base.units import Duration, parse_duration
from pytest_xsched.errors import QueueTimeout, WorkerCrashed, WorkerHung, XSchedError
from pytest_xsched.native.run import Counts
from pytest_xsched.runner.live_queues import PENDING_MAX, Ticket, XQueues
from pytest_xsched.scenario.workload import Workload, spin
from pytest_xsched.stress import contests, costs, dependencies, overlap
from pytest_xsched.stress.background_load import (
    WINDOW,
    WINDOWS,
    is_always_ready,
    outranked,
    starves,
    took_over,
)
from pytest_xsched.stress.competition import rank, rule_of
from pytest_xsched.stress.queue_state import QueueState
from pytest_xsched.stress.steps import IDLE, BrokenRule, Step

__all__ = ["StepExecutor"]

_SHORT, _SHARED = spin("100us", layers=5), spin("200us", layers=24)

_RULE_OF_STEP = {
    "idle": "idle burns nothing",
    "share": "equals run together",
    "divide": "time by weight",
    "apart": "devices are apart",
    "change_policy": "a new policy decides",
    "switch_off": "off means off",
}
"""Steps that serve one rule only."""

_CALL_OF_STEP = dict.fromkeys(("compete", "divide", "apart", "change_policy", "follow"), "wait")
"""Steps that consist of other calls: the one that may not return."""


class StepExecutor:
    """Executes steps, and raises BrokenRule if a rule does not hold.

    Args:
        devices: live XQueues, one for each device.
        without: ids of rules that are not checked; steps that would break them are left out.
        patience: how long a wait may take, beyond the work of the device.
        first: number of the first queue.
    """

    def __init__(
        self,
        devices: Sequence[XQueues],
        *,
        without: Collection[str] = (),
        patience: str = "10s",
        first: int = 0,
    ) -> None:
        self.devices = devices
        self.queues: dict[int, QueueState] = {}
        self.executed: list[Step] = []
        self._made = first
        self.without = without
        self.patience = Duration(parse_duration(patience, what="patience"))
        self.changed: set[QueueState] = set()
        """Queues that were resumed or got a new priority in the last step."""
        self._off: set[int] = set()  # devices without a scheduler
        self.shown: set[str] = set()
        """Ids of the rules that a step checked."""
        self._work_ns = [0] * len(devices)  # what all work that was submitted takes alone

    # ---- executing steps

    def execute(self, step: Step) -> None:
        """Execute a step and check everything; do nothing if there is no such queue."""
        if step.does == "create":
            if step.queue < 0:
                step = dataclasses.replace(step, queue=self._made)
            self._made = step.queue + 1
        elif step.does == "together":
            step = dataclasses.replace(step, steps=overlap.possible(self, step.steps))
            if len(step.steps) < 2:
                return
        elif not self.can(step):
            return
        name = f"{_CALL_OF_STEP.get(step.does, step.does)} returns{self.circumstance(step)}"
        if name in self.without or self._rule_of(step) in self.without:
            return
        self.executed.append(step)
        if step.does not in dependencies.CALM_STEPS:
            for wait in itertools.chain(*(state.waits for state in self.queues.values())):
                wait.calm = False
        self.shown |= {"no call fails", "the process survives", "returns"}
        with self._watched(name):
            if step.does in costs.STEPS:
                self.shown.update(costs.STEPS[step.does][1])
                costs.measure(step.does, self.devices[step.device], self.without)
            else:
                getattr(self, f"_{step.does}")(step)
            self._check_all()

    def _rule_of(self, step: Step) -> str | None:
        """Return the rule that a step serves, if it serves one only."""
        if step.does == "compete":
            return rule_of(self.devices[self.queues[step.queue].device].policy)
        return _RULE_OF_STEP.get(step.does)

    def can(self, step: Step) -> bool:
        """Return whether a step makes sense now: its queue exists, and is as the step needs it."""
        if step.does in ("sleep", "switch_off", "clear"):
            return True
        if step.does == "switch_on":
            return step.device in self._off
        if step.does in costs.STEPS:
            return not self.devices[step.device].is_virtual
        if step.does == "unload":
            return step.queue in self.queues and self.queues[step.queue].load is not None
        if step.does == "idle":
            return not any(state.pending for state in self.queues.values())
        if step.queue not in self.queues or not dependencies.fits(step, self.queues):
            return False
        if step.after >= 0 and "no circular wait" in self.without:
            return False
        needed: dict[str, Callable[[Step], object]] = {
            "share": self._equal,
            "compete": functools.partial(contests.below, self),
            "divide": functools.partial(contests.smaller, self),
            "change_policy": functools.partial(contests.below, self),
            "apart": functools.partial(contests.above_elsewhere, self),
            "follow": functools.partial(contests.sources, self),
        }
        return step.does not in needed or bool(needed[step.does](step))

    def finish(self) -> None:
        """End all loads, resume and destroy all queues after their work."""
        for number, state in self.queues.items():
            if state.load is not None:
                self.execute(Step(does="unload", queue=number))
        for number, state in self.queues.items():
            if state.held:
                self.execute(Step(does="resume", queue=number))
        for number, state in self.queues.items():
            if state.pending:
                self.execute(Step(does="wait", queue=number))
        with self._watched("wait returns"):
            for state in self.queues.values():
                if not state.pending:
                    self._check_end(state)
        for number in list(self.queues):
            self.execute(Step(does="destroy", queue=number))

    def circumstance(self, step: Step, others: Sequence[Step] = ()) -> str:
        """Return what may keep the step's queue from running, as words.

        It is held with work, another one is, or it is below a load. `others` happen together.
        """
        fed = {other.queue for other in others if other.does in ("submit", "load")}
        held = [n for n, one in self.queues.items() if one.held and (one.pending or n in fed)]
        held += [other.queue for other in others if other.does == "suspend"]
        if step.queue < 0 or step.does == "create":
            return ""
        if held:
            return " of a held queue" if step.queue in held else " next to a held queue"
        return " below a load" if self.may_starve(self.queues[step.queue], others) else ""

    def may_starve(self, state: QueueState, others: Sequence[Step] = ()) -> bool:
        """Check whether a load, also one that starts now, may keep a queue from running."""
        if any(other.does in ("load", "set_priority") for other in others):
            return True
        by_priority = "highest first" not in self.without
        return state.device not in self._off and starves(
            state, self.queues.values(), by_priority=by_priority
        )

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
        return BrokenRule(rule, sentence, self.executed)

    def check(self, rule: str, holds: bool, sentence: str) -> None:
        """Raise BrokenRule if a rule that is checked does not hold."""
        self.shown.add(rule)
        if not holds and rule not in self.without:
            raise BrokenRule(rule, sentence)

    # ---- the steps

    def _create(self, step: Step) -> None:
        threshold, batch_size = step.depth
        xq = self.devices[step.device](
            priority=step.priority,
            threshold=threshold,
            batch_size=batch_size,
            device=step.on,
            launch=step.launch or None,
            **step.hints,
        )
        c = xq.counts
        used = c.submitted or c.launched or c.completed or c.suspended or c.most_in_flight
        self.check(
            "a fresh queue is fresh",
            not used and c.priority == (step.priority or 0),
            f"{xq.name}: {c}",
        )
        state = QueueState(xq, step.device, step.on, step.priority or 0, threshold)
        state.deepest, state.widest = threshold, batch_size
        if step.launch:
            state.launch_ns = parse_duration(step.launch, what="launch")
        for hint in step.hints:
            state.note_change(dataclasses.replace(step, does=f"set_{hint}"))
        self.queues[step.queue] = state

    def _submit(self, step: Step) -> None:
        state, source = self.queues[step.queue], self.queues.get(step.after)
        if source is None:
            self.submit_to(state, step.workload)
        else:
            self.submit_after(state, step.workload, source)

    def submit_after(self, state: QueueState, workload: Workload, source: QueueState) -> None:
        """Submit a request that starts after the last one of another queue."""
        before, other = state.xq.counts.submitted, source.tickets[-1]
        self.submit_to(state, workload, other)
        here = [k for k in self.queues.values() if k.device == state.device]
        calm = not any(k.held or k.load for k in here)
        state.waits.append(dependencies.wait_of(state, before, source, other, calm=calm))

    def _load(self, step: Step) -> None:
        state = self.queues[step.queue]
        state.xq.load(step.workload, every=step.every or None)
        state.note_change(step)
        self._work_ns[state.device] += 2 * state.work_ns(step.workload)  # left at its end

    def _unload(self, step: Step) -> None:
        state = self.queues[step.queue]
        state.xq.unload()
        state.note_change(step)

    def _suspend(self, step: Step) -> None:
        state = self.queues[step.queue]
        self._return_soon(state, state.xq.suspend, state.xq.resume)
        state.note_change(step)
        state.seen = state.xq.counts

    def _resume(self, step: Step) -> None:
        state = self.queues[step.queue]
        state.note_change(step)
        self._return_soon(state, state.xq.resume, state.xq.suspend)
        self.changed.add(state)

    def _return_soon(
        self, state: QueueState, call: Callable[[], Duration], undo: Callable[[], Duration]
    ) -> None:
        """Call something that must return soon; one that is late gets more attempts.

        In these, the time that threads had to wait for a processor does not count.
        """
        live, took = self.devices[state.device], [call()]
        while min(took) > costs.SOON and len(took) < costs.ATTEMPTS:
            undo()
            before = live.run_delay
            took.append(call() - (live.run_delay - before))  # of all threads: may be negative
        self.check(
            "suspend returns soon",
            min(took) <= costs.SOON,
            f"{state.xq.name}: {self.executed[-1].does}() took {min(took)}, the least of "
            f"{len(took)} attempts",
        )

    def _set_priority(self, step: Step) -> None:
        state = self.queues[step.queue]
        assert step.priority is not None
        state.xq.priority = step.priority
        state.note_change(step)
        self.changed.add(state)
        seen = state.xq.priority
        self.check("no call fails", seen == step.priority, f"{state.xq.name}: priority {seen}")

    def _set_hint(self, step: Step) -> None:
        state, hint = self.queues[step.queue], step.does.removeprefix("set_")
        setattr(state.xq, hint, step.hints.get(hint))
        state.note_change(step)

    _set_deadline = _set_laxity = _set_utilization = _set_hint

    def _set_launch_config(self, step: Step) -> None:
        state = self.queues[step.queue]
        state.note_change(step)
        threshold, batch_size = step.depth
        state.xq.set_launch_config(threshold=threshold, batch_size=batch_size)

    def _together(self, step: Step) -> None:
        overlap.execute(self, step)

    def _compete(self, step: Step) -> None:
        contests.execute(self, step)

    _divide = _apart = _change_policy = _follow = _compete

    def _wait(self, step: Step) -> None:
        state = self.queues[step.queue]
        if state.held:
            if state.xq.counts.completed < state.all_submitted():
                self._wait_in_vain(state)
            return
        if self.may_starve(state) or dependencies.blocks(state, self._stops):
            with contextlib.suppress(QueueTimeout):
                state.xq.wait(overlap.VAIN)
            return
        self.wait_for(state)
        c, submitted = state.xq.counts, state.all_submitted()
        if state.load is not None:  # the wait was for the last request that was submitted
            last = state.tickets[-1].number if state.tickets else -1
            self.check(
                "nothing lost, nothing twice",
                c.requests_completed > last,
                f"{state.xq.name}: after a wait for request {last}, {c.requests_completed} "
                "requests are complete",
            )
            return
        state.pending = False
        self.check(
            "nothing lost, nothing twice",
            c.completed == submitted,
            f"{state.xq.name}: {c.completed} of {submitted} commands completed after a wait",
        )

    def _stops(self, state: QueueState) -> bool:
        """Return whether a queue may get nothing, by the steps."""
        return state.held or self.may_starve(state)

    def wait_for(self, state: QueueState) -> None:
        """Wait for all requests of a queue, and check those that start after others."""
        try:
            state.xq.wait(self.limit(state))
        except QueueTimeout as error:
            sentence = dependencies.unfinished(state)
            if not sentence or any(k.held or k.load for k in self.queues.values()):
                raise
            raise BrokenRule("no circular wait", f"{sentence}: {error}") from error
        state.pending = state.load is not None
        virtual = self.devices[state.device].is_virtual
        for found in dependencies.breaches(state, self._work_ns[state.device], virtual=virtual):
            self.check(*found)
        state.waits.clear()

    def limit(self, state: QueueState) -> Duration:
        """Return how long a wait for a queue may take."""
        return self.patience + state.work_left(self.next_to(state))

    def _wait_in_vain(self, state: QueueState) -> None:
        """Wait for a held queue: it may end by itself only if all of its work is in flight."""
        launched = state.xq.counts.launched
        try:
            state.xq.wait(overlap.VAIN)
        except QueueTimeout:
            return
        self.check(
            "held launches nothing",
            launched >= state.submitted,
            f"{state.xq.name} completed commands that it had not launched when it was held",
        )

    def _destroy(self, step: Step) -> None:
        state = self.queues[step.queue]
        state.xq.destroy(state.work_left(self.next_to(state)))
        self.queues.pop(step.queue).gone = True

    def _sleep(self, step: Step) -> None:
        for number, live in enumerate(self.devices):
            found = None if step.duration != WINDOW else self._outranked(number)
            if found is None or live.is_virtual:
                live.sleep(step.duration)
            else:
                self._watch_the_highest(live, *found)

    def _outranked(self, device: int) -> tuple[QueueState, list[QueueState]] | None:
        if device in self._off:
            return None
        return outranked([state for state in self.queues.values() if state.device == device])

    def has_outranked(self) -> bool:
        """Check whether a queue has work below a queue that always has some."""
        return any(
            self._outranked(number) is not None
            for number, live in enumerate(self.devices)
            if not live.is_virtual
        )

    def _watch_the_highest(self, live: XQueues, top: QueueState, lower: list[QueueState]) -> None:
        """Sleep, repeatedly while a queue gets more than a higher one leaves."""
        states = (top, *lower)
        for _ in range(WINDOWS):
            before = {state: state.xq.counts for state in states}
            live.sleep(WINDOW)
            now = {state: state.xq.counts for state in states}
            bad = took_over(top, lower, before, now)
            self.shown.add("highest first")
            if bad is None:
                return
            did, mine = (now[state].launched - before[state].launched for state in (bad, top))
            sentence = (
                f"in {WINDOW}, {bad.xq.name} launched {did} commands below {top.xq.name}, which "
                f"always had work and launched {mine}"
            )
        self.check("highest first", False, sentence)

    def _idle(self, _step: Step) -> None:
        for live in self.devices:
            if live.is_virtual:
                continue
            begin, used = live.now.ns, live.processor_time.ns
            live.sleep(IDLE)
            used, passed = live.processor_time.ns - used, live.now.ns - begin
            self.check("idle burns nothing", used < passed / 2, f"{used} ns of {passed} ns")

    def _switch_off(self, step: Step) -> None:
        self.devices[step.device].switch_off()
        self._off.add(step.device)
        for state in self.queues.values():
            if (
                state.device == step.device
                and not state.held
                and not dependencies.blocks(state, self._stops)
                and not self.devices[step.device].is_virtual
            ):
                self.shown.add("off means off")
                try:
                    self.wait_for(state)
                except QueueTimeout as error:
                    raise BrokenRule("off means off", str(error)) from error

    def _switch_on(self, step: Step) -> None:
        live = self.devices[step.device]
        live.switch_on()
        self._off.discard(step.device)
        self.changed.update(self.queues.values())
        if not live.is_virtual and (found := self._outranked(step.device)) is not None:
            self._watch_the_highest(live, *found)

    @property
    def off(self) -> tuple[int, ...]:
        """The devices whose scheduler is switched off."""
        return tuple(sorted(self._off))

    def _clear(self, _step: Step) -> None:
        for live in self.devices:
            live.clear()
        self.queues.clear()
        self._off.clear()

    def _equal(self, step: Step) -> QueueState | None:
        """Return a queue of equal rank, unless a queue is held or a higher one has work."""
        one = self.queues[step.queue]
        ranks = {k: rank(k, self.devices[k.device].policy) for k in self.next_to(one)}
        if any(k.held or k.waits or (k.pending and ranks[k] > ranks[one]) for k in ranks):
            return None
        return next((k for k in ranks if k is not one and ranks[k] == ranks[one]), None)

    def _share(self, step: Step) -> None:
        """Keep a queue at work until another one makes progress or has its work on the device."""
        one, other = self.queues[step.queue], self._equal(step)
        assert other is not None
        self.shown.add("equals run together")
        before = other.xq.counts.launched  # after the submission, all may be launched already
        self.submit_to(one, _SHORT)
        self.submit_to(other, _SHARED)
        rounds, begin_s = 0, time.monotonic()
        while (c := other.xq.counts).launched == before and c.launched == c.completed:
            self.submit_to(one, _SHORT)  # before the last one ends, so that it never idles
            one.tickets[-2].wait(self.limit(one))
            rounds += 1
            # This many rounds are no chance, even on a busy machine.
            if rounds > 200 and (time.monotonic() - begin_s > 2 or self.devices[0].is_virtual):
                self.check("equals run together", False, f"{other.xq.name} waits for {one.xq.name}")
                return

    def next_to(self, one: QueueState) -> list[QueueState]:
        """Return the queues of a queue's device, itself included."""
        place = (one.device, one.on)
        return [state for state in self.queues.values() if (state.device, state.on) == place]

    def drain(self, states: Collection[QueueState]) -> None:
        """Wait until some queues have no work."""
        for state in states:
            try:
                self.wait_for(state)
            except QueueTimeout as error:
                raise BrokenRule("wait returns", str(error)) from error

    def submit_to(self, state: QueueState, workload: Workload, after: Ticket | None = None) -> None:
        """Submit one request."""
        self.note_submitted(state, workload, [state.xq.submit(workload, after=after)])

    def submit_times(self, state: QueueState, workload: Workload, times: int) -> list[Ticket]:
        """Submit some requests at once, and return their tickets."""
        tickets = state.xq.submit_times(workload, times)
        self.note_submitted(state, workload, tickets)
        return tickets

    def note_submitted(
        self, state: QueueState, workload: Workload, tickets: Sequence[Ticket]
    ) -> None:
        """Note requests that were submitted, so that their work is known."""
        self._work_ns[state.device] += len(tickets) * state.work_ns(workload)
        state.tickets += tickets
        state.submitted += len(tickets) * len(workload.commands)
        state.note(workload)

    # ---- checks after each step

    def _check_all(self) -> None:
        now = {state: state.xq.counts for state in self.queues.values()}
        for state, c in now.items():
            state.limit = dependencies.limit(state, now)
            self._check_counts(state, c)
        for number, live in enumerate(self.devices):
            if live.is_virtual:
                self._check_virtual({k: c for k, c in now.items() if k.device == number})
        for state, c in now.items():
            state.seen = c
            state.was_ready = state.is_ready(c) and not state.waits
        self.changed.clear()

    def _check_counts(self, state: QueueState, c: Counts) -> None:
        name = state.xq.name
        commands = c.submitted - c.background_commands
        counted = (commands, c.requests_submitted - c.background_requests, c.failed)
        given = (state.submitted, len(state.tickets), 0)
        self.check(
            "nothing lost, nothing twice",
            counted == given,
            f"{name}: submitted commands, requests and failures are {counted}, not {given}",
        )
        self.check(
            "order of counts",
            c.completed <= c.launched <= c.submitted
            and (state.seen is None or c.completed >= state.seen.completed),
            f"{name}: {c.submitted} submitted, {c.launched} launched, {c.completed} completed",
        )
        self.check(
            "threshold",
            c.most_in_flight <= state.deepest,
            f"{name}: {c.most_in_flight} in flight, threshold {state.deepest}",
        )
        if state.held and state.seen is not None:
            self.check(
                "held launches nothing",
                c.state == "suspended" and c.launched == state.seen.launched,
                f"{name} is {c.state} and launched {c.launched - state.seen.launched} commands",
            )

    def _check_virtual(self, now: dict[QueueState, Counts]) -> None:
        """Check the policy in virtual time: which queues launch, and which wait."""
        ready = [state for state, c in now.items() if state.is_ready(c)]
        top = max((state.priority for state in ready), default=None)
        off = bool(ready) and ready[0].device in self._off
        for state in ready:
            c = now[state]
            if state.priority == top or off:
                full = c.launched - c.completed >= state.threshold
                self.check(
                    "off means off" if off else "highest runs",
                    c.state == "ready" and (full or c.launched == state.limit),
                    f"{state.xq.name} may launch but does not: {c}",
                )
        self._check_shares(now, ready)
        for state, c in now.items():
            for higher in () if off else ready:
                if state.seen is None or state in self.changed or higher in self.changed:
                    continue
                if higher.load is not None and not is_always_ready(higher):
                    continue
                if higher.priority > state.priority and higher.was_ready:
                    self.check(
                        "highest first",
                        c.launched == state.seen.launched,
                        f"{state.xq.name} launched below {higher.xq.name}",
                    )

    def _check_shares(self, now: dict[QueueState, Counts], ready: list[QueueState]) -> None:
        """Check that a command waits for no more of another queue than its threshold allows.

        Both queues have the highest priority. The device serves commands in their order, so only
        those run before a command that were in flight when it was launched, or on their way. The
        rest of the limit is for completions that marks do not show yet.
        """
        if self.executed[-1].does not in ("sleep", "wait"):
            return
        if any(state.load is not None and state.load.every for state in now):
            return  # a queue may have been idle meanwhile
        before = [k for k in now if k.seen is not None and k.was_ready and not k.launch_ns]
        top = max((state.priority for state in before), default=None)
        equals = [state for state in before if state.priority == top]
        for one, other in itertools.permutations(equals, 2):
            if other not in ready:
                continue
            assert one.seen is not None and other.seen is not None
            did = now[one].completed - one.seen.completed
            mine = now[other].completed - other.seen.completed
            most = (one.deepest + 1) * (mine + other.widest + 1) + one.widest
            self.check(
                "equals run together", did <= most, f"{one.xq.name}: {did}, {other.xq.name}: {mine}"
            )

    def _check_end(self, state: QueueState) -> None:
        c, name = state.xq.counts, state.xq.name
        all_of = c.submitted == c.launched == c.completed
        self.check(
            "nothing lost, nothing twice",
            all_of
            and c.submitted == state.submitted + c.background_commands
            and c.requests_completed == len(state.tickets) + c.background_requests,
            f"{name} in the end: {c.submitted} commands submitted, {c.launched} launched, "
            f"{c.completed} completed; {c.requests_completed} requests completed, "
            f"{len(state.tickets)} were submitted and {c.background_requests} came from a load",
        )
        first = c.requests_submitted - PENDING_MAX  # the times of older ones are gone
        tickets = [ticket for ticket in state.tickets if ticket.number >= first]
        times = [(ticket.launched_ns, ticket.completed_ns) for ticket in tickets]
        ends = [end for _, end in times]
        self.check(
            "in order",
            times == sorted(times)
            and ends == sorted(ends)
            and all(begin <= end for begin, end in times),
            f"{name}: its requests were launched and completed at {times} ns",
        )

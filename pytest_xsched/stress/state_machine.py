"""A state machine of hypothesis that takes random steps on live XQueues and checks each.

A test calls `check_xqueues(make)`. `minimize` has the same for a scheduler that may hang or end
its process. `steps` describes the steps, `rules` the rules.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

try:
    import hypothesis
    from hypothesis import strategies as st
    from hypothesis.errors import Flaky
    from hypothesis.stateful import (
        RuleBasedStateMachine,
        initialize,
        precondition,
        rule,
        run_state_machine_as_test,
    )
except ModuleNotFoundError:
    from pytest_xsched.base.extras import require_extra

    require_extra("hypothesis", "hypothesis")
    raise

from pytest_xsched.errors import WorkerCrashed, WorkerHung
from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.scenario.queue_spec import PRIORITY_MAX
from pytest_xsched.scenario.workload import Workload, spin
from pytest_xsched.stress import overlap
from pytest_xsched.stress.background_load import WINDOW
from pytest_xsched.stress.competition import DEADLINES, LAXITIES, UTILIZATIONS, hint_of, rank
from pytest_xsched.stress.contests import LONG
from pytest_xsched.stress.costs import first_breach
from pytest_xsched.stress.pairs import LONG_COMMAND
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import HINTS, BrokenRule, Step, numbered
from pytest_xsched.stress.strategies import launch_configurations, priorities

__all__ = ["XQueuesMachine", "check_xqueues"]

QUEUES_MAX = 6
REPLAYS = 5
"""Replays that tell how often the same steps break a rule."""
_DURATIONS = ("1ms", "2ms", "100us")  # of most commands, and of pauses
_LAYERS = (1, 2, 5, 12)  # the last one is more than most thresholds
_EVERY = ("", "", "2ms", "500us")  # of loads; without, it is a closed loop
_USUAL = tuple((duration, layers) for duration in _DURATIONS for layers in _LAYERS)
_REQUESTS = st.builds(
    lambda work: spin(work[0], layers=work[1]),
    # Few requests have long commands, which make a sequence of steps slow.
    st.sampled_from((*_USUAL, *_USUAL, (LONG_COMMAND, 1), (LONG_COMMAND, 2))),
)
_DEPTHS = launch_configurations(auto=False)
_LAUNCHES = (*[""] * 15, "2ms")  # what each launch of a queue takes; few, to be fast
_OF_NEW: dict[str, tuple[Any, ...]] = {
    "deadline": DEADLINES,
    "laxity": (*LAXITIES, ""),
    "utilization": (*UTILIZATIONS, 0),
}
_OF_OLD = _OF_NEW | {"deadline": (*DEADLINES, ""), "laxity": LAXITIES, "utilization": UTILIZATIONS}
"""Values of hints that a new queue may get, the most urgent one first, and an old one; empty:
none."""
_OTHER_DEPTHS = st.just((1, 1)) | _DEPTHS
"""New depths of an old queue: often the smallest, which is less than what is in flight."""


@dataclass(frozen=True, slots=True)
class NewQueue:
    """A queue to be created. Most are held or get work at once, because these show most faults.

    Attributes:
        first: what is done with it at once: names of steps.
        workload: of the request or load.
        every: of the load.
        launch: what each launch of the queue takes in addition.
    """

    priority: int | None
    depth: tuple[int, int]
    first: tuple[str, ...]
    workload: Workload
    every: str
    launch: str


_NEW = st.builds(
    NewQueue,
    priorities() | st.none(),
    _DEPTHS,
    st.sampled_from(
        ((), ("suspend",), ("submit",), ("load",), ("suspend", "submit"), ("load", "submit"))
    ),
    _REQUESTS,
    st.sampled_from(_EVERY),
    st.sampled_from(_LAUNCHES),
)


_OVERLAPPING = st.builds(
    Step,
    does=st.sampled_from(overlap.KINDS),
    queue=st.integers(0, QUEUES_MAX - 1),  # the remainder is the number
    priority=priorities(),
    depth=_DEPTHS,
    workload=_REQUESTS,
    every=st.sampled_from(_EVERY),
)


def _at_once(pair: tuple[str, str], first: Step, second: Step, more: list[Step]) -> list[Step]:
    """Return steps for two queues next to each other, and more."""
    first = replace(first, does=pair[0])
    return [first, replace(second, does=pair[1], queue=first.queue + 1), *more]


_AT_ONCE = st.builds(
    _at_once,
    st.sampled_from(overlap.PAIRS),
    _OVERLAPPING,
    _OVERLAPPING,
    st.lists(_OVERLAPPING, max_size=2),
)


class OpenDevices:
    """Live XQueues, one for each device, for one example after another.

    A process in which no rule broke serves the next example.

    Attributes:
        were_fresh: whether the live XQueues that were opened last had no example before.
        history: the steps of the examples that they had.
        broken: the breaches that the examples showed, in order.
        shown: by rule, the count of examples that checked it.
        played: the rules that the last call of `play` checked.
    """

    def __init__(self, make: Callable[[], XQueues], devices: int) -> None:
        self._make = make
        self._count = devices
        self._kept: list[XQueues] = []
        self.were_fresh = True
        self.history: list[Step] = []
        self.broken: list[BrokenRule] = []
        self.shown: Counter[str] = Counter()
        self.played: frozenset[str] = frozenset()

    def open(self) -> list[XQueues]:
        """Return live XQueues for an example, without queues.

        Raises:
            BrokenRule: the process that has them ends or hangs before they are there.
        """
        self.were_fresh = not self._kept
        devices, self._kept = self._kept, []
        if self.were_fresh:
            self.history = []
            try:
                for _ in range(self._count):
                    devices.append(self._make())
            except (WorkerCrashed, WorkerHung) as error:
                self.leave(devices, broken=True)
                crashed = isinstance(error, WorkerCrashed)
                rule = "the process survives" if crashed else "open returns"
                self.broken.append(BrokenRule(rule, str(error)))
                raise self.broken[-1] from error
        return devices

    def leave(self, devices: list[XQueues], *, broken: bool) -> None:
        """Keep the live XQueues after an example, or close them if a rule broke.

        A call that is known not to return, or to end its process, may do so here, too: that is no
        new finding.
        """
        if not broken and all(live.is_elsewhere for live in devices):
            with contextlib.suppress(WorkerHung, WorkerCrashed):
                for live in devices:
                    live.limit_calls(None)
                    live.clear()
                self._kept = devices
                self.history.append(Step(does="clear"))
                return
        for live in devices:
            with contextlib.suppress(WorkerHung, WorkerCrashed):
                live.close()

    def play(
        self, steps: Sequence[Step], without: Collection[str], patience: str, *, hurry: bool = False
    ) -> BrokenRule | None:
        """Execute steps, and return the breach that they show.

        Args:
            steps: to execute.
            without: ids of rules that are not checked.
            patience: how long a wait for a queue may take.
            hurry: whether each call has this time, too, if it usually has more.
        """
        self.played = frozenset()
        try:
            opened = self.open()
        except BrokenRule as error:
            return error
        for live in opened:
            live.limit_calls(patience if hurry else None)
        broken: BrokenRule | None = None
        executor = StepExecutor(opened, without=without, patience=patience)
        try:
            for step in steps:
                executor.execute(step)
            executor.finish()
            self.history += executor.executed
        except BrokenRule as error:
            broken = error
        finally:
            self.leave(opened, broken=broken is not None)
        self.played = frozenset(executor.shown)
        return broken

    def close(self) -> None:
        """Close the live XQueues that were kept."""
        self.leave(self._kept, broken=True)
        self._kept = []


class XQueuesMachine(RuleBasedStateMachine):
    """Creates, changes and destroys live XQueues. See `check_xqueues`."""

    source: OpenDevices
    without: Collection[str] = ()
    patience = "10s"

    def __init__(self) -> None:
        super().__init__()
        self.devices = type(self).source.open()
        self.executor = StepExecutor(
            self.devices,
            without=self.without,
            patience=self.patience,
            first=sum(step.does == "create" for step in self.source.history),
        )
        self.broken = False

    def _take(self, does: str, data: Any = None, **values: Any) -> None:
        """Execute a step; with data, on a queue that is drawn."""
        if data is not None:
            numbers = list(self.executor.queues)
            # A precondition would be in the way of shrinking: hypothesis could not leave out the
            # creation of a queue without the steps on that queue.
            if not numbers:
                return
            number = data.draw(st.integers(0, len(numbers) - 1), label="queue")
            values["queue"] = numbers[number]
        self.do(lambda: self.executor.execute(Step(does=does, **values)))

    def do(self, action: Callable[[], None]) -> None:
        """Call an action, and note whether it broke a rule."""
        self.broken = True  # unless the action returns
        try:
            action()
        except BrokenRule as broken:
            self.source.broken.append(broken)
            raise
        self.broken = False

    @initialize(data=st.data(), some=st.lists(_NEW, min_size=1, max_size=3))
    def begin(self, data: Any, some: list[NewQueue]) -> None:
        """Create the first queues."""
        for new in some:
            self._make(data, new)

    @precondition(lambda self: len(self.executor.queues) < QUEUES_MAX)
    @rule(data=st.data(), new=_NEW)
    def create(self, data: Any, new: NewQueue) -> None:
        """Create a queue; it inherits nothing from one that was destroyed."""
        self._make(data, new)

    def _make(self, data: Any, new: NewQueue) -> None:
        device = 0
        if len(self.devices) > 1:
            device = data.draw(st.integers(0, len(self.devices) - 1), label="device")
        on = 0
        if (count := self.devices[device].device_count) > 1:
            # Most queues are on the first one, because queues of one device show most faults.
            on = data.draw(st.sampled_from((0, 0, *range(count))), label="device of the process")
        self._take(
            "create",
            device=device,
            on=on,
            priority=new.priority,
            depth=new.depth,
            launch=new.launch,
            **self._hints(data),
        )
        number = next(reversed(self.executor.queues))
        for does in new.first:
            if does == "suspend":
                step = Step(does=does, queue=number)
            elif does == "submit":
                step = Step(does=does, queue=number, workload=new.workload)
            else:
                step = Step(does=does, queue=number, workload=new.workload, every=new.every)
            self.do(functools.partial(self.executor.execute, step))

    def _hints(self, data: Any) -> dict[str, Any]:
        """Draw a hint of a new queue where the policy reads another one than the priority."""
        hint = hint_of(self.devices[0].policy)
        if hint not in HINTS:
            return {}
        return {hint: data.draw(st.sampled_from(_OF_NEW[hint]), label=hint)}

    def _set_hint(self, data: Any, priority: int) -> None:
        hint = hint_of(self.devices[0].policy)
        other = hint in ("laxity", "utilization") and data.draw(st.booleans(), label="priority")
        if hint in HINTS and not other:
            value = data.draw(st.sampled_from(_OF_OLD[hint]), label=hint)
            self._take(f"set_{hint}", data, **{hint: value})
        else:
            self._take("set_priority", data, priority=priority)

    @rule(data=st.data(), workload=_REQUESTS)
    def submit(self, data: Any, workload: Workload) -> None:
        """Submit a request."""
        self._take("submit", data, workload=workload)

    @precondition(lambda self: len(self.executor.queues) > 1)
    @rule(data=st.data(), workload=_REQUESTS)
    def submit_after(self, data: Any, workload: Workload) -> None:
        """Submit a request that starts after the last one of a queue."""
        numbers = list(self.executor.queues)
        source = numbers[data.draw(st.integers(0, len(numbers) - 1), label="after")]
        self._take("submit", data, workload=workload, after=source)

    @precondition(lambda self: len(self.executor.queues) <= QUEUES_MAX - 3)
    @rule(depth=_DEPTHS)
    def pipeline(self, depth: tuple[int, int]) -> None:
        """Let a high queue wait for a low one, while one between them has work."""
        self._free_all()
        for priority in range(3):
            self._take("create", priority=priority, depth=depth)
        self._take("follow", queue=next(reversed(self.executor.queues)))

    @rule(data=st.data())
    def suspend(self, data: Any) -> None:
        """Suspend a queue: from now on it launches nothing."""
        self._take("suspend", data)

    @rule(data=st.data())
    def resume(self, data: Any) -> None:
        """Resume a queue."""
        self._take("resume", data)

    @rule(data=st.data(), priority=priorities())
    def set_priority(self, data: Any, priority: int) -> None:
        """Change a priority, or another hint where the policy reads one."""
        self._set_hint(data, priority)

    @rule(data=st.data(), depth=_OTHER_DEPTHS)
    def set_launch_config(self, data: Any, depth: tuple[int, int]) -> None:
        """Change threshold and batch size."""
        self._take("set_launch_config", data, depth=depth)

    @rule(data=st.data())
    def wait(self, data: Any) -> None:
        """Wait for all work of a queue: the wait returns, unless the user holds the queue."""
        self._take("wait", data)

    @rule(data=st.data())
    def destroy(self, data: Any) -> None:
        """Destroy a queue in any state."""
        self._take("destroy", data)

    @precondition(lambda self: len(self.executor.queues) > 1)
    @rule(some=_AT_ONCE)
    def together(self, some: list[Step]) -> None:
        """Let steps happen at once, the first two on queues with work, while none is held."""
        numbers = list(self.executor.queues)
        for number in numbers:
            if self.executor.queues[number].held:
                self._take("resume", queue=number)
        for step in some[:2]:
            self._take("submit", queue=numbers[step.queue % len(numbers)], workload=LONG)
        self._take("sleep", duration="2ms")  # until the scheduler has the work
        self._overlap(some)

    @precondition(lambda self: bool(self.executor.queues))
    @rule(some=st.lists(_OVERLAPPING, min_size=2, max_size=4))
    def some_together(self, some: list[Step]) -> None:
        """Let any steps happen at once."""
        self._overlap(some)

    def _overlap(self, some: list[Step]) -> None:
        numbers = list(self.executor.queues)
        steps = [replace(one, queue=numbers[one.queue % len(numbers)]) for one in some]
        self._take("together", steps=tuple(steps))

    @rule(data=st.data(), workload=_REQUESTS, every=st.sampled_from(_EVERY))
    def load(self, data: Any, workload: Workload, every: str) -> None:
        """Start a load of a queue that goes on in the background of other steps."""
        self._take("load", data, workload=workload, every=every)

    @rule(data=st.data())
    def unload(self, data: Any) -> None:
        """End a load."""
        self._take("unload", data)

    def _may(self, does: str) -> bool:
        """Return whether a step is not the same as the last one: twice shows no more than once."""
        executed = self.executor.executed
        return not executed or executed[-1].does != does

    @precondition(lambda self: self._may("sleep"))
    @rule(duration=st.sampled_from(_DURATIONS))
    def sleep(self, duration: str) -> None:
        """Let time pass."""
        self._take("sleep", duration=duration)

    @precondition(lambda self: self.executor.has_outranked())
    @rule()
    def watch(self) -> None:
        """Let time pass while a queue has work below a load that always has some."""
        self._take("sleep", duration=WINDOW)

    @precondition(lambda self: len(self.executor.queues) > 1)
    @rule(data=st.data())
    def share(self, data: Any) -> None:
        """Keep two queues of equal priority at work, if there are two: both make progress."""
        able = [n for n in self.executor.queues if self.executor.can(Step(does="share", queue=n))]
        if able:
            self._take("share", queue=able[data.draw(st.integers(0, len(able) - 1), label="queue")])

    @precondition(lambda self: len(self.executor.queues) > 1)
    @rule(data=st.data(), priority=st.none() | priorities())
    def compete(self, data: Any, priority: int | None) -> None:
        """Let all queues compete, perhaps after a change of one hint."""
        if priority is not None:
            self._set_hint(data, priority)
        self._compete_all()

    @precondition(lambda self: len(self.executor.queues) > 1)
    @rule(data=st.data(), depth=_DEPTHS)
    def replace(self, data: Any, depth: tuple[int, int]) -> None:
        """Create a queue without a hint where one was destroyed; it has no hint of that one."""
        numbers = list(self.executor.queues)
        old = numbers[data.draw(st.integers(0, len(numbers) - 1), label="queue")]
        device, on = self.executor.queues[old].device, self.executor.queues[old].on
        self._take("destroy", queue=old)
        self._take(
            "create",
            device=device,
            on=on,
            priority=None,
            depth=depth,
            **self._hints(data),
        )
        self._compete_all()

    def _free_all(self) -> None:
        """End all loads, and resume all queues."""
        for number, state in list(self.executor.queues.items()):
            if state.load is not None:
                self._take("unload", queue=number)
            if state.held:
                self._take("resume", queue=number)

    def _hurry_the_last(self) -> None:
        """Let the last queue be the first one, which a scheduler may notice too late.

        Where queues have utilizations, the one with the most gets the least.
        """
        states, policy = self.executor.queues, self.devices[0].policy
        hint = hint_of(policy)
        if len(states) > 1 and hint in HINTS:
            last, *_, first = sorted(states, key=lambda number: rank(states[number], policy))
            self._take(f"set_{hint}", queue=last, **{hint: _OF_NEW[hint][0]})
            if hint == "laxity":
                self._take("set_priority", queue=last, priority=PRIORITY_MAX)
            if hint == "utilization":
                self._take("set_utilization", queue=first, utilization=min(UTILIZATIONS))

    def _free_the_first(self) -> None:
        """Let the queue that is due first have no deadline, and another one compete with it."""
        states, policy = self.executor.queues, self.devices[0].policy
        if len(states) > 1 and hint_of(policy) == "deadline":
            first = min(states, key=lambda number: states[number].deadline_ns)
            self._take("set_deadline", queue=first, deadline="")
            first = max(states, key=lambda number: rank(states[number], policy))
            self._take("compete", queue=first)

    def _change_policy(self) -> None:
        """Change the policy while the queue that goes first has work."""
        states, policy = self.executor.queues, self.devices[0].policy
        first = max(states, key=lambda number: rank(states[number], policy), default=-1)
        self._take("change_policy", queue=first)

    def _compete_all(self) -> None:
        """Submit to each queue in turn while those that it precedes are at work: they stop."""
        self._free_all()
        for number in list(self.executor.queues):
            for does in ("compete", "divide", "apart"):
                self._take(does, queue=number)

    @precondition(lambda self: self._may("idle"))
    @rule()
    def idle(self) -> None:
        """Sleep while no queue has work."""
        self._take("idle")

    @precondition(lambda self: len(self.executor.queues) > 1 and self._may("switch_off"))
    @rule(data=st.data())
    def switch_off(self, data: Any) -> None:
        """Switch the scheduler of a device off."""
        device = data.draw(st.integers(0, len(self.devices) - 1), label="device")
        self._take("switch_off", device=device)

    @precondition(lambda self: bool(self.executor.off))
    @rule(data=st.data())
    def switch_on(self, data: Any) -> None:
        """Switch a scheduler on again; queues with a load have work meanwhile."""
        off = self.executor.off
        number = data.draw(st.integers(0, len(off) - 1), label="device")
        self._take("switch_on", device=off[number])

    def teardown(self) -> None:
        """Let all queues compete, and check that everything that was submitted ends."""
        try:
            if not self.broken:
                self._hurry_the_last()
                self._compete_all()
                self._free_the_first()
                self._change_policy()
                self.do(self.executor.finish)
        finally:
            self.source.history += self.executor.executed
            self.source.shown.update(self.executor.shown)
            self.source.leave(self.devices, broken=self.broken)


def check_xqueues(
    make: Callable[[], XQueues],
    settings: hypothesis.settings | None = None,
    devices: int = 2,
    *,
    without: Collection[str] = (),
) -> None:
    """Take random steps on live XQueues under policy "hpf", and check the rules after each.

    Args:
        make: opens live XQueues, each on a device of its own: ``xsched.live``.
        settings: of hypothesis: the count of sequences and of their steps.
        devices: how many devices are open at once.
        without: ids of rules in `rules.RULES` that are not checked.

    Raises:
        BrokenRule: a rule does not hold; hypothesis shows the fewest steps that break it. If the
            same steps break it only sometimes, the error has the first steps that did, and says in
            how many replays they did it again.
    """
    source = OpenDevices(make, devices)
    patience = XQueuesMachine.patience
    machine = machine_of(XQueuesMachine, source, without, patience)
    # Steps take as long as a scheduler lets them wait; `patience` limits that.
    given = hypothesis.settings(
        hypothesis.settings() if settings is None else settings, deadline=None
    )
    try:
        run_state_machine_as_test(machine, settings=given)
        too_costly = first_breach(lambda steps: source.play(steps, without, patience), without)
    except Exception as error:
        # What is random in a scheduler is a fault of the scheduler, and not of the test.
        if not is_flaky(error) or not source.broken:
            raise
        raise replayed(source, without, patience) from None
    finally:
        source.close()
    if too_costly is not None:
        raise too_costly


def is_flaky(error: BaseException) -> bool:
    """Check whether hypothesis reports that the same example had two outcomes."""
    return isinstance(error, Flaky) or any(map(is_flaky, getattr(error, "exceptions", ())))


def replayed(source: OpenDevices, without: Collection[str], patience: str) -> BrokenRule:
    """Return the first breach, and say how often its steps show it again."""
    first, again = source.broken[0], 0
    for _ in range(REPLAYS):
        source.close()  # in a used process, earlier steps may be the cause
        broken = source.play(first.steps, without, patience)
        again += broken is not None and broken.rule == first.rule
    sentence = f"{first.sentence}; these steps broke the rule again in {again} of {REPLAYS} replays"
    return BrokenRule(first.rule, sentence, numbered(first.steps))


_Machine = TypeVar("_Machine", bound=XQueuesMachine)


def machine_of(
    base: type[_Machine], source: OpenDevices, without: Collection[str], patience: str
) -> type[_Machine]:
    """Return the class for hypothesis, with the settings of its examples as attributes."""
    values = {"source": source, "without": without, "patience": patience}
    return type("Machine", (base,), values)

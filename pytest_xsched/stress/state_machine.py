"""Random steps on live XQueues, and what must hold after each: a state machine of hypothesis.

`check_xqueues(make)` is all that a test needs; `findings` has the same for schedulers that are
expected to fail. What the steps are and what must hold stands in `steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

try:
    import hypothesis
    from hypothesis import strategies as st
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

from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.scenario.workload import Workload, spin
from pytest_xsched.stress.step_executor import Player
from pytest_xsched.stress.steps import Step
from pytest_xsched.stress.strategies import launch_configurations, priorities

QUEUES_MAX = 6
_DURATIONS = ("1ms", "2ms", "100us")  # of commands and of pauses
_REQUESTS = st.builds(
    lambda duration, layers: spin(duration, layers=layers),
    st.sampled_from(_DURATIONS),
    st.sampled_from((1, 2, 5, 12)),  # more than most thresholds, too
)
_DEPTHS = launch_configurations(auto=False)
_OTHER_DEPTHS = st.just((1, 1)) | _DEPTHS
"""Of a queue that has another one: often the least, which is less than what is in flight."""


@dataclass(frozen=True, slots=True)
class NewQueue:
    """A queue to be made; often held, or with work, at once: what is wrong shows between such."""

    priority: int
    depth: tuple[int, int]
    held: bool
    work: Workload | None


_NEW = st.builds(NewQueue, priorities(), _DEPTHS, st.booleans(), st.none() | _REQUESTS)


class Homes:
    """Live XQueues of one example after the other: a process in which nothing broke is kept.

    Attributes:
        were_fresh: whether those that were opened last had no example before.
        history: the steps of the examples that they had.
    """

    def __init__(self, make: Callable[[], XQueues], devices: int) -> None:
        self._make = make
        self._devices = devices
        self._kept: list[XQueues] = []
        self.were_fresh = True
        self.history: list[Step] = []

    def open(self) -> list[XQueues]:
        """Give the live XQueues of an example, without queues."""
        self.were_fresh = not self._kept
        homes, self._kept = self._kept, []
        if self.were_fresh:
            self.history = []
            homes = [self._make() for _ in range(self._devices)]
        return homes

    def leave(self, homes: list[XQueues], *, broken: bool) -> None:
        """Take them back behind the example, in which something broke or not."""
        if not broken and all(home.is_elsewhere for home in homes):
            for home in homes:
                home.clear()
            self._kept = homes
            return
        for home in homes:
            home.close()

    def close(self) -> None:
        """End what was kept."""
        self.leave(self._kept, broken=True)
        self._kept = []


class XQueuesMachine(RuleBasedStateMachine):
    """Creates, moves and destroys live XQueues. See `check_xqueues`."""

    source: Homes
    without: Collection[str] = ()
    patience = "10s"

    def __init__(self) -> None:
        super().__init__()
        self.homes = type(self).source.open()
        self.player = Player(
            self.homes,
            without=self.without,
            patience=self.patience,
            first=sum(step.does == "create" for step in self.source.history),
        )
        self.broken = False

    def _take(self, does: str, data: Any = None, **values: Any) -> None:
        if data is not None:
            numbers = list(self.player.queues)
            if not numbers:  # all destroyed; and no precondition, because then a creation could
                return  # not be left out of a failing example without what is done to its queue
            number = data.draw(st.integers(0, len(numbers) - 1), label="queue")
            values["queue"] = numbers[number]
        self.do(lambda: self.player.take(Step(does=does, **values)))

    def do(self, moves: Callable[[], None]) -> None:
        """Let the player do something."""
        self.broken = True  # unless it ends well
        moves()
        self.broken = False

    @initialize(data=st.data(), new=_NEW)
    def begin(self, data: Any, new: NewQueue) -> None:
        """Make a first queue."""
        self._make(data, new)

    @precondition(lambda self: len(self.player.queues) < QUEUES_MAX)
    @rule(data=st.data(), new=_NEW)
    def create(self, data: Any, new: NewQueue) -> None:
        """Make a queue; it inherits nothing from one that was destroyed."""
        self._make(data, new)

    def _make(self, data: Any, new: NewQueue) -> None:
        home = 0
        if len(self.homes) > 1:
            home = data.draw(st.integers(0, len(self.homes) - 1), label="device")
        self._take("create", home=home, priority=new.priority, depth=new.depth)
        number = next(reversed(self.player.queues))
        if new.held:
            self.do(lambda: self.player.take(Step(does="suspend", queue=number)))
        if (work := new.work) is not None:
            self.do(lambda: self.player.take(Step(does="submit", queue=number, workload=work)))

    @rule(data=st.data(), workload=_REQUESTS)
    def submit(self, data: Any, workload: Workload) -> None:
        """Submit a request."""
        self._take("submit", data, workload=workload)

    @rule(data=st.data())
    def suspend(self, data: Any) -> None:
        """Hold a queue back: from here on it launches nothing."""
        self._take("suspend", data)

    @rule(data=st.data())
    def resume(self, data: Any) -> None:
        """Let it go on."""
        self._take("resume", data)

    @rule(data=st.data(), priority=priorities())
    def set_priority(self, data: Any, priority: int) -> None:
        """Change a priority."""
        self._take("set_priority", data, priority=priority)

    @rule(data=st.data(), depth=_OTHER_DEPTHS)
    def set_launch_config(self, data: Any, depth: tuple[int, int]) -> None:
        """Change threshold and batch size."""
        self._take("set_launch_config", data, depth=depth)

    @rule(data=st.data())
    def wait(self, data: Any) -> None:
        """Wait for all of a queue: it returns, unless the user holds the queue."""
        self._take("wait", data)

    @rule(data=st.data())
    def destroy(self, data: Any) -> None:
        """Destroy a queue, whatever it is doing."""
        self._take("destroy", data)

    @rule(duration=st.sampled_from(_DURATIONS))
    def sleep(self, duration: str) -> None:
        """Let time pass."""
        self._take("sleep", duration=duration)

    @precondition(lambda self: len(self.player.queues) > 1)
    @rule(data=st.data())
    def share(self, data: Any) -> None:
        """Keep two queues of equal priority at work, if there are such: both make progress."""
        self._take("share", data)

    @rule()
    def idle(self) -> None:
        """Do nothing while there is nothing to do."""
        self._take("idle")

    @precondition(lambda self: len(self.player.queues) > 1)
    @rule(data=st.data())
    def switch_off(self, data: Any) -> None:
        """Switch the scheduler of a device off."""
        home = data.draw(st.integers(0, len(self.homes) - 1), label="device")
        self._take("switch_off", home=home)

    def teardown(self) -> None:
        """Everything that was submitted ends, when nobody is held any more."""
        try:
            if not self.broken:
                self.do(self.player.finish)
        finally:
            self.source.leave(self.homes, broken=self.broken)
            self.source.history += self.player.taken


def check_xqueues(
    make: Callable[[], XQueues],
    settings: hypothesis.settings | None = None,
    devices: int = 2,
    *,
    without: Collection[str] = (),
) -> None:
    """Take random steps on live XQueues under policy "hpf", and check what must hold after each.

    Args:
        make: opens live XQueues, each on a device of its own: ``xsched.live``.
        settings: of hypothesis: how many sequences, and of how many steps.
        devices: how many are open at once.
        without: names of `steps.RULES` that are not looked at.

    Raises:
        BrokenRule: something does not hold; hypothesis shows the fewest steps that do it.
    """
    source = Homes(make, devices)
    machine = machine_of(XQueuesMachine, source, without, XQueuesMachine.patience)
    try:
        run_state_machine_as_test(machine, settings=settings)
    finally:
        source.close()


def machine_of(
    base: type[XQueuesMachine], source: Homes, without: Collection[str], patience: str
) -> type[XQueuesMachine]:
    """Make the class that hypothesis wants, with what its examples need."""
    values = {"source": source, "without": without, "patience": patience}
    return type("Machine", (base,), values)

"""Random steps on live XQueues, and what must hold after each: a state machine of hypothesis.

`check_xqueues(make)` is all that a test needs. What is checked holds on every device; where time is
virtual it is exact, because nothing goes on between two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pytest_xsched._running import Counts
from pytest_xsched.errors import QueueTimeout
from pytest_xsched.live import Ticket, XQueue, XQueues
from pytest_xsched.strategies import launch_configurations, priorities
from pytest_xsched.workload import Workload, spin

QUEUES_MAX = 6
_DURATIONS = ("1ms", "2ms", "100us")  # of commands and of pauses
_REQUESTS = st.builds(
    lambda duration, layers: spin(duration, layers=layers),
    st.sampled_from(_DURATIONS),
    st.sampled_from((1, 2, 5, 12)),  # more than most thresholds, too
)
_DEPTHS = launch_configurations(auto=False)


@dataclass(eq=False)
class _Known:
    """What the machine knows of a queue without asking it."""

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


class XQueuesMachine(RuleBasedStateMachine):
    """Creates, moves and destroys live XQueues. See `check_xqueues`."""

    make: Callable[[], XQueues]
    devices = 2

    def __init__(self) -> None:
        super().__init__()
        self.homes = [type(self).make() for _ in range(self.devices)]
        self.queues: list[_Known] = []
        self._step: set[_Known] = set()

    # ---- steps

    def _some(self, data: Any) -> _Known:
        known: _Known = self.queues[data.draw(st.integers(0, len(self.queues) - 1), label="queue")]
        return known

    @precondition(lambda self: len(self.queues) < QUEUES_MAX)
    @rule(data=st.data(), priority=priorities(), depth=_DEPTHS)
    def create(self, data: Any, priority: int, depth: tuple[int, int]) -> None:
        """Make a queue; it inherits nothing from one that was destroyed."""
        home = 0
        if self.devices > 1:
            home = data.draw(st.integers(0, self.devices - 1), label="device")
        threshold, batch_size = depth
        make = self.homes[home]
        xq = make(priority=priority, threshold=threshold, batch_size=batch_size)
        counts = xq.counts
        assert counts.submitted == counts.launched == counts.completed == counts.suspended == 0
        assert counts.most_in_flight == 0 and counts.priority == priority
        known = _Known(xq, home, priority, threshold, deepest=threshold)
        self.queues.append(known)

    @precondition(lambda self: self.queues)
    @rule(data=st.data(), workload=_REQUESTS)
    def submit(self, data: Any, workload: Workload) -> None:
        """Submit a request."""
        known = self._some(data)
        known.tickets.append(known.xq.submit(workload))
        known.submitted += len(workload.commands)

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def suspend(self, data: Any) -> None:
        """Hold a queue back: from here on it launches nothing."""
        known = self._some(data)
        known.xq.suspend()
        known.held = True
        known.seen = known.xq.counts

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def resume(self, data: Any) -> None:
        """Let it go on."""
        known = self._some(data)
        known.held = False
        known.xq.resume()
        self._step.add(known)

    @precondition(lambda self: self.queues)
    @rule(data=st.data(), priority=priorities())
    def set_priority(self, data: Any, priority: int) -> None:
        """Change a priority."""
        known = self._some(data)
        known.xq.priority = known.priority = priority
        self._step.add(known)
        assert known.xq.priority == priority

    @precondition(lambda self: self.queues)
    @rule(data=st.data(), depth=_DEPTHS)
    def set_launch_config(self, data: Any, depth: tuple[int, int]) -> None:
        """Change threshold and batch size."""
        known = self._some(data)
        known.threshold, batch_size = depth
        known.deepest = max(known.deepest, known.threshold)
        known.xq.set_launch_config(threshold=known.threshold, batch_size=batch_size)

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def wait(self, data: Any) -> None:
        """Wait for all of a queue: it returns, unless the user holds the queue."""
        known = self._some(data)
        if not known.held:
            known.xq.wait()
            assert known.xq.counts.completed == known.submitted
        elif known.xq.counts.completed < known.submitted:
            self._wait_in_vain(known)

    def _wait_in_vain(self, known: _Known) -> None:
        """What is held may end by itself, if all of it is in flight."""
        launched = known.xq.counts.launched
        try:
            known.xq.wait("20ms")
        except QueueTimeout:
            return
        assert launched == known.submitted, "a held queue did what it had not launched"

    @precondition(lambda self: self.queues)
    @rule(data=st.data())
    def destroy(self, data: Any) -> None:
        """Destroy a queue, whatever it is doing."""
        known = self._some(data)
        known.xq.destroy()
        self.queues.remove(known)

    @precondition(lambda self: self.queues)
    @rule(duration=st.sampled_from(_DURATIONS))
    def sleep(self, duration: str) -> None:
        """Let time pass."""
        for home in self.homes:
            home.sleep(duration)

    # ---- what holds behind each of them

    @invariant()
    def counts_agree(self) -> None:
        """Nothing is lost or done twice, in order, within the threshold, and never while held."""
        now = {known: known.xq.counts for known in self.queues}
        for known, c in now.items():
            assert c.submitted == known.submitted, "submitted commands"
            assert c.requests_submitted == len(known.tickets), "submitted requests"
            assert c.completed <= c.launched <= c.submitted, "completed <= launched <= submitted"
            assert c.failed == 0
            assert c.most_in_flight <= known.deepest, "more in flight than the threshold"
            if known.held:
                assert c.state == "suspended"
            if known.seen is not None:
                assert c.completed >= known.seen.completed, "completions that are taken back"
                if known.held:
                    assert c.launched == known.seen.launched, "a held queue launched"
        for home in range(self.devices):
            here = {known: c for known, c in now.items() if known.home == home}
            if self.homes[home].is_virtual:
                self._check_virtual(here)
        for known, c in now.items():
            known.seen = c
        self._step.clear()

    def _check_virtual(self, now: dict[_Known, Counts]) -> None:
        """Where nothing goes on between steps: the policy, and who works while there is work."""
        ready = [known for known, c in now.items() if known.is_ready(c)]
        top = max((known.priority for known in ready), default=None)
        for known in ready:
            c = now[known]
            if known.priority == top:
                assert c.state == "ready"
                full = c.launched - c.completed >= known.threshold
                assert full or c.launched == c.submitted, "it may launch, and does not"
        for known, c in now.items():
            for higher in ready:
                if known.seen is None or self._is_news(known) or self._is_news(higher):
                    continue
                was_ready = higher.seen is not None and higher.is_ready(higher.seen)
                if higher.priority > known.priority and was_ready:
                    assert c.launched == known.seen.launched, "launched below a higher priority"

    def _is_news(self, known: _Known) -> bool:
        """Whether its order among the others changed in this step."""
        return known in self._step

    def teardown(self) -> None:
        """Everything that was submitted ends, when nobody is held any more."""
        try:
            for known in self.queues:
                known.xq.resume()
            for known in self.queues:
                known.xq.wait()
            for known in self.queues:
                c = known.xq.counts
                assert c.submitted == c.launched == c.completed == known.submitted
                assert c.requests_completed == len(known.tickets)
                self._check_tickets(known)
        finally:
            for home in self.homes:
                home.close()

    def _check_tickets(self, known: _Known) -> None:
        times = [(t.launched_ns, t.completed_ns) for t in known.tickets]
        assert times == sorted(times), "requests out of order"
        assert all(launched <= completed for launched, completed in times)
        assert [b for _, b in times] == sorted(b for _, b in times), "completions out of order"


def check_xqueues(
    make: Callable[[], XQueues], settings: hypothesis.settings | None = None, devices: int = 2
) -> None:
    """Take random steps on live XQueues under policy "hpf", and check what must hold after each.

    Args:
        make: opens live XQueues, each on a device of its own: ``xsched.live``.
        settings: of hypothesis: how many sequences, and of how many steps.
        devices: how many are open at once.

    Raises:
        AssertionError: something does not hold; hypothesis shows the fewest steps that do it.
    """
    machine = type("Machine", (XQueuesMachine,), {"make": staticmethod(make), "devices": devices})
    run_state_machine_as_test(machine, settings=settings)

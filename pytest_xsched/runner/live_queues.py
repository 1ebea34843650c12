"""Live XQueues: the fixture `xqueues`, for tests of how a scheduler behaves.

Where `Session.run` measures a whole scenario, these are moved by hand: submit, wait, suspend,
resume, change the priority, look at the counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pytest_xsched.base.units import MAX_NS, Duration, DurationLike, parse_duration
from pytest_xsched.base.validation import integer
from pytest_xsched.errors import QueueTimeout, ScenarioError
from pytest_xsched.native.binding import SLICE_NS, Device
from pytest_xsched.native.run import Counts, QueueSettings, Run
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.queue_spec import PRIORITY_MAX, PRIORITY_MIN, THRESHOLD_MAX, QueueSpec
from pytest_xsched.scenario.workload import Command, Workload, empty

_NOTHING = empty()  # a spec names a workload; here each request brings its own


class NativeQueue(Protocol):
    """What is asked of `_running.Queue`, or of its like in another process."""

    def counts(self) -> Counts: ...
    def set_priority(self, priority: int) -> None: ...
    def suspend(self) -> None: ...
    def resume(self) -> None: ...
    def submit(self, commands: Sequence[Command]) -> int: ...
    def wait(self, ticket: int, timeout_ns: int) -> tuple[int, int, int, int] | None: ...
    def set_depth(self, threshold: int, batch_size: int) -> None: ...
    def destroy(self) -> None: ...


class NativeRun(Protocol):
    """What is asked of `_running.Run`, or of its like in another process."""

    def add_manual(self, settings: QueueSettings) -> NativeQueue: ...
    def now_ns(self) -> int: ...
    def switch_off(self) -> None: ...
    def cpu_ns(self) -> int: ...
    def advance(self, duration_ns: int) -> None: ...
    def close(self) -> None: ...


class Place(Protocol):
    """Where live queues are: a device that is open, here or in a process of its own."""

    @property
    def is_virtual(self) -> bool: ...
    def open_run(self) -> NativeRun: ...
    def close(self) -> None: ...


class Here:
    """A device that is open in this process, and the policy of the queues on it."""

    def __init__(self, device: Device, policy: str) -> None:
        self._device = device
        self._policy = policy
        self.is_virtual = device.describe().virtual_time

    def open_run(self) -> Run:
        """Start a run without end."""
        run = Run(self._device, self._policy)
        run.start(warmup_ns=0, duration_ns=0, drain_ns=0)
        return run

    def close(self) -> None:
        """Close the device."""
        self._device.close()


class Ticket:
    """One submitted request.

    Attributes:
        number: requests of the queue before it.
    """

    def __init__(self, queue: XQueue, number: int) -> None:
        self.number = number
        self._queue = queue
        self._times: tuple[int, int, int, int] | None = None

    @property
    def done(self) -> bool:
        """Whether the request completed by now."""
        return self._look(0) is not None

    def wait(self, timeout: DurationLike = "10s") -> Ticket:
        """Wait until the request completed; virtual time moves on meanwhile, on `sim`.

        Raises:
            QueueTimeout: it did not, within `timeout`.
        """
        self._queue.await_ticket(self, parse_duration(timeout, what="timeout", allow_zero=True))
        return self

    @property
    def latency(self) -> Duration:
        """From the submit to the completion; waits for it."""
        scheduled, _, _, completed = self._done()
        return Duration(completed - scheduled)

    @property
    def launched_ns(self) -> int:
        """When its first command was launched, ns since `xqueues` was opened; waits for the end."""
        return self._done()[2]

    @property
    def completed_ns(self) -> int:
        """When its last command was seen completed, ns since `xqueues` was opened; waits for it."""
        return self._done()[3]

    def _done(self) -> tuple[int, int, int, int]:
        if self._times is None:
            self.wait()
        assert self._times is not None
        return self._times

    def _look(self, timeout_ns: int) -> tuple[int, int, int, int] | None:
        if self._times is None:
            self._times = self._queue.native.wait(self.number, timeout_ns)
        return self._times


class XQueue:
    """One live XQueue. Made by calling `XQueues`."""

    def __init__(
        self, spec: QueueSpec, native: NativeQueue, clock_ns: Callable[[], int], slice_ns: int
    ) -> None:
        self.spec = spec
        self.native = native
        self._clock_ns = clock_ns
        self._slice_ns = slice_ns
        self._last: Ticket | None = None

    @property
    def name(self) -> str:
        """Name of the queue."""
        return self.spec.name

    def submit(self, workload: Workload) -> Ticket:
        """Submit one request; does not wait. At most 4096 may be unfinished."""
        if not isinstance(workload, Workload) or workload.program is not None:
            raise ScenarioError(
                f"queue {self.name!r}: submit takes a workload, matmul(512) say, not {workload!r}"
            )
        self._last = Ticket(self, self.native.submit(workload.commands))
        return self._last

    def wait(self, timeout: DurationLike = "10s") -> None:
        """Wait until everything that was submitted completed.

        Raises:
            QueueTimeout: it did not, within `timeout`.
        """
        if self._last is not None:
            self._last.wait(timeout)

    def await_ticket(self, ticket: Ticket, timeout_ns: int) -> None:
        """Wait for one ticket, in slices, so that Ctrl-C is seen."""
        end_ns = self._clock_ns() + timeout_ns
        found = ticket._look(min(timeout_ns, self._slice_ns))
        while found is None and (left_ns := end_ns - self._clock_ns()) > 0:
            found = ticket._look(min(left_ns, self._slice_ns))
        if found is None:
            c = self.counts
            raise QueueTimeout(
                f"queue {self.name!r}: request {ticket.number} did not complete within "
                f"{Duration(timeout_ns)}; the queue is {c.state}, {c.completed} of {c.submitted} "
                "commands completed"
            )

    def suspend(self) -> None:
        """Launch nothing until `resume`; what is in flight completes."""
        self.native.suspend()

    def resume(self) -> None:
        """Undo `suspend`. The policy may still hold the queue back."""
        self.native.resume()

    @property
    def priority(self) -> int:
        """Priority in effect, in [-255, 255], higher wins; may be set at any time."""
        return self.counts.priority

    @priority.setter
    def priority(self, value: int) -> None:
        what = f"queue {self.name!r}: priority"
        self.native.set_priority(integer(what, value, PRIORITY_MIN, PRIORITY_MAX))

    def set_launch_config(self, *, threshold: int, batch_size: int) -> None:
        """Set how many commands are launched ahead, and how many lie between marks.

        What is in flight stays so, also beyond a lower threshold.

        Args:
            threshold: most commands in flight, in [batch_size, 1024]; not of a queue whose
                threshold is ``"auto"``.
            batch_size: commands between marks, at least 1.

        Raises:
            ScenarioError: a value is wrong, or the queue's threshold is automatic.
        """
        what = f"queue {self.name!r}"
        integer(f"{what}: batch_size", batch_size, 1, THRESHOLD_MAX)
        integer(f"{what}: threshold", threshold, batch_size, THRESHOLD_MAX)
        self.native.set_depth(threshold, batch_size)

    @property
    def counts(self) -> Counts:
        """Commands and requests so far: completed <= launched <= submitted."""
        return self.native.counts()

    @property
    def state(self) -> str:
        """``"idle"``, ``"ready"`` (has work and may launch) or ``"suspended"``."""
        return self.counts.state

    def destroy(self) -> None:
        """Drop what was not launched, wait for what was, and free the queue."""
        self.native.destroy()


class XQueues:
    """Makes live XQueues on a device of their own, under one policy; the fixture `xqueues`."""

    def __init__(self, place: Place, *, seed: int = 0) -> None:
        self._place = place
        self._virtual = place.is_virtual
        self._seed = seed
        self._count = 0
        self._run = place.open_run()

    def __call__(
        self,
        *,
        priority: int = 0,
        threshold: int | str = 4,
        batch_size: int | None = None,
        name: str | None = None,
    ) -> XQueue:
        """Make an XQueue.

        The streams underneath have equal priority, so that a priority which is changed while the
        queue lives has its full effect.

        Args:
            priority: in [-255, 255], higher wins.
            threshold: most commands in flight, in [batch_size, 1024], or ``"auto"``.
            batch_size: commands between marks, at least 1; default 2. None with ``"auto"``.
            name: for messages; ``"xq0"``, ``"xq1"``, ... by default.
        """
        name = f"xq{self._count}" if name is None else name
        spec = QueueSpec(
            name=name,
            workload=_NOTHING,
            priority=priority,
            arrivals=Closed(),
            threshold=threshold,
            batch_size=batch_size,
        )
        settings = QueueSettings(
            name=name,
            priority=spec.priority,
            stream_priority=0,
            threshold=spec.depth[0],
            batch_size=spec.depth[1],
            seed=(self._seed + self._count) % 2**32,
        )
        self._count += 1
        # A call that moves virtual time returns in time by itself, however far it is to move.
        slice_ns = MAX_NS if self._virtual else SLICE_NS
        return XQueue(spec, self._run.add_manual(settings), self._run.now_ns, slice_ns)

    @property
    def is_virtual(self) -> bool:
        """Whether time passes only while it is waited for."""
        return self._virtual

    @property
    def is_elsewhere(self) -> bool:
        """Whether they are in a process of their own."""
        return not isinstance(self._place, Here)

    @property
    def now(self) -> Duration:
        """Time since these queues were opened, virtual on `sim`."""
        return Duration(self._run.now_ns())

    @property
    def processor_time(self) -> Duration:
        """What the process that the queues are in has used of processors, all its threads."""
        return Duration(self._run.cpu_ns())

    def switch_off(self) -> None:
        """Switch the scheduler off: every queue runs that nobody holds, whatever its priority.

        It is on again behind `clear`.
        """
        self._run.switch_off()

    def sleep(self, duration: DurationLike) -> None:
        """Let time pass: at once where it is virtual, else by sleeping."""
        duration_ns = parse_duration(duration, what="duration of sleep")
        if self._virtual:
            self._run.advance(duration_ns)
        else:
            time.sleep(duration_ns / 1e9)

    def clear(self) -> None:
        """Destroy the queues that are left and begin anew, on the open device and its process."""
        self._run.close()
        self._run = self._place.open_run()
        self._count = 0

    def close(self) -> None:
        """Destroy the queues that are left, and close the device."""
        try:
            self._run.close()
        finally:
            self._place.close()

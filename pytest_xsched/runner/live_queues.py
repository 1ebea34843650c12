"""Live XQueues: the fixture `xqueues`, for tests of how a scheduler behaves.

`Session.run` measures a whole scenario. The test controls live queues itself: it submits, waits,
suspends, resumes, changes priorities and reads counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from pytest_xsched.base.policies import BUILTIN, XSCHED, Policy, policy_of
from pytest_xsched.base.units import MAX_NS, Duration, DurationLike, one_line, parse_duration
from pytest_xsched.base.validation import integer, one_of
from pytest_xsched.errors import QueueTimeout, ScenarioError
from pytest_xsched.native.binding import SLICE_NS
from pytest_xsched.native.run import Counts, Hints, QueueSettings
from pytest_xsched.runner.live_place import Here, NativeQueue, Place
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.queue_spec import PRIORITY_MAX, PRIORITY_MIN, THRESHOLD_MAX, QueueSpec
from pytest_xsched.scenario.workload import Command, Workload, empty
from pytest_xsched.system.scheduler_cost import SchedulerCost

PENDING_MAX = 4096
"""Unfinished requests of a queue at most: XS_PENDING_MAX."""
HPF = policy_of("builtin", "hpf")
_NOTHING = empty()  # a spec needs a workload; here each request has its own


def require_read(what: str, hint: str, policy: Policy) -> None:
    """Refuse a hint that has no effect.

    Args:
        what: the queue and the hint, for the message.
        hint: a field of `QueueSpec`.
        policy: schedules the queue.

    Raises:
        ScenarioError: the policy does not read it.
    """
    if hint in policy.reads:
        return
    able = [f"{one.name} of {one.scheduler}" for one in (*BUILTIN, *XSCHED) if hint in one.reads]
    raise ScenarioError(
        f"{what} has no effect under policy {policy.name!r}; policies that read it: "
        f"{', '.join(able)}"
    )


class Ticket:
    """One submitted request.

    Attributes:
        number: how many requests of the queue came before it.
    """

    def __init__(self, queue: XQueue, number: int) -> None:
        self.number = number
        self._queue = queue
        self._times: tuple[int, int, int, int] | None = None

    @property
    def queue(self) -> XQueue:
        """The queue that the request was submitted to."""
        return self._queue

    @property
    def done(self) -> bool:
        """Whether the request has completed."""
        return self._poll(0) is not None

    def wait(self, timeout: DurationLike = "10s") -> Ticket:
        """Wait until the request completes; on `sim` virtual time advances meanwhile.

        Raises:
            QueueTimeout: it did not complete within `timeout`.
        """
        self._queue.await_ticket(self, parse_duration(timeout, what="timeout", allow_zero=True))
        return self

    @property
    def latency(self) -> Duration:
        """Time from submission to completion; waits for the completion."""
        scheduled, _, _, completed = self._done()
        return Duration(completed - scheduled)

    @property
    def launched_ns(self) -> int:
        """Time of its first launch, ns since `xqueues` was opened; waits for the completion."""
        return self._done()[2]

    @property
    def completed_ns(self) -> int:
        """Time of its completion, ns since `xqueues` was opened; waits for the completion."""
        return self._done()[3]

    def _done(self) -> tuple[int, int, int, int]:
        if self._times is None:
            self.wait()
        assert self._times is not None
        return self._times

    def _poll(self, timeout_ns: int) -> tuple[int, int, int, int] | None:
        if self._times is None:
            self._times = self._queue.native.wait(self.number, timeout_ns)
        return self._times


class XQueue:
    """One live XQueue. Made by calling `XQueues`."""

    # An attribute that it does not have cannot be set: it would change nothing.
    __slots__ = (
        *("_clock_ns", "_deadline", "_last", "_laxity", "_lock", "_policy", "_slice_ns"),
        *("_utilization", "native", "spec"),
    )

    def __init__(
        self,
        spec: QueueSpec,
        native: NativeQueue,
        clock_ns: Callable[[], int],
        slice_ns: int,
        policy: Callable[[], Policy],
    ) -> None:
        self.spec = spec
        self._policy = policy
        self.native = native
        self._clock_ns = clock_ns
        self._slice_ns = slice_ns
        self._last: Ticket | None = None
        self._deadline = None if spec.deadline_ns is None else Duration(spec.deadline_ns)
        self._laxity = None if spec.laxity_ns is None else Duration(spec.laxity_ns)
        self._utilization = spec.utilization
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the queue."""
        return self.spec.name

    def submit(self, workload: Workload, *, after: Ticket | XQueue | None = None) -> Ticket:
        """Submit one request and return at once. At most 4096 requests may be unfinished.

        Args:
            workload: the commands of the request.
            after: a ticket of another queue, or that queue for its last one: the request starts
                when that one is complete, or when that queue is destroyed. Later requests of this
                queue wait for this one. Until then, the queue is ``"waiting"``, and holds no other
                queue back.
        """
        commands = self._commands("submit", workload)
        if after is None:
            number = self.native.submit(commands)
        else:
            other = self._other(after)
            number = self.native.submit(commands, (other.queue.native, other.number))
        ticket = Ticket(self, number)
        self._note_last(ticket)
        return ticket

    def _note_last(self, ticket: Ticket) -> None:
        with self._lock:  # of two threads that submit at once, the later ticket counts
            if self._last is None or ticket.number > self._last.number:
                self._last = ticket

    def _commands(self, call: str, workload: Workload) -> tuple[Command, ...]:
        if not isinstance(workload, Workload) or not workload.commands:
            raise ScenarioError(
                f"queue {self.name!r}: {call} takes a workload such as matmul(512), "
                f"not {one_line(workload)}"
            )
        return workload.commands

    def load(
        self, workload: Workload, *, concurrency: int = 2, every: DurationLike | None = None
    ) -> None:
        """Let requests arrive in the background until `unload`; other calls go on meanwhile.

        A load takes the place of an earlier one. Requests can be submitted to the queue, too.

        Args:
            workload: of each request.
            concurrency: most unfinished requests of the queue, in [1, 4095]. While it has as many,
                the load submits none.
            every: time from one request to the next: an open loop. A request that arrives while
                there is no room waits until there is, so all that arrived are done in the end.
                None: a closed loop, whose next request arrives as soon as there is room, so that
                the queue always has work.
        """
        commands = self._commands("load", workload)
        what = f"queue {self.name!r}"
        integer(f"{what}: concurrency", concurrency, 1, PENDING_MAX - 1)
        every_ns = 0 if every is None else parse_duration(every, what=f"{what}: every")
        self.native.start_load(commands, concurrency, every_ns)

    def unload(self) -> None:
        """End the load of `load`. Its unfinished requests stay, and `wait` waits for them."""
        count = self.native.stop_load()
        if count:
            self._note_last(Ticket(self, count - 1))

    def submit_times(self, workload: Workload, times: int) -> list[Ticket]:
        """Submit equal requests, also to another process in a single call."""
        numbers = self.native.submit_times(workload.commands, times)
        tickets = [Ticket(self, number) for number in numbers]
        self._note_last(tickets[-1])
        return tickets

    def _other(self, after: Ticket | XQueue) -> Ticket:
        """Return the ticket that a request starts after."""
        if isinstance(after, XQueue):
            if after._last is None:
                raise ScenarioError(
                    f"queue {self.name!r}: after names queue {after.name!r}, which has no request"
                )
            after = after._last
        if not isinstance(after, Ticket):
            raise ScenarioError(
                f"queue {self.name!r}: after={one_line(after)} is no ticket; write "
                "after=other.submit(...)"
            )
        if after.queue._clock_ns != self._clock_ns:  # each run has its own
            raise ScenarioError(
                f"queue {self.name!r}: after names a ticket of {after.queue.name!r}, which is not "
                "one of the queues next to it; only queues of the same xqueues wait for each other"
            )
        return after

    def wait(self, timeout: DurationLike = "10s") -> None:
        """Wait until all submitted requests complete.

        Raises:
            QueueTimeout: they did not complete within `timeout`.
        """
        parse_duration(timeout, what="timeout", allow_zero=True)
        # The times of an old request are gone where a load has made thousands since.
        if self._last is not None and self.counts.requests_completed <= self._last.number:
            self._last.wait(timeout)

    def await_ticket(self, ticket: Ticket, timeout_ns: int) -> None:
        """Wait for one ticket, in short waits, so that Ctrl-C has an effect."""
        end_ns = self._clock_ns() + timeout_ns
        found = ticket._poll(min(timeout_ns, self._slice_ns))
        while found is None and (left_ns := end_ns - self._clock_ns()) > 0:
            found = ticket._poll(min(left_ns, self._slice_ns))
        if found is None:
            c = self.counts
            raise QueueTimeout(
                f"queue {self.name!r}: request {ticket.number} did not complete within "
                f"{Duration(timeout_ns)}; the queue is {c.state}, {c.completed} of {c.submitted} "
                "commands completed"
            )

    def suspend(self) -> Duration:
        """Launch nothing until `resume`; commands in flight complete.

        Returns:
            How long the scheduler took for the call, in the process of the queue; 0 on `sim`.
        """
        return self._took(self.native.suspend())

    def resume(self) -> Duration:
        """Undo `suspend`. The policy may still suspend the queue.

        Returns:
            How long the scheduler took for the call, as of `suspend`.
        """
        return self._took(self.native.resume())

    def _took(self, ns: int) -> Duration:
        return Duration(0 if self._slice_ns == MAX_NS else ns)  # real time is none of virtual time

    @property
    def priority(self) -> int:
        """Priority in effect, in [-255, 255], higher wins; may be set at any time."""
        return self.counts.priority

    @priority.setter
    def priority(self, value: int) -> None:
        what = f"queue {self.name!r}: priority"
        self.native.set_priority(integer(what, value, PRIORITY_MIN, PRIORITY_MAX))

    @property
    def deadline(self) -> Duration | None:
        """Deadline that was set last, for policies that use deadlines; may be set at any time.

        It counts from the arrival of a request, or under XSched from the begin of a burst of work.
        None: the queue has none, and is due last. Set to None, XSched gets its NO_DEADLINE.

        Raises:
            ScenarioError: it is set under a policy that uses no deadlines.
        """
        return self._deadline

    @deadline.setter
    def deadline(self, value: DurationLike | None) -> None:
        what = f"queue {self.name!r}: deadline"
        deadline_ns = None if value is None else parse_duration(value, what=what)
        require_read(what, "deadline_ns", self._policy())
        self.native.set_deadline(deadline_ns or 0)
        self._deadline = None if deadline_ns is None else Duration(deadline_ns)

    @property
    def laxity(self) -> Duration | None:
        """Laxity that was set last, for policies that use laxities; may be set at any time.

        The queue has priority 0 until it has been ready for that long, and then its own.

        Raises:
            ScenarioError: it is set under a policy that uses no laxities.
        """
        return self._laxity

    @laxity.setter
    def laxity(self, value: DurationLike) -> None:
        what = f"queue {self.name!r}: laxity"
        laxity_ns = parse_duration(value, what=what)
        require_read(what, "laxity_ns", self._policy())
        self.native.set_laxity(laxity_ns)
        self._laxity = Duration(laxity_ns)

    @property
    def utilization(self) -> int | None:
        """Percent of the device, in [1, 100], for policies that divide it; may be set at any time.

        Policies take the utilizations of the queues that have work in proportion. None counts as
        100.

        Raises:
            ScenarioError: it is set under a policy that uses no utilizations.
        """
        return self._utilization

    @utilization.setter
    def utilization(self, value: int) -> None:
        what = f"queue {self.name!r}: utilization"
        percent = integer(what, value, 1, 100)
        require_read(what, "utilization", self._policy())
        self.native.set_utilization(percent)
        self._utilization = percent

    def set_launch_config(self, *, threshold: int, batch_size: int) -> None:
        """Set how many commands may be in flight, and how many there are from mark to mark.

        Commands in flight stay in flight, even if the new threshold is lower.

        Args:
            threshold: most commands in flight, in [batch_size, 1024]. A queue with the threshold
                ``"auto"`` has none to set.
            batch_size: commands from mark to mark, at least 1.

        Raises:
            ScenarioError: a value is wrong, or the queue's threshold is automatic.
        """
        what = f"queue {self.name!r}"
        integer(f"{what}: batch_size", batch_size, 1, THRESHOLD_MAX)
        integer(f"{what}: threshold", threshold, batch_size, THRESHOLD_MAX)
        self.native.set_depth(threshold, batch_size)

    @property
    def counts(self) -> Counts:
        """Counts of commands and requests so far: completed <= launched <= submitted."""
        return self.native.counts()

    @property
    def state(self) -> str:
        """``"idle"``, ``"ready"`` (has work and may launch), ``"suspended"`` or ``"waiting"``."""
        return self.counts.state

    def destroy(self, work: DurationLike = "0s") -> None:
        """Drop the commands that were not launched, wait for the others, and free the queue.

        XSched launches all of them first.

        Args:
            work: how long its commands may take; `patience` of `Session.live` begins after that.
        """
        self.native.destroy(parse_duration(work, what="work", allow_zero=True))


class XQueues:
    """A set of live XQueues under one policy, on a device of their own; the fixture `xqueues`."""

    __slots__ = ("_count", "_place", "_policy", "_run", "_seed", "_virtual")

    def __init__(self, place: Place, *, seed: int = 0, policy: Policy = HPF) -> None:
        self._policy = policy
        self._place = place
        self._virtual = place.is_virtual
        self._seed = seed
        self._count = 0
        self._run = place.open_run()

    def __call__(
        self,
        *,
        priority: int | None = 0,
        threshold: int | str = 4,
        batch_size: int | None = None,
        name: str | None = None,
        device: int = 0,
        deadline: DurationLike | None = None,
        laxity: DurationLike | None = None,
        utilization: int | None = None,
        launch: DurationLike | None = None,
    ) -> XQueue:
        """Make an XQueue.

        All streams have the same priority, so that a change of a queue's priority has its full
        effect.

        Args:
            priority: in [-255, 255], higher wins. None: the scheduler gets no priority for the
                queue, which counts as 0.
            threshold: most commands in flight, in [batch_size, 1024], or ``"auto"``.
            batch_size: commands from mark to mark, at least 1; default 2. None with ``"auto"``.
            name: used in messages; ``"xq0"``, ``"xq1"``, ... by default.
            device: number of its device, of those that the queues were opened with.
            deadline: see `XQueue.deadline`. None: the scheduler gets none for the queue.
            laxity: see `XQueue.laxity`. None: the scheduler gets none, and the priority is 0.
            utilization: see `XQueue.utilization`. None: the scheduler gets none for the queue.
            launch: what each launch of the queue takes in addition, in the thread that launches: of
                our own scheduler that of the queue, of XSched the callback. On `sim`, commands
                reach the device later by as much, one after another. None: nothing.
        """
        name = f"xq{self._count}" if name is None else name
        due_ns = self._read(f"queue {name!r}: deadline", "deadline_ns", deadline)
        laxity_ns = self._read(f"queue {name!r}: laxity", "laxity_ns", laxity)
        if utilization is not None:
            require_read(f"queue {name!r}: utilization", "utilization", self.policy)
        spec = QueueSpec(
            name=name,
            workload=_NOTHING,
            priority=0 if priority is None else priority,
            arrivals=Closed(),
            threshold=threshold,
            batch_size=batch_size,
            deadline_ns=due_ns,
            laxity_ns=laxity_ns,
            utilization=utilization,
        )
        settings = QueueSettings(
            name=name,
            priority=spec.priority,
            stream_priority=0,
            threshold=spec.depth[0],
            batch_size=spec.depth[1],
            seed=(self._seed + self._count) % 2**32,
            hints=Hints(
                without_priority=int(priority is None),
                deadline_ns=due_ns or 0,
                laxity_ns=laxity_ns or 0,
                utilization=spec.utilization or 0,
            ),
            device=self._other(f"queue {name!r}: device", device),
            launch_ns=0
            if launch is None
            else parse_duration(launch, what=f"queue {name!r}: launch"),
        )
        self._count += 1
        # A call that advances virtual time returns soon, however long the time is.
        slice_ns = MAX_NS if self._virtual else SLICE_NS
        native = self._run.add_manual(settings)
        return XQueue(spec, native, self._run.now_ns, slice_ns, lambda: self.policy)

    def _read(self, what: str, hint: str, value: DurationLike | None) -> int | None:
        """Return a hint of a new queue in ns; None: there is none."""
        if value is None:
            return None
        require_read(what, hint, self.policy)
        return parse_duration(value, what=what)

    def _other(self, what: str, number: int) -> Any:
        """Return another device by its number; None: that of the run."""
        integer(what, number, 0, self.device_count - 1)
        return self._place.others[number - 1] if number else None

    @property
    def device_count(self) -> int:
        """How many devices the queues can be on."""
        return 1 + len(self._place.others)

    @property
    def is_virtual(self) -> bool:
        """Whether time passes only while a test waits or sleeps."""
        return self._virtual

    @property
    def is_elsewhere(self) -> bool:
        """Whether the queues are in another process."""
        return not isinstance(self._place, Here)

    def limit_calls(self, most: DurationLike | None) -> None:
        """Limit how long a call may take in a process of its own, beyond its own wait.

        Args:
            most: if that is shorter than `patience` of `Session.live`; None: as long as that.
        """
        self._place.limit_calls(None if most is None else parse_duration(most, what="most"))

    @property
    def now(self) -> Duration:
        """Time since `xqueues` was opened; virtual on `sim`."""
        return Duration(self._run.now_ns())

    @property
    def processor_time(self) -> Duration:
        """Processor time that all threads of the process of the queues have used."""
        return Duration(self._run.cpu_ns())

    @property
    def scheduler_cost(self) -> SchedulerCost:
        """What the threads of the scheduler have used so far; subtract an earlier one.

        Under XSched these are the threads that XSched started, with the launches that they make.
        Our own scheduler works in the threads of the queues, which also wait for the device. In
        virtual time there are no threads.
        """
        return self._run.cost()

    @property
    def run_delay(self) -> Duration:
        """How long the threads of the process of the queues had to wait for a processor so far.

        It is the sum over all threads. A busy machine delays what they do by at most that; 0 in
        virtual time.
        """
        return Duration(0 if self._virtual else self._run.run_delay_ns())

    @property
    def heap_bytes(self) -> int | None:
        """Memory that malloc has given to the process of the queues; None: not known."""
        return self._run.heap_bytes()

    @property
    def policy(self) -> Policy:
        """The policy that schedules them, as the registry describes it; `set_policy` changes it."""
        return self._policy

    @policy.setter
    def policy(self, value: object) -> None:
        raise ScenarioError(
            f"the policy of live queues cannot be assigned, as {one_line(value)}; write "
            'xqueues.set_policy("edf")'
        )

    def set_policy(self, name: str) -> None:
        """Set another policy while queues live; they keep their priorities.

        It decides at once, also after `switch_off`.

        Args:
            name: of our policies, or of XSched's if that schedules the queues.

        Raises:
            ScenarioError: the scheduler has no such policy.
        """
        known = [one.name for one in (*BUILTIN, *XSCHED) if one.scheduler == self.policy.scheduler]
        one_of("set_policy", name, tuple(known))
        self._run.set_policy(name)
        self._policy = policy_of(self.policy.scheduler, name)

    def switch_off(self) -> None:
        """Switch the scheduler off: all queues run, except those that the test suspended.

        `switch_on` switches it on again, and so does `clear`.
        """
        self._run.switch_off()

    def switch_on(self) -> None:
        """Switch the scheduler on after `switch_off`: its policy decides at once.

        XSched forgets all hints when it is switched off. It gets the priorities again.
        """
        self._run.set_policy(self.policy.name)

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """Make several calls at once, each in a thread of its own, and return their results.

        In virtual time, and on another machine, the calls are made one after another, in order.
        ``xqueues.together(lambda: q0.suspend(), lambda: q1.submit(spin("1ms")))`` returns what
        the two calls return. The first error of a call is raised when all calls have returned.

        Args:
            calls: functions without arguments, which call methods of queues.
        """
        results: list[Any] = [None] * len(calls)
        errors: list[BaseException | None] = [None] * len(calls)

        def make(number: int) -> None:
            try:
                results[number] = calls[number]()
            except BaseException as error:
                errors[number] = error

        if self._virtual or not self._place.takes_overlapping_calls:
            for number in range(len(calls)):
                make(number)
        else:
            threads = [
                threading.Thread(target=make, args=(number,), daemon=True)
                for number in range(len(calls))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        for error in errors:
            if error is not None:
                raise error
        return results

    def sleep(self, duration: DurationLike) -> None:
        """Let time pass: virtual time advances at once, real time by sleeping."""
        duration_ns = parse_duration(duration, what="duration of sleep")
        if self._virtual:
            self._run.advance(duration_ns)
        else:
            time.sleep(duration_ns / 1e9)

    def clear(self) -> None:
        """Destroy all queues and begin again, on the same device in the same process.

        The policy stays as `set_policy` has set it.
        """
        self._run.close()
        self._run = self._place.open_run()
        if self.policy.scheduler == "builtin":  # that of XSched belongs to the process
            self._run.set_policy(self.policy.name)
        self._count = 0

    def close(self) -> None:
        """Destroy all queues, and close the device."""
        try:
            self._run.close()
        finally:
            self._place.close()

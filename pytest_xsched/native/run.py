"""Native runs and queues as Python objects, which keep the memory of the native side alive.

`Run.wait` returns after at most `SLICE_NS` of wall time, `Queue.wait` after its timeout. Closing
and destroying wait for the commands that are on the device.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.constants import WAITING
from pytest_xsched.errors import XSchedError
from pytest_xsched.native.binding import (
    SAMPLE,
    SLICE_NS,
    Device,
    call,
    commands_array,
    ffi,
    lib,
    unit_mask,
)
from pytest_xsched.native.command_record import CommandRecord, RecordRings, no_record
from pytest_xsched.native.graph import Graph, GraphRequest
from pytest_xsched.native.milestones import Milestones, no_milestones
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.workload import Command
from pytest_xsched.system.heap import heap_bytes
from pytest_xsched.system.scheduler_cost import QUEUES, SchedulerCost, read_cost, run_delay_ns

_STATES = {
    lib.XS_QUEUE_IDLE: "idle",
    lib.XS_QUEUE_READY: "ready",
    lib.XS_QUEUE_SUSPENDED: "suspended",
    lib.XS_QUEUE_WAITING: "waiting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts of a queue so far, in commands unless the name says requests."""

    submitted: int
    launched: int
    completed: int
    failed: int
    requests_submitted: int
    requests_completed: int
    background_commands: int = 0
    """Those of the submitted commands that a load in the background made."""
    background_requests: int = 0
    """Likewise, requests."""
    suspended: int
    """How often the queue was suspended while it had work."""
    suspensions: int = 0
    """How often it changed between suspended and not suspended."""
    most_in_flight: int
    """The largest number of commands in flight at once."""
    priority: int
    state: str
    """``"idle"``, ``"ready"`` (it has unfinished work and may launch), ``"suspended"``, or
    ``"waiting"`` (its next request waits for a request of another queue)."""
    longest_stall_ns: int = 0
    """Longest time in the window in which the queue had an unfinished request and did not move.

    It moves when one of its commands is launched or completes.
    """

    def __add__(self, later: Counts) -> Counts:
        """Add the counts of a later run of the same queue."""
        names = [
            *("submitted", "launched", "completed", "failed"),
            *("requests_submitted", "requests_completed", "suspended", "suspensions"),
            *("background_commands", "background_requests"),
        ]
        sums = {name: getattr(self, name) + getattr(later, name) for name in names}
        most = max(self.most_in_flight, later.most_in_flight)
        stall = max(self.longest_stall_ns, later.longest_stall_ns)
        return dataclasses.replace(later, most_in_flight=most, longest_stall_ns=stall, **sums)


class SchedulerCounts(NamedTuple):
    """Commands of a queue that XSched counted; see `struct xs_scheduler_counts`."""

    submitted: int
    launched: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Hints about a queue to a scheduler; see `struct xs_hints`. 0: no hint."""

    threshold: int = 0
    batch_size: int = 0
    utilization: int = 0
    deadline_ns: int = 0
    laxity_ns: int = 0
    without_priority: int = 0
    """1: XSched gets no priority, and takes its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """The settings of a queue; see `struct xs_queue_spec`."""

    name: str
    priority: int
    stream_priority: int
    threshold: int
    """0: automatic, and batch_size is 0, too."""
    batch_size: int
    seed: int = 0
    units: tuple[int, ...] = ()
    """Multiprocessors that it may use; empty: all."""
    hints: Hints = Hints()
    changes: tuple[Change, ...] = ()
    """Changes of this queue, ordered by their times from the start of the run."""
    device: Device | None = None
    """A device other than the run's; it must outlive the run."""
    command_ns: int = 0
    """Time that a command takes alone at most; 0: not known. The run waits longer for slow ones."""
    launch_ns: int = 0
    """What each launch takes in addition."""
    record: bool = False
    """Whether to record each command and each suspension; not for queues without a load."""


Work: TypeAlias = "Sequence[Command] | Graph | GraphRequest"
"""Commands, or graphs whose segments they are."""
MILESTONES_MAX = 20_000_000
"""Room for the milestones of a closed loop, which takes 8 bytes for each."""


def _native_commands(commands: Work) -> tuple[Any, Any]:
    """Return commands as an array, and what must stay alive as long as the array."""
    if isinstance(commands, (Graph, GraphRequest)):
        return commands.commands_array(), commands
    return commands_array(commands)


def _changes(changes: tuple[Change, ...]) -> Any:
    """Return the changes as an array with one native change for each value that changes."""
    rows = []
    for change in changes:
        if change.priority is not None:
            rows.append((change.at_ns, lib.XS_CHANGE_PRIORITY, change.priority))
        if change.suspended is not None:
            rows.append((change.at_ns, lib.XS_CHANGE_HELD, int(change.suspended)))
    return ffi.new("struct xs_change[]", rows)


def _timed(function: Any, pointer: Any) -> int:
    begin_ns = time.monotonic_ns()
    call(function, pointer)
    return time.monotonic_ns() - begin_ns


class _Uses:
    """The calls of a queue or a run that go on, in any thread: what is in use is not freed.

    A thread does not wait for itself. Ctrl-C may have ended its call before `__exit__` was due.
    """

    def __init__(self) -> None:
        self._threads: list[int] = []
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._threads.append(threading.get_ident())

    def __exit__(self, *_error: object) -> None:
        with self._changed:
            self._threads.remove(threading.get_ident())
            self._changed.notify_all()

    def wait_for_the_end(self) -> None:
        own = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: all(thread == own for thread in self._threads))


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _in_use(method: _Method) -> _Method:
    """Let another thread that frees the queue or the run wait until the method returns."""

    @functools.wraps(method)
    def use(self: Queue | Run, *args: Any, **kwargs: Any) -> Any:
        with self._uses:
            return method(self, *args, **kwargs)

    return cast(_Method, use)


class Queue:
    """A queue of a run. `Run` makes it; it is valid until `destroy` or until the run is closed."""

    def __init__(
        self,
        pointer: Any,
        samples: NDArray[np.void] | None,
        keep: tuple[Any, ...],
        siblings: list[Queue],
        record: RecordRings | None = None,
        milestone_ns: NDArray[np.int64] | None = None,
    ) -> None:
        self._milestone_ns = milestone_ns
        self._siblings = siblings
        self._uses = _Uses()
        self._native = pointer
        self._samples = samples
        self._keep = keep  # what the native side points to
        self._record = record

    @_in_use
    def counts(self) -> Counts:
        """Return the counts of commands and requests so far."""
        c = ffi.new("struct xs_queue_counts *")
        call(lib.xs_queue_counts, self._pointer, c)
        return Counts(
            submitted=c.submitted,
            launched=c.launched,
            completed=c.completed,
            failed=c.failed,
            requests_submitted=c.requests_submitted,
            requests_completed=c.requests_completed,
            background_commands=c.background_commands,
            background_requests=c.background_requests,
            suspended=c.suspended,
            suspensions=c.suspensions,
            most_in_flight=c.most_in_flight,
            priority=c.priority,
            state=_STATES[c.state],
            longest_stall_ns=c.longest_stall_ns,
        )

    @property
    def capacity(self) -> int:
        """Number of samples that there is room for; for an open loop, its arrivals."""
        return 0 if self._samples is None else len(self._samples)

    def samples(self, count: int) -> NDArray[np.void]:
        """Copy the samples of the first `count` requests after the end of the run."""
        assert self._samples is not None
        copied: NDArray[np.void] = self._samples[:count].copy()
        return copied

    def milestones(self, count: int, names: Sequence[str]) -> Milestones:
        """Copy the milestones of the first `count` requests after the end of the run.

        Args:
            count: Of the requests.
            names: Of the milestones of a request, in their order; a name may be there repeatedly.
        """
        if self._milestone_ns is None:
            return no_milestones()
        return Milestones.from_matrix(names, self._milestone_ns[:count])

    def record(self) -> CommandRecord:
        """Copy the record of the queue after the end of the run."""
        if self._record is None:
            return no_record()
        counts = self.counts()
        return self._record.copy(counts.launched, counts.suspensions)

    def thread_id(self) -> int:
        """Return the kernel's id of the thread that drives the queue; 0: none, or not yet."""
        return int(lib.xs_queue_thread(self._pointer))

    def checksum(self, index: int) -> tuple[int, int]:
        """Return launches and checksum of command `index` of the requests; see xs_api.h."""
        launches, checksum = ffi.new("uint64_t *"), ffi.new("int64_t *")
        call(lib.xs_queue_checksum, self._pointer, index, launches, checksum)
        return int(launches[0]), int(checksum[0])

    def output(self, index: int, count: int) -> NDArray[np.float32]:
        """Copy the output of the last launch of command `index`: float32[count]."""
        out = np.empty(count, np.float32)
        pointer = ffi.from_buffer("float[]", out, require_writable=True)
        call(lib.xs_queue_output, self._pointer, index, pointer, count)
        return out

    def scheduler_counts(self) -> SchedulerCounts:
        """Return the commands of the queue that XSched counted."""
        out = ffi.new("struct xs_scheduler_counts *")
        call(lib.xs_queue_scheduler_counts, self._pointer, out)
        return SchedulerCounts(int(out.submitted), int(out.launched), int(out.in_flight))

    def scheduler_call(self) -> tuple[str, int]:
        """Return the call of XSched that has not returned, or "", and the commands it launched."""
        launched = ffi.new("uint64_t *")
        name = lib.xs_queue_scheduler_call(self._pointer, launched)
        return "" if name == ffi.NULL else ffi.string(name).decode(), int(launched[0])

    @_in_use
    def set_priority(self, priority: int) -> None:
        """Change the priority that the policy sees."""
        call(lib.xs_queue_set_priority, self._pointer, priority)

    @_in_use
    def set_deadline(self, deadline_ns: int) -> None:
        """Change the deadline that the policy sees, in ns; 0: none."""
        call(lib.xs_queue_set_deadline, self._pointer, deadline_ns)

    @_in_use
    def set_laxity(self, laxity_ns: int) -> None:
        """Change the laxity that the policy sees, in ns."""
        call(lib.xs_queue_set_laxity, self._pointer, laxity_ns)

    @_in_use
    def set_utilization(self, percent: int) -> None:
        """Change the share of the device that the policy sees, in percent."""
        call(lib.xs_queue_set_utilization, self._pointer, percent)

    @_in_use
    def suspend(self) -> int:
        """Launch nothing until `resume`; return how long the call took, in ns."""
        return _timed(lib.xs_queue_suspend, self._pointer)

    @_in_use
    def resume(self) -> int:
        """Undo `suspend`; return how long the call took, in ns.

        The policy may still suspend the queue.
        """
        return _timed(lib.xs_queue_resume, self._pointer)

    def start_after(self, source: Queue) -> None:
        """Let request n start when request n of another open loop is complete; before the start."""
        call(lib.xs_queue_after, self._pointer, source._pointer)

    @_in_use
    def submit(self, commands: Work, after: tuple[Queue, int] | None = None) -> int:
        """Submit one request, and return its ticket, counted from 0.

        Args:
            commands: of the request.
            after: a queue and its ticket that must be complete before the request starts.
        """
        if after is None:
            return self._submit(commands, ffi.NULL, 0)
        source, number = after
        with source._uses:  # it is not freed either
            return self._submit(commands, source._pointer, number)

    def _submit(self, commands: Work, source: Any, number: int) -> int:
        ticket = ffi.new("uint64_t *")
        array, kept = _native_commands(commands)  # copied by the call
        if kept is commands and not any(kept is other for other in self._keep):
            self._keep = (*self._keep, kept)
        call(lib.xs_queue_submit_after, self._pointer, array, len(array), source, number, ticket)
        return int(ticket[0])

    @_in_use
    def start_load(self, commands: Sequence[Command], most: int, every_ns: int) -> None:
        """Start a load in the background; see `xs_queue_start_load`."""
        array, _kept = _native_commands(commands)  # copied by the call
        call(lib.xs_queue_start_load, self._pointer, array, len(array), most, every_ns)

    @_in_use
    def stop_load(self) -> int:
        """Stop the load in the background, and return the count of all requests so far."""
        requests = ffi.new("uint64_t *")
        call(lib.xs_queue_stop_load, self._pointer, requests)
        return int(requests[0])

    def submit_times(self, commands: Work, times: int) -> list[int]:
        """Submit several equal requests, and return their tickets."""
        return [self.submit(commands) for _ in range(times)]

    @_in_use
    def wait(self, ticket: int, timeout_ns: int) -> tuple[int, int, int, int] | None:
        """Wait for a ticket, and return its scheduled, submitted, launched and completed ns.

        None: it is not complete after `timeout_ns`.
        """
        sample = ffi.new("struct xs_sample *")
        status = call(lib.xs_queue_wait, self._pointer, ticket, timeout_ns, sample)
        if status == lib.XS_EAGAIN:
            return None
        return sample.scheduled_ns, sample.submitted_ns, sample.launched_ns, sample.completed_ns

    @_in_use
    def set_depth(self, threshold: int, batch_size: int) -> None:
        """Set how many commands may be in flight, and how many lie between two marks."""
        call(lib.xs_queue_set_depth, self._pointer, threshold, batch_size)

    def destroy(self, work_ns: int = 0) -> None:
        """Drop the submitted commands, wait for the launched ones, and free the queue.

        Args:
            work_ns: of no use here: a call in this process that hangs cannot be ended.
        """
        pointer, self._native = self._native, ffi.NULL  # later calls are refused
        if pointer != ffi.NULL:
            self._uses.wait_for_the_end()
            lib.xs_queue_destroy(pointer)
            self._siblings.remove(self)

    def forget(self) -> None:
        """Refuse every later call, and wait for those of other threads."""
        self._native = ffi.NULL
        self._uses.wait_for_the_end()

    @property
    def _pointer(self) -> Any:
        if self._native == ffi.NULL:
            raise XSchedError("the queue was destroyed")
        return self._native


class Run:
    """A run on a device: add queues, start, wait, read, close."""

    def __init__(self, device: Device, policy: str) -> None:
        out = ffi.new("struct xs_run **")
        call(lib.xs_run_open, device.pointer, policy.encode(), out)
        self._native = out[0]
        self._uses = _Uses()
        self._device = device  # must outlive the run
        self._queues: list[Queue] = []  # they keep memory of the native side alive
        self._slots: Any = None  # the slots of the heartbeat, which must outlive the run, too

    @property
    def _pointer(self) -> Any:
        if self._native == ffi.NULL:
            raise XSchedError("the run was closed")
        return self._native

    @_in_use
    def _add(
        self,
        settings: QueueSettings,
        load: dict[str, Any],
        commands: Work,
        samples: NDArray[np.void] | None,
        keep: tuple[Any, ...],
        milestones: Sequence[int] = (),
    ) -> Queue:
        spec = ffi.new("struct xs_queue_spec *")
        name = ffi.new("char[]", settings.name.encode())
        array, kept = _native_commands(commands)  # copied by the call
        keep = (*keep, kept)
        spec.name, spec.commands, spec.command_count = name, array, len(array)
        spec.priority, spec.stream_priority = settings.priority, settings.stream_priority
        spec.threshold, spec.batch_size = settings.threshold, settings.batch_size
        spec.seed, spec.command_ns = settings.seed, settings.command_ns
        spec.launch_ns = settings.launch_ns
        spec.hints = dataclasses.asdict(settings.hints)
        changes = _changes(settings.changes)
        spec.changes, spec.change_count = changes, len(changes)
        keep = (*keep, changes)
        words = unit_mask(settings.units)
        spec.units, spec.unit_words = words, len(words)
        if settings.device is not None:
            spec.device = settings.device.pointer
        if samples is not None:
            pointer = ffi.from_buffer("struct xs_sample[]", samples, require_writable=True)
            load = {**load, "samples": pointer, "sample_cap": len(samples)}
            keep = (*keep, pointer)
        milestone_ns = None
        if milestones and samples is not None:
            milestone_ns = np.empty((len(samples), len(milestones)), np.int64)
            ends = ffi.new("uint32_t[]", milestones)
            pointer = ffi.from_buffer("int64_t[]", milestone_ns, require_writable=True)
            load |= {"milestones": ends, "milestone_count": len(ends), "milestone_ns": pointer}
            keep = (*keep, ends, pointer)
        spec.load = load
        record = None
        if settings.record:
            most = None if "arrivals_ns" not in load else load["arrival_count"] * len(array)
            record = RecordRings(most, touch=not self._device.describe().virtual_time)
            spec.record = record.spec
        out = ffi.new("struct xs_queue **")
        call(lib.xs_queue_add, self._pointer, spec, out)
        queue = Queue(out[0], samples, keep, self._queues, record, milestone_ns)
        self._queues.append(queue)
        return queue

    def add_open(
        self,
        settings: QueueSettings,
        commands: Work,
        arrivals_ns: NDArray[np.int64],
        milestones: Sequence[int] = (),
    ) -> Queue:
        """Add a queue whose requests arrive at given times: int64[n], ns, ascending.

        Args:
            settings: Of the queue.
            commands: Those of each request; of a graph, its segments.
            arrivals_ns: When the requests arrive.
            milestones: After how many commands of a request each of its milestones is reached.
        """
        arrivals_ns = np.ascontiguousarray(arrivals_ns, np.int64)
        pointer = ffi.from_buffer("int64_t[]", arrivals_ns)
        load = {
            "kind": lib.XS_LOAD_OPEN,
            "arrivals_ns": pointer,
            "arrival_count": len(arrivals_ns),
        }
        samples = np.empty(len(arrivals_ns), SAMPLE)
        return self._add(settings, load, commands, samples, (arrivals_ns, pointer), milestones)

    def add_closed(
        self,
        settings: QueueSettings,
        commands: Work,
        *,
        concurrency: int,
        think_ns: int,
        most: int = SAMPLES_MAX,
        milestones: Sequence[int] = (),
    ) -> Queue:
        """Add a queue of clients that wait for their requests. More than `most` are an error."""
        if milestones:
            most = min(most, MILESTONES_MAX // len(milestones))
        load = {"kind": lib.XS_LOAD_CLOSED, "concurrency": concurrency, "think_ns": think_ns}
        # The system allocates a page when it is first written, so room for `most` is free.
        return self._add(settings, load, commands, np.empty(most, SAMPLE), (), milestones)

    def set_policy(self, policy: str) -> None:
        """Set another policy of ours, by its name."""
        call(lib.xs_run_set_policy, self._pointer, policy.encode())

    def add_manual(self, settings: QueueSettings) -> Queue:
        """Add a queue whose requests come from `Queue.submit`."""
        return self._add(settings, {"kind": lib.XS_LOAD_MANUAL}, (), None, ())

    def start(
        self,
        *,
        warmup_ns: int,
        duration_ns: int,
        drain_ns: int,
        waiting: str = "yield",
        start_clock_ns: int = 0,
        heartbeat_ns: NDArray[np.int64] | None = None,
        slot_ns: int = 0,
    ) -> None:
        """Start the clock, at `start_clock_ns` of CLOCK_MONOTONIC unless that is 0.

        A duration of 0 lasts until the run is stopped. `heartbeat_ns`, int64[slots], starts as
        zeros. The run fills it with the largest lateness of the heartbeat in each slot.
        """
        how = WAITING.index(waiting)
        timing = ffi.new(
            "struct xs_timing *", (warmup_ns, duration_ns, drain_ns, how, start_clock_ns)
        )
        if heartbeat_ns is not None:
            self._slots = ffi.from_buffer("int64_t[]", heartbeat_ns, require_writable=True)
            timing.heartbeat = (slot_ns, len(heartbeat_ns), self._slots)
        call(lib.xs_run_start, self._pointer, timing)

    def wait(self) -> bool:
        """Wait for at most `SLICE_NS`, and return whether the run is over."""
        return call(lib.xs_run_wait, self._pointer, SLICE_NS) == int(lib.XS_OK)

    def wait_until_over(self) -> None:
        """Wait until the run is over.

        The loop is not in the caller: see `system.managed_process.ManagedProcess.listen_until`.
        """
        while not self.wait():
            pass

    @_in_use
    def now_ns(self) -> int:
        """Return the time since the start, in the time of the run."""
        return int(lib.xs_run_now(self._pointer))

    def cpu_ns(self) -> int:
        """Return the processor time that the process of the run has used."""
        return time.process_time_ns()

    def cost(self) -> SchedulerCost:
        """Return what the threads of the queues have used, which schedule, launch and wait."""
        return read_cost(QUEUES)

    def run_delay_ns(self) -> int:
        """Return how long threads of this process had to wait for a processor, in ns."""
        return run_delay_ns()

    def heap_bytes(self) -> int | None:
        """Return the memory that malloc has given to the process; None: not known."""
        return heap_bytes()

    @_in_use
    def switch_off(self) -> None:
        """Switch the policy off until the end of the run."""
        call(lib.xs_run_switch_off, self._pointer)

    @_in_use
    def advance(self, duration_ns: int) -> None:
        """Let virtual time pass."""
        end_ns = self.now_ns() + duration_ns
        while (left_ns := end_ns - self.now_ns()) > 0:
            call(lib.xs_run_advance, self._pointer, left_ns)

    def close(self) -> None:
        """Stop, join and free everything. Does nothing the second time."""
        pointer, self._native = self._native, ffi.NULL  # later calls are refused
        if pointer == ffi.NULL:
            return
        try:
            lib.xs_run_stop(pointer)  # ends the waits of other threads
            self._uses.wait_for_the_end()
            for queue in list(self._queues):
                queue.forget()
        finally:
            lib.xs_run_close(pointer)

"""Native runs and queues as Python objects, which keep alive what the native side points to.

`Run.wait` returns after at most `SLICE_NS` of wall time, `Queue.wait` if it is asked to. Closing
and destroying wait for what is on the device.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.constants import WAITING
from pytest_xsched.errors import XSchedError
from pytest_xsched.native.binding import SAMPLE, SLICE_NS, Device, call, commands_array, ffi, lib
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.workload import Command

_STATES = {
    lib.XS_QUEUE_IDLE: "idle",
    lib.XS_QUEUE_READY: "ready",
    lib.XS_QUEUE_SUSPENDED: "suspended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What happened on a queue so far, in commands unless the name says requests."""

    submitted: int
    launched: int
    completed: int
    failed: int
    requests_submitted: int
    requests_completed: int
    suspended: int
    """Times the queue was suspended while it had work."""
    most_in_flight: int
    """Commands in flight at once."""
    priority: int
    state: str
    """``"idle"``, ``"ready"`` (unfinished work, may launch) or ``"suspended"``."""

    def __add__(self, later: Counts) -> Counts:
        """Add what happened later, in another run of the same queue."""
        names = [
            *("submitted", "launched", "completed", "failed"),
            *("requests_submitted", "requests_completed", "suspended"),
        ]
        sums = {name: getattr(self, name) + getattr(later, name) for name in names}
        most = max(self.most_in_flight, later.most_in_flight)
        return dataclasses.replace(later, most_in_flight=most, **sums)


class Below(NamedTuple):
    """Commands of a queue at a scheduler below the runner; see `struct xs_scheduler_counts`."""

    submitted: int
    launched: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a scheduler may want to know of a queue; see `struct xs_hints`. 0: nothing said."""

    threshold: int = 0
    batch_size: int = 0
    utilization: int = 0
    deadline_ns: int = 0
    laxity_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a queue is to be made; see `struct xs_queue_spec`."""

    name: str
    priority: int
    stream_priority: int
    threshold: int
    """0, as is batch_size then: automatic."""
    batch_size: int
    seed: int = 0
    units: tuple[int, ...] = ()
    """Multiprocessors it may use; none named: all."""
    hints: Hints = Hints()
    changes: tuple[Change, ...] = ()
    """Of this queue, by their times, which count from the start of the run here."""
    device: Device | None = None
    """Another than the run's; it must outlive the run."""


def _mask(units: tuple[int, ...]) -> Any:
    """Set bit i % 32 of word i // 32 for each unit i."""
    words = ffi.new("uint32_t[]", max(units, default=-1) // 32 + 1)
    for unit in units:
        words[unit // 32] |= 1 << unit % 32
    return words


def _changes(changes: tuple[Change, ...]) -> Any:
    """Give the changes as an array: one of the native side for each thing that changes."""
    rows = []
    for change in changes:
        if change.priority is not None:
            rows.append((change.at_ns, lib.XS_CHANGE_PRIORITY, change.priority))
        if change.suspended is not None:
            rows.append((change.at_ns, lib.XS_CHANGE_HELD, int(change.suspended)))
    return ffi.new("struct xs_change[]", rows)


class Queue:
    """A queue of a run. Made by `Run`, valid until destroyed or until the run is closed."""

    def __init__(
        self,
        pointer: Any,
        samples: NDArray[np.void] | None,
        keep: tuple[Any, ...],
        siblings: list[Queue],
    ) -> None:
        self._siblings = siblings
        self._native = pointer
        self._samples = samples
        self._keep = keep  # what the native side points to

    def counts(self) -> Counts:
        """Count commands and requests, now."""
        c = ffi.new("struct xs_queue_counts *")
        call(lib.xs_queue_counts, self._pointer, c)
        return Counts(
            submitted=c.submitted,
            launched=c.launched,
            completed=c.completed,
            failed=c.failed,
            requests_submitted=c.requests_submitted,
            requests_completed=c.requests_completed,
            suspended=c.suspended,
            most_in_flight=c.most_in_flight,
            priority=c.priority,
            state=_STATES[c.state],
        )

    @property
    def capacity(self) -> int:
        """Samples there is room for; of an open loop, its arrivals."""
        return 0 if self._samples is None else len(self._samples)

    def samples(self, count: int) -> NDArray[np.void]:
        """Copy the samples of the first `count` requests, when the run is over."""
        assert self._samples is not None
        copied: NDArray[np.void] = self._samples[:count].copy()
        return copied

    def thread_id(self) -> int:
        """Give what the kernel calls the thread that drives it; 0: there is none, or not yet."""
        return int(lib.xs_queue_thread(self._pointer))

    def checksum(self, index: int) -> tuple[int, int]:
        """Give launches and checksum of command `index` of the requests; see xs_api.h."""
        launches, checksum = ffi.new("uint64_t *"), ffi.new("int64_t *")
        call(lib.xs_queue_checksum, self._pointer, index, launches, checksum)
        return int(launches[0]), int(checksum[0])

    def output(self, index: int, count: int) -> NDArray[np.float32]:
        """Copy the output of the last launch of command `index`: float32[count]."""
        out = np.empty(count, np.float32)
        pointer = ffi.from_buffer("float[]", out, require_writable=True)
        call(lib.xs_queue_output, self._pointer, index, pointer, count)
        return out

    def below(self) -> Below:
        """Count the commands that a scheduler below the runner has been given, as it does."""
        out = ffi.new("struct xs_scheduler_counts *")
        call(lib.xs_queue_scheduler_counts, self._pointer, out)
        return Below(int(out.submitted), int(out.launched), int(out.in_flight))

    def set_priority(self, priority: int) -> None:
        """Change the priority that the policy sees."""
        call(lib.xs_queue_set_priority, self._pointer, priority)

    def suspend(self) -> None:
        """Launch nothing until `resume`."""
        call(lib.xs_queue_suspend, self._pointer)

    def resume(self) -> None:
        """Undo `suspend`; the policy may still hold the queue back."""
        call(lib.xs_queue_resume, self._pointer)

    def submit(self, commands: Sequence[Command]) -> int:
        """Push one request; gives its ticket, counted from 0."""
        ticket = ffi.new("uint64_t *")
        array, _kept = commands_array(commands)  # copied by the call
        call(lib.xs_queue_submit, self._pointer, array, len(commands), ticket)
        return int(ticket[0])

    def wait(self, ticket: int, timeout_ns: int) -> tuple[int, int, int, int] | None:
        """Wait for a ticket: its scheduled, submitted, launched, completed ns; None: not yet."""
        sample = ffi.new("struct xs_sample *")
        status = call(lib.xs_queue_wait, self._pointer, ticket, timeout_ns, sample)
        if status == lib.XS_EAGAIN:
            return None
        return sample.scheduled_ns, sample.submitted_ns, sample.launched_ns, sample.completed_ns

    def set_depth(self, threshold: int, batch_size: int) -> None:
        """Set how many commands are launched ahead, and how many lie between marks."""
        call(lib.xs_queue_set_depth, self._pointer, threshold, batch_size)

    def destroy(self) -> None:
        """Drop what was submitted, wait for what was launched, free the queue."""
        if self._native != ffi.NULL:
            lib.xs_queue_destroy(self._native)
            self._siblings.remove(self)
        self.forget()

    def forget(self) -> None:
        """Be gone: every later call is refused."""
        self._native = ffi.NULL

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
        self._device = device  # must outlive the run
        self._queues: list[Queue] = []  # and so must what their native side points to
        self._slots: Any = None  # likewise, of the heartbeat

    @property
    def _pointer(self) -> Any:
        if self._native == ffi.NULL:
            raise XSchedError("the run was closed")
        return self._native

    def _add(
        self,
        settings: Settings,
        load: dict[str, Any],
        commands: Sequence[Command],
        samples: NDArray[np.void] | None,
        keep: tuple[Any, ...],
    ) -> Queue:
        spec = ffi.new("struct xs_queue_spec *")
        name = ffi.new("char[]", settings.name.encode())
        array, _kept = commands_array(commands)  # copied by the call
        spec.name, spec.commands, spec.command_count = name, array, len(commands)
        spec.priority, spec.stream_priority = settings.priority, settings.stream_priority
        spec.threshold, spec.batch_size = settings.threshold, settings.batch_size
        spec.seed = settings.seed
        spec.hints = dataclasses.asdict(settings.hints)
        changes = _changes(settings.changes)
        spec.changes, spec.change_count = changes, len(changes)
        keep = (*keep, changes)
        words = _mask(settings.units)
        spec.units, spec.unit_words = words, len(words)
        if settings.device is not None:
            spec.device = settings.device.pointer
        if samples is not None:
            pointer = ffi.from_buffer("struct xs_sample[]", samples, require_writable=True)
            load = {**load, "samples": pointer, "sample_cap": len(samples)}
            keep = (*keep, pointer)
        spec.load = load
        out = ffi.new("struct xs_queue **")
        call(lib.xs_queue_add, self._pointer, spec, out)
        queue = Queue(out[0], samples, keep, self._queues)
        self._queues.append(queue)
        return queue

    def add_open(
        self, settings: Settings, commands: Sequence[Command], arrivals_ns: NDArray[np.int64]
    ) -> Queue:
        """Add a queue whose requests come at given times: int64[n], ns, ascending."""
        arrivals_ns = np.ascontiguousarray(arrivals_ns, np.int64)
        pointer = ffi.from_buffer("int64_t[]", arrivals_ns)
        load = {
            "kind": lib.XS_LOAD_OPEN,
            "arrivals_ns": pointer,
            "arrival_count": len(arrivals_ns),
        }
        samples = np.empty(len(arrivals_ns), SAMPLE)
        return self._add(settings, load, commands, samples, (arrivals_ns, pointer))

    def add_closed(
        self,
        settings: Settings,
        commands: Sequence[Command],
        *,
        concurrency: int,
        think_ns: int,
        most: int = SAMPLES_MAX,
    ) -> Queue:
        """Add a queue of clients that wait for their request; `most` requests are an error."""
        load = {"kind": lib.XS_LOAD_CLOSED, "concurrency": concurrency, "think_ns": think_ns}
        # Pages that are never written are never taken, so room for `most` costs nothing.
        return self._add(settings, load, commands, np.empty(most, SAMPLE), ())

    def add_manual(self, settings: Settings) -> Queue:
        """Add a queue whose requests are pushed by `Queue.submit`."""
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
        """Start the clock, at a moment of CLOCK_MONOTONIC if one is named.

        A duration of 0 means until stopped. `heartbeat_ns`, int64[slots], zeros, is filled while
        the run goes on: the largest lateness of the heartbeat in each slot of `slot_ns`.
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
        """Wait for at most `SLICE_NS`; whether the run is over."""
        return call(lib.xs_run_wait, self._pointer, SLICE_NS) == int(lib.XS_OK)

    def now_ns(self) -> int:
        """Give the time since the start, in the run's own time."""
        return int(lib.xs_run_now(self._pointer))

    def cpu_ns(self) -> int:
        """Give the processor time that the process of the run has used."""
        return time.process_time_ns()

    def switch_off(self) -> None:
        """Take the policy away, until the end of the run."""
        call(lib.xs_run_switch_off, self._pointer)

    def advance(self, duration_ns: int) -> None:
        """Let virtual time pass."""
        end_ns = self.now_ns() + duration_ns
        while (left_ns := end_ns - self.now_ns()) > 0:
            call(lib.xs_run_advance, self._pointer, left_ns)

    def close(self) -> None:
        """Stop, join and free everything; does nothing the second time."""
        lib.xs_run_close(self._native)
        self._native = ffi.NULL
        for queue in self._queues:
            queue.forget()

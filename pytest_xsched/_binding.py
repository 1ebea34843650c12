"""The native runner in Python's terms: the only module that imports `_native`.

Structs, enums and layouts are read from the compiled module, never written again here. A status
becomes an exception that carries the native sentence; a pointer becomes an object that keeps alive
what the native side points to. No call here blocks for longer than `SLICE_NS` of wall time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.errors import (
    DeviceError,
    DeviceUnavailable,
    ForkedError,
    NotBuilt,
    ScenarioError,
    XSchedError,
)
from pytest_xsched.load import SAMPLES_MAX
from pytest_xsched.model import CpuModel, SimModel
from pytest_xsched.workload import Command

try:
    from pytest_xsched._native import ffi, lib
except ImportError as error:
    raise NotBuilt(
        f"the native module pytest_xsched._native cannot be loaded ({error}); build it with "
        "`pip install .` (or `pip install -e .`) in the source tree, which needs a C compiler"
    ) from error

SLICE_NS = 50_000_000
"""Longest wall time of one native call, so that Ctrl-C and timeouts are seen."""

_KINDS = {"matmul": lib.XS_MATMUL, "vector_add": lib.XS_VECTOR_ADD, "spin": lib.XS_SPIN}

_STATES = {
    lib.XS_QUEUE_IDLE: "idle",
    lib.XS_QUEUE_READY: "ready",
    lib.XS_QUEUE_SUSPENDED: "suspended",
}

WARMUP: int = lib.XS_SAMPLE_WARMUP
DRAIN: int = lib.XS_SAMPLE_DRAIN
CENSORED: int = lib.XS_SAMPLE_CENSORED


def _dtype_of(struct: str) -> np.dtype[np.void]:
    """Derive the numpy dtype of a struct of integers from the compiled layout."""
    ctype = ffi.typeof(struct)
    return np.dtype(
        {
            "names": [name for name, _ in ctype.fields],
            "formats": [f"i{ffi.sizeof(field.type)}" for _, field in ctype.fields],
            "offsets": [field.offset for _, field in ctype.fields],
            "itemsize": ffi.sizeof(ctype),
        }
    )


SAMPLE: np.dtype[np.void] = _dtype_of("struct xs_sample")
"""One request: scheduled_ns, submitted_ns, launched_ns, completed_ns (int64, -1: never), flags."""


def limits() -> dict[str, int]:
    """Give the native limits by name, as `enum xs_limit` has them."""
    names: dict[int, str] = ffi.typeof("enum xs_limit").elements
    return {name.removeprefix("XS_"): value for value, name in names.items()}


def device_kinds() -> tuple[str, ...]:
    """Give the kinds of device that can be opened."""
    return _names(lib.xs_device_kind)


def policies() -> tuple[str, ...]:
    """Give the names of the built-in policies."""
    return _names(lib.xs_policy_name)


def _names(nth: Any) -> tuple[str, ...]:
    names: list[str] = []
    while (name := nth(len(names))) != ffi.NULL:
        names.append(ffi.string(name).decode())
    return tuple(names)


def _text(array: Any) -> str:
    return str(ffi.string(array).decode(errors="replace"))


def _raise(status: int, err: Any) -> None:
    message, call = _text(err.message), _text(err.where)
    if status in (lib.XS_EINVAL, lib.XS_ENOTSUP):
        raise ScenarioError(message)
    if status == lib.XS_EFORKED:
        raise ForkedError(message)
    if status == lib.XS_ENODEV:
        raise DeviceUnavailable(message, call=call, code=int(err.native))
    if status in (lib.XS_EDEVICE, lib.XS_ENOMEM):
        raise DeviceError(f"{call}: {message}", call=call, code=int(err.native))
    raise XSchedError(message)


def _call(function: Any, *arguments: Any) -> int:
    """Call a native function whose last argument is the error; XS_OK or XS_EAGAIN come back."""
    err = ffi.new("struct xs_error *")
    status = int(function(*arguments, err))
    if status not in (lib.XS_OK, lib.XS_EAGAIN):
        _raise(status, err)
    return status


def _commands(commands: Sequence[Command]) -> Any:
    array = ffi.new("struct xs_command[]", len(commands))
    for slot, command in zip(array, commands, strict=True):
        slot.kind, slot.n, slot.batch = _KINDS[command.kind], command.n, command.batch
        slot.duration_ns = command.duration_ns
    return array


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """What a device says of itself."""

    kind: str
    name: str
    virtual_time: bool
    computes: bool
    honours_priority: bool
    parallel: int


class Device:
    """An open device. Close it after the last run on it.

    Raises:
        DeviceUnavailable: there is no such device here.
        DeviceError: it is there, but does not open.
    """

    def __init__(self, kind: str, *, cpu: CpuModel, sim: SimModel) -> None:
        options = ffi.new("struct xs_device_options *")
        options.cpu = {
            "workers": cpu.workers,
            "honour_priority": cpu.priority,
            "spin_ns": cpu.spin_ns,
        }
        options.sim = {
            "slots": sim.slots,
            "honour_priority": sim.priority,
            "launch_ns": sim.launch_ns,
            "flops_per_s": sim.flops_per_s,
            "bytes_per_s": sim.bytes_per_s,
            "full_items": sim.full_items,
        }
        out = ffi.new("struct xs_device **")
        _call(lib.xs_device_open, kind.encode(), options, out)
        self.pointer = out[0]

    def describe(self) -> DeviceInfo:
        """Ask the device for its name and abilities."""
        info = ffi.new("struct xs_device_info *")
        _call(lib.xs_device_describe, self.pointer, info)
        return DeviceInfo(
            kind=_text(info.kind),
            name=_text(info.name),
            virtual_time=bool(info.virtual_time),
            computes=bool(info.computes),
            honours_priority=bool(info.honour_priority),
            parallel=int(info.parallel),
        )

    def close(self) -> None:
        """Close the device; does nothing the second time, and in a forked child."""
        lib.xs_device_close(self.pointer)
        self.pointer = ffi.NULL


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
    priority: int
    state: str
    """``"idle"``, ``"ready"`` (unfinished work, may launch) or ``"suspended"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a queue is to be made; see `struct xs_queue_spec`."""

    name: str
    priority: int
    stream_priority: int
    threshold: int
    batch_size: int
    seed: int = 0


class Queue:
    """A queue of a run. Made by `Run`, valid until destroyed or until the run is closed."""

    def __init__(self, pointer: Any, samples: NDArray[np.void] | None, keep: tuple[Any, ...]):
        self._pointer = pointer
        self._samples = samples
        self._keep = keep  # what the native side points to

    def counts(self) -> Counts:
        """Count commands and requests, now."""
        c = ffi.new("struct xs_queue_counts *")
        _call(lib.xs_queue_counts, self._pointer, c)
        return Counts(
            submitted=c.submitted,
            launched=c.launched,
            completed=c.completed,
            failed=c.failed,
            requests_submitted=c.requests_submitted,
            requests_completed=c.requests_completed,
            suspended=c.suspended,
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

    def checksum(self, index: int) -> tuple[int, int]:
        """Give launches and checksum of command `index` of the requests; see xs_api.h."""
        launches, checksum = ffi.new("uint64_t *"), ffi.new("int64_t *")
        _call(lib.xs_queue_checksum, self._pointer, index, launches, checksum)
        return int(launches[0]), int(checksum[0])

    def output(self, index: int, count: int) -> NDArray[np.float32]:
        """Copy the output of the last launch of command `index`: float32[count]."""
        out = np.empty(count, np.float32)
        pointer = ffi.from_buffer("float[]", out, require_writable=True)
        _call(lib.xs_queue_output, self._pointer, index, pointer, count)
        return out

    def set_priority(self, priority: int) -> None:
        """Change the priority that the policy sees."""
        _call(lib.xs_queue_set_priority, self._pointer, priority)

    def suspend(self) -> None:
        """Launch nothing until `resume`."""
        _call(lib.xs_queue_suspend, self._pointer)

    def resume(self) -> None:
        """Undo `suspend`; the policy may still hold the queue back."""
        _call(lib.xs_queue_resume, self._pointer)

    def submit(self, commands: Sequence[Command]) -> int:
        """Push one request; gives its ticket, counted from 0."""
        ticket = ffi.new("uint64_t *")
        _call(lib.xs_queue_submit, self._pointer, _commands(commands), len(commands), ticket)
        return int(ticket[0])

    def wait(self, ticket: int, timeout_ns: int) -> tuple[int, int, int, int] | None:
        """Wait for a ticket: its scheduled, submitted, launched, completed ns; None: not yet."""
        sample = ffi.new("struct xs_sample *")
        status = _call(lib.xs_queue_wait, self._pointer, ticket, timeout_ns, sample)
        if status == lib.XS_EAGAIN:
            return None
        return sample.scheduled_ns, sample.submitted_ns, sample.launched_ns, sample.completed_ns

    def destroy(self) -> None:
        """Drop what was submitted, wait for what was launched, free the queue."""
        lib.xs_queue_destroy(self._pointer)
        self._pointer = ffi.NULL


class Run:
    """A run on a device: add queues, start, wait, read, close."""

    def __init__(self, device: Device, policy: str) -> None:
        out = ffi.new("struct xs_run **")
        _call(lib.xs_run_open, device.pointer, policy.encode(), out)
        self._pointer = out[0]
        self._device = device  # must outlive the run

    def _add(
        self,
        settings: Settings,
        load: dict[str, Any],
        commands: Sequence[Command],
        samples: NDArray[np.void] | None,
        keep: tuple[Any, ...],
    ) -> Queue:
        spec = ffi.new("struct xs_queue_spec *")
        name, array = ffi.new("char[]", settings.name.encode()), _commands(commands)
        spec.name, spec.commands, spec.command_count = name, array, len(commands)
        spec.priority, spec.stream_priority = settings.priority, settings.stream_priority
        spec.threshold, spec.batch_size = settings.threshold, settings.batch_size
        spec.seed = settings.seed
        if samples is not None:
            pointer = ffi.from_buffer("struct xs_sample[]", samples, require_writable=True)
            load = {**load, "samples": pointer, "sample_cap": len(samples)}
            keep = (*keep, pointer)
        spec.load = load
        out = ffi.new("struct xs_queue **")
        _call(lib.xs_queue_add, self._pointer, spec, out)
        return Queue(out[0], samples, keep)

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

    def start(self, *, warmup_ns: int, duration_ns: int, drain_ns: int) -> None:
        """Start the clock; a duration of 0 means until stopped."""
        timing = ffi.new("struct xs_timing *", (warmup_ns, duration_ns, drain_ns))
        _call(lib.xs_run_start, self._pointer, timing)

    def wait(self) -> bool:
        """Wait for at most `SLICE_NS`; whether the run is over."""
        return _call(lib.xs_run_wait, self._pointer, SLICE_NS) == int(lib.XS_OK)

    def now_ns(self) -> int:
        """Give the time since the start, in the run's own time."""
        return int(lib.xs_run_now(self._pointer))

    def advance(self, duration_ns: int) -> None:
        """Let virtual time pass."""
        _call(lib.xs_run_advance, self._pointer, duration_ns)

    def close(self) -> None:
        """Stop, join and free everything; does nothing the second time."""
        lib.xs_run_close(self._pointer)
        self._pointer = ffi.NULL

"""The binding to the native runner: the only module that imports `_native`.

It reads structs, enums and layouts from the compiled module and repeats none of them. A status
becomes an exception with the native message. This module has devices; `native.run` has runs and
queues.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_xsched.base.constants import split_device
from pytest_xsched.errors import (
    DeviceError,
    DeviceUnavailable,
    ForkedError,
    NotBuilt,
    ScenarioError,
    XSchedError,
)
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.kernels import Kernel
from pytest_xsched.scenario.workload import Command
from pytest_xsched.scenario.xsched_settings import POLICY_NUMBERS, SCHEDULER_NUMBERS, XSched
from pytest_xsched.system.driver_files import Libraries, LibraryFile, find_libraries

try:
    from pytest_xsched.native._native import ffi, lib
except ImportError as error:
    package = os.path.dirname(os.path.dirname(__file__))
    raise NotBuilt(
        f"the native module of {package} cannot be loaded ({error}); build it "
        "with `pip install .`, which needs a C compiler, and run `pytest`; `python -m pytest` in a "
        "source tree imports the tree and not the installed package, except after "
        "`pip install -e .`"
    ) from error

__all__ = [
    "CENSORED",
    "COMMAND_RECORD",
    "DRAIN",
    "FAILED",
    "HELD",
    "SAMPLE",
    "SLICE_NS",
    "SUSPENSION",
    "WARMUP",
    "Device",
    "DeviceInfo",
    "call",
    "commands_array",
    "device_kinds",
    "ffi",
    "lib",
    "limits",
    "locate",
    "policies",
    "unit_mask",
]

SLICE_NS = 50_000_000
"""Longest wall time of one native call, so that Python can handle Ctrl-C and timeouts."""

_KINDS = {
    "matmul": lib.XS_MATMUL,
    "vector_add": lib.XS_VECTOR_ADD,
    "spin": lib.XS_SPIN,
    "kernel": lib.XS_KERNEL,
}
_ARGUMENTS = {
    "buffer": lib.XS_BUFFER,
    "int32": lib.XS_INT32,
    "int64": lib.XS_INT64,
    "float32": lib.XS_FLOAT32,
}

WARMUP: int = lib.XS_SAMPLE_WARMUP
DRAIN: int = lib.XS_SAMPLE_DRAIN
CENSORED: int = lib.XS_SAMPLE_CENSORED
FAILED, HELD = 8, 16
"""Further flags of samples, of programs only. The program reported that the request failed. It was
due, but as many as the program allows were in flight."""


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
"""One request: scheduled_ns, submitted_ns, launched_ns, completed_ns, flags (int64).

A time of -1 means that the request did not get there."""
COMMAND_RECORD: np.dtype[np.void] = _dtype_of("struct xs_command_record")
"""One launched command: request, index, launched_ns, began_ns, ended_ns, completed_ns (int64).

A time of -1 is unknown, or the command did not get there; see xs_api.h."""
SUSPENSION: np.dtype[np.void] = _dtype_of("struct xs_suspension")
"""A queue was suspended or resumed: at_ns (int64), suspended and held (int32, 0 or 1)."""


def limits() -> dict[str, int]:
    """Return the native limits by their names in `enum xs_limit`, without XS_."""
    names: dict[int, str] = ffi.typeof("enum xs_limit").elements
    return {name.removeprefix("XS_"): value for value, name in names.items()}


def device_kinds() -> tuple[str, ...]:
    """Return the kinds of device that the native runner can open."""
    return _names(lib.xs_device_kind)


def policies() -> tuple[str, ...]:
    """Return the names of the built-in policies, in the order of the list in policy.h."""
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


def call(function: Any, *arguments: Any) -> int:
    """Call a native function whose last argument is the error, and return XS_OK or XS_EAGAIN."""
    err = ffi.new("struct xs_error *")
    status = int(function(*arguments, err))
    if status not in (lib.XS_OK, lib.XS_EAGAIN):
        _raise(status, err)
    return status


def commands_array(commands: Sequence[Command]) -> tuple[Any, Any]:
    """Return the commands as an array, and what must stay alive as long as the array."""
    array = ffi.new("struct xs_command[]", len(commands))
    sources: dict[Kernel, Any] = {}
    for slot, command in zip(array, commands, strict=True):
        slot.kind, slot.n, slot.batch = _KINDS[command.kind], command.n, command.batch
        slot.duration_ns = command.duration_ns
        slot.fill_permille, slot.waves = command.fill_permille, command.waves
        if command.kernel is not None:
            if command.kernel not in sources:
                sources[command.kernel] = _source(command.kernel)
            slot.source = sources[command.kernel][0]
    return array, sources


def unit_mask(units: tuple[int, ...]) -> Any:
    """Set bit i % 32 of word i // 32 for each unit i."""
    words = ffi.new("uint32_t[]", max(units, default=-1) // 32 + 1)
    for unit in units:
        words[unit // 32] |= 1 << unit % 32
    return words


def _source(kernel: Kernel) -> tuple[Any, ...]:
    """Return a kernel as a struct, followed by the memory that the struct points to."""
    text = ffi.new("char[]", kernel.source.encode())
    name = ffi.new("char[]", kernel.name.encode())
    arguments = ffi.new("struct xs_argument[]", len(kernel.args))
    for slot, argument in zip(arguments, kernel.args, strict=True):
        slot.kind = _ARGUMENTS[argument.kind]
        if argument.kind == "float32":
            slot.real = argument.value
        else:
            slot.integer = argument.value
    source = ffi.new("struct xs_source *")
    source.text, source.name, source.arguments = text, name, arguments
    source.grid, source.block = kernel.grid, kernel.block
    source.argument_count = len(kernel.args)
    return source, text, name, arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """The properties of a device, as its driver reports them."""

    kind: str
    index: int
    name: str
    virtual_time: bool
    computes: bool
    on_host: bool
    """Whether its commands execute on the processors of this machine."""
    honours_priority: bool | None
    """Whether streams of higher priority go first; None: unknown."""
    stream_priorities: tuple[int, int]
    """The lowest and the highest priority of a stream; other values count as the nearer one."""
    parallel: int
    units: int
    """Multiprocessors that a queue can be bound to; 0: a queue cannot be bound."""
    unit_step: int
    """A queue is bound to whole groups of this number of multiprocessors."""
    architecture: str
    """This field and the following ones describe a GPU; "" and 0: unknown."""
    uuid: str
    pci_id: str
    driver_version: str
    compiler_version: str
    memory_bytes: int
    driver_file: str
    """Path of the driver library, as the loader reports it."""


def _path(file: LibraryFile | None) -> Any:
    return ffi.new("char[]", os.fsencode(file.path)) if file else ffi.NULL


def cache_directory() -> str | None:
    """Return the directory for compiled kernels; None: they are not stored.

    It is PYTEST_XSCHED_CACHE (empty: none), or pytest-xsched under XDG_CACHE_HOME or ~/.cache.
    """
    path = os.environ.get("PYTEST_XSCHED_CACHE")
    if path is not None:
        return os.path.abspath(path) if path else None
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # the XDG specification says to ignore it
        home = os.path.expanduser("~/.cache")
    return os.path.join(home, "pytest-xsched") if os.path.isabs(home) else None


class _Options:
    """The options of a device and the memory that they point to; errors name the libraries."""

    def __init__(self, name: str, libraries: Libraries | None) -> None:
        self.kind, self.index = split_device(name)
        if libraries is None:
            libraries = find_libraries(self.kind)
        self._libraries = libraries
        self._paths = [_path(libraries.driver), _path(libraries.compiler)]
        self.native = ffi.new("struct xs_device_options *")
        self.native.index = self.index
        self.native.gpu.driver, self.native.gpu.compiler = self._paths
        cache = cache_directory()
        self._cache = ffi.NULL if cache is None else ffi.new("char[]", os.fsencode(cache))
        self.native.gpu.cache = self._cache

    def call(self, function: Any, out: Any) -> None:
        try:
            call(function, self.kind.encode(), self.native, out)
        except DeviceError as error:
            sentence = f"{error}{self._libraries.remark(error.call)}"
            raise type(error)(sentence, call=error.call, code=error.code) from None


def locate(name: str, *, libraries: Libraries | None = None) -> str:
    """Return the PCI id of a device without opening it; '' if processes do not share the device.

    Loads the driver, which then stays loaded. Arguments and errors are those of `Device`.
    """
    place = ffi.new("struct xs_device_place *")
    _Options(name, libraries).call(lib.xs_device_locate, place)
    return _text(place.pci_id)


class Device:
    """An open device. Close it after the last run on it.

    Args:
        name: Name of the device, ``"cpu"`` or ``"cuda:1"``.
        cpu: Parameters of the kind ``"cpu"``.
        sim: Parameters of the kind ``"sim"``.
        libraries: Libraries of a GPU; None: those that the environment names.

    Raises:
        ScenarioError: The environment names a file that does not exist.
        DeviceUnavailable: This machine has no such device.
        DeviceError: The device exists, but does not open.
    """

    def __init__(
        self, name: str, *, cpu: CpuModel, sim: SimModel, libraries: Libraries | None = None
    ) -> None:
        options = _Options(name, libraries)
        self.index = options.index
        options.native.cpu = {
            "workers": cpu.workers,
            "honour_priority": cpu.priority,
            "spin_ns": cpu.spin_ns,
        }
        options.native.sim = {
            "slots": sim.slots,
            "honour_priority": sim.priority,
            "interleave": sim.interleave,
            "launch_ns": sim.launch_ns,
            "tail_ns": sim.tail_ns,
            "flops_per_s": sim.flops_per_s,
            "bytes_per_s": sim.bytes_per_s,
            "full_items": sim.full_items,
        }
        out = ffi.new("struct xs_device **")
        options.call(lib.xs_device_open, out)
        self.pointer = self._bare = out[0]

    def describe(self) -> DeviceInfo:
        """Read the name and the properties of the device."""
        info = ffi.new("struct xs_device_info *")
        call(lib.xs_device_describe, self.pointer, info)
        return DeviceInfo(
            kind=_text(info.kind),
            index=self.index,
            name=_text(info.name),
            virtual_time=bool(info.virtual_time),
            computes=bool(info.computes),
            on_host=bool(info.on_host),
            honours_priority=None if info.honour_priority < 0 else bool(info.honour_priority),
            stream_priorities=(int(info.least_priority), int(info.most_priority)),
            parallel=int(info.parallel),
            units=int(info.units),
            unit_step=int(info.unit_step),
            architecture=_text(info.architecture),
            uuid=_text(info.uuid),
            pci_id=_text(info.pci_id),
            driver_version=_text(info.driver_version),
            compiler_version=_text(info.compiler_version),
            memory_bytes=int(info.memory_bytes),
            driver_file=_text(info.driver_file),
        )

    def put_under(self, xsched: XSched, *, preempt: str, hal: str) -> None:
        """Launch the commands of this device through XSched, from now on.

        Args:
            xsched: Its scheduler, policy and settings.
            preempt: Path of its libpreempt.so.
            hal: Path of its libhal*.so for this kind of device.

        Raises:
            ScenarioError: XSched does not support this kind of device.
            DeviceError: A file cannot be loaded or lacks a function, or XSched refuses a setting.
        """
        options = _xsched_options(xsched)
        paths = [ffi.new("char[]", os.fsencode(path)) for path in (preempt, hal)]
        options.preempt, options.hal = paths
        out = ffi.new("struct xs_device **")
        call(lib.xs_xsched_open, self.pointer, options, out)
        self.pointer = out[0]

    def without_xsched(self) -> Device:
        """Return this device without XSched; the caller must not close it."""
        bare = copy.copy(self)
        bare.pointer = self._bare
        return bare

    def change_policy(self, xsched: XSched) -> None:
        """Set another policy of XSched, which forgets all hints.

        Args:
            xsched: The settings that `put_under` got, with another policy.

        Raises:
            DeviceError: XSched refuses.
        """
        call(lib.xs_xsched_set_policy, self.pointer, _xsched_options(xsched))

    def forget_hints(self, xsched: XSched) -> None:
        """Let XSched's policy forget all queues that it has seen. The device must have no queue.

        Args:
            xsched: The settings that `put_under` got.

        Raises:
            DeviceError: XSched refuses.
        """
        call(lib.xs_xsched_forget, self.pointer, _xsched_options(xsched))

    def close(self) -> None:
        """Close the device. Does nothing the second time, or in a forked child."""
        lib.xs_device_close(self.pointer)
        self.pointer = ffi.NULL


def _xsched_options(xsched: XSched) -> Any:
    options = ffi.new("struct xs_xsched_options *")
    options.scheduler = SCHEDULER_NUMBERS[xsched.scheduler]
    # With the global scheduler, the policy is that of the server; see XHintSetScheduler.
    options.policy = POLICY_NUMBERS[xsched.policy] if xsched.scheduler == "local" else 0
    options.level, options.timeslice_us = xsched.level, xsched.timeslice_us
    options.k = xsched.k or 0
    return options

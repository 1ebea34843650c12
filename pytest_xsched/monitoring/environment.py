"""Where a run was measured: devices, drivers, libraries, settings of the drivers, host.

The measuring process gathers these data at the end of the run, so that figures of two machines can
be distinguished. What is not known is None.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_xsched.base.constants import GPUS
from pytest_xsched.base.validation import checked_fields
from pytest_xsched.native.binding import DeviceInfo
from pytest_xsched.system.amd_gpu import AmdGpu
from pytest_xsched.system.process_maps import mapped_files

VARIABLES = (
    *("GPU_MAX_HW_QUEUES", "DEBUG_HIP_IGNORE_STREAM_PRIORITY", "DEBUG_HIP_DYNAMIC_QUEUES"),
    *("HSA_ENABLE_INTERRUPT", "HSA_CU_MASK", "ROC_GLOBAL_CU_MASK", "ROC_ACTIVE_WAIT_TIMEOUT"),
    *("AMD_SERIALIZE_KERNEL", "HIP_LAUNCH_BLOCKING", "HIP_VISIBLE_DEVICES"),
    *("ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
    *("CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_MODULE_LOADING", "CUDA_LAUNCH_BLOCKING"),
    *("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_CLIENT_PRIORITY"),
    *("XSCHED_SCHEDULER", "XSCHED_AUTO_XQUEUE", "LD_LIBRARY_PATH", "LD_PRELOAD"),
)
"""Variables that change how a GPU schedules, waits or is found."""
_PREFIXES = ("CUDA_MPS_", "XSCHED_AUTO_XQUEUE")  # of others, which are kept if they are set

SERIALISING = ("CUDA_LAUNCH_BLOCKING", "HIP_LAUNCH_BLOCKING", "AMD_SERIALIZE_KERNEL")
"""If one of them is set, commands of a GPU never run concurrently."""

_LIBRARIES = re.compile(
    r"lib(cuda|nvrtc|nvidia|amdhip64|hiprtc|amd_comgr|hsa-runtime64|OpenCL|pocl|xsched|preempt|shim"
    r"|hal)[\w.+-]*\.so"
)
_PACKAGES = ("pytest-xsched", "pytest", "numpy", "cffi")
_PROC = Path("/proc")
_SYS = Path("/sys")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One device.

    Attributes:
        kind: one of `names.DEVICES`.
        index: number of the device, as the driver counts.
        name: as the driver reports it.
        architecture: for which its kernels are compiled, ``"sm_90"``.
        uuid: in the format of the vendor's tools.
        pci_id: ``"0000:1b:00.0"``.
        memory_bytes: all of it, used or not.
        driver_version: of the driver library's interface, ``"13.0"``.
        kernel_driver_version: of the kernel module, ``"580.178"``.
        compiler_version: of the compiler of its kernels.
        core_clock_mhz: at the end of the run.
        memory_clock_mhz: likewise.
        partition: how an AMD GPU is partitioned, ``"SPX/NPS1"``.
    """

    kind: str
    index: int = 0
    name: str
    architecture: str | None = None
    uuid: str | None = None
    pci_id: str | None = None
    memory_bytes: int | None = None
    driver_version: str | None = None
    kernel_driver_version: str | None = None
    compiler_version: str | None = None
    core_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    partition: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedLibrary:
    """A library of a driver or a scheduler that a measured process had mapped."""

    path: str
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model whose requests were captured into a graph.

    Attributes:
        queue: name of its queue.
        framework: that built it, and its version.
        nodes: of the graph of a request.
        kernels: number of kernels among them.
        kernel_names: each name and how often it is among them; "": unknown.
        kernels_digest: of the names in their order.
        commands: into which the graph was cut.
        outputs: how the results compare with those of an eager request, as a phrase.
        build_ns: time in which the user's code built and warmed it up.
        capture_ns: time in which a request was captured and its graph read.
        cut_ns: time in which the graph was cut, with the requests that timed its pieces.
        warm_ups: how many eager requests there were before each capture of a request. The last two
            captures have the same kernels, and the last one is the graph.
    """

    queue: str
    framework: str
    nodes: int
    kernels: int
    kernel_names: tuple[tuple[str, int], ...]
    kernels_digest: str
    commands: int
    outputs: str
    build_ns: int = 0
    capture_ns: int = 0
    cut_ns: int = 0
    warm_ups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Where a run was measured.

    Attributes:
        devices: that of the run, then others of its queues.
        libraries: of drivers, compilers and schedulers, by path.
        environment: `VARIABLES` and others that are set of their families; None: not set.
        kernel: release of the operating system's kernel.
        cpu: its model.
        cpu_count: number of CPUs of the machine.
        cpus_usable: number of CPUs on which the measuring process may run.
        cpus: which these are, as ``"0-3,8"``.
        python: its version.
        packages: versions by name.
        models: that were captured, in the order of their queues.
        unknown: a sentence for each part that could not be read here.
    """

    devices: tuple[DeviceFacts, ...]
    libraries: tuple[MappedLibrary, ...]
    environment: dict[str, str | None]
    kernel: str
    cpu: str | None
    cpu_count: int | None
    cpus_usable: int
    cpus: str
    python: str
    packages: dict[str, str | None]
    models: tuple[ModelFacts, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """Return a sentence for each setting that makes all figures of the run meaningless."""
        return serialising(self.devices[0].kind, self.environment)

    def to_dict(self) -> dict[str, Any]:
        """Return the fingerprint in JSON's types; `from_dict` reads it back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fingerprint:
        """Return the fingerprint that `to_dict` has written."""
        values = checked_fields(cls, data, "fingerprint")
        values["devices"] = tuple(DeviceFacts(**device) for device in values["devices"])
        values["models"] = tuple(_read_model(model) for model in values["models"])
        values["unknown"] = tuple(values["unknown"])
        values["libraries"] = tuple(MappedLibrary(**library) for library in values["libraries"])
        return cls(**values)


def _read_model(data: Mapping[str, Any]) -> ModelFacts:
    names = tuple((name, count) for name, count in data["kernel_names"])
    warm_ups = tuple(data.get("warm_ups", ()))  # absent in old records
    return ModelFacts(**{**data, "kernel_names": names, "warm_ups": warm_ups})


def take_fingerprint(devices: Sequence[DeviceInfo], proc: Path = _PROC) -> Fingerprint:
    """Return the facts of a run's devices, of this process and of the machine at this moment.

    Args:
        devices: of the run.
        proc: where the kernel shows processes; hardened containers have nothing there.
    """
    unknown = []
    try:
        files = mapped_files(proc=proc)
    except OSError as error:
        files = []
        unknown.append(f"libraries of drivers: {proc}/self/maps: {error.strerror}")
    try:
        cpu = _cpu_model((proc / "cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        cpu = None
        unknown.append(f"model of the CPU: {proc}/cpuinfo: {error.strerror}")
    usable = os.sched_getaffinity(0)
    return Fingerprint(
        devices=tuple(_facts(device) for device in devices),
        libraries=driver_libraries(files),
        environment=relevant(os.environ),
        kernel=os.uname().release,
        cpu=cpu,
        cpu_count=os.cpu_count(),
        cpus_usable=len(usable),
        cpus=_ranges(usable),
        python=platform.python_version(),
        packages={package: package_version(package) for package in _PACKAGES},
        unknown=tuple(unknown),
    )


def serialising(kind: str, environment: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return a sentence for each setting that serialises the commands of a GPU.

    Args:
        kind: of the device; the settings have no effect on devices other than GPUs.
        environment: of the measuring process, by name.
    """
    if kind not in GPUS:
        return ()
    return tuple(
        f"{name}={environment[name]} serialises the GPU: each launch waits for the end of "
        "the previous one, whatever the scheduler does; unset it"
        for name in SERIALISING
        if (environment.get(name) or "0").strip() != "0"
    )


def relevant(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables that a fingerprint keeps, sorted by name."""
    more = (name for name in environment if name.startswith(_PREFIXES))
    return {name: environment.get(name) for name in sorted({*VARIABLES, *more})}


def driver_libraries(paths: Iterable[str]) -> tuple[MappedLibrary, ...]:
    """Return those of some mapped files that belong to a driver or a scheduler, sorted by path."""
    found = {path for path in paths if _LIBRARIES.match(os.path.basename(path))}
    return tuple(MappedLibrary(path=path, bytes=_size(path)) for path in sorted(found))


def pci_facts(pci_id: str, sys: Path = _SYS) -> dict[str, Any]:
    """Return what the kernel says of a PCI device: its driver; of AMD's also clocks and partition.

    Args:
        pci_id: in any case, as drivers differ.
        sys: where sysfs is mounted.
    """
    device = sys / "bus" / "pci" / "devices" / pci_id.lower()
    module = os.path.basename(os.path.realpath(device / "driver" / "module"))
    amd = AmdGpu(pci_id, sys)
    return {
        "kernel_driver_version": _read(sys / "module" / module / "version"),
        "core_clock_mhz": amd.clock_mhz(),
        "memory_clock_mhz": amd.memory_clock_mhz(),
        "partition": amd.partition(),
    }


def _facts(device: DeviceInfo) -> DeviceFacts:
    more = pci_facts(device.pci_id) if device.pci_id else {}
    return DeviceFacts(
        kind=device.kind,
        index=device.index,
        name=device.name,
        architecture=device.architecture or None,
        uuid=device.uuid or None,
        pci_id=device.pci_id or None,
        memory_bytes=device.memory_bytes or None,
        driver_version=device.driver_version or None,
        compiler_version=device.compiler_version or None,
        **more,
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _cpu_model(cpuinfo: str) -> str | None:
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else None


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers as the kernel lists CPUs: "0-3,8"."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def package_version(package: str) -> str | None:
    """Return the version of an installed package; None: it is not installed."""
    try:
        return _found_version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache  # without failures: a test may hide the files of packages for a while
def _found_version(package: str) -> str:
    return importlib.metadata.version(package)

"""Where a run was measured: devices, drivers, libraries, settings of the drivers, host.

Data beside the scenario, gathered in the measuring process when the run is over, so that two
figures can be told apart that come from two machines. What is not known is None.
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
"""What changes how a GPU schedules, waits or is found."""
_PREFIXES = ("CUDA_MPS_", "XSCHED_AUTO_XQUEUE")  # others that are set, of those families

SERIALISING = ("CUDA_LAUNCH_BLOCKING", "HIP_LAUNCH_BLOCKING", "AMD_SERIALIZE_KERNEL")
"""With one of them set, nothing runs beside anything else."""

_LIBRARIES = re.compile(
    r"lib(cuda|nvrtc|nvidia|amdhip64|hiprtc|amd_comgr|hsa-runtime64|OpenCL|pocl|xsched|preempt|shim"
    r"|hal)[\w.+-]*\.so"
)
_PACKAGES = ("pytest-xsched", "pytest", "numpy", "cffi")
_SYS = Path("/sys")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One device.

    Attributes:
        kind: one of `names.DEVICES`.
        index: which of several, as the driver counts them.
        name: what it says of itself.
        architecture: what its kernels are compiled for, ``"sm_90"``.
        uuid: as the vendor's tools write it.
        pci_id: ``"0000:1b:00.0"``.
        memory_bytes: all of it, free or not.
        driver_version: of the interface of the library that drives it, ``"13.0"``.
        kernel_driver_version: of the kernel module under it, ``"580.178"``.
        compiler_version: of what compiled its kernels.
        core_clock_mhz: when the run was over.
        memory_clock_mhz: likewise.
        partition: how an AMD GPU is cut up, ``"SPX/NPS1"``.
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
    """A library of a driver that the measuring process had mapped."""

    path: str
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Where a run was measured.

    Attributes:
        devices: the run's, then others of its queues.
        libraries: of drivers, compilers and schedulers, by path.
        environment: `VARIABLES` and what else is set of their families; None: not set.
        kernel: the release of the operating system's.
        cpu: the model.
        cpu_count: CPUs of the machine.
        cpus_usable: those that the measuring process may run on.
        python: the version.
        packages: versions by name.
    """

    devices: tuple[DeviceFacts, ...]
    libraries: tuple[MappedLibrary, ...]
    environment: dict[str, str | None]
    kernel: str
    cpu: str | None
    cpu_count: int | None
    cpus_usable: int
    python: str
    packages: dict[str, str | None]

    @property
    def faults(self) -> tuple[str, ...]:
        """Sentences about settings under which no figure means anything."""
        return serialising(self.devices[0].kind, self.environment)

    def to_dict(self) -> dict[str, Any]:
        """Give the fingerprint in JSON's types; `from_dict` reads it back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fingerprint:
        """Make a fingerprint from what `to_dict` gave."""
        values = checked_fields(cls, data, "fingerprint")
        values["devices"] = tuple(DeviceFacts(**device) for device in values["devices"])
        values["libraries"] = tuple(MappedLibrary(**library) for library in values["libraries"])
        return cls(**values)


def take_fingerprint(devices: Sequence[DeviceInfo]) -> Fingerprint:
    """Look at the devices of a run, at this process and at the machine, now."""
    return Fingerprint(
        devices=tuple(_facts(device) for device in devices),
        libraries=driver_libraries(mapped_files()),
        environment=relevant(os.environ),
        kernel=os.uname().release,
        cpu=_cpu_model(),
        cpu_count=os.cpu_count(),
        cpus_usable=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        packages=dict(_package_versions()),
    )


def serialising(kind: str, environment: Mapping[str, str | None]) -> tuple[str, ...]:
    """Say which settings keep the commands of a GPU from running beside each other.

    Args:
        kind: of the device; for those that are no GPU the settings have no meaning.
        environment: of the measuring process, by name.
    """
    if kind not in GPUS:
        return ()
    return tuple(
        f"{name}={environment[name]} serialises the GPU: a launch waits for the end of the one "
        "before it, whatever the scheduler does"
        for name in SERIALISING
        if (environment.get(name) or "0").strip() != "0"
    )


def relevant(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Give what a fingerprint keeps of an environment, sorted by name."""
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


@functools.cache
def _cpu_model() -> str | None:
    found = re.search(r"^model name\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")) or "", re.MULTILINE)
    return found[1] if found else None


@functools.cache
def _package_versions() -> tuple[tuple[str, str | None], ...]:
    versions: list[tuple[str, str | None]] = []
    for package in _PACKAGES:
        try:
            versions.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            versions.append((package, None))
    return tuple(versions)

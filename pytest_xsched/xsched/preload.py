"""Preload XSched under a program that does not know it, and check that it is active there.

No mistake here is an error by itself: the loader ignores a library that it cannot preload, XSched
ignores a misspelt variable, and calls go past a shim that exports nothing. So this module checks
the variables and the symbols of the shim before the start, and the mapped files while the program
runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_xsched.errors import SchedulerInactive
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.system.elf import NotALibrary, read_library
from pytest_xsched.system.process_maps import mapped_files
from pytest_xsched.xsched.activation import DRIVER_VARIABLES
from pytest_xsched.xsched.environment import faults, is_xsched_variable
from pytest_xsched.xsched.installation import SHIMS, Home, files_of_others, home_of

AUTO = "XSCHED_AUTO_XQUEUE"
LAUNCH = {
    "cuda": "cuLaunchKernel",
    "hip": "hipLaunchKernel",
    "opencl": "clEnqueueNDRangeKernel",
}
"""A function that each shim has to export; else every launch goes past it to the driver."""

_DRIVER = {"cuda": "libcuda", "hip": "libamdhip64", "opencl": "libOpenCL"}
_ROCM = re.compile(r"/(rocm[\w.-]*)/")
_CREATED = re.compile(r"XQueue \(0x[0-9a-f]+\) from process (\d+) created")
_IGNORED = re.compile(r"^.*cannot be preloaded.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """How a program is started under XSched.

    Attributes:
        shim: absolute path of the library that is preloaded.
        variables: in addition to those that it inherits.
        environment: all of them.
        home: the installation that the scheduler names, where the shim comes from it; else None.
    """

    shim: str
    variables: dict[str, str]
    environment: dict[str, str]
    home: Home | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process of a program, as it was while it ran.

    Attributes:
        pid: of the process.
        environment: at the start of its program.
        files: that it has mapped.
    """

    pid: int
    environment: dict[str, str]
    files: tuple[str, ...]


def prepare_preload(
    spec: QueueSpec,
    xsched: XSched,
    kind: str,
    home: Home,
    libraries: Libraries,
    inherited: Mapping[str, str],
    program: Program | None = None,
) -> Preload:
    """Return the variables that preload XSched under a program.

    Args:
        spec: the queue whose workload is the program.
        xsched: how XSched schedules.
        kind: of the device that the program uses.
        home: where XSched is installed.
        libraries: of the GPU, as the user named them.
        inherited: the environment of this process.
        program: in place of the queue's own; None: that one.

    Raises:
        SchedulerInactive: XSched would not schedule the program; the message says why.
    """
    program = program or spec.workload.own_program
    assert program is not None
    shim = os.path.abspath(program.preload) if program.preload else home.library(SHIMS[kind])
    _require_symbols(spec.name, shim, LAUNCH[kind])
    own = dict(program.env)
    values = {
        **{name: value for name, value in inherited.items() if not is_xsched_variable(name)},
        **own,
    }
    variables = {
        "LD_PRELOAD": ":".join(part for part in (shim, values.get("LD_PRELOAD")) if part),
        "LD_LIBRARY_PATH": _prepended(os.path.dirname(shim), values.get("LD_LIBRARY_PATH")),
        **_of_queue(spec, xsched),
        **_driver_file(kind, libraries),
        **own,
    }
    environment = {**values, **variables}
    _require_auto(f"the program of queue {spec.name!r}", environment)
    _require_known(spec.name, environment)
    return Preload(
        shim=os.path.realpath(shim),
        variables=variables,
        environment=environment,
        home=None if program.preload else home_of(xsched),
    )


def with_driver(setting: Preload, kind: str, seen: Sequence[ProcessRecord]) -> Preload:
    """Return the setting with the driver's file of running processes, where the user named none.

    XSched searches fewer places than the dynamic loader does.
    """
    files = sorted({path for process in seen for path in drivers_of(process, kind)})
    name = DRIVER_VARIABLES[kind]
    if len(files) != 1 or name in setting.variables:
        return setting
    variables = {**setting.variables, name: files[0]}
    environment = {**setting.environment, name: files[0]}
    return replace(setting, variables=variables, environment=environment)


def require_active(
    setting: Preload,
    kind: str,
    name: str,
    output: str,
    seen: Sequence[ProcessRecord],
    created: str | None,
) -> None:
    """Raise SchedulerInactive unless the processes of a program had XSched under them.

    Args:
        setting: how the program was started.
        kind: of the device.
        name: of its queue.
        output: of the program and its libraries.
        seen: its processes.
        created: the text in which XSched reports new XQueues; None: there is none.
    """
    if ignored := _IGNORED.search(output):
        raise SchedulerInactive(f"scheduler inactive: queue {name!r}: {ignored[0].strip()}")
    with_driver = [process for process in seen if drivers_of(process, kind)]
    if not with_driver:
        raise SchedulerInactive(
            f"scheduler inactive: queue {name!r}: no process of its program has "
            f"{_DRIVER[kind]}.so mapped, so it launches nothing on {kind}"
        )
    for process in with_driver:
        of = f"process {process.pid} of queue {name!r}"
        _require_auto(of, process.environment)
        if setting.home and (others := files_of_others(setting.home, process.files)):
            raise SchedulerInactive(
                f"scheduler inactive: {of} has mapped {', '.join(others)}, which is not of "
                f"{setting.home.origin}"
            )
        if setting.shim not in process.files:
            raise SchedulerInactive(
                f"scheduler inactive: {of} has not mapped {setting.shim}, though LD_PRELOAD "
                f"{_preload_of(process)}"
            )
        drivers = drivers_of(process, kind)
        if len(drivers) > 1:
            raise SchedulerInactive(
                f"scheduler inactive: {of} has two drivers mapped, and calls either: "
                f"{', '.join(drivers)}"
            )
        trees = sorted({match[1] for path in process.files if (match := _ROCM.search(path))})
        if len(trees) > 1:
            raise SchedulerInactive(
                f"scheduler inactive: {of} has libraries of two ROCm installations mapped: "
                f"{', '.join(trees)}"
            )
    if created is None:
        return
    with_queue = {int(match[1]) for match in _CREATED.finditer(created)}
    if not with_queue & {process.pid for process in with_driver}:
        raise SchedulerInactive(
            f"scheduler inactive: XSched is preloaded in queue {name!r}, but made no XQueue for "
            "it: the program made no stream through the shim. Either it stays on the default "
            "stream, which XSched does not schedule, or it finds the driver past LD_PRELOAD"
        )


def processes_of_session(session: int) -> list[ProcessRecord]:
    """Return records of the processes of a session, without those that may not be read."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(directory.name)) != session:
                continue
            variables = (directory / "environ").read_bytes().decode(errors="replace").split("\0")
            files = mapped_files(int(directory.name))
            program = os.readlink(directory / "exe")
        except OSError:
            continue
        found.append(
            ProcessRecord(
                pid=int(directory.name),
                environment=dict(pair.split("=", 1) for pair in variables if "=" in pair),
                files=tuple(path for path in files if ".so" in path or path == program),
            )
        )
    return found


def _of_queue(spec: QueueSpec, xsched: XSched) -> dict[str, str]:
    """Return the variables that describe the queue and the scheduler to XSched."""
    threshold, batch_size = spec.depth
    timeslice = xsched.timeslice_us
    values: dict[str, object] = {
        "": "ON",
        "_LEVEL": xsched.level,
        "_PRIORITY": spec.priority,
        "_THRESHOLD": threshold or None,
        "_BATCH_SIZE": batch_size or None,
        "_UTILIZATION": spec.utilization,
        "_TIMESLICE": timeslice or None,
        "_DEADLINE": None if spec.deadline_ns is None else spec.deadline_ns // 1000,
        "_LAXITY": None if spec.laxity_ns is None else spec.laxity_ns // 1000,
        "_KDEADLINE": xsched.k,
    }
    variables = {f"{AUTO}{key}": str(value) for key, value in values.items() if value is not None}
    if xsched.scheduler == "local":
        variables["XSCHED_POLICY"] = xsched.policy.upper()
    else:
        variables["XSCHED_SCHEDULER"] = {"global": "GLB", "app": "APP"}[xsched.scheduler]
    return {**variables, "XLOG_LEVEL": "INFO"}  # else XSched does not report new XQueues


def _driver_file(kind: str, libraries: Libraries) -> dict[str, str]:
    file = libraries.driver
    return {DRIVER_VARIABLES[kind]: file.path} if file and "/" in file.path else {}


def _prepended(first: str, others: str | None) -> str:
    return f"{first}:{others}" if others else first


def _preload_of(process: ProcessRecord) -> str:
    value = process.environment.get("LD_PRELOAD")
    return f"is {value!r} there" if value else "was set: it is not in the environment there"


def drivers_of(process: ProcessRecord, kind: str) -> list[str]:
    """Return the paths of the drivers of a kind of device that a process has mapped."""
    name = re.compile(rf"{_DRIVER[kind]}\.so")
    return [path for path in process.files if name.match(os.path.basename(path))]


def _require_symbols(name: str, shim: str, symbol: str) -> None:
    try:
        library = read_library(shim)
    except NotALibrary as error:
        raise SchedulerInactive(
            f"scheduler inactive: queue {name!r}: XSched cannot be preloaded: {error}"
        ) from None
    if symbol not in {exported.name for exported in library.exported}:
        raise SchedulerInactive(
            f"scheduler inactive: queue {name!r}: {shim} exports no {symbol}, so every launch goes "
            "past it to the driver"
        )


def _require_known(name: str, environment: Mapping[str, str]) -> None:
    if found := faults(environment):
        raise SchedulerInactive(f"scheduler inactive: queue {name!r}: {'; '.join(found)}")


def _require_auto(of: str, environment: Mapping[str, str]) -> None:
    value = environment.get(AUTO)
    if value is None or value.lower() not in ("on", "1"):
        how = f"is {value!r}" if value is not None else "is not set"
        raise SchedulerInactive(
            f"scheduler inactive: {AUTO} {how} in the environment of {of}, so that XSched makes no "
            "XQueue for it"
        )

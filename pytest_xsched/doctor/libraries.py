"""Which XSched and which GPU driver are installed, and can they be loaded? (Check 1)

A process of its own loads each library and resolves all symbols at once, because otherwise a
missing symbol is an error only when it is called.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_xsched.base.constants import GPUS, split_device
from pytest_xsched.doctor.finding import Finding, failed, ok
from pytest_xsched.doctor.subprocesses import ProbeResult, clean, start_loading
from pytest_xsched.errors import ScenarioError, SchedulerInactive
from pytest_xsched.system.driver_files import LibraryFile, find_libraries
from pytest_xsched.system.elf import NotALibrary, read_library
from pytest_xsched.xsched.installation import HALS, SHIMS, Home, find_home

PREEMPT = "libpreempt.so"
DRIVER_NAMES = {
    "hip": tuple(f"libamdhip64.so{version}" for version in (".7", ".6", ".5", "")),
    "cuda": ("libcuda.so.1", "libcuda.so"),
    "opencl": ("libOpenCL.so.1", "libOpenCL.so"),
}
"""Names under which the runner searches for a driver."""

_REBUILD = (
    "rebuild all of XSched from one commit; a version script with 'local: *' belongs to the shim "
    "alone, because on a HAL it hides what the shim needs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the doctor examines.

    Attributes:
        home: where XSched is installed; None: nowhere, because of `homeless`.
        kind: of the device whose driver is examined; None: no driver can be loaded.
        driver: its file, as the loader found it, or "".
        driver_name: the name under which it was found.
        environment: of pytest's process.
        loaded: how the loading of each library of XSched ended, by path.
        broken: errors of the loader for drivers that exist but cannot be loaded.
        chosen: whether the user named the kind.
    """

    home: Home | None
    homeless: str
    kind: str | None
    driver: str
    driver_name: str
    environment: Mapping[str, str]
    loaded: Mapping[str, ProbeResult]
    broken: tuple[str, ...]
    chosen: bool

    def library(self, name: str) -> str | None:
        """Return the path of a library of XSched, or None."""
        return library_of(self.home, name)


def library_of(home: Home | None, name: str) -> str | None:
    """Return the path of a library of an installation, or None."""
    with contextlib.suppress(SchedulerInactive):
        return home.library(name) if home else None
    return None


def find_target(
    named: Home | None, device: str, driver: LibraryFile | None, environment: Mapping[str, str]
) -> Target:
    """Find XSched and a driver, and load all their libraries.

    Args:
        named: the installation, where an option or an ini key names it.
        device: its name, or ``"auto"``: the first whose driver can be loaded.
        driver: its file, where the user named one.
        environment: of pytest's process.
    """
    home, homeless = None, ""
    try:
        home = find_home(named)
    except SchedulerInactive as error:
        homeless = str(error).removeprefix("scheduler inactive: ")
    named_kind, _ = split_device(device)
    chosen = named_kind in GPUS
    kinds = (
        (named_kind,) if chosen else tuple(k for k in GPUS if not home or library_of(home, HALS[k]))
    )
    missing = ""
    try:
        driver = find_libraries(GPUS[0], driver).driver  # of the environment, too
    except ScenarioError as error:
        missing, driver = str(error), None
    if driver is not None and not chosen:  # its kind by its name, which most files have
        kinds = tuple(k for k in kinds if DRIVER_NAMES[k][-1] in driver.path) or kinds
    names = {kind: _driver_names(kind, driver) for kind in kinds}
    where = clean(environment)
    libraries = sorted(_libraries(home, kinds))
    children = {path: start_loading("load", path, environment=where) for path in libraries}
    drivers = {kind: start_loading("load", *names[kind], environment=where) for kind in kinds}
    loaded = {path: child.end() for path, child in children.items()}
    kind: str | None = None
    file = name = ""
    broken: tuple[str, ...] = ()
    for candidate, child in drivers.items():
        ended = child.end()
        faults = tuple(_faults(candidate, ended, names[candidate]))
        found = (ended.answer or {}).get("loaded")
        if kind is None and (faults or chosen or found):
            kind, broken, name = candidate, faults, found or ""
            file = _file_of(ended, candidate)
    return Target(
        home=home,
        homeless=homeless,
        kind=kind,
        driver=file,
        driver_name=name,
        environment=environment,
        loaded=loaded,
        broken=(missing, *broken) if missing else broken,
        chosen=chosen,
    )


def check_libraries(target: Target) -> Finding:
    """Check 1: do the libraries exist, and can they be loaded?"""
    if target.home is None:
        return failed(target.homeless, _hint(target.environment))
    kinds = [target.kind] if target.kind else []
    for name in (PREEMPT, *(HALS[kind] for kind in kinds)):
        try:
            target.home.library(name)
        except SchedulerInactive as error:
            return failed(
                str(error).removeprefix("scheduler inactive: "),
                "name the directory into which XSched was installed (make install), or build "
                "XSched for this platform",
            )
    if not target.loaded.keys() - {target.library(PREEMPT)}:
        return failed(
            f"{target.home.path} has {PREEMPT}, but no library for hip, cuda or opencl",
            "build XSched for your platform: make hip, make cuda or make opencl",
        )
    wrong = [found for path, ended in target.loaded.items() if (found := _wrong(path, ended))]
    if wrong:
        more = f" (and {len(wrong) - 1} more cannot be loaded)" if len(wrong) > 1 else ""
        return failed(f"{wrong[0][0]}{more}", wrong[0][1])
    if target.broken:
        return failed(
            f"the driver of {target.kind} cannot be loaded: {target.broken[0]}", _DRIVER_REMEDY
        )
    names = ", ".join(os.path.basename(path) for path in target.loaded)
    where = os.path.dirname(next(iter(target.loaded)))
    driver = f"the driver is {target.driver}" if target.driver else "no GPU driver was found"
    return ok(f"{names} of {where} can be loaded; {driver}")


_DRIVER_REMEDY = (
    "install the library that is missing (ldd shows all), or put its directory, of the same "
    "release, on LD_LIBRARY_PATH"
)


def _libraries(home: Home | None, kinds: tuple[str, ...]) -> Iterator[str]:
    for name in (PREEMPT, *(table[kind] for table in (HALS, SHIMS) for kind in kinds)):
        if path := library_of(home, name):
            yield path


def _driver_names(kind: str, driver: LibraryFile | None) -> tuple[str, ...]:
    if driver is not None:
        return (driver.path,)
    more = sorted(glob.glob("/opt/rocm*/lib/libamdhip64.so")) if kind == "hip" else []
    return (*DRIVER_NAMES[kind], *more)


def _faults(kind: str, ended: ProbeResult, names: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with a driver that exists."""
    if ended.answer is None:
        yield f"the process that loads {names[0]} {ended.end_phrase}"
        return
    if ended.answer["loaded"]:
        return
    for error in ended.answer["errors"]:
        if not any(error.startswith(f"{name}: cannot open shared object") for name in names):
            yield error


def _file_of(ended: ProbeResult, kind: str) -> str:
    """Return the file that the loader used as a driver, links resolved."""
    answer = ended.answer or {}
    name = str(answer.get("loaded") or "")
    if "/" in name:
        return os.path.realpath(name)
    stem, files = DRIVER_NAMES[kind][-1], answer.get("files", [])
    return next((file for file in files if os.path.basename(file).startswith(stem)), "")


def _wrong(path: str, ended: ProbeResult) -> tuple[str, str] | None:
    """Return what is wrong with a library and what to do, or None."""
    name = os.path.basename(path)
    if ended.answer is None:
        if ended.late_s:
            return f"loading {path} {ended.end_phrase}: its initialisation hangs", (
                "find out where with gdb -p; registering static kernels before the driver is "
                "loaded hangs, and so does synchronizing in the allocator"
            )
        return f"the process that loads {path} {ended.end_phrase}{ended.last_line}", _REBUILD
    if ended.answer["loaded"]:
        others = [
            file
            for file in ended.answer["files"]
            if re.match(r"lib(preempt|hal\w+|shim\w+)\.so", os.path.basename(file))
            and os.path.dirname(file) != os.path.dirname(path)
        ]
        if others:
            return f"{path} loads {others[0]}, which is of another build", (
                "take the other directory off LD_LIBRARY_PATH, or rebuild: parts of two builds "
                "share C++ objects"
            )
        return None
    error = ended.answer["errors"][0]
    if found := re.search(r"undefined symbol: ([\w.$]+)", error):
        symbol = found[1]
        of = error.split(": ", 1)[0]
        return f"{of} needs {demangle(symbol)}, {_who_has(symbol, path)}", _REBUILD
    if "cannot open shared object file" in error:
        return f"{name} cannot be loaded: {error}", _DRIVER_REMEDY
    return f"{name} cannot be loaded: {error}", _REBUILD


def _who_has(symbol: str, path: str) -> str:
    """Return which library exports a symbol that the loader did not find."""
    others = sorted(glob.glob(os.path.join(os.path.dirname(path), "lib*.so")))
    for other in others:
        with contextlib.suppress(NotALibrary):
            if any(found.name == symbol for found in read_library(other).exported):
                return f"which {other} exports, but it is not linked with that"
    return f"which no library in {os.path.dirname(path)} exports"


def demangle(symbol: str) -> str:
    """Return a C++ name as it is written and as the linker knows it, if c++filt is installed."""
    program = shutil.which("c++filt")
    if program is None or not symbol.startswith("_Z"):
        return symbol
    try:
        done = subprocess.run([program, symbol], capture_output=True, text=True, timeout=2)
    except (OSError, subprocess.TimeoutExpired):
        return symbol
    text = done.stdout.strip()
    return f"{text} ({symbol})" if text and text != symbol else symbol


def _hint(environment: Mapping[str, str]) -> str:
    """Return a hint where XSched seems to be, from the paths that a loader searches."""
    folders = environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    folders += [
        os.path.dirname(path) for path in re.split("[: ]", environment.get("LD_PRELOAD", ""))
    ]
    for folder in filter(None, folders):
        if os.path.isfile(os.path.join(folder, PREEMPT)):
            return (
                f"{PREEMPT} is in {folder}, which is on LD_LIBRARY_PATH or LD_PRELOAD: set "
                f"--home={folder}"
            )
    return (
        f"install XSched (https://github.com/XpuOS/xsched) and name the directory with its "
        f"lib/{PREEMPT}; pytest-xsched does not contain it"
    )

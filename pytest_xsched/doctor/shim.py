"""Does XSched's shim intercept the calls of programs? Its symbols, and a process under it (2, 3).

A symbol without a version satisfies a need with one, but not dlvsym(). A symbol with another
version does not, and then the loader uses the driver without a warning (measured with glibc 2.36).
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_xsched.doctor.finding import Finding, failed, ok, skipped
from pytest_xsched.doctor.libraries import DRIVER_NAMES, Target
from pytest_xsched.doctor.subprocesses import ProbeResult, clean, start_loading
from pytest_xsched.system.elf import NotALibrary, SharedLibrary, Symbol, read_library
from pytest_xsched.xsched.installation import SHIMS

LAUNCH = {
    "hip": ("hipLaunchKernel", "hipModuleLaunchKernel", "hipExtModuleLaunchKernel"),
    "cuda": ("cuLaunchKernel", "cuLaunchKernelEx", "cuGetProcAddress"),
    "opencl": ("clEnqueueNDRangeKernel",),
}
"""The functions of a driver that launch kernels."""

_CONSUMERS = {
    "hip": (
        *("libtorch_hip.so", "libc10_hip.so", "librocblas.so*", "libhipblas.so*"),
        *("libhipblaslt.so*", "libMIOpen.so*"),
    ),
    "cuda": ("libtorch_cuda.so", "libc10_cuda.so"),
    "opencl": (),
}
"""Libraries that launch kernels for a program."""

_SEARCHED = {
    "hip": ("XSCHED_HIP_LIB", ("libamdhip64.so",), ("/opt/rocm/lib",)),
    "cuda": ("XSCHED_CUDA_LIB", ("libcuda.so", "libcuda.so.1"), ()),
    "opencl": (
        "XSCHED_CUDA_LIB",
        ("libOpenCL.so", "libOpenCL.so.1", "libOpenCL.so.1.2", "libOpenCL.so.1.0"),
        ("/usr/local/cuda/lib64",),
    ),
}
"""Where XSched's HAL searches for the driver: variable, names, directories (its driver.h)."""

_ROCM = re.compile(
    r"lib(amdhip64|hiprtc|amd_comgr|hsa-runtime64|rocblas|hipblas|hipblaslt|MIOpen"
    r"|rocprofiler-register)\.so"
)


_NO_DRIVER = "see check 1, or name the device: --device=hip, cuda or opencl"
_NO_SHIM = "build XSched with its shims, if your own programs shall run under it"


def check_symbols(target: Target) -> Finding:
    """Check 2: does the shim export what launches kernels, as the libraries here need it?"""
    if target.home is None:
        return skipped("no XSched was found", "see check 1")
    if target.kind is None:
        return skipped("no GPU driver was found, so a shim has nothing to intercept", _NO_DRIVER)
    path = target.library(SHIMS[target.kind])
    if path is None:
        return skipped(
            f"{target.home.path} has no {SHIMS[target.kind]}, which only programs that are "
            "started under LD_PRELOAD need",
            _NO_SHIM,
        )
    try:
        shim = read_library(path)
    except NotALibrary as error:
        return failed(str(error), "rebuild XSched")
    entries = LAUNCH[target.kind]
    there = _entries(target.kind, shim)
    if not there:
        return failed(
            f"{path} exports none of {', '.join(entries)}: it can be loaded, and every launch goes "
            "past it to the driver",
            "rebuild the shim without a version script that makes them local ('local: *'); "
            "nm -D shows what it exports",
        )
    return _compare(target, shim, there)


def _entries(kind: str, shim: SharedLibrary) -> list[str]:
    exported = {symbol.name for symbol in shim.exported}
    return [name for name in LAUNCH[kind] if name in exported]


@dataclass(frozen=True, slots=True)
class _Miss:
    need: Symbol
    of: str
    why: str


def _compare(target: Target, shim: SharedLibrary, there: list[str]) -> Finding:
    """Compare what the libraries here need with what the shim exports."""
    kind = target.kind or ""
    offered: dict[str, list[Symbol]] = {}
    for symbol in shim.exported:
        offered.setdefault(symbol.name, []).append(symbol)
    checked, missed, loose = [], [], 0
    for library in _consumers(target):
        checked.append(os.path.basename(library.path))
        for need in library.undefined:
            if not _of_driver(need, kind):
                continue
            miss = _miss(need, offered, LAUNCH[kind])
            if miss:
                missed.append(_Miss(need, library.path, miss))
            elif need.version and need.name in offered:
                loose += all(symbol.version == "" for symbol in offered[need.name])
    if missed:
        first = missed[0]
        more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
        version = first.need.version or "NODE"
        return failed(
            f"{first.of} needs {first.need}, {first.why}{more}: those calls go past "
            f"{os.path.basename(shim.path)} to the driver",
            f"link the shim with a version script that has them: "
            f"{version} {{ global: {first.need.name}; }};",
        )
    against = f"; it has all that {', '.join(checked)} need" if checked else ""
    without = f", {loose} times by a symbol without a version" if loose else ""
    name = os.path.basename(shim.path)
    return ok(f"{name} exports {', '.join(there)}{against}{without}")


_PREFIXES = {"hip": "hip", "cuda": "cu", "opencl": "cl"}


def _of_driver(need: Symbol, kind: str) -> bool:
    """Check whether a needed symbol is a function of the driver, not one of a similar name."""
    stem = DRIVER_NAMES[kind][-1].removesuffix(".so")
    mine = need.name.lstrip("_").startswith(_PREFIXES[kind])
    return mine and (not need.file or need.file.startswith(stem))


def _miss(need: Symbol, offered: dict[str, list[Symbol]], launch: tuple[str, ...]) -> str:
    """Return why no symbol of the shim satisfies a need, or ''."""
    symbols = offered.get(need.name)
    if symbols is None:
        return "which it does not export" if need.name in launch else ""
    if not need.version or any(symbol.version in ("", need.version) for symbol in symbols):
        return ""
    versions = ", ".join(sorted(symbol.version for symbol in symbols))
    return f"which the shim has only as {versions}"


def _consumers(target: Target) -> Iterator[SharedLibrary]:
    """Yield the libraries here that call the driver, each once."""
    folders = [os.path.dirname(target.driver), *glob.glob("/opt/rocm*/lib")]
    torch = importlib.util.find_spec("torch")
    if torch is not None:
        folders += [os.path.join(path, "lib") for path in torch.submodule_search_locations or ()]
    seen = set()
    for folder in filter(None, folders):
        for pattern in _CONSUMERS[target.kind or ""]:
            for path in sorted(glob.glob(os.path.join(folder, pattern))):
                if (real := os.path.realpath(path)) in seen:
                    continue
                seen.add(real)
                try:
                    yield read_library(real)
                except NotALibrary:
                    continue  # a linker script, or a damaged file


@dataclass(frozen=True, slots=True, kw_only=True)
class Preloaded:
    """A process that ran under the shim.

    Attributes:
        preload: its LD_PRELOAD.
        entry: the function that it searched.
        ended: its answer and its end; None: it was not started.
    """

    preload: str
    entry: str = ""
    ended: ProbeResult | None = None


def run_preloaded(target: Target) -> Preloaded:
    """Start a process as a user's program is started: under LD_PRELOAD, with the driver loaded."""
    shim = target.library(SHIMS[target.kind]) if target.kind else None
    # If the user has set LD_PRELOAD to a library of XSched, that setting is checked.
    own = target.environment.get("LD_PRELOAD", "")
    preload = own if re.search(r"lib(shim|hal|preempt)", own) else shim or ""
    hangs = any(ended.late_s for ended in target.loaded.values())
    if not preload or hangs or not target.kind or not target.driver_name:
        return Preloaded(preload=preload)
    entry = LAUNCH[target.kind][0]
    more = {"LD_PRELOAD": preload}
    if target.kind == "cuda" and shim:
        # CUDA's runtime opens its driver by name, so that a shim has to have that name.
        paths = [os.path.dirname(shim), target.environment.get("LD_LIBRARY_PATH", "")]
        more["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
    if shim:
        with contextlib.suppress(NotALibrary):
            entry = next(iter(_entries(target.kind, read_library(shim))), entry)
    child = start_loading(
        *("resolve", entry, target.driver_name, _of_the_hal(target)),
        environment=clean(target.environment, **more),
    )
    return Preloaded(preload=preload, entry=entry, ended=child.end())


def _of_the_hal(target: Target) -> str:
    """Find the driver as XSched's HAL does, which reads neither LD_LIBRARY_PATH nor ld.so.cache."""
    variable, names, folders = _SEARCHED[target.kind or ""]
    named = target.environment.get(variable, "")
    if named and os.path.exists(named):
        return named
    machine = os.uname().machine
    system = (f"/lib/{machine}-linux-gnu", f"/usr/lib/{machine}-linux-gnu", "/lib", "/usr/lib")
    for folder in (*folders, *system, "/usr/lib64", "/usr/local/lib"):
        for name in names:
            if os.path.exists(os.path.join(folder, name)):
                return os.path.join(folder, name)
    return ""


def check_preload(target: Target, run: Preloaded) -> Finding:
    """Check 3: is the shim in the process, in front of one driver of one installation?"""
    if target.home is None:
        return skipped("no XSched was found", "see check 1")
    if target.kind is None or not target.driver_name:
        return skipped("no GPU driver was found, or none that can be loaded", _NO_DRIVER)
    if not run.preload:
        return skipped(f"{target.home.path} has no {SHIMS[target.kind]}", _NO_SHIM)
    if run.ended is None:
        return skipped("it hangs when it is loaded", "see check 1")
    refused = re.search(r"object '([^']*)' from LD_PRELOAD cannot be preloaded.*", run.ended.output)
    if refused:
        shim = target.library(SHIMS[target.kind])
        return failed(
            f"ld.so says: {refused[0]}",
            f"LD_PRELOAD has to be {shim or 'the path of ' + SHIMS[target.kind]}; programs that "
            "are started with a wrong one run as if there were no XSched",
        )
    if run.ended.answer is None:
        return failed(
            f"a process under LD_PRELOAD={run.preload} {run.ended.end_phrase}{run.ended.last_line}",
            "see check 1; if that is ok, the shim and the driver are incompatible",
        )
    return _mapped(target, run, run.ended.answer)


def _mapped(target: Target, run: Preloaded, answer: dict[str, Any]) -> Finding:
    files: list[str] = answer["files"]
    kind = target.kind or ""
    shims = [file for file in files if os.path.basename(file).startswith(SHIMS[kind])]
    if not shims:
        return failed(
            f"a process under LD_PRELOAD={run.preload} has not mapped {SHIMS[kind]}",
            f"LD_PRELOAD has to be {target.library(SHIMS[kind]) or 'the path of ' + SHIMS[kind]}",
        )
    trees = _trees(files)
    if len(trees) > 1:
        shown = ", ".join(f"{name} of {tree}" for tree, name in sorted(trees.items()))
        return failed(
            f"libraries of {len(trees)} ROCm trees are in one process: {shown}",
            "remove all but one tree from LD_LIBRARY_PATH and XSCHED_HIP_LIB",
        )
    stem = DRIVER_NAMES[kind][-1]
    drivers = [
        file
        for file in files
        if (file == target.driver or os.path.basename(file).startswith(stem)) and not _is_shim(file)
    ]
    if len(drivers) != 1:
        variable = _SEARCHED[kind][0]
        return failed(
            f"{len(drivers)} drivers are in one process: {', '.join(drivers)}"
            if drivers
            else f"no {stem} but XSched's own is in the process",
            f"set {variable} to the file that programs use, {target.driver or 'the driver'}: "
            "XSched searches for a driver itself",
        )
    by = str(answer["by_handle" if kind == "cuda" else "by_scope"])
    if not _is_shim(by):
        return failed(
            f"{shims[0]} is in the process, but {run.entry} is that of {by}",
            "see check 2"
            if kind != "cuda"
            else f"put the directory of {SHIMS[kind]} with its link libcuda.so.1 first on "
            "LD_LIBRARY_PATH",
        )
    also = f" (and {os.path.dirname(shims[0])} first on LD_LIBRARY_PATH)" if kind == "cuda" else ""
    return ok(
        f"a process under LD_PRELOAD={run.preload}{also} maps it and one driver, {drivers[0]}"
    )


def _trees(files: list[str]) -> dict[str, str]:
    """Return a library of each ROCm tree, by the tree."""
    found: dict[str, str] = {}
    for file in files:
        folder, name = os.path.split(file)
        if _ROCM.match(name) and not _is_shim(file):
            tree = (
                os.path.dirname(folder) if os.path.basename(folder) in ("lib", "lib64") else folder
            )
            found.setdefault(tree, name)
    return found


def _is_shim(file: str) -> bool:
    """Check whether a file is XSched's, whatever its name: those are linked with libpreempt."""
    try:
        return "libpreempt.so" in read_library(file).needed
    except NotALibrary:
        return False

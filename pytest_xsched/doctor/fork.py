"""Would a fork of pytest's process break the driver? Tried, if it has one loaded (check 10)."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import select
import signal
import sys
import warnings

from pytest_xsched.doctor.finding import Finding, failed, ok
from pytest_xsched.doctor.libraries import DRIVER_NAMES
from pytest_xsched.system.process_maps import mapped_files

LIMIT_S = 2.0

_HANGS, _DIED = -1, -2  # no driver's codes
_NAMES = {_HANGS: "does not return", _DIED: "ends the process"}


def check_fork() -> Finding:
    """Check 10: call the drivers that this process has, in a forked child."""
    loaded = [(kind, file) for file in mapped_files() if (kind := _kind(file))]
    method = multiprocessing.get_start_method(allow_none=True) or _default_method()
    for kind, file in loaded:
        call, code = _in_a_fork(kind, file)
        if code:
            what = _NAMES.get(code, f"gives error {code}")
            known = ", context is destroyed" if (kind, code) == ("hip", 709) else ""
            return failed(
                f"pytest's own process has initialised {file} (a conftest.py or a plugin did): in "
                f"a forked child {call} {what}{known}",
                "leave the GPU to processes of its own: multiprocessing.set_start_method('spawn'), "
                "and no GPU call while conftest.py is imported",
            )
    if loaded:
        files = ", ".join(file for _, file in loaded)
        return ok(f"pytest's own process has loaded {files}, and a forked child can use it")
    return ok(
        f"pytest's own process has no GPU driver loaded, so a fork is safe (multiprocessing: "
        f"{method}); runs are measured in processes that are started afresh"
    )


def _kind(file: str) -> str | None:
    name = os.path.basename(file)
    # OpenCL's loader knows nothing of a device until it is asked for one.
    return next((kind for kind in ("hip", "cuda") if name.startswith(DRIVER_NAMES[kind][-1])), None)


def _default_method() -> str:
    return "fork" if sys.version_info < (3, 14) else "forkserver"


def _in_a_fork(kind: str, file: str) -> tuple[str, int]:
    """Give a call and its code in a forked child; 0: all went well."""
    library = ctypes.CDLL(file)  # mapped already
    read_fd, write_fd = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: the child calls nothing that waits for one
        child = os.fork()
    if child == 0:
        try:
            os.write(write_fd, " ".join(map(str, _try(kind, library))).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    try:
        if not select.select([read_fd], [], [], LIMIT_S)[0]:
            return _first_call(kind), _HANGS
        call, _, code = os.read(read_fd, 200).decode().partition(" ")
        return (call, int(code)) if call else (_first_call(kind), _DIED)
    finally:
        os.close(read_fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _try(kind: str, library: ctypes.CDLL) -> tuple[str, int]:
    """Initialise, and make a stream where a context is made by itself."""
    prefix = "hip" if kind == "hip" else "cu"
    code = getattr(library, f"{prefix}Init")(0)
    if code == 0 and kind == "hip":
        stream = ctypes.c_void_p()
        if hasattr(library, "hipStreamCreate"):
            return "hipStreamCreate", library.hipStreamCreate(ctypes.byref(stream))
    # Without a GPU there is nothing that a fork could break: 100 is "no device" of both.
    return _first_call(kind), 0 if code == 100 else code


def _first_call(kind: str) -> str:
    return "hipInit" if kind == "hip" else "cuInit"

"""Would a fork of pytest's process break a driver that it has loaded? (Check 10)

The doctor starts pytest in the current directory with this module as a plugin: it makes the check
after pytest has loaded the user's plugins and conftest.py, and ends pytest before it collects.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import select
import signal
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pytest_xsched.doctor.finding import Finding, failed, ok, skipped
from pytest_xsched.doctor.libraries import DRIVER_NAMES
from pytest_xsched.doctor.subprocesses import Probe
from pytest_xsched.system.process_maps import mapped_files

LIMIT_S = 2.0

PYTEST_S = 5.0
"""Time in which pytest has to start, with the user's plugins."""
_ANSWER = "xsched fork: "

_HANGS, _DIED = -1, -2  # no driver has these codes
_NAMES = {_HANGS: "does not return", _DIED: "ends the process"}


def start_pytest(environment: Mapping[str, str]) -> Probe:
    """Start pytest with this module as a plugin."""
    return Probe(["-m", "pytest", "-p", __name__], environment, PYTEST_S, directory=os.getcwd())


def read_check(process: Probe) -> Finding:
    """Return the finding of a pytest that `start_pytest` started."""
    ended = process.end()
    if ended.late_s:
        return skipped(f"pytest did not start within {PYTEST_S:.0f} s", "run pytest, and see why")
    lines = [line for line in ended.output.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(_ANSWER):
            return Finding(**json.loads(line.removeprefix(_ANSWER)))
    last = f": {lines[-1].strip()}" if lines else ""
    return skipped(f"pytest does not start in this directory{last}", "run pytest, and see why")


def pytest_cmdline_main(config: Any) -> int:
    """Make the check inside pytest and end pytest; pytest calls this hook."""
    print(f"\n{_ANSWER}{json.dumps(asdict(check_fork()))}", flush=True)
    return 0


def check_fork() -> Finding:
    """Check 10: call the drivers that this process has loaded, in a forked child."""
    loaded = [(kind, file) for file in mapped_files() if (kind := _kind(file))]
    method = multiprocessing.get_start_method(allow_none=True) or _default_method()
    for kind, file in loaded:
        call, code = _in_a_fork(kind, file)
        if code:
            what = _NAMES.get(code, f"returns error {code}")
            known = ", context is destroyed" if (kind, code) == ("hip", 709) else ""
            return failed(
                f"a conftest.py or a plugin has initialised {file} in pytest's own process: in "
                f"a forked child {call} {what}{known}",
                "use the GPU in other processes only: multiprocessing.set_start_method('spawn'), "
                "and no GPU call while conftest.py is imported",
            )
    if loaded:
        files = ", ".join(file for _, file in loaded)
        return ok(f"pytest's own process has loaded {files}, and a forked child can use it")
    return ok(
        f"pytest's own process has no GPU driver loaded, so a fork is safe (multiprocessing: "
        f"{method}); pytest-xsched measures in processes that it starts without a fork"
    )


def _kind(file: str) -> str | None:
    name = os.path.basename(file)
    # OpenCL's loader has no state of a device before the first query.
    return next((kind for kind in ("hip", "cuda") if name.startswith(DRIVER_NAMES[kind][-1])), None)


def _default_method() -> str:
    return "fork" if sys.version_info < (3, 14) else "forkserver"


def _in_a_fork(kind: str, file: str) -> tuple[str, int]:
    """Return a call and its code in a forked child; 0: no error."""
    library = ctypes.CDLL(file)  # mapped already
    read_fd, write_fd = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about threads: the child calls nothing that waits for one
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
    """Initialise the driver; for HIP, which then has a context, also make a stream."""
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

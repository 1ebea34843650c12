"""The worker process: measures one scenario and leaves the data in its working directory.

`python -m pytest_xsched.workers.worker`, started by `process` in an empty directory with a job. A
driver that ends, hangs or corrupts its process then takes one measurement with it and not the test
run. The data is written before anything is torn down, because drivers hang and crash there.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_xsched.errors import DeviceError, XSchedError
from pytest_xsched.native.binding import Device, locate
from pytest_xsched.runner.measure import Measurement, Part, devices_of, measure
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.system.gpu_lock import lock_gpus
from pytest_xsched.xsched.activation import Activity, check_said, put_under, show_order

JOB, ERROR, SAMPLES, RESULT = "job.json", "error.json", "samples.npz", "result.json"
OUTPUT = "output.txt"
"""Where everything goes that is written in the process, by libraries, too."""
WAITING = "waiting "
"""Start of a line that is no progress, but says for what the worker waits."""
LOCKED, READY, LEFT = "locked", "ready", "left"
"""Lines: the GPUs are this process's, or its parent's. The queues are made, and the moment of the
start is awaited on stdin. The data is there, and nothing but the end is to come."""
ANSWER = "answer "
"""Start of a line with what came of a request to live queues, as JSON."""
DOING = "doing "
"""Start of a line that says what begins, in the words that follow "while" when it went wrong."""
UNWRITABLE = "unwritable "
"""Start of a line that says why no file could be written, and where nothing else may be, either."""
FAILED = 3
"""Exit status with an ERROR file."""

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Do the job of the working directory."""
    job = json.loads(Path(JOB).read_text(encoding="utf-8"))
    die_with_parent(job["parent"])
    try:
        return _do(job)
    except OSError as error:
        tell(job["progress_fd"], f"{UNWRITABLE}{error}")
        raise


def _do(job: dict[str, Any]) -> int:
    scenario = Scenario.from_dict(job["scenario"])
    libraries = Libraries.from_dict(job["libraries"])
    try:
        # Before anything is made on the GPU. Its end is also the end of what was made there.
        if job["lock"]:
            lock(scenario.devices, libraries, job["lock_timeout_s"], job["progress_fd"])
        _measure(scenario, libraries, job)
    except XSchedError as error:
        write(ERROR, plain_error(error))
        return FAILED
    return 0


def tell(progress_fd: int, line: str) -> None:
    """Say a line to the parent, unless it wants nothing any more."""
    if select.select([0], [], [], 0)[0]:  # only ever at its end: nobody wants the result
        raise SystemExit("cancelled")
    os.write(progress_fd, f"{line}\n".encode())


def lock(names: Sequence[str], libraries: Libraries, timeout_s: float, progress_fd: int) -> None:
    """Keep others off some devices until the end of this process, which releases them."""
    lock_gpus(
        [locate(name, libraries=libraries) for name in names],
        timeout_s=timeout_s,
        waiting=lambda sentence: tell(progress_fd, f"{WAITING}{sentence}"),
    )
    tell(progress_fd, LOCKED)


def _measure(scenario: Scenario, libraries: Libraries, job: dict[str, Any]) -> None:
    indices: list[int] | None = job["part"]
    progress_fd: int = job["progress_fd"]

    def progress(elapsed_ns: int, total_ns: int) -> None:
        tell(progress_fd, f"{elapsed_ns} {total_ns}")

    def ready() -> int:
        tell(progress_fd, READY)
        line = sys.stdin.readline()
        if not line:
            raise SystemExit("cancelled")
        return int(line)

    def keep(measurement: Measurement) -> None:
        _leave(measurement)
        tell(progress_fd, LEFT)
        if part is not None:  # others may still measure, and tearing down would disturb them
            sys.stdin.read()

    part = None if indices is None else Part(queues=tuple(indices), turn=_turn, ready=ready)
    tell(progress_fd, f"{DOING}it opened the device")
    devices = {
        name: Device(name, cpu=scenario.cpu, sim=scenario.sim, libraries=libraries)
        for name in devices_of(scenario, indices)
    }
    activity = _put_xsched_under(devices, scenario, job)
    tell(progress_fd, f"{DOING}it measured")
    # The devices are not closed: the end of the process does that.
    measure(
        devices,
        scenario,
        progress,
        activity=activity,
        keep=keep,
        part=part,
        watch=job["watch"],
        family=job["parent"],
    )


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Wait until no other process of the run is in here; they have their directories side by side.

    What is timed alone must be alone on the GPU.
    """
    with open("../turn", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _put_xsched_under(
    devices: dict[str, Device], scenario: Scenario, job: dict[str, Any]
) -> Activity | None:
    if scenario.xsched is None or job["xsched"] is None:
        return None
    tell(job["progress_fd"], f"{DOING}it loaded XSched")
    put_under(devices.values(), scenario.device_kind, scenario.xsched, **job["xsched"])
    said = check_said(scenario.xsched, Path(OUTPUT).read_text(encoding="utf-8", errors="replace"))
    tell(job["progress_fd"], f"{DOING}XSched had two queues to order")
    order = show_order(next(iter(devices.values())), scenario.xsched)
    return Activity(said=said, order=order, commands={}, files=())


def die_with_parent(parent: int) -> None:
    """Ask the kernel for a SIGKILL when the parent is gone, in whatever way it went."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it went before we asked
        sys.exit("the parent process is gone")


def plain_error(error: XSchedError) -> dict[str, Any]:
    """Give an error in JSON's types."""
    plain: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, DeviceError):
        plain |= {"call": error.call, "code": error.code}
    return plain


def _leave(measurement: Measurement) -> None:
    np.savez(SAMPLES, *measurement.samples)
    write(
        RESULT,
        {
            "fingerprint": measurement.fingerprint.to_dict(),
            "counts": [dataclasses.asdict(counts) for counts in measurement.counts],
            "wrong_results": list(measurement.wrong_results),
            "priority_effect": measurement.priority_effect,
            "alone_ns": list(measurement.alone_ns),
            "activity": measurement.activity and measurement.activity.to_dict(),
            "readings": measurement.readings and measurement.readings.to_dict(),
        },
    )


def write(name: str, data: dict[str, Any]) -> None:
    """Write a file whole or not at all: its presence is the message."""
    partial = Path(f"{name}.partial")
    partial.write_text(json.dumps(data), encoding="utf-8")
    partial.replace(name)


if __name__ == "__main__":
    sys.exit(main())

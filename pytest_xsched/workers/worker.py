"""The worker process: it measures one scenario and leaves the data in its working directory.

`isolated` and `multi_process` start `python -m pytest_xsched.workers.worker` in an empty directory
with a job. A driver that ends, hangs or corrupts its process then spoils one measurement and not
the test run. The worker writes the data before it tears anything down, because drivers hang and
crash there.
"""

from __future__ import annotations

import contextlib
import ctypes
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

from pytest_xsched.base.constants import uses_cpu
from pytest_xsched.errors import DeviceError, WorkerCrashed, XSchedError
from pytest_xsched.models.captured import CapturedModels
from pytest_xsched.models.factory import Place
from pytest_xsched.native.binding import Device, locate
from pytest_xsched.runner.measure import Measurement, Part, devices_of, measure
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.system.gpu_lock import lock_cpu, lock_gpus
from pytest_xsched.workers.measurement_data import to_arrays, to_plain
from pytest_xsched.xsched.activation import Activity, attach_xsched, check_report, measure_order

JOB, ERROR, RESULT = "job.json", "error.json", "result.json"
OUTPUT = "output.txt"
"""The output of the process and of its libraries."""
WAITING = "waiting "
"""Start of a message that names what the worker waits for."""
LOCKED, READY, LEFT = "locked", "ready", "left"
"""Messages: this process, or its parent, holds the locks of the GPUs. The queues exist, and the
process waits on stdin for the moment of the start. The data is written; only the end follows."""
ANSWER = "answer "
"""Start of a message with the answer to a request to live queues, as JSON."""
AGAIN = "again"
"""A line on stdin after LEFT: SCENARIO has another window of the run, for the same process."""
SCENARIO = "scenario.json"
DOING = "doing "
"""Start of a message that says what begins; an error message has it after "while"."""
MOVED = "moved"
"""Message: commands completed after the end of the run, so the process is slow and does not hang.
It has its whole time again."""
UNWRITABLE = "unwritable "
"""Start of a message that says why no file could be written. The output may be empty then."""
FAILED = 3
"""Exit status with an ERROR file."""

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Execute the job of the working directory."""
    job = json.loads(Path(JOB).read_text(encoding="utf-8"))
    die_with_parent(job["parent"])
    try:
        return _do(job)
    except OSError as error:
        send(job["progress_fd"], f"{UNWRITABLE}{error}")
        raise


def _do(job: dict[str, Any]) -> int:
    scenario = Scenario.from_dict(job["scenario"])
    libraries = Libraries.from_dict(job["libraries"])
    try:
        # Before anything is created on the GPU, and until the end of the process destroys that.
        if job["lock"]:
            timeout_s, progress_fd = job["lock_timeout_s"], job["progress_fd"]
            lock(scenario.devices, libraries, timeout_s, progress_fd, for_run=True)
        if job["only_lock"]:
            sys.stdin.read()  # until the run is over
            return 0
        _measure(scenario, libraries, job)
    except XSchedError as error:
        write(ERROR, error_to_dict(error))
        return FAILED
    report(job["progress_fd"], f"{DOING}it ended")
    return 0


def report(progress_fd: int, line: str) -> None:
    """Write a message to a parent that may no longer read."""
    with contextlib.suppress(OSError):
        os.write(progress_fd, f"{line}\n".encode())


def send(progress_fd: int, line: str) -> None:
    """Write a message to the parent, unless the parent has cancelled the run."""
    if select.select([0], [], [], 0)[0]:  # stdin ends: the parent has cancelled the run
        raise SystemExit("cancelled")
    os.write(progress_fd, f"{line}\n".encode())


def lock(
    names: Sequence[str],
    libraries: Libraries,
    timeout_s: float,
    progress_fd: int,
    *,
    for_run: bool = False,
) -> None:
    """Lock some devices until the end of this process.

    Args:
        names: of the devices.
        libraries: of the GPUs.
        timeout_s: longest wait for the GPUs, and again for the processors.
        progress_fd: where to say what is waited for.
        for_run: whether this process measures one run and ends; else it leaves the processors to
            others.
    """

    def waiting(phrase: str) -> None:
        send(progress_fd, f"{WAITING}{phrase}")

    pci_ids = [locate(name, libraries=libraries) for name in names]
    lock_gpus(pci_ids, timeout_s=timeout_s, waiting=waiting)
    if for_run and uses_cpu(names):
        lock_cpu(timeout_s=timeout_s, waiting=waiting)
    send(progress_fd, LOCKED)


def _measure(scenario: Scenario, libraries: Libraries, job: dict[str, Any]) -> None:
    indices: list[int] | None = job["part"]
    progress_fd: int = job["progress_fd"]

    def progress(elapsed_ns: int, total_ns: int) -> None:
        send(progress_fd, f"{elapsed_ns} {total_ns}")

    def ready() -> int:
        send(progress_fd, READY)
        line = sys.stdin.readline()
        if not line:
            raise SystemExit("cancelled")
        return int(line)

    def keep(measurement: Measurement) -> None:
        _save(measurement)
        send(progress_fd, LEFT)
        if part is not None:
            sys.stdin.read()  # others may still measure, and tearing down would disturb them

    def doing(sentence: str, moved: bool) -> None:
        report(progress_fd, f"{DOING}{sentence}")
        if moved:
            report(progress_fd, MOVED)

    part = None if indices is None else Part(queues=tuple(indices), turn=_exclusive, ready=ready)
    send(progress_fd, f"{DOING}it opened the device")
    devices = {
        name: Device(name, cpu=scenario.cpu, sim=scenario.sim, libraries=libraries)
        for name in devices_of(scenario, indices)
    }
    activity = _put_xsched_under(devices, scenario, job)
    send(progress_fd, f"{DOING}it measured")
    models = CapturedModels(
        Place(directory=job["place"]["directory"], paths=tuple(job["place"]["paths"])),
        doing=lambda sentence: send(progress_fd, f"{DOING}{sentence}"),
    )
    models.keeps_others = True  # another run of a comparison may have their queues
    while True:
        # The devices are not closed: the end of the process does that.
        measure(
            devices,
            scenario,
            progress,
            activity=activity,
            keep=keep,
            part=part,
            watch=job["watch"],
            record=job["record"],
            family=job["parent"],
            models=models,
            doing=doing,
        )
        if not job["may_go_on"] or sys.stdin.readline().strip() != AGAIN:
            return
        scenario = Scenario.from_dict(json.loads(Path(SCENARIO).read_text(encoding="utf-8")))


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """Exclude the other processes of the run, whose directories are next to this one.

    A command that is timed alone must be alone on the GPU.
    """
    with open("../turn", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _put_xsched_under(
    devices: dict[str, Device], scenario: Scenario, job: dict[str, Any]
) -> Activity | None:
    if scenario.xsched is None or job["xsched"] is None:
        return None
    send(job["progress_fd"], f"{DOING}it loaded XSched")
    attach_xsched(devices.values(), scenario.device_kind, scenario.xsched, **job["xsched"])
    report = check_report(
        scenario.xsched, Path(OUTPUT).read_text(encoding="utf-8", errors="replace")
    )
    send(job["progress_fd"], f"{DOING}XSched ordered two queues in a trial")
    order = measure_order(next(iter(devices.values())), scenario.xsched)
    return Activity(report=report, order=order, commands={}, files=())


def die_with_parent(parent: int) -> None:
    """Request a SIGKILL from the kernel for the end of the parent, whatever ends it."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the request
        sys.exit("the parent process has ended")


def error_to_dict(error: XSchedError) -> dict[str, Any]:
    """Return an error in JSON's types."""
    plain: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, DeviceError):
        plain |= {"call": error.call, "code": error.code}
    if isinstance(error, WorkerCrashed):
        plain["returncode"] = error.returncode
    return plain


def _save(measurement: Measurement) -> None:
    for name, arrays in to_arrays(measurement).items():
        np.savez(f"{name}.npz", *arrays)
    write(RESULT, to_plain(measurement))


def write(name: str, data: dict[str, Any]) -> None:
    """Write a file whole or not at all, because its presence is a message."""
    partial = Path(f"{name}.partial")
    partial.write_text(json.dumps(data), encoding="utf-8")
    partial.replace(name)


if __name__ == "__main__":
    sys.exit(main())

"""Use the GPU through XSched, step by step, in a process of its own.

`python -m pytest_xsched.doctor.gpu_probe FD JOB` writes a line of JSON when a step begins and when
it is done, so that the last line shows where the process ended or stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from pytest_xsched.errors import XSchedError
from pytest_xsched.native.binding import Device, locate
from pytest_xsched.native.run import Hints, Queue, QueueSettings, Run
from pytest_xsched.runner.reference import wrong_results
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.queue_spec import THRESHOLD_MAX
from pytest_xsched.scenario.workload import Workload, empty, matmul, vector_add
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.system.gpu_lock import lock_gpus
from pytest_xsched.xsched.activation import attach_xsched, check_report, measure_order

STOPPED = 3
"""Exit status after the failure of a step that the next ones need."""
RUNGS = (("launch", empty()), ("copies and elementwise", vector_add(4096)), ("GEMM", matmul(64)))
QUEUE_CREATE = {"cuda": "CudaQueueCreate", "hip": "HipQueueCreate"}
"""Calls that make an XQueue of a stream; OpenCL has no default stream."""

_REQUESTS = 24
_DRAIN_NS = 3_000_000_000


class Steps:
    """Writes the steps to the doctor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, **line: Any) -> None:
        os.write(self._fd, (json.dumps(line) + "\n").encode())

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield a dictionary, to be filled with what the step finds."""
        self.write(step=name, state="begun")
        found: dict[str, Any] = {}
        try:
            yield found
        except XSchedError as error:
            self.write(step=name, state="failed", kind=type(error).__name__, error=str(error))
            raise
        self.write(step=name, state="done", found=found)


def main() -> int:
    """Execute the steps of the job."""
    steps, job = Steps(int(sys.argv[1])), json.loads(sys.argv[2])
    kind, libraries = job["kind"], Libraries.from_dict(job["libraries"])
    xsched = XSched()
    try:
        with steps.step("lock"):
            lock_gpus([locate(job["device"], libraries=libraries)], timeout_s=job["lock_timeout_s"])
        with steps.step("device") as found:
            device = Device(job["device"], cpu=CpuModel(), sim=SimModel(), libraries=libraries)
            found["name"] = device.describe().name
        with steps.step("without") as found:
            found |= use(device, matmul(64), below=False)
        with steps.step("load"):
            attach_xsched([device], kind, xsched, preempt=job["preempt"], hal=job["hal"])
        with steps.step("canary") as found:
            found |= use(device, matmul(64))
    except XSchedError:
        return STOPPED
    with contextlib.suppress(XSchedError), steps.step("stream") as found:
        if kind in QUEUE_CREATE:
            found["call"] = QUEUE_CREATE[kind]
            found["code"] = of_default_stream(job["hal"], QUEUE_CREATE[kind])
    with contextlib.suppress(XSchedError), steps.step("scheduler") as found:
        found["said"] = check_report(xsched, written())
    with contextlib.suppress(XSchedError), steps.step("priorities") as found:
        found["order"] = measure_order(device, xsched)
    try:
        for rung, workload in RUNGS:
            with steps.step(f"ladder {rung}") as found:
                found |= use(device, workload)
    except XSchedError:
        pass  # the next rungs need this one
    with contextlib.suppress(XSchedError), steps.step("thread") as found:
        found |= in_a_thread(device)
    with steps.step("end"):
        pass
    return 0


def use(device: Device, workload: Workload, *, below: bool = True) -> dict[str, Any]:
    """Launch some commands at once; return the counts and what is wrong with the results."""
    run = Run(device, "none")
    try:
        settings = QueueSettings(
            name="canary",
            priority=1,
            stream_priority=0,
            threshold=THRESHOLD_MAX,
            batch_size=THRESHOLD_MAX // 2,
            seed=7,
            hints=Hints(threshold=8, batch_size=4),
        )
        queue = run.add_open(settings, workload.commands, np.zeros(_REQUESTS, np.int64))
        run.start(warmup_ns=0, duration_ns=1_000_000, drain_ns=_DRAIN_NS)
        run.wait_until_over()
        counts = queue.counts()
        given, launched = (
            queue.scheduler_counts()[:2] if below else (counts.launched, counts.launched)
        )
        return {
            "submitted": counts.submitted,
            "completed": counts.completed,
            "failed": counts.failed,
            "given": given,
            "launched": launched,
            "wrong": _wrong(queue, workload, settings.seed),
        }
    finally:
        run.close()


def in_a_thread(device: Device) -> dict[str, Any]:
    """Return the same for a stream and an XQueue that another thread makes."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(use, device, matmul(64)).result()


def _wrong(queue: Queue, workload: Workload, seed: int) -> str:
    """Compare with numpy: each launch adds its own number to its results."""
    for index, command in enumerate(workload.commands):
        if not command.items:
            continue
        launches, checksum = queue.checksum(index)
        last = queue.output(index, command.items)
        if found := wrong_results(command, seed, launches, checksum, last):
            return found
    return ""


def of_default_stream(hal: str, call: str) -> int:
    """Request a queue on the default stream from XSched; return its code."""
    queue = ctypes.c_uint64()
    return int(getattr(ctypes.CDLL(hal), call)(ctypes.byref(queue), None))


def written() -> str:
    """Return what was written so far to stderr, which is a file here."""
    sys.stderr.flush()
    return os.pread(2, os.fstat(2).st_size, 0).decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())

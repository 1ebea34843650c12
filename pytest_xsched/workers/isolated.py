"""Measure a run in one worker process; `multi_process` measures one in several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_xsched.base.temporary import TemporaryDirectory
from pytest_xsched.models.factory import Place
from pytest_xsched.runner.measure import Measurement, Progress
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.system.driver_files import Libraries, find_libraries
from pytest_xsched.workers.worker_process import Environment, WorkerMessages, WorkerProcess
from pytest_xsched.xsched.installation import Files

SET_UP_S = 60.0
"""Time in addition to the run: to import, open the device, compile, and read results."""

GRACE_S = 10.0
"""Time for the end of a worker that has left its data."""

POLL_S = 0.05


def measure_in_worker(
    scenario: Scenario,
    progress: Progress | None = None,
    *,
    waiting: Callable[[str], None] | None = None,
    libraries: Libraries | None = None,
    lock_timeout_s: float = 600.0,
    environment: Environment | None = None,
    xsched: Files | None = None,
    watch: bool = True,
    record: bool = True,
    set_up_s: float = SET_UP_S,
    grace_s: float = GRACE_S,
    module: str = "pytest_xsched.workers.worker",
) -> Measurement:
    """Measure a scenario in a fresh process.

    Args:
        scenario: the run.
        progress: called with elapsed and total ns of the run.
        waiting: called with a phrase, "waiting for ...", while another process measures on the
            GPU. That time does not count against the worker.
        libraries: of the GPU; None: those that the environment names.
        lock_timeout_s: longest wait for another measurement on the GPU.
        environment: how its environment differs from that of this process; None: not at all.
        xsched: the files of XSched that the worker loads, where XSched is the scheduler.
        watch: see `measure.measure`.
        record: see `measure.measure`.
        set_up_s: wall time in addition to the run, after which the worker is killed.
        grace_s: wall time after it has left its data, after which the worker is killed.
        module: that the process runs.

    Raises:
        DeviceBusy: another process measured for longer than `lock_timeout_s`.
        WorkerCrashed: it ended without a result, or did not end; the message says how.
        XSchedError: the worker raised it.
    """
    if libraries is None:
        libraries = find_libraries(scenario.device_kind)
    messages = WorkerMessages(set_up_s + run_s(scenario), grace_s, progress, waiting)
    with TemporaryDirectory() as name:
        job = make_job(
            scenario, libraries, lock_timeout_s, xsched=xsched, watch=watch, record=record
        )
        worker = WorkerProcess(
            Path(name), job, messages=messages, environment=environment, module=module
        )
        try:
            while worker.is_running() and not worker.is_late():
                worker.listen(POLL_S)
        finally:  # also on Ctrl-C and time-outs
            worker.end()
        return worker.measurement()


def run_s(scenario: Scenario) -> float:
    """Return the longest time of the run itself."""
    return (scenario.warmup_ns + scenario.duration_ns + scenario.drain_ns) / 1e9


def make_job(
    scenario: Scenario,
    libraries: Libraries,
    lock_timeout_s: float,
    *,
    lock: bool = True,
    only_lock: bool = False,
    part: Sequence[int] | None = None,
    xsched: Files | None = None,
    watch: bool = True,
    record: bool = True,
) -> dict[str, Any]:
    """Return the job of a worker, in JSON's types.

    Args:
        scenario: of the run.
        libraries: of the GPU.
        lock_timeout_s: longest wait for the GPU.
        lock: whether the worker locks the GPU.
        only_lock: whether it does nothing else, until it is stopped.
        part: indices of its queues, where other processes have the rest.
        xsched: the files of XSched that it loads, where XSched is the scheduler.
        watch: see `measure.measure`.
        record: see `measure.measure`.
    """
    return {
        "scenario": scenario.to_dict(),
        "libraries": libraries.to_dict(),
        "lock_timeout_s": lock_timeout_s,
        "lock": lock,
        "only_lock": only_lock,
        "part": None if part is None else list(part),
        "xsched": None if xsched is None else asdict(xsched),
        "watch": watch,
        "record": record,
        "place": asdict(Place.here()),
    }

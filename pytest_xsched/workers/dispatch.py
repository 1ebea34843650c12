"""Measure outside of pytest's process: choose the processes that a run or live queues need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from pytest_xsched.base.constants import APART, GPUS, split_device
from pytest_xsched.errors import ScenarioError, SchedulerInactive
from pytest_xsched.runner.measure import Measurement, Progress
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.system.driver_files import Libraries
from pytest_xsched.workers.isolated import SET_UP_S, RunWorker
from pytest_xsched.workers.live_proxy import LiveProcess
from pytest_xsched.workers.mps import mps_daemon, require_mps
from pytest_xsched.workers.multi_process import SeparateProcesses, preloaded_program
from pytest_xsched.workers.run_processes import RunProcesses
from pytest_xsched.workers.worker_process import Environment
from pytest_xsched.workers.xserver import xserver
from pytest_xsched.xsched.environment import faults
from pytest_xsched.xsched.installation import (
    ENVIRONMENT,
    SCRUBBED,
    Home,
    files_for,
    find_home,
    home_of,
)
from pytest_xsched.xsched.preload import prepare_preload

MODEL_SET_UP_S = 600.0
"""Time for a run with models: they are imported, built, compiled and warmed up."""

_LOCATE = """\
import sys
sys.path = [folder for folder in sys.path if folder]  # the user's directory may have a json.py
import json
from pytest_xsched.native.binding import Device, locate
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.system.driver_files import Libraries
name, libraries = sys.argv[1], Libraries.from_dict(json.loads(sys.argv[2]))
if not locate(name, libraries=libraries):  # a device of each process, so this disturbs no other
    Device(name, cpu=CpuModel(), sim=SimModel(), libraries=libraries).close()
"""
_ENVIRONMENT = Environment(scrubbed=SCRUBBED, values=ENVIRONMENT)


def why_own_process(scenario: Scenario) -> str:
    """Return why a scenario cannot be measured in pytest's own process; empty if it can."""
    if scenario.xsched is not None:
        return "scheduler 'xsched' may end its process, so it runs in a worker process"
    if scenario.scheduler in APART:
        return f"scheduler {scenario.scheduler!r} runs each queue in a process of its own"
    if scenario.processes == "separate":
        return 'processes="separate" runs each queue in a process of its own'
    if scenario.programs:
        what = "a program" if scenario.programs[0].workload.model is None else "an eager model"
        return f"queue {scenario.programs[0].name!r} is {what}, which has a process of its own"
    return ""


def open_live_process(
    device: str,
    *,
    policy: str,
    xsched: XSched | None,
    patience_ns: int,
    others: Sequence[str] = (),
    libraries: Libraries,
    lock: bool,
    lock_timeout_s: float,
    home: Home | None,
) -> LiveProcess:
    """Open a device for live queues in a process of its own.

    Args:
        device: its name.
        policy: of the queues, without XSched.
        xsched: how XSched schedules them; None: without XSched.
        patience_ns: how long a call may take, in addition to a wait that it requests.
        others: names of further devices.
        libraries: of the GPU.
        lock: whether to lock the GPU, after waiting for other measurements there.
        lock_timeout_s: longest wait for the lock.
        home: where XSched is installed, if an option or an ini key names it.

    Raises:
        ScenarioError: XSched does not schedule such a device, or not within one process.
        SchedulerInactive: see `measure_in_processes`.
    """
    files = None
    if xsched is not None:
        kind = split_device(device)[0]
        if kind not in GPUS:
            raise ScenarioError(
                f"scheduler 'xsched' schedules {', '.join(GPUS)} devices, not {device!r}"
            )
        if xsched.scheduler == "global":
            raise ScenarioError(
                "XSched's scheduler='global' is for several processes, and live queues share a "
                "process; use XSched(scheduler='local')"
            )
        files = files_for(kind, _home(xsched, home))
    return LiveProcess(
        device,
        others=others,
        libraries=libraries,
        lock=lock,
        lock_timeout_s=lock_timeout_s,
        # XSched alone decides: a policy of ours above it would hide what it does.
        policy=policy if xsched is None else "none",
        xsched=xsched,
        files=files,
        environment=None if xsched is None else _ENVIRONMENT,
        patience_ns=patience_ns,
    )


def _home(xsched: XSched, home: Home | None) -> Home:
    """Return the installation that a scheduler has, or that the session has."""
    if misspelt := faults(os.environ):
        raise SchedulerInactive(f"scheduler inactive: {'; '.join(misspelt)}")
    return find_home(home_of(xsched) or home)


def is_there(device: str, libraries: Libraries) -> bool:
    """Check in another process, which loads the driver, whether this machine has a device.

    Args:
        device: its name.
        libraries: of the GPU.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _LOCATE, device, json.dumps(libraries.to_dict())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SET_UP_S,
            check=False,
        )
    except subprocess.TimeoutExpired:  # the first run says what is wrong
        return False
    return asked.returncode == 0


def require_installed(scenario: Scenario, home: Home | None, libraries: Libraries) -> None:
    """Check that this machine has what a scenario needs, other than its devices.

    A library that a program names itself (`preload`) is checked when the program is started: a host
    has it from then on.

    Args:
        scenario: that is to be measured.
        home: where XSched is installed, if an option or an ini key names it.
        libraries: of the GPU.

    Raises:
        SchedulerInactive: see `measure_in_processes`, or MPS cannot be used; see `require_mps`.
    """
    if scenario.xsched is not None:
        found = _home(scenario.xsched, home)
        files_for(scenario.device_kind, found)
        if scenario.xsched.scheduler == "global":
            found.program("xserver")
        for queue in scenario.queues:
            program = preloaded_program(queue)
            if program is not None and program.preload is None:
                kind = scenario.device_kind
                prepare_preload(queue, scenario.xsched, kind, found, libraries, os.environ, program)
    if scenario.mps is not None:
        require_mps(scenario.mps)


def measure_in_processes(
    scenario: Scenario,
    progress: Progress | None,
    *,
    waiting: Callable[[str], None] | None,
    libraries: Libraries,
    lock_timeout_s: float,
    home: Home | None,
    watch: bool = True,
    record: bool = True,
    set_up_s: float = SET_UP_S,
    processes: RunProcesses | None = None,
) -> Measurement:
    """Measure a scenario, or a window of one, in the processes that it needs.

    Args:
        scenario: the run, or the window.
        progress: see `measure.measure`.
        waiting: see `isolated.measure_in_worker`.
        libraries: of the GPU.
        lock_timeout_s: longest wait for another measurement on the GPU.
        home: where XSched is installed, if an option or an ini key names it.
        watch: see `measure.measure`.
        record: see `measure.measure`.
        set_up_s: see `isolated.measure_in_worker`; longer where a model is built.
        processes: what the run keeps between its windows; None: there is one window.

    Raises:
        SchedulerInactive: XSched is not installed, or XSched ignores a variable in the environment
            of pytest that is meant for it.
    """
    processes = processes or RunProcesses(scenario.duration_ns)
    files = environment = found = None
    if scenario.models:
        set_up_s = max(set_up_s, MODEL_SET_UP_S)
    with processes.window(scenario.duration_ns) as around:
        if processes.kept is not None and processes.separate is None and processes.worker is None:
            taken = processes.kept.take(scenario, set_up_s=set_up_s, record=record)
            if isinstance(taken, RunWorker):
                processes.worker = taken
            else:
                processes.separate = taken
        if scenario.xsched is not None:
            found = _home(scenario.xsched, home)
            files = files_for(scenario.device_kind, found)
            environment = _ENVIRONMENT
            if scenario.xsched.scheduler == "global" and processes.server is None:
                processes.server = around.enter_context(
                    xserver(
                        found.program("xserver"),
                        scenario.xsched.policy.upper(),
                        lock_timeout_s=lock_timeout_s,
                        waiting=waiting,
                    )
                )
        if scenario.mps is not None and processes.daemon is None:
            processes.daemon = around.enter_context(mps_daemon(scenario.mps, scenario.device))
        if not scenario.has_separate_processes and not scenario.programs:
            if processes.worker is None:
                processes.worker = RunWorker(
                    libraries=libraries,
                    lock_timeout_s=lock_timeout_s,
                    environment=environment,
                    xsched=files,
                    watch=watch,
                    record=record,
                    set_up_s=set_up_s,
                )
                if processes.kept is None or not processes.kept.keep(processes.worker, scenario):
                    around.callback(processes.worker.close)
            # What XSched has seen of a window counts for the next one, so that is a fresh process.
            goes_on = bool(scenario.models) and scenario.xsched is None and not processes.is_last
            return processes.worker.measure(
                scenario,
                progress,
                waiting=waiting,
                is_last=not (goes_on or processes.worker.outlives_run),
            )
        if processes.separate is None:
            processes.separate = SeparateProcesses(
                libraries=libraries,
                lock_timeout_s=lock_timeout_s,
                environment=environment,
                xsched=files,
                home=found,
                server=processes.server,
                daemon=processes.daemon,
                watch=watch,
                record=record,
                set_up_s=set_up_s,
            )
            if processes.kept is None or not processes.kept.keep(processes.separate, scenario):
                around.callback(processes.separate.close)
        return processes.separate.measure(
            scenario, progress, waiting=waiting, is_last=processes.is_last
        )

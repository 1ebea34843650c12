"""Measuring outside of pytest's process: in one worker or several, under XSched or its server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from pytest_xsched.child import Environment
from pytest_xsched.errors import SchedulerInactive
from pytest_xsched.harness import Measurement, Progress
from pytest_xsched.installation import ENVIRONMENT, SCRUBBED, Home, files_for, find_home
from pytest_xsched.libraries import Libraries
from pytest_xsched.model import Scenario
from pytest_xsched.process import measure_in_worker
from pytest_xsched.separate import measure_separately
from pytest_xsched.xsched_variables import faults
from pytest_xsched.xserver import xserver


def why_elsewhere(scenario: Scenario) -> str:
    """Say why a scenario cannot be measured in pytest's own process; empty if it can."""
    if scenario.xsched is not None:
        return "scheduler 'xsched' may end the process it is in, so it has one of its own"
    if scenario.processes == "separate":
        return 'processes="separate": each queue has a process of its own'
    if scenario.programs:
        return f"queue {scenario.programs[0].name!r} is a program"
    return ""


def measure_elsewhere(
    scenario: Scenario,
    progress: Progress | None,
    *,
    waiting: Callable[[str], None] | None,
    libraries: Libraries,
    lock_timeout_s: float,
    home: Home | None,
    watch: bool = True,
) -> Measurement:
    """Measure a scenario in the processes that it needs.

    Args:
        scenario: what is to be run.
        progress: as of `harness.measure`.
        waiting: as of `process.measure_in_worker`.
        libraries: of the GPU.
        lock_timeout_s: longest wait for others who measure.
        home: where XSched is installed, if that was said.
        watch: as of `harness.measure`.

    Raises:
        SchedulerInactive: XSched is not there, or a variable for it in the environment of pytest
            means nothing to it, so that somebody expects what will not be.
    """
    files = environment = server = found = None
    with contextlib.ExitStack() as around:
        if scenario.xsched is not None:
            if misspelt := faults(os.environ):
                raise SchedulerInactive(f"scheduler inactive: {'; '.join(misspelt)}")
            found = find_home(home)
            files = files_for(scenario.device_kind, found)
            environment = Environment(scrubbed=SCRUBBED, values=ENVIRONMENT)
            if scenario.xsched.scheduler == "global":
                server = around.enter_context(
                    xserver(
                        found.program("xserver"),
                        scenario.xsched.policy.upper(),
                        lock_timeout_s=lock_timeout_s,
                        waiting=waiting,
                    )
                )
        if scenario.processes == "together" and not scenario.programs:
            return measure_in_worker(
                scenario,
                progress,
                waiting=waiting,
                libraries=libraries,
                lock_timeout_s=lock_timeout_s,
                environment=environment,
                xsched=files,
                watch=watch,
            )
        return measure_separately(
            scenario,
            progress,
            waiting=waiting,
            libraries=libraries,
            lock_timeout_s=lock_timeout_s,
            environment=environment,
            xsched=files,
            home=found,
            server=None if server is None else server.said,
            watch=watch,
        )

"""`pytest-xsched doctor`: why XSched seems to do nothing, in twelve checks and a few seconds.

In the order in which each would have explained those behind it; a check that needs another one is
skipped where that failed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from pytest_xsched.doctor.canary import (
    Work,
    check_canary,
    check_end,
    check_ladder,
    check_priorities,
    check_scheduler,
    check_stream,
    check_threads,
    start_work,
)
from pytest_xsched.doctor.finding import Diagnosis, Finding, failed, numbered, ok
from pytest_xsched.doctor.fork import read_check, start_pytest
from pytest_xsched.doctor.gpu_idle import check_gpu
from pytest_xsched.doctor.libraries import PREEMPT, Patient, check_libraries, survey
from pytest_xsched.doctor.shim import check_preload, check_symbols, run_preloaded
from pytest_xsched.doctor.subprocesses import Probe, clean, start_loading
from pytest_xsched.system.driver_files import LibraryFile
from pytest_xsched.xsched.environment import faults
from pytest_xsched.xsched.installation import Home

LIMIT_S = 9.0
"""For everything; what uses the GPU has what the rest leaves of it."""


def examine(
    device: str,
    *,
    home: Home | None,
    driver: LibraryFile | None,
    compiler: LibraryFile | None,
    environment: Mapping[str, str],
) -> Diagnosis:
    """Make all checks.

    Args:
        device: its name, or ``"auto"``.
        home: the installation, where an option or an ini key names one.
        driver: the GPU driver's file, where the user named one.
        compiler: of the GPU's kernels, likewise.
        environment: of this process.
    """
    start_s = time.monotonic()
    pytest_process = start_pytest(environment)
    patient = survey(home, device, driver, environment)
    gpu = check_gpu(patient.kind, clean(environment))  # before the doctor uses the GPU
    left_s = max(2.0, LIMIT_S - (time.monotonic() - start_s))
    started = start_work(patient, device, driver, compiler, limit_s=left_s)
    said = _start_saying(patient)
    preloaded = run_preloaded(patient)
    before = (
        check_libraries(patient),
        check_symbols(patient),
        check_preload(patient, preloaded),
        check_variables(environment),
    )
    fork = read_check(pytest_process)
    if isinstance(started, str):
        work = Work(ended=None, reason=started)
    else:
        work = Work(ended=started.end())
    findings = (
        *before,
        check_canary(patient, work),
        check_stream(work),
        check_scheduler(work, _said(said)),
        check_priorities(work),
        check_ladder(work),
        check_threads(fork, work),
        gpu,
        check_end(preloaded, work),
    )
    return Diagnosis(
        home=patient.home.path if patient.home else "",
        origin=patient.home.origin if patient.home else "",
        device=patient.kind or "",
        findings=numbered(findings),
        seconds=time.monotonic() - start_s,
    )


def check_variables(environment: Mapping[str, str]) -> Finding:
    """Check 4: does XSched know the variables that are set, and their values?"""
    found = faults(environment)
    if found:
        return failed("; ".join(found), "correct or unset them: XSched itself never complains")
    known = [name for name in sorted(environment) if name.startswith(("XSCHED_", "XLOG_"))]
    shown = ", ".join(f"{name}={environment[name]}" for name in known)
    return ok(shown or "no variable of XSched is set")


def _start_saying(patient: Patient) -> Probe | None:
    """Load XSched in the user's own environment, in which it says what it will do."""
    preempt = patient.library(PREEMPT)
    if preempt is None:
        return None
    kept = {name: value for name, value in patient.environment.items() if name != "LD_PRELOAD"}
    return start_loading("load", preempt, environment={**kept, "XLOG_LEVEL": "INFO"})


def _said(child: Probe | None) -> str:
    if child is None:
        return ""
    ended = child.end()
    lines = re.findall(r"using [\w-]+ scheduler(?: with policy \w+)?", ended.output)
    if not lines:
        return f"in this environment a program that loads it {ended.how}"
    nothing = ", which schedules nothing" if "app-managed" in lines[-1] else ""
    return f"as the environment is, a program that loads it is '{lines[-1]}'{nothing}"

"""`pytest-xsched doctor`: find out in twelve checks why XSched seems to do nothing.

The fault that an early check finds would explain failures of later ones. A check is skipped where
one that it needs has failed. All checks together take a few seconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from pytest_xsched.doctor.canary import (
    GpuProbeReport,
    check_canary,
    check_end,
    check_ladder,
    check_priorities,
    check_scheduler,
    check_stream,
    check_threads,
    start_gpu_probe,
)
from pytest_xsched.doctor.finding import Diagnosis, Finding, failed, numbered, ok
from pytest_xsched.doctor.fork import read_check, start_pytest
from pytest_xsched.doctor.gpu_idle import check_gpu
from pytest_xsched.doctor.libraries import PREEMPT, Target, check_libraries, find_target
from pytest_xsched.doctor.shim import check_preload, check_symbols, run_preloaded
from pytest_xsched.doctor.subprocesses import Probe, clean, start_loading
from pytest_xsched.system.driver_files import LibraryFile
from pytest_xsched.xsched.environment import faults
from pytest_xsched.xsched.installation import Home

LIMIT_S = 9.0
"""Time for all checks; the GPU probe has what the first checks leave of it."""


def examine(
    device: str,
    *,
    home: Home | None,
    driver: LibraryFile | None,
    compiler: LibraryFile | None,
    environment: Mapping[str, str],
) -> Diagnosis:
    """Run all checks and return their findings.

    Args:
        device: its name, or ``"auto"``.
        home: the installation, where an option or an ini key names one.
        driver: the GPU driver's file, where the user named one.
        compiler: the file of the GPU's kernel compiler, where the user named one.
        environment: of this process.
    """
    start_s = time.monotonic()
    pytest_process = start_pytest(environment)
    target = find_target(home, device, driver, environment)
    gpu = check_gpu(target.kind, clean(environment))  # before the doctor uses the GPU
    left_s = max(2.0, LIMIT_S - (time.monotonic() - start_s))
    started = start_gpu_probe(target, device, driver, compiler, limit_s=left_s)
    own_environment = _start_report(target)
    preloaded = run_preloaded(target)
    own_report = _report(own_environment)
    before = (
        check_libraries(target),
        check_symbols(target),
        check_preload(target, preloaded),
        check_variables(environment, own_report),
    )
    fork = read_check(pytest_process)
    if isinstance(started, str):
        report = GpuProbeReport(ended=None, reason=started)
    else:
        report = GpuProbeReport(ended=started.end())
    findings = (
        *before,
        check_canary(target, report),
        check_stream(report),
        check_scheduler(report, own_report),
        check_priorities(report),
        check_ladder(report),
        check_threads(fork, report),
        gpu,
        check_end(preloaded, report),
    )
    return Diagnosis(
        home=target.home.path if target.home else "",
        origin=target.home.origin if target.home else "",
        device=target.kind or "",
        findings=numbered(findings),
        seconds=time.monotonic() - start_s,
    )


def check_variables(environment: Mapping[str, str], own_report: str = "") -> Finding:
    """Check 4: does XSched know the variables that are set, and their values?

    Args:
        environment: of this process.
        own_report: what XSched reports in this environment.
    """
    found = faults(environment, own_report)
    if found:
        return failed("; ".join(found), "correct or unset them: XSched itself reports no fault")
    known = [name for name in sorted(environment) if name.startswith(("XSCHED_", "XLOG_"))]
    shown = ", ".join(f"{name}={environment[name]}" for name in known)
    return ok(shown or "no variable of XSched is set")


def _start_report(target: Target) -> Probe | None:
    """Load XSched in the user's own environment, where it reports its scheduler and policy."""
    preempt = target.library(PREEMPT)
    if preempt is None:
        return None
    kept = {name: value for name, value in target.environment.items() if name != "LD_PRELOAD"}
    return start_loading("load", preempt, environment={**kept, "XLOG_LEVEL": "INFO"})


def _report(child: Probe | None) -> str:
    if child is None:
        return ""
    ended = child.end()
    lines = re.findall(r"using [\w-]+ scheduler(?: with policy \w+)?", ended.output)
    if not lines:
        return f"a program that loads XSched in this environment {ended.end_phrase}"
    more = ""
    if "app-managed" in lines[-1]:
        more = ", which schedules nothing"
    elif "global" in lines[-1]:
        more = (
            ", whose server (xserver) listens on every network interface and asks for no password: "
            "let a firewall close its port"
        )
    return f"a program that loads XSched in this environment reports '{lines[-1]}'{more}"

"""Does XSched schedule? Findings from the steps of the GPU probe (checks 5 to 9, 12)."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pytest_xsched.doctor.finding import FAILED, Finding, failed, ok, skipped
from pytest_xsched.doctor.libraries import PREEMPT, Target
from pytest_xsched.doctor.shim import Preloaded
from pytest_xsched.doctor.subprocesses import Probe, ProbeResult, clean, start_gpu_process
from pytest_xsched.errors import ScenarioError
from pytest_xsched.system.driver_files import LibraryFile, find_libraries
from pytest_xsched.xsched.installation import ENVIRONMENT, HALS

LOCK_S = 1.0
"""Longest wait for the lock of the GPU."""
RUNGS = ("launch", "copies and elementwise", "GEMM")
"""Rungs of the ladder, in the order of `gpu_probe`."""
_PRIORITY = re.compile(r"set priority (-?\d+) for XQueue")
FIRST_STEPS = ("lock", "device", "without", "load", "canary")

_NO_DEVICE = (
    "make the GPU and its driver visible to this process (in a container: pass the device); "
    "XSched is not the cause"
)
_REMEDIES = {
    "DeviceBusy": "wait until it ends; only one measurement runs on a GPU",
    "lock": _NO_DEVICE,
    "device": _NO_DEVICE,
    "without": "repair the device or its driver, which does not compute; XSched is not the cause",
    "load": "see check 1; pytest-xsched needs the C API of XSched 1.2",
    "canary": "read XSched's log of the process (XLOG_LEVEL=INFO), which names the call; a driver "
    "and an XSched of different releases may be incompatible",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProbeReport:
    """The steps of the process that uses the GPU.

    Attributes:
        ended: its answers and its end; None: it was not started.
        reason: why it was not started.
    """

    ended: ProbeResult | None
    reason: str = ""

    def _of(self, step: str, state: str) -> dict[str, Any] | None:
        answers = self.ended.answers if self.ended else ()
        return next((a for a in answers if (a["step"], a["state"]) == (step, state)), None)

    def found(self, step: str) -> dict[str, Any] | None:
        """Return what a step found, or None if it was not done."""
        line = self._of(step, "done")
        return line and line["found"]

    def fault(self, step: str) -> str:
        """Return how a step failed; "" if it did not, or was not reached."""
        if line := self._of(step, "failed"):
            return str(line["error"])
        if self.ended and self._of(step, "begun") and self.found(step) is None:
            return f"the process {self.ended.end_phrase} during this step{self.ended.last_line}"
        return ""

    def kind(self, step: str) -> str:
        """Return the class of the error of a step if that has a remedy of its own, else ''."""
        line = self._of(step, "failed")
        return str(line["kind"]) if line and line["kind"] in _REMEDIES else ""

    @property
    def complete(self) -> bool:
        """Check whether all steps were done or failed, so that only the end was left."""
        return bool(self._of("end", "done"))


def start_gpu_probe(
    target: Target,
    device: str,
    driver: LibraryFile | None,
    compiler: LibraryFile | None,
    *,
    limit_s: float,
) -> Probe | str:
    """Start the process, which is killed after `limit_s` seconds; or return why it cannot start."""
    hal = target.kind and target.library(HALS[target.kind])
    preempt = target.library(PREEMPT)
    if target.home is None or preempt is None:
        return "no XSched was found"
    if target.kind is None or hal is None:
        return "no GPU driver was found whose XSched is here"
    if any(ended.answer is None or not ended.answer["loaded"] for ended in target.loaded.values()):
        return "XSched's libraries cannot be loaded"
    if target.broken:
        return "the driver cannot be loaded"
    try:
        libraries = find_libraries(target.kind, driver, compiler)
    except ScenarioError as error:
        return str(error)
    job = {
        "kind": target.kind,
        "device": device if target.chosen else target.kind,
        "libraries": asdict(libraries),
        "preempt": preempt,
        "hal": hal,
        "lock_timeout_s": LOCK_S,
    }
    return start_gpu_process(job, clean(target.environment, **ENVIRONMENT), limit_s)


def check_canary(target: Target, report: GpuProbeReport) -> Finding:
    """Check 5: do all commands go through an XQueue, and are their results right?"""
    if report.ended is None:
        return skipped(report.reason, "see check 1")
    for step in FIRST_STEPS:
        fault = report.fault(step)
        found = report.found(step)
        if not fault and found is None:
            return failed(
                f"the process that uses XSched {report.ended.end_phrase}{report.ended.last_line}",
                "install the package with its native module (pip install pytest-xsched)",
            )
        fault = fault or _counts(found or {})
        remedy = _REMEDIES[report.kind(step) or step]
        if report.ended.late_s:
            remedy = f"try again, because kernels are compiled the first time; else {remedy}"
        if report.kind(step) == "DeviceBusy":
            return skipped(fault.partition(";")[0], remedy)
        if fault and step in ("lock", "device") and not target.chosen:
            return skipped(f"no {target.kind} device can be used: {fault}", remedy)
        if fault:
            by = "already without XSched: " if step == "without" else ""
            return failed(f"{by}{fault}", remedy)
    found, name = report.found("canary") or {}, (report.found("device") or {})["name"]
    return ok(
        f"{found['submitted']} launches on {name}, each with a number of its own: XSched counts "
        f"{found['given']} and launched {found['launched']}, {found['completed']} completed, and "
        "the results equal numpy's"
    )


def _counts(found: Mapping[str, Any]) -> str:
    """Return what is wrong with counts and results, or ''."""
    if "submitted" not in found:
        return ""
    submitted = found["submitted"]
    if found["failed"]:
        return f"{found['failed']} of {submitted} launches failed"
    if not submitted == found["given"] == found["launched"] == found["completed"]:
        return (
            f"of {submitted} launches XSched counts {found['given']} and launched "
            f"{found['launched']}, and {found['completed']} completed"
        )
    return str(found["wrong"])


def _before(report: GpuProbeReport) -> Finding | None:
    """Return the finding of a check whose steps were not reached, else None."""
    if report.ended is None:
        return skipped(report.reason, "see check 1")
    if report.found("canary") is None:
        return skipped("the canary failed", "see check 5")
    return None


def check_stream(report: GpuProbeReport) -> Finding:
    """Check 6: does XSched schedule the default stream, and does it report that?"""
    if before := _before(report):
        return before
    if fault := report.fault("stream"):
        return failed(f"asking for the default stream: {fault}", _REMEDIES["canary"])
    found = report.found("stream")
    if found is None:
        return skipped("not reached: the process had ended", "see the check before that failed")
    if "code" not in found:
        return skipped(
            "OpenCL has no default stream: the program creates all its queues", "nothing to do"
        )
    if found["code"] == 0:
        return ok(f"{found['call']} accepts the default stream: XSched schedules work on it")
    if found["code"] == 5:
        return ok(
            f"{found['call']} of the default stream returns 5, NotSupported, as expected: XSched "
            "does not schedule work on it, so a model needs its own stream (torch.cuda.stream)"
        )
    return failed(
        f"{found['call']} of the default stream returns {found['code']}, where 5 (NotSupported) is "
        "expected",
        "run the work on a stream of its own, and report this with the release of XSched",
    )


def check_scheduler(report: GpuProbeReport, own_report: str) -> Finding:
    """Check 7: does XSched report the scheduler and the policy that were set?

    Args:
        report: of the GPU probe.
        own_report: what XSched reports in the user's own environment.
    """
    if before := _before(report):
        return before
    if fault := report.fault("scheduler"):
        return failed(
            fault.removeprefix("scheduler inactive: "),
            "use XSched 1.2; another release may number its policies differently",
        )
    found = report.found("scheduler")
    if found is None:
        return skipped("not reached: the process had ended", "see the check before that failed")
    output = report.ended.output if report.ended else ""
    priorities = sorted({int(number) for number in _PRIORITY.findall(output)}, reverse=True)
    set_to = ", ".join(map(str, priorities)) or "none, according to its log"
    return ok(
        f"the local scheduler with policy HPF was set, and XSched reports '{found['said']}'; "
        f"priorities that it has set: {set_to}; {own_report}"
    )


def check_priorities(report: GpuProbeReport) -> Finding:
    """Check 8: does the order of two queues follow their priorities, and swap with them?"""
    if before := _before(report):
        return before
    if fault := report.fault("priorities"):
        return failed(
            fault.removeprefix("scheduler inactive: "),
            "if check 7 is ok, find out whether other work keeps the processors busy, because "
            "XSched's threads need one; else its policy does not suspend queues",
        )
    found = report.found("priorities")
    if found is None:
        return skipped("not reached: the process had ended", "see the check before that failed")
    one, other = found["order"]
    return ok(
        f"the queue with the higher priority of two went first in {one:.0%} of the pairs of "
        f"commands, and after the priorities were swapped the other did in {other:.0%}"
    )


def check_ladder(report: GpuProbeReport) -> Finding:
    """Check 9: which is the first workload, from an empty kernel upwards, that fails?"""
    if before := _before(report):
        return before
    passed: list[str] = []
    for rung in RUNGS:
        fault = report.fault(f"ladder {rung}")
        found = report.found(f"ladder {rung}")
        if not fault and found is None:
            return skipped(
                f"not reached after {', '.join(passed) or 'nothing'}: the process had ended",
                "see the check before that failed",
            )
        if fault := fault or _counts(found or {}):
            below = f"{', '.join(passed)} passed, " if passed else ""
            return failed(
                f"{below}{rung} failed: {fault}",
                f"search for the cause in what {rung} adds to that",
            )
        passed.append(rung)
    torch = importlib.util.find_spec("torch") is not None
    why = "are not tried: run your model in a queue of its own" if torch else "need PyTorch"
    return ok(f"{', '.join(passed)} passed; convolution and model {why}")


def check_threads(fork: Finding, report: GpuProbeReport) -> Finding:
    """Check 10, second half: can another thread than the first make a stream and an XQueue?

    Args:
        fork: the first half; its failure is reported first.
        report: of the GPU probe.
    """
    found, fault = report.found("thread"), report.fault("thread")
    if fork.status == FAILED or (found is None and not fault):
        return fork
    if fault := fault or _counts(found or {}):
        return failed(
            f"another thread than the one that opened the device made a stream and an XQueue: "
            f"{fault}",
            "make streams and XQueues in the thread that initialised the driver, or make its "
            "context current in the other",
        )
    return replace(fork, seen=f"{fork.seen}; a second thread can make and use an XQueue")


def check_end(preloaded: Preloaded, report: GpuProbeReport) -> Finding:
    """Check 12: do processes that have loaded XSched end normally?"""
    complete = {
        "has loaded shim and driver": preloaded.ended if _answered(preloaded.ended) else None,
        "has used XSched": report.ended if report.complete else None,
    }
    done = {what: ended for what, ended in complete.items() if ended is not None}
    for what, ended in done.items():
        if ended.exit_status != 0 or ended.late_s:
            return failed(
                f"a process that {what} {ended.end_phrase}, after its work was done"
                f"{ended.last_line}",
                "use what it has written, which is complete, but do not treat this end as success; "
                "find the destructor with gdb (bt)",
            )
    if not done:
        return skipped("no process reached its end", "see checks 3 and 5")
    end = "ends" if len(done) == 1 else "end"
    return ok(f"a process that {' and one that '.join(done)} {end} with exit status 0")


def _answered(ended: ProbeResult | None) -> bool:
    return ended is not None and ended.answer is not None

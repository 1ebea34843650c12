"""Does XSched schedule? What its process showed, step by step, as findings (checks 5 to 9, 12)."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pytest_xsched.doctor.finding import FAILED, Finding, failed, ok, skipped
from pytest_xsched.doctor.libraries import PREEMPT, Patient
from pytest_xsched.doctor.shim import Preloaded
from pytest_xsched.doctor.subprocesses import Ended, Probe, clean, start_working
from pytest_xsched.errors import ScenarioError
from pytest_xsched.system.driver_files import LibraryFile, find_libraries
from pytest_xsched.xsched.installation import ENVIRONMENT, HALS

LOCK_S = 1.0
"""Longest wait for another measurement on the GPU."""
RUNGS = ("launch", "copies and elementwise", "GEMM")
"""Of the ladder, as `gpu_probe` climbs it."""
_PRIORITY = re.compile(r"set priority (-?\d+) for XQueue")
FIRST_STEPS = ("lock", "device", "without", "load", "canary")

_NO_DEVICE = (
    "make the GPU and its driver visible to this process (in a container: pass the device); "
    "XSched has no part in this"
)
_REMEDIES = {
    "DeviceBusy": "wait for its end; only one measurement runs on a GPU",
    "lock": _NO_DEVICE,
    "device": _NO_DEVICE,
    "without": "the device or its driver does not compute; XSched has no part in this",
    "load": "see check 1; pytest-xsched needs the C API of XSched 1.2",
    "canary": "XSched's log of the process (XLOG_LEVEL=INFO) names the call; a driver and an "
    "XSched of other releases do not go together",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the process did that uses the GPU.

    Attributes:
        ended: how it ended; None: there was none.
        reason: why there was none.
    """

    ended: Ended | None
    reason: str = ""

    def _of(self, step: str, state: str) -> dict[str, Any] | None:
        answers = self.ended.answers if self.ended else ()
        return next((a for a in answers if (a["step"], a["state"]) == (step, state)), None)

    def found(self, step: str) -> dict[str, Any] | None:
        """Give what a step found that was done."""
        line = self._of(step, "done")
        return line and line["found"]

    def fault(self, step: str) -> str:
        """Say how a step went wrong, "" if it did not or was not reached."""
        if line := self._of(step, "failed"):
            return str(line["error"])
        if self.ended and self._of(step, "begun") and self.found(step) is None:
            return f"the process {self.ended.how} while it was at it{self.ended.last_line}"
        return ""

    def kind(self, step: str) -> str:
        """Give the class of the error of a step where that has a remedy of its own, or ''."""
        line = self._of(step, "failed")
        return str(line["kind"]) if line and line["kind"] in _REMEDIES else ""

    @property
    def complete(self) -> bool:
        """Whether all steps were done or failed, so that only the end was to come."""
        return bool(self._of("end", "done"))


def start_work(
    patient: Patient,
    device: str,
    driver: LibraryFile | None,
    compiler: LibraryFile | None,
    *,
    limit_s: float,
) -> Probe | str:
    """Start the process, which has so much time, or say why not."""
    hal = patient.kind and patient.library(HALS[patient.kind])
    preempt = patient.library(PREEMPT)
    if patient.home is None or preempt is None:
        return "no XSched was found"
    if patient.kind is None or hal is None:
        return "no GPU driver was found whose XSched is here"
    if any(ended.answer is None or not ended.answer["loaded"] for ended in patient.loaded.values()):
        return "XSched's libraries cannot be loaded"
    if patient.broken:
        return "the driver cannot be loaded"
    try:
        libraries = find_libraries(patient.kind, driver, compiler)
    except ScenarioError as error:
        return str(error)
    job = {
        "kind": patient.kind,
        "device": device if patient.chosen else patient.kind,
        "libraries": asdict(libraries),
        "preempt": preempt,
        "hal": hal,
        "lock_timeout_s": LOCK_S,
    }
    return start_working(job, clean(patient.environment, **ENVIRONMENT), limit_s)


def check_canary(patient: Patient, work: Work) -> Finding:
    """Check 5: do commands go through an XQueue, all of them, and compute what they should?"""
    if work.ended is None:
        return skipped(work.reason, "see check 1")
    for step in FIRST_STEPS:
        fault = work.fault(step)
        found = work.found(step)
        if not fault and found is None:
            return failed(
                f"the process that was to use XSched {work.ended.how}{work.ended.last_line}",
                "install the package with its native module (pip install pytest-xsched)",
            )
        fault = fault or _counts(found or {})
        remedy = _REMEDIES[work.kind(step) or step]
        if work.ended.late_s:
            remedy = f"try again, as kernels are compiled the first time; else {remedy}"
        if work.kind(step) == "DeviceBusy":
            return skipped(fault.partition(";")[0], remedy)
        if fault and step in ("lock", "device") and not patient.chosen:
            return skipped(f"no {patient.kind} device can be used: {fault}", remedy)
        if fault:
            by = "without XSched, already: " if step == "without" else ""
            return failed(f"{by}{fault}", remedy)
    found, name = work.found("canary") or {}, (work.found("device") or {})["name"]
    return ok(
        f"on {name} {found['submitted']} launches, each with a number of its own: XSched counts "
        f"{found['given']} and launched {found['launched']}, {found['completed']} completed, and "
        "the results are numpy's"
    )


def _counts(found: Mapping[str, Any]) -> str:
    """Say what is wrong with counts and results, or ''."""
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


def _before(work: Work) -> Finding | None:
    """Give the finding of a check whose steps were not reached."""
    if work.ended is None:
        return skipped(work.reason, "see check 1")
    if work.found("canary") is None:
        return skipped("the canary did not get through", "see check 5")
    return None


def check_stream(work: Work) -> Finding:
    """Check 6: what of the default stream?"""
    if before := _before(work):
        return before
    if fault := work.fault("stream"):
        return failed(f"asking for the default stream: {fault}", _REMEDIES["canary"])
    found = work.found("stream")
    if found is None:
        return skipped("not reached: the process had ended", "see the check before that failed")
    if "code" not in found:
        return skipped(
            "OpenCL has no default stream: its queues are all made by the program", "nothing to do"
        )
    if found["code"] == 0:
        return ok(f"{found['call']} takes the default stream: work on it is scheduled")
    if found["code"] == 5:
        return ok(
            f"{found['call']} of the default stream gives 5, NotSupported, as it should: work on "
            "it is not scheduled, so a model needs a stream of its own (torch.cuda.stream)"
        )
    return failed(
        f"{found['call']} of the default stream gives {found['code']}, where 5 (NotSupported) is "
        "expected",
        "run the work on a stream of its own, and report this with the release of XSched",
    )


def check_scheduler(work: Work, said: str) -> Finding:
    """Check 7: does XSched say that it does what it was told?

    Args:
        work: of the process.
        said: what XSched says under the user's own environment.
    """
    if before := _before(work):
        return before
    if fault := work.fault("scheduler"):
        return failed(
            fault.removeprefix("scheduler inactive: "),
            "an XSched of another release may number its policies otherwise; use 1.2",
        )
    found = work.found("scheduler")
    if found is None:
        return skipped("not reached: the process had ended", "see the check before that failed")
    output = work.ended.output if work.ended else ""
    priorities = sorted({int(number) for number in _PRIORITY.findall(output)}, reverse=True)
    set_to = ", ".join(map(str, priorities)) or "none, to go by its log"
    return ok(
        f"told to use its local scheduler with policy HPF it says '{found['said']}'; priorities "
        f"that it has set: {set_to}; {said}"
    )


def check_priorities(work: Work) -> Finding:
    """Check 8: does the order of two queues follow their priorities, and swap with them?"""
    if before := _before(work):
        return before
    if fault := work.fault("priorities"):
        return failed(
            fault.removeprefix("scheduler inactive: "),
            "if check 7 is fine, look whether other work keeps the processors busy: XSched's "
            "threads need one; else its policy does not hold queues back",
        )
    found = work.found("priorities")
    if found is None:
        return skipped("not reached: the process had ended", "see the check before that failed")
    one, other = found["order"]
    return ok(
        f"of two queues the one with the higher priority went first in {one:.0%} of the pairs of "
        f"commands, and with the priorities swapped the other did in {other:.0%}"
    )


def check_ladder(work: Work) -> Finding:
    """Check 9: from an empty kernel upwards, where does it break?"""
    if before := _before(work):
        return before
    passed: list[str] = []
    for rung in RUNGS:
        fault = work.fault(f"ladder {rung}")
        found = work.found(f"ladder {rung}")
        if not fault and found is None:
            return skipped(
                f"not reached behind {', '.join(passed) or 'nothing'}: the process had ended",
                "see the check before that failed",
            )
        if fault := fault or _counts(found or {}):
            below = f"{', '.join(passed)} went well, " if passed else ""
            return failed(
                f"{below}{rung} broke: {fault}", f"look for the cause in what {rung} adds to that"
            )
        passed.append(rung)
    torch = importlib.util.find_spec("torch") is not None
    why = "are not tried here, run your model with a queue of its own" if torch else "need PyTorch"
    return ok(f"{', '.join(passed)} went well; convolution and model {why}")


def check_threads(fork: Finding, work: Work) -> Finding:
    """Check 10, its other half: can another thread than the first make a stream and an XQueue?

    Args:
        fork: the first half; what failed there is told first.
        work: of the process.
    """
    found, fault = work.found("thread"), work.fault("thread")
    if fork.status == FAILED or (found is None and not fault):
        return fork
    if fault := fault or _counts(found or {}):
        return failed(
            f"a stream and an XQueue made by another thread than the one that opened the device: "
            f"{fault}",
            "make streams and XQueues in the thread that initialised the driver, or make its "
            "context current in the other",
        )
    return replace(fork, seen=f"{fork.seen}; a second thread can make and use an XQueue")


def check_end(preloaded: Preloaded, work: Work) -> Finding:
    """Check 12: do processes that have loaded it all end as they should?"""
    complete = {
        "has loaded shim and driver": preloaded.ended if _answered(preloaded.ended) else None,
        "has used XSched": work.ended if work.complete else None,
    }
    done = {what: ended for what, ended in complete.items() if ended is not None}
    for what, ended in done.items():
        if ended.exit_status != 0 or ended.late_s:
            return failed(
                f"a process that {what} {ended.how}, after its work was done{ended.last_line}",
                "what it wrote before is whole; take this end for one of its own kind, not for "
                "success, and look for the destructor with gdb (bt)",
            )
    if not done:
        return skipped("no process got to its end", "see checks 3 and 5")
    end = "ends" if len(done) == 1 else "end"
    return ok(f"a process that {' and one that '.join(done)} {end} with exit status 0")


def _answered(ended: Ended | None) -> bool:
    return ended is not None and ended.answer is not None

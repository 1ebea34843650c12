"""The environment variables that XSched reads, and the faults of those that are set.

XSched itself reports no fault: it ignores unknown names, and replaces most unknown values by a
default. Source: XSched 1.2.0 (protocol/def.h, utils/log.h, utils/lib.h).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pytest_xsched.base.policies import XSCHED_POLICIES

POLICIES = tuple(name.upper() for name in XSCHED_POLICIES)
SCHEDULERS = ("APP", "LCL", "GLB")
OWN = ("XSCHED_HOME",)
"""Names of this family that pytest-xsched reads, and XSched does not."""

_PREFIXES = ("XSCHED_", "CUXTRA_", "XLOG_")


class _Choice(NamedTuple):
    words: tuple[str, ...]
    otherwise: str
    """What XSched uses in place of any other value."""


class _Number(NamedTuple):
    lowest: int
    highest: int


class _Switch:
    pass


class _File:
    pass


_Kind = _Choice | _Number | _Switch | _File

_LARGEST = 2**63 - 1
_AUTO = "XSCHED_AUTO_XQUEUE"
_THRESHOLD, _BATCH_SIZE = f"{_AUTO}_THRESHOLD", f"{_AUTO}_BATCH_SIZE"
_DEFAULT_THRESHOLD, _DEFAULT_BATCH_SIZE = 16, 8

VARIABLES: dict[str, _Kind] = {
    "XSCHED_SCHEDULER": _Choice(SCHEDULERS, "APP, which schedules nothing"),
    "XSCHED_POLICY": _Choice(POLICIES, "no policy, which schedules nothing"),
    "XSCHED_SCHEDULER_SUSPEND_SYNC_HWQ": _Switch(),
    "XSCHED_SCHEDULER_SUSPEND_WAIT_ALL": _Switch(),
    "XSCHED_SCHEDULER_SUSPEND_WAIT_IDLE": _Switch(),
    _AUTO: _Switch(),
    f"{_AUTO}_LEVEL": _Number(1, 3),
    _THRESHOLD: _Number(1, _LARGEST),
    _BATCH_SIZE: _Number(1, _LARGEST),
    f"{_AUTO}_PRIORITY": _Number(-255, 255),
    f"{_AUTO}_UTILIZATION": _Number(0, 100),
    f"{_AUTO}_TIMESLICE": _Number(100, 10_000_000),
    f"{_AUTO}_DEADLINE": _Number(1, _LARGEST),
    f"{_AUTO}_KDEADLINE": _Number(1, _LARGEST),
    f"{_AUTO}_LAXITY": _Number(1, _LARGEST),
    **{
        f"XSCHED_{name}_LIB": _File()
        for name in (
            *("CUDA", "CUPTI", "CUDART", "CUDLA", "HIP", "HIP_COMGR", "OPENCL", "LEVELZERO"),
            *("VPI", "ASCEND", "ACL_CBLAS", "ACL_NNOP_BASE", "ACL_OP_API", "ACL_OP_COMPILER"),
            *("COREX", "COREX_RT"),
        )
    },
    **{f"CUXTRA_{name}_LIB": _File() for name in ("CUDA", "CUDART", "CUDLA")},
    "XSCHED_CUDA_SINGLE_STREAM_PER_PROCESS": _Switch(),
    "XSCHED_CUDA_LV3_IMPL": _Choice(("TRAP", "TSG"), "TRAP"),
    "XSCHED_LEVELZERO_SLICE_CNT": _Number(1, _LARGEST),
    "XLOG_LEVEL": _Choice(("ERRO", "WARN", "INFO", "DEBG"), "INFO"),
}
"""All variables that XSched reads."""


def is_xsched_variable(name: str) -> bool:
    """Check whether a variable is of XSched's family, known to XSched or not."""
    return name.startswith(_PREFIXES) and name not in OWN


_REPORT = re.compile(r"using (?P<scheduler>[\w-]+) scheduler(?: with policy (?P<policy>\w+))?")
_REPORTED = {"app-managed": "APP", "local": "LCL", "global": "GLB"}


def faults(environment: Mapping[str, str], report: str = "") -> tuple[str, ...]:
    """Return a sentence for each variable that XSched would not follow, sorted by name.

    Args:
        environment: of the process that will load XSched.
        report: a text in which XSched reports the scheduler and the policy that are in effect in
            this environment; "": it was not asked. What is in effect is spelled right.
    """
    environment = _as_in_effect(environment, report)
    found: list[str] = []
    for name in sorted(filter(is_xsched_variable, environment)):
        value = environment[name]
        if name not in VARIABLES:
            found.append(f"{name} is not a variable of XSched, which ignores it{_meant(name)}")
        elif value:  # XSched treats an empty value as one that is not set
            found += _of_value(name, value)
    return (*found, *_of_together(environment))


def _as_in_effect(environment: Mapping[str, str], report: str) -> Mapping[str, str]:
    """Spell scheduler and policy as XSched 1.2 does, where XSched reports them to be in effect.

    XSched 1.2 knows capitals only, and later versions know each spelling.
    """
    seen = _REPORT.search(report)
    if seen is None:
        return environment
    words = {"XSCHED_SCHEDULER": _REPORTED.get(seen["scheduler"]), "XSCHED_POLICY": seen["policy"]}
    spelled = {
        name: word.upper()
        for name, word in words.items()
        if word and environment.get(name, "").upper() == word.upper()
    }
    return {**environment, **spelled}


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name, [*VARIABLES, *OWN], n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


def _of_value(name: str, value: str) -> Iterator[str]:
    kind = VARIABLES[name]
    if name == "XSCHED_OPENCL_LIB":
        yield f"{name} has no effect: for OpenCL, too, XSched reads XSCHED_CUDA_LIB"
    elif (name, value) == ("XSCHED_POLICY", "SPUP"):
        yield f"{name}=SPUP ends every process that loads XSched 1.2, which only declares SPUP"
    elif isinstance(kind, _Choice) and value not in kind.words:
        known = ", ".join(kind.words)
        yield (
            f"{name}={value!r} is unknown to XSched 1.2, which uses {kind.otherwise}; "
            + (
                f"did you mean {value.upper()}?"
                if value.upper() in kind.words
                else f"known: {known}"
            )
        )
    elif isinstance(kind, _Switch) and value.lower() not in ("on", "off", "1", "0"):
        yield (f"{name}={value!r} is unknown to XSched 1.2, which uses OFF; known: ON, OFF, 1, 0")
    elif isinstance(kind, _Number):
        yield from _of_number(name, value, kind)
    elif isinstance(kind, _File) and not os.path.exists(value):
        yield f"{name}: {value} does not exist, and XSched searches for another"


def _of_number(name: str, value: str, kind: _Number) -> Iterator[str]:
    number = _number(value)
    if number is None:
        yield f"{name}={value!r} is not a whole number, and XSched uses the default"
    elif not kind.lowest <= number <= kind.highest:
        highest = "" if kind.highest == _LARGEST else f" to {kind.highest}"
        yield f"{name}={value} is outside XSched's range, {kind.lowest}{highest or ' and up'}"


def _number(value: str) -> int | None:
    return int(value) if re.fullmatch(r"[+-]?\d{1,19}", value.strip(), re.ASCII) else None


def _of_together(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield faults of variables whose values are right, each by itself."""
    scheduler, policy = environment.get("XSCHED_SCHEDULER"), environment.get("XSCHED_POLICY")
    if scheduler == "LCL" and not policy:
        yield "XSCHED_SCHEDULER=LCL without XSCHED_POLICY schedules nothing: XSched stays at APP"
    elif policy in POLICIES and scheduler in ("APP", "GLB"):
        yield f"XSCHED_POLICY={policy} makes the scheduler LCL, whatever XSCHED_SCHEDULER is"
    if environment.get(_AUTO, "").lower() not in ("on", "1"):
        for name in sorted(environment):
            if name.startswith(f"{_AUTO}_") and name in VARIABLES:
                yield f"{name} has no effect without {_AUTO}=ON: no XQueue is created"
        return
    threshold = _number(environment.get(_THRESHOLD, "")) or _DEFAULT_THRESHOLD
    batch_size = _number(environment.get(_BATCH_SIZE, "")) or _DEFAULT_BATCH_SIZE
    if 0 < threshold < batch_size:
        yield (
            f"a threshold of {threshold} below a batch size of {batch_size} ends the process: set "
            f"{_BATCH_SIZE} as well (default {_DEFAULT_BATCH_SIZE})"
        )

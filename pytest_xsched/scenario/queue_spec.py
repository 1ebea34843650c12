"""One XQueue and the load on it, as data that is checked when it is made."""

from __future__ import annotations

import keyword
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_xsched.base.units import MAX_NS, one_line, parse_fraction
from pytest_xsched.base.validation import (
    checked_fields,
    device_name,
    integer,
    set_integer,
    set_number,
    set_tuple,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import ARRIVAL_KINDS, Arrivals, Closed, read_arrivals
from pytest_xsched.scenario.programs import Program
from pytest_xsched.scenario.workload import Workload, read_workload

# The limits of the native runner (enum xs_limit); a test compares them with the compiled module.
PRIORITY_MIN = -255
PRIORITY_MAX = 255
THRESHOLD_MAX = 1024
AUTO = "auto"  # a threshold
UNITS_MAX = 1024  # multiprocessors that a mask can name


# A queue is an attribute of its run; these are attributes of every run already.
RESERVED_NAMES = frozenset(
    {"queues", "scenario", "evidence", "remark", "origin", "verdicts", "require"}
    | {"assert_fair", "budget", "burst", "check_marker", "judge", "judge_again", "measure_on"}
    | {"asserted", "measured_ns", "refused", "undecided", "windows", "fixture", "is_too_short"}
    | {"least_ns", "take_unjudged", "asserted_in_phase", "plain_misses"}
    | {"device_kind", "device_name", "fingerprint", "scheduler", "to_dict", "to_json"}
    | {"scheduler_cost", "assert_scheduler_cost"}
    | {"trace", "alone_ns", "why", "parts", "has_failed", "record_profile", "to_frame", "host"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """One XQueue and the load on it.

    Args:
        name: name in reports and in the run; a Python identifier.
        workload: the commands of one request.
        priority: priority in [-255, 255]; the higher one wins.
        arrivals: when the requests come.
        threshold: the most commands in flight, in [batch_size, 1024], or ``"auto"``: the fewest
            that keep the device busy, by the measured times of commands (native/core/pace.h).
        batch_size: commands between marks, at least 1; default 2, and at most the threshold. None
            with an automatic threshold, which sets marks by time.
        sm_share: share of the multiprocessors that only this queue uses, above 0 and below 1. The
            queues without a share use the multiprocessors that no queue claims.
        cu_mask: the same by number: multiprocessors (compute units) in [0, 1024), ascending.
        device: another device of the kind of the run's, ``"cuda:1"``; None: the run's.
        utilization: percent of the device, in [1, 100], for policies that divide it; None counts as
            100. The policies take the utilizations of the ready queues in proportion.
        deadline_ns: deadline of a request, from its arrival, for policies that use deadlines.
            XSched takes it as the deadline of a burst of work, from the begin of the burst.
        laxity_ns: how long a burst of work may wait before it is urgent, for policies that use it.
        after: name of a queue of the scenario. Request n arrives with request n of that queue, and
            starts when that one is complete. `arrivals` are those of that queue; ``closed()``
            stands for them until the scenario is made.
    """

    name: str
    workload: Workload
    priority: int = 0
    arrivals: Arrivals
    threshold: int | str = AUTO
    batch_size: int | None = None
    sm_share: float | None = None
    cu_mask: tuple[int, ...] | None = None
    device: str | None = None
    utilization: int | None = None
    deadline_ns: int | None = None
    laxity_ns: int | None = None
    after: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        what = f"queue {self.name!r}"
        if self.device is not None:
            object.__setattr__(self, "device", device_name(f"{what}: device", self.device))
        if not isinstance(self.workload, Workload):
            raise ScenarioError(
                f"{what}: workload {one_line(self.workload)} is not a workload; "
                f"{_workload_advice(self.workload)}"
            )
        if not isinstance(self.arrivals, Arrivals):
            raise ScenarioError(
                f"{what}: arrivals {one_line(self.arrivals)} are none; write "
                f"{_arrivals_advice(self.arrivals)}"
            )
        set_integer(self, "priority", what, PRIORITY_MIN, PRIORITY_MAX)
        if self.threshold == AUTO:
            self._check_auto(what)
        else:
            self._check_threshold(what)
        self._check_multiprocessors(what)
        if (program := self.workload.own_program) is not None:
            self._check_program(what, program)
        if self.utilization is not None:
            set_integer(self, "utilization", what, 1, 100)
        for name in ("deadline_ns", "laxity_ns"):
            if getattr(self, name) is not None:
                set_integer(self, name, what, 1000, MAX_NS)
        if self.after is not None:
            self._check_after(what)

    @property
    def depth(self) -> tuple[int, int]:
        """Threshold and batch size for the native runner: 0 and 0 are automatic."""
        if self.batch_size is None:
            return 0, 0
        return int(self.threshold), self.batch_size

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            """Describe what is missing; of a target, how it is written of the queue in a run."""
            advice = ""
            if name.startswith("assert_"):
                advice = f"; a run has targets: run = xsched.run(...), then run.{self.name}.{name}"
            raise AttributeError(f"a queue has no {name!r}{advice}")

    def _check_after(self, what: str) -> None:
        if isinstance(self.after, QueueSpec):
            object.__setattr__(self, "after", self.after.name)
        if not isinstance(self.after, str):
            raise ScenarioError(
                f'{what}: after={one_line(self.after)} is no name of a queue; write after="first"'
            )
        if self.after == self.name:
            raise ScenarioError(
                f"{what}: after={self.after!r}: a queue cannot wait for itself; its requests "
                "already start one after another"
            )

    def _check_auto(self, what: str) -> None:
        if self.batch_size is not None:
            raise ScenarioError(
                f"{what}: batch_size {self.batch_size!r} needs a threshold; an automatic one sets "
                "its own marks"
            )

    def _check_program(self, what: str, program: Program) -> None:
        who = "a program" if self.workload.model is None else "a model that runs eagerly"
        if self.workload.endpoint is not None:
            who = "an endpoint"
        if not program.reports and self.arrivals != Closed():
            raise ScenarioError(
                f"{what}: its program reports no requests, so it cannot have a load; leave the "
                "load out"
            )
        if isinstance(self.arrivals, Closed) and self.arrivals.concurrency != 1:
            raise ScenarioError(f"{what}: {who} has one request at a time, not several clients")
        if self.sm_share is not None or self.cu_mask is not None:
            raise ScenarioError(f"{what}: {who} cannot get a share of the multiprocessors")
        if self.device is not None:
            raise ScenarioError(f"{what}: {who} chooses its device itself; leave device= out")

    def _check_multiprocessors(self, what: str) -> None:
        if self.sm_share is not None and self.cu_mask is not None:
            raise ScenarioError(f"{what}: sm_share and cu_mask both name multiprocessors; use one")
        if self.sm_share is not None:
            share = parse_fraction(self.sm_share, what=f"{what}: sm_share")
            object.__setattr__(self, "sm_share", share)
            set_number(self, "sm_share", what, 0, 1)
        if self.cu_mask is not None:
            set_tuple(self, "cu_mask", int, what, UNITS_MAX)
            assert self.cu_mask is not None
            for unit in self.cu_mask:
                integer(f"{what}: cu_mask", unit, 0, UNITS_MAX - 1)
            if list(self.cu_mask) != sorted(set(self.cu_mask)):
                raise ScenarioError(f"{what}: cu_mask {self.cu_mask} is not ascending")

    def _check_threshold(self, what: str) -> None:
        if isinstance(self.threshold, str):
            raise ScenarioError(
                f"{what}: threshold {self.threshold!r} is neither a whole number nor {AUTO!r}"
            )
        if self.threshold is None:
            raise ScenarioError(
                f'{what}: threshold None is no number; write "auto", or leave it out'
            )
        set_integer(self, "threshold", what, 1, THRESHOLD_MAX)
        if self.batch_size is None:
            object.__setattr__(self, "batch_size", min(2, self.threshold))
        set_integer(self, "batch_size", what, 1, THRESHOLD_MAX)
        assert self.batch_size is not None
        if self.threshold < self.batch_size:
            raise ScenarioError(
                f"{what}: threshold {self.threshold} is below batch_size {self.batch_size}"
            )


def _workload_advice(given: object) -> str:
    """Return how to write as a workload what a user passed instead of one."""
    if callable(given):
        name = getattr(given, "__name__", "")
        if str(getattr(given, "__module__", "")).startswith("pytest_xsched."):
            return f"call it, as in {name}(...)"
        build = name if name.isidentifier() else "build"
        return (
            f"write a function that builds a model: model({build}); code of your own as a program: "
            'command(["python", "serve.py"])'
        )
    if isinstance(given, (list, tuple)) and given:
        if all(isinstance(part, Workload) for part in given):
            return "write sequence([...]), whose requests run them one after another"
        if all(isinstance(part, str) for part in given):
            return f"write command({one_line(list(given))}) for a program"
    if isinstance(given, str) and "://" in given:
        return f"write endpoint({one_line(given)}) for requests to a server"
    if isinstance(given, str) and " " in given:
        return f"write command({one_line(given.split())}) for a program"
    return 'write matmul(512), spin("1ms"), or command(["python", "serve.py"]) for a program'


_TRACES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz")


def _arrivals_advice(given: object) -> str:
    """Return how to write as arrivals what a user passed instead of them."""
    name = getattr(given, "__name__", "").lower()
    if name == "stages":
        return 'stages([("10s", "20/s"), ("30s", "100/s")])'
    if name == "trace_file":
        return 'trace_file("azure.csv")'
    if name in ARRIVAL_KINDS and name not in ("replay", "closed"):
        return f'{name}("20/s")'
    if isinstance(given, (str, os.PathLike)) and os.fspath(given).endswith(_TRACES):
        return f'trace_file("{os.fspath(given)}")'
    if isinstance(given, Mapping) or (
        isinstance(given, (list, tuple)) and given and isinstance(given[0], (list, tuple))
    ):
        return 'stages([("10s", "20/s"), ("30s", "100/s")])'
    if isinstance(given, (list, tuple)):
        return 'replay([...]) of times with a unit, as in replay(["10ms", "20ms"])'
    return f'poisson("20/s") or one of {", ".join(ARRIVAL_KINDS)}'


def _check_name(name: object) -> None:
    fault = ""
    if isinstance(name, Workload):
        raise ScenarioError(
            f'queue: the name comes first; write queue("high", {name.label}), not a workload'
        )
    if not isinstance(name, str):
        fault = "is not a text"
    elif not name.isidentifier() or keyword.iskeyword(name):
        fault = "is not a Python identifier"
    elif name.startswith("_"):
        fault = "starts with an underscore"
    elif name in RESERVED_NAMES:
        fault = "would hide an attribute of the run"
    if fault:
        raise ScenarioError(f"queue name {one_line(name)} {fault}")


def read_queue(data: Any) -> QueueSpec:
    """Return a queue spec from its JSON."""
    if isinstance(data, Mapping):  # absent in records of versions without it
        data = {"after": None, **data}
    values = checked_fields(QueueSpec, data, "queue")
    values["workload"] = read_workload(values["workload"])
    values["arrivals"] = read_arrivals(values["arrivals"])
    return QueueSpec(**values)

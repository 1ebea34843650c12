"""What is to be measured, as pure data: queues, devices, a scenario.

Everything here is frozen, checks itself when made and turns into JSON and back.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_xsched.checks import (
    check_flag,
    checked_fields,
    checked_list,
    one_of,
    set_integer,
    set_number,
    set_tuple,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.load import ARRIVAL_KINDS, SAMPLES_MAX, Arrivals, known_count, read_arrivals
from pytest_xsched.names import DEVICES, POLICIES, SCHEDULERS
from pytest_xsched.units import MAX_NS, spell_duration
from pytest_xsched.workload import Command, Workload, read_workload

# The limits of the native runner (enum xs_limit); a test compares them with the compiled module.
PRIORITY_MIN = -255
PRIORITY_MAX = 255
THRESHOLD_MAX = 1024
QUEUES_MAX = 256

PARALLEL_MAX = 64  # commands executed at once


# A queue is reached as an attribute of its run; these are attributes of every run already.
RESERVED_NAMES = frozenset(
    {"queues", "scenario", "evidence", "remark", "verdicts", "require"}
    | {"device_kind", "device_name", "scheduler", "to_dict", "to_json"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """One XQueue and the load on it.

    Args:
        name: how reports and the run call it; a Python identifier.
        workload: the commands of one request.
        priority: in [-255, 255], higher wins.
        arrivals: when the requests come.
        threshold: most commands in flight, in [batch_size, 1024].
        batch_size: commands between marks, at least 1.
    """

    name: str
    workload: Workload
    priority: int = 0
    arrivals: Arrivals
    threshold: int = 4
    batch_size: int = 2

    def __post_init__(self) -> None:
        _check_name(self.name)
        what = f"queue {self.name!r}"
        if not isinstance(self.workload, Workload):
            raise ScenarioError(
                f"{what}: workload {self.workload!r} is none; write matmul(512), vector_add(n) "
                "or spin(duration)"
            )
        if not isinstance(self.arrivals, Arrivals):
            raise ScenarioError(
                f'{what}: arrivals {self.arrivals!r} are none; write poisson("20/s") or one of '
                f"{', '.join(ARRIVAL_KINDS)}"
            )
        set_integer(self, "priority", what, PRIORITY_MIN, PRIORITY_MAX)
        set_integer(self, "threshold", what, 1, THRESHOLD_MAX)
        set_integer(self, "batch_size", what, 1, THRESHOLD_MAX)
        if self.threshold < self.batch_size:
            raise ScenarioError(
                f"{what}: threshold {self.threshold} is below batch_size {self.batch_size}"
            )


def _check_name(name: object) -> None:
    fault = ""
    if not isinstance(name, str):
        fault = "is not a text"
    elif not name.isidentifier() or keyword.iskeyword(name):
        fault = "is not a Python identifier"
    elif name.startswith("_"):
        fault = "starts with an underscore"
    elif name in RESERVED_NAMES:
        fault = "would hide an attribute of the run"
    if fault:
        raise ScenarioError(f"queue name {name!r} {fault}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuModel:
    """The `cpu` device: worker threads that really compute.

    Args:
        workers: commands executed at once, in [1, 64].
        priority: whether streams of higher priority go first; else first come, first served.
        spin_ns: busy-wait this long for work before sleeping.
    """

    workers: int = 1
    priority: bool = True
    spin_ns: int = 50_000

    def __post_init__(self) -> None:
        set_integer(self, "workers", "cpu", 1, PARALLEL_MAX)
        check_flag("cpu: priority", self.priority)
        set_integer(self, "spin_ns", "cpu", 0, MAX_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimModel:
    """The `sim` device: a model in virtual time.

    Streams are in order. `slots` commands execute at once and are not preempted. A launch reaches
    the device `launch_ns` after the later of its call and the previous launch of its stream
    reaching it. A free slot takes, of the commands at the heads of their streams, the one of the
    highest stream priority (if `priority`), else the one that reached the device first; ties go by
    order of launch. A command costs

        max(flops / flops_per_s, bytes / bytes_per_s) / min(1, items / full_items)

    with items = n*n*batch of a matmul and n of a vector_add; a spin costs its duration.

    Args:
        slots: commands executed at once, in [1, 64].
        priority: whether streams of higher priority go first.
        launch_ns: from a launch to the device, serial per stream.
        flops_per_s: of a full device, above 0.
        bytes_per_s: of a full device, above 0.
        full_items: output elements that fill the device, at least 1; fewer leave part of it idle.

    >>> from pytest_xsched.workload import matmul
    >>> SimModel().cost_ns(matmul(512).commands[0])
    745654
    """

    slots: int = 1
    priority: bool = True
    launch_ns: int = 5_000
    flops_per_s: float = 1.44e12
    bytes_per_s: float = 4.0e12
    full_items: int = 2**20

    def __post_init__(self) -> None:
        set_integer(self, "slots", "sim", 1, PARALLEL_MAX)
        check_flag("sim: priority", self.priority)
        set_integer(self, "launch_ns", "sim", 0, MAX_NS)
        set_number(self, "flops_per_s", "sim", 0, math.inf)
        set_number(self, "bytes_per_s", "sim", 0, math.inf)
        set_integer(self, "full_items", "sim", 1, 2**53)

    def cost_ns(self, command: Command) -> int:
        """Compute how long a command keeps its slot, in ns, rounded to the nearest."""
        if command.kind == "spin":
            return command.duration_ns
        full_s = max(command.flops / self.flops_per_s, command.bytes / self.bytes_per_s)
        return round(full_s / min(1.0, command.items / self.full_items) * 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything a run depends on: queues, times, seed, device and scheduler.

    Args:
        queues: at least one, with different names.
        duration_ns: of the measured window, above 0.
        warmup_ns: before it, under the same load; `default_warmup_ns`.
        drain_ns: longest wait behind it for what is unfinished; `default_drain_ns`.
        seed: of arrivals and inputs, in [0, 2**32).
        device: one of `names.DEVICES`.
        scheduler: one of `names.SCHEDULERS`, the mechanism under test.
        policy: one of `names.POLICIES`; other than "none" only with scheduler "builtin".
        stream_priority: under scheduler "builtin", whether the streams underneath get the queues'
            priorities too; must be True otherwise.
        check: whether the results of the commands are compared with numpy.
        cpu: parameters of the device "cpu".
        sim: parameters of the device "sim".
    """

    queues: tuple[QueueSpec, ...]
    duration_ns: int
    warmup_ns: int
    drain_ns: int
    seed: int
    device: str
    scheduler: str
    policy: str
    stream_priority: bool = True
    check: bool = False
    cpu: CpuModel = field(default_factory=CpuModel)
    sim: SimModel = field(default_factory=SimModel)

    def __post_init__(self) -> None:
        set_tuple(self, "queues", QueueSpec, "scenario", QUEUES_MAX)
        set_integer(self, "duration_ns", "scenario", 1, MAX_NS)
        set_integer(self, "warmup_ns", "scenario", 0, MAX_NS)
        set_integer(self, "drain_ns", "scenario", 0, MAX_NS)
        set_integer(self, "seed", "scenario", 0, 2**32 - 1)
        one_of("device", self.device, DEVICES)
        one_of("scheduler", self.scheduler, SCHEDULERS)
        one_of("policy", self.policy, POLICIES)
        if self.policy != "none" and self.scheduler != "builtin":
            raise ScenarioError(
                f"policy {self.policy!r} needs scheduler 'builtin', not {self.scheduler!r}"
            )
        check_flag("scenario: stream_priority", self.stream_priority)
        if not self.stream_priority and self.scheduler != "builtin":
            raise ScenarioError(
                f"stream_priority False needs scheduler 'builtin', not {self.scheduler!r}"
            )
        check_flag("scenario: check", self.check)
        for name, kind in (("cpu", CpuModel), ("sim", SimModel)):
            if not isinstance(getattr(self, name), kind):
                raise ScenarioError(
                    f"scenario: {name} {getattr(self, name)!r} is not a {kind.__name__}"
                )
        self._check_queues()

    def _check_queues(self) -> None:
        names: set[str] = set()
        total = 0
        for queue in self.queues:
            if queue.name in names:
                raise ScenarioError(f"scenario: two queues are named {queue.name!r}")
            names.add(queue.name)
            total += known_count(
                queue.arrivals,
                warmup_ns=self.warmup_ns,
                duration_ns=self.duration_ns,
                name=queue.name,
            )
        if total > SAMPLES_MAX:
            raise ScenarioError(
                f"scenario: {total} requests in {spell_duration(self.warmup_ns)} of warm-up and "
                f"{spell_duration(self.duration_ns)}, above {SAMPLES_MAX}; lower a rate or the "
                "duration"
            )

    def stream_priority_of(self, queue: QueueSpec) -> int:
        """Give the priority of a queue's stream; higher goes first where the device has it."""
        with_streams = self.scheduler == "priority" or (
            self.scheduler == "builtin" and self.stream_priority
        )
        return queue.priority if with_streams else 0

    def to_dict(self) -> dict[str, Any]:
        """Give the scenario in JSON's types; `from_dict` reads it back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for plain, queue in zip(data["queues"], self.queues, strict=True):
            plain["arrivals"]["kind"] = type(queue.arrivals).__name__.lower()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scenario:
        """Make a scenario from what `to_dict` gave.

        Raises:
            ScenarioError: for missing or unknown fields and for values refused by the classes.
        """
        values = checked_fields(cls, data, "scenario")
        values["queues"] = tuple(
            _read_queue(queue) for queue in checked_list(values, "queues", "scenario")
        )
        values["cpu"] = CpuModel(**checked_fields(CpuModel, values["cpu"], "cpu"))
        values["sim"] = SimModel(**checked_fields(SimModel, values["sim"], "sim"))
        return cls(**values)

    def digest(self) -> str:
        """Compute the SHA-256, in hex, of everything in the scenario.

        Equal scenarios have equal digests, in every process and on every machine.
        """
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def default_warmup_ns(duration_ns: int) -> int:
    """Give the warm-up of a run for which none was named: a tenth of it, at most 1 s."""
    return min(10**9, duration_ns // 10)


def default_drain_ns() -> int:
    """Give the drain time of a run for which none was named: 5 s."""
    return 5 * 10**9


def _read_queue(data: Any) -> QueueSpec:
    values = checked_fields(QueueSpec, data, "queue")
    values["workload"] = read_workload(values["workload"])
    values["arrivals"] = read_arrivals(values["arrivals"])
    return QueueSpec(**values)

"""What is to be measured, as pure data: queues, devices, a scenario.

Everything here is frozen, checks itself when made and turns into JSON and back.
"""

from __future__ import annotations

import hashlib
import json
import keyword
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_xsched.checks import (
    check_flag,
    checked_fields,
    checked_list,
    device_name,
    integer,
    one_of,
    set_integer,
    set_number,
    set_tuple,
)
from pytest_xsched.doubles import CpuModel, SimModel
from pytest_xsched.errors import ScenarioError
from pytest_xsched.load import ARRIVAL_KINDS, SAMPLES_MAX, Arrivals, known_count, read_arrivals
from pytest_xsched.names import POLICIES, PROCESSES, SCHEDULERS, WAITING, split_device
from pytest_xsched.spelling import python_text
from pytest_xsched.units import MAX_NS, spell_duration
from pytest_xsched.workload import Workload, read_workload

# The limits of the native runner (enum xs_limit); a test compares them with the compiled module.
PRIORITY_MIN = -255
PRIORITY_MAX = 255
THRESHOLD_MAX = 1024
AUTO = "auto"  # a threshold
QUEUES_MAX = 256
UNITS_MAX = 1024  # multiprocessors that a mask can name


# A queue is reached as an attribute of its run; these are attributes of every run already.
RESERVED_NAMES = frozenset(
    {"queues", "scenario", "evidence", "remark", "origin", "verdicts", "require"}
    | {"device_kind", "device_name", "fingerprint", "scheduler", "to_dict", "to_json"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """One XQueue and the load on it.

    Args:
        name: how reports and the run call it; a Python identifier.
        workload: the commands of one request.
        priority: in [-255, 255], higher wins.
        arrivals: when the requests come.
        threshold: most commands in flight, in [batch_size, 1024], or ``"auto"``: as few as keep the
            device busy, from what the queue's commands were seen to take (native/src/pace.h).
        batch_size: commands between marks, at least 1; default 2, and at most the threshold. None
            with an automatic threshold, which sets marks by time.
        sm_share: share of the multiprocessors that only this queue uses, above 0 and below 1; what
            no queue claims is left to those without a share.
        cu_mask: the same by number: multiprocessors (compute units) in [0, 1024), ascending.
        device: another than the run's and of its kind, ``"cuda:1"``; None: the run's.
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

    def __post_init__(self) -> None:
        _check_name(self.name)
        what = f"queue {self.name!r}"
        if self.device is not None:
            object.__setattr__(self, "device", device_name(f"{what}: device", self.device))
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
        if self.threshold == AUTO:
            self._check_auto(what)
        else:
            self._check_threshold(what)
        self._check_multiprocessors(what)

    @property
    def depth(self) -> tuple[int, int]:
        """Threshold and batch size as the native runner takes them: 0 and 0 are automatic."""
        if self.batch_size is None:
            return 0, 0
        return int(self.threshold), self.batch_size

    def _check_auto(self, what: str) -> None:
        if self.batch_size is not None:
            raise ScenarioError(
                f"{what}: batch_size {self.batch_size!r} needs a threshold; an automatic one sets "
                "its own marks"
            )

    def _check_multiprocessors(self, what: str) -> None:
        if self.sm_share is not None and self.cu_mask is not None:
            raise ScenarioError(f"{what}: sm_share and cu_mask are two ways to say it; name one")
        if self.sm_share is not None:
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
        set_integer(self, "threshold", what, 1, THRESHOLD_MAX)
        if self.batch_size is None:
            object.__setattr__(self, "batch_size", min(2, self.threshold))
        set_integer(self, "batch_size", what, 1, THRESHOLD_MAX)
        assert self.batch_size is not None
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
class Scenario:
    """Everything a run depends on: queues, times, seed, device and scheduler.

    Args:
        queues: at least one, with different names.
        duration_ns: of the measured window, above 0.
        warmup_ns: before it, under the same load; `default_warmup_ns`.
        drain_ns: longest wait behind it for what is unfinished; `default_drain_ns`.
        seed: of arrivals and inputs, in [0, 2**32).
        device: one of `names.DEVICES`, of GPUs also with an index: ``"cuda:1"``.
        scheduler: one of `names.SCHEDULERS`, the mechanism under test.
        policy: one of `names.POLICIES`; other than "none" only with scheduler "builtin".
        stream_priority: under scheduler "builtin", whether the streams underneath get the queues'
            priorities too; must be True otherwise.
        check: whether the results of the commands are compared with numpy.
        waiting: one of `names.WAITING`: what the runner's threads do while they wait for a GPU.
        processes: one of `names.PROCESSES`; "separate" needs real time, a scheduler that reaches
            beyond a process, and queues without a share of the multiprocessors.
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
    waiting: str = "yield"
    processes: str = "together"
    cpu: CpuModel = field(default_factory=CpuModel)
    sim: SimModel = field(default_factory=SimModel)

    def __post_init__(self) -> None:
        set_tuple(self, "queues", QueueSpec, "scenario", QUEUES_MAX)
        set_integer(self, "duration_ns", "scenario", 1, MAX_NS)
        set_integer(self, "warmup_ns", "scenario", 0, MAX_NS)
        set_integer(self, "drain_ns", "scenario", 0, MAX_NS)
        set_integer(self, "seed", "scenario", 0, 2**32 - 1)
        object.__setattr__(self, "device", device_name("device", self.device))
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
        one_of("waiting", self.waiting, WAITING)
        one_of("processes", self.processes, PROCESSES)
        for name, kind in (("cpu", CpuModel), ("sim", SimModel)):
            if not isinstance(getattr(self, name), kind):
                raise ScenarioError(
                    f"scenario: {name} {getattr(self, name)!r} is not a {kind.__name__}"
                )
        self._check_queues()
        if self.processes == "separate":
            self._check_separate()

    def _check_queues(self) -> None:
        names: set[str] = set()
        total = 0
        for queue in self.queues:
            if queue.name in names:
                raise ScenarioError(f"scenario: two queues are named {queue.name!r}")
            names.add(queue.name)
            self._check_device(queue)
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

    def _check_device(self, queue: QueueSpec) -> None:
        if queue.device and split_device(queue.device)[0] != self.device_kind:
            raise ScenarioError(
                f"queue {queue.name!r}: device {queue.device!r} is of another kind than the run's, "
                f"{self.device!r}"
            )

    def _check_separate(self) -> None:
        what = 'processes="separate"'
        if self.scheduler == "builtin":
            raise ScenarioError(
                f"{what}: the policy of scheduler 'builtin' sees the queues of its own process "
                "only; take 'native' or 'priority'"
            )
        if self.device_kind == "sim":
            raise ScenarioError(f"{what}: processes share no virtual time; the device is 'sim'")
        for queue in self.queues:
            if queue.sm_share is not None or queue.cu_mask is not None:
                raise ScenarioError(
                    f"{what}: queue {queue.name!r} has a share of the multiprocessors, which are "
                    "divided among the queues of one process only"
                )

    @property
    def device_kind(self) -> str:
        """Kind of the devices: one of `names.DEVICES`."""
        return split_device(self.device)[0]

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices: the run's, then others of its queues, in their order."""
        others = (queue.device for queue in self.queues if queue.device)
        return tuple(dict.fromkeys((self.device, *others)))

    @property
    def uses_stream_priorities(self) -> bool:
        """Whether streams get priorities: under "priority", and "builtin" unless told otherwise."""
        builtin = self.scheduler == "builtin" and self.stream_priority
        return self.scheduler == "priority" or builtin

    def queues_on(self, device: str) -> tuple[QueueSpec, ...]:
        """Give the queues of one of `devices`."""
        return tuple(queue for queue in self.queues if (queue.device or self.device) == device)

    def stream_priority_of(self, queue: QueueSpec, least: int, most: int) -> int:
        """Give the priority of a queue's stream on a device with priorities from `least` to `most`.

        By rank among the queues of its device, because devices have few: those of the highest
        priority get `most`, the next one less, and so on; what is left shares `least`. 0 where
        all are equal.
        """
        beside = self.queues_on(queue.device or self.device)
        ranks = sorted({other.priority for other in beside}, reverse=True)
        if not self.uses_stream_priorities or len(ranks) == 1:
            return 0
        return max(least, most - ranks.index(queue.priority))

    def to_dict(self) -> dict[str, Any]:
        """Give the scenario in JSON's types; `from_dict` reads it back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for plain, queue in zip(data["queues"], self.queues, strict=True):
            plain["arrivals"]["kind"] = type(queue.arrivals).__name__.lower()
        return data

    def to_python(self) -> str:
        """Give the scenario as Python text, an expression to be pasted into a test."""
        return python_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print it so where values are shown to people: by hypothesis, by IPython."""
        printer.text(python_text(self, printer.indentation))

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

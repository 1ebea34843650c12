"""A scenario: the queues, the device and the scheduler of a run, as pure data.

A scenario is frozen, is checked when it is made, and can be written as JSON and read back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pytest_xsched.base.constants import (
    APART,
    GPUS,
    PROCESSES,
    SCHEDULERS,
    WAITING,
    split_device,
    uuid_of,
)
from pytest_xsched.base.policies import POLICIES, policy_of
from pytest_xsched.base.units import MAX_NS, spell_duration
from pytest_xsched.base.validation import (
    check_flag,
    checked_fields,
    checked_list,
    checked_object,
    device_name,
    one_of,
    set_integer,
    set_tuple,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX, known_count, plain_arrivals
from pytest_xsched.scenario.dependencies import pipeline_of, place_dependents
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.mps_settings import MPS, read_mps
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.queue_spec import QueueSpec, read_queue
from pytest_xsched.scenario.servers import Server
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.xsched_settings import XSched, read_xsched

QUEUES_MAX = 256  # the limit of the native runner
CHANGES_MAX = 10_000  # of a run
_PERCENTAGE = '; write MPS(active_thread_percentage={"low": 50})'
_REPLAY = '; recorded("model.json") replays there what the requests of a model took on a GPU'


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything a run depends on: queues, times, seed, device and scheduler.

    Args:
        queues: at least one, with different names.
        duration_ns: of the measured window, above 0.
        warmup_ns: before it, under the same load; `default_warmup_ns`.
        drain_ns: the longest wait after it for unfinished requests; `default_drain_ns`.
        seed: of arrivals and inputs, in [0, 2**32).
        device: one of `constants.DEVICES`, of GPUs also with an index: ``"cuda:1"``.
        scheduler: one of `constants.SCHEDULERS`, the mechanism under test.
        policy: one of `policies.POLICIES`; other than "none" only with scheduler "builtin".
        xsched: the settings of scheduler "xsched"; None with the others.
        mps: the settings of scheduler "mps"; None with the others.
        changes: of queues during the run, by their times.
        stream_priority: under scheduler "builtin", whether the streams underneath get the queues'
            priorities too; must be True otherwise.
        check: whether the results of the commands are compared with numpy.
        waiting: one of `constants.WAITING`: what a thread does while it waits for a GPU.
        processes: one of `constants.PROCESSES`; "separate" needs real time, a scheduler that
            reaches beyond a process, and queues without a share of the multiprocessors.
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
    xsched: XSched | None = None
    mps: MPS | None = None
    changes: tuple[Change, ...] = ()
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
        self._check_xsched()
        self._check_apart()
        check_flag("scenario: check", self.check)
        one_of("waiting", self.waiting, WAITING)
        one_of("processes", self.processes, PROCESSES)
        for name, kind in (("cpu", CpuModel), ("sim", SimModel)):
            if not isinstance(getattr(self, name), kind):
                raise ScenarioError(
                    f"scenario: {name} {getattr(self, name)!r} is not a {kind.__name__}"
                )
        self._place_models()
        object.__setattr__(self, "queues", place_dependents(self.queues))
        self._check_queues()
        if self.has_separate_processes:
            self._check_separate()
        if self.programs:
            self._check_programs()

    def _place_models(self) -> None:
        """Let models run eagerly where nothing can be captured; refuse them where none can run."""
        placed = []
        for queue in self.queues:
            model = queue.workload.model
            if model is None or self.device_kind in ("cuda", "hip"):
                placed.append(queue)
                continue
            what = f"queue {queue.name!r}: {model.name}"
            if self.device_kind != "cpu":
                replay = "" if self.device_kind == "opencl" else _REPLAY
                raise ScenarioError(
                    f"{what} runs on the devices cuda, hip and cpu; the device is "
                    f"{self.device!r}{replay}"
                )
            if model.framework != "torch":
                raise ScenarioError(
                    f"{what} launches onto a stream of a GPU, cuda or hip; the device is 'cpu'"
                )
            eager = replace(model, mode="eager")
            workload = replace(queue.workload, model=eager, label=eager.label)
            placed.append(replace(queue, workload=workload))
        object.__setattr__(self, "queues", tuple(placed))

    def _check_xsched(self) -> None:
        if (self.scheduler == "xsched") != isinstance(self.xsched, XSched):
            raise ScenarioError(
                f"scenario: xsched {self.xsched!r} does not go with scheduler {self.scheduler!r}"
            )
        if self.xsched and self.device_kind not in GPUS:
            raise ScenarioError(
                f"scheduler 'xsched' schedules {', '.join(GPUS)} devices, not {self.device!r}"
            )

    def _check_apart(self) -> None:
        if (self.scheduler == "mps") != isinstance(self.mps, MPS):
            raise ScenarioError(
                f"scenario: mps {self.mps!r} does not go with scheduler {self.scheduler!r}"
            )
        if self.mps is not None:
            self.mps.require_queues([queue.name for queue in self.queues])
        kinds = ("cuda",) if self.scheduler == "mps" else GPUS
        if self.scheduler in APART and self.device_kind not in kinds:
            raise ScenarioError(
                f"scheduler {self.scheduler!r} shares {', '.join(kinds)} devices between "
                f"processes; the device is {self.device!r}"
            )

    def _check_changes(self, names: set[str]) -> None:
        if self.changes:
            set_tuple(self, "changes", Change, "scenario", CHANGES_MAX)
        object.__setattr__(self, "changes", tuple(sorted(self.changes, key=lambda c: c.at_ns)))
        for change in self.changes:
            if change.queue not in names:
                raise ScenarioError(
                    f"scenario: a change names queue {change.queue!r}; known: "
                    f"{', '.join(sorted(names))}"
                )
            if change.at_ns >= self.duration_ns:
                raise ScenarioError(
                    f"scenario: the change of queue {change.queue!r} at "
                    f"{spell_duration(change.at_ns)} is after the end, "
                    f"{spell_duration(self.duration_ns)}"
                )

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
        self._check_changes(names)
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
        for name in (self.device, queue.device or ""):
            if uuid_of(name) and queue.device not in (None, self.device):
                raise ScenarioError(
                    f"queue {queue.name!r}: device {queue.device!r} and the run's, "
                    f"{self.device!r}: a process that names a device by its UUID sees no other"
                )

    def _check_separate(self) -> None:
        what = 'processes="separate"'
        if self.scheduler in APART:
            what = f"scheduler {self.scheduler!r} has a process for each queue"
        if self.scheduler == "builtin":
            raise ScenarioError(
                f"{what}: the policy of scheduler 'builtin' sees the queues of its own process "
                "only; take 'native' or 'priority'"
            )
        self._check_reach(what)
        if self.device_kind == "sim":
            raise ScenarioError(f"{what}: processes share no virtual time; the device is 'sim'")
        for queue in self.queues:
            if queue.after is not None:
                raise ScenarioError(
                    f"{what}: queue {queue.name!r} has after={queue.after!r}, and only queues of "
                    "one process can wait for each other"
                )
        for queue in self.queues:
            if queue.sm_share is not None or queue.cu_mask is not None:
                raise ScenarioError(
                    f"{what}: queue {queue.name!r} has a share of the multiprocessors, which are "
                    "divided among the queues of one process only"
                    + (_PERCENTAGE if self.mps is not None else "")
                )

    def _check_programs(self) -> None:
        what = f"queue {self.programs[0].name!r} {self._why_program(self.programs[0])}"
        if self.scheduler not in ("native", "xsched", *APART):
            others = "" if self.device_kind == "cpu" else ", 'xsched' schedules its streams"
            raise ScenarioError(
                f"{what}: scheduler {self.scheduler!r} cannot schedule it; 'native' "
                f"(--xsched-scheduler=native) leaves it unchanged{others}"
            )
        if self.device_kind == "sim":
            raise ScenarioError(f"{what}: a program has no virtual time; the device is 'sim'")
        for change in self.changes:
            for queue in self.programs:
                if change.queue == queue.name:
                    raise ScenarioError(
                        f"queue {queue.name!r} {self._why_program(queue)}: changes do not reach it"
                    )
        for queue in self.programs:
            endpoint = queue.workload.endpoint
            runs_already = endpoint is not None and endpoint.server is None
            if runs_already and self.scheduler in ("xsched", "mps"):
                raise ScenarioError(
                    f"queue {queue.name!r} sends requests to a server that runs already, which "
                    f"scheduler {self.scheduler!r} cannot reach; give the endpoint server=, so "
                    "that the run starts it, or take 'native' (--xsched-scheduler=native)"
                )
        for queues in self.servers.values():
            if len({(queue.priority, queue.threshold, queue.batch_size) for queue in queues}) > 1:
                names = " and ".join(repr(queue.name) for queue in queues)
                raise ScenarioError(
                    f"{what}: queues {names} share a server, which has one priority and one depth; "
                    "give them equal ones"
                )
        if len(self.queues) > 1:
            self._check_reach(what)

    def _why_program(self, queue: QueueSpec) -> str:
        if queue.workload.endpoint is not None:
            return "sends requests to a server"
        if queue.workload.model is None:
            return "is a program"
        where = " on device 'cpu'" if self.device_kind == "cpu" else ""
        return f"is a model that runs eagerly{where}, in a process of its own"

    def _check_reach(self, what: str) -> None:
        if self.xsched and self.xsched.scheduler == "local":
            raise ScenarioError(
                f"{what}: XSched's local scheduler sees the queues of its own process only; take "
                'XSched(scheduler="global")'
            )

    @property
    def programs(self) -> tuple[QueueSpec, ...]:
        """The queues whose requests a program does, one of the user or that of an eager model."""
        return tuple(queue for queue in self.queues if queue.workload.own_program is not None)

    @property
    def models(self) -> tuple[QueueSpec, ...]:
        """The queues whose requests a model of the user does, captured or eagerly."""
        return tuple(queue for queue in self.queues if queue.workload.model is not None)

    @property
    def servers(self) -> dict[Server, list[QueueSpec]]:
        """The servers that the run starts, and the queues of each."""
        found: dict[Server, list[QueueSpec]] = {}
        for queue in self.queues:
            endpoint = queue.workload.endpoint
            if endpoint is not None and endpoint.server is not None:
                found.setdefault(endpoint.server, []).append(queue)
        return found

    @property
    def has_separate_processes(self) -> bool:
        """Whether each queue has a process of its own, by `processes` or by the scheduler."""
        return self.processes == "separate" or self.scheduler in APART

    @property
    def device_kind(self) -> str:
        """Kind of the devices: one of `constants.DEVICES`."""
        return split_device(self.device)[0]

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices: the run's, then others of its queues, in their order."""
        others = (queue.device for queue in self.queues if queue.device)
        return tuple(dict.fromkeys((self.device, *others)))

    @property
    def uses_stream_priorities(self) -> bool:
        """Whether streams get priorities: under "priority", and under "builtin" by default.

        They get none under a policy that orders queues by something else.
        """
        if self.scheduler != "builtin":
            return self.scheduler == "priority"
        return self.stream_priority and policy_of("builtin", self.policy).stream_priority

    def queues_on(self, device: str) -> tuple[QueueSpec, ...]:
        """Return the queues of one of `devices`."""
        return tuple(queue for queue in self.queues if (queue.device or self.device) == device)

    def first_queue_of(self, queue: QueueSpec) -> QueueSpec:
        """Return the queue that begins the pipeline of a queue: itself, but for its `after`."""
        return pipeline_of(queue, self.queues)[-1]

    def stream_priority_of(self, queue: QueueSpec, least: int, most: int) -> int:
        """Return the priority of a queue's stream on a device, from `least` to `most`.

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
        """Return the scenario in JSON's types; `from_dict` reads it back."""
        data = _plain(self)
        data["queues"] = [
            {**_plain(queue), "arrivals": plain_arrivals(queue.arrivals)} for queue in self.queues
        ]
        for queue in data["queues"]:
            if queue["after"] is None:  # as in records of versions without it
                del queue["after"]
        if self.mps is None:  # as in records of versions without it
            del data["mps"]
        if self.xsched is not None and self.xsched.home is None:
            del data["xsched"]["home"]
        return data

    def to_python(self) -> str:
        """Return the scenario as Python text, an expression to be pasted into a test."""
        return python_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the scenario as Python text, for hypothesis and IPython."""
        printer.text(python_text(self, printer.indentation))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scenario:
        """Return a scenario from the dictionary that `to_dict` returned.

        Raises:
            ScenarioError: for missing or unknown fields and for values refused by the classes.
        """
        values = checked_fields(cls, {"mps": None, **checked_object(data, "scenario")}, "scenario")
        values["queues"] = tuple(
            read_queue(queue) for queue in checked_list(values, "queues", "scenario")
        )
        values["xsched"] = read_xsched(values["xsched"])
        values["mps"] = read_mps(values["mps"])
        values["changes"] = tuple(
            Change(**checked_fields(Change, change, "change"))
            for change in checked_list(values, "changes", "scenario")
        )
        values["cpu"] = CpuModel(**checked_fields(CpuModel, values["cpu"], "cpu"))
        values["sim"] = SimModel(**checked_fields(SimModel, values["sim"], "sim"))
        return cls(**values)

    def digest(self) -> str:
        """Compute the SHA-256, in hex, of everything in the scenario.

        Equal scenarios have equal digests, in every process and on every machine.
        """
        data = self.to_dict()
        for queue in data["queues"]:
            queue["arrivals"].pop("path", None)  # of a trace, whose digest is there
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _plain(owner: Any) -> dict[str, Any]:
    """Return the fields of a dataclass in JSON's types; queues and arrivals are None.

    A replay has hundreds of thousands of times, which `asdict` would copy one by one.
    """
    values = {
        item.name: None if item.name in ("queues", "arrivals") else getattr(owner, item.name)
        for item in fields(owner)
    }
    data: dict[str, Any] = json.loads(json.dumps(values, default=asdict))
    return data


def default_warmup_ns(duration_ns: int) -> int:
    """Return the default warm-up of a run: a tenth of it, at most 1 s."""
    return min(10**9, duration_ns // 10)


def default_drain_ns() -> int:
    """Return the default drain time of a run: 5 s."""
    return 5 * 10**9

"""Check whether XSched really schedules: its own report, a trial of two queues, its counts.

A loaded library proves nothing, and a call that returns success proves nothing. So the measuring
process checks three things: which scheduler XSched reports; whether two queues follow the order of
their hints, and the other order after the hints are swapped; and whether XSched launched every
command of the run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_xsched.errors import DeviceError, SchedulerInactive
from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import Hints, Queue, QueueSettings, Run
from pytest_xsched.scenario.queue_spec import THRESHOLD_MAX
from pytest_xsched.scenario.workload import Workload, spin
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.system.process_maps import mapped_files
from pytest_xsched.system.scheduler_cost import run_delay_ns
from pytest_xsched.xsched.installation import LIBRARY, files_of_others, home_of
from pytest_xsched.xsched.server_poll import Coverage

DRIVER_VARIABLES = {"cuda": "XSCHED_CUDA_LIB", "opencl": "XSCHED_CUDA_LIB", "hip": "XSCHED_HIP_LIB"}
"""Variables that name the driver to XSched's libraries; that for OpenCL reads CUDA's variable."""

_SAID = re.compile(
    r"using (?P<scheduler>app-managed|local|global) scheduler(?: with policy (?P<policy>\w+))?"
    r"|policy changed from \w+ to (?P<changed>\w+)"
)
_DRIVERS = re.compile(r"lib(cuda|amdhip64|OpenCL)\.so")
_ROCM = re.compile(r"/(rocm[\w.-]*)/")

_COMMANDS, _COMMANDS_IN_TURNS = 40, 120
_SHORT, _LONG = spin("200us"), spin("1ms")
_TRIALS = {"local": (_SHORT, _SHORT, _LONG, _LONG), "global": (_LONG, _LONG, _LONG)}
"""Work of each trial. Other load can spoil a trial, and spoils long commands less. The decision
of the global scheduler comes from another process, and later."""
_IN_TURNS = (_SHORT, _SHORT, _SHORT, _SHORT)
"""The same where the local scheduler lets queues take turns by the clock: many commands fit into a
turn of 5 ms, also where each one is late. There are more of them, for some turns of each queue."""
_SHOWN = 0.75
_MORE, _BUSY_NS = 4, 20_000_000
"""Further trials as long as the machine is busy: in the trial before, threads of the process had to
wait for a processor for longer than that."""
_MORE_IN_TURNS = 16
"""The same for turns by the clock, which a thread misses while it waits for a processor. With eight
times as many threads as processors, two of five trials show the order."""
_DRAIN_NS = 5_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A library of XSched or of a driver that the measuring process had mapped."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What shows that XSched was active.

    Attributes:
        report: how XSched itself names its scheduler and policy.
        order: share of pairs of commands in which the queue that the hints prefer was launched
            first, before and after the hints are swapped; 0.5 is no order at all. Empty for
            policies whose hints do not order two queues in one process.
        commands: of each queue, how many XSched counted and how many it launched.
        files: mapped libraries of XSched and of the driver.
        coverage: of each program, how often XSched had work of it; None: only a server reports
            that, and there was none.
    """

    report: str
    order: tuple[float, ...]
    commands: dict[str, tuple[int, int]]
    files: tuple[File, ...]
    coverage: dict[str, Coverage | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types; `from_dict` reads all of it except `coverage`."""
        return {
            "said": self.report,
            "order": self.order,
            "commands": self.commands,
            "files": [asdict(file) for file in self.files],
            "covers": {name: one and one.to_dict() for name, one in self.coverage.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Activity:
        """Return what `to_dict` has written, without `coverage`."""
        return cls(
            report=data["said"],
            order=tuple(data["order"]),
            commands={name: (given, done) for name, (given, done) in data["commands"].items()},
            files=tuple(File(**file) for file in data["files"]),
        )

    def added_to(self, before: Activity | None) -> Activity:
        """Return it with what earlier windows showed: sums, all files, the least order."""
        if before is None:
            return self
        coverage = dict(before.coverage)
        for name, one in self.coverage.items():
            earlier = coverage.get(name)
            coverage[name] = one + earlier if one and earlier else one or earlier
        commands = dict(before.commands)
        for name, (given, done) in self.commands.items():
            earlier_given, earlier_done = commands.get(name, (0, 0))
            commands[name] = (earlier_given + given, earlier_done + done)
        order = tuple(map(min, self.order, before.order)) or self.order or before.order
        reports = dict.fromkeys((before.report, self.report))
        return Activity(
            report="; ".join(report for report in reports if report),
            order=order,
            commands=commands,
            files=tuple(dict.fromkeys((*before.files, *self.files))),
            coverage=coverage,
        )

    @property
    def bypassing(self) -> list[str]:
        """Return a sentence for each program whose work XSched did not have."""
        found = self.coverage.items()
        return [fault for name, one in found if one and (fault := one.fault(name))]

    def faults(self, launched: Mapping[str, int], xsched: XSched | None = None) -> list[str]:
        """Return a sentence for each fact that shows that XSched was not active.

        Args:
            launched: how many commands of each queue the runner passed to XSched.
            xsched: which may name the installation that was to be active.
        """
        faults = []
        home = None if xsched is None else home_of(xsched)
        if home and (others := files_of_others(home, [file.path for file in self.files])):
            faults.append(f"{', '.join(others)} is mapped, which is not of {home.origin}")
        for name, (given, done) in self.commands.items():
            if not launched[name] == given == done:
                faults.append(
                    f"the runner passed {launched[name]} commands of {name} to XSched, which "
                    f"counts {given} and launched {done}"
                )
        drivers = [file.path for file in self.files if _DRIVERS.search(file.path)]
        trees = {match[1] for file in self.files if (match := _ROCM.search(file.path))}
        if len(trees) > 1:
            faults.append(
                f"libraries of two ROCm installations are mapped: {', '.join(sorted(trees))}"
            )
        names = [os.path.basename(path).partition(".so")[0] for path in drivers]
        for name in sorted({name for name in names if names.count(name) > 1}):
            both = ", ".join(path for path in drivers if f"/{name}.so" in path)
            faults.append(f"two copies of the driver are mapped: {both}")
        return faults


def attach_xsched(
    devices: Iterable[Device], kind: str, xsched: XSched, *, preempt: str, hal: str
) -> None:
    """Attach XSched to the devices of a run, before anything runs on them.

    Args:
        devices: open, all of one kind.
        kind: that kind.
        xsched: how it is to schedule.
        preempt: path of libpreempt.so.
        hal: path of the libhal*.so for the kind.
    """
    for device in devices:
        # The file that the runner loaded: XSched searches fewer places, and may find another.
        os.environ[DRIVER_VARIABLES[kind]] = device.describe().driver_file
        device.put_under(xsched, preempt=preempt, hal=hal)


def check_report(xsched: XSched, text: str) -> str:
    """Return the scheduler and policy that XSched reported last, from all output of the process.

    Raises:
        SchedulerInactive: XSched reported none, or not the one that the run needs.
    """
    scheduler, policy = "", ""
    for match in _SAID.finditer(text):
        scheduler = match["scheduler"] or scheduler
        policy = match["policy"] or match["changed"] or ""
    if not scheduler:
        raise SchedulerInactive("scheduler inactive: XSched was loaded, but reported no scheduler")
    wanted = {"app": "app-managed"}.get(xsched.scheduler, xsched.scheduler)
    report = f"using {scheduler} scheduler" + (f" with policy {policy}" if policy else "")
    right = scheduler == wanted and (xsched.scheduler != "local" or policy.lower() == xsched.policy)
    if not right:
        needed = f"the {wanted} scheduler" + (
            f" with policy {xsched.policy}" if xsched.scheduler != "app" else ""
        )
        raise SchedulerInactive(
            f"scheduler inactive: the run needs {needed}, but XSched reports {report!r}"
        )
    return report


def measure_order(device: Device, xsched: XSched) -> tuple[float, ...]:
    """Let two queues compete, with hints that prefer one, and then the other; return the shares.

    Raises:
        SchedulerInactive: in no trial did the preferred queue go first both times.
    """
    hints = _hints(xsched)
    if hints is None:
        return ()
    shares: tuple[float, ...] = ()
    waited_ns = 0
    works, more = _TRIALS[xsched.scheduler], _MORE
    in_turns = xsched.policy == "up"
    if in_turns:
        works, more = (_IN_TURNS if xsched.scheduler == "local" else works), _MORE_IN_TURNS
    for number, work in enumerate((*works, *more * works[-1:])):
        if number >= len(works) and waited_ns <= _BUSY_NS:
            break
        found = [_share_first(device, work, hints[::step], step, in_turns) for step in (1, -1)]
        shares = tuple(share for share, _ in found)
        waited_ns = sum(waited for _, waited in found)
        if min(shares) >= _SHOWN:
            # Else the queues of the run, which may get the same handles, would begin with the hints
            # of the trial.
            device.forget_hints(xsched)
            return shares
    shown = " and ".join(f"{share:.0%}" for share in shares)
    raise SchedulerInactive(
        f"scheduler inactive: in a trial of the policy {xsched.policy} hints preferred one of two "
        f"queues, and then the other; its commands went first in {shown} of the pairs, and XSched "
        f"that schedules reaches {_SHOWN:.0%} at least"
    )


_Preference = tuple[int, Hints]  # a priority and the other hints


def _hints(xsched: XSched) -> Sequence[_Preference] | None:
    """Return hints for a queue that goes first and for one that does not; None: none do that."""
    one = {"threshold": 1, "batch_size": 1}
    if xsched.scheduler == "app":
        return None
    # Not cfs: it counts what a handle has used, and later queues get the same handles.
    if xsched.policy in ("hpf", "hhpf"):
        return [(40, Hints(**one)), (1, Hints(**one))]
    if xsched.policy == "lax":  # urgent at once, and then by priority
        urgent = Hints(laxity_ns=1000, **one)
        return [(40, urgent), (1, urgent)]
    if xsched.policy == "kedf" and xsched.k in (None, 1):
        soon, late = Hints(deadline_ns=10**6, **one), Hints(deadline_ns=10**10, **one)
        return [(0, soon), (0, late)]
    if xsched.policy == "up":
        return [(0, Hints(utilization=95, **one)), (0, Hints(utilization=5, **one))]
    return None


def _share_first(
    device: Device, work: Workload, hints: Sequence[_Preference], step: int, in_turns: bool
) -> tuple[float, int]:
    """Return the share of pairs in which the queue that the hints prefer went first.

    Also how long threads of the process had to wait for a processor meanwhile, in ns. Where queues
    take turns, the one that is ready first may have a turn of full length, because it is alone
    then: what it launches before the preferred one begins is no pair.
    """
    before_ns = run_delay_ns()
    run = Run(device, "none")
    count = _COMMANDS_IN_TURNS if in_turns else _COMMANDS
    try:
        queues = [_add(run, work, count, i, hint) for i, hint in enumerate(hints)]
        run.start(warmup_ns=0, duration_ns=1_000_000, drain_ns=_DRAIN_NS)
        run.wait_until_over()
        times = [queue.samples(count)["launched_ns"] for queue in queues]
        preferred, other = times[::step]
        if in_turns:
            other = other[other > preferred.min()]
        # While the threads of XSched are there: the kernel forgets the times of those that ended.
        waited_ns = run_delay_ns() - before_ns
        pairs = preferred[:, None] < other[None, :]
        return float(np.mean(pairs)) if pairs.size else 0.0, waited_ns
    finally:
        run.close()


def _add(run: Run, work: Workload, count: int, index: int, hint: _Preference) -> Queue:
    priority, hints = hint
    settings = QueueSettings(
        name=f"canary{index}",
        priority=priority,
        stream_priority=0,
        threshold=THRESHOLD_MAX,
        batch_size=THRESHOLD_MAX // 2,
        hints=hints,
    )
    return run.add_open(settings, work.commands, np.zeros(count, np.int64))


def scheduler_files() -> tuple[File, ...]:
    """Return the libraries of XSched and of drivers that this process has mapped.

    Raises:
        DeviceError: the system does not show them, so nothing shows that XSched is in effect.
    """
    try:
        paths = mapped_files()
    except OSError as error:
        raise DeviceError(
            "which libraries this process has mapped is unknown: /proc/self/maps: "
            f"{error.strerror}; the scheduler xsched needs /proc",
            call="open",
            code=error.errno or 0,
        ) from None
    return tuple(_file(path) for path in paths if LIBRARY.search(path) or _DRIVERS.search(path))


def _file(path: str) -> File:
    content = Path(path).read_bytes()
    return File(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def with_commands(activity: Activity, queues: Mapping[str, Queue]) -> Activity:
    """Return it with the counts of the run's queues and the mapped files, after the run."""
    commands = {name: queue.scheduler_counts()[:2] for name, queue in queues.items()}
    return dataclasses.replace(activity, commands=commands, files=scheduler_files())


def merge_activities(parts: Sequence[Activity]) -> Activity | None:
    """Return one activity for several processes that share a scheduler; None for none."""
    if not parts:
        return None
    files = {file.path: file for part in parts for file in part.files}
    return dataclasses.replace(
        parts[0],
        order=tuple(share for part in parts for share in part.order),
        commands={name: counts for part in parts for name, counts in part.commands.items()},
        files=tuple(file for _, file in sorted(files.items())),
    )

"""From a scenario to a measurement, and from a measurement to a run.

The first half needs an open device and may happen in a worker process; what it gives is data, from
which the second half makes the object that tests ask for figures and verdicts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.errors import ScenarioError
from pytest_xsched.monitoring.environment import Fingerprint, take_fingerprint
from pytest_xsched.monitoring.gpu_monitor import monitor_of
from pytest_xsched.monitoring.noise import Readings
from pytest_xsched.monitoring.sampler import Sampler
from pytest_xsched.native.binding import SLICE_NS, Device
from pytest_xsched.native.run import Counts, Hints, Queue, QueueSettings
from pytest_xsched.native.run import Run as NativeRun
from pytest_xsched.runner.calibration import calibrate
from pytest_xsched.runner.priority_probe import priority_effect
from pytest_xsched.runner.reference import wrong_results
from pytest_xsched.runner.sm_partition import partition
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX, Closed
from pytest_xsched.scenario.arrival_times import arrival_times
from pytest_xsched.scenario.queue_spec import THRESHOLD_MAX, QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.xsched.activation import Activity, with_commands

Progress: TypeAlias = Callable[[int, int], None]
"""Called some twenty times a second with elapsed and total ns of the run; may raise to stop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a device gave for a scenario: everything that has to leave a worker process.

    Attributes:
        fingerprint: where it was measured.
        counts: of each queue, in the scenario's order.
        samples: of each queue, one row a request; see `QueueResult`.
        wrong_results: sentences about results that differ from numpy's.
        priority_effect: see `Evidence`.
        alone_ns: what a request of each queue takes alone; None: not known.
        remark: about the way it was measured; empty where there is nothing to say.
        activity: what shows that XSched was in effect; None under other schedulers.
        readings: what else than the device may have delayed requests; None: nobody looked.
        faults: sentences about what makes all of it worthless.
        output: the end of what a worker process wrote, drivers and libraries in it included; empty
            where it was measured in this process.
    """

    fingerprint: Fingerprint
    counts: tuple[Counts, ...]
    samples: tuple[NDArray[np.void], ...]
    wrong_results: tuple[str, ...]
    priority_effect: str | None
    alone_ns: tuple[int | None, ...]
    remark: str = ""
    activity: Activity | None = None
    readings: Readings | None = None
    faults: tuple[str, ...] = ()
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one of several processes has of a scenario.

    Attributes:
        queues: its queues, by their indices in the scenario, ascending.
        turn: entered for what only one process may do at a time.
        ready: called when they are made; waits for the other processes, and gives the moment of
            CLOCK_MONOTONIC, in ns, at which all begin.
    """

    queues: tuple[int, ...]
    turn: Callable[[], AbstractContextManager[None]]
    ready: Callable[[], int]


def measure(
    devices: Mapping[str, Device],
    scenario: Scenario,
    progress: Progress | None = None,
    *,
    activity: Activity | None = None,
    keep: Callable[[Measurement], None] | None = None,
    part: Part | None = None,
    watch: bool = True,
    family: int | None = None,
) -> Measurement:
    """Run a scenario on its devices.

    Args:
        devices: open ones, by the names that `devices_of` gives.
        scenario: what is to be run.
        progress: called with elapsed and total ns of the run.
        activity: of XSched, where that is under the devices; without what the run will show of it.
        keep: called with the measurement before anything of the run is torn down, which is where
            drivers hang and crash.
        part: which of the queues are run here; None: all. The measurement is of those.
        watch: whether to look at the machine meanwhile, where time is real.
        family: process all of whose descendants belong to the run; None: this one.

    Raises:
        ScenarioError: the device cannot do what the scenario asks, or it makes too many requests.
        DeviceError: a device call failed; the run was stopped there.
        ForkedError: a device was opened by the parent of this process.
    """
    names = devices_of(scenario, None if part is None else part.queues)
    infos = [devices[name].describe() for name in names]
    info = infos[0]
    if scenario.check and not info.computes:
        raise ScenarioError(
            f"check=True: the {info.kind} device computes nothing, so there are no results to check"
        )
    default = devices[names[0]]
    specs = scenario.queues if part is None else [scenario.queues[i] for i in part.queues]
    effect = _effect(default, scenario, len(specs))
    with contextlib.nullcontext() if part is None else part.turn():
        alone_ns = calibrate(devices, scenario, specs)
    native = NativeRun(default, scenario.policy)
    try:
        units = _units(devices, scenario, names)
        queues = [
            _add(native, scenario, spec, devices[spec.device or scenario.device], units[spec.name])
            for spec in specs
        ]
        sampler = None
        if watch and not info.virtual_time:
            sampler = Sampler(
                queues,
                on_host=any(one.on_host for one in infos),
                warmup_ns=scenario.warmup_ns,
                duration_ns=scenario.duration_ns,
                gpus=[gpu for one in infos if (gpu := monitor_of(one.kind, one.pci_id))],
                family=family,
            )
        native.start(
            warmup_ns=scenario.warmup_ns,
            duration_ns=scenario.duration_ns,
            drain_ns=scenario.drain_ns,
            waiting=scenario.waiting,
            start_clock_ns=0 if part is None else part.ready(),
            heartbeat_ns=None if sampler is None else sampler.heartbeat_ns,
            slot_ns=0 if sampler is None else sampler.block_ns,
        )
        if sampler is not None and not queues:
            _watch(native, scenario, progress, sampler)
        _wait(native, scenario, progress, sampler)
        measurement = _collect(scenario, specs, take_fingerprint(infos), queues, effect, alone_ns)
        if sampler is not None:
            measurement = dataclasses.replace(measurement, readings=sampler.readings())
        if activity is not None:
            of = [spec.name for spec in specs]
            shown = with_commands(activity, dict(zip(of, queues, strict=True)))
            measurement = dataclasses.replace(measurement, activity=shown)
        if keep is not None:
            keep(measurement)
        return measurement
    finally:
        native.close()  # also on Ctrl-C and time-outs, which arrive between two waits


def _wait(
    native: NativeRun, scenario: Scenario, progress: Progress | None, sampler: Sampler | None
) -> None:
    total_ns = scenario.warmup_ns + scenario.duration_ns
    while not native.wait():
        if sampler is not None:
            sampler.poll(native.now_ns())
        if progress is not None:
            progress(min(native.now_ns(), total_ns), total_ns)
    if sampler is not None:
        sampler.poll(native.now_ns(), last=True)


def _watch(
    native: NativeRun, scenario: Scenario, progress: Progress | None, sampler: Sampler
) -> None:
    """Look at the machine for queues of other processes: a run without any ends when waited for."""
    total_ns = scenario.warmup_ns + scenario.duration_ns
    while (now_ns := native.now_ns()) < total_ns:
        sampler.poll(now_ns)
        if progress is not None:
            progress(max(0, now_ns), total_ns)
        time.sleep(SLICE_NS / 1e9)


def devices_of(scenario: Scenario, queues: Sequence[int] | None) -> tuple[str, ...]:
    """Return the names of the devices that some queues (indices; None: all) need."""
    if queues is None:
        return scenario.devices
    names = (scenario.queues[i].device or scenario.device for i in queues)
    return tuple(dict.fromkeys(names)) or (scenario.device,)


def _effect(device: Device, scenario: Scenario, here: int) -> str | None:
    """See `Evidence.priority_effect`; `here` are the queues of this process."""
    if not scenario.uses_stream_priorities or len({q.priority for q in scenario.queues}) == 1:
        return None
    # What priorities do within a process says nothing about streams of two.
    return priority_effect(device) if here == len(scenario.queues) else "unknown"


def _units(
    devices: Mapping[str, Device], scenario: Scenario, names: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Divide the multiprocessors of each device among the queues on it."""
    units: dict[str, tuple[int, ...]] = {}
    for name in names:
        queues = scenario.queues_on(name)
        info = devices[name].describe()
        shares = partition(queues, units=info.units, step=info.unit_step)
        units |= {queue.name: share for queue, share in zip(queues, shares, strict=True)}
    return units


def _settings(
    scenario: Scenario, spec: QueueSpec, device: Device, units: tuple[int, ...]
) -> QueueSettings:
    """Describe what a scheduler is made of: a policy, stream priorities, a threshold.

    Without XQueues a queue is as deep as a driver's own ring; with them, as its spec says.
    """
    builtin = scenario.scheduler == "builtin"
    threshold, batch_size = spec.depth if builtin else (THRESHOLD_MAX, THRESHOLD_MAX // 2)
    changes = [change for change in scenario.changes if change.queue == spec.name]
    return QueueSettings(
        name=spec.name,
        priority=spec.priority,
        stream_priority=scenario.stream_priority_of(spec, *device.describe().stream_priorities),
        threshold=threshold,
        batch_size=batch_size,
        seed=_seed(scenario, spec),
        units=units,
        hints=Hints(
            threshold=spec.depth[0],
            batch_size=spec.depth[1],
            utilization=spec.utilization or 0,
            deadline_ns=spec.deadline_ns or 0,
            laxity_ns=spec.laxity_ns or 0,
        ),
        changes=tuple(
            dataclasses.replace(change, at_ns=scenario.warmup_ns + change.at_ns)
            for change in changes
        ),
        device=device,
    )


def _seed(scenario: Scenario, spec: QueueSpec) -> int:
    return (scenario.seed + zlib.crc32(spec.name.encode())) % 2**32


def _add(
    native: NativeRun,
    scenario: Scenario,
    spec: QueueSpec,
    device: Device,
    units: tuple[int, ...],
) -> Queue:
    settings = _settings(scenario, spec, device, units)
    commands = spec.workload.commands
    if isinstance(spec.arrivals, Closed):
        closed_loops = sum(isinstance(queue.arrivals, Closed) for queue in scenario.queues)
        return native.add_closed(
            settings,
            commands,
            concurrency=spec.arrivals.concurrency,
            think_ns=spec.arrivals.think_ns,
            most=SAMPLES_MAX // closed_loops,
        )
    arrivals_ns = arrival_times(
        spec.arrivals,
        warmup_ns=scenario.warmup_ns,
        duration_ns=scenario.duration_ns,
        seed=scenario.seed,
        name=spec.name,
    )
    return native.add_open(settings, commands, arrivals_ns)


def _collect(
    scenario: Scenario,
    specs: Sequence[QueueSpec],
    fingerprint: Fingerprint,
    queues: list[Queue],
    effect: str | None,
    alone_ns: tuple[int | None, ...],
) -> Measurement:
    all_counts, all_samples, wrong = [], [], []
    for spec, queue in zip(specs, queues, strict=True):
        counts = queue.counts()
        count = counts.requests_submitted
        if not isinstance(spec.arrivals, Closed):
            count = queue.capacity  # those that were never submitted are in it, too
        all_counts.append(counts)
        all_samples.append(queue.samples(count))
        if scenario.check:
            wrong += _wrong_results(scenario, spec, queue)
    return Measurement(
        fingerprint=fingerprint,
        counts=tuple(all_counts),
        samples=tuple(all_samples),
        wrong_results=tuple(wrong),
        priority_effect=effect,
        alone_ns=alone_ns,
    )


def _wrong_results(scenario: Scenario, spec: QueueSpec, queue: Queue) -> list[str]:
    sentences = []
    # Equal commands share inputs, output and numbers: ask for the last of each.
    for command, index in {c: i for i, c in enumerate(spec.workload.commands)}.items():
        if command.kernel is not None:
            continue  # see _unchecked
        launches, checksum = queue.checksum(index)
        last = queue.output(index, command.items)
        sentence = wrong_results(command, _seed(scenario, spec), launches, checksum, last)
        if sentence:
            sentences.append(f"{spec.name}: {sentence}")
    return sentences

"""Measure a scenario on open devices.

This may happen in a worker process, so the result is plain data; `session.adaptive` makes the `Run`
of a test from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.errors import ScenarioError
from pytest_xsched.models.captured import CapturedModel, CapturedModels
from pytest_xsched.monitoring.environment import Fingerprint, take_fingerprint
from pytest_xsched.monitoring.gpu_monitor import monitor_of
from pytest_xsched.monitoring.mps_clients import MpsClients
from pytest_xsched.monitoring.noise import Readings
from pytest_xsched.monitoring.run_cost import CostReader, RunCost
from pytest_xsched.monitoring.sampler import Sampler
from pytest_xsched.native.binding import SLICE_NS, Device
from pytest_xsched.native.command_record import CommandRecord
from pytest_xsched.native.milestones import Milestones
from pytest_xsched.native.run import Counts, Hints, Queue, QueueSettings
from pytest_xsched.native.run import Run as NativeRun
from pytest_xsched.runner.calibration import Work, calibrate, command_ns
from pytest_xsched.runner.priority_probe import priority_effect
from pytest_xsched.runner.reference import wrong_results
from pytest_xsched.runner.sm_partition import partition
from pytest_xsched.runner.unfinished import Doing, Unfinished
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX, Closed
from pytest_xsched.scenario.arrival_times import arrival_times
from pytest_xsched.scenario.queue_spec import THRESHOLD_MAX, QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.xsched.activation import Activity, with_commands

Progress: TypeAlias = Callable[[int, int], None]
"""Called about twenty times a second with elapsed and total ns of a run; raises to stop the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All results of a run on its devices; a worker process sends one to the session.

    Attributes:
        fingerprint: the environment of the measurement.
        counts: of each queue, in the order of the scenario.
        samples: of each queue, with one row for each request; see `QueueResult`.
        wrong_results: one sentence for each result that differs from numpy.
        priority_effect: see `Evidence`.
        alone_ns: time of a request of each queue alone; None: not known.
        remark: one sentence about the measurement, or "".
        activity: the evidence that XSched was in effect; None under other schedulers.
        mps: which processes were clients of MPS; None under other schedulers.
        cost: what the threads of the scheduler used; None: not measured.
        readings: what other than the device may have delayed requests; None: not measured.
        faults: one sentence for each fault that spoils the whole measurement.
        records: of the commands of each queue; empty: the run kept none.
        milestones: of the requests of each queue; empty: no queue has any.
        failures: of each queue, why requests of the measured window failed, and how often, as its
            program reported; empty: no program of the run reported failures.
        program_files: of queues that are programs, by index: what their processes had mapped.
        output: the end of the output of the worker process, with that of drivers and libraries; ""
            if there was no worker process.
    """

    fingerprint: Fingerprint
    counts: tuple[Counts, ...]
    samples: tuple[NDArray[np.void], ...]
    wrong_results: tuple[str, ...]
    priority_effect: str | None
    alone_ns: tuple[int | None, ...]
    remark: str = ""
    activity: Activity | None = None
    mps: MpsClients | None = None
    cost: RunCost | None = None
    readings: Readings | None = None
    faults: tuple[str, ...] = ()
    records: tuple[CommandRecord, ...] = ()
    milestones: tuple[Milestones, ...] = ()
    failures: tuple[Mapping[str, int], ...] = ()
    program_files: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a scenario that one of several processes runs.

    Attributes:
        queues: indices of its queues in the scenario, ascending.
        turn: makes a context in which only one process is at a time.
        ready: called when the queues exist. It waits for the other processes and returns the time
            at which all begin, in ns of CLOCK_MONOTONIC.
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
    record: bool = True,
    models: CapturedModels | None = None,
    doing: Doing | None = None,
) -> Measurement:
    """Run a scenario on its devices.

    Args:
        devices: open devices, by the names that `devices_of` returns.
        scenario: what to run.
        progress: called with elapsed and total ns of the run.
        activity: of XSched, if the devices use it, without the counts of this run.
        keep: called with the measurement before the run is torn down, because drivers may hang or
            crash in the teardown.
        part: the queues to run here, which are those of the measurement; None: all.
        watch: whether to measure noise of the machine, if time is real.
        record: whether to record each command.
        family: process whose descendants all belong to the run; None: this process.
        models: that this process has captured; None: those of the run are released at its end.
        doing: called with what the run waits for after its end, and with the queues that it
            destroys.

    Raises:
        ScenarioError: the device cannot run the scenario, or there would be too many requests.
        DeviceError: a device call failed, which ended the run.
        ForkedError: a device was opened by the parent of this process.
    """
    with contextlib.ExitStack() as around:
        if models is None:
            models = around.enter_context(contextlib.closing(CapturedModels()))
        return _measure(
            devices,
            scenario,
            progress,
            activity=activity,
            keep=keep,
            part=part,
            watch=watch,
            family=family,
            record=record,
            models=models,
            doing=doing,
        )


def _measure(
    devices: Mapping[str, Device],
    scenario: Scenario,
    progress: Progress | None,
    *,
    activity: Activity | None,
    keep: Callable[[Measurement], None] | None,
    part: Part | None,
    watch: bool,
    family: int | None,
    record: bool,
    models: CapturedModels,
    doing: Doing | None,
) -> Measurement:
    names = devices_of(scenario, None if part is None else part.queues)
    infos = [devices[name].describe() for name in names]
    info = infos[0]
    if scenario.check and not info.computes:
        raise ScenarioError(
            f"check=True: the device {info.kind} computes nothing, so there are no results to "
            "check; leave check out, or use the device cpu or a GPU"
        )
    default = devices[names[0]]
    specs = scenario.queues if part is None else [scenario.queues[i] for i in part.queues]
    effect = _effect(default, scenario, len(specs))
    with contextlib.nullcontext() if part is None else part.turn():
        units = _units(devices, scenario, names)
        captured = models.prepare(devices, scenario, specs, units)
        graphs = {name: model.request for name, model in captured.items()}
        milestones = {
            spec.name: captured[spec.name].milestones
            if spec.name in captured
            else spec.workload.milestones
            for spec in specs
        }
        alone_ns = calibrate(devices, scenario, specs, graphs)
        for model in captured.values():
            model.poison()
    native = NativeRun(default, scenario.policy)
    try:
        queues = [
            _add(
                native,
                scenario,
                spec,
                devices[spec.device or scenario.device],
                units[spec.name],
                graphs.get(spec.name, spec.workload.commands),
                [after for _, after in milestones[spec.name]],
                taken_ns,
                record,
            )
            for spec, taken_ns in zip(specs, alone_ns, strict=True)
        ]
        by_name = {spec.name: queue for spec, queue in zip(specs, queues, strict=True)}
        for spec in specs:
            if spec.after is not None:
                by_name[spec.name].start_after(by_name[spec.after])
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
        reader = _cost_reader(scenario, queues) if not info.virtual_time else None
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
        unfinished = Unfinished(by_name, scenario, doing) if doing is not None else None
        readers = [one for one in (sampler, reader, unfinished) if one is not None]
        _wait(native, scenario, progress, readers)
        fingerprint = dataclasses.replace(
            take_fingerprint(infos),
            models=tuple(model.facts(name) for name, model in captured.items()),
        )
        measurement = _collect(scenario, specs, fingerprint, queues, effect, alone_ns, captured)
        if any(milestones.values()):
            reached = (
                queue.milestones(len(samples), [name for name, _ in milestones[spec.name]])
                for spec, queue, samples in zip(specs, queues, measurement.samples, strict=True)
            )
            measurement = dataclasses.replace(measurement, milestones=tuple(reached))
        if record:
            records = tuple(queue.record() for queue in queues)
            measurement = dataclasses.replace(measurement, records=records)
        if sampler is not None:
            measurement = dataclasses.replace(measurement, readings=sampler.readings())
        if reader is not None:
            measurement = dataclasses.replace(measurement, cost=reader.cost())
        if activity is not None:
            shown = with_commands(activity, by_name)
            measurement = dataclasses.replace(measurement, activity=shown)
        if keep is not None:
            keep(measurement)
        if doing is not None:
            for name, queue in reversed(by_name.items()):  # as native.close() does
                doing(f"it destroyed queue {name!r}", False)
                queue.destroy()
            doing("it closed the run", False)
        return measurement
    finally:
        native.close()  # also after Ctrl-C and time-outs, which interrupt `_wait`


def _cost_reader(scenario: Scenario, queues: Sequence[Queue]) -> CostReader | None:
    """Return what reads the counters of the scheduler's threads; None: there are none here."""
    if scenario.scheduler not in ("builtin", "xsched") or not queues:
        return None
    return CostReader(
        own_threads=scenario.scheduler == "xsched",
        start_ns=scenario.warmup_ns,
        end_ns=scenario.warmup_ns + scenario.duration_ns,
    )


def _wait(
    native: NativeRun,
    scenario: Scenario,
    progress: Progress | None,
    readers: Sequence[Sampler | CostReader | Unfinished],
) -> None:
    total_ns = scenario.warmup_ns + scenario.duration_ns
    while not native.wait():
        for reader in readers:
            reader.poll(native.now_ns())
        if progress is not None:
            progress(min(native.now_ns(), total_ns), total_ns)
    for reader in readers:
        reader.poll(native.now_ns(), last=True)


def _watch(
    native: NativeRun, scenario: Scenario, progress: Progress | None, sampler: Sampler
) -> None:
    """Sample the machine for queues of other processes; a run without queues would end at once."""
    total_ns = scenario.warmup_ns + scenario.duration_ns
    while (now_ns := native.now_ns()) < total_ns:
        sampler.poll(now_ns)
        if progress is not None:
            progress(max(0, now_ns), total_ns)
        time.sleep(SLICE_NS / 1e9)


def devices_of(scenario: Scenario, queues: Sequence[int] | None) -> tuple[str, ...]:
    """Return the names of the devices of some queues (indices; None: all)."""
    if queues is None:
        return scenario.devices
    names = (scenario.queues[i].device or scenario.device for i in queues)
    return tuple(dict.fromkeys(names)) or (scenario.device,)


def _effect(device: Device, scenario: Scenario, here: int) -> str | None:
    """Return `Evidence.priority_effect`; `here` is the number of queues in this process."""
    if not scenario.uses_stream_priorities or len({q.priority for q in scenario.queues}) == 1:
        return None
    # The effect within one process shows nothing about streams of two processes.
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
    """Return the settings of a queue: priorities, threshold, hints, changes.

    Under `builtin` the threshold is that of the spec; else it is as deep as a driver's own ring.
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
    work: Work,
    milestones: Sequence[int],
    alone_ns: int | None,
    record: bool,
) -> Queue:
    settings = _settings(scenario, spec, device, units)
    settings = dataclasses.replace(settings, command_ns=command_ns(work, alone_ns), record=record)
    if isinstance(spec.arrivals, Closed):
        closed_loops = sum(isinstance(queue.arrivals, Closed) for queue in scenario.queues)
        return native.add_closed(
            settings,
            work,
            concurrency=spec.arrivals.concurrency,
            think_ns=spec.arrivals.think_ns,
            most=SAMPLES_MAX // closed_loops,
            milestones=milestones,
        )
    arrivals_ns = arrival_times(
        spec.arrivals,
        warmup_ns=scenario.warmup_ns,
        duration_ns=scenario.duration_ns,
        seed=scenario.seed,
        name=scenario.first_queue_of(spec).name,
    )
    return native.add_open(settings, work, arrivals_ns, milestones)


def _collect(
    scenario: Scenario,
    specs: Sequence[QueueSpec],
    fingerprint: Fingerprint,
    queues: list[Queue],
    effect: str | None,
    alone_ns: tuple[int | None, ...],
    captured: Mapping[str, CapturedModel],
) -> Measurement:
    all_counts, all_samples, wrong = [], [], []
    for spec, queue in zip(specs, queues, strict=True):
        counts = queue.counts()
        count = counts.requests_submitted
        if not isinstance(spec.arrivals, Closed):
            count = queue.capacity  # with the requests that were never submitted
        all_counts.append(counts)
        all_samples.append(queue.samples(count))
        if scenario.check:
            wrong += _wrong_results(scenario, spec, queue)
            if spec.name in captured and (fault := captured[spec.name].wrong_result(counts)):
                wrong.append(f"{spec.name}: after its last request, {fault}")
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
    # Equal commands share inputs, output and checksum, so the last index of each is enough.
    for command, index in {c: i for i, c in enumerate(spec.workload.commands)}.items():
        if command.kernel is not None:
            continue  # see `_unchecked` in session.adaptive
        launches, checksum = queue.checksum(index)
        last = queue.output(index, command.items)
        sentence = wrong_results(command, _seed(scenario, spec), launches, checksum, last)
        if sentence:
            sentences.append(f"{spec.name}: {sentence}")
    return sentences

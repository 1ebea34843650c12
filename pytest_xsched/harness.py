"""From a scenario to a run: make the queues, let time pass, gather what came of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeAlias

from pytest_xsched._binding import Device
from pytest_xsched._running import Queue, Settings
from pytest_xsched._running import Run as NativeRun
from pytest_xsched.arrivals import arrival_times
from pytest_xsched.assertions import MeasuredQueue, Run
from pytest_xsched.checking import wrong_results
from pytest_xsched.errors import ScenarioError
from pytest_xsched.evidence import gather
from pytest_xsched.load import SAMPLES_MAX, Closed
from pytest_xsched.model import THRESHOLD_MAX, QueueSpec, Scenario

Progress: TypeAlias = Callable[[int, int], None]
"""Called a few times a second with elapsed and total ns of the run."""


def run_scenario(device: Device, scenario: Scenario, progress: Progress | None = None) -> Run:
    """Run a scenario on an open device of its kind.

    Raises:
        ScenarioError: the device cannot do what the scenario asks, or it makes too many requests.
        DeviceError: a device call failed; the run was stopped there.
        ForkedError: the device was opened by the parent of this process.
    """
    info = device.describe()
    if scenario.check and not info.computes:
        raise ScenarioError(
            f"check=True: the {info.kind} device computes nothing, so there are no results to check"
        )
    native = NativeRun(device, scenario.policy)
    try:
        queues = [_add(native, scenario, spec) for spec in scenario.queues]
        native.start(
            warmup_ns=scenario.warmup_ns,
            duration_ns=scenario.duration_ns,
            drain_ns=scenario.drain_ns,
        )
        total_ns = scenario.warmup_ns + scenario.duration_ns
        while not native.wait():
            if progress is not None:
                progress(min(native.now_ns(), total_ns), total_ns)
        return _collect(scenario, info.name, queues)
    finally:
        native.close()  # also on Ctrl-C and time-outs, which arrive between two waits


def _settings(scenario: Scenario, spec: QueueSpec) -> Settings:
    """Say what a scheduler is made of: a policy, stream priorities, a threshold.

    Without XQueues a queue is as deep as a driver's own ring; with them, as its spec says.
    """
    builtin = scenario.scheduler == "builtin"
    streams = scenario.scheduler == "priority" or (builtin and scenario.stream_priority)
    return Settings(
        name=spec.name,
        priority=spec.priority,
        stream_priority=spec.priority if streams else 0,
        threshold=spec.threshold if builtin else THRESHOLD_MAX,
        batch_size=spec.batch_size if builtin else THRESHOLD_MAX // 2,
        seed=_seed(scenario, spec),
    )


def _seed(scenario: Scenario, spec: QueueSpec) -> int:
    return (scenario.seed + zlib.crc32(spec.name.encode())) % 2**32


def _add(native: NativeRun, scenario: Scenario, spec: QueueSpec) -> Queue:
    settings, commands = _settings(scenario, spec), spec.workload.commands
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


def _collect(scenario: Scenario, device_name: str, queues: list[Queue]) -> Run:
    window_ns = (scenario.warmup_ns, scenario.warmup_ns + scenario.duration_ns)
    measured, wrong = [], []
    for spec, queue in zip(scenario.queues, queues, strict=True):
        counts = queue.counts()
        count = counts.requests_submitted
        if not isinstance(spec.arrivals, Closed):
            count = queue.capacity  # those that were never submitted are in it, too
        measured.append(
            MeasuredQueue(
                spec=spec, counts=counts, samples=queue.samples(count), window_ns=window_ns
            )
        )
        if scenario.check:
            wrong += _wrong_results(scenario, spec, queue)
    evidence = gather(tuple(measured), tuple(wrong), checked=scenario.check)
    return Run(
        scenario=scenario, device_name=device_name, queues=tuple(measured), evidence=evidence
    )


def _wrong_results(scenario: Scenario, spec: QueueSpec, queue: Queue) -> list[str]:
    sentences = []
    first_of_its_kind = {
        command: index for index, command in reversed(list(enumerate(spec.workload.commands)))
    }
    for command, index in first_of_its_kind.items():
        launches, checksum = queue.checksum(index)
        last = queue.output(index, command.items)
        sentence = wrong_results(command, _seed(scenario, spec), launches, checksum, last)
        if sentence:
            sentences.append(f"{spec.name}: {sentence}")
    return sentences

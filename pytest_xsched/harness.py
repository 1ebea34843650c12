"""From a scenario to a measurement, and from a measurement to a run.

The first half needs an open device and may happen in a worker process; what it gives is data, from
which the second half makes the object that tests ask for figures and verdicts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_xsched._binding import Device
from pytest_xsched._running import Counts, Queue, Settings
from pytest_xsched._running import Run as NativeRun
from pytest_xsched.arrivals import arrival_times
from pytest_xsched.assertions import MeasuredQueue, Run
from pytest_xsched.checking import wrong_results
from pytest_xsched.errors import ScenarioError
from pytest_xsched.evidence import gather
from pytest_xsched.load import SAMPLES_MAX, Closed
from pytest_xsched.model import THRESHOLD_MAX, QueueSpec, Scenario

Progress: TypeAlias = Callable[[int, int], None]
"""Called some twenty times a second with elapsed and total ns of the run; may raise to stop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a device gave for a scenario: everything that has to leave a worker process.

    Attributes:
        device_name: what the device says of itself.
        counts: of each queue, in the scenario's order.
        samples: of each queue, one row a request; see `QueueResult`.
        wrong_results: sentences about results that differ from numpy's.
        remark: about the way it was measured; empty where there is nothing to say.
    """

    device_name: str
    counts: tuple[Counts, ...]
    samples: tuple[NDArray[np.void], ...]
    wrong_results: tuple[str, ...]
    remark: str = ""


def measure(device: Device, scenario: Scenario, progress: Progress | None = None) -> Measurement:
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


def make_run(scenario: Scenario, measurement: Measurement) -> Run:
    """Make the object that tests see: numbers, evidence, targets."""
    window_ns = (scenario.warmup_ns, scenario.warmup_ns + scenario.duration_ns)
    queues = tuple(
        MeasuredQueue(spec=spec, counts=counts, samples=samples, window_ns=window_ns)
        for spec, counts, samples in zip(
            scenario.queues, measurement.counts, measurement.samples, strict=True
        )
    )
    return Run(
        scenario=scenario,
        device_name=measurement.device_name,
        queues=queues,
        evidence=gather(queues, measurement.wrong_results, checked=scenario.check),
        remark=measurement.remark,
    )


def _settings(scenario: Scenario, spec: QueueSpec) -> Settings:
    """Say what a scheduler is made of: a policy, stream priorities, a threshold.

    Without XQueues a queue is as deep as a driver's own ring; with them, as its spec says.
    """
    builtin = scenario.scheduler == "builtin"
    return Settings(
        name=spec.name,
        priority=spec.priority,
        stream_priority=scenario.stream_priority_of(spec),
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


def _collect(scenario: Scenario, device_name: str, queues: list[Queue]) -> Measurement:
    all_counts, all_samples, wrong = [], [], []
    for spec, queue in zip(scenario.queues, queues, strict=True):
        counts = queue.counts()
        count = counts.requests_submitted
        if not isinstance(spec.arrivals, Closed):
            count = queue.capacity  # those that were never submitted are in it, too
        all_counts.append(counts)
        all_samples.append(queue.samples(count))
        if scenario.check:
            wrong += _wrong_results(scenario, spec, queue)
    return Measurement(
        device_name=device_name,
        counts=tuple(all_counts),
        samples=tuple(all_samples),
        wrong_results=tuple(wrong),
    )


def _wrong_results(scenario: Scenario, spec: QueueSpec, queue: Queue) -> list[str]:
    sentences = []
    commands = spec.workload.commands
    for command in dict.fromkeys(commands):  # equal commands share inputs, output and numbers
        index = commands.index(command)
        launches, checksum = queue.checksum(index)
        last = queue.output(index, command.items)
        sentence = wrong_results(command, _seed(scenario, spec), launches, checksum, last)
        if sentence:
            sentences.append(f"{spec.name}: {sentence}")
    return sentences

"""Measure before a run how long the commands of a request take alone on their device.

The runner itself measures this, with its load generator, launches and marks, so that a run is
compared with the same commands without other queues. The calibration bypasses XSched, whose counts
are of the run only. The result may be too short, but never much too long: a calibration on a busy
machine must not count against a run on a quiet one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from pytest_xsched.base.constants import GPUS
from pytest_xsched.base.units import format_duration
from pytest_xsched.errors import DeviceError, ScenarioError
from pytest_xsched.native.binding import Device
from pytest_xsched.native.graph import Graph, GraphRequest
from pytest_xsched.native.run import QueueSettings, Run
from pytest_xsched.scenario.device_models import SimModel
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.workload import Command

WINDOW_NS = 50_000_000
"""Time for each queue. On other devices than GPUs it is at most a tenth of the run; the clocks of a
GPU need the whole time to rise."""
LONGEST_NS = 1_000_000_000
"""A command that spins for longer is not measured."""
TIMES = 5
FEW = 50
"""If fewer requests than these fit into a window, a processor that other programs use measures
TIMES of them: in a single one, each request may have waited for a processor."""
MOST = 100_000
"""Limit of requests in a window; even an empty launch on a GPU takes longer than the time that this
number of requests would leave each."""

Work: TypeAlias = "tuple[Command, ...] | Graph | GraphRequest"
"""The commands of a request, or the graphs whose segments they are."""
_GRAPHS = (Graph, GraphRequest)


class TooFast(Exception):
    """More than MOST requests completed in a window."""


def calibrate(
    devices: Mapping[str, Device],
    scenario: Scenario,
    specs: Sequence[QueueSpec],
    graphs: Mapping[str, GraphRequest] | None = None,
) -> tuple[int | None, ...]:
    """Return the time of a request of each queue alone, in ns; None: not known.

    Args:
        devices: open devices, by name.
        scenario: of the run.
        specs: of the queues.
        graphs: of captured models, by name of the queue; their requests run whole and in order.

    On `sim` the model knows it to the nanosecond.

    Raises:
        DeviceError: a device call failed, or a GPU did no work.
    """
    known: dict[tuple[str, Work], int | None] = {}
    keys = []
    for spec in specs:
        work: Work = (graphs or {}).get(spec.name, spec.workload.commands)
        key = spec.device or scenario.device, work
        keys.append(key)
        if key not in known:
            known[key] = _alone_ns(devices[key[0]], scenario, spec.name, work)
    return tuple(known[key] for key in keys)


def _alone_ns(device: Device, scenario: Scenario, name: str, work: Work) -> int | None:
    commands = () if isinstance(work, _GRAPHS) else work
    if scenario.device_kind == "sim":
        # The run itself refuses kernels, which have no cost there.
        has_kernel = any(command.kernel is not None for command in commands)
        return None if has_kernel else modelled_ns(scenario.sim, commands)
    if any(command.duration_ns > LONGEST_NS for command in commands):
        return None
    is_gpu = scenario.device_kind in GPUS
    window_ns = WINDOW_NS if is_gpu else min(WINDOW_NS, max(1, scenario.duration_ns // 10))
    try:
        only_spins = bool(commands) and all(command.kind == "spin" for command in commands)
        known_ns: list[int] = []
        for _ in range(TIMES):
            ns = measured_ns(device, name, work, window_ns)
            known_ns += [] if ns is None else [ns]
            many_fit = ns is not None and ns * FEW < window_ns
            if many_fit or only_spins or not device.describe().on_host:
                break
        return min(known_ns, default=None)
    except TooFast:
        if not is_gpu:
            return window_ns // MOST
        raise DeviceError(
            f"queue {name!r}: more than {MOST} requests took {format_duration(window_ns)} "
            f"alone on {device.describe().name}, so the GPU did not do their work",
            call="run.start",
        ) from None


def modelled_ns(sim: SimModel, commands: Sequence[Command]) -> int:
    """Return the cost of commands on `sim`, less 1 ns each, because it is rounded twice."""
    return sum(max(0, sim.cost_ns(command) - 1) for command in commands)


def command_ns(work: Work, alone_ns: int | None = None) -> int:
    """Return the time that a command takes alone at most, as far as it is known; 0: it is not.

    Of a graph it is the mean time of its segments.

    Args:
        work: commands of a request.
        alone_ns: time of a request alone, where that was measured.
    """
    if isinstance(work, _GRAPHS):
        return (alone_ns or 0) // max(1, work.segments)
    longest_ns = max((command.duration_ns for command in work), default=0)
    return max(longest_ns, (alone_ns or 0) // max(1, len(work)))


def measured_ns(device: Device, name: str, work: Work, window_ns: int) -> int | None:
    """Run one request after the other for a time; return the fastest, from launch to completion.

    If no request completes, return the time that the first one had. None: none was launched.

    Raises:
        TooFast: more than MOST requests completed.
    """
    run = Run(device.without_xsched(), "none")
    try:
        settings = QueueSettings(
            name=name,
            priority=0,
            stream_priority=0,
            threshold=0,
            batch_size=0,
            command_ns=command_ns(work),
        )
        queue = run.add_closed(settings, work, concurrency=1, think_ns=0, most=MOST)
        begin_ns = time.process_time_ns()
        # Without a drain, so that no further command of a long request is launched at the end.
        run.start(warmup_ns=0, duration_ns=window_ns, drain_ns=0)
        try:
            run.wait_until_over()
        except ScenarioError:
            if queue.counts().requests_submitted < MOST:
                raise
            raise TooFast from None
        worked_ns = time.process_time_ns() - begin_ns
        samples = queue.samples(queue.counts().requests_submitted)
    finally:
        run.close()
    launched = samples[samples["launched_ns"] >= 0]
    if len(launched) == 0:
        return None
    done = launched[launched["completed_ns"] >= 0]
    if len(done) == 0:
        fastest_ns = window_ns - int(launched["launched_ns"][0])
    else:
        fastest_ns = int(np.min(done["completed_ns"] - done["launched_ns"]))
    # If other programs used the processors, the elapsed time shows little. Our process computes or
    # polls whenever it runs, so a request takes at most its part of our processor time.
    known_ns = [fastest_ns, worked_ns // max(1, len(done))]
    commands = () if isinstance(work, _GRAPHS) else work
    # If other programs used all processors.
    if commands and all(command.kind == "spin" for command in commands):
        known_ns.append(sum(command.duration_ns for command in commands))
    return max(0, min(known_ns))

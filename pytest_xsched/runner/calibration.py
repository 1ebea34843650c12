"""How long the commands of a request take alone on their device, measured before a run.

By the runner itself, with its load generator, launches and marks, so that the run is held against
nothing but the same commands without company; and below XSched, whose counts are of the run alone.
What is measured may be too short, never much too long: on a busy machine it must not speak against
a run that was made on a quiet one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from pytest_xsched.base.constants import GPUS
from pytest_xsched.base.units import format_duration
from pytest_xsched.errors import DeviceError, ScenarioError
from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import QueueSettings, Run
from pytest_xsched.scenario.device_models import SimModel
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.workload import Command

WINDOW_NS = 50_000_000
"""For each queue; elsewhere than on a GPU, whose clocks have to wake up, a tenth of the run at
most."""
LONGEST_NS = 1_000_000_000
"""A command that is to spin for longer is not tried."""
MOST = 100_000
"""Requests in a window; not even a launch on a GPU takes as little as that would be each."""


class TooFast(Exception):
    """More than MOST requests were done in a window."""


def calibrate(
    devices: Mapping[str, Device], scenario: Scenario, specs: Sequence[QueueSpec]
) -> tuple[int | None, ...]:
    """Return what a request of each queue takes alone, in ns; None: not known.

    On `sim` it is what the model says, to the nanosecond.

    Raises:
        DeviceError: a device call failed, or a GPU does no work.
    """
    known: dict[tuple[str, tuple[Command, ...]], int | None] = {}
    for spec in specs:
        key = spec.device or scenario.device, spec.workload.commands
        if key not in known:
            known[key] = _alone_ns(devices[key[0]], scenario, spec)
    return tuple(known[spec.device or scenario.device, spec.workload.commands] for spec in specs)


def _alone_ns(device: Device, scenario: Scenario, spec: QueueSpec) -> int | None:
    commands = spec.workload.commands
    if scenario.device_kind == "sim":
        # The run itself refuses kernels, which have no cost there.
        has_kernel = any(command.kernel is not None for command in commands)
        return None if has_kernel else modelled_ns(scenario.sim, commands)
    if any(command.duration_ns > LONGEST_NS for command in commands):
        return None
    is_gpu = scenario.device_kind in GPUS
    window_ns = WINDOW_NS if is_gpu else min(WINDOW_NS, max(1, scenario.duration_ns // 10))
    try:
        return measured_ns(device, spec.name, commands, window_ns)
    except TooFast:
        if not is_gpu:
            return window_ns // MOST
        raise DeviceError(
            f"queue {spec.name!r}: more than {MOST} requests took {format_duration(window_ns)} "
            f"alone on {device.describe().name}: their work was not done",
            call="run.start",
        ) from None


def modelled_ns(sim: SimModel, commands: Sequence[Command]) -> int:
    """Add up what commands cost on `sim`, less 1 ns each for the rounding, which is done twice."""
    return sum(max(0, sim.cost_ns(command) - 1) for command in commands)


def measured_ns(
    device: Device, name: str, commands: Sequence[Command], window_ns: int
) -> int | None:
    """Let requests follow one another for a time; give the fastest, from launch to completion.

    Where none completes, it takes longer than the time it had. None: none was even launched.

    Raises:
        TooFast: there was no room for all of them.
    """
    run = Run(device.without_xsched(), "none")
    try:
        settings = QueueSettings(
            name=name, priority=0, stream_priority=0, threshold=0, batch_size=0
        )
        queue = run.add_closed(settings, commands, concurrency=1, think_ns=0, most=MOST)
        begin_ns = time.process_time_ns()
        # Without a drain: of a long request no further command is launched when time is up.
        run.start(warmup_ns=0, duration_ns=window_ns, drain_ns=0)
        try:
            while not run.wait():
                pass
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
    # Where others had the processors, the time that went by says little. Ours computes, or polls,
    # all the time that it gets: a request takes no more of that than its part.
    known_ns = [fastest_ns, worked_ns // max(1, len(done))]
    if all(command.kind == "spin" for command in commands):  # where nobody had time for us at all
        known_ns.append(sum(command.duration_ns for command in commands))
    return max(0, min(known_ns))

"""Measure whether the stream priorities of a device have an effect.

Drivers accept a priority and report it, whether or not their hardware queues differ. So two queues
that never run out of work fill the device, and the probe counts the completions of each. Their
commands are many waves of blocks: a running block is not stopped, so a command of one wave loses
the device to the other queue after each command, whatever its priority.
"""

from __future__ import annotations

import numpy as np

from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import Queue, QueueSettings, Run
from pytest_xsched.scenario.queue_spec import PRIORITY_MAX, PRIORITY_MIN, THRESHOLD_MAX
from pytest_xsched.scenario.workload import spin

_WARMUP_NS, _WINDOW_NS, _DRAIN_NS = 20_000_000, 100_000_000, 10_000_000_000
_WORK = spin("1ms", waves=32)
_CLIENTS = 8
_TRIES = 3
"""Experiments at most: other load on the host may keep one of the queues empty for a while, and its
share is too small then. It seldom does so twice."""


def priority_effect(device: Device) -> str:
    """Measure whether streams of higher priority are served first.

    Returns:
        ``"yes"``: the stream of higher priority got at least two thirds of the device, both when it
        was made first and when it was made second; ``"no"``: it got less than 0.6 both times; else
        ``"unknown"``, after three experiments.
    """
    known = device.describe().honours_priority
    if known is not None:
        return "yes" if known else "no"
    for _ in range(_TRIES):
        effect = judge([_share_of_high(device, order) for order in ((1, -1), (-1, 1))])
        if effect != "unknown":
            break
    return effect


def judge(shares: list[float]) -> str:
    """Return the answer for the shares of the higher queue; NaN: nothing completed."""
    if all(share >= 2 / 3 for share in shares):
        return "yes"
    return "no" if all(share < 0.6 for share in shares) else "unknown"


def _share_of_high(device: Device, order: tuple[int, int]) -> float:
    run = Run(device, "none")
    try:
        queues = {sign: _add(run, sign) for sign in order}
        run.start(warmup_ns=_WARMUP_NS, duration_ns=_WINDOW_NS, drain_ns=_DRAIN_NS)
        run.wait_until_over()
        done = {}
        for sign, queue in queues.items():
            completed = queue.samples(queue.counts().requests_submitted)["completed_ns"]
            inside = (completed >= _WARMUP_NS) & (completed < _WARMUP_NS + _WINDOW_NS)
            done[sign] = np.count_nonzero(inside)
        return float(np.float64(done[1]) / (done[1] + done[-1])) if sum(done.values()) else np.nan
    finally:
        run.close()


def _add(run: Run, sign: int) -> Queue:
    return run.add_closed(
        QueueSettings(
            name="high" if sign > 0 else "low",
            priority=0,
            stream_priority=PRIORITY_MAX if sign > 0 else PRIORITY_MIN,
            threshold=THRESHOLD_MAX,
            batch_size=1,
        ),
        _WORK.commands,
        concurrency=_CLIENTS,
        think_ns=0,
        most=100_000,
    )

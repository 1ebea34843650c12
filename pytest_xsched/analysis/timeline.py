"""The timeline of a run as plain data: its requests and commands on record, suspensions, noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.trace import TracedWindow, within, worth_keeping
from pytest_xsched.native.command_record import CommandRecord
from pytest_xsched.scenario.workload import command_label

if TYPE_CHECKING:
    from pytest_xsched.analysis.queue_result import QueueResult
    from pytest_xsched.analysis.run import Run
    from pytest_xsched.monitoring.noise import Noise

MOST_COMMANDS = 100_000
"""If a window has more commands on record, those in its first second and around the worst requests
are in the timeline."""


def timeline(run: Run) -> dict[str, Any]:
    """Return the timeline of a run in JSON's types. Times are ns since the start of the run.

    A run without a record of commands has its requests all the same.
    """
    scenario = run.scenario
    noise = run.evidence.noise
    kept = [_kept(run, window) for window in run.trace.windows]
    launched = sum(sum(window.launched.values()) for window in run.trace.windows)
    drawn = sum(len(one.commands) for records in kept for one in records.values())
    return {
        "origin": run.origin,
        "scheduler": scenario.scheduler,
        "policy": scenario.policy,
        "device": scenario.device,
        "seed": scenario.seed,
        "windows": [list(span) for span in next(iter(run.queues.values())).windows_ns],
        "noisy": [list(span) for span in next(iter(run.queues.values())).noisy_ns],
        "noise": "" if noise is None else noise.cause,
        "clock": "" if noise is None or noise.gpu is None else str(noise.gpu),
        "held_down": [] if noise is None else _held_down(noise),
        "left_out": launched - drawn,
        "queues": [_queue(run, queue, kept) for queue in run.queues.values()],
    }


def _held_down(noise: Noise) -> list[list[int]]:
    """Return the blocks of time in which something held down the clock of a GPU."""
    return [
        [start, min(start + window.readings.block_ns, window.end_ns)]
        for window in noise.windows
        for i, held in enumerate(window.readings.slowdown)
        if held
        for start in [window.start_ns + i * window.readings.block_ns]
    ]


def _kept(run: Run, window: TracedWindow) -> dict[str, CommandRecord]:
    """Return the records of a window, fewer where there are too many commands."""
    records = dict(window.records)
    if sum(len(one.commands) for one in records.values()) <= MOST_COMMANDS:
        return records
    samples = [_samples(run.queues[name], run, window) for name in records]
    spans = worth_keeping(samples, (window.start_ns, window.end_ns))
    return {name: within(one, spans) for name, one in records.items()}


def _samples(queue: QueueResult, run: Run, window: TracedWindow) -> NDArray[np.void]:
    """Return the samples of a queue in a window."""
    at = run.trace.windows.index(window)
    later = run.trace.windows[at + 1 :]
    end = later[0].first[queue.name] if later else len(queue.samples)
    samples: NDArray[np.void] = queue.samples[window.first[queue.name] : end]
    return samples


def _milestones(queue: QueueResult, drawn: NDArray[np.bool_]) -> list[list[Any]]:
    """Return request, name and time of the milestones of some requests, in order of time.

    Where there are too many, only the first ones are drawn.
    """
    milestones = queue.milestones
    chosen = np.flatnonzero(drawn[milestones.request])
    chosen = chosen[np.argsort(milestones.at_ns[chosen], kind="stable")][:MOST_COMMANDS]
    columns = (milestones.request, milestones.name, milestones.at_ns)
    rows = zip(*(column[chosen].tolist() for column in columns), strict=True)
    return [[request, milestones.names[name], at_ns] for request, name, at_ns in rows]


def _queue(run: Run, queue: QueueResult, kept: list[dict[str, CommandRecord]]) -> dict[str, Any]:
    numbers, rows, changes = [], [], []
    for window, records in zip(run.trace.windows, kept, strict=True):
        record, first = records[queue.name], window.first[queue.name]
        commands = record.commands
        numbers.append(commands["request"] + first)
        rows += [[request + first, *rest] for request, *rest in commands.tolist()]
        changes += record.suspensions.tolist()
    drawn = np.ones(len(queue.samples), np.bool_)
    if numbers and rows:
        drawn[:] = queue.samples["launched_ns"] < 0  # it waited for its launch
        drawn[np.concatenate(numbers)] = True
    indices = np.flatnonzero(drawn)
    return {
        "name": queue.name,
        "priority": queue.spec.priority,
        "labels": [
            command_label(queue.workload, index)
            for index in range(max((row[1] for row in rows), default=-1) + 1)
        ],
        "requests": [
            [int(index), *list(sample)[:4]]
            for index, sample in zip(indices, queue.samples[indices].tolist(), strict=True)
        ],
        "milestones": _milestones(queue, drawn),
        "commands": rows,
        "suspensions": [list(change) for change in changes],
    }

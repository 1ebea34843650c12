"""One measurement of what the processes of a window measured, each some of its queues."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.monitoring.environment import DeviceFacts, Fingerprint, MappedLibrary
from pytest_xsched.monitoring.noise import unite_readings
from pytest_xsched.monitoring.run_cost import unite_costs
from pytest_xsched.native.command_record import CommandRecord, no_record
from pytest_xsched.native.milestones import Milestones, no_milestones
from pytest_xsched.native.run import Counts
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.workers.program_samples import ProgramResult
from pytest_xsched.xsched.activation import merge_activities


class _QueuePart(NamedTuple):
    counts: Counts
    samples: NDArray[np.void]
    alone_ns: int | None
    record: CommandRecord
    milestones: Milestones
    failures: Mapping[str, int]


def unite(parts: Sequence[tuple[Sequence[int], Measurement | ProgramResult]]) -> Measurement:
    """Return one measurement of the results of all processes, each for the queues of its group."""
    measured = [part for _, part in parts if isinstance(part, Measurement)]
    by_queue: dict[int, _QueuePart] = {}
    for indices, part in parts:
        if isinstance(part, ProgramResult):
            by_queue[indices[0]] = _QueuePart(
                part.counts, part.samples, None, no_record(), part.milestones, part.failures
            )
        else:
            count = len(part.counts)
            theirs = zip(
                part.counts,
                part.samples,
                part.alone_ns,
                part.records or (no_record(),) * count,
                part.milestones or (no_milestones(),) * count,
                part.failures or ({},) * count,
                strict=True,
            )
            by_queue |= dict(zip(indices, itertools.starmap(_QueuePart, theirs), strict=True))
    in_order = [by_queue[index] for index in sorted(by_queue)]
    return dataclasses.replace(
        measured[0],
        fingerprint=_unite_fingerprints(
            [part.fingerprint for part in measured],
            {
                library.path: library
                for _, part in parts
                if isinstance(part, ProgramResult)
                for library in part.libraries
            },
        ),
        counts=tuple(one.counts for one in in_order),
        samples=tuple(one.samples for one in in_order),
        alone_ns=tuple(one.alone_ns for one in in_order),
        records=tuple(one.record for one in in_order),
        milestones=tuple(one.milestones for one in in_order),
        failures=tuple(one.failures for one in in_order),
        wrong_results=tuple(sentence for part in measured for sentence in part.wrong_results),
        activity=merge_activities([part.activity for part in measured if part.activity]),
        cost=unite_costs([part.cost for part in measured if part.cost]),
        readings=unite_readings([part.readings for part in measured if part.readings]),
        remark="; ".join(part.remark for _, part in parts if part.remark),
        program_files={
            index: part.files
            for indices, part in parts
            for index in indices
            if isinstance(part, ProgramResult)
        },
        output="".join(part.output for _, part in parts),
    )


def _unite_fingerprints(
    parts: Sequence[Fingerprint], libraries: Mapping[str, MappedLibrary]
) -> Fingerprint:
    """Return one fingerprint; host and settings are those of the first, which all inherited."""
    devices: dict[tuple[str, int], DeviceFacts] = {}
    for device in (device for part in parts for device in part.devices):
        devices.setdefault((device.kind, device.index), device)
    by_path = {library.path: library for part in parts for library in part.libraries}
    return dataclasses.replace(
        parts[0],
        devices=tuple(devices.values()),
        libraries=tuple(library for _, library in sorted({**libraries, **by_path}.items())),
        models=tuple(model for part in parts for model in part.models),
    )

"""A measurement as JSON and arrays, and back: for files of a worker, and for another machine."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.monitoring.environment import Fingerprint
from pytest_xsched.monitoring.mps_clients import MpsClients
from pytest_xsched.monitoring.noise import Readings
from pytest_xsched.monitoring.run_cost import RunCost
from pytest_xsched.native.command_record import CommandRecord
from pytest_xsched.native.milestones import Milestones
from pytest_xsched.native.run import Counts
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.xsched.activation import Activity

ARRAYS = ("samples", "records", "milestones")
"""The groups of arrays of a measurement."""


def to_plain(measurement: Measurement) -> dict[str, Any]:
    """Return what a measurement has apart from arrays, in JSON's types."""
    return {
        "fingerprint": measurement.fingerprint.to_dict(),
        "counts": [dataclasses.asdict(counts) for counts in measurement.counts],
        "wrong_results": list(measurement.wrong_results),
        "priority_effect": measurement.priority_effect,
        "alone_ns": list(measurement.alone_ns),
        "activity": measurement.activity and measurement.activity.to_dict(),
        "mps": measurement.mps and measurement.mps.to_dict(),
        "cost": measurement.cost and measurement.cost.to_dict(),
        "readings": measurement.readings and measurement.readings.to_dict(),
        "remark": measurement.remark,
        "faults": list(measurement.faults),
        "failures": [dict(failures) for failures in measurement.failures],
        "program_files": [[i, list(files)] for i, files in measurement.program_files.items()],
        "output": measurement.output,
        "milestones": [list(one.names) for one in measurement.milestones],
    }


def to_arrays(measurement: Measurement) -> dict[str, list[NDArray[Any]]]:
    """Return the arrays of a measurement, by the names of `ARRAYS`."""
    return {
        "samples": list(measurement.samples),
        "records": [array for one in measurement.records for array in one.to_arrays()],
        "milestones": [array for one in measurement.milestones for array in one.to_arrays()],
    }


def from_plain(
    data: Mapping[str, Any], arrays: Mapping[str, Sequence[NDArray[Any]]]
) -> Measurement:
    """Return the measurement that the other functions have turned into data and arrays."""
    records, moments = arrays["records"], arrays["milestones"]
    return Measurement(
        fingerprint=Fingerprint.from_dict(data["fingerprint"]),
        counts=tuple(Counts(**counts) for counts in data["counts"]),
        samples=tuple(arrays["samples"]),
        wrong_results=tuple(data["wrong_results"]),
        priority_effect=data["priority_effect"],
        alone_ns=tuple(data["alone_ns"]),
        activity=data["activity"] and Activity.from_dict(data["activity"]),
        mps=data["mps"] and MpsClients.from_dict(data["mps"]),
        cost=data["cost"] and RunCost.from_dict(data["cost"]),
        readings=data["readings"] and Readings.from_dict(data["readings"]),
        remark=data["remark"],
        faults=tuple(data["faults"]),
        failures=tuple(data["failures"]),
        program_files={index: tuple(files) for index, files in data["program_files"]},
        output=data["output"],
        records=tuple(
            CommandRecord.from_arrays(records[at : at + 3]) for at in range(0, len(records), 3)
        ),
        milestones=tuple(
            Milestones.from_arrays(names, moments[3 * i : 3 * i + 3])
            for i, names in enumerate(data["milestones"])
        ),
    )


def read_arrays(file: BinaryIO | str) -> list[NDArray[Any]]:
    """Read the arrays of a file that `numpy.savez` wrote, in their order."""
    with np.load(file, allow_pickle=False) as arrays:
        return [arrays[name] for name in arrays.files]


def pack(arrays: Sequence[NDArray[Any]]) -> bytes:
    """Return arrays as bytes."""
    file = io.BytesIO()
    np.savez(file, *arrays)
    return file.getvalue()


def unpack(packed: bytes) -> list[NDArray[Any]]:
    """Return the arrays that `pack` has packed."""
    return read_arrays(io.BytesIO(packed))

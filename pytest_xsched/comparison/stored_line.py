"""A line of a baseline: how it is made from a run, and what is wrong with one that was read.

A line may come from anywhere: its figures are computed again from the samples that it names, and
its content is held against its checksum. Whatever is in a line, it costs no other line.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.comparability import Record, likeness
from pytest_xsched.analysis.queue_result import QueueResult, percentile_name
from pytest_xsched.analysis.run import Run
from pytest_xsched.native.binding import SAMPLE
from pytest_xsched.native.run import Counts
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stats.estimators import requests_needed

FORMAT = 2
"""Of a line; 2 has its checksum, and what the figures are computed from."""
FIGURES = (
    *("n", "censored", "masked", "throughput_hz", "offered_hz"),
    *("p50_ns", "p95_ns", "p99_ns", "max_ns"),
)
"""What is computed again from the samples."""
_DEPTH_MAX = 64
_INTEGER_MAX = 2**63
_NO_COUNTS = Counts(
    submitted=0,
    launched=0,
    completed=0,
    failed=0,
    requests_submitted=0,
    requests_completed=0,
    suspended=0,
    most_in_flight=0,
    priority=0,
    state="idle",
)


class FaultyLine(ValueError):
    """A line, or its samples, cannot be used; the text says why, as a predicate."""


def pack_samples(run: Run) -> bytes:
    """Return the samples of a run as the content of an .npz file."""
    data = io.BytesIO()
    np.savez_compressed(data, **{name: run[name].samples for name in run})  # type: ignore[arg-type]
    return data.getvalue()


def make_line(run: Run, *, key: str, time: str, commit: Record, packed: bytes) -> bytes:
    """Return a run as a line, with its end.

    Args:
        run: whose evidence is complete.
        key: its id.
        time: at which it is stored.
        commit: of the tests.
        packed: what `pack_samples` returned.
    """
    entry = {
        "format": FORMAT,
        "id": key,
        "time": time,
        "commit": commit,
        "samples": {"bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest()},
        "windows": {
            name: {
                "windows_ns": [[int(t) for t in window] for window in run[name].windows_ns],
                "noisy_ns": [[int(t) for t in span] for span in run[name].noisy_ns],
                "masks": bool(run[name].masks),
            }
            for name in run
        },
        "run": run.to_dict(),
    }
    return json.dumps(sealed(entry), allow_nan=False).encode() + b"\n"


def sealed(entry: Record) -> Record:
    """Return an entry with the checksum of all that it has."""
    rest = {key: value for key, value in entry.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return rest | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def parse_line(line: bytes) -> Record:
    """Return the entry of a line, whose samples are not read yet.

    Raises:
        FaultyLine: the line is not what `make_line` makes, but for its checksum.
    """
    try:
        entry = json.loads(line, parse_constant=_refuse_constant)
        _check_values(entry)
        if entry["format"] != FORMAT:
            raise FaultyLine(f"has format {entry['format']!r}, not {FORMAT}")
        run, key = entry["run"], entry["id"]
        likeness(run, scheduler=True)  # has it what a comparison needs?
        names = [queue["name"] for queue in run["queues"]]
        if names != [queue["name"] for queue in run["scenario"]["queues"]]:
            raise FaultyLine(f"has figures of the queues {names}, which are not its scenario's")
        for queue in run["queues"]:
            _check_faults(run, queue["name"])
            no_figure(run, queue)
    except FaultyLine:
        raise
    except Exception as error:  # of any kind, as anything may be in the file
        raise FaultyLine(f"cannot be read ({type(error).__name__})") from None
    if not isinstance(key, str) or not key or os.path.basename(key) != key:
        raise FaultyLine(f"has the id {key!r}")
    return entry  # type: ignore[no-any-return]


def check_samples(entry: Record, packed: bytes) -> None:
    """Hold an entry against the samples that it names, and against its own checksum.

    Raises:
        FaultyLine: they are not those of the line, its figures are not theirs, or the line was
            changed.
    """
    try:
        if hashlib.sha256(packed).hexdigest() != entry["samples"]["sha256"]:
            raise FaultyLine(
                f"has damaged samples: {len(packed)} bytes, whose checksum is not that of the "
                f"{entry['samples']['bytes']} bytes that were stored"
            )
        scenario = Scenario.from_dict(entry["run"]["scenario"])
        with np.load(io.BytesIO(packed), allow_pickle=False) as file:
            for spec, queue in zip(scenario.queues, entry["run"]["queues"], strict=True):
                found = figures(spec, file[spec.name], entry["windows"][spec.name], queue)
                _compare_figures(spec.name, queue, found)
        if sealed(entry)["sha256"] != entry["sha256"]:
            raise FaultyLine("was changed after it was stored: its checksum is another")
    except FaultyLine:
        raise
    except Exception as error:  # of any kind, as anything may be in the file
        raise FaultyLine(f"has samples that cannot be used ({type(error).__name__})") from None


def no_figure(run: Record, queue: Record, q: float = 0.99) -> str:
    """Describe why a queue of a run has no P99, or no throughput; '' where it has one.

    Args:
        run: its record.
        queue: one of it.
        q: another percentile than P99.
    """
    evidence = run["evidence"]
    faults = [*evidence["faults"], *evidence["queue_faults"][queue["name"]]]
    needed = requests_needed(q)
    if queue["offered_hz"] is not None and queue["n"] < needed:
        faults.append(f"a {percentile_name(q)} needs {needed} requests, not {queue['n']}")
    return "; ".join(faults)


def figures(spec: Any, samples: NDArray[np.void], windows: Record, queue: Record) -> Record:
    """Compute the figures of a queue as `QueueResult` does for a run that was just made."""
    if samples.dtype != SAMPLE:
        raise FaultyLine(f"has samples of {spec.name} with other fields: {samples.dtype}")
    spans = tuple((int(start), int(end)) for start, end in windows["windows_ns"])
    noisy = tuple((int(start), int(end)) for start, end in windows["noisy_ns"])
    masks = windows["masks"]
    result = QueueResult(
        spec=spec,
        counts=_NO_COUNTS,
        samples=samples,
        window_ns=spans[0],
        noisy_ns=noisy,
        masks=masks is True,
    )
    result.windows_ns = list(spans)
    result.saturated = queue["saturated"] is True
    return {key: value for key, value in result.to_dict().items() if key in FIGURES}


def _compare_figures(name: str, queue: Record, found: Record) -> None:
    for key in FIGURES:
        if type(queue[key]) is not type(found[key]) or queue[key] != found[key]:
            raise FaultyLine(
                f"has figures that are not those of its samples: {key} of {name} is "
                f"{queue[key]!r} in the line, {found[key]!r} by the samples"
            )


def _check_faults(run: Record, name: str) -> None:
    evidence = run["evidence"]
    for faults in (evidence["faults"], evidence["queue_faults"][name]):
        if not isinstance(faults, list) or not all(
            isinstance(fault, str) and fault.isprintable() for fault in faults
        ):
            raise FaultyLine("has faults that are no list of printable texts")


def _check_values(value: Any) -> None:
    """Refuse values that JSON can have and no run has: they would break what is done with them."""
    values = [(value, 0)]
    while values:
        one, depth = values.pop()
        if depth > _DEPTH_MAX:
            raise FaultyLine(f"has more than {_DEPTH_MAX} levels of nesting")
        if isinstance(one, dict):
            values += [(key, depth + 1) for key in one]
            values += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            values += [(inner, depth + 1) for inner in one]
        elif isinstance(one, str):
            one.encode()  # UnicodeEncodeError where it has half a character
        elif isinstance(one, float) and not math.isfinite(one):
            raise FaultyLine("has a number that is not finite")
        elif isinstance(one, int) and abs(one) >= _INTEGER_MAX:
            raise FaultyLine("has a number of more than 63 bits")


def _refuse_constant(text: str) -> NoReturn:
    raise FaultyLine(f"has {text}, which is no number of a run")

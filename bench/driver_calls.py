"""The calls of the driver that one thread makes for its requests, for `gpu_runner.py --calls`.

`native/driver_calls.c` writes them. A request is its launches, its mark, and the polls until one
finds the mark passed.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CALLS = (
    *("cuGraphLaunch", "cuLaunchKernel", "cuEventRecord", "cuEventQuery", "cuStreamQuery"),
    *("cuStreamSynchronize", "cuCtxSetCurrent", "cuMemsetD8Async", "cuMemcpyDtoH_v2"),
)
"""By the numbers that `driver_calls.c` gives them."""
LAUNCHES, MARK, POLL = {0, 1}, 2, 3
ENTRY = np.dtype(
    [
        *((name, np.int64) for name in ("begin", "end", "inside", "device")),
        *((name, np.int32) for name in ("number", "thread", "times", "result")),
    ]
)
TIMES = (
    "due to launch call",
    "in the launch call",
    "to the mark call",
    "in the mark call",
    "to the first poll",
    "first poll until noticed",
    "noticed to its stamp",
    "of that: a poll",
    "of that: between two polls",
    "on the device",
)
"""What `Process.times_ns` has, in order; the first seven add up to the latency."""


@dataclass(frozen=True, slots=True)
class Request:
    """The calls for one request, with times of CLOCK_MONOTONIC in ns."""

    launch: int
    launched: int
    mark: int
    marked: int
    poll: int
    noticed: int
    in_polls: int
    polls: int
    device: int
    calls: tuple[tuple[str, int], ...]
    """Names of all calls but the polls, with their number, in order of the first of each."""
    alone: bool
    """Whether no other request was launched before its end."""


@dataclass(frozen=True, slots=True)
class Process:
    """What one process did."""

    times_ns: NDArray[np.int64]
    """ns[requests that were alone, len(TIMES)]; -1 where not measured."""
    polls: float
    sequences: Counter[tuple[tuple[str, int], ...]]
    threads: int
    """Threads that made such a call between the first launch and the last poll."""
    epoch_error_ns: int
    """The start of the run is known within this, before and after."""


@contextlib.contextmanager
def recorded(directory: str, *, device: bool) -> Iterator[None]:
    """Let processes that start in the block write their calls to files in `directory`.

    `device`: with the time of each launch on the device, at the price of two more events.
    """
    more = {"DRIVER_CALLS": f"{directory}/calls", "DRIVER_CALLS_DEVICE": str(int(device))}
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def read(directory: str) -> NDArray[np.void]:
    """Return the entries of the process in which most polls found their mark passed."""
    found = [np.fromfile(path, ENTRY) for path in sorted(Path(directory).glob("calls.*"))]
    if not found:
        raise SystemExit("no process wrote its calls: the driver that forwards was not loaded")
    entries = max(found, key=lambda one: np.count_nonzero(_passed(one)))
    if entries[-1]["times"] > 0:
        raise SystemExit("the file of calls is full: choose a shorter --duration")
    return entries[entries["times"] > 0]


def _passed(entries: NDArray[np.void]) -> NDArray[np.bool_]:
    polls = (entries["number"] == POLL) & (entries["result"] == 0) & (entries["times"] > 0)
    return np.asarray(polls, np.bool_)


def requests_of(entries: NDArray[np.void]) -> tuple[list[Request], int]:
    """Return the requests of the thread that noticed the last end, and how many threads made calls.

    The threads before it did what comes before a run, as the time of a request alone.

    Marks are passed in order, so a poll that finds one passed ends the oldest request. What was
    called since the mark before belongs to the newest request.
    """
    mine = entries[entries["thread"] == entries["thread"][_passed(entries)][-1]]
    requests: list[Request] = []
    marked: list[list[np.void]] = []
    newest: list[np.void] = []
    overlaps = False
    for entry in mine:
        if entry["number"] != POLL:
            newest.append(entry)
            if entry["number"] == MARK and any(one["number"] in LAUNCHES for one in newest):
                marked.append(newest)
                newest = []
                overlaps |= len(marked) > 1
        elif marked:
            marked[0].append(entry)
            if entry["result"] == 0:
                requests.append(_request(marked.pop(0), not overlaps))
                overlaps = bool(marked or newest)
    begin, end = requests[0].launch, requests[-1].noticed
    during = (entries["begin"] >= begin) & (entries["end"] <= end)
    return requests, len(np.unique(entries["thread"][during]))


def _request(calls: Sequence[np.void], alone: bool) -> Request:
    launches = [one for one in calls if one["number"] in LAUNCHES]
    marks = [one for one in calls if one["number"] == MARK]
    polls = [one for one in calls if one["number"] == POLL]
    names: Counter[str] = Counter()
    for one in calls:
        if one["number"] != POLL:
            names[CALLS[one["number"]]] += int(one["times"])
    on_device = [int(one["device"]) for one in launches]
    return Request(
        launch=int(launches[0]["begin"]),
        launched=int(launches[-1]["end"]),
        mark=int(marks[-1]["begin"]),
        marked=int(marks[-1]["end"]),
        poll=int(polls[0]["begin"]),
        noticed=int(polls[-1]["end"]),
        in_polls=sum(int(one["inside"]) for one in polls),
        polls=sum(int(one["times"]) for one in polls),
        device=sum(on_device) if min(on_device) >= 0 else -1,
        calls=tuple(names.items()),
        alone=alone,
    )


def process_of(
    requests: Sequence[Request],
    threads: int,
    due_ns: NDArray[np.int64],
    stamp_ns: NDArray[np.int64],
    epoch_error_ns: int = 0,
) -> Process:
    """Join requests with their scheduled starts and with the times that their samples got."""
    rows = [
        (
            one.launch - due,
            one.launched - one.launch,
            one.mark - one.launched,
            one.marked - one.mark,
            one.poll - one.marked,
            one.noticed - one.poll,
            stamp - one.noticed,
            one.in_polls // one.polls,
            (one.noticed - one.poll - one.in_polls) // max(one.polls - 1, 1),
            one.device,
        )
        for one, due, stamp in zip(requests, due_ns.tolist(), stamp_ns.tolist(), strict=True)
        if one.alone
    ]
    return Process(
        times_ns=np.array(rows, np.int64).reshape(-1, len(TIMES)),
        polls=_median([one.polls for one in requests if one.alone]),
        sequences=Counter(one.calls for one in requests),
        threads=threads,
        epoch_error_ns=epoch_error_ns,
    )


def _median(values: Sequence[float] | NDArray[np.int64]) -> float:
    return float(np.median(values)) if len(values) else math.nan


def of_loop(entries: NDArray[np.void], rows: NDArray[np.int64]) -> Process:
    """Return what `loop.c` did, with the starts and latencies that it printed."""
    requests, threads = requests_of(entries)
    return process_of(requests[-len(rows) :], threads, rows[:, 0], rows[:, 0] + rows[:, 1])


def of_runner(entries: NDArray[np.void], samples: NDArray[np.void]) -> Process:
    """Return what the thread of a queue did, with all `samples` of its only run.

    Samples count from the start of the run. That was before each launch call by at least what the
    sample of its request has for the launch, and after each poll that noticed an end by at most
    what it has for the end.
    """
    requests, threads = requests_of(entries)
    samples = samples[samples["completed_ns"] >= 0][: len(requests)]
    requests = requests[: len(samples)]
    noticed = np.array([one.noticed for one in requests])
    launches = np.array([one.launch for one in requests])
    least = int((noticed - samples["completed_ns"]).max())
    most = int((launches - samples["launched_ns"]).min())
    if least > most:
        raise SystemExit("the calls of the runner do not belong to the samples of its run")
    epoch = (least + most) // 2
    return process_of(
        requests,
        threads,
        samples["scheduled_ns"] + epoch,
        samples["completed_ns"] + epoch,
        (most - least + 1) // 2,
    )


def rows_of(arms: dict[str, list[Process]], names: Sequence[str]) -> list[list[str]]:
    """Return a row for each of TIMES that is among `names`: medians of the processes, in us."""
    rows = []
    for name in names:
        at = TIMES.index(name)
        medians = {
            arm: _median([_median(one.times_ns[:, at]) for one in of]) / 1000
            for arm, of in arms.items()
        }
        first, second = medians.values()
        rows.append([name, *(f"{us:.2f}" for us in medians.values()), f"{second - first:+.2f}"])
    return rows


def call_lines(arms: dict[str, list[Process]]) -> list[str]:
    """Return a line an arm: what a request calls, how often it polls, and from how many threads."""
    lines = []
    for arm, of in arms.items():
        sequences = sum((one.sequences for one in of), Counter())
        kinds = "; ".join(
            f"{count} requests: {', '.join(f'{times} {name}' for name, times in calls)}"
            for calls, count in sequences.most_common(3)
        )
        more = f" and {len(sequences) - 3} other kinds" if len(sequences) > 3 else ""
        polls = f"{_median([one.polls for one in of]):g} polls"
        within = max(one.epoch_error_ns for one in of)
        threads = max(one.threads for one in of)
        alone = sum(len(one.times_ns) for one in of)
        lines.append(
            f"{arm}: {kinds}{more}; {polls}; calls from {threads} thread(s); times of the {alone} "
            f"requests that were alone; due and stamp are known within {within} ns"
        )
    return lines

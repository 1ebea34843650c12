"""The result of a program of the user: its requests, as samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.monitoring.environment import MappedLibrary
from pytest_xsched.native.binding import CENSORED, DRAIN, FAILED, HELD, SAMPLE, WARMUP
from pytest_xsched.native.milestones import Milestones, no_milestones
from pytest_xsched.native.run import Counts
from pytest_xsched.workers.numbered_requests import RequestTimes
from pytest_xsched.xsched.server_poll import Coverage


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """The result of a program.

    Attributes:
        counts: of its requests; its commands are unknown.
        samples: SAMPLE[n], one row a request; empty where it reports none.
        remark: about its end.
        output: the end of its output.
        libraries: of drivers and schedulers that it had mapped.
        files: all libraries and programs that its processes had mapped.
        coverage: how often XSched had work of it; None: no server was polled.
        milestones: of its requests, up to the end of the drain.
        failures: why requests of the measured window failed, and how often, most frequent first.
    """

    counts: Counts
    samples: NDArray[np.void]
    remark: str = ""
    output: str = ""
    libraries: tuple[MappedLibrary, ...] = ()
    files: tuple[str, ...] = ()
    coverage: Coverage | None = None
    milestones: Milestones = field(default_factory=no_milestones)
    failures: Mapping[str, int] = field(default_factory=dict)


def make_samples(
    scheduled: NDArray[np.int64],
    begun: NDArray[np.int64],
    ended: NDArray[np.int64],
    *,
    window_ns: tuple[int, int],
    over_ns: int,
) -> NDArray[np.void]:
    """Return the samples of a queue from the reports of its program.

    Args:
        scheduled: int64[n], ns since the start, of all requests.
        begun: int64[m], ns since the start, of the first m of them.
        ended: int64[k], ns since the start, of the first k of those.
        window_ns: begin and end of the measured window.
        over_ns: end of the drain; requests that ended later count as unfinished.
    """
    samples = np.zeros(len(scheduled), SAMPLE)
    samples["scheduled_ns"] = scheduled
    for name in ("submitted_ns", "launched_ns", "completed_ns"):
        samples[name] = -1
    begun, ended = begun[: len(scheduled)], ended[: len(scheduled)]
    # A busy program cannot begin a request. That request has waited in the program, and its
    # arrival was not late.
    free = np.concatenate(([-1], ended))[: len(begun)]
    waited = free > scheduled[: len(begun)]
    samples["submitted_ns"][: len(begun)] = np.where(waited, scheduled[: len(begun)], begun)
    samples["launched_ns"][: len(begun)] = begun
    in_time = ended <= over_ns
    samples["completed_ns"][: len(ended)] = np.where(in_time, ended, -1)
    _set_flags(samples, window_ns)
    return samples


def make_numbered_samples(
    scheduled: NDArray[np.int64],
    times: RequestTimes,
    start_ns: int,
    *,
    window_ns: tuple[int, int],
    over_ns: int,
) -> NDArray[np.void]:
    """Return the samples of a queue whose program speaks version 2 of the protocol.

    Args:
        scheduled: int64[n], ns since the start, of all requests.
        times: of the same requests, in ns of CLOCK_MONOTONIC.
        start_ns: the start, in ns of CLOCK_MONOTONIC.
        window_ns: as of `make_samples`.
        over_ns: as of `make_samples`.
    """
    samples = np.zeros(len(scheduled), SAMPLE)
    samples["scheduled_ns"] = scheduled
    begun, ended, failed = (
        np.where(at < 0, -1, at - start_ns)
        for at in (times.begun_ns, times.ended_ns, times.failed_ns)
    )
    # A request that was held has waited in the program, and its arrival was not late.
    samples["submitted_ns"] = np.where(times.held, scheduled, begun)
    samples["launched_ns"] = begun
    samples["completed_ns"] = np.where(ended <= over_ns, ended, -1)
    _set_flags(samples, window_ns)
    samples["flags"] |= np.where((failed >= 0) & (failed <= over_ns), FAILED, 0)
    samples["flags"] |= np.where(times.held, HELD, 0)
    return samples


def _set_flags(samples: NDArray[np.void], window_ns: tuple[int, int]) -> None:
    samples["flags"] = (
        np.where(samples["scheduled_ns"] < window_ns[0], WARMUP, 0)
        | np.where(samples["scheduled_ns"] >= window_ns[1], DRAIN, 0)
        | np.where(samples["completed_ns"] < 0, CENSORED, 0)
    )


def milestones_until(over_ns: int, milestones: Milestones) -> Milestones:
    """Return the milestones that were reached by the end of the drain."""
    kept = milestones.at_ns <= over_ns
    return Milestones(
        names=milestones.names,
        request=milestones.request[kept],
        name=milestones.name[kept],
        at_ns=milestones.at_ns[kept],
    )


def longest_stall(
    samples: NDArray[np.void],
    times: RequestTimes,
    milestones: Milestones,
    start_ns: int,
    *,
    window_ns: tuple[int, int],
    over_ns: int,
) -> int:
    """Return the longest time in the window in which requests were in flight and none moved.

    A request moves when it begins, reaches a milestone, ends or fails.

    Args:
        samples: what `make_numbered_samples` returned.
        times: as of `make_numbered_samples`.
        milestones: of the same requests, ns since the start.
        start_ns: as of `make_numbered_samples`.
        window_ns: as of `make_samples`.
        over_ns: as of `make_samples`.

    Returns:
        The time in ns.
    """
    begun = samples["launched_ns"]
    there = begun >= 0
    gone = np.maximum(times.ended_ns, times.failed_ns)
    gone = np.where(gone < 0, over_ns, gone - start_ns)[there]
    at = np.concatenate([begun[there], gone, milestones.at_ns, [over_ns]])
    change = np.repeat([1, -1, 0], [len(gone), len(gone), len(milestones) + 1])
    order = np.argsort(at, kind="stable")
    at, in_flight = at[order], np.cumsum(change[order])
    waits = (in_flight[:-1] > 0) & (at[:-1] < window_ns[1]) & (at[1:] > window_ns[0])
    return int(np.diff(at)[waits].max(initial=0))


def counts_of(
    priority: int,
    samples: NDArray[np.void],
    *,
    window_ns: tuple[int, int],
    over_ns: int,
    longest_stall_ns: int | None = None,
) -> Counts:
    """Count the requests of a program's queue.

    Args:
        priority: of the queue.
        samples: what `make_samples` returned.
        window_ns: as of `make_samples`.
        over_ns: as of `make_samples`.
        longest_stall_ns: what `longest_stall` returned; None: between the begin and the end of a
            request nothing of it is seen, so it counts as a stall.
    """
    if longest_stall_ns is None:
        begun, done = samples["launched_ns"], samples["completed_ns"]
        done = np.where(done < 0, over_ns, done)
        measured = (begun >= 0) & (begun < window_ns[1]) & (done > window_ns[0])
        longest_stall_ns = int((done - begun)[measured].max(initial=0))
    return Counts(
        submitted=0,
        launched=0,
        completed=0,
        failed=0,
        requests_submitted=int(np.count_nonzero(samples["submitted_ns"] >= 0)),
        requests_completed=int(np.count_nonzero(samples["completed_ns"] >= 0)),
        suspended=0,
        most_in_flight=0,
        priority=priority,
        state="idle",
        longest_stall_ns=longest_stall_ns,
    )

"""The result of a program of the user: its requests, as samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.monitoring.environment import MappedLibrary
from pytest_xsched.native.binding import CENSORED, DRAIN, SAMPLE, WARMUP
from pytest_xsched.native.run import Counts
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
        coverage: how often XSched had work of it; None: no server was polled.
    """

    counts: Counts
    samples: NDArray[np.void]
    remark: str
    output: str
    libraries: tuple[MappedLibrary, ...]
    coverage: Coverage | None = None


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
    samples["flags"] = (
        np.where(samples["scheduled_ns"] < window_ns[0], WARMUP, 0)
        | np.where(samples["scheduled_ns"] >= window_ns[1], DRAIN, 0)
        | np.where(samples["completed_ns"] < 0, CENSORED, 0)
    )
    return samples


def counts_of(
    priority: int, samples: NDArray[np.void], *, window_ns: tuple[int, int], over_ns: int
) -> Counts:
    """Count the requests of a program's queue.

    Between the begin and the end of a request nothing of it is seen, so it counts as a stall.

    Args:
        priority: of the queue.
        samples: what `make_samples` returned.
        window_ns: as of `make_samples`.
        over_ns: as of `make_samples`.
    """
    begun, done = samples["launched_ns"], samples["completed_ns"]
    done = np.where(done < 0, over_ns, done)
    measured = (begun >= 0) & (begun < window_ns[1]) & (done > window_ns[0])
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
        longest_stall_ns=int((done - begun)[measured].max(initial=0)),
    )

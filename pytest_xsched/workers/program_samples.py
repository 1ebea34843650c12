"""What a program of the user contributes to a measurement: its requests, as samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.monitoring.environment import MappedLibrary
from pytest_xsched.native.binding import CENSORED, DRAIN, SAMPLE, WARMUP
from pytest_xsched.native.run import Counts
from pytest_xsched.xsched.server_poll import Cover


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a program contributed to a measurement.

    Attributes:
        counts: its requests; of its commands nobody knows.
        samples: one row a request; empty where it reports none.
        remark: about the way it ended.
        output: the end of what it wrote.
        libraries: of drivers and schedulers that it had mapped.
        cover: what XSched had of its work; None: nobody asked.
    """

    counts: Counts
    samples: NDArray[np.void]
    remark: str
    output: str
    libraries: tuple[MappedLibrary, ...]
    cover: Cover | None = None


def make_samples(
    scheduled: NDArray[np.int64],
    begun: NDArray[np.int64],
    ended: NDArray[np.int64],
    *,
    window_ns: tuple[int, int],
    over_ns: int,
) -> NDArray[np.void]:
    """Make the samples of a queue out of what a program reported, as the native runner does.

    Args:
        scheduled: int64[n], ns since the start, of all requests.
        begun: of the first of them, in the same order.
        ended: of the first of those.
        window_ns: begin and end of the measured window.
        over_ns: the end of the drain: what ended later counts as unfinished.
    """
    samples = np.zeros(len(scheduled), SAMPLE)
    samples["scheduled_ns"] = scheduled
    for name in ("submitted_ns", "launched_ns", "completed_ns"):
        samples[name] = -1
    begun, ended = begun[: len(scheduled)], ended[: len(scheduled)]
    # A program that is busy cannot begin, which is no lateness of the arrivals: such a request has
    # waited in the program.
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


def counts_of(priority: int, samples: NDArray[np.void]) -> Counts:
    """Count the requests of a program's queue."""
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
    )

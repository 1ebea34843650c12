"""What requests took to their milestones, in arrays: as samples, by request, and within limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.native.binding import CENSORED, FAILED
from pytest_xsched.stats.estimators import CENSORED_NS

FIRST, PER, BETWEEN = "first_", "per_", "between_"
TO = ""
"""The kinds of latencies: to a milestone, to the first of several, a mean and each time between."""


Flags: TypeAlias = NDArray[np.bool_]


class _Reached(NamedTuple):
    """One milestone, by request: its requests ascending, those of one in order of time."""

    request: NDArray[np.int64]
    at_ns: NDArray[np.int64]
    starts: NDArray[np.int64]
    """Where each request begins in the arrays above."""
    counts: NDArray[np.int64]


def latency_names(queue: QueueResult) -> tuple[str, ...]:
    """Return the names of the latencies of a queue to its milestones.

    A milestone that comes once in each request that reaches it is a latency. One that comes more
    often is three: to the first, the mean time between two, and each time between two.
    """
    known = queue.__dict__.get("_latency_names")
    if known is None or known[0] is not queue.milestones:
        known = queue.__dict__["_latency_names"] = (queue.milestones, _names(queue))
    found: tuple[str, ...] = known[1]
    return found


def _names(queue: QueueResult) -> tuple[str, ...]:
    return names_of_latencies({name: _repeats(queue, name) for name in queue.milestones.names})


def names_of_latencies(repeats: Mapping[str, bool]) -> tuple[str, ...]:
    """Return the names of the latencies to milestones, see `latency_names`.

    Args:
        repeats: whether a milestone comes more than once in a request, by its name.
    """
    names: list[str] = []
    for name, comes_again in repeats.items():
        kinds = [f"{FIRST}{name}", f"{PER}{name}", f"{BETWEEN}{name}s"]
        names += kinds if comes_again else [name]
    return tuple(dict.fromkeys(names))


def split_name(names: Sequence[str], latency: str) -> tuple[str, str] | None:
    """Return the kind of a latency and the name of its milestone; None: there is no such latency.

    Each milestone has all kinds, however often it came: in other requests it may come more often.

    Args:
        names: of the milestones.
        latency: any name that one may have.
    """
    if latency in names:
        return TO, latency
    for kind, end in ((FIRST, ""), (PER, ""), (BETWEEN, "s")):
        if latency.startswith(kind) and latency.endswith(end):
            name = latency[len(kind) : len(latency) - len(end)]
            if name in names:
                return kind, name
    return None


def _repeats(queue: QueueResult, name: str) -> bool:
    return bool((_reached(queue, name).counts > 1).any())


def _reached(queue: QueueResult, name: str) -> _Reached:
    milestones = queue.milestones
    chosen = np.flatnonzero(milestones.name == milestones.names.index(name))
    chosen = chosen[np.argsort(milestones.request[chosen], kind="stable")]
    request = milestones.request[chosen]
    _, starts, counts = np.unique(request, return_index=True, return_counts=True)
    return _Reached(request, milestones.at_ns[chosen], starts, counts)


def samples_of(
    queue: QueueResult, kind: str, name: str
) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return the samples of a latency, and for each what it took at least if it never ended, ns."""
    if kind == BETWEEN:
        return _between(queue, _reached(queue, name))
    values = _by_request(queue, kind, name)
    there = values >= 0
    samples = queue.samples[there]
    samples["completed_ns"] = np.where(
        values[there] == CENSORED_NS, -1, samples["scheduled_ns"] + values[there]
    )
    _set_censored(samples)
    if kind == PER:
        return samples, np.zeros(len(samples), np.int64)
    return samples, _waited(queue, samples["scheduled_ns"], samples["scheduled_ns"])


def _by_request(queue: QueueResult, kind: str, name: str) -> NDArray[np.int64]:
    """Return one value of each request: int64[samples], ns.

    CENSORED_NS: the request failed or never got there. -1: it completed, and has none.
    """
    reached, samples = _reached(queue, name), queue.samples
    request = reached.request[reached.starts]
    first, last = reached.starts, reached.starts + reached.counts - 1
    values = np.full(len(samples), CENSORED_NS, np.int64)
    done = (samples["flags"] & CENSORED) == 0
    if kind in (TO, FIRST):
        values[request] = reached.at_ns[first] - samples["scheduled_ns"][request]
        values[(samples["flags"] & FAILED) != 0] = CENSORED_NS
        return values
    gaps = np.maximum(reached.counts - 1, 1)
    if kind == PER:
        taken = np.rint((reached.at_ns[last] - reached.at_ns[first]) / gaps).astype(np.int64)
    else:  # the longest time between two
        between = np.diff(reached.at_ns, prepend=0)
        between[reached.starts] = -1
        taken = np.maximum.reduceat(between, reached.starts) if len(between) else between
    values[request] = np.where(reached.counts > 1, taken, -1)
    values[~done] = CENSORED_NS
    return values


def times_between_milestones(
    queue: QueueResult, requests: Iterable[tuple[int, int]]
) -> dict[str, int]:
    """Return the time until each milestone from the one before, or from the arrival, in ns.

    Each is summed over requests, by the name of its latency: ``"first_token"``, for the later ones
    ``"between_tokens"``, and ``""`` for what comes after the last one. All add up to the latencies.
    A request that ended before any milestone waited for the first one.

    Args:
        queue: a queue, no latency of it.
        requests: the place of each among the samples, and its latency, ns; of one that did not
            complete what it waited at least.
    """
    milestones, found = queue.milestones, dict[str, int]()
    if not milestones.names:
        return found
    firsts = {
        name: f"{FIRST}{name}" if _repeats(queue, name) else name for name in milestones.names
    }
    for index, latency_ns in requests:
        last_ns = int(queue.samples["scheduled_ns"][index])
        end_ns, seen = last_ns + latency_ns, set[str]()
        places = np.flatnonzero(milestones.request == index)
        for place in places[np.argsort(milestones.at_ns[places], kind="stable")]:
            name = milestones.names[milestones.name[place]]
            at_ns = min(end_ns, max(last_ns, int(milestones.at_ns[place])))
            key = f"{BETWEEN}{name}s" if name in seen else firsts[name]
            found[key] = found.get(key, 0) + at_ns - last_ns
            seen.add(name)
            last_ns = at_ns
        key = "" if seen else firsts[milestones.names[0]]
        found[key] = found.get(key, 0) + end_ns - last_ns
    return {name: ns for name, ns in found.items() if ns}


def _between(queue: QueueResult, reached: _Reached) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return each time between two milestones of a request as a sample, in order of its begin.

    A request that failed, did not complete or reached none has one more, which never ended.
    """
    ends = np.ones(len(reached.request), np.bool_)
    ends[reached.starts] = False
    begins = np.flatnonzero(ends) - 1
    is_lost = (queue.samples["flags"] & CENSORED) != 0
    is_lost |= ~np.isin(np.arange(len(is_lost)), reached.request)
    lost = np.flatnonzero(is_lost)
    last_ns = queue.samples["scheduled_ns"].copy()
    last_ns[reached.request] = reached.at_ns  # the last one of each request is the one that stays
    request = np.concatenate([reached.request[begins], lost])
    samples = queue.samples[request]
    begin_ns = np.concatenate([reached.at_ns[begins], last_ns[lost]])
    for field in ("scheduled_ns", "submitted_ns", "launched_ns"):
        samples[field] = begin_ns
    samples["completed_ns"] = np.concatenate(
        [reached.at_ns[begins + 1], np.full(len(lost), -1, np.int64)]
    )
    _set_censored(samples)
    bounds_ns = _waited(queue, queue.samples["scheduled_ns"][request], begin_ns)
    order = np.argsort(begin_ns, kind="stable")
    return samples[order], bounds_ns[order]


def _set_censored(samples: NDArray[np.void]) -> None:
    samples["flags"] &= ~CENSORED
    samples["flags"] |= np.where(samples["completed_ns"] < 0, CENSORED, 0)


def _waited(
    queue: QueueResult, scheduled_ns: NDArray[np.int64], since_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the time from a moment to the end of the window in which the request arrived, ns."""
    ends = np.array(queue.windows_ns)[:, 1]
    window = np.searchsorted(ends, scheduled_ns, side="right").clip(max=len(ends) - 1)
    return np.asarray(np.maximum(ends[window] - since_ns, 0), np.int64)


def kept(queue: QueueResult, limits_ns: Mapping[str, int]) -> NDArray[np.bool_]:
    """Return which requests of a queue completed and kept limits: bool[samples].

    Where the latencies of the queue are lower bounds, one that did not complete, and did not fail,
    may have kept them.

    Args:
        queue: a queue, no latency of it.
        limits_ns: by name of the latency, ns; the longest time counts of those between.
    """
    flags = queue.samples["flags"]
    good = (flags & CENSORED) == 0
    for latency, limit_ns in limits_ns.items():
        found = split_name(queue.milestones.names, latency)
        assert found is not None
        kind, name = found
        good &= _by_request(queue, kind, name) <= limit_ns
    bounded = np.zeros(len(flags), np.bool_)
    bounded[queue.counts_for_latencies] = queue.latency_ns < CENSORED_NS
    return np.asarray(good | (bounded & ((flags & (CENSORED | FAILED)) == CENSORED)), np.bool_)

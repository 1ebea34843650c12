"""Further latencies of requests, to their milestones: `run.chat.first_token.assert_p99_below(...)`.

Each is a queue whose samples are those of the latency: its completion is the milestone. Arrays in,
arrays out; nothing here judges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.analysis.targets import ErrorBudget
from pytest_xsched.base.quantity import show_given
from pytest_xsched.base.units import DurationLike, parse_duration
from pytest_xsched.errors import ScenarioError
from pytest_xsched.native.binding import CENSORED, FAILED
from pytest_xsched.stats.estimators import CENSORED_NS
from pytest_xsched.stats.summary import spread

FIRST, PER, BETWEEN = "first_", "per_", "between_"
TO = ""
"""The kinds of latencies: to a milestone, to the first of several, a mean and each time between."""


class _Refused:
    """An attribute of queues that a latency does not have."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(self._name)  # `MilestoneLatency.__getattr__` explains it


class MilestoneLatency(MeasuredQueue):
    """One latency of the requests of a queue, with the percentiles and targets of a queue.

    Args:
        queue: whose requests these are. The latency follows it: later windows are in both.
        latency: its name.
    """

    throughput: Any = _Refused()
    achieved_rate: Any = _Refused()
    longest_wait: Any = _Refused()
    service_ns: Any = _Refused()
    lateness_ns: Any = _Refused()
    assert_throughput_at_least: Any = _Refused()
    assert_longest_wait_below: Any = _Refused()
    assert_no_errors: Any = _Refused()
    goodput: Any = _Refused()
    assert_goodput_at_least: Any = _Refused()
    explain: Any = _Refused()
    publish: Any = _Refused()
    profile: Any = _Refused()

    def __init__(self, queue: MeasuredQueue, latency: str) -> None:
        self._queue = queue
        self._latency_name = latency
        self.refresh()

    def __getattr__(self, name: str) -> Any:
        if hasattr(MeasuredQueue, name):
            raise AttributeError(
                f"{self.label} is a latency and has no {name!r}; write run.{self.name}.{name}"
            )
        return super().__getattr__(name)

    def __repr__(self) -> str:
        return f"<latency {self.label} of a run>"

    def refresh(self) -> None:
        """Take in the windows that the queue has."""
        self.__dict__.update(self._queue.__dict__)
        for key in ("_omitted", "_latencies"):
            self.__dict__.pop(key, None)
        self.latency = self._latency_name
        kind, name = _split(self._queue, self.latency)
        self.counted = "times" if kind == BETWEEN else "requests"
        self.samples, bounds_ns = _samples(self._queue, kind, name)
        self.latency_ns = self._span("scheduled_ns")
        self._bounds_ns = bounds_ns[self.counts_for_latencies]
        self._drawings = {}

    def lower_bounds(self) -> MilestoneLatency:
        """Return the latency with what a request waited at least where it was never reached."""
        bounded = super().lower_bounds()
        unknown = self.latency_ns == CENSORED_NS
        bounded.latency_ns = np.where(unknown, self._bounds_ns, self.latency_ns)
        return bounded

    def _growing(self) -> tuple[str, ...]:
        return self._queue._growing()

    def _require_evidence(self, *needs: str) -> None:
        __tracebackhide__ = True
        self._queue._require_evidence(*needs)

    def _budget(self, budget: ErrorBudget) -> ErrorBudget:
        return self._queue._budget(budget)

    def _measure_for(self, q: float) -> None:
        __tracebackhide__ = True
        if self.part:  # no later window has requests of it
            self.require_n(q)
        super()._measure_for(q)

    def _time_for(self, requests: int) -> str:
        return "" if self.counted != "requests" else super()._time_for(requests)

    @property
    def _interval_ns(self) -> int:
        return 0

    @property
    def omitted(self) -> int:
        """No requests: what a closed loop did not send is known of its completions only."""
        return 0


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
    names: list[str] = []
    for name in queue.milestones.names:
        if _repeats(queue, name):
            names += [f"{FIRST}{name}", f"{PER}{name}", f"{BETWEEN}{name}s"]
        else:
            names.append(name)
    return tuple(dict.fromkeys(names))


def find_latency(queue: MeasuredQueue, latency: str) -> MilestoneLatency | None:
    """Return a latency of a queue by its name; None: it has none of that name."""
    known = queue.__dict__.setdefault("_latencies", {})
    if latency not in known:
        alias = latency.removeprefix(FIRST)  # of a milestone that came once in each request
        if latency in latency_names(queue) or alias in latency_names(queue):
            known[latency] = MilestoneLatency(queue, latency)
    found: MilestoneLatency | None = known.get(latency)
    return found


def _split(queue: QueueResult, latency: str) -> tuple[str, str]:
    """Return the kind of a latency and the name of its milestone."""
    names = queue.milestones.names
    if latency in names:
        return TO, latency
    for kind, end in ((FIRST, ""), (PER, ""), (BETWEEN, "s")):
        name = latency.removeprefix(kind).removesuffix(end) if end else latency.removeprefix(kind)
        if latency.startswith(kind) and name in names:
            return kind, name
    raise KeyError(latency)


def _repeats(queue: QueueResult, name: str) -> bool:
    return bool((_reached(queue, name).counts > 1).any())


def _reached(queue: QueueResult, name: str) -> _Reached:
    milestones = queue.milestones
    chosen = np.flatnonzero(milestones.name == milestones.names.index(name))
    chosen = chosen[np.argsort(milestones.request[chosen], kind="stable")]
    request = milestones.request[chosen]
    _, starts, counts = np.unique(request, return_index=True, return_counts=True)
    return _Reached(request, milestones.at_ns[chosen], starts, counts)


def _samples(
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
        kind, name = _split(queue, latency)
        good &= _by_request(queue, kind, name) <= limit_ns
    bounded = np.zeros(len(flags), np.bool_)
    bounded[queue.counts_for_latencies] = queue.latency_ns < CENSORED_NS
    return np.asarray(good | (bounded & ((flags & (CENSORED | FAILED)) == CENSORED)), np.bool_)


def goodput_limits(
    queue: MeasuredQueue,
    call: str,
    deadline: DurationLike | None,
    limits: Mapping[str, DurationLike],
) -> tuple[int | None, dict[str, int], str]:
    """Return the limits of a goodput in ns, and the words for them, each after a comma.

    Args:
        queue: whose goodput it is.
        call: what the user has called.
        deadline: of the latency to the completion; None: none.
        limits: of latencies to milestones, by name.

    Raises:
        ScenarioError: there is no limit, one is not a time, or there is no such latency.
    """
    if deadline is None and not limits:
        raise ScenarioError(
            f'{call}: there is no limit; write deadline="50ms", or a latency to a milestone'
        )
    for name in limits:
        if find_latency(queue, name) is None:
            known = ", ".join(queue.latencies) or "none"
            raise ScenarioError(
                f"{call}: {queue.label} has no latency {name!r}; those to milestones: {known}"
            )
    limits_ns = {
        name: parse_duration(limit, what=f"{name} of {call}") for name, limit in limits.items()
    }
    deadline_ns = None
    shown = {}
    if deadline is not None:
        deadline_ns = parse_duration(deadline, what=f"deadline of {call}")
        shown = {"deadline": deadline_ns}
    more = "".join(
        f", {name} {show_given(ns, 'ns')}" for name, ns in {**shown, **limits_ns}.items()
    )
    return deadline_ns, limits_ns, more


def latencies_to_list(queue: MeasuredQueue, block_ns: int) -> list[dict[str, Any]]:
    """Return the latencies to milestones in JSON's types: ns, null for never.

    Args:
        queue: whose latencies they are.
        block_ns: see `QueueResult.drawing`.
    """
    found = []
    for one in queue.latencies.values():
        data: dict[str, Any] = {"name": one.latency, "n": one.n, "censored": one.censored}
        for key in ("p50", "p95", "p99", "max"):
            value = getattr(one, key).value if one.n else math.inf
            data[f"{key}_ns"] = None if value == math.inf else int(value)
        found.append({**data, "spread": spread(one.latency_ns), **one.drawing(block_ns)})
    return found

"""What a run measured on one queue: samples, counts, and the numbers computed from them.

Latency counts from the scheduled arrival, so that the time in which a request waits for its
predecessors is part of it (no coordinated omission). Requests that did not complete stay in, above
every limit.
"""

from __future__ import annotations

import copy
import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.base.quantity import Quantity
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.errors import InvalidRun, ScenarioError
from pytest_xsched.monitoring.noise import Spans, inside
from pytest_xsched.native.binding import CENSORED, DRAIN, FAILED, HELD, WARMUP
from pytest_xsched.native.milestones import Milestones, no_milestones
from pytest_xsched.native.run import Counts
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.workload import Workload
from pytest_xsched.stats import shape
from pytest_xsched.stats.estimators import (
    CENSORED_NS,
    cold_start,
    nearest_rank,
    requests_needed,
    saturated,
)
from pytest_xsched.stats.omission import corrected, omitted, usual_interval_ns
from pytest_xsched.stats.summary import spread
from pytest_xsched.stats.trend import rises

_Queue = TypeVar("_Queue", bound="QueueResult")


class QueueResult:
    """The requests of one queue in one run."""

    part = ""
    """Which part of the run it is, for sentences, "in stage 1"; "": all of it."""
    latency = ""
    """Which latency of its requests this is, "first_token"; "": the one to the completion."""
    counted = "requests"
    """What has a latency."""

    def __init__(
        self,
        *,
        spec: QueueSpec,
        counts: Counts,
        samples: NDArray[np.void],
        window_ns: tuple[int, int],
        noisy_ns: Spans = (),
        masks: bool = False,
        milestones: Milestones | None = None,
        failures: Mapping[str, int] | None = None,
    ) -> None:
        self.spec = spec
        """The queue as the scenario describes it."""
        self.counts = counts
        """Counts of commands and requests, and how often the queue was suspended."""
        self.samples = samples
        """All requests in order of arrival, warm-up included, as a structured array; its fields are
        scheduled_ns, submitted_ns, launched_ns, completed_ns (int64, ns since the start of the run,
        -1 for never) and flags, a sum of 1 (it arrived in the warm-up), 2 (after the measured
        window), 4 (it never completed) and, of programs that report it, 8 (it failed) and 16 (it
        was held; see `held`)."""
        self.milestones = no_milestones() if milestones is None else milestones
        """The milestones of its requests: named moments that a program or a workload has."""
        self.failures = Counter(failures or {})
        """Why requests of the measured windows failed, and how often, as the program reported."""
        self.noisy_ns = noisy_ns
        """Start and end of each noisy second, ns since the start of the run; see `noise`."""
        self.masks = masks
        """Whether requests that were scheduled in noisy seconds are left out of the latencies."""
        self.windows_ns = [window_ns]
        """Start and end of each measured window, ns since the start of the run."""
        self.latency_ns = self._span("scheduled_ns")
        """Completed minus scheduled of each request that counts, in order of arrival, as int64[n],
        ns; 2**63 - 1 for a request that never completed, which is above every limit."""
        self.saturated = self._is_saturated(samples, window_ns)
        """Whether an open loop offered more than was done; see `estimators.saturated`."""
        self.cold_start = None if self.saturated else cold_start(self.latency_ns)
        """How much slower the first tenth of the first window was; see `estimators.cold_start`."""
        self._drawings: dict[tuple[int, int], dict[str, Any]] = {}
        """What `drawing` returned, by count of windows and length of blocks."""
        # The run, which has the evidence, sets these: one for latencies, one for waits, and one for
        # rates, which are valid in a saturated queue, too.
        self._run: Any = None
        self._require: Callable[[], None] = lambda: None
        self._require_wait: Callable[[], None] = lambda: None
        self._require_run: Callable[[], None] = lambda: None

    def extend(
        self,
        counts: Counts,
        samples: NDArray[np.void],
        window_ns: tuple[int, int],
        offset_ns: int,
        noisy_ns: Spans = (),
        milestones: Milestones | None = None,
        failures: Mapping[str, int] | None = None,
    ) -> None:
        """Add a window that was measured later, under the same load.

        Args:
            counts: of that window only.
            samples: of that window, ns since the start of its own run.
            window_ns: start and end of that window, ns since the start of its own run.
            offset_ns: when that start is, ns since the start of this run.
            noisy_ns: noisy seconds of that window, ns since the start of this run.
            milestones: of that window only.
            failures: of that window only.
        """
        if milestones is not None:
            self.milestones = self.milestones.followed_by(milestones, len(self.samples), offset_ns)
        self.failures += Counter(failures or {})
        self.noisy_ns += noisy_ns
        self.saturated |= self._is_saturated(samples, window_ns)
        moved = samples.copy()
        for field in ("scheduled_ns", "submitted_ns", "launched_ns", "completed_ns"):
            moved[field][moved[field] >= 0] += offset_ns
        self.samples = np.concatenate([self.samples, moved])
        self.windows_ns.append((window_ns[0] + offset_ns, window_ns[1] + offset_ns))
        self.counts = self.counts + counts
        self.latency_ns = self._span("scheduled_ns")
        self.__dict__.pop("_omitted", None)  # of the windows before

    @property
    def name(self) -> str:
        """Name of the queue."""
        return self.spec.name

    @property
    def label(self) -> str:
        """Name of the queue and of the latency, and which part of its requests this is."""
        name = f"{self.name}.{self.latency}" if self.latency else self.name
        return f"{name} {self.part}" if self.part else name

    @property
    def workload(self) -> Workload:
        """Commands of each request."""
        return self.spec.workload

    @property
    def arrived(self) -> NDArray[np.void]:
        """Samples of all requests scheduled in the measured window, in order of arrival."""
        samples: NDArray[np.void] = self.samples[(self.samples["flags"] & (WARMUP | DRAIN)) == 0]
        return samples

    @property
    def measured(self) -> NDArray[np.void]:
        """Samples of the requests that count for latencies: all, or those of quiet seconds."""
        samples: NDArray[np.void] = self.samples[self.counts_for_latencies]
        return samples

    @property
    def counts_for_latencies(self) -> NDArray[np.bool_]:
        """Which of `samples` count for latencies."""
        arrived = (self.samples["flags"] & (WARMUP | DRAIN)) == 0
        if self.masks and self.noisy_ns:
            arrived &= ~inside(self.samples["scheduled_ns"], self.noisy_ns)
        return np.asarray(arrived, np.bool_)

    @property
    def noisy(self) -> NDArray[np.bool_]:
        """Which of `client_latency_ns` were scheduled in noisy seconds: bool[n + omitted]."""
        noisy = inside(self.measured["scheduled_ns"], self.noisy_ns)
        return noisy if self.omitted == 0 else np.repeat(noisy, self._omitted + 1)

    @property
    def n(self) -> int:
        """Requests that count for latencies, completed or not."""
        return len(self.measured)

    @property
    def masked(self) -> int:
        """Requests of the measured window that do not count, because they came in noisy seconds."""
        return len(self.arrived) - self.n

    @property
    def censored(self) -> int:
        """Requests that count for latencies and did not complete."""
        return int(np.count_nonzero(self.measured["flags"] & CENSORED))

    @property
    def failed(self) -> int:
        """Requests that count for latencies and failed, as their program reported."""
        return int(np.count_nonzero(self.measured["flags"] & FAILED))

    @property
    def lost(self) -> str:
        """Describe the requests that did not complete, "3 unfinished"; "" if all did."""
        kinds = {"failed": self.failed, "unfinished": self.censored - self.failed}
        return ", ".join(f"{count} {word}" for word, count in kinds.items() if count)

    @property
    def held(self) -> int:
        """Requests of the measured window that began late because of a limit of their program.

        They were due, but as many as the program allows were in flight.
        """
        return int(np.count_nonzero(self.arrived["flags"] & HELD))

    @property
    def unfinished(self) -> int:
        """All requests of the measured window that did not complete."""
        return int(np.count_nonzero(self.arrived["flags"] & CENSORED))

    @property
    def service_ns(self) -> NDArray[np.int64]:
        """Completed minus submitted: int64[n], ns, in order of arrival; CENSORED_NS if never."""
        return self._span("submitted_ns")

    @property
    def lateness_ns(self) -> NDArray[np.int64]:
        """Submitted minus scheduled: how late the load generator was, int64[submitted], ns.

        Empty where requests wait for those of another queue, which is no lateness.
        """
        if self.spec.after is not None:
            return np.empty(0, np.int64)
        m = self.arrived[self.arrived["submitted_ns"] >= 0]
        return np.asarray(m["submitted_ns"] - m["scheduled_ns"], np.int64)

    @functools.cached_property
    def _omitted(self) -> NDArray[np.int64]:
        """How many requests of its client each of `measured` left out; zeros in an open loop."""
        if not self.closed_loop or self.n == 0:
            return np.zeros(self.n, np.int64)
        return omitted(self.latency_ns, self._interval_ns)

    @property
    def _interval_ns(self) -> int:
        arrivals = self.spec.arrivals
        think_ns = arrivals.think_ns if isinstance(arrivals, Closed) else 0
        return usual_interval_ns(self.latency_ns, think_ns)

    @property
    def omitted(self) -> int:
        """Requests that a closed loop did not send because its clients waited; see `omission`."""
        return int(self._omitted.sum())

    @property
    def client_latency_ns(self) -> NDArray[np.int64]:
        """What a client waits that comes at any moment: int64[n + omitted], ns.

        In an open loop these are the latencies. In a closed loop the requests that its clients did
        not send while they waited are added; see `omission`.
        """
        if self.omitted == 0:
            return self.latency_ns
        return corrected(self.latency_ns, self._interval_ns)

    def _span(self, start: str) -> NDArray[np.int64]:
        m = self.measured
        done = (m["flags"] & CENSORED) == 0
        return np.where(done, m["completed_ns"] - m[start], CENSORED_NS).astype(np.int64)

    def lower_bounds(self: _Queue) -> _Queue:
        """Return the queue with what an unfinished request waited as its latency.

        An unfinished request waited at least until the end of its window. A request that completed
        keeps its latency.
        """
        bounded = copy.copy(self)
        scheduled = self.measured["scheduled_ns"]
        _, end = self.window_of(scheduled)
        waited = np.maximum(end - scheduled, 0)
        bounded.latency_ns = np.where(self.latency_ns == CENSORED_NS, waited, self.latency_ns)
        return bounded

    def window_of(
        self, scheduled_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return start and end of the measured window that each arrival belongs to.

        An arrival before a window, in its warm-up, belongs to it; one after the last window belongs
        to the last.
        """
        starts, ends = np.array(self.windows_ns, np.int64).T
        at = np.searchsorted(ends, scheduled_ns, side="right").clip(max=len(ends) - 1)
        return starts[at], ends[at]

    # ---- latency

    def percentile(self, q: float) -> Quantity:
        """Return the nearest-rank percentile of the latency; see `estimators.nearest_rank`.

        In a closed loop it is what a client waits that comes at any moment; see
        `client_latency_ns`.

        Args:
            q: in (0, 1), 0.99 for P99.

        Raises:
            ScenarioError: q is outside (0, 1).
            InvalidRun: no request was measured.
        """
        if isinstance(q, bool) or not isinstance(q, (int, float)) or not 0 < q < 1:
            raise ScenarioError(f"percentile {q!r} is outside (0, 1); P99 is 0.99")

        def require() -> None:
            __tracebackhide__ = True
            self._require()
            self.require_n(q)

        self._some_latency()
        value_ns = nearest_rank(self.client_latency_ns, q)
        return self._latency(value_ns, percentile_name(q), require)

    def require_n(self, q: float) -> None:
        """Raise InvalidRun if too few requests were measured for any bound on a percentile."""
        __tracebackhide__ = True
        needed = requests_needed(q)
        if self.n < needed:
            raise InvalidRun(
                f"a {percentile_name(q)} needs at least {needed} {self.counted}, {self.label} has "
                f"{self.n}{self._without_masked()}{self._time_for(needed)}{self.because_stalled}",
                run=self._run,
                starved=bool(self.stalled),
            )

    def require_complete(self, use: str) -> None:
        """Raise InvalidRun unless there are requests and all completed, for a use of latencies."""
        __tracebackhide__ = True
        if self.n == 0:
            raise InvalidRun(f"{use}: {self.no_request}")
        if self.censored:
            raise InvalidRun(
                f"{use}: {self.censored} of {self.n} requests of {self.name} never completed, "
                "and without them the others would look better than it was"
            )

    @property
    def because_stalled(self) -> str:
        """Add `stalled` to a sentence that says that there were few requests."""
        return f"; {self.stalled}" if self.stalled else ""

    def _without_masked(self) -> str:
        return f" without {self.masked} in masked seconds" if self.masked else ""

    def _time_for(self, requests: int) -> str:
        rate = self.spec.arrivals.rate_hz
        if rate is None:
            return ""
        return f"; at {format_rate(rate)} that takes {math.ceil(requests / rate)} s"

    @property
    def no_request(self) -> str:
        """Describe that there is no request, and where."""
        where = "outside of masked seconds" if self.masked else "in the measured window"
        return f"{self.label} has no request {where}"

    def _some_latency(self) -> NDArray[np.int64]:
        if self.n == 0:
            raise InvalidRun(self.no_request, run=self._run)
        return self.latency_ns

    def _latency(self, ns: int, metric: str, require: Callable[[], None]) -> Quantity:
        value = math.inf if ns == CENSORED_NS else ns
        detail = f"n = {self.n}"
        if metric not in ("max", "wait"):
            detail += f", max {self.max}"
        if self.censored:
            detail += f", {self.lost}"
        return Quantity(value, "ns", f"{metric} of {self.label}", detail, require)

    def cdf(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the distribution of the latency as `percentile` reads it; no evidence is checked.

        Returns:
            latency_ns and share, two arrays of equal length. The first, int64 in ns, has the
            latencies of the requests that completed, ascending. The second, float64, has the share
            of all requests that count which took at most that long. If requests never completed
            (`censored`), the last share is below 1 by theirs.

        Raises:
            InvalidRun: no request was measured.
        """
        self._some_latency()
        ordered = np.sort(self.client_latency_ns)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        completed = int(np.searchsorted(ordered, CENSORED_NS))
        return ordered[:completed], share[:completed]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of `Run.to_frame` for this queue, without its name."""
        s = self.samples
        completed = (s["completed_ns"] >= 0) & ((s["flags"] & CENSORED) == 0)
        latency = np.where(completed, s["completed_ns"] - s["scheduled_ns"], CENSORED_NS)
        return {
            **{field: s[field].copy() for field in s.dtype.names or ()},
            "latency_ns": latency.astype(np.int64),
            "measured": self.counts_for_latencies,
        }

    @property
    def p50(self) -> Quantity:
        """Median latency."""
        return self.percentile(0.5)

    @property
    def p95(self) -> Quantity:
        """95th percentile of the latency."""
        return self.percentile(0.95)

    @property
    def p99(self) -> Quantity:
        """99th percentile of the latency."""
        return self.percentile(0.99)

    @property
    def p999(self) -> Quantity:
        """P99.9 of the latency: one request of 1000 takes longer."""
        return self.percentile(0.999)

    @property
    def max(self) -> Quantity:
        """Longest latency; "never" if a request did not complete."""
        return self._latency(int(self._some_latency().max()), "max", lambda: self._require())

    @property
    def longest_wait(self) -> Quantity:
        """Longest time in which a request waited and nothing happened for it.

        That is the time from its arrival to its first launch ("never" if there was none), or a
        later time in which no command of the queue was launched or completed. A request that still
        waits at the end of the run counts, and so do those of the warm-up that waited within the
        measured window.
        """
        s = self.samples
        launched = np.where(s["launched_ns"] < 0, CENSORED_NS, s["launched_ns"])
        waits = np.where(launched == CENSORED_NS, CENSORED_NS, launched - s["scheduled_ns"])
        start, _ = self.window_of(s["scheduled_ns"])
        there = ((s["flags"] & DRAIN) == 0) & (launched >= start)
        longest = int(waits[there].max()) if there.any() else 0
        longest = max(longest, self.counts.longest_stall_ns)
        return self._latency(longest, "wait", lambda: self._require_wait())

    @property
    def stalled(self) -> str:
        """Describe that the queue had work and did not move for half of the time; "" if it did."""
        stall_ns = self.counts.longest_stall_ns
        if stall_ns < self.seconds * 1e9 / 2:
            return ""
        return f"nothing of {self.name} was launched or completed for {format_duration(stall_ns)}"

    # ---- rates

    @property
    def seconds(self) -> float:
        """Length of the measured window."""
        return sum(end - start for start, end in self.windows_ns) / 1e9

    def requests_in(self, time_ns: int) -> int:
        """Return how many requests arrive in a time, on average; at least 1."""
        return max(1, round(len(self.arrived) / self.seconds * time_ns / 1e9))

    def rates_per(
        self, block_ns: int, good: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Return the completions per second in each whole block of the measured windows.

        Args:
            block_ns: length of a block.
            good: which of `samples` count; None: all.

        Returns:
            float64[blocks], Hz, in order of time.
        """
        done = self.samples["completed_ns"]
        if good is not None:
            done = done[good]
        counts = []
        for start, end in self.windows_ns:
            blocks = (end - start) // block_ns
            at = (done[done >= start] - start) // block_ns
            counts.append(np.bincount(at[at < blocks], minlength=blocks))
        return np.asarray(np.concatenate(counts) * (1e9 / block_ns), np.float64)

    def gets_worse(self, block_ns: int) -> bool:
        """Check whether later blocks are worse than earlier ones; see `trend.rises`.

        In an open loop the P90 of the latency rises from block to block. In a closed loop the rate
        falls, because its clients send nothing while they wait. In a saturated queue only the rate
        means something.

        Args:
            block_ns: length of a block.
        """
        if self.closed_loop or self.saturated:
            return rises(-self.rates_per(block_ns))
        at = self.measured["scheduled_ns"] // block_ns
        _, starts = np.unique(at, return_index=True)
        blocks = np.split(self.latency_ns, starts[1:]) if len(at) else []
        return rises(np.array([nearest_rank(block, 0.9) for block in blocks], np.float64))

    def _rate(self, count: int, what: str) -> Quantity:
        hz = count / self.seconds
        return Quantity(
            hz, "Hz", f"{what} of {self.label}", f"{count} requests", lambda: self._require_run()
        )

    @property
    def offered(self) -> Quantity | None:
        """Requests per second that an open loop sent; None for a closed loop."""
        if self.closed_loop:
            return None
        return self._rate(len(self.arrived), "offered rate")

    @property
    def closed_loop(self) -> bool:
        """Whether requests wait for their predecessors."""
        return isinstance(self.spec.arrivals, Closed)

    def _is_saturated(self, samples: NDArray[np.void], window_ns: tuple[int, int]) -> bool:
        if self.closed_loop:
            return False
        done = samples["completed_ns"]
        completed = np.where(done < 0, CENSORED_NS, done)
        # A request that failed waits for nothing any more.
        failed = (samples["flags"] & FAILED) != 0
        completed = np.where(failed, samples["scheduled_ns"], completed)
        return saturated(samples["scheduled_ns"], completed, *window_ns)

    @property
    def throughput(self) -> Quantity:
        """Requests completed per second.

        In an open loop that keeps up, the requests of the measured window that completed: a request
        in flight at its end does not count as missing. In a closed loop, and in a saturated open
        loop, the completions within the window.
        """
        if self.closed_loop or self.saturated:
            done = self.samples["completed_ns"]
            inside = sum(
                np.count_nonzero((done >= start) & (done < end)) for start, end in self.windows_ns
            )
            return self._rate(int(inside), "throughput")
        return self._rate(len(self.arrived) - self.unfinished, "throughput")

    @property
    def achieved_rate(self) -> Quantity:
        """Return the throughput; the counterpart of `offered`."""
        return self.throughput

    def attainment(self, deadline_ns: int) -> float:
        """Return the share of the measured requests that completed within a deadline, in [0, 1]."""
        self._some_latency()
        return float(np.mean(self.client_latency_ns <= deadline_ns))

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers in JSON's types: times in ns, rates in Hz, null for never."""
        data: dict[str, Any] = {
            "name": self.name,
            "workload": self.workload.label,
            "n": self.n,
            "censored": self.censored,
            "masked": self.masked,
            "omitted": self.omitted,
            "saturated": self.saturated,
            "throughput_hz": self.throughput.value,
            "offered_hz": None if self.offered is None else self.offered.value,
            "commands": {
                key: getattr(self.counts, key)
                for key in ("submitted", "launched", "completed", "failed")
            },
            "suspended": self.counts.suspended,
            "most_in_flight": self.counts.most_in_flight,
        }
        for key in ("p50", "p95", "p99", "max"):
            value = getattr(self, key).value if self.n else math.inf
            data[f"{key}_ns"] = None if value == math.inf else int(value)
        data["spread"] = spread(self.latency_ns)
        data["cold_start"] = self.cold_start
        late = self.lateness_ns
        wait = self.longest_wait.value
        data["longest_wait_ns"] = None if wait == math.inf else int(wait)
        data["lateness_p99_ns"] = nearest_rank(late, 0.99) if len(late) else None
        return data

    def drawing(self, block_ns: int) -> dict[str, Any]:
        """Return what a report draws of the latencies, in JSON's types; see `stats.shape`.

        Args:
            block_ns: length of the blocks of time, whose figures have the noisy seconds, too.
        """
        key = (len(self.windows_ns), block_ns)
        if key not in self._drawings:
            self._drawings = {key: self._draw(block_ns)}
        return self._drawings[key]

    def _draw(self, block_ns: int) -> dict[str, Any]:
        arrived = self.arrived
        done = (arrived["flags"] & CENSORED) == 0
        latency = np.where(done, arrived["completed_ns"] - arrived["scheduled_ns"], CENSORED_NS)
        client = self.client_latency_ns
        return {
            "curve_ns": shape.curve(client),
            "bounds_ns": [list(pair) for pair in shape.bounds(client)],
            "blocks": shape.by_block(
                arrived["scheduled_ns"], latency.astype(np.int64), self.windows_ns, block_ns
            ),
        }


def percentile_name(q: float) -> str:
    """Name a percentile: "P99", "P99.9"."""
    return f"P{100 * q:.12g}"

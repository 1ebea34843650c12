"""Further latencies of requests, to their milestones: `run.chat.first_token.assert_p99_below(...)`.

Each is a queue whose samples are those of the latency: its completion is the milestone.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.milestone_times import BETWEEN, PER, samples_of, split_name
from pytest_xsched.analysis.targets import ErrorBudget
from pytest_xsched.stats.estimators import CENSORED_NS
from pytest_xsched.stats.summary import spread


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

    @property
    def of_requests(self) -> MeasuredQueue:
        """The queue whose requests these are."""
        return self._queue

    def refresh(self) -> None:
        """Take in the windows that the queue has."""
        self.__dict__.update(self._queue.__dict__)
        for key in ("_omitted", "_latencies"):
            self.__dict__.pop(key, None)
        self.latency = self._latency_name
        found = split_name(self._queue.milestones.names, self.latency)
        assert found is not None
        kind, name = found
        self._repeated = name if kind in (PER, BETWEEN) else ""
        self.counted = "times" if kind == BETWEEN else "requests"
        self.samples, bounds_ns = samples_of(self._queue, kind, name)
        self.latency_ns = self._span("scheduled_ns")
        self._bounds_ns = bounds_ns[self.counts_for_latencies]
        self._drawings = {}

    @property
    def no_request(self) -> str:
        """Describe that there is no request, or that none reached the milestone twice."""
        if self._repeated and self._queue.n:
            return f"no request of {self._queue.label} reached {self._repeated!r} twice"
        return super().no_request

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

    def _published(self) -> dict[str, Any]:
        return {"workload": str(self.spec.workload), **_figures(self)}

    @property
    def _interval_ns(self) -> int:
        return 0

    @property
    def omitted(self) -> int:
        """No requests: what a closed loop did not send is known of its completions only."""
        return 0


def latencies_to_list(queue: MeasuredQueue, block_ns: int) -> list[dict[str, Any]]:
    """Return the latencies to milestones in JSON's types: ns, null for never.

    Args:
        queue: whose latencies they are.
        block_ns: see `QueueResult.drawing`.
    """
    found = []
    for one in queue.latencies.values():
        data: dict[str, Any] = {"name": one.latency, "censored": one.censored, **_figures(one)}
        found.append({**data, "spread": spread(one.latency_ns), **one.drawing(block_ns)})
    return found


def _figures(latency: MilestoneLatency) -> dict[str, int | None]:
    """Return n and percentiles of a latency in ns; None: never."""
    data: dict[str, int | None] = {"n": latency.n}
    for key in ("p50", "p95", "p99", "max"):
        value = getattr(latency, key).value if latency.n else math.inf
        data[f"{key}_ns"] = None if value == math.inf else int(value)
    return data


MeasuredQueue.latency_type = MilestoneLatency  # which knows this module; it cannot import it

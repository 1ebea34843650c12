"""Latencies for pytest-benchmark's own fixture, through its public API only.

A marker can set its timer, and `pedantic` reads the timer twice a round. A timer that replays
measured latencies therefore makes them the rounds. Imports neither pytest-benchmark nor numpy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_xsched.errors import ScenarioError

if TYPE_CHECKING:
    from pytest_xsched.analysis.queue_result import QueueResult


class ReplayTimer:
    """A clock that can replay given durations between each pair of readings."""

    __name__ = "pytest-xsched"  # the name that pytest-benchmark shows

    def __init__(self) -> None:
        self._readings: Iterator[float] | None = None
        self._read = 0

    def __call__(self) -> float:
        """Return the time in seconds: the real time, or the next reading of a replay."""
        if self._readings is None:
            return time.perf_counter()
        self._read += 1
        return next(self._readings)

    def replay(self, benchmark: Any, seconds: list[float]) -> None:
        """Make durations the rounds of a benchmark.

        Args:
            benchmark: pytest-benchmark's fixture.
            seconds: at least one, finite.

        Raises:
            ScenarioError: the fixture reads another clock.
        """
        __tracebackhide__ = True
        self._readings = iter([reading for s in seconds for reading in (0.0, s)])
        self._read = 0

        def nothing() -> None:
            # Called after the first reading of the first round, before its result is kept.
            if benchmark.enabled and self._read == 0:
                raise ScenarioError(
                    "publish(): the benchmark fixture does not read pytest-xsched's clock; let the "
                    "test name both fixtures, `benchmark` and `xsched` (or one made of it), and "
                    "leave out timer= in @pytest.mark.benchmark"
                )

        try:
            benchmark.pedantic(nothing, rounds=len(seconds))
        finally:
            self._readings = None


TIMER = ReplayTimer()
"""The only clock: a marker can pass it to the fixture, but the fixture does not return it."""


def publish(queue: QueueResult, benchmark: Any, extra_info: dict[str, Any]) -> None:
    """Make the latencies of a queue the rounds of a test's benchmark.

    Raises:
        InvalidRun: a request did not complete, or none was measured.
        ScenarioError: the fixture is not pytest-benchmark's, or reads another clock.
    """
    __tracebackhide__ = True
    if not (hasattr(benchmark, "enabled") and hasattr(benchmark, "pedantic")):
        raise ScenarioError(
            f"publish(): {benchmark!r} is not the fixture `benchmark` of pytest-benchmark"
        )
    queue.require_complete("publish()")
    benchmark.extra_info.update(extra_info)
    TIMER.replay(benchmark, [ns / 1e9 for ns in queue.latency_ns.tolist()])

"""Noise over the windows of a run, in virtual time with made-up readings: exact numbers."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_xsched import InvalidRun, Session, spin
from pytest_xsched.monitoring.noise import Readings
from pytest_xsched.session import device_pool
from pytest_xsched.session.settings import Settings

S = 10**9


@pytest.fixture
def run(monkeypatch):
    """Makes a run of at most 60 s in windows, in each of which some blocks have a late heartbeat.

    The first is of 15 s in blocks of 0.75 s, the next of 7 s in blocks of 0.35 s.
    """

    def make(*late_blocks):
        windows = iter(late_blocks)

        def measure_here(devices, scenario, progress, **how):
            late = next(windows)
            heartbeat_ns = tuple(6_000_000 if i in late else 1 for i in range(20))
            readings = Readings(
                block_ns=scenario.duration_ns // 20, on_host=False, heartbeat_ns=heartbeat_ns
            )
            return dataclasses.replace(measure(devices, scenario, progress), readings=readings)

        measure = device_pool.measure
        monkeypatch.setattr(device_pool, "measure", measure_here)
        made = Session(Settings(device="sim", noise="auto"))
        return made.run(made.queue("high", spin("1ms"), rate="20/s"), duration="60s", warmup="1s")

    return make


def test_spans_of_later_windows_lie_on_the_time_of_the_run(run):
    found = run({0}, {18})
    assert found.high.noisy_ns == ((1 * S, 1 * S + 3 * S // 2),)
    assert (found.high.n, found.high.masked) == (270, 30)

    assert found.measure_on()

    # The second window begins a second behind the drain of the first; its warm-up is before it.
    start_ns, end_ns = found.high.windows_ns[1]
    assert end_ns - start_ns == 7 * S
    assert found.high.noisy_ns[1] == (start_ns + 63 * S // 10, end_ns)
    assert (found.high.n, found.high.masked) == (270 + 126, 30 + 14)
    assert len(found.high.latency_ns) == found.high.n
    noise = found.to_dict()["evidence"]["noise"]
    assert (noise["noisy_ns"], noise["measured_ns"]) == (22 * S // 10, 22 * S)
    assert [window["block_ns"] for window in noise["windows"]] == [750_000_000, 350_000_000]
    assert found.high.throughput.value == 20
    assert found.evidence.faults == ()


def test_a_target_takes_more_windows_where_requests_are_masked(run):
    """300 requests are enough for a P99, 270 are not."""
    found = run({0}, ())
    found.high.assert_p99_below("2ms")
    assert len(found.high.windows_ns) == 2


def test_a_noisy_window_spoils_a_quiet_one(run):
    found = run((), set(range(20)))
    with pytest.raises(InvalidRun, match="environment too noisy: 32% of the time, by a limit"):
        found.measure_on()

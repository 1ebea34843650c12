"""Comparisons in worker processes: a fresh one each run, and nothing but the scheduler differs."""

from __future__ import annotations

import os

from pytest_xsched import spin
from pytest_xsched.reporting.comparison_table import table
from pytest_xsched.xsched.installation import Home


def test_native_and_xsched_differ_in_the_scheduler_only(
    session_on, xsched_double, fake_gpu, monkeypatch
):
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    home = Home(path=str(xsched_double), origin="--xsched-home")
    session = session_on(fake_gpu, xsched_home=home)
    high = session.queue("high", spin("1ms"), priority=10, rate="50/s")
    low = session.queue("low", spin("2ms"), priority=1)

    comparison = session.compare(
        high, low, schedulers=["native", "xsched"], arms=["alone"], episodes=1, duration="300ms"
    )

    assert session.runs == []
    assert list(comparison.arms) == ["high alone", "low alone", "native", "xsched", "native again"]
    libraries = {
        arm: {os.path.basename(file["path"]) for file in episode.record["fingerprint"]["libraries"]}
        for arm, (episode,) in comparison.arms.items()
    }
    assert "libpreempt.so" in libraries["xsched"]
    # A fresh process each: what the arm before it loaded is not in the next.
    assert "libpreempt.so" not in libraries["native again"]
    assert comparison.low.throughput().ratio.value > 0
    assert (
        "xsched compared with native, 1 episode of 300 ms each on "
        in table(comparison.to_dict())[0]
    )


def test_runs_in_workers_are_alike(session_on):
    session = session_on("cpu", process="worker")
    queue = session.queue("high", spin("1ms"), rate="100/s")
    comparison = session.compare(
        queue, schedulers=["native", "priority"], episodes=2, duration="200ms"
    )
    assert {len(episodes) for episodes in comparison.arms.values()} == {2}

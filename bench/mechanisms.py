"""The mechanisms that share a GPU, next to each other on two models, by one `compare`.

    python bench/mechanisms.py [--pair inference] [--episodes 1] [--duration 3s] [--shares 80,50]

Needs PyTorch, torchvision and nvidia-cuda-mps-control. Arms: each model alone, one process with
`native`, `priority` and `builtin`, a process each with the driver's time slices and with MPS, as it
is, with client priorities, and with shares of the multiprocessors for `low`. Models are captured
into graphs. Each arm of each episode is a fresh process or two. Percentiles and rates are medians
over the episodes. The arm `xsched` is measured if XSCHED_HOME names an installation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

from gpu_models import PAIRS, workload
from measure import finish, judge, table

from pytest_xsched import MPS, Comparison, Run, Session
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.session.settings import Settings


class Told(Session):
    """A session that prints each run when it is over, so that one that fails loses no others."""

    def run(self, *queues: Any, **settings: Any) -> Run:
        start_s = time.monotonic()
        run = super().run(*queues, **settings)
        found = run.evidence.mps
        print(
            settings["scheduler"],
            *(f"{q.name} {q.p50} {q.p99} {q.throughput}" for q in run.queues.values()),
            "" if found is None else f"clients {found.queues} of {found.servers}",
            run.evidence.faults or "",
            run.remark,
            f"({time.monotonic() - start_s:.1f} s)",
            flush=True,
        )
        return run


def schedulers_of(shares: Sequence[int]) -> list[str | MPS]:
    found: list[str | MPS] = ["native", "priority", "builtin", "time-slicing", "mps"]
    found.append(MPS(priority={"low": 1}))
    found += [MPS(active_thread_percentage={"low": share}, priority={"low": 1}) for share in shares]
    return [*found, "xsched"] if os.environ.get("XSCHED_HOME") else found


def median(comparison: Comparison, arm: str, queue: str, key: str) -> float:
    return statistics.median(one.numbers(queue)[key] for one in comparison.episodes(arm))


def row(comparison: Comparison, arm: str) -> list[str]:
    cells = [arm, *["-"] * 6]
    if arm != "low alone":
        n = sum(one.numbers("high")["n"] for one in comparison.episodes(arm))
        times = [median(comparison, arm, "high", key) for key in ("p50_ns", "p99_ns")]
        multiple = times[1] / median(comparison, "high alone", "high", "p99_ns")
        cells[1:5] = [str(n), *(format_duration(round(ns)) for ns in times), f"{multiple:.2f}"]
    if arm != "high alone":
        rate = median(comparison, arm, "low", "throughput_hz")
        alone = median(comparison, "low alone", "low", "throughput_hz")
        cells[5:] = [format_rate(rate), f"{rate / alone:.1%}"]
    return cells


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pair", choices=PAIRS, default="inference")
    options.add_argument("--device", default="cuda")
    options.add_argument("--duration", default="3s")
    options.add_argument("--episodes", type=int, default=1)
    options.add_argument("--shares", default="80,50")
    given = options.parse_args()
    high, rate, low = PAIRS[given.pair]
    session = Told(Settings(device=given.device, process="worker"))
    start_s = time.monotonic()
    comparison = session.compare(
        session.queue("high", workload(high, "auto"), priority=10, rate=rate),
        session.queue("low", workload(low, "auto"), priority=1),
        schedulers=schedulers_of([int(share) for share in given.shares.split(",")]),
        arms=["alone"],
        episodes=given.episodes,
        duration=given.duration,
    )
    session.close()
    device = comparison.episodes("native")[0].run.device_name
    print(f"\n{given.pair} on {device}, {given.episodes} x {given.duration}, ", end="")
    print(f"{time.monotonic() - start_s:.0f} s in all\n")
    header = ["", "n", "P50", "P99", "x alone", "low", "of alone"]
    table(header, [row(comparison, arm) for arm in comparison.arms])
    mps = [arm for arm in comparison.arms if arm.startswith("mps")]
    seen = all(one.run.evidence.mps for arm in mps for one in comparison.episodes(arm))
    spoilt = [
        arm
        for arm in comparison.arms
        for one in comparison.episodes(arm)
        if one.record["evidence"]["faults"]
    ]
    return judge(
        [
            (f"each process of {len(mps)} arms was a client of MPS", seen and not spoilt),
            (f"runs with a fault that spoils them: {', '.join(spoilt) or 'none'}", not spoilt),
        ]
    )


if __name__ == "__main__":
    finish(main)

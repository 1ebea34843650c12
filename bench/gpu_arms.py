"""The arms of a scenario side by side on a GPU: alone, native, priority, builtin, xsched.

    python bench/gpu_arms.py [--scenario document|short|long|shared|small] [--repetitions 4]

Every arm of every repetition is a fresh process. The arms are interleaved, forth and back.
Percentiles and rates are medians over the repetitions, max is the maximum of all, n their sum. The
arm `xsched` is measured if XSCHED_HOME names an installation.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
from collections.abc import Callable

from measure import alternate, finish, table

from pytest_xsched import QueueSpec, Run, Session, matmul
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.session.settings import Settings

Queues = tuple[QueueSpec, QueueSpec]


def document(session: Session) -> Queues:
    """Two models as matrix products, one command in each request."""
    return (
        session.queue("high", matmul(512), priority=10, rate="20/s"),
        session.queue("low", matmul(1024, batch=8), priority=1),
    )


def short(session: Session) -> Queues:
    """A request of high is shorter than one command of low."""
    return (
        session.queue("high", matmul(512, layers=10), priority=10, rate="20/s"),
        session.queue("low", matmul(1024, batch=8, layers=100), priority=1),
    )


def long(session: Session) -> Queues:
    """A request of high is longer than several commands of low."""
    return (
        session.queue("high", matmul(512, layers=100), priority=10, rate="10/s"),
        session.queue("low", matmul(1024, batch=8, layers=100), priority=1),
    )


def shared(session: Session) -> Queues:
    """As `short`, but high has half of the multiprocessors for itself, except when alone."""
    high, low = short(session)
    return dataclasses.replace(high, sm_share=0.5), low


def small(session: Session) -> Queues:
    """For a CPU under OpenCL, with the threshold that XSched's authors use most."""
    return (
        session.queue("high", matmul(64, layers=4), priority=10, rate="20/s", threshold=4),
        session.queue("low", matmul(96, layers=16), priority=1, threshold=4),
    )


SCENARIOS: dict[str, Callable[[Session], Queues]] = {
    "document": document,
    "short": short,
    "long": long,
    "shared": shared,
    "small": small,
}
ARMS = ("high alone", "low alone", "native", "priority", "builtin")
ARMS += ("xsched",) if os.environ.get("XSCHED_HOME") else ()


def measure(session: Session, queues: Queues, arm: str, duration: str, seed: int) -> Run:
    high, low = queues
    whole = dataclasses.replace(high, sm_share=None)
    chosen = {"high alone": (whole,), "low alone": (low,)}.get(arm, queues)
    scheduler = "native" if arm.endswith("alone") else arm
    run = session.run(*chosen, duration=duration, scheduler=scheduler, seed=seed)
    for queue in run:
        run.require(queue)
    return run


def high_figures(runs: list[Run], alone: list[Run]) -> list[str]:
    def median(of: list[Run], q: float) -> float:
        return statistics.median(run.high.percentile(q).value for run in of)

    maximum = max(run.high.max.value for run in runs)
    times = [*(median(runs, q) for q in (0.5, 0.95, 0.99)), maximum]
    slowdown = median(runs, 0.99) / median(alone, 0.99)
    return [
        str(sum(run.high.n for run in runs)),
        *(format_duration(round(time)) for time in times),
        f"{slowdown:.2f}",
    ]


def low_figures(runs: list[Run], alone: list[Run]) -> list[str]:
    def median(of: list[Run]) -> float:
        return statistics.median(run.low.throughput.value for run in of)

    return [format_rate(median(runs)), f"{median(runs) / median(alone):.1%}"]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scenario", choices=SCENARIOS, default="document")
    options.add_argument("--device", default="cuda")
    options.add_argument("--duration", default="15s")
    options.add_argument("--repetitions", type=int, default=4)
    given = options.parse_args()

    session = Session(Settings(device=given.device, process="worker"))
    queues = SCENARIOS[given.scenario](session)
    runs: dict[str, list[Run]] = {arm: [] for arm in ARMS}
    for arm in alternate(given.repetitions, ARMS):
        runs[arm].append(measure(session, queues, arm, given.duration, seed=len(runs[arm])))
    session.close()

    print(f"{given.scenario} on {runs['native'][0].device_name} ({given.device}), ", end="")
    print(f"{given.repetitions} x {given.duration} an arm, a fresh process each\n")
    rows = []
    for arm in ARMS:
        high = ["-"] * 6 if arm == "low alone" else high_figures(runs[arm], runs["high alone"])
        low = ["-"] * 2 if arm == "high alone" else low_figures(runs[arm], runs["low alone"])
        rows.append([arm, *high, *low])
    table(["", "n", "P50", "P95", "P99", "max", "x alone", "low", "of alone"], rows)
    return 0


if __name__ == "__main__":
    finish(main)

"""What the record of commands costs: runs with it and without it, interleaved.

    python bench/trace_overhead.py [--device cuda] [--pairs 10] [--duration 3s]

Two loads: `small`, whose low queue launches empty commands as fast as it can, so that the record
has most to do, and `usual`, matrix products. Ratios are those of two neighbouring runs.
"""

from __future__ import annotations

import argparse
import statistics

from measure import alternate, finish, judge

from pytest_xsched import QueueSpec, Run, Session, empty, matmul
from pytest_xsched.session.settings import Settings
from pytest_xsched.stats.paired import ratio_estimate, show_bounds

LOADS = ("small", "usual")
FIGURES = (("P50 of high", "us", 1), ("throughput of low", "/s", -1))
"""Name and unit, and 1 where more is worse."""
MOST = 0.01
"""The most that the record may cost, of P50 and of throughput."""


def queues(session: Session, load: str) -> tuple[QueueSpec, QueueSpec]:
    """Return high and low."""
    small = load == "small"
    work = empty(layers=50) if small else matmul(1024, batch=8, layers=10)
    return (
        session.queue("high", matmul(512), priority=10, rate="100/s"),
        session.queue("low", work, priority=1, threshold=64 if small else 4),
    )


def figures(run: Run) -> tuple[float, float]:
    """Return P50 of high in us and throughput of low in requests per second."""
    return run.high.p50.value / 1e3, run.low.throughput.value


def main() -> int:
    """Measure the pairs, and print a line for each load and figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--duration", default="3s")
    args = parser.parse_args()
    session = Session(Settings(device=args.device, process="inside", fixed_duration=True))
    targets = []
    for load in LOADS:
        found: dict[str, list[tuple[float, float]]] = {"off": [], "all": []}
        kept = 0
        for trace in alternate(args.pairs, ("off", "all")):
            run = session.run(*queues(session, load), duration=args.duration, trace=trace)
            found[trace].append(figures(run))
            kept = max(kept, *(one["kept"] for one in run.trace.to_dict()["queues"].values()), 0)
            session.runs.clear()
        for i, (name, unit, sign) in enumerate(
            (("P50 of high", "us", 1), ("throughput of low", "/s", -1))
        ):
            without, with_it = ([one[i] for one in found[trace]] for trace in ("off", "all"))
            ratio = ratio_estimate(with_it, without)
            print(
                f"{load}: {name} {statistics.median(without):.5g} {unit} without the record, "
                f"{statistics.median(with_it):.5g} with it: {ratio.value:.4f} "
                f"({show_bounds(ratio)}, n = {args.pairs} pairs, up to {kept} commands a queue)"
            )
            target = f"{load}: {name} within {MOST:.0%}"
            targets.append((target, sign * (ratio.value - 1) <= MOST))
    session.close()
    return judge(targets)


if __name__ == "__main__":
    finish(main)

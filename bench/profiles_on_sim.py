"""What recorded profiles predict in virtual time, and what the models do on a GPU.

    python bench/profiles_on_sim.py [--gpu cuda] [--folder DIR] [--duration 20s] [--repetitions 3]

Without --gpu only `sim` is run. With it the models of `models.py` are measured, too, each arm of
each repetition in a fresh process, the arms interleaved; figures of the GPU are medians over the
repetitions. `native` launches a captured graph whole on a GPU, whose kernels then interleave with
those of the other graph: on `sim` every recorded command is one of a stream that takes turns.
`builtin` groups the commands of `low` automatically in both; `high` is launched whole on a GPU.
Before that it prints what other models of `sim` make of the first mix under `native`.

Targets: two arms whose P99s on the GPU are at least 5 % apart have the same order on `sim`; each
P99 on `sim` is within 25 % of the GPU's.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from measure import alternate, finish, judge, table
from record_profiles import HERE, PROFILES

from pytest_xsched import QueueSpec, Session, SimModel, Workload, model, recorded
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.errors import InvalidRun
from pytest_xsched.session.settings import Settings

MIXES = (
    ("resnet50", "50/s", "transformer"),
    ("llm_decode", "20/s", "transformer"),
    ("transformer", "20/s", "resnet50"),
)
"""High, its rate, and low, a closed loop."""
ARMS = ("alone", "native", "builtin")
SIM = SimModel.gpu()
SIMS = {
    "by order of launch": SimModel(launch_ns=0),
    "in turns": SimModel(launch_ns=0, interleave=True),
    "in turns, with tails": SIM,
}
MARGIN = 0.25
APART = 1.05
"""Arms whose P99s are closer than this on the GPU have no order there."""


@dataclass(frozen=True)
class Figures:
    """Of one arm; low is None where high is alone."""

    p50_ns: float
    p99_ns: float
    low_hz: float | None


def replayed(folder: Path | None, name: str, arm: str) -> Workload:
    where = name if folder is None else folder / f"{name}.json"
    return recorded(where, commands="auto" if arm == "builtin" else None)


def of_model(name: str) -> Workload:
    return model(f"{HERE / 'models.py'}:{PROFILES[name]}")


def measure(
    session: Session,
    high: Workload,
    low: Workload,
    rate: str,
    arm: str,
    duration: str,
    seed: int,
    sim: SimModel = SIM,
) -> Figures:
    queues: list[QueueSpec] = [session.queue("high", high, priority=10, rate=rate)]
    if arm != "alone":
        queues.append(session.queue("low", low, priority=1))
    scheduler = "native" if arm == "alone" else arm
    run = session.run(
        *queues, duration=duration, whole=True, scheduler=scheduler, seed=seed, sim=sim
    )
    low_hz = run.low.throughput.value if arm != "alone" else None
    try:
        run.require("high")
        return Figures(p50_ns=run.high.p50.value, p99_ns=run.high.p99.value, low_hz=low_hz)
    except InvalidRun as error:  # saturated, most likely
        print(f"{arm} on {run.device_name}: {error}")
        return Figures(p50_ns=math.inf, p99_ns=math.inf, low_hz=low_hz)


def middle(found: list[Figures]) -> Figures:
    low = [one.low_hz for one in found if one.low_hz is not None]
    return Figures(
        p50_ns=statistics.median(one.p50_ns for one in found),
        p99_ns=statistics.median(one.p99_ns for one in found),
        low_hz=statistics.median(low) if low else None,
    )


def cells(figures: Figures | None) -> list[str]:
    if figures is None:
        return []
    low = "-" if figures.low_hz is None else format_rate(figures.low_hz)
    times = (figures.p50_ns, figures.p99_ns)
    return [*("-" if math.isinf(ns) else format_duration(round(ns)) for ns in times), low]


def in_order(arms: list[str], gpu: dict[str, Figures]) -> bool:
    """Check that no arm has a P99 on the GPU that is well below that of an earlier one."""
    times = [gpu[arm].p99_ns for arm in arms]
    pairs = itertools.combinations(times, 2)
    return all(later * APART >= earlier for earlier, later in pairs)


def compare_sims(given: argparse.Namespace) -> None:
    """Print the first mix under `native` on each of SIMS; a saturated queue has no figures."""
    high, rate, low = MIXES[0]
    session = Session(Settings(device="sim"))
    rows = []
    for name, sim in SIMS.items():
        works = [replayed(given.folder, one, "native") for one in (high, low)]
        figures = measure(session, *works, rate, "native", given.duration, 0, sim)
        rows.append([name, *cells(figures)])
    session.close()
    print(f"{high} at {rate} next to {low}, native on models of sim\n")
    table(["", "P50", "P99", "low"], rows)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gpu", metavar="DEVICE", help="cuda or hip")
    options.add_argument("--folder", type=Path, help="profiles instead of the package's")
    options.add_argument("--duration", default="20s")
    options.add_argument("--repetitions", type=int, default=3)
    given = options.parse_args()
    compare_sims(given)
    targets = []
    for high, rate, low in MIXES:
        sim, gpu = {}, {}
        session = Session(Settings(device="sim"))
        for arm in ARMS:
            works = (replayed(given.folder, name, arm) for name in (high, low))
            sim[arm] = measure(session, *works, rate, arm, given.duration, 0)
        session.close()
        if given.gpu:
            session = Session(Settings(device=given.gpu, process="worker"))
            found: dict[str, list[Figures]] = {arm: [] for arm in ARMS}
            for arm in alternate(given.repetitions, ARMS):
                works = map(of_model, (high, low))
                seed = len(found[arm])
                found[arm].append(measure(session, *works, rate, arm, given.duration, seed))
            session.close()
            gpu = {arm: middle(found[arm]) for arm in ARMS}
        print(f"{high} at {rate} next to {low}, {given.duration} an arm\n")
        header = ["", "sim P50", "P99", "low"]
        header += ["GPU P50", "P99", "low", "sim / GPU, P99"] if gpu else []
        rows = []
        for arm in ARMS:
            row = [arm, *cells(sim[arm]), *cells(gpu.get(arm))]
            if gpu:
                ratio = sim[arm].p99_ns / gpu[arm].p99_ns
                row.append(f"{ratio:.2f}")
                met = abs(ratio - 1) <= MARGIN
                targets.append((f"{high}, {arm}: P99 on sim is {ratio:.2f} of the GPU's", met))
            rows.append(row)
        table(header, rows)
        if gpu:
            order = sorted(ARMS, key=lambda arm: sim[arm].p99_ns)
            targets.append((f"{high}: by P99 {', '.join(order)} on sim", in_order(order, gpu)))
    return judge(targets)


if __name__ == "__main__":
    finish(main)

"""Models of PyTorch under XSched: eagerly in processes of their own, and as graphs in one process.

    XSCHED_HOME=DIR python bench/xsched_models.py [--pair inference|products|decode] [--only eager]

The pairs are those of `gpu_models.py`. `eager`: each model is a program that knows no XQueue, under
`native` and under XSched's global HPF scheduler with thresholds of 16, 2 and 1. `graph`: both
models are captured and cut into commands of 100 us, under `native`, `builtin`, and XSched's local
HPF scheduler in one process, with thresholds of 2 and 8. Eager and graph are different programs, so
each has a table and an `alone` of its own. Arms are interleaved, forth and back, each in fresh
processes. An arm that XSched was not in effect for has a line with its faults. There are no
targets: what XSched does is what is to be known. Without XSCHED_HOME its arms are left out.
"""

from __future__ import annotations

import argparse
import os
import statistics

from gpu_models import CUT_AT, MODELS, PAIRS, TOLERANCES
from measure import alternate, finish, table

from pytest_xsched import Run, Session, XSched, model
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.errors import XSchedError
from pytest_xsched.session.settings import Settings
from pytest_xsched.xsched.installation import Home

HOME = os.environ.get("XSCHED_HOME")
EAGER = {"high alone": 0, "low alone": 0, "native": 0}
GRAPH = {"high alone": 0, "low alone": 0, "native": 0, "builtin": 0}
if HOME:
    EAGER |= {f"xsched, threshold {depth}": depth for depth in (16, 2, 1)}
    GRAPH |= {f"xsched, threshold {depth}": depth for depth in (8, 2)}
ARMS = {"eager": EAGER, "graph": GRAPH}
"""By kind: each arm, and the threshold of its queues; 0: automatic, or none."""


def measure(session: Session, kind: str, pair: str, arm: str, duration: str, seed: int) -> Run:
    high, rate, low = PAIRS[pair]
    depth = ARMS[kind][arm]
    deep = {"threshold": depth, "batch_size": max(1, depth // 2)} if depth else {}

    def work(name: str):
        cut = {} if kind == "eager" else {"commands": CUT_AT}
        tolerance = TOLERANCES.get(name, 0.0)
        return model(f"{MODELS}:{name}", mode=kind, tolerance=tolerance, **cut)

    queues = {
        "high": session.queue("high", work(high), priority=10, rate=rate, **deep),
        "low": session.queue("low", work(low), priority=1, **deep),
    }
    scheduler: str | XSched = "native" if arm.endswith("alone") else arm.partition(",")[0]
    if scheduler == "xsched":
        scheduler = XSched(scheduler="global" if kind == "eager" else "local")
    chosen = [queues[arm.split()[0]]] if arm.endswith("alone") else list(queues.values())
    return session.run(*chosen, duration=duration, whole=True, scheduler=scheduler, seed=seed)


def middle(runs: list[Run], queue: str, q: float | None) -> float:
    found = [getattr(run, queue) for run in runs if queue in run.queues]
    values = [(one.throughput if q is None else one.percentile(q)).value for one in found]
    return statistics.median(values)


def report(kind: str, pair: str, runs: dict[str, list[Run]], given: argparse.Namespace) -> None:
    alone_ns = middle(runs["high alone"], "high", 0.99) if runs["high alone"] else None
    rows = []
    for arm, of in runs.items():
        row = ["-"] * 5
        if of and "high" in of[0].queues:
            times = [middle(of, "high", q) for q in (0.5, 0.99)]
            multiple = "-" if alone_ns is None else f"{times[1] / alone_ns:.2f}"
            n = str(sum(run.high.n for run in of))
            row[:4] = [n, *(format_duration(round(ns)) for ns in times), multiple]
        if of and "low" in of[0].queues:
            row[4] = format_rate(middle(of, "low", None))
        rows.append([arm, *row])
    print(f"\n{pair}, {kind}, {given.repetitions} x {given.duration}\n")
    table(["", "n", "P50", "P99", "x alone", "low"], rows)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pair", choices=[*PAIRS], default="inference")
    options.add_argument("--only", choices=[*ARMS])
    options.add_argument("--device", default="cuda")
    options.add_argument("--duration", default="5s")
    options.add_argument("--repetitions", type=int, default=1)
    given = options.parse_args()
    home = Home(path=HOME, origin="XSCHED_HOME") if HOME else None
    session = Session(Settings(device=given.device, process="worker", xsched_home=home))
    for kind in [given.only] if given.only else ARMS:
        runs: dict[str, list[Run]] = {arm: [] for arm in ARMS[kind]}
        for arm in alternate(given.repetitions, list(ARMS[kind])):
            try:
                run = measure(session, kind, given.pair, arm, given.duration, len(runs[arm]))
            except XSchedError as error:  # XSched may end a process, or refuse
                print(f"{kind}, {arm}: {error}", flush=True)
                continue
            runs[arm].append(run)
            figures = (f"{q.name} {q.p50} {q.p99} {q.throughput}" for q in run.queues.values())
            print(f"{kind}, {arm}:", *figures, run.evidence.faults or "", flush=True)
        report(kind, given.pair, runs, given)
    session.close()
    return 0


if __name__ == "__main__":
    finish(main)

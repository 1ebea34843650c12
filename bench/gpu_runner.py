"""What the runner and its XQueue cost on an NVIDIA GPU, against a loop written by hand.

    python bench/gpu_runner.py [--repetitions 4] [--duration 10s] [--only paced|graph|burst|kept]

It builds `native/loop.c` with the C compiler and the CUDA toolkit that are there. Targets: alone,
matmul(512) at 1000/s has a P50 within 3 % and a P99 within 10 % of the loop's, and so has a
captured graph of 40 kernels, launched whole by both; an empty command
costs at most 1.2 times what it costs in the loop; an XQueue without contention keeps 99 % of the
throughput of commands of 100 us, and 95 % at 10 us. Every arm is a fresh process.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from graph_of_steps import LIST_BYTES
from measure import alternate, finish, judge, table

from pytest_xsched import Session, Workload, graph, matmul, spin
from pytest_xsched.base.units import parse_duration
from pytest_xsched.session.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
BURST = 500
RATE = 1000
KERNELS = 40
"""Of the captured graph."""
PARTS = ("paced", "graph", "burst", "kept")


def build(directory: str) -> str:
    program = f"{directory}/loop"
    sources = ["bench/native/loop.c", "native/devices/kernels/gpu_kernels.c"]
    cuda = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    subprocess.run(
        [
            *("cc", "-O2", "-D_GNU_SOURCE", "-Inative", "-Inative/include", f"-I{cuda}/include"),
            *(*sources, f"-L{cuda}/lib64", f"-L{cuda}/lib64/stubs", f"-Wl,-rpath,{cuda}/lib64"),
            *("-lcuda", "-lnvrtc", "-o", program),
        ],
        cwd=ROOT,
        check=True,
    )
    return program


def loop_ns(program: str, *arguments: object) -> np.ndarray:
    command = [program, *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return np.array(output.split(), np.int64)


def at_a_rate(
    session: Session,
    given: argparse.Namespace,
    title: str,
    work: Callable[[int], Workload],
    command: Callable[[int], tuple[object, ...]],
) -> list[tuple[str, bool]]:
    """Compare the runner, one process after another, with a loop that does the same work.

    Work and command are those of a repetition.
    """
    count = parse_duration(given.duration, what="--duration") * RATE // 10**9
    samples: dict[str, list[np.ndarray]] = {"loop": [], "runner": []}
    for arm in alternate(given.repetitions, list(samples)):
        repetition = len(samples[arm])
        if arm == "loop":
            samples[arm].append(loop_ns(*command(repetition), RATE, count))
        else:
            queue = session.queue("alone", work(repetition), rate=f"{RATE}/s")
            run = session.run(queue, duration=given.duration, scheduler="native")
            run.require("alone")
            samples[arm].append(run.alone.latency_ns)
    figures = {
        arm: [
            statistics.median(float(np.percentile(s, q, method="inverted_cdf")) for s in of)
            for q in (50, 95, 99)
        ]
        for arm, of in samples.items()
    }
    print(f"{title} at {RATE}/s, {given.repetitions} x {given.duration} an arm; us\n")
    table(
        ["", "n", "P50", "P95", "P99"],
        [
            [arm, sum(map(len, samples[arm])), *(f"{ns / 1000:.1f}" for ns in figures[arm])]
            for arm in samples
        ],
    )
    for arm, of in samples.items():  # in the order of measuring
        medians = [float(np.median(s)) / 1000 for s in of]
        print(f"P50 of each process of {arm}: {' '.join(f'{us:.1f}' for us in medians)}")
    print()
    p50, _, p99 = (a / b for a, b in zip(figures["runner"], figures["loop"], strict=True))
    return [
        (f"{title}: P50 is {p50:.3f} of the loop's, 0.97 to 1.03", 0.97 <= p50 <= 1.03),
        (f"{title}: P99 is {p99:.3f} of the loop's, at most 1.10", p99 <= 1.10),
    ]


def paced(program: str, session: Session, given: argparse.Namespace) -> list[tuple[str, bool]]:
    command = (program, "paced", 512)
    return at_a_rate(session, given, "matmul(512)", lambda _: matmul(512), lambda _: command)


def of_graph(program: str, session: Session, given: argparse.Namespace) -> list[tuple[str, bool]]:
    source, cubin = ROOT / "bench" / "native" / "steps.cu", f"{program}.cubin"
    subprocess.run([program, "compile", str(source), cubin], check=True)
    factory = f"{Path(__file__).with_name('graph_of_steps.py')}:steps"
    draw = random.Random(0)
    offsets = [draw.randrange(0, LIST_BYTES // 2, 128) for _ in range(given.repetitions)]
    return at_a_rate(
        session,
        given,
        f"a graph of {KERNELS} kernels",
        lambda repetition: graph(factory, cubin, KERNELS, offsets[repetition]),
        lambda repetition: (program, "graph", source, KERNELS, offsets[repetition]),
    )


def burst(program: str, session: Session, given: argparse.Namespace) -> list[tuple[str, bool]]:
    queue = session.queue("alone", spin("0s", layers=BURST))
    costs: dict[str, list[float]] = {"loop": [], "runner": []}
    for arm in alternate(given.repetitions, list(costs)):
        if arm == "loop":
            latencies = loop_ns(program, "burst", BURST, 1000)
        else:
            run = session.run(queue, duration="3s", scheduler="native")
            latencies = run.alone.latency_ns
        costs[arm].append(float(np.median(latencies)) / BURST)
    loop, runner = (statistics.median(costs[arm]) for arm in costs)
    print(f"requests of {BURST} empty commands, {given.repetitions} processes an arm; ns a command")
    print(f"\nloop {loop:.0f}, runner {runner:.0f}\n")
    text = f"an empty command costs {runner / loop:.3f} times the loop's, at most 1.2"
    return [(text, runner <= 1.2 * loop)]


def overhead(session: Session, given: argparse.Namespace) -> list[tuple[str, bool]]:
    targets, rows = [], []
    for duration, least in (("1ms", 0.99), ("100us", 0.99), ("10us", 0.95)):
        layers = 10**7 // parse_duration(duration, what="command")
        queue = session.queue("alone", spin(duration, layers=layers))
        rates: dict[str, list[float]] = {"native": [], "builtin": []}
        depth = 0
        for scheduler in alternate(given.repetitions, list(rates)):
            run = session.run(queue, duration="3s", scheduler=scheduler)
            rates[scheduler].append(run.alone.throughput.value * layers)
            if scheduler == "builtin":
                depth = max(depth, run.alone.counts.most_in_flight)
        native, builtin = (statistics.median(rates[name]) for name in rates)
        kept = builtin / native
        rows.append([duration, f"{native:.0f}", f"{builtin:.0f}", f"{kept:.2%}", depth])
        targets.append(
            (f"{duration}: an XQueue keeps {kept:.2%}, at least {least:.0%}", kept >= least)
        )
    print(f"closed loops of requests of 10 ms, {given.repetitions} x 3s an arm; commands/s\n")
    table(["command", "native", "builtin", "kept", "most in flight"], rows)
    return targets


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--duration", default="10s")
    options.add_argument("--repetitions", type=int, default=4)
    options.add_argument("--only", choices=PARTS)
    given = options.parse_args()
    parts = [given.only] if given.only else PARTS
    session = Session(Settings(device="cuda", process="worker"))
    targets = []
    with tempfile.TemporaryDirectory() as directory:
        program = build(directory) if parts != ["kept"] else ""
        for part, measured in (("paced", paced), ("graph", of_graph), ("burst", burst)):
            if part in parts:
                targets += measured(program, session, given)
    if "kept" in parts:
        targets += overhead(session, given)
    session.close()
    return judge(targets)


if __name__ == "__main__":
    finish(main)

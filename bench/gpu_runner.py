"""What the runner and its XQueue cost on an NVIDIA GPU, against a loop written by hand.

    python bench/gpu_runner.py [--repetitions 4] [--duration 10s] [--only paced|graph|burst|kept]
    python bench/gpu_runner.py --calls --only graph    where the time of a request goes instead

It builds `native/loop.c` with the C compiler and the CUDA toolkit that are there. Targets: alone,
matmul(512) at 1000/s has a P50 within 3 % and a P99 within 10 % of the loop's, and so has a
captured graph of 40 kernels, launched whole by both; an empty command
costs at most 1.2 times what it costs in the loop; an XQueue without contention keeps 99 % of the
throughput of commands of 100 us, and 95 % at 10 us. Every arm is a fresh process.

With `--calls` (paced and graph), both arms call a driver that forwards to the real one and keeps
the times of the calls (`native/driver_calls.c`). It prints what both do for a request: which calls,
how often, how long, and how long lies between them; then, in further processes, the time of the
launches on the device. It judges nothing, because such a driver takes time itself, in both arms.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import driver_calls
import numpy as np
from graph_of_steps import LIST_BYTES
from measure import alternate, finish, judge, table

from pytest_xsched import Session, Workload, graph, matmul, spin
from pytest_xsched.base.units import parse_duration
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.driver_files import LibraryFile

ROOT = Path(__file__).resolve().parents[1]
BURST = 500
RATE = 1000
KERNELS = 40
"""Of the captured graph."""
PARTS = ("paced", "graph", "burst", "kept")


def compile_c(out: str, *sources: str) -> str:
    cuda = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    subprocess.run(
        [
            *("cc", "-O2", "-D_GNU_SOURCE", "-Inative", "-Inative/include", f"-I{cuda}/include"),
            *(*sources, f"-L{cuda}/lib64", f"-L{cuda}/lib64/stubs", f"-Wl,-rpath,{cuda}/lib64"),
            *("-lcuda", "-ldl", "-o", out),
        ],
        cwd=ROOT,
        check=True,
    )
    return out


def build(directory: str, *libraries: str) -> str:
    sources = ("bench/native/loop.c", "native/devices/kernels/gpu_kernels.c")
    return compile_c(f"{directory}/loop", *sources, *libraries, "-lnvrtc")


def build_forwarding(directory: str) -> str:
    """Build the driver that keeps the times of the calls."""
    real = os.environ.get("PYTEST_XSCHED_GPU_DRIVER", "libcuda.so.1")
    flags = ("-shared", "-fPIC", f'-DREAL="{real}"', "-Wl,--no-as-needed")
    return compile_c(f"{directory}/libdriver_calls.so", "bench/native/driver_calls.c", *flags)


def loop_rows(program: str, *arguments: object) -> np.ndarray:
    """Return the scheduled start and the latency of each request of the loop, in ns."""
    command = [program, *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return np.array(output.split(), np.int64).reshape(-1, 2)


def calls_at_a_rate(
    session: Session,
    given: argparse.Namespace,
    title: str,
    work: Callable[[int], Workload],
    command: Callable[[int], tuple[object, ...]],
) -> list[tuple[str, bool]]:
    """Print what a request of the runner and of the loop calls, and where its time goes."""
    count = parse_duration(given.duration, what="--duration") * RATE // 10**9
    found: dict[bool, dict[str, list[driver_calls.Process]]] = {}
    faults: set[str] = set()
    for timed in (False, True):
        arms = found[timed] = {"loop": [], "runner": []}
        for arm in alternate(given.repetitions, list(arms)):
            repetition = len(arms[arm])
            with tempfile.TemporaryDirectory() as name, driver_calls.recorded(name, device=timed):
                if arm == "loop":
                    rows = loop_rows(*command(repetition), RATE, count)
                    arms[arm].append(driver_calls.of_loop(driver_calls.read(name), rows))
                    continue
                queue = session.queue("alone", work(repetition), rate=f"{RATE}/s")
                run = session.run(queue, duration=given.duration, scheduler="native")
                faults.update(run.evidence.against("alone"))
                arms[arm].append(driver_calls.of_runner(driver_calls.read(name), run.alone.samples))
    print(f"{title} at {RATE}/s, {given.repetitions} x {given.duration} an arm; us\n")
    header = ["", *found[False], "runner - loop"]
    table(header, driver_calls.rows_of(found[False], driver_calls.TIMES[:-1]))
    print("With two more events around each launch:\n")
    table(header, driver_calls.rows_of(found[True], driver_calls.TIMES[-1:]))
    print("\n".join(driver_calls.call_lines(found[False])), end="\n\n")
    print("\n".join(f"these figures mean little: {fault}" for fault in sorted(faults)))
    return []


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
    if given.calls:
        return calls_at_a_rate(session, given, title, work, command)
    count = parse_duration(given.duration, what="--duration") * RATE // 10**9
    samples: dict[str, list[np.ndarray]] = {"loop": [], "runner": []}
    for arm in alternate(given.repetitions, list(samples)):
        repetition = len(samples[arm])
        if arm == "loop":
            samples[arm].append(loop_rows(*command(repetition), RATE, count)[:, 1])
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
            latencies = loop_rows(program, "burst", BURST, 1000)[:, 1]
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
    options.add_argument("--calls", action="store_true", help="print where time goes instead")
    given = options.parse_args()
    parts = [given.only] if given.only else PARTS[:2] if given.calls else PARTS
    if given.calls and given.only not in (None, *PARTS[:2]):
        options.error(f"--calls is for {' and '.join(PARTS[:2])}, not for --only {given.only}")
    targets = []
    with tempfile.TemporaryDirectory() as directory:
        forwarding = build_forwarding(directory) if given.calls else None
        program = build(directory, *filter(None, [forwarding])) if parts != ["kept"] else ""
        driver = LibraryFile(path=forwarding, origin="--calls") if forwarding else None
        settings = Settings(device="cuda", process="worker", gpu_driver=driver)
        session = Session(replace(settings, fixed_duration=given.calls))
        for part, measured in (("paced", paced), ("graph", of_graph), ("burst", burst)):
            if part in parts:
                targets += measured(program, session, given)
        if "kept" in parts:
            targets += overhead(session, given)
        session.close()
    return judge(targets)


if __name__ == "__main__":
    finish(main)

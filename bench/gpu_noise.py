"""Whether the noise monitor on a GPU reports a noisy machine, and only a noisy one.

    python bench/gpu_noise.py [--device cuda] [--repetitions 10] [--duration 3s]

Two models under `builtin`, in a fresh process each time: without and with the monitor, alternately;
then next to another user's process that computes on the GPU, and next to three processes on each
core that only compute. Targets: the monitor changes P50 by at most 3 % and finds no fault with a
quiet machine; each of the other two is too noisy.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from measure import alternate, finish, judge, table

from pytest_xsched import Run, Session, matmul
from pytest_xsched.base.units import format_duration
from pytest_xsched.session.settings import Settings

STRANGER = """
import os
from pytest_xsched import Session, matmul
from pytest_xsched.session.settings import Settings
session = Session(Settings(device={device!r}, process="inside", noise="off"))
queue = session.live()(priority=1)
queue.submit(matmul(512))
queue.wait()
print(os.getpid(), flush=True)
while True:
    queue.submit(matmul(512, layers=10))
    queue.wait()
"""


def measure(device: str, duration: str, noise: str, seed: int) -> Run:
    session = Session(Settings(device=device, process="worker", noise=noise))
    run = session.run(
        session.queue("high", matmul(512, layers=10), priority=10, rate="200/s"),
        session.queue("low", matmul(1024, batch=8), priority=1),
        duration=duration,
        scheduler="builtin",
        seed=seed,
    )
    session.close()
    return run


@contextlib.contextmanager
def stranger(device: str) -> Iterator[None]:
    """A process that computes on the GPU, too, and is no descendant of this one."""
    code = STRANGER.format(device=device)
    with tempfile.TemporaryDirectory() as locks:  # of its own: ours would keep it off the GPU
        shell = subprocess.Popen(
            ["sh", "-c", '"$0" -c "$1" &', sys.executable, code],
            env={**os.environ, "PYTEST_XSCHED_LOCK_DIR": locks},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        try:
            yield
        finally:
            os.kill(pid, signal.SIGKILL)
            shell.wait()


@contextlib.contextmanager
def hogs(_: str) -> Iterator[None]:
    """Three processes a core that only compute."""
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def percentile(run: Run, q: float) -> float:
    """Of high, in ns; not a number where all of its requests are masked."""
    return run.high.percentile(q).value if len(run.high.latency_ns) else math.nan


def row(name: str, runs: list[Run]) -> list[str]:
    """The medians of some runs, and the worst that was read of the machine."""
    figures = [statistics.median(percentile(run, q) for run in runs) for q in (0.5, 0.99)]
    noise = [run.evidence.noise for run in runs if run.evidence.noise is not None]
    signals = [window.signals() for one in noise for window in one.windows]
    worst = [
        max((value for seen in signals for value in seen.get(signal, ())), default=None)
        for signal in ("late_ns", "heartbeat_ns", "run_delay_ns")
    ]
    noisy = sum(one.noisy_ns for one in noise) / max(1, sum(one.measured_ns for one in noise))
    return [
        name,
        str(sum(run.high.n for run in runs)),
        *(format_duration(round(ns)) if math.isfinite(ns) else "-" for ns in figures),
        *("-" if ns is None else format_duration(ns) for ns in worst),
        f"{noisy:.0%}" if noise else "-",
    ]


def found(runs: list[Run], why: str) -> bool:
    """Whether a run is too noisy for this reason."""
    faults = [fault for run in runs for fault in run.evidence.faults]
    return any("too noisy" in fault and why in fault for fault in faults)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="cuda")
    options.add_argument("--repetitions", type=int, default=10)
    options.add_argument("--duration", default="3s")
    given = options.parse_args()
    runs: dict[str, list[Run]] = {"unwatched": [], "watched": []}
    for arm in alternate(given.repetitions, list(runs)):
        noise = "off" if arm == "unwatched" else "auto"
        runs[arm].append(measure(given.device, given.duration, noise, len(runs[arm])))
    for neighbour in (stranger, hogs):
        with neighbour(given.device):
            runs[neighbour.__name__] = [measure(given.device, given.duration, "auto", 0)]

    print(f"{runs['watched'][0].device_name} ({given.device}), {os.cpu_count()} processor cores,")
    print(f"{given.repetitions} x {given.duration} an arm; the worst of all blocks\n")
    header = ["", "n", "P50", "P99", "late", "heartbeat", "run delay", "noisy"]
    table(header, [row(name, of) for name, of in runs.items()])
    for name, of in runs.items():
        for fault in sorted({fault for run in of for fault in run.evidence.faults}):
            print(f"{name}: {fault}")
        noise = [run.evidence.noise for run in of if run.evidence.noise is not None]
        gpu = {str(one.gpu) for one in noise if one.gpu is not None}
        if gpu:
            print(f"{name}: GPU {'; '.join(sorted(gpu))}")
    print()
    off, on = (
        statistics.median(run.high.percentile(0.5).value for run in runs[arm])
        for arm in ("unwatched", "watched")
    )
    quiet = [fault for run in runs["watched"] for fault in run.evidence.faults]
    return judge(
        [
            (f"watched, P50 is {on / off:.3f} of the other, 0.97 to 1.03", 0.97 < on / off < 1.03),
            (f"a quiet machine has {len(quiet)} faults, none", not quiet),
            *(
                (f"next to {name} the environment is too noisy: {why}", found(runs[name], why))
                for name, why in (("stranger", "computed on the GPU"), ("hogs", "run delay"))
            ),
        ]
    )


if __name__ == "__main__":
    finish(main)

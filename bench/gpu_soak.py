"""Mixed load for minutes in one process: what grows?

    python bench/gpu_soak.py [--minutes 10] [--device cuda]

Runs of matmul, vector_add and spin under every scheduler, one after the other, each with streams,
kernels and memory of its own on one open device, and live queues that are made and destroyed.
After every round the script reads memory of the process, file descriptors, threads and memory of
the GPU. Target: the last quarter of the rounds has no more than the first (RSS: 2 % more); the
first round does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

from measure import finish, judge, table

from pytest_xsched import Session, matmul, spin, vector_add
from pytest_xsched.base.constants import SCHEDULERS
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.nvidia_gpu import NvidiaGpu, NvmlUnavailable

NAMES = ("RSS MB", "fds", "threads", "GPU MB")


def readings() -> tuple[float, int, int, float]:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    try:
        memory = NvidiaGpu(0).memory_bytes()
    except NvmlUnavailable:
        memory = None
    return (
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        float("nan") if memory is None else memory[0] / 2**20,
    )


def one_round(session: Session, seed: int) -> int:
    requests = 0
    for scheduler in SCHEDULERS:
        run = session.run(
            session.queue("high", matmul(512, layers=10), priority=10, rate="100/s"),
            session.queue("low", matmul(1024, batch=4), priority=1),
            session.queue("adder", vector_add(2**22, layers=3), priority=1, rate="50/s"),
            session.queue("spinner", spin("50us", layers=20), priority=2, think="5ms"),
            duration="2s",
            scheduler=scheduler,
            seed=seed,
            check=seed % 8 == 0,
        )
        run.require()
        requests += sum(run[name].n for name in run)
    queues = session.live()
    for i in range(20):
        queue = queues(priority=i)
        queue.submit(matmul(64, layers=4))
        queue.wait()
        queue.destroy()
    queues.close()
    session.runs.clear()
    return requests


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--device", default="cuda")
    given = options.parse_args()
    session = Session(Settings(device=given.device, process="inside"))
    end, rows, requests = time.monotonic() + 60 * given.minutes, [], 0
    while time.monotonic() < end or len(rows) < 9:
        requests += one_round(session, seed=len(rows))
        rows.append(readings())
    session.close()
    quarter = (len(rows) - 1) // 4
    first, last = rows[1 : 1 + quarter], rows[-quarter:]
    print(f"{given.minutes:g} minutes, {len(rows)} rounds, {requests} requests measured\n")
    figures = []
    for i, name in enumerate(NAMES):
        values = [statistics.median(row[i] for row in of) for of in (first, last)]
        figures.append((name, *values))
    table(
        ["median of", "first quarter", "last quarter"],
        [[name, f"{a:.1f}", f"{b:.1f}"] for name, a, b in figures],
    )
    allowed = {"RSS MB": 1.02}
    return judge(
        (f"{name} {a:.1f} -> {b:.1f}", b <= a * allowed.get(name, 1.0)) for name, a, b in figures
    )


if __name__ == "__main__":
    finish(main)

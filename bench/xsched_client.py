"""The scheduler `xsched` against a client of XSched's API that was written by hand.

    XSCHED_HOME=DIR python bench/xsched_client.py [--device cuda|opencl] [--repetitions 4]

It builds `native/xsched_client.c` with the C compiler and the CUDA toolkit or OpenCL headers that
are there. Both have the same kernels, load and XQueues: high gets requests at a rate, low is a
closed loop, the local scheduler has the policy HPF. Every arm is a fresh process; the arms are
interleaved. Target: the P50 of high under `xsched` is within 5 % of the client's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from measure import alternate, finish, judge, table

from pytest_xsched import Session, XSched, matmul
from pytest_xsched.base.units import parse_duration
from pytest_xsched.session.settings import Settings
from pytest_xsched.xsched.installation import files_for, find_home

ROOT = Path(__file__).resolve().parents[1]
SIZES = {  # of high and low: n, layers
    "cuda": ((512, 100), (1024, 100)),
    "opencl": ((64, 8), (96, 16)),
}
RATE = 20
THRESHOLD = 4


def build(directory: str, device: str) -> str:
    program = f"{directory}/client"
    cuda = "/usr/local/cuda"
    flags = {
        "cuda": [
            f"-I{cuda}/include",
            *(f"-L{cuda}/lib64", f"-L{cuda}/lib64/stubs", f"-Wl,-rpath,{cuda}/lib64"),
            *("-lcuda", "-lnvrtc"),
        ],
        "opencl": ["-DOPENCL", "-l:libOpenCL.so.1"],
    }[device]
    sources = ["bench/native/xsched_client.c", "native/devices/kernels/gpu_kernels.c"]
    subprocess.run(
        [
            *("cc", "-O2", "-D_GNU_SOURCE", "-pthread", "-Inative", "-Inative/include", *sources),
            *(*flags, "-ldl", "-o", program),
        ],
        cwd=ROOT,
        check=True,
    )
    return program


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", choices=SIZES, default="cuda")
    options.add_argument("--duration", default="10s")
    options.add_argument("--repetitions", type=int, default=4)
    given = options.parse_args()
    device, home = given.device, find_home()
    files = files_for(device, home)
    session = Session(Settings(device=device, process="worker", xsched_home=home))
    (high_n, high_layers), (low_n, low_layers) = SIZES[device]
    depth = {"threshold": THRESHOLD, "batch_size": 2}
    queues = (
        session.queue(
            "high",
            matmul(high_n, layers=high_layers),
            priority=10,
            rate=f"{RATE}/s",
            **depth,
        ),
        session.queue("low", matmul(low_n, layers=low_layers), priority=1, **depth),
    )
    count = parse_duration(given.duration, what="--duration") * RATE // 10**9
    samples: dict[str, list[np.ndarray]] = {"client": [], "xsched": []}
    with tempfile.TemporaryDirectory() as directory:
        program = build(directory, device)
        command = [
            *(program, files.preempt, files.hal, high_n, high_layers, RATE, count),
            *(low_n, low_layers, THRESHOLD),
        ]
        environment = {**os.environ, "XLOG_LEVEL": "WARN"}
        for arm in alternate(given.repetitions, list(samples)):
            if arm == "client":
                done = subprocess.run(
                    list(map(str, command)),
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
                samples[arm].append(np.array(done.stdout.split(), np.int64))
            else:
                run = session.run(*queues, duration=given.duration, scheduler=XSched())
                run.require("high")
                samples[arm].append(run.high.latency_ns)
    name = run.device_name
    session.close()
    high, low = (queue.workload.label for queue in queues)
    print(f"{high} at {RATE}/s against {low} on {name} ({device}),")
    print(f"{given.repetitions} x {given.duration} an arm, a fresh process each; us\n")
    figures = {
        arm: [
            statistics.median(float(np.percentile(s, q, method="inverted_cdf")) for s in of)
            for q in (50, 95, 99)
        ]
        for arm, of in samples.items()
    }
    table(
        ["", "n", "P50", "P95", "P99"],
        [
            [arm, sum(map(len, samples[arm])), *(f"{ns / 1000:.1f}" for ns in figures[arm])]
            for arm in samples
        ],
    )
    ratio = figures["xsched"][0] / figures["client"][0]
    return judge([(f"P50 is {ratio:.3f} of the client's, 0.95 to 1.05", 0.95 <= ratio <= 1.05)])


if __name__ == "__main__":
    finish(main)

"""Two hosts with a GPU each: one session under `pytest -n 2`, each test on both, side by side.

    python bench/two_hosts.py [--duration 20s]

Needs two NVIDIA GPUs in this machine and pytest-xdist. Each host is this machine with one of the
GPUs (CUDA_VISIBLE_DEVICES). It prints the report of the session, and then what it has to show: the
tests passed on both hosts, on two GPUs, and their measurements overlapped in time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TEST = """
import json
import time

import pytest

from pytest_xsched import matmul


@pytest.mark.parametrize("policy", ["hpf", "fair"])
def test_both(xsched, xsched_host, policy):
    high = xsched.queue("high", matmul(512), priority=10, rate="50/s")
    low = xsched.queue("low", matmul(1024, batch=8), priority=1)
    start_s = time.time()
    run = xsched.run(high, low, policy=policy, duration="{duration}", whole=True)
    times = {{"host": xsched_host, "start_s": start_s, "end_s": time.time()}}
    with open("times.jsonl", "a") as file:
        file.write(json.dumps(times) + "\\n")
    run.high.assert_p99_below("50ms")
"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--duration", default="20s")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_hosts.py").write_text(TEST.format(duration=given.duration))
        lines = [f"    gpu{i} = env CUDA_VISIBLE_DEVICES={i} {sys.executable}\n" for i in range(2)]
        (folder / "pytest.ini").write_text(f"[pytest]\nxsched_hosts =\n{''.join(lines)}")
        words = ["-p", "xsched", "-n", "2", "--xsched-hosts=gpu0,gpu1", "--xsched-device=cuda"]
        words += ["--xsched-json=x.json"]
        ended = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=folder)
        runs = json.loads((folder / "x.json").read_text())["xsched"]["runs"]
        times = [json.loads(line) for line in (folder / "times.jsonl").read_text().splitlines()]
    devices = {run["host"]: run["fingerprint"]["devices"][0]["uuid"] for run in runs}
    spans = {
        host: (
            min(one["start_s"] for one in times if one["host"] == host),
            max(one["end_s"] for one in times if one["host"] == host),
        )
        for host in devices
    }
    overlap_s = min(end for _, end in spans.values()) - max(start for start, _ in spans.values())
    sides = " and ".join(f"{end - start:.1f} s" for start, end in spans.values())
    print(f"GPUs: {devices}; measured for {sides}, at once for {overlap_s:.1f} s")
    return 0 if ended.returncode == 0 and len(set(devices.values())) == 2 and overlap_s > 0 else 1


if __name__ == "__main__":
    sys.exit(main())

"""Two builds on one GPU, measured alternately by `pytest-xsched compare`: equal, and a worse one.

    python bench/two_builds.py [--duration 4s]

Needs an NVIDIA GPU. The builds are hosts, as containers of different images are: this machine, with
a variable in one of them. CUDA_DEVICE_MAX_CONNECTIONS=1 puts all streams into one hardware queue,
so a request waits for whole requests of another stream. It prints both reports, and exits with 0 if
the equal builds ended with exit code 0 and the worse one with 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

TEST = """
from pytest_xsched import spin


def test_service(xsched):
    high = xsched.queue("high", spin("200us"), priority=10, rate="100/s")
    low = xsched.queue("low", spin("1ms", layers=16), priority=1)
    xsched.run(high, low, scheduler="native", duration="{duration}")
"""
INI = """
[pytest]
xsched_hosts =
    main = env CUDA_DEVICE_MAX_CONNECTIONS=8 {python}
    same = env CUDA_DEVICE_MAX_CONNECTIONS=8 {python}
    one = env CUDA_DEVICE_MAX_CONNECTIONS=1 {python}
xsched_builds =
    main: host=main
    same: host=same
    pr: host=one
"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--duration", default="4s", help="of each run; a P99 needs 3s")
    options.add_argument("--device", default="cuda")
    given = options.parse_args()
    codes = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_builds.py").write_text(TEST.format(duration=given.duration))
        (folder / "pytest.ini").write_text(INI.format(python=sys.executable))
        for other in ("same", "pr"):
            words = ["compare", "main", other, f"--xsched-device={given.device}"]
            print(f"\npytest-xsched {' '.join(words)}", flush=True)
            ended = subprocess.run([sys.executable, "-m", "pytest_xsched", *words], cwd=folder)
            codes[other] = ended.returncode
    print(f"exit codes: {codes}")
    return 0 if codes == {"same": 0, "pr": 1} else 1


if __name__ == "__main__":
    sys.exit(main())

"""The page of 20 runs of 10,000 requests: at most 3 MB and 2 s, with the import of jinja2.

In each run `high` has 10,000 requests, and `low` as many as fit into the same virtual time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import finish, judge, table, wall_ns

from pytest_xsched import Session, SimModel, poisson, spin
from pytest_xsched.reporting.json_export import document, write_json
from pytest_xsched.session.settings import Settings

RUNS, REQUESTS, REPETITIONS = 20, 10_000, 5
MEGABYTE = 10**6


def records() -> list[dict[str, object]]:
    """Measure the runs, each with another seed."""
    session = Session(Settings(device="sim", fixed_duration=True))
    found = []
    for seed in range(RUNS):
        high = session.queue("high", spin("1ms"), priority=10, arrivals=poisson("20/s"))
        low = session.queue("low", spin("5ms", layers=4), priority=1)
        run = session.run(
            high, low, duration=f"{REQUESTS // 20}s", seed=seed, sim=SimModel(slots=1)
        )
        assert run.high.n >= REQUESTS * 0.95, run.high.n
        found.append(run.to_dict())
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        file, page = Path(folder, "runs.json"), Path(folder, "page.html")
        write_json(file, document(records(), Path(folder), []))
        command = [sys.executable, "-m", "pytest_xsched", "report", str(file), "-o", str(page)]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}

        def write() -> None:
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

        write()  # compiles
        seconds = [wall_ns(write) / 1e9 for _ in range(REPETITIONS)]
        size = page.stat().st_size / MEGABYTE
        rows = [[f"{file.stat().st_size / MEGABYTE:.2f}", f"{size:.2f}"]]
        rows[0] += [f"{value:.2f}" for value in (statistics.median(seconds), max(seconds))]
    print(f"{RUNS} runs of {REQUESTS} requests, {REPETITIONS} fresh processes\n")
    table(["JSON, MB", "page, MB", "median, s", "max, s"], rows)
    median = statistics.median(seconds)
    return judge(
        [
            (f"the page has {size:.2f} MB, at most 3", size <= 3),
            (f"it is written in {median:.2f} s, at most 2", median <= 2),
        ]
    )


if __name__ == "__main__":
    finish(main)

"""Measure what a reported line costs in pytest's process: parsed alone, and read from a program.

    python bench/report_lines.py [requests per second] [seconds]

Prints the processor time of a line in ns, and the share of a processor at that rate.
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
import time
from pathlib import Path

from pytest_xsched import Session, command
from pytest_xsched.scenario.arrival_process import constant
from pytest_xsched.session.settings import Settings
from pytest_xsched.stats.estimators import nearest_rank
from pytest_xsched.workers.program_reports import ProgramReports

PROGRAM = """
import os, sys, time
report, start = (int(os.environ[f"PYTEST_XSCHED_{name}"]) for name in ("REPORT", "START"))
arrivals = [int(line) for line in open(os.environ["PYTEST_XSCHED_ARRIVALS"])]
os.write(report, f"ready {os.getpid()} 2\\n".encode())
begin, end = map(int, os.read(start, 64).split())
number = 0
while number < len(arrivals):
    time.sleep(0.001)
    lines, now = [], time.monotonic_ns()
    while number < len(arrivals) and begin + arrivals[number] <= now:
        lines += [f"begin {number} {now}", f"at {number} first_token {now}", f"end {number} {now}"]
        number += 1
    if lines and sys.argv[1] == "together":
        os.write(report, ("\\n".join(lines) + "\\n").encode())
    elif lines:
        for line in lines:
            os.write(report, (line + "\\n").encode())
os.write(report, b"done\\n")
os.read(start, 1)
"""


def parsed(requests: int) -> float:
    """Return the processor time of a parsed line, ns."""
    reports = ProgramReports(list(range(requests)))
    reports.read("ready 7 2", 0)
    reports.start(10**12)
    lines = []
    for i in range(requests):
        at = 10**12 + i
        lines += [f"begin {i} {at}", f"at {i} first_token {at + 5}", f"end {i} {at + 9}"]
    begin_ns = time.process_time_ns()
    for line in lines:
        reports.read(line, 2 * 10**12)
    taken_ns = time.process_time_ns() - begin_ns
    assert not reports.fault and reports.is_done
    return taken_ns / len(lines)


def main() -> None:
    """Print all figures."""
    given = [int(text) for text in sys.argv[1:]]
    rate, seconds = (*given, *(5000, 5)[len(given) :])
    print(f"parsed: {min(parsed(100_000) for _ in range(3)):.0f} ns a line")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "program.py"
        path.write_text(textwrap.dedent(PROGRAM))
        for hz, how in ((1, "together"), (rate, "together"), (rate, "each alone")):
            session = Session(Settings(device="cpu"))
            queue = session.queue(
                "q", command([sys.executable, path, how]), arrivals=constant(f"{hz}/s")
            )
            before_ns = time.process_time_ns()
            run = session.run(queue, scheduler="native", duration=f"{seconds}s", warmup="0s")
            used_ns = time.process_time_ns() - before_ns
            late_ms = nearest_rank(run.q.lateness_ns, 0.99) / 1e6
            print(
                f"{hz}/s for {seconds} s, 3 lines each, written {how}: {used_ns / 1e6:.0f} ms of "
                f"processor time in pytest's process; its P99 lateness {late_ms:.2f} ms"
            )


if __name__ == "__main__":
    main()

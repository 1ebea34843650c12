"""Two PyTorch programs on a GPU, on the default stream and on one of their own: who schedules them?

    XSCHED_HOME=DIR python bench/gpu_programs.py [--duration 6s]

Needs PyTorch. Under the global scheduler of XSched and under `native`, and a third program that
multiplies on the processors. Targets: on their own stream XSched has work of `low`; on the default
stream it has none, and the run is invalid; the run of the program on the processors is invalid.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from measure import finish, judge

from pytest_xsched import QueueSpec, Run, Session, XSched, command
from pytest_xsched.reporting import run_table
from pytest_xsched.session.settings import Settings
from pytest_xsched.xsched.installation import Home

PROGRAM = """
import contextlib, sys, torch
from pytest_xsched.client import requests

where, size, products = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
device = "cpu" if where == "cpu" else "cuda"
own = torch.cuda.stream(torch.cuda.Stream()) if where == "own" else contextlib.nullcontext()
with own:
    a = torch.randn(size, size, device=device)
    a @ a
    for _ in requests():
        for _ in range(products):
            a @ a
        if device == "cuda":
            torch.cuda.current_stream().synchronize()
"""


def measure(
    session: Session, file: Path, where: str, scheduler: XSched | str, duration: str
) -> Run:
    def queue(name: str, where: str, size: int, **load: object) -> QueueSpec:
        program = command([sys.executable, str(file), where, str(size), "4"])
        return session.queue(name, program, **load)

    return session.run(
        queue("high", where, 128 if where == "cpu" else 1024, priority=10, rate="50/s"),
        queue("low", "own" if where == "cpu" else where, 4096, priority=1),
        duration=duration,
        scheduler=scheduler,
    )


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--duration", default="6s")
    given = options.parse_args()
    home = Home(path=os.environ["XSCHED_HOME"], origin="XSCHED_HOME")
    session = Session(Settings(device="cuda", xsched_home=home))
    under = XSched(scheduler="global")
    runs = {}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "torch_program.py"
        file.write_text(PROGRAM)
        for name, where, scheduler in (
            ("own", "own", under),
            ("default", "default", under),
            ("native", "own", "native"),
            ("cpu", "cpu", "native"),
        ):
            runs[name] = measure(session, file, where, scheduler, given.duration)
            print("\n".join(run_table.table(runs[name].to_dict())) + "\n")
    session.close()

    def faults(name: str, start: str) -> bool:
        return any(fault.startswith(start) for fault in runs[name].evidence.faults)

    cover = runs["own"].evidence.activity.coverage["low"]
    return judge(
        [
            (
                f"on a stream of its own XSched had work of low at {cover}",
                cover.polls_with_work > 0,
            ),
            (
                "that run and the native one have no faults",
                not any(runs[n].evidence.faults for n in ("own", "native")),
            ),
            (
                "on the default stream the scheduler is inactive",
                faults("default", "scheduler inactive"),
            ),
            (
                "on the processors nothing was computed on the GPU",
                faults("cpu", "the program of high computed nothing on the GPU"),
            ),
        ]
    )


if __name__ == "__main__":
    finish(main)

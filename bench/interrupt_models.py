"""Interrupt `soak_models.py` as Ctrl-C does, at several moments, and check what is left.

    python bench/interrupt_models.py [--device cuda] [--delays 1,4,8,13] [-- COMMAND ...]

Each time the soak is started in a process group of its own, which gets SIGINT some seconds after
the soak began: while it imports, builds, captures, cuts or measures, in pytest's process and in a
worker process. Targets: it ends within 20 s with status 130 and says that it was interrupted, its
standard error is empty, no process of it is left, and used memory of the GPU is what it was.
COMMAND replaces `python bench/soak_models.py`; it must begin with a line of output.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from measure import judge

from pytest_xsched.system.nvidia_gpu import NvidiaGpu, NvmlUnavailable

END_S = 20.0
SETTLED_S = 5.0
SLACK_BYTES = 8 * 2**20


def used_bytes() -> int | None:
    """Return used memory of the GPU; None: not known."""
    try:
        memory = NvidiaGpu(0).memory_bytes()
    except NvmlUnavailable:
        return None
    return None if memory is None else memory[0]


def in_group(group: int) -> list[int]:
    """Return the processes of a group that are left."""
    left = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            continue
        state, _, its_group = stat.rpartition(")")[2].split()[:3]
        if int(its_group) == group and state != "Z":
            left.append(int(entry))
    return left


def interrupt(command: list[str], delay_s: float) -> list[tuple[str, bool]]:
    before = used_bytes()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay_s)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    try:
        output, errors = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
    took_s = time.monotonic() - begin
    while in_group(process.pid) and time.monotonic() < begin + took_s + SETTLED_S:
        time.sleep(0.1)
    left = in_group(process.pid)
    after = used_bytes()
    while before is not None and after > before + SLACK_BYTES:
        if time.monotonic() > begin + took_s + SETTLED_S:
            break
        time.sleep(0.1)
        after = used_bytes()
    last = (output.strip().splitlines() or ["nothing"])[-1]
    print(f"{' '.join(command[1:])}, after {delay_s:g} s: ended in {took_s:.1f} s, {last}")
    if errors:
        print(errors)
    what = f"{command[-1]}, {delay_s:g} s"
    targets = [
        (f"{what}: status {process.returncode}, 130", process.returncode == 130),
        (f"{what}: it says that it was interrupted", "interrupted after" in output),
        (f"{what}: standard error is empty", not errors),
        (f"{what}: processes left: {left or 'none'}", not left),
    ]
    if before is not None:
        used = f"{before / 2**20:.0f} MiB of the GPU before, {after / 2**20:.0f} after"
        targets.append((f"{what}: {used}", after <= before + SLACK_BYTES))
    return targets


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="cuda")
    options.add_argument("--delays", default="1,4,8,13")
    options.add_argument("command", nargs="*")
    given = options.parse_args()
    soak = [sys.executable, str(Path(__file__).with_name("soak_models.py"))]
    targets = []
    for process in ("inside", "worker"):
        for delay in given.delays.split(","):
            command = [*(given.command or soak), f"--device={given.device}", f"--process={process}"]
            targets += interrupt(command, float(delay))
    return judge(targets)


if __name__ == "__main__":
    sys.exit(main())

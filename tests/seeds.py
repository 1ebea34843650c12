"""Runs the random tests again and again, each time with another seed: none may fail by chance.

These are the files that name hypothesis or a search of ours. `tox -e seeds`, or `python
tests/seeds.py [RUNS] [arguments of pytest ...]` where the package is installed; 20 runs where no
number is given. Exit status 1 if a run fails; its seed is in the table, and
`--hypothesis-seed=SEED` does it again.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
RANDOM = re.compile(r"hypothesis|check_xqueues|first_broken|all_broken")
DEVICE = ("device/test_statemachine.py", "device/test_order.py")
"""Those of device that need no double of XSched; the others search the double for its faults."""
RUNS = 20


def suite() -> list[str]:
    """Return the files with random tests."""
    files = sorted(path for name in ("unit", "sim") for path in (TESTS / name).rglob("test_*.py"))
    found = [path for path in files if RANDOM.search(path.read_text(encoding="utf-8"))]
    return [*(str(path.relative_to(TESTS)) for path in found), *DEVICE]


def run(seed: int, arguments: list[str]) -> tuple[int, str]:
    """Run the suite with a seed; exit status of pytest, what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-rN"]
    command += ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(TESTS.parent)]
    command += [f"--hypothesis-seed={seed}", *(arguments or suite())]
    # On a server for CI hypothesis would draw the same each time.
    environment = {name: value for name, value in os.environ.items() if "CI" not in name.split("_")}
    done = subprocess.run(
        command, cwd=TESTS, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def main(arguments: list[str]) -> int:
    runs = int(arguments.pop(0)) if arguments and arguments[0].isdecimal() else RUNS
    bad = 0
    print(f"{'run':>3} {'seed':>10}  outcome", flush=True)
    for number in range(1, runs + 1):
        seed = random.SystemRandom().randrange(2**32)
        status, printed = run(seed, list(arguments))
        last = [f"exit status {status}", *printed.strip().splitlines()][-1]
        print(f"{number:3} {seed:10}  {last}", flush=True)
        if status != 0:
            bad += 1
            print(printed[-6000:], flush=True)
    print(f"{runs - bad} of {runs} runs without a failure")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

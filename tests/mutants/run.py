"""Holds the property tests against mutants: each patch breaks one line, and must be found.

`tox -e mutants`, or `python tests/mutants/run.py [NAME ...]` where the build tools are installed.
Each mutant is built from a copy of the tree, the property tests run on it in two processes until
one fails, and a table says which, after how many seconds, and with how many steps in the smallest
counterexample. Exit status 1 if one lives, or a patch does not fit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TESTS = (
    (
        "sim/test_oracle.py",
        "device/test_order.py",
        "device/test_statemachine.py::test_live_queues_on_threads",
    ),
    (
        "sim/test_statemachine.py::test_live_queues[1]",
        "sim/test_statemachine.py::test_another_launch_config_for_what_is_in_flight",
        "sim/test_properties.py",
    ),
)
"""Side by side, each in its order."""
SECONDS_MAX = 60
STEPS_MAX = 6


def apply(patch: str, root: Path) -> None:
    """Apply a patch of one hunk, by its text alone; ValueError if it does not fit in one place."""
    name = re.search(r"^\+\+\+ b/(.*)$", patch, re.MULTILINE)[1]
    hunk = patch[patch.index("@@\n") + 3 :].splitlines(keepends=True)
    old = "".join(line[1:] for line in hunk if line[0] != "+")
    new = "".join(line[1:] for line in hunk if line[0] != "-")
    path = root / name
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1 or old == new:
        raise ValueError(f"{name}: the patch fits in {text.count(old)} places")
    path.write_text(text.replace(old, new), encoding="utf-8")


def install(tree: Path, site: Path, build: Path) -> None:
    """Build the package of a tree; what did not change since the last time is not built again."""
    shutil.rmtree(site, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += [
        "--no-build-isolation",
        "--target",
        str(site),
        "-C",
        f"build-dir={build}",
        str(tree),
    ]
    subprocess.run(command, check=True)


def hunt(site: Path, scratch: Path) -> tuple[float, str]:
    """Run the tests in two processes until one fails: seconds, what it printed; "" if none did."""
    begin = time.monotonic()
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    look = [sys.executable, "-c", "import pytest_xsched; print(pytest_xsched.__file__)"]
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    found = subprocess.run(look, env=environment, cwd=scratch, check=True, capture_output=True)
    if not found.stdout.decode().startswith(str(site)):
        sys.exit(f"an editable install hides the mutants: {found.stdout.decode().strip()}")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "--hypothesis-seed=0"]
    logs = [scratch / f"{index}.log" for index in range(len(TESTS))]
    running = {}
    for log, tests in zip(logs, TESTS, strict=True):
        with log.open("w") as out:
            running[log] = subprocess.Popen(
                [*command, *tests],
                cwd=ROOT / "tests",
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
    killed = ""
    while running and not killed and time.monotonic() < begin + 5 * SECONDS_MAX:
        time.sleep(0.1)
        for log, process in list(running.items()):
            if process.poll() is not None:
                del running[log]
                killed = killed or (log.read_text(encoding="utf-8") if process.returncode else "")
    seconds = time.monotonic() - begin
    for process in running.values():
        process.kill()
        process.wait()
    if running and not killed:
        killed = "hangs"
    return seconds, killed


def steps_of(printed: str) -> int | None:
    """Count the smallest counterexample: steps of a state machine, or requests of a scenario."""
    # A broken rule shows what was done; a step of the machine may be several of these.
    steps = re.findall(r"^E\s+(?:q\d+|xqueues\d*)(?:\.| = ).*\)?$", printed, re.MULTILINE)
    if steps:
        return len(steps)
    backlog = re.findall(r"backlog=\[(.*?)\]", printed)
    if backlog:
        return backlog[-1].count("(")
    scenario = re.search(r"^E?\s+Draw 1: Scenario\((.*?)^E?\s+seed=", printed, re.DOTALL | re.M)
    if scenario is None:
        return None
    count = 0
    for load in re.findall(r"arrivals=(.*)$", scenario[1], re.MULTILINE):
        times = re.search(r"replay\(\((.*)\)\)", load)
        rate = re.search(r'\("(\d+)/s"', load)
        if times:
            count += len(re.findall(r'"', times[1])) // 2
        else:  # of a rate, in 100 ms; a closed loop counts as one
            count += int(rate[1]) // 10 if rate else 1
    return count


def killer(printed: str) -> str:
    failed = re.search(r"^FAILED \S*?(\w+\.py::\S+)", printed, re.MULTILINE)
    return failed[1] if failed else printed


def main(wanted: list[str]) -> int:
    patches = sorted(HERE.glob("*.patch"))
    patches = [patch for patch in patches if not wanted or patch.stem in wanted]
    bad = 0
    print(f"{'mutant':36} {'killed by':52} {'seconds':>7} {'steps':>5}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        tree, site, build = (Path(scratch) / name for name in ("tree", "site", "build"))
        ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "tests", "bench")
        shutil.copytree(ROOT, tree, ignore=ignored)
        for patch in patches:
            text = patch.read_text(encoding="utf-8")
            name = re.search(r"^\+\+\+ b/(.*)$", text, re.MULTILINE)[1]
            apply(text, tree)
            install(tree, site, build)
            seconds, printed = hunt(site, Path(scratch))
            shutil.copyfile(ROOT / name, tree / name)  # with a new time: it is built again
            steps = steps_of(printed)
            lives = not printed or seconds > SECONDS_MAX or steps is None or steps > STEPS_MAX
            bad += lives
            by = killer(printed) if printed else "LIVES"
            print(f"{patch.stem:36} {by:52} {seconds:7.1f} {steps or '-':>5}", flush=True)
            if steps is None and printed:
                print(printed[-6000:])
    killed = f"{len(patches) - bad} of {len(patches)}"
    print(f"{killed} killed within {SECONDS_MAX} s and {STEPS_MAX} steps")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Check that the tests find mutants: each patch changes one line of the package or of native/.

`tox -e mutants`, or `python tests/mutants/run.py [NAME ...]` where the build tools are installed.
The first line of a patch may name the tests that are to find it: `tests: unit/stats/test_trend.py`.
Those tests run on a copy of the package with the changed line until one fails, and pass without it.
A patch that names no tests is to be found by the property tests, in two processes, with a small
counterexample. The native module is built again for a patch of C only. A table says which test
found which mutant, after how many seconds, and with how many steps in the smallest counterexample.
Exit status 1 if a mutant lives, or if a patch does not fit.
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
PROPERTIES = (
    (
        "sim/test_oracle.py",
        "device/test_order.py",
        "device/test_statemachine.py::test_live_queues_in_real_time[cpu-10]",
    ),
    (
        "sim/test_statemachine.py::test_live_queues[1]",
        "sim/test_statemachine.py::test_another_launch_config_for_what_is_in_flight",
        "sim/test_properties.py",
    ),
)
"""The property tests: side by side, each in its order."""
SECONDS_MAX = 60
STEPS_MAX = 6


def file_of(patch: str) -> str:
    """Return the file that a patch changes, from the root of the repository."""
    return re.search(r"^\+\+\+ b/(.*)$", patch, re.MULTILINE)[1]


def tests_of(patch: str) -> tuple[str, ...]:
    """Return the tests that a patch names; () if it is to be found by the property tests."""
    named = re.match(r"tests: (.*)$", patch, re.MULTILINE)
    return tuple(named[1].split()) if named else ()


def apply(patch: str, root: Path) -> None:
    """Apply a patch of one hunk, by its text alone; ValueError if it does not fit in one place."""
    name = file_of(patch)
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
    command += ["--no-build-isolation", "--no-compile", "--target", str(site)]
    subprocess.run([*command, "-C", f"build-dir={build}", str(tree)], check=True)


def hunt(site: Path, scratch: Path, groups: tuple[tuple[str, ...], ...]) -> tuple[float, str]:
    """Run groups of tests side by side until one fails: seconds, what it printed; "" if none did.

    A process that ends for another reason than a failed test or a crash, because it found no test
    for instance, shows nothing: SystemExit.
    """
    begin = time.monotonic()
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    # A file of bytecode is taken for that of a changed file if size and second are the same.
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    where = [sys.executable, "-c", "import pytest_xsched; print(pytest_xsched.__file__)"]
    found = subprocess.run(where, env=environment, cwd=scratch, check=True, capture_output=True)
    if not found.stdout.decode().startswith(str(site)):
        sys.exit(f"an editable install hides the mutants: {found.stdout.decode().strip()}")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "--hypothesis-seed=0"]
    logs = [scratch / f"{index}.log" for index in range(len(groups))]
    running = {}
    for log, tests in zip(logs, groups, strict=True):
        with log.open("w") as out:
            running[log] = subprocess.Popen(
                [*command, *tests],
                cwd=ROOT / "tests",
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
    killed = ""
    try:
        while running and not killed and time.monotonic() < begin + 5 * SECONDS_MAX:
            time.sleep(0.1)
            for log, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[log]
                printed = log.read_text(encoding="utf-8")
                if process.returncode > 1:
                    sys.exit(f"{' '.join(groups[logs.index(log)])} did not run:\n{printed[-6000:]}")
                killed = killed or (printed if process.returncode else "")
        if running and not killed:
            killed = "hangs"
        return time.monotonic() - begin, killed
    finally:
        for process in running.values():
            process.kill()
            process.wait()


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
    crashed = re.search(r'^Fatal .*?(test_\w+\.py)", line \d+ in (test_\w+)', printed, re.M | re.S)
    if failed is None and crashed is not None:
        return f"{crashed[1]}::{crashed[2]} (it crashes)"
    return failed[1] if failed else printed


def main(wanted: list[str]) -> int:
    patches = sorted(HERE.glob("*.patch"))
    patches = [patch for patch in patches if not wanted or patch.stem in wanted]
    texts = {patch.stem: patch.read_text(encoding="utf-8") for patch in patches}
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        tree, site, build = (Path(scratch) / name for name in ("tree", "site", "build"))
        ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "tests", "bench")
        shutil.copytree(ROOT, tree, ignore=ignored)
        install(tree, site, build)
        named = tuple(dict.fromkeys(test for text in texts.values() for test in tests_of(text)))
        if named and (printed := hunt(site, Path(scratch), (named,))[1]):
            sys.exit(f"without a mutant:\n{printed[-6000:]}")
        print(f"{'mutant':44} {'found by':76} {'seconds':>7} {'steps':>5}", flush=True)
        # Those in Python first, on the module that is built already.
        for name, text in sorted(texts.items(), key=lambda item: file_of(item[1])[-2:] == ".c"):
            file, tests = file_of(text), tests_of(text)
            in_c = file.endswith(".c")
            apply(text, tree if in_c else site)
            if in_c:
                install(tree, site, build)
            seconds, printed = hunt(site, Path(scratch), (tests,) if tests else PROPERTIES)
            # With a new time: it is built again.
            shutil.copyfile(ROOT / file, (tree if in_c else site) / file)
            steps = None if tests else steps_of(printed)
            small = bool(tests) or (steps is not None and steps <= STEPS_MAX)
            lives = not printed or seconds > SECONDS_MAX or not small
            bad += lives
            by = killer(printed) if printed else "LIVES"
            print(f"{name:44} {by:76} {seconds:7.1f} {steps or '-':>5}", flush=True)
            if printed and not small:
                print(printed[-6000:])
    print(f"{len(patches) - bad} of {len(patches)} found", end=" ")
    print(f"within {SECONDS_MAX} s, by property tests within {STEPS_MAX} steps")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

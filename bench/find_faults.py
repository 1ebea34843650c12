"""Which faults of a scheduler the shipped commands find by themselves: rows for bench/RESULTS.md.

    python bench/find_faults.py [FAULT ...]
    python bench/find_faults.py --clean --runs 20

The script gives the double of XSched one fault at a time (native/tests/doubles/xsched/faults.c), on
a driver without a GPU, and runs the commands of COMMANDS with their default budgets, one after the
other, until one reports something. No command receives the name of the fault. Two faults are
examined side by side, because a machine of CI has two processors. With --clean the double has no
fault, the seeds are random, and nothing may be reported. Needs a C compiler and no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pytest_xsched import Session, XSched
from pytest_xsched.base import policies
from pytest_xsched.conformance.live_engine import not_claimed
from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.minimize import first_broken, times_broken

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from conftest import LIBRARIES, SHARED, compile_c, compile_library

FAKE = (
    *("fake_cuda.c", "fake_errors.c", "fake_graph.c"),
    *("fake_identity.c", "fake_kernels.c", "fake_nvrtc.c"),
)
TABLE = Path(__file__).resolve().parents[1] / "native/tests/doubles/xsched/faults.c"
NO_FAULT = "ignore-case"
HPF = next(policy for policy in policies.XSCHED if policy.name == "hpf")
SIDE_BY_SIDE = 2
REPEATS = 3
LIMIT_S = 600.0
"""A command that takes longer found nothing."""
AT_ONCE = 3
"""The most queues of a small example; of steps, twice as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a command reported.

    Attributes:
        rule: the rule, or the check of the doctor.
        size: of the example: "3 steps", "2 queues".
        reproduced: how many runs in fresh processes showed it again.
        repeats: how many such runs there were.
        again_s: how long these took, where the script does them and not the command.
    """

    rule: str
    size: str
    reproduced: int
    repeats: int
    again_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of a fault, by which command, and after how many seconds."""

    fault: str
    command: str
    seconds: float
    report: Report | None


class Setup:
    """The double and the fake driver, and the environment of a command that uses them.

    Args:
        home: an empty folder for them, and for locks and results of the commands.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        (self.home / "lib").mkdir()
        (self.home / "bin").mkdir()
        server = self.home / "bin" / "xserver"
        text = TABLE.with_name("xserver.py").read_text(encoding="utf-8")
        server.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        server.chmod(0o755)
        for name in LIBRARIES:
            compile_library(self.home / "lib", name)
        self.fake = str(compile_c(self.home / "fake.so", FAKE, SHARED))
        self.known_checks = frozenset(self.failed_checks(self.environment("")))

    def environment(self, fault: str) -> dict[str, str]:
        """Return the environment of commands, with a folder of its own for locks and results."""
        place = tempfile.mkdtemp(dir=self.home)
        return os.environ | {
            "PYTEST_XSCHED_GPU_DRIVER": self.fake,
            "PYTEST_XSCHED_GPU_COMPILER": self.fake,
            "FAKE_CUDA_DEVICES": "2",
            "PYTEST_XSCHED_CACHE": "",
            "PYTEST_XSCHED_LOCK_DIR": place,
            "PYTEST_XSCHED_NOISE": "note",
            "XSCHED_HOME": str(self.home),
            "PREEMPT_DOUBLE": fault,
            "PREEMPT_DOUBLE_SERVER": f"{place}/socket",
            "PYTHONUNBUFFERED": "1",
        }

    def failed_checks(self, environment: dict[str, str]) -> dict[str, str]:
        """Run the doctor, and return the names of the checks that failed, with a sentence."""
        arguments = ["-m", "pytest_xsched", "doctor", "--json", "--device=cuda"]
        text = "".join(lines_of(arguments, environment))
        checks = json.loads(text)["checks"] if text else []
        return {check["name"]: check["seen"] for check in checks if check["status"] == "failed"}


def lines_of(arguments: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Run Python, and yield what it prints, line by line; end it when the caller has enough.

    It is also ended after LIMIT_S seconds, and that is no error.

    Raises:
        RuntimeError: it ended with another exit status than 0 or 1.
    """
    errors = Path(environment["PYTEST_XSCHED_LOCK_DIR"]) / "errors.txt"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            cwd=errors.parent,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    is_late = threading.Event()

    def end_late() -> None:
        if process.poll() is None:
            is_late.set()
            os.killpg(process.pid, signal.SIGKILL)

    limit = threading.Timer(LIMIT_S, end_late)
    limit.start()
    try:
        yield from process.stdout
        if process.wait() not in (0, 1) and not is_late.is_set():
            raise RuntimeError(f"{arguments}: status {process.returncode}\n{errors.read_text()}")
    finally:
        limit.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def names_of_faults() -> list[str]:
    """Return the names in the table of faults.c, in its order."""
    names = re.findall(r'^    \{"([a-z0-9-]+)", &', TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return [name for name in names if name != NO_FAULT]


# ---- the commands


def doctor(setup: Setup, environment: dict[str, str], _seed: str) -> Report | None:
    """`pytest-xsched doctor`: a check that fails, which does not without a fault."""

    def failed() -> list[str]:
        return [name for name in setup.failed_checks(environment) if name not in setup.known_checks]

    found = failed()
    if not found:
        return None
    begin_s = time.monotonic()
    again = sum(found[0] in failed() for _ in range(REPEATS))
    return Report(
        rule=found[0],
        size="1 check",
        reproduced=again,
        repeats=REPEATS,
        again_s=time.monotonic() - begin_s,
    )


def live(
    setup: Setup, environment: dict[str, str], seed: str, policy: str = "hpf"
) -> Report | None:
    """`first_broken` with its default settings, in a process of its own."""
    text = "".join(lines_of([__file__, "--live", policy], environment))
    found = json.loads(text.splitlines()[-1]) if text.strip() else None
    return None if found is None else Report(**found)


def live_alone(setup: Setup, environment: dict[str, str], seed: str) -> Report | None:
    """The same without a policy: only the user suspends queues."""
    return live(setup, environment, seed, "none")


def take_steps(policy: str) -> None:
    """Print the report of `first_broken` as JSON; this is the process of `live`."""
    scheduler = XSched(policy=policy, scheduler="app" if policy == "none" else "local")
    claimed = HPF if policy == "hpf" else replace(HPF, rules=())
    session = Session(Settings(device="cuda"))
    without = not_claimed(claimed)
    if policy == "none":  # only the user suspends and resumes
        del without["held launches nothing"], without["equals run together"]

    def make() -> XQueues:
        return session.live(scheduler=scheduler)

    found = first_broken(make, without=without)
    report = None
    if found is not None:
        begin_s = time.monotonic()
        again = times_broken(make, found, REPEATS, without=without)
        report = Report(
            rule=found.rule,
            size=f"{len(found.steps)} steps",
            reproduced=again,
            repeats=REPEATS,
            again_s=time.monotonic() - begin_s,
        )
    print(json.dumps(report and asdict(report)))
    session.close()


_FINDING = re.compile(r"  FAILED  (?P<rule>.+?)  +\S")
_AGAIN = re.compile(r"reproduced in (\d+) of (\d+) fresh")
_END = re.compile(r"\n  (?:holds|FAILED|once|unseen) |\n\S")


def conformance(setup: Setup, environment: dict[str, str], seed: str) -> Report | None:
    """`pytest-xsched conformance`, until its first finding."""
    text = ""
    arguments = ["-m", "pytest_xsched", "conformance", "-x", "--device=cuda", f"--seed={seed}"]
    for line in lines_of(arguments, environment):
        text += line
        found = _FINDING.search(text)
        if found and (end := _END.search(text, found.end())):
            return _read(found["rule"], text[found.start() : end.end()])
    found = _FINDING.search(text)
    return _read(found["rule"], text[found.start() :]) if found else None


def _read(rule: str, text: str) -> Report:
    again = _AGAIN.search(text)
    return Report(
        rule=rule,
        size=_size(text),
        reproduced=int(again[1]) if again else 0,
        repeats=int(again[2]) if again else 0,
    )


def _size(text: str) -> str:
    """Return the size of the example of a finding: a scenario, steps, or else a program."""
    if queues := text.count("QueueSpec("):
        return f"{queues} queues"
    _, _, lines = text.partition("by these steps of the fixture xqueues:\n")
    steps = len(re.findall(r"^ {10}\S", lines, re.MULTILINE))
    return f"{steps} steps" if steps else "1 program"


Command = Callable[[Setup, dict[str, str], str], "Report | None"]
COMMANDS: dict[str, Command] = {
    "doctor": doctor,
    "first_broken": live,
    "conformance": conformance,
    "first_broken, no policy": live_alone,
}
"""The cheap ones first."""


def examine(setup: Setup, fault: str, seed: str) -> Row:
    """Run the commands with one fault until one reports something."""
    environment = setup.environment(fault)
    started_s = time.monotonic()
    for name, command in COMMANDS.items():
        report = command(setup, environment, seed)
        if report is not None:
            return Row(fault, name, time.monotonic() - started_s - report.again_s, report)
    return Row(fault, "-", time.monotonic() - started_s, None)


def line_of(row: Row) -> str:
    """Return a row of the table."""
    found = row.report
    what = (found.rule, found.size, f"{found.reproduced} of {found.repeats}") if found else "---"
    return (
        f"{row.fault:20} {row.command:24} {what[0]:34} {row.seconds:7.1f} {what[1]:>10} {what[2]}"
    )


def is_small(report: Report) -> bool:
    """Check whether an example is small, and was reproduced each time."""
    count, unit = report.size.split()
    most = AT_ONCE if unit == "queues" else 2 * AT_ONCE
    return int(count) <= most and report.reproduced == report.repeats


def main() -> int:
    """Print the table, and a line that counts."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("faults", nargs="*", metavar="FAULT", help="default: all")
    options.add_argument("--clean", action="store_true", help="without a fault")
    options.add_argument("--runs", type=int, default=20, help="of --clean (default: 20)")
    options.add_argument("--live", metavar="POLICY", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.live:
        take_steps(given.live)
        return 0
    if unknown := [name for name in given.faults if name not in names_of_faults()]:
        options.error(f"the double has no fault {unknown[0]!r}; {TABLE} has all of them")
    with tempfile.TemporaryDirectory(prefix="find-faults-", ignore_cleanup_errors=True) as home:
        return search(Setup(Path(home)), given)


def search(setup: Setup, given: argparse.Namespace) -> int:
    """Examine the faults that the options name, and print a row for each."""
    names = [""] * given.runs if given.clean else given.faults or names_of_faults()
    begin_s = time.monotonic()
    print(f"{'fault':20} {'found by':24} {'rule':34} {'seconds':>7} {'size':>10} again", flush=True)
    rows = []
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        jobs = [
            pool.submit(examine, setup, name, "random" if given.clean else "0") for name in names
        ]
        for job in jobs:
            rows.append(job.result())
            print(line_of(rows[-1]), flush=True)
    found = [row for row in rows if row.report]
    small = sum(row.report is not None and is_small(row.report) for row in rows)
    print(
        f"found {len(found)} of {len(rows)}, {small} with a small example that was reproduced each "
        f"time; {time.monotonic() - begin_s:.0f} s"
    )
    return int(bool(found) if given.clean else len(found) < len(rows))


if __name__ == "__main__":
    sys.exit(main())

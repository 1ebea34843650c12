"""Which faults of a scheduler the shipped commands find by themselves: rows for bench/RESULTS.md.

    python bench/find_faults.py [FAULT ...]
    python bench/find_faults.py --part 1/3
    python bench/find_faults.py --clean --runs 20 --side-by-side 4 --limit 50

The script gives the double of XSched one fault at a time (native/tests/doubles/xsched/faults.c), on
a driver without a GPU, and runs the commands of COMMANDS with their default budgets, one after the
other, until one keeps four things: it reports a breach of a rule that the fault breaks (OWN_RULES),
with a small example, reproduced each time, within ten minutes. If none does, the row is that of the
first report of such a rule, and says what is not kept. No command receives the name of the fault,
and what is found of another rule is printed and does not count.
Two faults are examined side by side, because a machine of CI has two processors. With --clean the
double has no fault, the seeds are random, all commands run, and nothing may be reported; they sleep
most of the time, so four fit on two processors. Needs a C
compiler and no GPU.
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
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_xsched import Session, XSched
from pytest_xsched.base import policies
from pytest_xsched.conformance.live_engine import not_claimed
from pytest_xsched.session.settings import Settings
from pytest_xsched.session.several_devices import live_on
from pytest_xsched.stress.competition import keeps_devices_apart
from pytest_xsched.stress.minimize import first_broken

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
"""Within this time, a fault must be found; commands that take longer are ended."""
CLEAN_S = 1800.0
"""The same for all commands together, without a fault."""
AT_ONCE = 3
"""The most queues of a small example; of steps, twice as many."""


ENDS = ("canary", "the process survives", "returns in time")
HANGS = ("canary", "returns in time", "* returns*")
LOST = ("canary", "nothing lost, nothing twice", "all through XSched", "order of counts")
PRIORITY = ("priorities", "in effect", "highest first")
OWN_RULES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("exit", "abort", "segv", "kill", "oom", "callback", "crash-destroy"), ENDS),
    **dict.fromkeys(("hang-callback", "hang-submit", "hang-destroy", "never-resume"), HANGS),
    **dict.fromkeys(("hang-exit", "crash-exit"), ("end of a process", "ends as without*")),
    **dict.fromkeys(("ignore-priority", "late-preemption"), PRIORITY),
    **dict.fromkeys(("inactive", "other-policy"), ("scheduler", "priorities", "in effect")),
    **dict.fromkeys(("drop", "twice", "lose-at-resume", "count-falls"), LOST),
    **dict.fromkeys(("lose-at-config", "lose-during-config"), (*LOST, "wait returns*")),
    "poll": ("costs little",),
    "ticks": ("rests without work",),
    "wake-all": ("wake-ups grow with events",),
    "slow-suspend": ("suspend returns soon",),
    "keep-memory": ("memory is given back",),
    "keep-queues": ("a destroyed queue leaves nothing",),
    "large-commands": ("commands are small",),
    **dict.fromkeys(("fork-hangs", "fork-exit", "exec-hangs"), ("a child works as without*",)),
    "exec-loses": ("a child is scheduled*",),
    **dict.fromkeys(("exit-pending", "exit-status"), ("ends as without*", "end of a process")),
    "pid-namespace": ("any pid namespace*",),
    **dict.fromkeys(("server-gone", "server-kills"), ("the server may go*",)),
    "server-back": ("the server may come back*",),
    "server-dies": ("the server stays*",),
    "outside-hint-lost": ("hints from outside*",),
    "hang-destroy-below": ("destroy returns*",),
    **dict.fromkeys(("tire", "inherit-hints", "hint-late", "hint-border"), PRIORITY),
    "hang-wait-beside-destroy": ("set_launch_config returns*",),
    "crash-hint-beside-destroy": ("the process survives",),
    "hang-two-suspends": ("suspend returns*",),
    "one-device": ("devices are apart",),
    "policy-keeps": ("a new policy decides",),
    "threshold-plus-one": ("threshold",),
    "long-command": ("threshold", "highest first"),
    "reorder": ("in order", "canary"),
    "lost-wakeup": (
        "* returns*",
        "everything ends",
        "works while there is work",
        "returns in time",
    ),
    "slow-resume": (
        "works while there is work",
        "takes turns",
        "inversion is bounded",
        "a new policy decides",
    ),
    "equals-in-turn": ("equals run together",),
    **dict.fromkeys(
        ("latest-first", "deadline-late", "deadline-border", "deadline-constant"),
        ("earliest first", "in effect"),
    ),
    **dict.fromkeys(("always-lax", "laxity-late"), ("critical first", "in effect")),
    "utilization-late": ("time by weight",),
    "no-turns": ("equals run together", "takes turns", "time by weight", "in effect"),
    "destroyed-holds": ("* returns*", "everything ends", "returns in time"),
    "off-holds": ("off means off",),
    "off-for-good": ("highest first",),
    **dict.fromkeys(("one-more", "suspend-beside-launch"), ("held launches nothing",)),
    "suspends-add-up": ("* returns*", "held launches nothing"),
    "idle-spin": ("idle burns nothing",),
    "hang-config": ("set_launch_config returns*",),
    "few-queues": ("no call fails",),
    "circular-wait": ("no circular wait", "* returns*", "everything ends"),
    "long-inversion": ("inversion is bounded",),
}
"""Of each fault the rules, and checks of the doctor, that it breaks, as patterns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a command reported.

    Attributes:
        rule: the rule, or the check of the doctor.
        size: of the example: "3 steps", "2 queues".
        reproduced: how many runs in fresh processes showed it again.
        repeats: how many such runs there were.
        again_s: how long these took, where the script does them and not the command.
        text: what the command printed about it.
    """

    rule: str
    size: str
    reproduced: int
    repeats: int
    again_s: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of a fault, by which command, and after how many seconds.

    Attributes:
        others: what was found of rules that the fault does not break, with the command.
    """

    fault: str
    command: str
    seconds: float
    report: Report | None
    others: tuple[tuple[str, Report], ...] = ()


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


@dataclass(frozen=True, slots=True)
class Trial:
    """What a command examines: the double with a fault, a seed, and when it must have an end."""

    setup: Setup
    environment: dict[str, str]
    seed: str
    until_s: float

    def lines_of(self, *arguments: str) -> Iterator[str]:
        """Run Python, and yield what it prints, line by line, until the time is over."""
        return lines_of([*arguments], self.environment, max(0.0, self.until_s - time.monotonic()))


def lines_of(
    arguments: list[str], environment: dict[str, str], limit_s: float = LIMIT_S
) -> Iterator[str]:
    """Run Python, and yield what it prints, line by line; end it when the caller has enough.

    It is also ended after a limit, and that is no error.

    Raises:
        RuntimeError: it ended with another exit status than 0, 1 or 8.
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

    limit = threading.Timer(limit_s, end_late)
    limit.start()
    try:
        yield from process.stdout
        # 8: conformance found nothing, and did not see something of each kind.
        if process.wait() not in (0, 1, 8) and not is_late.is_set():
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


def doctor(trial: Trial) -> Report | None:
    """`pytest-xsched doctor`: a check that fails, which does not without a fault."""

    setup = trial.setup

    def failed() -> dict[str, str]:
        checks = setup.failed_checks(trial.environment)
        return {name: seen for name, seen in checks.items() if name not in setup.known_checks}

    found = failed()
    if not found:
        return None
    rule, seen = next(iter(found.items()))
    begin_s = time.monotonic()
    again = sum(rule in failed() for _ in range(REPEATS))
    return Report(
        rule=rule,
        text=seen,
        size="1 check",
        reproduced=again,
        repeats=REPEATS,
        again_s=time.monotonic() - begin_s,
    )


def live(trial: Trial, policy: str = "hpf") -> Report | None:
    """`first_broken` with its default settings, in a process of its own."""
    text = "".join(trial.lines_of(__file__, "--live", policy))
    found = json.loads(text.splitlines()[-1]) if text.strip() else None
    return None if found is None else Report(**found)


def live_alone(trial: Trial) -> Report | None:
    """The same without a policy: only the user suspends queues."""
    return live(trial, "none")


def take_steps(policy: str) -> None:
    """Print the report of `first_broken` as JSON; this is the process of `live`."""
    scheduler = XSched(policy=policy, scheduler="app" if policy == "none" else "local")
    claimed = HPF if policy == "hpf" else replace(HPF, rules=())
    session = Session(Settings(device="cuda"))
    without = not_claimed(claimed)
    if policy == "none":  # only the user suspends and resumes
        del without["held launches nothing"], without["equals run together"]
    make = live_on(session, scheduler, 2 if keeps_devices_apart(claimed) else 1)
    found = first_broken(make, without=without)
    report = None
    if found is not None:
        report = Report(
            rule=found.rule,
            size=f"{len(found.steps)} steps",
            reproduced=found.reproduced,
            repeats=found.repeats,
            text=str(found),
        )
    print(json.dumps(report and asdict(report)))
    session.close()


_FINDING = re.compile(r"  FAILED  (?P<rule>.+?)  +\S")
_AGAIN = re.compile(r"reproduced in (\d+) of (\d+) fresh")
_END = re.compile(r"\n  (?:holds|FAILED|once|unseen) |\n\S")


def processes(trial: Trial) -> Report | None:
    """`pytest-xsched conformance processes`: the part that takes half a minute."""
    return conformance(trial, "processes")


def conformance(trial: Trial, *names: str) -> Report | None:
    """`pytest-xsched conformance`, until its first finding."""
    text = ""
    module = ("-m", "pytest_xsched", "conformance")
    for line in trial.lines_of(*module, *names, "-x", "--device=cuda", f"--seed={trial.seed}"):
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
        text=text,
    )


def _size(text: str) -> str:
    """Return the size of the example of a finding: a scenario, steps, or else a program."""
    if queues := text.count("QueueSpec("):
        return f"{queues} queues"
    _, _, lines = text.partition("by these steps of the fixture xqueues:\n")
    steps = len(re.findall(r"^ {10}\S", lines, re.MULTILINE))
    return f"{steps} steps" if steps else "1 program"


Command = Callable[[Trial], "Report | None"]
COMMANDS: dict[str, Command] = {
    "doctor": doctor,
    "conformance processes": processes,
    "first_broken": live,
    "conformance": conformance,
    "first_broken, no policy": live_alone,
}
"""The cheap ones first."""


def is_own(fault: str, rule: str) -> bool:
    """Check whether a rule, as a report names it, is one that a fault breaks."""
    rule = rule.removeprefix("live queues: ")
    return any(fnmatchcase(rule, pattern) for pattern in OWN_RULES.get(fault, ()))


def examine(setup: Setup, fault: str, seed: str) -> Row:
    """Run the commands with one fault until one report keeps everything; without a fault, all."""
    started_s = time.monotonic()
    again_s, others, own = 0.0, list[tuple[str, Report]](), list[Row]()
    trial = Trial(
        setup, setup.environment(fault), seed, started_s + (LIMIT_S if fault else CLEAN_S)
    )
    for name, command in COMMANDS.items():
        report = command(trial)
        if report is None:
            continue
        again_s += report.again_s
        if is_own(fault, report.rule):
            seconds = time.monotonic() - started_s - again_s
            own.append(Row(fault, name, seconds, report))
            if all(kept(own[-1]).values()):
                break
        else:
            others.append((name, report))
    none = Row(fault, "-", time.monotonic() - started_s - again_s, None)
    best = max(own, key=lambda row: all(kept(row).values()), default=none)
    return replace(best, others=tuple(others))


def is_small(report: Report) -> bool:
    """Check whether an example is small."""
    count, unit = report.size.split()
    most = AT_ONCE if unit == "queues" else 2 * AT_ONCE
    return 0 < int(count) <= most


def kept(row: Row) -> dict[str, bool]:
    """Return which of the four conditions a row keeps."""
    found = row.report
    return {
        "rule": found is not None,
        "size": found is not None and is_small(found),
        "again": found is not None and found.reproduced == found.repeats == REPEATS,
        "time": found is not None and row.seconds <= LIMIT_S,
    }


def lines(row: Row) -> list[str]:
    """Return a row of the table, and a line for each finding of another rule."""
    found = row.report
    what = (found.rule, found.size, f"{found.reproduced} of {found.repeats}") if found else "---"
    missed = ", ".join(name for name, is_kept in kept(row).items() if not is_kept)
    verdict = f"not: {missed}" if row.fault and missed else "kept" if row.fault else ""
    return [
        f"{row.fault or '(none)':25} {row.command:24} {what[0]:34} {row.seconds:7.1f} "
        f"{what[1]:>10} {what[2]:>7}  {verdict}".rstrip(),
        *(
            f"    another rule, by {name}: {other.rule}, {other.size}, reproduced "
            f"{other.reproduced} of {other.repeats}\n{textwrap.indent(other.text, ' ' * 8)}"
            for name, other in row.others
        ),
    ]


def total(rows: Sequence[Row], *, clean: bool) -> str:
    """Return the last line, which counts."""
    others = sum(len(row.others) for row in rows)
    if clean:
        longest_s = max((row.seconds for row in rows), default=0.0)
        ended = sum(row.seconds >= CLEAN_S for row in rows)
        return (
            f"without a fault: {others} findings in {len(rows)} runs; the longest took "
            f"{longest_s:.0f} s, {ended} were ended after {CLEAN_S:.0f} s"
        )
    counts = Counter(name for row in rows for name, is_kept in kept(row).items() if is_kept)
    every = sum(all(kept(row).values()) for row in rows)
    return (
        f"all four kept for {every} of {len(rows)} faults: found by a rule of their own "
        f"{counts['rule']}, at most {2 * AT_ONCE} steps or {AT_ONCE} queues {counts['size']}, "
        f"reproduced {REPEATS} of {REPEATS} {counts['again']}, within {LIMIT_S:.0f} s "
        f"{counts['time']}; findings of other rules: {others}"
    )


def part_of(names: Sequence[str], text: str) -> list[str]:
    """Return a part of the names: of "2/3", each third one, from the second one on."""
    number, count = map(int, text.split("/"))
    if not 1 <= number <= count:
        raise ValueError
    return list(names[number - 1 :: count])


def main() -> int:
    """Print the table, and a line that counts."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("faults", nargs="*", metavar="FAULT", help="default: all")
    options.add_argument(
        "--part", default="1/1", metavar="K/N", help="each N-th fault from the K-th one on"
    )
    options.add_argument("--clean", action="store_true", help="without a fault")
    options.add_argument("--runs", type=int, default=20, help="of --clean (default: 20)")
    options.add_argument(
        "--limit", type=float, default=float("inf"), metavar="MINUTES", help="then no row begins"
    )
    options.add_argument(
        "--side-by-side", type=int, default=SIDE_BY_SIDE, metavar="N", help="default: 2"
    )
    options.add_argument("--live", metavar="POLICY", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.live:
        take_steps(given.live)
        return 0
    if unknown := [name for name in given.faults if name not in names_of_faults()]:
        options.error(f"the double has no fault {unknown[0]!r}; {TABLE} has all of them")
    try:
        given.faults = part_of(given.faults or names_of_faults(), given.part)
    except ValueError:
        options.error(f"--part: {given.part!r} is not K/N with K from 1 to N; write 2/3")
    with tempfile.TemporaryDirectory(prefix="find-faults-", ignore_cleanup_errors=True) as home:
        return search(Setup(Path(home)), given)


def search(setup: Setup, given: argparse.Namespace) -> int:
    """Examine the faults that the options name, and print a row for each."""
    names = [""] * given.runs if given.clean else given.faults
    seed = "random" if given.clean else "0"
    begin_s = time.monotonic()
    print(
        f"{'fault':25} {'found by':24} {'rule':34} {'seconds':>7} {'size':>10} {'again':>7}",
        flush=True,
    )
    rows = []

    def one(name: str) -> Row | None:
        is_late = time.monotonic() - begin_s > 60 * given.limit
        return None if is_late else examine(setup, name, seed)

    with ThreadPoolExecutor(given.side_by_side) as pool:
        try:
            for job in [pool.submit(one, name) for name in names]:
                if (row := job.result()) is not None:
                    rows.append(row)
                    print("\n".join(lines(row)), flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(total(rows, clean=given.clean))
    took_s = time.monotonic() - begin_s
    print(f"{len(rows)} of {len(names)} rows, {given.side_by_side} side by side, {took_s:.0f} s")
    if given.clean:
        return int(any(row.others for row in rows) or len(rows) < len(names))
    return int(not all(all(kept(row).values()) for row in rows) or len(rows) < len(names))


if __name__ == "__main__":
    sys.exit(main())

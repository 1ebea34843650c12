"""Run random scenarios and random steps on live queues for a long time.

    python bench/soak.py [--minutes 10] [--device sim] [--process inside]

Every run is checked against the invariants. At the end, memory, open files and threads of the
process, and used memory of the GPU, must be as they were after the first quarter. Ctrl-C ends the
soak early, with a report of what was found. Exit status: 0, 1 if something does not hold or grows,
130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity

from pytest_xsched.base.constants import GPUS
from pytest_xsched.base.units import format_duration
from pytest_xsched.doctor.gpu_idle import used_bytes
from pytest_xsched.errors import WorkerCrashed
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.session import Session
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.invariants import check_invariants
from pytest_xsched.stress.state_machine import REPLAYS, check_xqueues, is_flaky
from pytest_xsched.stress.strategies import arrivals, scenarios, without_tests

SLACK_BYTES = 8 * 2**20
"""Allowed growth after the first quarter: caches of Python, of malloc and of a driver."""
GROWTH = 0.01
"""The same for the memory of the process, as a part of it: a framework has gigabytes."""

FINDINGS = (AssertionError, WorkerCrashed)
"""What a round reports as a fault of the scheduler under test."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the process holds, and all processes of the GPU; None: no GPU, or not known."""

    rss_bytes: int
    files: int
    threads: int
    gpu_bytes: int | None = None


def footprint(pci_id: str | None = None) -> Footprint:
    """Read what this process and a GPU hold."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Footprint(
        rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        files=len(os.listdir("/proc/self/fd")),
        threads=len(os.listdir("/proc/self/task")),
        gpu_bytes=None if pci_id is None else used_bytes(pci_id),
    )


Round: TypeAlias = Callable[[Session, int, dict[str, int]], list[str]]
"""Does some of the work: takes its number, adds to the counts, and returns what did not hold."""


def soak(
    session: Session,
    duration_ns: int,
    say: Callable[[str], None],
    one_round: Round | None = None,
    *,
    every: int = 10,
) -> int:
    """Run until the time is over and return the exit status.

    Args:
        session: on whose device.
        duration_ns: of the soak.
        say: prints a line.
        one_round: what to repeat; None: random scenarios and steps.
        every: after how many rounds to print what the process holds.
    """
    begin = time.monotonic()
    seen: list[Footprint] = []
    counts: dict[str, int] = {}
    faults: list[str] = []
    interrupted = False
    try:
        while True:  # with a condition here, Ctrl-C could go past the `try`
            elapsed_s = time.monotonic() - begin
            if faults or elapsed_s >= duration_ns / 1e9:
                break
            with without_tests():
                faults = (one_round or _round)(session, len(seen), counts)
            seen.append(_settled(session, seen))
            if len(seen) % every == (1 if every > 1 else 0):
                say(f"soak: {elapsed_s:.0f} s, {_spelled(counts)}, {_shown(seen[-1])}")
    except KeyboardInterrupt:
        interrupted = True
    if not faults:
        faults = growth(seen)
    took = format_duration(round((time.monotonic() - begin) * 1e9))
    say(f"soak: {'interrupted after' if interrupted else 'ended after'} {took}, {_spelled(counts)}")
    for fault in faults:
        say(f"soak: {fault}")
    if not faults and seen:
        say(f"soak: flat, {_shown(seen[len(seen) // 4])} -> {_shown(seen[-1])}")
    return 1 if faults else 130 if interrupted else 0


def _settled(session: Session, seen: list[Footprint]) -> Footprint:
    """Read again for up to a second while there are more threads: a joined one is listed on."""
    gc.collect()  # a run and its queues refer to each other, and their arrays are large
    now, until_s = footprint(_pci_id(session)), time.monotonic() + 1.0
    while seen and now.threads > seen[-1].threads and time.monotonic() < until_s:
        time.sleep(0.01)
        now = footprint(_pci_id(session))
    return now


def growth(seen: list[Footprint]) -> list[str]:
    """Return what grew from the second quarter to the last, by their medians."""
    quarter = len(seen) // 4
    if quarter == 0:
        return []
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    faults = []
    slacks = {"rss_bytes": SLACK_BYTES, "files": 0, "threads": 0, "gpu_bytes": SLACK_BYTES}
    for name, slack in slacks.items():
        before, after = _median(early, name), _median(late, name)
        if name == "rss_bytes" and before is not None:
            slack = max(slack, GROWTH * before)
        if before is not None and after is not None and after > before + slack:
            faults.append(f"{name} grew from {before:.0f} to {after:.0f}")
    return faults


def _median(seen: list[Footprint], name: str) -> float | None:
    known = [value for one in seen if (value := getattr(one, name)) is not None]
    return statistics.median(known) if known else None


def _round(session: Session, seed: int, counts: dict[str, int]) -> list[str]:
    """Try ten scenarios and a sequence of steps; return what did not hold."""
    virtual = session.device_kind == "sim"
    settings = hypothesis.settings(
        max_examples=10,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    # In real time no closed loops: one of high priority would starve others until the drain ends.
    space = scenarios(
        device=session.device, loads=None if virtual else arrivals(closed_loops=False)
    )

    broken: list[tuple[Scenario, Exception]] = []

    @hypothesis.seed(seed)
    @settings
    @hypothesis.given(space)
    def try_one(scenario: Scenario) -> None:
        try:
            check_invariants(session.run_scenario(scenario))
        except FINDINGS as error:
            broken.append((scenario, error))
            raise
        counts["scenarios"] += 1

    for name in ("scenarios", "sequences of steps"):
        counts.setdefault(name, 0)
    try:
        try_one()
        check_xqueues(
            session.live, hypothesis.settings(settings, max_examples=1, derandomize=False)
        )
        counts["sequences of steps"] += 1
    except FINDINGS as error:
        # hypothesis asserts that it has begun, also where an interrupt kept it from that.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        return _lines(error)
    except Exception as error:
        if not broken or not is_flaky(error):
            raise
        scenario, first = broken[0]
        again = sum(_is_broken(session, scenario) for _ in range(REPLAYS))
        return [*_lines(first), f"the scenario broke a rule again in {again} of {REPLAYS} replays"]
    return []


def _is_broken(session: Session, scenario: Scenario) -> bool:
    try:
        check_invariants(session.run_scenario(scenario))
    except FINDINGS:
        return True
    return False


def _lines(error: Exception) -> list[str]:
    return [line for line in str(error).splitlines() if line] or ["an invariant does not hold"]


def _pci_id(session: Session) -> str | None:
    """Return the PCI id of the GPU of the last scenario; None: it ran on no GPU."""
    if session.trial is None or session.device_kind not in GPUS:
        return None
    return session.trial.fingerprint.devices[0].pci_id


def _spelled(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "no round"


def _shown(one: Footprint) -> str:
    gpu = "" if one.gpu_bytes is None else f", {one.gpu_bytes / 2**20:.0f} MiB of the GPU"
    return f"{one.rss_bytes / 2**20:.1f} MiB, {one.files} files, {one.threads} threads{gpu}"


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--device", default="sim")
    # What leaks in a worker process ends with it.
    options.add_argument("--process", default="inside", choices=("inside", "worker"))
    given = options.parse_args()
    session = Session(Settings(device=given.device, process=given.process))
    try:
        return soak(session, round(given.minutes * 60e9), lambda line: print(line, flush=True))
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(main())

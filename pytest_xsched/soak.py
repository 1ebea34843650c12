"""`pytest --xsched-soak=10m`: random scenarios and random steps on live queues, for a long time.

What must hold is checked all along; and memory, open files and threads of the process must be as
flat in the end as they were behind the first quarter. Ctrl-C ends it with what was found so far.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity

from pytest_xsched.invariants import check_invariants
from pytest_xsched.model import Scenario
from pytest_xsched.session import Session
from pytest_xsched.statemachine import check_xqueues
from pytest_xsched.strategies import arrivals, scenarios
from pytest_xsched.units import format_duration

SLACK_BYTES = 8 * 2**20
"""What the process may grow by beyond the first quarter: caches of Python and of malloc."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the process holds."""

    rss_bytes: int
    files: int
    threads: int


def footprint() -> Footprint:
    """Look at this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Footprint(
        rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        files=len(os.listdir("/proc/self/fd")),
        threads=len(os.listdir("/proc/self/task")),
    )


def soak(session: Session, duration_ns: int, say: Callable[[str], None]) -> int:
    """Run until the time is over: 0, or 1 if something did not hold, or 2 after Ctrl-C."""
    begin = time.monotonic()
    seen: list[Footprint] = []
    counts = {"scenarios": 0, "sequences of steps": 0}
    faults: list[str] = []
    interrupted = False
    try:
        while (elapsed_s := time.monotonic() - begin) < duration_ns / 1e9 and not faults:
            faults = _round(session, len(seen), counts)
            seen.append(footprint())
            if len(seen) % 10 == 1:
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
    return 1 if faults else 2 if interrupted else 0


def growth(seen: list[Footprint]) -> list[str]:
    """Say what grew: the last quarter against the second, by their medians."""
    quarter = len(seen) // 4
    if quarter == 0:
        return []
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    faults = []
    for name, slack in (("rss_bytes", SLACK_BYTES), ("files", 0), ("threads", 0)):
        before = statistics.median(getattr(one, name) for one in early)
        after = statistics.median(getattr(one, name) for one in late)
        if after > before + slack:
            faults.append(f"{name} grew from {before:.0f} to {after:.0f}")
    return faults


def _round(session: Session, seed: int, counts: dict[str, int]) -> list[str]:
    """Try ten scenarios and a sequence of steps; what did not hold."""
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

    @hypothesis.seed(seed)
    @settings
    @hypothesis.given(space)
    def try_one(scenario: Scenario) -> None:
        check_invariants(session.run_scenario(scenario))
        counts["scenarios"] += 1

    try:
        try_one()
        check_xqueues(
            session.live, hypothesis.settings(settings, max_examples=1, derandomize=False)
        )
        counts["sequences of steps"] += 1
    except AssertionError as error:
        return [line for line in str(error).splitlines() if line] or ["an invariant does not hold"]
    return []


def _spelled(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _shown(one: Footprint) -> str:
    return f"{one.rss_bytes / 2**20:.1f} MiB, {one.files} files, {one.threads} threads"

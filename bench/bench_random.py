"""How many random scenarios a minute are drawn, run on the simulator and checked.

Target: 1,000 a minute on two cores. Each process has a device and draws with hypothesis, as a test
of random mixes does, with other seeds.
"""

from __future__ import annotations

import multiprocessing
import time

import hypothesis
from hypothesis import HealthCheck, Phase
from measure import finish, judge, table

from pytest_xsched import Scenario, Session
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.invariants import check_invariants
from pytest_xsched.stress.strategies import scenarios

EXAMPLES = 500
"""In each process."""
TARGET = 1000
"""A minute."""
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def checked(seed: int) -> tuple[int, float]:
    """Draw, run and check: how many scenarios, in how many seconds."""
    session = Session(Settings(device="sim"))
    count = 0

    @hypothesis.seed(seed)
    @SETTINGS
    @hypothesis.given(scenarios())
    def try_one(scenario: Scenario) -> None:
        nonlocal count
        check_invariants(session.run_scenario(scenario))
        count += 1

    begin = time.perf_counter()
    try_one()
    seconds = time.perf_counter() - begin
    session.close()
    return count, seconds


def main() -> int:
    print(f"scenarios() of four queues at most, all policies; {EXAMPLES} in each process\n")
    rows, rates = [], {}
    for processes in (1, 2):
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            done = pool.map(checked, range(processes), chunksize=1)
        count, seconds = sum(n for n, _ in done), max(s for _, s in done)
        rates[processes] = 60 * count / seconds
        rows.append((processes, count, f"{seconds:.1f}", f"{rates[processes]:.0f}"))
    table(["processes", "scenarios", "seconds", "a minute"], rows)
    return judge(
        [(f"{rates[2]:.0f} a minute in two processes, at least {TARGET}", rates[2] >= TARGET)]
    )


if __name__ == "__main__":
    finish(main)

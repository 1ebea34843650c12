"""How often --xsched-regression is wrong: equal builds that fail, and regressions that it finds.

python bench/margin_rates.py

Simulates sessions one after the other, as a baseline has them: the kept ones and then one more,
under drift. Prints the table of docs/explanation/error_rates.md, the same one every time, in half a
minute.
"""

from __future__ import annotations

import argparse

import aa_comparisons
import numpy as np
from aa_comparisons import Drift, bursty, independent, linear, random_walk, steady

from pytest_xsched.stats.kept_runs import is_beyond

MARGIN = 0.2
SLOWER = 1.5
KEPT = (3, 5, 10, 18)


def rates(
    latencies: Drift, drift: Drift, kept: int, *, sessions: int, seed: int
) -> tuple[float, float]:
    """Return the shares of sessions that fail: of equal builds, and of slower ones."""
    random = np.random.default_rng(seed)
    failed = [0, 0]
    for _ in range(sessions):
        values = latencies(random, kept + 1) * np.exp(drift(random, kept + 1))
        before, now = values[:-1].tolist(), float(values[-1])
        for i, factor in enumerate((1.0, SLOWER)):
            failed[i] += is_beyond(now * factor, before, MARGIN)
    return failed[0] / sessions, failed[1] / sessions


def rows(sessions: int, seed: int) -> list[str]:
    """Return the table, in Markdown."""
    lines = [
        f"| latencies | requests | drift | stored runs | equal builds fail | {SLOWER} x is found |",
        "|---|---|---|---|---|---|",
    ]
    cases = [(independent, 1000, drift) for drift in (steady, random_walk, linear)]
    cases += [(independent, 300, drift) for drift in (random_walk, linear)]
    cases += [(bursty, 1000, random_walk)]
    for latencies, requests, drift in cases:
        aa_comparisons.REQUESTS = requests
        for kept in KEPT:
            equal, slower = rates(latencies, drift, kept, sessions=sessions, seed=seed)
            name = drift.__name__.replace("_", " ")
            lines.append(
                f"| {latencies.__name__} | {requests} | {name} | {kept} | {equal:.1%} | "
                f"{slower:.1%} |".replace("%", " %")
            )
    return lines


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sessions", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    print("\n".join(rows(given.sessions, given.seed)))

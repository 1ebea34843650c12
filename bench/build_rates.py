"""How often `pytest-xsched compare main pr` is wrong: equal builds that fail.

python bench/build_rates.py

Simulates P99s of two builds: measured alternately in seven episodes, and as stored runs, all of one
build before all of the other. Prints the table of docs/explanation/error_rates.md, the same one
every time, in a minute.
"""

from __future__ import annotations

import argparse
import statistics

import aa_comparisons
import numpy as np
from aa_comparisons import Drift, bursty, independent, linear, random_walk, steady

from pytest_xsched.comparison import pairs, stored_sides
from pytest_xsched.session.comparing import turns
from pytest_xsched.stats.paired import ratio_estimate
from pytest_xsched.stats.ranks import CHANCE, chance_above

SLOWER = (1.0, 1.5)
EPISODES = 7
STORED = ((3, 3), (5, 5), (19, 1))


def alternately(random: np.random.Generator, latencies: Drift, drift: Drift) -> list[bool]:
    """Return whether the second build is worse, for each of SLOWER."""
    order = list(turns(EPISODES, (0, 1)))
    values = latencies(random, len(order)) * np.exp(drift(random, len(order)))
    arms = [[0.0] * EPISODES, [0.0] * EPISODES]
    for (episode, arm), value in zip(order, values.tolist(), strict=True):
        arms[arm][episode] = value
    first, second = arms
    return [
        ratio_estimate([factor * one for one in second], first).low > 1 + pairs.MARGIN
        for factor in SLOWER
    ]


def stored(
    random: np.random.Generator, latencies: Drift, drift: Drift, counts: tuple[int, int]
) -> list[bool]:
    """Return whether the stored runs of the second build are worse, for each of SLOWER."""
    runs = sum(counts)
    values = (latencies(random, runs) * np.exp(drift(random, runs))).tolist()
    first, second = values[: counts[0]], values[counts[0] :]
    found = []
    for factor in SLOWER:
        slower = [factor * one for one in second]
        limit = statistics.median(first) * (1 + stored_sides.MARGIN)
        is_higher = statistics.median(slower) > limit
        found.append(is_higher and chance_above(first, slower) <= CHANCE + 1e-9)
    return found


def rates(latencies: Drift, drift: Drift, *, sessions: int, seed: int) -> list[tuple[float, float]]:
    """Return of each way the shares that fail: of equal builds, and of slower ones."""
    random = np.random.default_rng(seed)
    counts = np.zeros((1 + len(STORED), len(SLOWER)), int)
    for _ in range(sessions):
        counts[0] += alternately(random, latencies, drift)
        for i, of_sides in enumerate(STORED, 1):
            counts[i] += stored(random, latencies, drift, of_sides)
    return [(equal / sessions, slower / sessions) for equal, slower in counts.tolist()]


def rows(sessions: int, seed: int) -> list[str]:
    """Return the table, in Markdown."""
    heads = ["alternately", *(f"stored {a} and {b}" for a, b in STORED)]
    lines = [
        f"| latencies | requests | drift | {' | '.join(heads)} |",
        "|---|---|---|" + "---|" * len(heads),
    ]
    cases = [
        (independent, n, drift) for n in (1000, 300) for drift in (steady, random_walk, linear)
    ]
    cases += [(bursty, 1000, random_walk)]
    for latencies, requests, drift in cases:
        aa_comparisons.REQUESTS = requests
        found = rates(latencies, drift, sessions=sessions, seed=seed)
        cells = [f"{equal:.1%}, {slower:.1%}".replace("%", " %") for equal, slower in found]
        name = drift.__name__.replace("_", " ")
        lines.append(f"| {latencies.__name__} | {requests} | {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("\n".join(rows(arguments.sessions, arguments.seed)))

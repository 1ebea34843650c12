"""How often a comparison claims a difference: between equal arms, under drift, and of a real one.

python bench/aa_comparisons.py

Simulates the P99s of comparisons and judges them with what `xsched.compare` uses. Prints the table
of docs/explanation/error_rates.md, the same one every time, in about a minute.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.session.comparing import turns
from pytest_xsched.stats.paired import beyond, noise_floor, ratio_estimate

Floats = NDArray[np.float64]

REQUESTS = 300  # of an episode: the fewest with which a P99 may be judged
ARMS = ("native", "scheduled", "native again")


def random_walk(random: np.random.Generator, runs: int) -> Floats:
    """Log speed of each run: a random walk whose end is 10 % off, in the root mean square."""
    return np.cumsum(random.standard_normal(runs)) * 0.1 / math.sqrt(runs)


def linear(random: np.random.Generator, runs: int) -> Floats:
    """Log speed of each run: up or down by 10 % from the first to the last."""
    return np.linspace(0, random.choice((-0.1, 0.1)), runs)


def steady(random: np.random.Generator, runs: int) -> Floats:
    """No drift at all."""
    return np.zeros(runs)


def independent(random: np.random.Generator, runs: int) -> Floats:
    """P99s of runs of independent requests with lognormal latencies (sigma 0.5)."""
    return p99(np.exp(0.5 * random.standard_normal((runs, REQUESTS))))


def bursty(random: np.random.Generator, runs: int) -> Floats:
    """P99s of runs in which one request in 300 begins a burst: about seven, three times as long."""
    slow = random.random((runs, REQUESTS)) < 1 / 300
    for _ in range(9):
        slow[:, 1:] |= slow[:, :-1] & (random.random((runs, REQUESTS - 1)) < 0.9)
    return p99(np.exp(0.3 * random.standard_normal((runs, REQUESTS))) * np.where(slow, 3, 1))


def p99(latencies: Floats) -> Floats:
    """Nearest rank, a row a run."""
    rank = math.ceil(0.99 * latencies.shape[1]) - 1
    values: Floats = np.partition(latencies, rank, axis=1)[:, rank]
    return values


Drift = Callable[[np.random.Generator, int], Floats]


def measured(
    random: np.random.Generator, latencies: Drift, drift: Drift, episodes: int, speed: float
) -> dict[str, list[float]]:
    """Simulate a comparison in the order of `xsched.compare`: P99s of each arm by episode."""
    order = list(turns(episodes, ARMS))
    values = latencies(random, len(order)) * np.exp(drift(random, len(order)))
    found: dict[str, list[float]] = {arm: [0.0] * episodes for arm in ARMS}
    for (episode, arm), value in zip(order, values, strict=True):
        found[arm][episode] = float(value) * (speed if arm == "scheduled" else 1.0)
    return found


def ours(arms: dict[str, list[float]]) -> bool:
    """Whether `xsched.compare` shows a difference."""
    ratio = ratio_estimate(arms["scheduled"], arms["native"])
    return beyond(ratio, noise_floor(ratio_estimate(arms["native again"], arms["native"])))


def one_after_the_other(
    random: np.random.Generator, latencies: Drift, drift: Drift, episodes: int, speed: float
) -> tuple[bool, bool]:
    """First all of one arm, then of the other: is Welch's t beyond 5 %, are medians 10 % off?"""
    runs = 2 * episodes
    values = np.log(latencies(random, runs) * np.exp(drift(random, runs)))
    a, b = values[:episodes], values[episodes:] + math.log(speed)
    va, vb = a.var(ddof=1) / episodes, b.var(ddof=1) / episodes
    t = abs(a.mean() - b.mean()) / math.sqrt(va + vb)
    # The quantile of t for 2 (n - 1) degrees of freedom, which are the most that Welch's has.
    critical = {7: 2.179, 10: 2.101, 14: 2.056}[episodes]
    return bool(t > critical), bool(abs(np.median(a) - np.median(b)) > math.log(1.1))


def table(comparisons: int, seed: int) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| latencies | drift | episodes | true ratio | `xsched.compare` | in turn, Welch's t | "
        "in turn, medians 10 % apart | one pair, 10 % apart |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cases = [
        *((independent, drift, 7, 1.0) for drift in (steady, random_walk, linear)),
        *((bursty, drift, 7, 1.0) for drift in (steady, random_walk, linear)),
        *((independent, random_walk, n, 1.0) for n in (10, 14)),
        *((independent, random_walk, 7, speed) for speed in (0.9, 0.8, 0.5)),
        (independent, random_walk, 14, 0.9),
    ]
    for latencies, drift, episodes, speed in cases:
        counts = claims(latencies, drift, episodes, speed, comparisons=comparisons, seed=seed)
        shares = [f"{count / comparisons:.1%}".replace("%", " %") for count in counts]
        name = drift.__name__.replace("_", " ")
        lines.append(
            f"| {latencies.__name__} | {name} | {episodes} | {speed:g} | {' | '.join(shares)} |"
        )
    return lines


def claims(
    latencies: Drift, drift: Drift, episodes: int, speed: float, *, comparisons: int, seed: int
) -> tuple[int, int, int, int]:
    """Count the comparisons in which each way of judging claims a difference."""
    random = np.random.default_rng([seed, episodes, round(speed * 100)])
    counts = [0, 0, 0, 0]
    for _ in range(comparisons):
        arms = measured(random, latencies, drift, episodes, speed)
        welch, medians = one_after_the_other(random, latencies, drift, episodes, speed)
        pair = abs(math.log(arms["scheduled"][0] / arms["native"][0])) > math.log(1.1)
        for i, claimed in enumerate((ours(arms), welch, medians, pair)):
            counts[i] += claimed
    return counts[0], counts[1], counts[2], counts[3]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("\n".join(table(arguments.comparisons, arguments.seed)))

"""How often a target on every slice is judged wrongly; a part of docs/explanation/error_rates.md.

    python bench/slice_error_rates.py [--runs 2000]

Six slices of 1000 independent requests, a P99 as the target. `run.high.every(...)` is simulated by
its parts: each slice is decided at a sixth of alpha, FAIL if one fails, PASS if all pass. A minute.
"""

from __future__ import annotations

import argparse

import numpy as np

from pytest_xsched.stats.sequential_test import ALPHA, FAIL, PASS, decide_once

SLICES, REQUESTS, BLOCK, ALLOWED = 6, 1000, 50, 0.01
ROWS = {
    "all at the allowed 1 %": [0.01] * SLICES,
    "five at 0.1 %, one at 1.01 %": [0.001] * (SLICES - 1) + [0.0101],
    "five at 0.1 %, one at 2 %": [0.001] * (SLICES - 1) + [0.02],
    "five at 0.1 %, one at 5 %": [0.001] * (SLICES - 1) + [0.05],
    "all at 0.1 %": [0.001] * SLICES,
    "all at 0.3 %": [0.003] * SLICES,
}


def verdict(missed: np.ndarray, alpha: float) -> str:
    """Return the status of all slices together."""
    each = alpha / SLICES
    found = {decide_once(part, allowed=ALLOWED, block=BLOCK, alpha=each).status for part in missed}
    return FAIL if FAIL in found else PASS if found == {PASS} else "UNDECIDED"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    print("| misses in the slices | FAIL | PASS | undecided | FAIL at alpha 5 % | above by count |")
    print("|---|---|---|---|---|---|")
    for name, rates in ROWS.items():
        rng = np.random.default_rng(0)
        counts = {FAIL: 0, PASS: 0, "UNDECIDED": 0}
        loose = plain = 0
        for _ in range(runs):
            missed = rng.random((SLICES, REQUESTS)) < np.array(rates)[:, None]
            counts[verdict(missed, ALPHA)] += 1
            loose += verdict(missed, 0.05) == FAIL
            plain += bool((missed.sum(axis=1) > ALLOWED * REQUESTS).any())
        cells = [*counts.values(), loose, plain]
        print(f"| {name} | {' | '.join(f'{100 * cell / runs:.1f} %' for cell in cells)} |")


if __name__ == "__main__":
    main()

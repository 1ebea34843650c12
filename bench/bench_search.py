"""The search for the worst mix against as many random ones: is it better than chance?

Target: what it finds is at least twice as bad as the best of as many random mixes, for each of five
seeds. On the simulator, where a mix has one value.
"""

from __future__ import annotations

import random
import sys

from pytest_xsched import Session, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.strategies import contentions
from pytest_xsched.stress.worst_case import find_worst

EXAMPLES = 200
LOOPS = 6
THRESHOLDS = (1, 2, 4, 8, 16, 32, 64)
DURATIONS_MS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


def random_delay_ms(draw: random.Random) -> float:
    """P99 of `high` in a random mix: what all loops have in flight comes before its 1 ms."""
    loops = (draw.choice(THRESHOLDS) * draw.choice(DURATIONS_MS) for _ in range(LOOPS))
    return 1 + sum(loops)


def main() -> int:
    session = Session(Settings(device="sim"))
    high = session.queue("high", spin("1ms"), priority=10, rate="20/s", threshold=1, batch_size=1)
    print("seed  worst found  best random  ratio")
    met = 0
    for seed in range(5):
        found = find_worst(
            session.run_scenario,
            contentions(high, others=LOOPS, thresholds=THRESHOLDS),
            queue="high",
            objective="p99/alone",
            budget_s=600,
            examples=EXAMPLES,
            seed=seed,
        )
        draw = random.Random(seed)
        best = max(random_delay_ms(draw) for _ in range(EXAMPLES))
        met += found.highest >= 2 * best
        print(
            f"{seed:4} {found.highest:12.1f} {best:12.1f} {found.highest / best:6.2f}", flush=True
        )
    session.close()
    print(f"\nmet: at least twice as bad in {met} of 5")
    return int(met < 5)


if __name__ == "__main__":
    sys.exit(main())

"""How long 300,000 arrivals take: from what a user writes to the report of a run on `sim`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable

import numpy as np
from measure import finish, judge, table, wall_ns

from pytest_xsched import QueueSpec, Session, replay, s, spin
from pytest_xsched.session.settings import Settings

COUNT = 300_000
SPAN_S = 3000
REPETITIONS = 5
MOST_S = 1.0
"""Loading that is not well below a second is felt each time a test begins."""


def median_s(function: Callable[[], object]) -> float:
    return statistics.median(wall_ns(function) for _ in range(REPETITIONS)) / 1e9


def main() -> int:
    seconds = np.sort(np.random.default_rng(0).random(COUNT)) * SPAN_S
    texts = [f"{moment:.6f}s" for moment in seconds]
    load = replay(seconds * s)
    session = Session(Settings(device="sim", scheduler="builtin"))
    queue = session.queue("high", spin("1us"), arrivals=load)

    def run_of(queue: QueueSpec) -> str:
        run = session.run(queue, duration=f"{SPAN_S + 1}s", policy="hpf", trace="off")
        return json.dumps(run.to_dict())

    scenario = session.run(queue, duration=f"{SPAN_S + 1}s", policy="hpf", trace="off").scenario
    found = {
        "replay(array * s)": median_s(lambda: replay(seconds * s)),
        "replay(texts)": median_s(lambda: replay(texts)),
        "digest of the scenario": median_s(scenario.digest),
        "scenario as Python": median_s(scenario.to_python),
        "run on sim, and its record": median_s(lambda: run_of(queue)),
    }
    table([f"{COUNT} arrivals", "s"], [(what, f"{took:.3f}") for what, took in found.items()])
    loads = [name for name in found if name.startswith("replay")]
    return judge((f"{name} takes less than {MOST_S} s", found[name] < MOST_S) for name in loads)


if __name__ == "__main__":
    finish(main)

"""What the real-time path itself costs: an empty command, alone on the cpu device.

With a long `spin_ns` the device's worker and the queue's thread busy-wait over the whole period, so
the rest is our own path. With the default they sleep, and the kernel's wake-ups are added.
"""

from __future__ import annotations

import numpy as np
from measure import alternate, finish, judge, table
from numpy.typing import NDArray

from pytest_xsched import CpuModel, Session, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.stats.estimators import nearest_rank

REPETITIONS = 2
PERIOD_NS = 1_000_000
MODELS = {"spin_ns=2_000_000": CpuModel(spin_ns=2_000_000), "default": CpuModel()}
STEPS = {
    "scheduled -> submitted": ("scheduled_ns", "submitted_ns"),
    "submitted -> launched": ("submitted_ns", "launched_ns"),
    "launched -> completed": ("launched_ns", "completed_ns"),
    "scheduled -> completed": ("scheduled_ns", "completed_ns"),
}


def measure(session: Session, model: CpuModel) -> NDArray[np.void]:
    """Return the samples of 10 s at 1000/s."""
    queue = session.queue("empty", spin("0s"), rate="1000/s")
    run = session.run(queue, duration="10s", cpu=model)
    run.require()  # not of the queue: how late its requests are sent is what is measured
    if run.empty.censored:
        raise RuntimeError(f"{run.empty.censored} requests did not complete")
    return run.empty.measured


def main() -> int:
    samples: dict[str, list[NDArray[np.void]]] = {name: [] for name in MODELS}
    for name in alternate(REPETITIONS, tuple(MODELS)):
        session = Session(Settings(device="cpu"))  # a device of its own: no other idle worker
        samples[name].append(measure(session, MODELS[name]))
        session.close()

    n = {len(part) for parts in samples.values() for part in parts}
    print(f"empty commands at 1000/s for 10 s; {REPETITIONS} repetitions a model, alternately;")
    print(f"n = {min(n)} requests in each, pooled; us\n")
    p50 = 0.0
    for name, parts in samples.items():
        pooled, rows = np.concatenate(parts), []
        for step, (start, end) in STEPS.items():
            times = np.asarray(pooled[end] - pooled[start], np.int64)
            figures = [nearest_rank(times, q) / 1e3 for q in (0.5, 0.99, 1)]
            rows.append([step, *(f"{figure:.1f}" for figure in figures)])
            if name != "default":
                p50 = figures[0]  # ends with the last step, the whole way
        table([name, "P50", "P99", "max"], rows)
        late = float(np.mean(pooled["submitted_ns"] - pooled["scheduled_ns"] > PERIOD_NS))
        print(f"{late:.1%} submitted more than a period late\n")
    return judge([(f"P50 scheduled -> completed is {p50:.1f} us, at most 10 us", p50 <= 10)])


if __name__ == "__main__":
    finish(main)

"""Run mixes of models for a long time: results stay right, and nothing grows.

    python bench/soak_models.py [--minutes 10] [--device cuda] [--process inside]

Each round takes one of MIXES and runs it under each of ARMS, for two seconds an arm, with every
result held against that of an eager request. The models of a round are built once, captured, cut
anew for some arms, and released at its end. After each round the script prints what is held: by
this process, and used memory of the GPU. At the end both must be as they were after the first
quarter. Ctrl-C ends it early, with the same report. Exit status: 0, 1 if a result is wrong or
something grows, 130 after Ctrl-C. `interrupt_models.py` tests that.
"""

from __future__ import annotations

import argparse
import sys

from gpu_models import MODELS, TOLERANCES
from soak import soak

from pytest_xsched import Session, Workload, model, spin
from pytest_xsched.errors import XSchedError
from pytest_xsched.session.settings import Settings

MIXES = (
    (("resnet50", "20/s"), ("transformer", None)),
    (("decode_step", "50/s"), ("training_step", None)),
    (("resnet50", "20/s"), ("products", None)),
    (("training_step", None), ("training_step", None)),
    (("decode_step", "50/s"), ("resnet50", "20/s"), ("transformer", None)),
)
"""The model and the rate of each queue, by falling priority; None: a closed loop."""
ARMS = ("native", "priority", "builtin", "builtin fair")


def workload(name: str) -> Workload:
    return model(f"{MODELS}:{name}", tolerance=TOLERANCES.get(name, 0.0))


def one_round(session: Session, number: int, counts: dict[str, int]) -> list[str]:
    """Run one mix under every arm, then work of our own, for which the models are released."""
    for name in ("mixes", "runs", "requests", "runs of models with equal results"):
        counts.setdefault(name, 0)
    for arm in ARMS:
        scheduler, *policy = arm.split()
        queues = [
            session.queue(f"q{i}", workload(name), priority=10 - i, rate=rate)
            for i, (name, rate) in enumerate(MIXES[number % len(MIXES)])
        ]
        run = session.run(
            *queues,
            duration="2s",
            warmup="200ms",
            whole=True,
            scheduler=scheduler,
            policy=policy[0] if policy else None,
            check=True,
            seed=number,
        )
        if run.evidence.faults:
            return [f"{arm}: {fault}" for fault in run.evidence.faults]
        counts["runs"] += 1
        counts["requests"] += sum(queue.n for queue in run.queues.values())
        counts["runs of models with equal results"] += sum(
            facts.outputs.startswith("equal") for facts in run.fingerprint.models
        )
    session.run(session.queue("idle", spin("10us"), rate="100/s"), duration="100ms", warmup="0s")
    session.runs.clear()
    counts["mixes"] += 1
    return []


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--device", default="cuda")
    options.add_argument("--process", default="inside", choices=("inside", "worker"))
    given = options.parse_args()
    session = Session(Settings(device=given.device, process=given.process, noise="note"))
    say("soak: begins")
    try:
        return soak(session, round(given.minutes * 60e9), say, one_round, every=1)
    except XSchedError as error:
        say(f"soak: {error}")
        return 1
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(main())

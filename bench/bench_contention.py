"""What the XQueue is for: the tail of a latency-critical queue next to a best-effort one.

The same two queues run on the cpu device under the scheduler `native`, where a stream takes
everything that is submitted, and under `builtin`, where an XQueue holds it back. The arrivals of
`high` differ between repetitions and are the same under both schedulers.
"""

from __future__ import annotations

from measure import alternate, finish, judge, table

from pytest_xsched import Run, Session, matmul, poisson
from pytest_xsched.session.settings import Settings

REPETITIONS = 5
DURATION = "8s"
ARMS = ("native", "builtin")


def measure(session: Session, scheduler: str, seed: int) -> Run:
    run = session.run(
        session.queue("high", matmul(96), priority=10, arrivals=poisson("50/s")),
        session.queue("low", matmul(192, layers=8), priority=1, concurrency=4),
        duration=DURATION,
        scheduler=scheduler,
        seed=seed,
    )
    run.require("high")
    run.high.require_n(0.99)
    return run


def main() -> int:
    session = Session(Settings(device="cpu"))
    runs: dict[str, list[Run]] = {arm: [] for arm in ARMS}
    for arm in alternate(REPETITIONS, ARMS):
        runs[arm].append(measure(session, arm, seed=len(runs[arm])))
    session.close()

    sizes = sorted(run.high.n for arm in ARMS for run in runs[arm])
    print(f"{REPETITIONS} repetitions of {DURATION} a scheduler, alternately, one process;")
    print(f"n = {sizes[0]} requests of high in each; repetitions differ in the seed\n")
    rows, wins = [], 0
    for number, (native, builtin) in enumerate(zip(*runs.values(), strict=True)):
        ratio = native.high.p99.value / builtin.high.p99.value
        kept = builtin.low.throughput.value / native.low.throughput.value
        wins += ratio > 1
        p99s = [native.high.p99, builtin.high.p99]
        rows.append([f"seed {number}", *p99s, f"{ratio:.1f}", native.low.throughput, f"{kept:.1%}"])
    table(
        ["", "P99 native", "P99 builtin", "native / builtin", "low native", "kept by builtin"], rows
    )
    return judge(
        [(f"P99 of high is lower under builtin in {wins} of {REPETITIONS}", wins == REPETITIONS)]
    )


if __name__ == "__main__":
    finish(main)

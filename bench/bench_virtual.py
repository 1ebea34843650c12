"""How fast virtual time passes: a minute of the two-model scenario, and commands per second."""

from __future__ import annotations

import statistics
import time

from measure import alternate, finish, judge, table, wall_ns

from pytest_xsched import CpuModel, QueueSpec, Session, SimModel, matmul, spin
from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import Queue, QueueSettings, Run
from pytest_xsched.scenario.arrival_process import constant
from pytest_xsched.scenario.arrival_times import arrival_times
from pytest_xsched.scenario.queue_spec import THRESHOLD_MAX
from pytest_xsched.scenario.workload import Workload
from pytest_xsched.session.settings import QueueSettings as Options

REPETITIONS = 11
MINUTE_NS = 60 * 10**9
WARMUP_NS, DRAIN_NS = 10**9, 5 * 10**9
HIGH, LOW = matmul(512), matmul(1024, batch=8)

COMMAND_REPETITIONS = 5
COMMANDS = 2_000_000
COMMAND_NS = 10_000
"""Above the launch time of the sim, so that the device is what limits both queues."""


def settings(name: str, priority: int, threshold: int = 4, batch_size: int = 2) -> QueueSettings:
    return QueueSettings(
        name=name,
        priority=priority,
        stream_priority=priority,
        threshold=threshold,
        batch_size=batch_size,
    )


def let_pass(run: Run, *, warmup_ns: int, duration_ns: int) -> int:
    """Take the wall time of the native part: from the start to the end of a run."""
    start = time.perf_counter_ns()
    run.start(warmup_ns=warmup_ns, duration_ns=duration_ns, drain_ns=DRAIN_NS)
    while not run.wait():
        pass
    return time.perf_counter_ns() - start


# ---- a minute of the two-model scenario


def whole_ns(session: Session, queues: tuple[QueueSpec, QueueSpec]) -> int:
    return wall_ns(lambda: session.run(*queues, duration="60s"))


def native_ns(device: Device) -> tuple[int, int]:
    """Run what `whole_ns` runs through the binding: wall time and commands."""
    arrivals = arrival_times(
        constant("20/s"), warmup_ns=WARMUP_NS, duration_ns=MINUTE_NS, seed=0, name="high"
    )
    run = Run(device, "hpf")
    high = run.add_open(settings("high", 10), HIGH.commands, arrivals)
    low = run.add_closed(settings("low", 1), LOW.commands, concurrency=1, think_ns=0)
    elapsed = let_pass(run, warmup_ns=WARMUP_NS, duration_ns=MINUTE_NS)
    commands = high.counts().completed + low.counts().completed
    run.close()
    return elapsed, commands


def scenario(device: Device) -> list[tuple[str, bool]]:
    session = Session(Options(device="sim"))
    queues = (
        session.queue("high", HIGH, priority=10, rate="20/s"),
        session.queue("low", LOW, priority=1),
    )
    whole_ns(session, queues)  # imports, opens the device
    whole, native, commands = [], [], 0
    for arm in alternate(REPETITIONS, ("whole", "native")):
        if arm == "whole":
            whole.append(whole_ns(session, queues))
        else:
            elapsed, commands = native_ns(device)
            native.append(elapsed)
    session.close()

    print(f"60 s of the two-model scenario, {commands} commands; n = {REPETITIONS}, alternately\n")
    whole_ms, native_ms = (statistics.median(times) / 1e6 for times in (whole, native))
    rows = [
        ("Session.run", whole, whole_ms),
        ("of it from start to end of the native run", native, native_ms),
    ]
    table(
        ["", "median ms", "min ms", "max ms"],
        [
            [what, f"{median:.2f}", f"{min(times) / 1e6:.2f}", f"{max(times) / 1e6:.2f}"]
            for what, times, median in rows
        ],
    )
    print(f"left for Python, of the medians: {whole_ms - native_ms:.2f} ms\n")
    return [(f"60 s in {whole_ms:.1f} ms, at most 50 ms", whole_ms <= 50)]


# ---- commands per second


def commands_per_s(device: Device, workload: Workload, threshold: int, batch_size: int) -> float:
    run = Run(device, "hpf")
    queues: list[Queue] = [
        run.add_closed(
            settings(name, 0, threshold, batch_size), workload.commands, concurrency=1, think_ns=0
        )
        for name in ("left", "right")
    ]
    elapsed = let_pass(run, warmup_ns=0, duration_ns=COMMANDS * COMMAND_NS)
    done = sum(queue.counts().completed for queue in queues)
    run.close()
    if done < COMMANDS:
        raise RuntimeError(f"{done} commands were to be {COMMANDS} or more")
    return done / elapsed * 1e9


def commands(device: Device) -> list[tuple[str, bool]]:
    kinds = {
        "8 a request, threshold 4, batch 2": (8, 4, 2),
        "1 a request, threshold 4, batch 2": (1, 4, 2),
        "64 a request, no XQueue": (64, THRESHOLD_MAX, THRESHOLD_MAX // 2),
    }
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for kind in alternate(COMMAND_REPETITIONS, tuple(kinds)):
        layers, threshold, batch_size = kinds[kind]
        workload = spin(f"{COMMAND_NS}ns", layers=layers)
        rates[kind].append(commands_per_s(device, workload, threshold, batch_size) / 1e6)

    print(f"{COMMANDS} commands of two closed loops of equal priority through the binding,")
    print(f"one thread; n = {COMMAND_REPETITIONS}, alternately\n")
    table(
        ["commands", "median million/s", "min", "max"],
        [
            [kind, f"{statistics.median(n):.2f}", f"{min(n):.2f}", f"{max(n):.2f}"]
            for kind, n in rates.items()
        ],
    )
    first = next(iter(kinds))
    median = statistics.median(rates[first])
    return [(f"{median:.2f} million commands/s ({first}), at least 1", median >= 1)]


def main() -> int:
    device = Device("sim", cpu=CpuModel(), sim=SimModel())
    targets = scenario(device) + commands(device)
    device.close()
    return judge(targets)


if __name__ == "__main__":
    finish(main)

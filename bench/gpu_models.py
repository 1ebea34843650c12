"""Models of PyTorch next to each other on a GPU, under every scheduler that this machine has.

    python bench/gpu_models.py [--pair inference|products|decode|equal|answers]
                               [--repetitions 3] [--duration 5s]

`inference`: ResNet-50 at 50/s next to a transformer stack. `products`: ResNet-50 next to matrix
products of 8192 x 8192. `decode`: a decode step of a language model at 100/s next to a training
step of ResNet-50. `equal`: two such training steps of equal priority. `answers`: prefills with 32
decode steps each, at 10/s, next to a training step; the times are those of tokens. Every arm of
every repetition is a fresh process; the arms are interleaved, forth and back. Percentiles and rates
are medians over the repetitions, n is their sum. `time slices` has a process for each queue. The
models are those of `models.py`, one captured graph a request. Unless --commands says how to cut it,
it is launched whole by `native`, `priority`, `time slices` and the `high` of `builtin`. `native
segments` launches commands of 100 us without XQueues. XSched is measured if XSCHED_HOME names an
installation.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

from measure import alternate, finish, judge, table

from pytest_xsched import QueueSpec, Run, Session, model
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.session.settings import Settings

MODELS = Path(__file__).with_name("models.py")
PAIRS = {
    "inference": ("resnet50", "50/s", "transformer"),
    "products": ("resnet50", "50/s", "products"),
    "decode": ("decode_step", "100/s", "training_step"),
}
TARGETS = {"inference": (1.5, 0.97), "products": (2.2, 0.97), "decode": (1.2, 0.90)}
"""By pair: P99 of high as a multiple of that alone, rate of low as a share of that under native."""
TOLERANCES = {"training_step": None, "decode_step": 0.02}
"""Of models whose results are not equal to the last bit: training changes its model, and two eager
decode steps have been seen to differ by one rounding on an H200."""
ARMS = ("high alone", "low alone", "native", "priority", "time slices", "builtin")
ARMS += ("xsched",) if os.environ.get("XSCHED_HOME") else ()
CUT = ("native segments", "low alone, cut", "high alone, cut")
"""Arms in which all models are cut, for what cutting costs."""
CUT_AT = "100us"
"""Time of a command there; it is that of ``"auto"``."""
EQUAL = {
    "native": {"scheduler": "native"},
    "priority": {"scheduler": "priority"},
    "builtin": {"scheduler": "builtin"},
    "builtin, fair": {"scheduler": "builtin", "policy": "fair"},
}
STEPS = 32
ANSWERS = ("high alone", "low alone", "native", "priority", "builtin")
ANSWERS_PER_S = 10
TOKEN_MOST = 1.2
"""P99 of the time between tokens under `builtin`, as a multiple of that alone."""
APART = 0.05
"""How far the shares of iterations of equal queues may be apart, as a part of their mean."""
CAPTURE_S = 3
"""Longest time in which a model is captured and cut."""


def workload(name: str, cut: str | int, steps: int | None = None):
    tolerance = TOLERANCES.get(name, 0.0)
    return model(f"{MODELS}:{name}", commands=cut, tolerance=tolerance, steps=steps)


def queues_of(session: Session, pair: str, arm: str, commands: str) -> list[QueueSpec]:
    high, rate, low = PAIRS[pair]
    cut = CUT_AT if arm in CUT and commands == "auto" else commands
    queues = {
        "high": session.queue("high", workload(high, cut), priority=10, rate=rate),
        "low": session.queue("low", workload(low, cut), priority=1),
    }
    if "alone" in arm:
        return [queues[arm.split()[0]]]
    return list(queues.values())


def measure(session: Session, pair: str, arm: str, given: argparse.Namespace, seed: int) -> Run:
    queues = queues_of(session, pair, arm, given.commands)
    scheduler = arm if arm in ("priority", "builtin", "xsched") else "native"
    if arm.endswith("alone, cut"):
        scheduler = "builtin"
    return session.run(
        *queues,
        duration=given.duration,
        whole=True,
        scheduler=scheduler,
        processes="separate" if arm == "time slices" else "together",
        seed=seed,
    )


def median(runs: list[Run], queue: str, q: float | None) -> float:
    results = [getattr(run, queue) for run in runs]
    figures = [r.throughput if q is None else r.percentile(q) for r in results]
    return statistics.median(figure.value for figure in figures)


def cells(runs: list[Run], alone: dict[str, list[Run]], native: list[Run]) -> list[str]:
    first = runs[0].queues
    row = ["-"] * 7
    if "high" in first:
        times = [median(runs, "high", q) for q in (0.5, 0.99)]
        multiple = times[1] / median(alone["high"], "high", 0.99)
        row[:4] = [
            str(sum(run.high.n for run in runs)),
            *(format_duration(round(time)) for time in times),
            f"{multiple:.2f}",
        ]
    if "low" in first:
        rate = median(runs, "low", None)
        row[4:] = [
            format_rate(rate),
            f"{rate / median(alone['low'], 'low', None):.1%}",
            f"{rate / median(native, 'low', None):.1%}",
        ]
    return row


def report(pair: str, runs: dict[str, list[Run]], given: argparse.Namespace) -> list:
    alone = {name: runs[f"{name} alone"] for name in ("high", "low")}
    header = ["", "n", "P50", "P99", "x alone", "low", "of alone", "of native"]
    print(f"\n{pair} on {runs['native'][0].device_name}, {given.repetitions} x {given.duration}\n")
    table(header, [[arm, *cells(runs[arm], alone, runs["native"])] for arm in runs])
    multiple = median(runs["builtin"], "high", 0.99) / median(alone["high"], "high", 0.99)
    kept = median(runs["builtin"], "low", None) / median(runs["native"], "low", None)
    most, least = TARGETS[pair]
    cut = median(runs["low alone, cut"], "low", None) / median(alone["low"], "low", None)
    price = median(runs["high alone, cut"], "high", 0.5) / median(alone["high"], "high", 0.5)
    floor = 0.99 if pair == "inference" else 0.97
    return [
        (f"{pair}: P99 is {multiple:.2f} x alone, at most {most}", multiple <= most),
        (f"{pair}: low keeps {kept:.1%} of native, at least {least:.0%}", kept >= least),
        (f"{pair}: low alone and cut keeps {cut:.1%}, at least {floor:.0%}", cut >= floor),
        (f"{pair}: P50 alone and cut is {price:.3f} of whole, at most 1.05", price <= 1.05),
    ]


def print_bound(runs: dict[str, list[Run]]) -> None:
    """Print what P99 of high is next to the longest kernel of low, which nothing preempts."""
    longest_ns = max(runs["low alone, cut"][0].low.profile().durations_ns)
    p50_ns, p99_ns = (median(runs["high alone"], "high", q) for q in (0.5, 0.99))
    print(
        f"the longest kernel of low takes {format_duration(longest_ns)}: a request that comes at "
        f"its start takes {(p50_ns + longest_ns) / p99_ns:.2f} x P99 alone\n"
    )


def preparation(runs: list[Run]) -> list[tuple[str, bool]]:
    """Print how long models took to build, to capture and to cut: the longest of the runs."""
    found: dict[str, list] = {}
    for run in runs:
        for facts in run.fingerprint.models:
            label = run.queues[facts.queue].spec.workload.model.name
            found.setdefault(label, []).append(facts)
    rows, targets = [], []
    for label, of in found.items():
        times = [max(getattr(f, name) for f in of) for name in ("build_ns", "capture_ns", "cut_ns")]
        longest = max(f.capture_ns + f.cut_ns for f in of)
        kernels, commands = max(f.kernels for f in of), max(f.commands for f in of)
        rows.append([label, kernels, commands, *map(format_duration, (*times, longest))])
        text = f"{label}: captured and cut in {format_duration(longest)}, less than {CAPTURE_S} s"
        targets.append((text, longest < CAPTURE_S * 10**9))
    header = ["", "kernels", "commands", "build", "capture", "cut", "capture and cut"]
    table(header, rows)
    return targets


def equal(given: argparse.Namespace) -> list[tuple[str, bool]]:
    """Measure two training steps of one priority under EQUAL; print their shares of iterations."""
    session = Session(Settings(device=given.device, process="worker"))
    runs: dict[str, list[Run]] = {arm: [] for arm in EQUAL}
    for arm in alternate(given.repetitions, list(EQUAL)):
        queues = (session.queue(name, workload("training_step", given.commands)) for name in "ab")
        seed = len(runs[arm])
        run = session.run(*queues, duration=given.duration, whole=True, seed=seed, **EQUAL[arm])
        runs[arm].append(run)
        faults = run.evidence.faults or ""
        print("equal", arm, run.a.throughput, run.b.throughput, faults, flush=True)
    session.close()
    print(f"\nequal on {runs['native'][0].device_name}, {given.repetitions} x {given.duration}\n")
    rows, targets = [], []
    for arm, of in runs.items():
        rates = [median(of, name, None) for name in "ab"]
        # Of each run, and not of the medians: which of the two is ahead may change.
        apart = max(
            2 * abs(run.a.throughput.value - run.b.throughput.value)
            / (run.a.throughput.value + run.b.throughput.value)
            for run in of
        )  # fmt: skip
        rows.append([arm, *map(format_rate, rates), f"{apart:.1%}"])
        if arm.startswith("builtin"):
            text = f"equal, {arm}: iterations are at most {apart:.1%} apart, at most {APART:.0%}"
            targets.append((text, apart <= APART))
    table(["", "a", "b", "most apart"], rows)
    return targets + preparation([run for of in runs.values() for run in of])


def answers(given: argparse.Namespace) -> list[tuple[str, bool]]:
    """Measure prefills and their decode steps next to training; print the times of tokens."""
    session = Session(Settings(device=given.device, process="worker"))
    runs: dict[str, list[Run]] = {arm: [] for arm in ANSWERS}
    for arm in alternate(given.repetitions, ANSWERS):
        high = session.queue(
            "high",
            workload("answer", given.commands, STEPS),
            priority=10,
            rate=f"{ANSWERS_PER_S}/s",
        )
        low = session.queue("low", workload("training_step", given.commands), priority=1)
        queues = {"high alone": [high], "low alone": [low]}.get(arm, [high, low])
        scheduler = "native" if arm.endswith("alone") else arm
        seed = len(runs[arm])
        run = session.run(
            *queues, duration=given.duration, whole=True, scheduler=scheduler, seed=seed
        )
        runs[arm].append(run)
        times = []
        if high in queues:
            times = [run.high.first_token, run.high.between_tokens, run.high]
        faults = run.evidence.faults or ""
        rate = run.low.throughput if low in queues else ""
        print("answers", arm, *(f"{one.p50} {one.p99}" for one in times), rate, faults, flush=True)
    session.close()
    print(f"\nanswers on {runs['native'][0].device_name}, {given.repetitions} x {given.duration}\n")

    def middle(arm: str, latency: str, q: float) -> float:
        of = (getattr(run.high, latency).percentile(q).value for run in runs[arm])
        return statistics.median(of)

    rows = []
    for arm, of in runs.items():
        row = ["-"] * 6
        if "high" in of[0].queues:
            times = [
                middle(arm, one, q)
                for one in ("first_token", "between_tokens")
                for q in (0.5, 0.99)
            ]
            multiple = times[3] / middle("high alone", "between_tokens", 0.99)
            spelled = (format_duration(round(ns)) for ns in times)
            row = [sum(run.high.n for run in of), *spelled, f"{multiple:.2f}"]
        low = format_rate(median(of, "low", None)) if "low" in of[0].queues else "-"
        rows.append([arm, *row, low])
    header = ["", "n", "first P50", "first P99", "between P50", "between P99", "x alone", "low"]
    table(header, rows)
    multiple = middle("builtin", "between_tokens", 0.99) / middle(
        "high alone", "between_tokens", 0.99
    )
    low = {arm: median(runs[arm], "low", None) for arm in ANSWERS if arm != "high alone"}
    free = 1 - ANSWERS_PER_S * median(runs["high alone"], "high", 0.5) / 1e9
    fits = free * low["low alone"]
    kept = low["builtin"] / min(fits, low["native"])
    print(f"high alone leaves {free:.0%} of the time free: {format_rate(fits)} of low fit there\n")
    targets = [
        (
            f"answers: between tokens P99 is {multiple:.2f} x alone, at most {TOKEN_MOST}",
            multiple <= TOKEN_MOST,
        ),
        (f"answers: low keeps {kept:.1%} of what fits there, at least 90%", kept >= 0.9),
    ]
    return targets + preparation([run for of in runs.values() for run in of])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pair", choices=[*PAIRS, "equal", "answers", "all"], default="all")
    options.add_argument("--device", default="cuda")
    options.add_argument("--duration", default="5s")
    options.add_argument("--commands", default="auto")
    options.add_argument("--repetitions", type=int, default=3)
    given = options.parse_args()
    targets = []
    for pair in PAIRS if given.pair == "all" else {given.pair} & PAIRS.keys():
        arms = (*ARMS, *CUT)
        session = Session(Settings(device=given.device, process="worker"))
        runs: dict[str, list[Run]] = {arm: [] for arm in arms}
        for arm in alternate(given.repetitions, arms):
            run = measure(session, pair, arm, given, seed=len(runs[arm]))
            runs[arm].append(run)
            print(
                pair,
                arm,
                *(f"{q.name} {q.p50} {q.p99} {q.throughput}" for q in run.queues.values()),
                run.evidence.faults or "",
                flush=True,
            )
        targets += report(pair, runs, given)
        print_bound(runs)
        session.close()
        targets += preparation([run for of in runs.values() for run in of])
    if given.pair in ("equal", "all"):
        targets += equal(given)
    if given.pair in ("answers", "all"):
        targets += answers(given)
    return judge(targets)


if __name__ == "__main__":
    finish(main)

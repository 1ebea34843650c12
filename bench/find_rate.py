"""Check what `xsched.find_rate` finds: against brute force, against the truth, on a real device.

    python bench/find_rate.py mixes      # 20 random mixes on `sim`, against brute force
    python bench/find_rate.py errors     # how often "sustains" and its opposite are wrong
    python bench/find_rate.py cpu        # bounds of five searches on `cpu`, against long runs
    python bench/find_rate.py server     # the same, for requests to the example's server

The first two print tables of docs/explanation/error_rates.md, the same ones every time. The others
need a machine on which nothing else runs, and take some 25 minutes. With `--first 2 --count 1` one
does the third of its searches only, so that several can go on next to each other where there are
cores for all: each needs two, and PYTEST_XSCHED_CPU_LOCK=off, so that none waits for another.

Brute force measures every rate in steps of 1 % between a third of the first rate and three times
that, each for 5,000 requests. That is too coarse near the limit: seven rates there are measured
again, each for 100,000 requests, and the line through their shares of misses is the truth. The time
of the search is compared with that of the first part alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pytest_xsched import Session, openai_chat, p95_below, p99_below, poisson, server, spin
from pytest_xsched.analysis.latency_target import LatencyTarget
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.settings import Settings
from pytest_xsched.stats.rate_search import Found, Plan, fit, search
from pytest_xsched.stats.sequential_test import BETA, Misses
from pytest_xsched.stress.highest_rate import HighestRate

S = 10**9
STEP = 1.01
REACH = 3.0
COARSE, FINE = 5_000, 100_000
LONG_S = 45
"""Time of a long run at a bound: misses come together, so that a short one says little."""
BUDGET = "150s"
"""Of a search in real time."""
ALPHA = 5e-4
"""Of the first assertion of a test in a session of few."""


@dataclasses.dataclass(frozen=True)
class Mix:
    """A queue whose rate is searched for, the others, and what has to hold."""

    queues: tuple[QueueSpec, ...]
    target: LatencyTarget
    scheduler: str


def random_mix(session: Session, seed: int) -> Mix:
    """Return one to three other queues of random work and load next to `chat`."""
    draw = random.Random(seed)
    work_us = draw.randrange(1000, 8000, 500)
    first_hz = round(draw.uniform(0.2, 0.6) * 1e6 / work_us, 1)
    queues = [
        session.queue(
            "chat",
            spin(f"{work_us}us"),
            priority=1,
            arrivals=poisson(f"{first_hz}/s"),
            threshold=1,
            batch_size=1,
        )
    ]
    longest_us = 0
    for number in range(draw.randrange(1, 4)):
        of_other_us = draw.randrange(1000, 4000, 100)
        layers = draw.randrange(1, 5)
        longest_us = max(longest_us, of_other_us)
        share = draw.uniform(0.05, 0.2)
        load = (
            {"concurrency": 1, "think": f"{draw.randrange(0, 20)}ms"}
            if draw.random() < 0.5
            else {"arrivals": poisson(f"{share * 1e6 / of_other_us / layers:.4g}/s")}
        )
        queues.append(
            session.queue(
                f"other{number}",
                spin(f"{of_other_us}us", layers=layers),
                threshold=1,
                batch_size=1,
                **load,
            )
        )
    limit_us = draw.uniform(3, 10) * (work_us + longest_us)
    return Mix(tuple(queues), p99_below(f"{limit_us:.0f}us"), "builtin")


def measure(session: Session, mix: Mix, rate_hz: float, requests: int, seed: int) -> Misses:
    """Return which requests of `chat` missed at a rate, in one run."""
    chat, *others = mix.queues
    varied = dataclasses.replace(chat, arrivals=dataclasses.replace(chat.arrivals, rate_hz=rate_hz))
    duration_ns = math.ceil(requests / rate_hz) * S
    run = session._run(
        Scenario(
            queues=(varied, *others),
            duration_ns=duration_ns,
            warmup_ns=S,
            drain_ns=5 * S,
            seed=seed,
            device=session.device,
            scheduler=mix.scheduler,
            policy="hpf" if mix.scheduler == "builtin" else "none",
        ),
        trace="off",
    )
    queue = run["chat"]
    return mix.target.missed(queue.lower_bounds() if queue.saturated else queue)


def brute_force(
    session: Session, mix: Mix, *, coarse: int = COARSE, fine: int = FINE, reach: float = REACH
) -> tuple[float, float]:
    """Return the rate at which the target begins to fail, and the time of the coarse part in s."""
    first_hz = mix.queues[0].arrivals.rate_hz
    steps = range(-round(math.log(reach, STEP)), round(math.log(reach, STEP)) + 1)
    rates = [first_hz * STEP**step for step in steps]
    allowed = mix.target.allowed
    holds = [float(measure(session, mix, hz, coarse, 1).mean()) <= allowed for hz in rates]
    seconds = sum(math.ceil(coarse / hz) for hz in rates)
    if all(holds) or not any(holds):
        # The limit lies beyond the rates.
        return brute_force(session, mix, coarse=coarse, fine=fine, reach=reach**2)
    # The border between the two in the least wrong place, and the rates around it.
    border = min(range(1, len(rates)), key=lambda i: holds[i:].count(True) + holds[:i].count(False))
    near = [rates[border] * STEP**step for step in range(-6, 7, 2)]
    shares = [measure(session, mix, hz, fine, 2) for hz in near]
    line = fit(
        np.log(near),
        np.array([len(missed) for missed in shares], np.float64),
        np.array([np.count_nonzero(missed) for missed in shares], np.float64),
        allowed=allowed,
        effect=1.0,
        around=math.log(rates[border]),
    )
    return math.exp(line.crossing), seconds


def mixes(count: int) -> None:
    """Print what the search and brute force find in random mixes."""
    print("| mix | brute force | found | off | shown to hold | shown to fail | time |")
    print("|---|---|---|---|---|---|---|")
    good = inside = 0
    for seed in range(count):
        session = Session(Settings(device="sim"))
        mix = random_mix(session, seed)
        truth_hz, seconds = brute_force(session, mix)
        found = session.find_rate(
            mix.queues,
            queue="chat",
            target=mix.target,
            within="3%",
            budget=f"{int(seconds / 4)}s",
            scheduler=mix.scheduler,
        )
        off = found.rate.value / truth_hz - 1
        spent = found.measured_ns / 1e9 / seconds
        good += abs(off) <= 0.03 and spent <= 0.25
        inside += _inside(found, truth_hz)
        print(
            f"| {seed} | {truth_hz:.1f}/s | {found.rate} | {100 * off:+.1f} % | {found.lower} | "
            f"{found.upper} | {100 * spent:.0f} % |",
            flush=True,
        )
        session.close()
    print(f"\nWithin 3 % in at most a quarter of the time: {good} of {count}.")
    print(f"Brute force lies between the bounds: {inside} of {count}.")


def _inside(found: HighestRate, truth_hz: float) -> bool:
    lower, upper = found.lower, found.upper
    return (lower is None or lower.value <= truth_hz) and (upper is None or truth_hz <= upper.value)


# ---- error rates


class Line:
    """Requests that wait in one line, at one rate; a probe of `rate_search`, without a run."""

    saturated, refused = False, ""

    def __init__(
        self, model: Model, rate_hz: float, least_ns: int, most_ns: int, draw: np.random.Generator
    ) -> None:
        self._model, self._rate_hz, self._most_ns, self._draw = model, rate_hz, most_ns, draw
        self.missed: Misses = np.empty(0, np.bool_)
        self.measured_ns, self.block = 0, max(1, round(rate_hz))
        self._add(min(least_ns, most_ns))

    def _add(self, time_ns: int) -> None:
        more = self._model(self._rate_hz, time_ns / 1e9, self._draw)
        self.missed = np.concatenate([self.missed, more])
        self.measured_ns += time_ns

    def measure_on(self) -> bool:
        """Measure half as long again, as `adaptive` does."""
        left_ns = self._most_ns - self.measured_ns
        if left_ns > 0:
            self._add(min(left_ns, max(5 * S, self.measured_ns // 2)))
        return left_ns > 0


Model = Callable[[float, float, np.random.Generator], Misses]
"""Returns the misses at a rate in Hz in a time in s."""


def one_server(work: Callable[[np.random.Generator, int], object], limit_s: float) -> Model:
    """Return a server that does one request after the other, with Poisson arrivals.

    The line is begun 1 s before the window. Source of the recursion: D. Lindley, The theory of
    queues with a single server, Mathematical Proceedings of the Cambridge Philosophical Society
    48(2), 1952.
    """

    def model(rate_hz: float, seconds: float, draw: np.random.Generator) -> Misses:
        before, count = round(rate_hz), round(rate_hz * seconds)
        arrived = np.concatenate([np.sort(draw.random(before)), 1 + _sorted(draw, count, seconds)])
        work_s = np.asarray(work(draw, len(arrived)), np.float64)
        done = np.cumsum(work_s)
        ended = np.maximum.accumulate(arrived - (done - work_s)) + done
        return np.asarray((ended - arrived >= limit_s)[before:], np.bool_)

    return model


def _sorted(draw: np.random.Generator, count: int, seconds: float) -> np.ndarray:
    return np.sort(draw.random(count)) * seconds


MODELS = {
    "5 ms each, limit 25 ms": one_server(lambda draw, n: np.full(n, 0.005), 0.025),
    "5 ms each, limit 100 ms": one_server(lambda draw, n: np.full(n, 0.005), 0.1),
    "5 ms on average, exponential, limit 60 ms": one_server(
        lambda draw, n: draw.exponential(0.005, n), 0.06
    ),
    "3 ms, one of 20 takes 40 ms, limit 80 ms": one_server(
        lambda draw, n: np.where(draw.random(n) < 0.05, 0.04, 0.003), 0.08
    ),
}
FIRST_HZ = (10.0, 50.0, 150.0, 400.0)


def truth(model: Model, requests: int = 4_000_000) -> float:
    """Return the rate at which one request of 100 misses, by bisection with many requests."""
    low, high = 20.0, 199.0
    for _ in range(14):
        middle = math.sqrt(low * high)
        missed = model(middle, requests / middle, np.random.default_rng(7))
        low, high = (low, middle) if missed.mean() > 0.01 else (middle, high)
    return math.sqrt(low * high)


def one_search(model: Model, seed: int, budget_s: float, within: float = 0.05) -> Found:
    """Search for the rate of a model, from a first rate that the seed draws."""
    draw = np.random.default_rng(seed)
    plan = Plan(
        allowed=0.01,
        start_hz=float(draw.choice(FIRST_HZ)),
        lowest_hz=2.0,
        highest_hz=1e5,
        within=within,
        budget_ns=round(budget_s * S),
        alpha=ALPHA,
        beta=BETA,
    )
    return search(plan, lambda rate, least, most, alone: Line(model, rate, least, most, draw))


def errors(count: int) -> None:
    """Print how often the bounds of a search are wrong, and how close they are."""
    print(
        "| requests | budget | wrong: holds | wrong: fails | found: holds | fails | lower bound | "
        "upper bound |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, model in MODELS.items():
        truth_hz = truth(model)
        for budget_s in (200, 600, 3000):
            lower, upper = [], []
            for seed in range(count):
                found = one_search(model, seed, budget_s)
                lower += [found.lower.rate_hz / truth_hz] if found.lower else []
                upper += [found.upper.rate_hz / truth_hz] if found.upper else []
            wrong = sum(ratio > 1 for ratio in lower), sum(ratio < 1 for ratio in upper)
            shares = [*wrong, len(lower), len(upper)]
            medians = [f"{np.median(of):.2f}" if of else "-" for of in (lower, upper)]
            cells = [f"{100 * share / count:.3g} %" for share in shares]
            print(f"| {name} | {budget_s} s | {' | '.join([*cells, *medians])} |", flush=True)


# ---- a real device


def on_cpu(session: Session) -> Mix:
    chat = session.queue(
        "chat", spin("5ms"), priority=1, arrivals=poisson("50/s"), threshold=1, batch_size=1
    )
    low = session.queue("low", spin("2ms", layers=4), threshold=1, batch_size=1)
    return Mix((chat, low), p95_below("50ms"), "builtin")


def of_server(session: Session) -> Mix:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{one.getsockname()[1]}"
    serve = Path(__file__).resolve().parent.parent / "examples" / "server" / "serve.py"
    serving = server(
        [sys.executable, serve, "--port", url.rpartition(":")[2]],
        ready=f"{url}/health",
        env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    asks = openai_chat(
        f"{url}/v1",
        model="small",
        messages="Which planets have rings?",
        parameters={"max_tokens": 4},
        server=serving,
    )
    chat = session.queue("chat", asks, arrivals=poisson("30/s"))
    return Mix((chat,), p95_below("25ms"), "native")


def real(make: Callable[[Session], Mix], first: int, count: int) -> None:
    """Print the bounds of searches in real time, and the misses of long runs there."""
    print(
        "| search | shown to hold | shown to fail | misses there, long run | and there | inside |"
    )
    print("|---|---|---|---|---|---|")
    inside = 0
    for seed in range(first, first + count):
        session = Session(Settings(device="cpu", seed=seed))
        mix = make(session)
        found = session.find_rate(
            mix.queues,
            queue="chat",
            target=mix.target,
            budget=BUDGET,
            scheduler=mix.scheduler,
            seed=seed,
        )
        cells = []
        good = found.lower is not None and found.upper is not None
        for bound, holds in ((found.lower, True), (found.upper, False)):
            if bound is None:
                cells.append("-")
                continue
            missed = measure(session, mix, bound.value, round(LONG_S * bound.value), 1000 + seed)
            good &= (float(missed.mean()) <= mix.target.allowed) == holds
            cells.append(f"{100 * float(missed.mean()):.2f} %")
        inside += good
        print(
            f"| {seed} | {found.lower} | {found.upper} | {cells[0]} | {cells[1]} | "
            f"{'yes' if good else 'no'} |",
            flush=True,
        )
        if not good:
            print(f"  (seed {seed} ended: {found.ended})", flush=True)
            for p in found.curve:
                print(f"  {p.rate_hz:g}/s {p.status}: {p.misses} of {p.n} missed {p.reason}")
        session.close()
    print(f"\nLong runs agree with both bounds: {inside} of {count} (5 % may miss).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("mixes", "errors", "cpu", "server"))
    parser.add_argument("--count", type=int, help="mixes (20), searches a row (200), searches (5)")
    parser.add_argument(
        "--first", type=int, default=0, help="seed of the first search, in real time"
    )
    args = parser.parse_args()
    started = time.monotonic()
    if args.what in ("cpu", "server"):
        real({"cpu": on_cpu, "server": of_server}[args.what], args.first, args.count or 5)
    else:
        run = {"mixes": mixes, "errors": errors}[args.what]
        run(args.count or {"mixes": 20, "errors": 200}[args.what])
    print(f"\n({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    main()

"""Arrival times: exact counts, ranges, reproducibility, and the shape of each kind."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import bursts, closed, constant, gamma, poisson, replay
from pytest_xsched.scenario.arrival_times import WINDOW_NS, arrival_times, on_phases

S = 10**9
KINDS = {
    "constant": constant,
    "poisson": poisson,
    "gamma": lambda rate: gamma(rate, cv=2.0),
    "bursts": lambda rate: bursts(rate, on="200ms", off="800ms"),
}


def make(kind, rate="20/s", *, warmup_ns=S, duration_ns=60 * S, seed=0, name="high"):
    arrivals = KINDS[kind](rate) if kind in KINDS else kind
    return arrival_times(
        arrivals, warmup_ns=warmup_ns, duration_ns=duration_ns, seed=seed, name=name
    )


def half_up(rate, span_ns):
    return math.floor(Fraction(rate) * span_ns / S + Fraction(1, 2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rate", "warmup_ns", "duration_ns"),
    [
        ("20", S, 60 * S),
        ("20", S // 10, 3 * S // 2),
        ("20", 0, 1),
        ("0.3", 5 * S, 95 * S),
        ("1", 3 * S // 2, 25 * S // 2),
        ("0.05", 0, 60 * S),
        ("333.3", 123_456_789, 31_234_567_891),
        ("1000", 12 * S, 20 * S),
    ],
)
def test_counts_are_exact_in_every_window(kind, rate, warmup_ns, duration_ns):
    times = make(kind, f"{rate}/s", warmup_ns=warmup_ns, duration_ns=duration_ns)
    assert times.dtype == np.int64
    assert np.all(np.diff(times) >= 0)
    assert times.size == 0 or (times[0] >= 0 and times[-1] < warmup_ns + duration_ns)
    warm = int(np.count_nonzero(times < warmup_ns))
    assert warm == half_up(rate, warmup_ns)
    for end_ns in [*range(WINDOW_NS, duration_ns, WINDOW_NS), duration_ns]:
        count = int(np.count_nonzero(times < warmup_ns + end_ns)) - warm
        assert count == half_up(rate, end_ns), end_ns


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_and_name_same_arrivals(kind):
    assert np.array_equal(make(kind), make(kind))


@pytest.mark.parametrize("kind", ["poisson", "gamma", "bursts"])
def test_seed_name_and_window_change_the_arrivals(kind):
    times = make(kind)
    assert not np.array_equal(times, make(kind, seed=1))
    assert not np.array_equal(times, make(kind, name="low"))
    first = times[(times >= S) & (times < 11 * S)] - S
    second = times[(times >= 11 * S) & (times < 21 * S)] - 11 * S
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_longer_run_keeps_the_earlier_arrivals(kind):
    short = make(kind, duration_ns=30 * S)
    longer = make(kind, duration_ns=55 * S)
    assert np.array_equal(longer[: short.size], short)
    assert longer.size == 20 + 1100


def test_constant_exactly():
    times = make("constant", warmup_ns=S // 5, duration_ns=S // 4)
    ms = [25, 75, 125, 175, 225, 275, 325, 375, 425]
    assert times.tolist() == [at * 1_000_000 for at in ms]
    assert np.all(np.diff(make("constant", warmup_ns=0)) == 50_000_000)


def test_constant_stays_in_the_window_that_counts_it():
    # 1/s for 1.5 s: two requests by rounding half up, the second due at the very end.
    times = make("constant", "1/s", warmup_ns=0, duration_ns=3 * S // 2)
    assert times.tolist() == [S // 2, 3 * S // 2 - 1]


def test_poisson_arrivals_are_pinned():
    # Made by this code. They change only if the stream of random numbers does, and with it the
    # load of every run that was ever recorded.
    times = make("poisson", "1/s", warmup_ns=0, duration_ns=5 * S)
    assert times.tolist() == [2016063653, 2614934192, 2636682463, 3368543526, 3378981462]


def gap_cv(times):
    gaps = np.diff(times)
    return float(gaps.std() / gaps.mean())


def dispersion(times, bin_ns):
    """Variance over mean of the counts in bins: 1 for Poisson."""
    counts = np.bincount((times // bin_ns).astype(np.int64))
    return float(counts.var() / counts.mean())


def test_poisson_looks_like_poisson():
    times = make("poisson", "100/s", warmup_ns=0, duration_ns=200 * S)
    assert times.mean() == pytest.approx(100 * S, rel=0.02)
    assert gap_cv(times) == pytest.approx(1, rel=0.05)
    assert dispersion(times, S // 10) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("cv", [0.01, 0.5, 1.0, 3.0])
def test_gamma_has_its_cv(cv):
    times = make(gamma("1000/s", cv=cv), warmup_ns=0, duration_ns=WINDOW_NS)
    assert gap_cv(times) == pytest.approx(cv, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rate", "duration_ns"), [("100/s", 100 * S), ("5/s", 600 * S)])
@pytest.mark.parametrize("cv", [0.01, 0.1, 0.5])
def test_gamma_has_its_cv_over_many_windows(cv, rate, duration_ns, seed):
    times = make(gamma(rate, cv=cv), duration_ns=duration_ns, seed=seed)
    assert gap_cv(times) == pytest.approx(cv, rel=0.2)


def test_gamma_of_cv_1_is_uniform_within_its_windows():
    times = make(gamma("0.1/s", cv=1), warmup_ns=0, duration_ns=20_000 * S)
    places = (times % WINDOW_NS) / WINDOW_NS  # one request a window, each anywhere in it
    assert np.histogram(places, bins=4, range=(0, 1))[0] == pytest.approx([500] * 4, rel=0.15)
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.07


def test_gamma_of_few_wild_gaps_stays_in_range():
    for seed in range(200):
        times = make(gamma("0.2/s", cv=10), warmup_ns=0, duration_ns=10 * S, seed=seed)
        assert times.size == 2
        assert 0 <= times[0] <= times[1] < 10 * S


def test_bursts_are_bursts():
    times = make("bursts", "100/s", warmup_ns=0, duration_ns=200 * S)
    assert dispersion(times, S // 10) > 10
    counts = np.bincount(times // (S // 10), minlength=2000)
    assert np.mean(counts == 0) == pytest.approx(0.7, abs=0.1)  # off for four fifths of the time


def test_burst_without_a_whole_phase_has_one():
    for seed in range(50):
        times = make(
            bursts("10/s", on="100us", off="1h"), warmup_ns=0, duration_ns=10 * S, seed=seed
        )
        assert times.size == 100
        assert times[-1] - times[0] < 2_000_000  # all of them within one phase of about 100 us


@pytest.mark.parametrize(("on_ns", "off_ns"), [(2 * S // 10, 8 * S // 10), (S, S), (3 * S, S)])
def test_on_phases_have_their_lengths_and_share(on_ns, off_ns):
    rng = np.random.Generator(np.random.PCG64(7))
    span_ns = 10_000 * S
    starts, lengths = on_phases(rng, on_ns=on_ns, off_ns=off_ns, span_ns=span_ns)
    assert np.all(starts[1:] > (starts + lengths)[:-1])
    assert (starts + lengths)[-1] <= span_ns
    assert lengths.mean() == pytest.approx(on_ns, rel=0.05)
    assert lengths.sum() / span_ns == pytest.approx(on_ns / (on_ns + off_ns), rel=0.05)


def test_on_phases_start_in_the_steady_state():
    on_at_start = 0
    for seed in range(1000):
        rng = np.random.Generator(np.random.PCG64(seed))
        starts, _ = on_phases(rng, on_ns=S // 4, off_ns=3 * S // 4, span_ns=10 * S)
        on_at_start += starts[0] == 0
    assert on_at_start == pytest.approx(250, abs=50)


def test_replay_is_moved_behind_the_warm_up():
    times = make(replay(["0s", "10ms", "10ms", "59.999s"]), warmup_ns=S)
    assert times.tolist() == [S, S + 10_000_000, S + 10_000_000, S + 59_999_000_000]
    assert times.dtype == np.int64


def test_replay_must_end_within_the_window():
    with pytest.raises(ScenarioError, match="queue 'high': replay time 60s is not before the end"):
        make(replay(["1s", "60s"]))


def test_closed_loop_has_no_arrivals():
    with pytest.raises(ScenarioError, match=r"queue 'low': Closed\(.*\) has no arrival times"):
        make(closed(), name="low")

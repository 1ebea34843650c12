"""Traces: exact commands for a seed, what every seed keeps of its recipe, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.model_traces import TRACES, trace
from pytest_xsched.scenario.workload import read_workload, sequence, spin, vector_add

SEEDS = range(40)
DRAWN = ("cnn-small", "decode", "train", "prefill")


def plain(workload):
    return [(command.duration_ns, command.fill_permille) for command in workload.commands]


def of_all_seeds(name):
    """Durations in us and shares of the device, of the commands of many seeds together."""
    return [
        (ns / 1000, permille / 1000) for s in SEEDS for ns, permille in plain(trace(name, seed=s))
    ]


def part_below(pairs, us):
    return sum(duration <= us for duration, _ in pairs) / len(pairs)


# ---- equal seeds, equal commands


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("cnn-small", [(123986, 135), (3000, 1000), (20600, 1000), (19016, 1000)]),
        ("decode", [(8856, 628), (1392, 512), (7921, 495), (7576, 478)]),
        ("train", [(407932, 1000), (10122, 338), (6336, 315), (6061, 292)]),
        ("prefill", [(2391810, 1000), (50610, 1000), (331282, 1000), (313357, 1000)]),
    ],
)
def test_commands_of_a_seed(name, commands):
    assert plain(trace(name, seed=7, commands=4)) == commands


def test_another_process_makes_the_same():
    program = (
        "from pytest_xsched import trace\n"
        "commands = trace('train', seed=3).commands\n"
        "print([(c.duration_ns, c.fill_permille) for c in commands])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(plain(trace("train", seed=3)))


@pytest.mark.parametrize("name", DRAWN)
def test_seeds_differ(name):
    assert len({trace(name, seed=seed).commands for seed in SEEDS}) == len(SEEDS)
    assert trace(name) == trace(name, seed=0)


# ---- the recipes


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("cnn-small", set(range(150, 181))),
        ("decode", {1000}),
        ("train", {1000}),
        ("prefill", {100}),
        ("hog", {1}),
        ("vecadd", {1}),
    ],
)
def test_number_of_commands(name, counts):
    found = {len(trace(name, seed=seed).commands) for seed in range(400)}
    assert found == counts
    assert {len(trace(name, seed=seed, commands=9).commands) for seed in SEEDS} == {9}


def test_cnn_small():
    pairs = of_all_seeds("cnn-small")
    # The 15 % of longer ones: 70 us * exp(0.5 z) lies above 100 us for 24 % of them.
    assert min(pairs)[0] == 3.0
    assert part_below(pairs, 100.0) == pytest.approx(1 - 0.15 * 0.238, abs=0.01)
    assert part_below(pairs, 3.0) == pytest.approx(0.85 * 0.111, abs=0.015)  # clipped
    # Below its median of 9 us lies half of the 85 %, and next to nothing of the others.
    assert part_below(pairs, 9.0) == pytest.approx(0.85 / 2, abs=0.02)
    shares = [share for _, share in pairs]
    assert shares.count(1.0) / len(shares) == pytest.approx(0.4, abs=0.02)
    partial = [share for share in shares if share < 1]
    assert 0.05 <= min(partial) < 0.07 and 0.78 < max(partial) <= 0.8


def test_decode():
    pairs = of_all_seeds("decode")
    assert part_below(pairs, 5.0) == pytest.approx(0.5, abs=0.01)  # the median
    assert part_below(pairs, 5.0 * 1.6487) == pytest.approx(0.841, abs=0.01)  # one sigma above it
    shares = [share for _, share in pairs]
    assert min(shares) == 0.3 and 0.99 < max(shares) <= 1.0
    assert sum(shares) / len(shares) == pytest.approx(0.65, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_train(seed):
    pairs = [(ns / 1000, permille) for ns, permille in plain(trace("train", seed=seed))]
    # Exact counts: nothing of the first half is above 100 us, nor below 500 us of the last part.
    assert sum(us > 100 for us, _ in pairs) == 150
    assert sum(us > 500 for us, _ in pairs) == 20
    assert max(pairs)[0] <= 2500
    assert all(permille == 1000 for us, permille in pairs if us > 100)
    assert min(permille for _, permille in pairs) >= 50


@pytest.mark.parametrize("seed", SEEDS)
def test_prefill(seed):
    pairs = plain(trace("prefill", seed=seed))
    assert sum(ns > 500_000 for ns, _ in pairs) == 30
    assert sum(ns > 3_000_000 for ns, _ in pairs) == 5
    assert min(pairs)[0] >= 50_000 and max(pairs)[0] <= 7_500_000
    assert {permille for _, permille in pairs} == {1000}


def test_parts_are_mixed():
    """Not the short ones first: what stands in a row is drawn."""
    long = [ns > 100_000 for ns, _ in plain(trace("train", seed=0))]
    assert 0.3 < sum(long[:500]) / sum(long) < 0.7


def test_hog_and_vecadd():
    assert trace("hog") == spin("2ms", waves=8)
    assert trace("hog", duration="10ms", waves=20, commands=3) == spin("10ms", waves=20, layers=3)
    assert trace("hog", seed=1) == trace("hog", seed=2)
    assert trace("vecadd") == vector_add(2**25)
    assert trace("vecadd", commands=5) == vector_add(2**25, layers=5)


# ---- total, labels, JSON


@pytest.mark.parametrize("name", DRAWN)
def test_total(name):
    as_drawn, scaled = trace(name, seed=5), trace(name, seed=5, total="2.5ms")
    assert len(scaled.commands) == len(as_drawn.commands)
    assert [fill for _, fill in plain(scaled)] == [fill for _, fill in plain(as_drawn)]
    total = sum(ns for ns, _ in plain(scaled))
    assert abs(total - 2_500_000) <= len(scaled.commands) / 2
    factor = 2_500_000 / sum(ns for ns, _ in plain(as_drawn))
    for (short, _), (ns, _) in zip(plain(scaled), plain(as_drawn), strict=True):
        assert short == pytest.approx(ns * factor, abs=2)
    assert {ns for ns, _ in plain(trace(name, total="1ns"))} == {1}


@pytest.mark.parametrize(
    ("workload", "label"),
    [
        (trace("cnn-small"), "trace('cnn-small', seed=0)"),
        (trace("decode", seed=3, commands=20), "trace('decode', seed=3, commands=20)"),
        (trace("train", total="10ms"), "trace('train', seed=0, total='10ms')"),
        (trace("hog"), "spin('2ms', waves=8)"),
    ],
)
def test_labels(workload, label):
    assert workload.label == label


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_is_read_from_its_json(name):
    whole = sequence([trace(name, seed=2**32 - 1), spin("1us")])
    assert read_workload(json.loads(json.dumps(asdict(whole)))) == whole


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: trace("cnn"), "trace 'cnn' is unknown; known: cnn-small, decode, train"),
        (lambda: trace("train", seed=-1), "trace 'train': seed -1 is outside [0, 4294967295]"),
        (lambda: trace("train", seed=1.5), "trace 'train': seed 1.5 is not an integer"),
        (lambda: trace("train", commands=0), "trace 'train': commands 0 is outside [1, 4096]"),
        (lambda: trace("hog", commands=4097), "trace 'hog': commands 4097"),
        (lambda: trace("train", total=3), "total of trace: 3 has no unit"),
        (lambda: trace("train", duration="1ms"), "'train': duration '1ms' is not one of its"),
        (lambda: trace("decode", waves=2), "trace 'decode': waves 2 is not one of its arguments"),
        (lambda: trace("hog", total="1ms"), "trace 'hog': total '1ms' is not one of its"),
        (lambda: trace("vecadd", duration="1ms"), "trace 'vecadd': duration '1ms' is not one"),
        (lambda: trace("hog", waves=0), "spin: waves 0"),
    ],
)
def test_a_trace_is_refused(make, words):
    with pytest.raises(ScenarioError) as error:
        make()
    assert words in str(error.value)

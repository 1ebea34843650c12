"""The tables of docs/explanation/error_rates.md: a part of each is made again."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("aa", ROOT / "bench" / "aa_comparisons.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("drift", ["random_walk", "linear"])
def test_equal_arms_are_rarely_told_apart(bench, drift):
    ours, *others = bench.claims(
        bench.independent, getattr(bench, drift), 7, 1.0, comparisons=200, seed=1
    )
    assert ours <= 200 * 0.05
    assert min(others) > 200 * 0.05  # or the simulation would be one in which nothing is wrong


def test_a_large_difference_is_shown(bench):
    ours, *_ = bench.claims(bench.independent, bench.random_walk, 7, 0.5, comparisons=50, seed=1)
    assert ours == 50


def test_the_table_has_no_error_rate_above_five_percent():
    text = (ROOT / "docs" / "explanation" / "error_rates.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \w+ \| [\w ]+ \| \d+ \| 1 \| ([\d.]+) % ", text, re.MULTILINE)
    assert len(rows) == 8
    assert max(map(float, rows)) <= 5


@pytest.fixture(scope="module")
def gates():
    spec = importlib.util.spec_from_file_location("rates", ROOT / "bench" / "error_rates.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_targets_keeps_what_is_promised():
    text = (ROOT / "docs" / "explanation" / "error_rates.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([^|]+) \| (0\.\d+) \| ([\d.]+)(?: %)? \| [^|]+ \| [^|]+ \| \d+ \|",
        text[: text.index("### Latencies that change")],
        re.M,
    )
    fails = {(name, float(rate)): float(share) for name, rate, share in rows}
    assert len(fails) == 4 * 7
    for name in ("independent", "autoregressive, 0.9", "bursts of 10 requests"):
        assert fails[name, 0.01] <= 0.1
        assert fails[name, 0.005] == 0
    assert fails["independent", 0.1] == 100


def test_the_table_of_rates_keeps_what_is_promised():
    """Phases that are alike through the whole run are the exception that the page names."""
    text = (ROOT / "docs" / "explanation" / "error_rates.md").read_text(encoding="utf-8")
    table = text[text.index("| rate of the loop |") :]
    rows = re.findall(
        r"^\| ([^|]+) \| ([\d.]+) \| ([\d.]+)(?: %)? \| ([\d.]+)(?: %)? \| [^|]+ \| \d+ \|",
        table[: table.index("\n\n")],
        re.M,
    )
    assert len(rows) == 5 * 5
    for name, times, fail, passed in rows:
        if "at random" not in name:
            assert float(times) > 1 or float(fail) <= 0.5, name
            assert float(times) < 1 or float(passed) <= 7.5, name


@pytest.mark.parametrize("name", ["steady, 2 %", "15 % up and down in phases of 20 s"])
def test_rates_are_judged_as_in_the_table(gates, name):
    alpha = gates.SessionBudget().next_alpha()
    rng = gates.np.random.default_rng(5)
    statuses = [
        gates.rate_verdict(100 * gates.RATE_PROCESSES[name](rng), 95, alpha)[0] for _ in range(40)
    ]
    expected = "PASS" if name.startswith("steady") else "UNDECIDED"
    assert statuses.count(expected) >= 36 and "FAIL" not in statuses


def test_late_misses_pass_a_run_that_stops_early_and_not_the_whole_one(gates):
    draw = gates.CHANGING["twice as slow in the last fifth"]
    limit = gates.np.quantile(draw(gates.np.random.default_rng(1), 500), 0.98)
    judge = gates.gate(limit, gates.SessionBudget().next_alpha())
    latencies = draw(gates.np.random.default_rng(2), 40)
    early = [gates.judged(one, judge)[0] for one in latencies]
    whole = [gates.judged(one, judge, gates.BUDGET_S)[0] for one in latencies]
    assert early.count("PASS") >= 8
    assert whole.count("PASS") == 0


def test_streams_have_the_rate_that_is_asked_for_and_are_judged_as_in_the_table(gates):
    assert gates.looks()[0] == 300 and gates.looks()[-1] == gates.N
    alpha = gates.SessionBudget().next_alpha()
    for p, draw in enumerate(gates.PROCESSES.values()):
        missed = draw(gates.np.random.default_rng([1, p]), 0.02, 400)
        assert abs(missed.mean() - 0.02) < 0.006
    bad = gates.independent(gates.np.random.default_rng(2), 0.1, 100)
    verdicts = [gates.ours(stream, alpha) for stream in bad]
    assert sum(status == "FAIL" and n <= 600 for status, n in verdicts) >= 99
    good = gates.independent(gates.np.random.default_rng(3), 0.01, 100)
    assert [gates.ours(stream, alpha)[0] for stream in good].count("FAIL") == 0
    assert gates.most_misses() == 4  # P(at most 4 of 1200 at 1 %) < 0.01

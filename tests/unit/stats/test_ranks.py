"""Two groups of figures: how often chance alone puts one so far above the other."""

import itertools
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from pytest_xsched.stats.ranks import CHANCE, chance_above, runs_missing

BENCH = Path(__file__).resolve().parents[3] / "bench"


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 4), (3, 3), (4, 2)])
def test_the_chance_is_that_of_all_orders_of_equal_groups(first, second):
    """Each order of n + m figures is equally likely where both groups are of one distribution."""
    total = first + second
    orders = [
        ([i for i in range(total) if i not in upper], list(upper))
        for upper in itertools.combinations(range(total), second)
    ]
    above = [sum(y > x for x in lower for y in upper) for lower, upper in orders]
    for (lower, upper), here in zip(orders, above, strict=True):
        as_far = sum(other >= here for other in above)
        assert chance_above(lower, upper) == Fraction(as_far, len(orders))


def test_equal_figures_are_not_above():
    assert chance_above([1, 1, 1], [1, 1, 1]) == 1
    assert chance_above([1, 1, 1], [2, 2, 2]) == Fraction(1, 20)
    assert chance_above([1, 1, 1], [2, 2, 1]) > Fraction(1, 20)


@pytest.mark.parametrize(
    ("first", "second", "missing"), [(19, 1, 0), (18, 1, 1), (3, 3, 0), (3, 1, 2), (1, 1, 18)]
)
def test_so_many_runs_are_missing_before_anything_can_be_shown(first, second, missing):
    assert runs_missing(first, second) == missing
    lower, upper = [1.0] * first, [2.0] * (second + missing)
    assert chance_above(lower, upper) <= CHANCE
    assert not missing or chance_above(lower, upper[1:]) > CHANCE


def test_equal_builds_rarely_fail_under_drift_and_slow_ones_do(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import aa_comparisons
    import build_rates

    monkeypatch.setattr(aa_comparisons, "REQUESTS", 1000)
    drift, latencies = aa_comparisons.random_walk, aa_comparisons.independent
    found = build_rates.rates(latencies, drift, sessions=300, seed=1)
    assert len(found) == 4
    assert all(equal <= 0.05 and slower >= 0.95 for equal, slower in found)
    for name in ("aa_comparisons", "build_rates"):
        del sys.modules[name]

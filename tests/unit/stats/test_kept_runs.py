"""A figure against few that were kept: by a margin, and beyond what they differ."""

import math
import sys
from pathlib import Path

import pytest

from pytest_xsched.stats.kept_runs import CHANCE, FEWEST, is_below, is_beyond, prediction_bound

BENCH = Path(__file__).resolve().parents[3] / "bench"


def test_the_bound_is_that_of_a_prediction_interval():
    logs = [0.0, 0.1, 0.2]  # mean 0.1, standard deviation 0.1; t of 2 degrees is 3.8964 at 97 %
    assert pytest.approx(0.03) == CHANCE
    bound = 0.1 + 3.8964 * 0.1 * math.sqrt(1 + 1 / 3)
    assert prediction_bound([math.exp(one) for one in logs]) == pytest.approx(
        math.exp(bound), rel=1e-4
    )


@pytest.mark.parametrize(
    ("now", "kept", "beyond"),
    [
        (1.25, [1.0, 1.0, 1.0], True),
        (1.2, [1.0, 1.0, 1.0], False),  # by the margin, and not by more
        (1.25, [1.0, 1.0], False),  # too few
        (1.25, [1.0, 1.0, 1.3], False),  # one was worse
        (1.3, [1.0, 0.9, 1.15], False),  # they differ by as much
        (math.inf, [1.0, 0.5, 2.0], True),
        (math.inf, [1.0, 1.0, math.inf], False),
    ],
)
def test_beyond(now, kept, beyond):
    assert is_beyond(now, kept, 0.2) == beyond
    if 0 < now < math.inf:
        mirrored = [1 / one for one in kept]
        assert is_below(1 / now, mirrored, 1 - 1 / 1.2) == beyond
    assert FEWEST == 3


def test_below_nothing_at_all():
    assert is_below(0, [1.0, 1.0, 1.0], 0.2)
    assert not is_below(0.5, [1.0, 1.0, math.inf], 0.2)


@pytest.mark.parametrize("drift", ["random_walk", "linear"])
def test_equal_builds_rarely_fail_and_a_slow_one_does(drift, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import aa_comparisons
    import margin_rates

    monkeypatch.setattr(aa_comparisons, "REQUESTS", 1000)
    equal, slower = margin_rates.rates(
        aa_comparisons.independent, getattr(aa_comparisons, drift), 5, sessions=1000, seed=1
    )
    assert equal <= 0.05 and slower >= 0.95
    for name in ("aa_comparisons", "margin_rates"):
        del sys.modules[name]

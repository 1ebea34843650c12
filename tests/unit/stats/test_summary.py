"""How latencies spread: the same numbers as pytest-benchmark's, and none that hides a request."""

import numpy as np
import pytest

from pytest_xsched.stats.estimators import CENSORED_NS
from pytest_xsched.stats.summary import spread

MS = 1_000_000


def test_by_hand():
    # 1 .. 8 ms and one of 100: quartiles of 9 values by quarters (method 3).
    numbers = spread(np.array([8, 1, 2, 3, 4, 5, 6, 7, 100], np.int64) * MS)

    assert numbers is not None
    assert (numbers["rounds"], numbers["min"], numbers["max"]) == (9, 0.001, 0.1)
    assert numbers["median"] == 0.005
    assert numbers["q1"] == pytest.approx(0.25 * 0.002 + 0.75 * 0.003)
    assert numbers["q3"] == pytest.approx(0.75 * 0.007 + 0.25 * 0.008)
    assert numbers["iqr"] == pytest.approx(0.0045)
    assert (numbers["ld15iqr"], numbers["hd15iqr"]) == (0.001, 0.008)
    assert (numbers["iqr_outliers"], numbers["outliers"]) == (1, "1;1")
    assert numbers["total"] == pytest.approx(0.136)
    assert numbers["ops"] == pytest.approx(9 / 0.136)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 99, 300, 1201])
def test_equal_to_pytest_benchmark(n):
    stats = pytest.importorskip("pytest_benchmark.stats", reason="pytest-benchmark is missing")
    latency_ns = np.random.default_rng(n).lognormal(15, 1.5, n).astype(np.int64)
    theirs = stats.Stats()
    theirs.data = (latency_ns / 1e9).tolist()

    ours = spread(latency_ns)

    assert ours is not None
    expected = theirs.as_dict()
    assert ours.pop("outliers") == expected.pop("outliers")
    assert ours == pytest.approx(expected, rel=1e-9)
    assert {type(value) for value in ours.values()} == {int, float}


def test_all_equal():
    numbers = spread(np.full(5, 2 * MS))
    assert numbers["stddev"] == numbers["iqr"] == 0.0
    assert numbers["outliers"] == "0;0"


def test_without_a_request_and_with_one_that_never_completed():
    assert spread(np.zeros(0, np.int64)) is None
    assert spread(np.array([MS, CENSORED_NS, MS])) is None

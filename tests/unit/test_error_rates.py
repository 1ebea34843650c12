"""The tables of docs/error-rates.md: a part of each is made again."""

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
    text = (ROOT / "docs" / "error-rates.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \w+ \| [\w ]+ \| \d+ \| 1 \| ([\d.]+) % ", text, re.MULTILINE)
    assert len(rows) == 8
    assert max(map(float, rows)) <= 5

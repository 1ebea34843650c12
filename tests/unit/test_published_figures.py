"""Figures published of XSched: what is left of them when like is compared with like."""

import runpy
from pathlib import Path

import pytest

from pytest_xsched import IncomparableError, InvalidRun, compare_runs

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "published_figures.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def test_what_is_printed(example, capsys):
    example["main"]()

    printed = capsys.readouterr().out.splitlines()
    ratios = [line for line in printed if "contention removed" in line]
    assert ": P50 of xsched / native 0.7031 " in ratios[0] and ratios[0].endswith("removed: 39.9 %")
    assert ": P99 of xsched / native 0.8286 " in ratios[1] and ratios[1].endswith("removed: 21.9 %")
    assert printed[-1].startswith("63.4 times better? IncomparableError: the runs differ in ")
    for field in ("processes: ", "queues.high.workload: ", "queues.low.workload: "):
        assert field in printed[-1]


def test_contention_removed(example):
    arms = example["INTENSIVE"]
    comparison = compare_runs(arms["native"], arms["xsched"], alone={"high": arms["high alone"]})
    assert comparison.high.contention_removed(0.5).value == pytest.approx(0.399, abs=0.0005)
    assert comparison.high.contention_removed(0.99).value == pytest.approx(0.219, abs=0.0005)
    assert comparison.low.throughput().ratio.value == pytest.approx(0.918, abs=0.0005)
    assert not comparison.high.latency(0.99).shown  # one episode shows nothing
    with pytest.raises(InvalidRun, match="no verdict: 1 episode gives no bounds, which takes at "):
        float(comparison.high.contention_removed(0.99))


def test_the_headline_is_refused(example):
    with pytest.raises(IncomparableError) as error:
        compare_runs(example["HEADLINE"]["native"], example["HEADLINE"]["xsched"])
    fields = [difference.field for difference in error.value.differences]
    assert fields == ["processes", "queues.high.workload", "queues.low.workload"]

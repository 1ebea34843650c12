"""Targets are judged again on all that was measured; numbers written by hand, no plugin."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_xsched.analysis import targets
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.errors import InvalidRun

S = 10**9


def measure_on(queue, more):
    """Add the window of another queue to one that was measured."""
    (window_ns,) = more.windows_ns
    queue.extend(more.counts, more.samples, window_ns, queue.windows_ns[-1][1] + S)


def test_nothing_is_judged_again_before_more_is_measured(high):
    high.assert_p99_below("1s")
    before = list(high._run.verdicts)
    high._run._judgements[0] = dataclasses.replace(high._run._judgements[0], rule=None)
    assert high._run.judge_again() == []
    assert high._run.verdicts == before


def test_a_verdict_gets_the_figures_of_all_windows(high, made_queue):
    high.assert_p99_below("1s")
    (first,) = high._run.verdicts
    high._run.verdicts[0] = dataclasses.replace(first, nodeid="test_it.py::test_it")
    measure_on(high, made_queue([400] * 300))
    assert high._run.judge_again() == []
    (verdict,) = high._run.verdicts
    assert (verdict.status, verdict.n, verdict.value) == ("PASS", 600, 400_000_000)
    assert (verdict.nodeid, verdict.limit_origin) == ("test_it.py::test_it", first.limit_origin)
    assert "it was" not in verdict.sentence
    assert high._run.judge_again() == []
    assert high._run.verdicts == [verdict]


def test_a_pass_that_falls_is_returned(high, made_queue):
    high.assert_p99_below("350ms")
    measure_on(high, made_queue([400] * 300))
    (fell,) = high._run.judge_again()
    (verdict,) = high._run.verdicts
    assert fell.verdict is verdict
    assert verdict.status == "FAIL"
    assert verdict.sentence.endswith("; it was PASS at n = 300, before later targets measured on")
    assert fell.sentence == f"{verdict.sentence}; limit of {verdict.limit_origin}"
    assert high._run.judge_again() == []  # once


@pytest.mark.parametrize(("undecided", "count"), [("fail", 1), ("warn", 0)])
def test_undecided_falls_unless_it_only_warns(high, made_queue, undecided, count):
    high._run.undecided = undecided
    high.assert_percentile_below(0.5, "350ms")
    measure_on(high, made_queue([400] * 300))
    assert len(high._run.judge_again()) == count
    (verdict,) = high._run.verdicts
    assert verdict.status == "UNDECIDED"


def test_a_spoiled_run_takes_the_verdict_back(high, made_queue):
    high.assert_p99_below("1s")
    high.assert_throughput_at_least("20/s")
    run = high._run
    measure_on(high, made_queue([400] * 300))
    faults = {"high": ("high is saturated",)}
    run.evidence = dataclasses.replace(run.evidence, queue_faults=faults)
    (fell,) = run.judge_again()
    assert fell.verdict is None
    assert fell.sentence == (
        "high: no verdict on P99 below: high is saturated; it was PASS at n = 300, before later "
        "targets measured on"
    )
    assert [verdict.rule for verdict in run.verdicts] == ["throughput at least"]
    assert run.refused == [{"sentence": fell.sentence, "nodeid": ""}]


def test_a_later_check_spends_the_next_part_of_the_error(high, made_queue):
    """The alpha of the target stays; a rule that pays for each check counts one more."""
    budgets = []

    def rule(budget):
        budgets.append(budget)
        return targets.percentile_below(high, 0.99, S, budget)

    high._run.judge(rule)
    measure_on(high, made_queue([400] * 300))
    high._run.judge_again()
    first, last = budgets
    assert (first.check, last.check) == (1, 2)
    assert first.alpha == last.alpha


def test_the_run_of_a_reference_counts_as_well(made_queue, made_run):
    """What the rates are divided by is measured on, and with it the verdict falls."""
    loops = {name: made_queue([50] * 300, name=name, closed=True) for name in "ab"}
    run = made_run(*loops.values())
    alone = {name: made_run(made_queue([50] * 300, name=name, closed=True))[name] for name in "ab"}
    run.assert_fair("a", "b", alone=alone)
    measure_on(alone["a"], made_queue([10] * 3000, name="a", closed=True, period_ms=10))
    (fell,) = run.judge_again()
    assert fell.verdict.status == "FAIL"


def test_a_slowdown_follows_the_run_alone(made_queue, made_run):
    high = made_run(made_queue([20] * 300)).high
    alone = made_run(made_queue([20] * 300)).high
    high.assert_slowdown_below(1.5, alone=alone, percentile=0.5)
    measure_on(alone, made_queue([5] * 3000))
    assert [one.verdict.status for one in high._run.judge_again()] == ["FAIL"]


def test_a_missed_target_stays_missed(high, made_queue):
    run = high._run
    with pytest.raises(AssertionError):
        high.assert_tail_ratio_below(1.5)
    measure_on(high, made_queue([300] * 30000))
    assert run.judge_again() == []
    (verdict,) = run.verdicts
    assert verdict.status == "FAIL"
    assert verdict.sentence.endswith("it would be PASS, which excuses nothing")

    def spoiled():
        raise InvalidRun("no verdict: all is wrong")

    run._judgements[0] = dataclasses.replace(run._judgements[0], rule=spoiled)
    measure_on(high, made_queue([300] * 300))
    assert run.judge_again() == []
    assert run.verdicts == [verdict]
    assert isinstance(verdict, Verdict)

"""Verdicts of a run that measures on, in virtual time with latencies made by hand."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_xsched import QosAssertionError, Session, spin
from pytest_xsched.analysis import targets
from pytest_xsched.session import device_pool
from pytest_xsched.session.settings import Settings

S = 10**9
MS = 10**6


@pytest.fixture
def run(monkeypatch):
    """Makes a run of at most 60 s, whose requests are late by so much, by their number."""

    def make(*late_ms):
        windows = iter(late_ms)

        def measure_here(devices, scenario, progress, **how):
            found = measure(devices, scenario, progress)
            late = next(windows)
            for number, sample in enumerate(found.samples[0]):
                sample["completed_ns"] += round(late(number) * MS)
            return dataclasses.replace(found, alone_ns=(None,))

        measure = device_pool.measure
        monkeypatch.setattr(device_pool, "measure", measure_here)
        made = Session(Settings(device="sim"))
        queue = made.queue("high", spin("1ms"), rate="20/s")
        return made.run(queue, duration="60s", warmup="0s")

    return make


def always(ms):
    return lambda number: ms


def test_a_claim_about_requests_to_come_takes_what_decides_it_and_a_fact_the_whole_duration(run):
    found = run(*[always(1)] * 5)
    found.high.assert_p99_below("50ms")
    assert found.measured_ns == 15 * S
    found.high.assert_max_below("50ms")
    assert found.measured_ns == 60 * S
    assert [(one.status, one.n) for one in found.verdicts] == [("PASS", 300), ("PASS", 1200)]


def test_a_fact_that_is_missed_takes_no_more(run):
    found = run(*[always(1)] * 5)
    with pytest.raises(QosAssertionError):
        found.high.assert_max_below("1ms")
    assert found.measured_ns == 15 * S


def test_a_run_that_gets_worse_is_measured_to_its_end(run):
    """From 2 to 8 ms within the first window: P99 is far below the limit, but not where it goes."""
    found = run(lambda number: 2 + number / 50, *[always(8)] * 4)
    found.high.assert_p99_below("50ms")
    assert found.measured_ns == 60 * S
    assert "later blocks were worse than earlier ones" in found.verdicts[0].sentence


def test_a_verdict_is_judged_again_on_all_that_was_measured(run):
    found = run(always(1), *[always(99)] * 4)
    found.high.assert_p99_below("50ms")
    assert found.judge_again() == []
    while found.measure_on():
        pass
    (fallen,) = found.judge_again()
    assert fallen.verdict is found.verdicts[0]
    assert (fallen.verdict.status, fallen.verdict.n) == ("FAIL", 1200)
    assert "it was PASS at n = 300" in fallen.sentence
    assert found.judge_again() == []


def test_judging_again_is_one_more_check_of_the_same_target(run):
    found = run(*[always(1)] * 5)
    budgets = []

    def rule(budget):
        budgets.append(budget)
        return targets.percentile_below(found.high, 0.99, 50 * MS, budget)

    found.judge(rule)
    found.measure_on()
    found.judge_again()
    found.judge_again()  # nothing was measured since
    assert [budget.check for budget in budgets] == [1, 2]
    assert len({budget.alpha for budget in budgets}) == 1
    assert not any(budget.spent for budget in budgets)

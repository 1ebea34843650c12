"""Targets on every slice of a run: the error rate of all slices together, and noisy slices."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_xsched.analysis.queue_part import Slices
from pytest_xsched.analysis.targets import ErrorBudget
from pytest_xsched.errors import InvalidRun

S = 10**9


@pytest.fixture
def slices(made_queue, made_run):
    """Makes a run of 60 s at 100/s in which each request is late with a chance of its slice."""

    def make(chances, seed):
        rng = np.random.default_rng(seed)
        late = np.concatenate([rng.random(1000) < chance for chance in chances])
        queue = made_queue([5 if one else 1 for one in late], period_ms=10, rate_hz=100)
        return Slices(made_run(queue).high, 10 * S, 10 * S)

    return make


def statuses(slices, chances, alpha, runs):
    found = []
    for seed in range(runs):
        made = slices(chances, seed)
        verdict = made._rule(made._queue, 0.99, 3_000_000, ErrorBudget(alpha=alpha))
        found.append(verdict.status)
    return found


def test_all_slices_together_fail_wrongly_with_the_probability_of_one(slices):
    """Six slices at the allowed rate: one at alpha each would fail up to six times as often."""
    found = statuses(slices, [0.01] * 6, alpha=0.2, runs=40)
    assert found.count("FAIL") <= 15  # 8 are allowed on average; more than 15 in 1 of 100 cases


def test_one_bad_slice_passes_wrongly_with_the_probability_of_one(slices):
    found = statuses(slices, [0.0001] * 5 + [0.0101], alpha=1e-3, runs=40)
    assert found.count("PASS") <= 8  # beta is 0.075: 3 on average


def test_one_bad_slice_of_six_fails_although_the_whole_run_would_pass(slices):
    made = slices([0.0] * 5 + [0.05], 1)
    assert made._queue.percentile(0.99).value == 1_000_000
    verdict = made._rule(made._queue, 0.99, 3_000_000, ErrorBudget())
    assert verdict.status == "FAIL" and "high from 50 s to 60 s: P99 5 ms" in verdict.sentence


def test_a_slice_that_noise_leaves_without_requests_is_left_out_and_said(slices):
    made = slices([0.0] * 6, 1)
    made._queue.masks, made._queue.noisy_ns = True, ((12 * S, 20 * S),)
    made._queue.latency_ns = made._queue._span("scheduled_ns")
    verdict = made._rule(made._queue, 0.99, 3_000_000, ErrorBudget())
    assert verdict.status == "PASS"
    assert "; 5 of 5 slices of 10 s pass, this is the worst; 1 with noisy" in verdict.sentence
    made._queue.noisy_ns = ((0, 60 * S),)
    made._queue.latency_ns = made._queue._span("scheduled_ns")
    with pytest.raises(InvalidRun, match="high: every slice has noisy seconds"):
        made._rule(made._queue, 0.99, 3_000_000, ErrorBudget())

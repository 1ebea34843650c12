"""How a duration is cut into windows, and what an error budget hands out. No device."""

from __future__ import annotations

import itertools

import pytest

from pytest_xsched.scenario.arrival_process import (
    closed,
    constant,
    poisson,
    replay,
    request_count,
)
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.workload import spin
from pytest_xsched.session.adaptive import first_window_ns, next_window_ns, window
from pytest_xsched.stats.error_budget import SessionBudget

S = 10**9


def scenario(*loads, duration_s=60, **changes):
    queues = tuple(
        QueueSpec(name=f"q{i}", workload=spin("1ms"), priority=-i, arrivals=arrivals)
        for i, arrivals in enumerate(loads)
    )
    return Scenario(
        queues=queues,
        duration_ns=duration_s * S,
        warmup_ns=0,
        drain_ns=0,
        seed=3,
        device="sim",
        scheduler="builtin",
        policy="hpf",
        **changes,
    )


@pytest.mark.parametrize(
    ("loads", "duration_s", "first_s"),
    [
        ([constant("20/s"), closed()], 60, 15),  # 299 requests
        ([constant("1000/s")], 60, 10),  # ten blocks
        ([closed()], 60, 10),
        ([poisson("10/s"), constant("1000/s")], 60, 30),  # q0 has the higher priority
        ([constant("1/s")], 60, 60),
        ([constant("20/s")], 19, 19),  # a rest of 4 s would be mostly warm-up
        ([constant("20/s")], 20, 15),
        ([closed(), replay(["1s", "2s", "59s"])], 60, 60),  # by the time of the whole run
    ],
)
def test_the_first_window_is_enough_for_a_first_look(loads, duration_s, first_s):
    assert first_window_ns(scenario(*loads, duration_s=duration_s)) == first_s * S


@pytest.mark.parametrize("budget_s", [10, 15, 20, 21, 60, 61, 300, 3600])
def test_the_windows_make_up_the_duration(budget_s):
    measured = [min(15, budget_s) * S]
    while more := next_window_ns(sum(measured), budget_s * S):
        measured.append(more)
    assert sum(measured) == budget_s * S
    assert all(length >= 5 * S for length in measured)
    assert len(measured) <= 16


@pytest.mark.parametrize(
    "rates",
    [
        ["4/min"],
        ["20/s", "4/min"],
        ["20.3/s"],
        ["0.3/s", "7/s", "19.7/s"],
        ["1/min"],
        ["13/h", "1000/s"],
        ["20/s", "33.333333/s", "7.77/s"],
    ],
)
@pytest.mark.parametrize("budget_s", [60, 61, 200, 601])
def test_windows_fit_the_arrivals(rates, budget_s):
    """No window of an open loop has less than a request, and all together have the exact count."""
    loads = [poisson(rate) for rate in rates if request_count(poisson(rate).rate_hz, budget_s * S)]
    whole = scenario(closed(), *loads, duration_s=budget_s)
    hertz = [load.rate_hz for load in loads]
    lengths = [first_window_ns(whole)]
    while more := next_window_ns(sum(lengths), budget_s * S, hertz):
        lengths.append(more)
    assert sum(lengths) == budget_s * S
    for hz in hertz:
        counts = [request_count(hz, length) for length in lengths]
        assert min(counts) > 0
        assert sum(counts) == request_count(hz, budget_s * S)
    if rates == ["20/s", "4/min"]:
        assert len(lengths) > 2


def test_a_longer_first_window_as_the_test_says():
    whole = scenario(constant("20/s"))
    assert first_window_ns(whole, 40 * S) == 40 * S
    assert first_window_ns(whole, 56 * S) == 60 * S  # a rest of 4 s would be mostly warm-up


def test_every_window_has_another_seed_and_the_first_that_of_the_run():
    made = [window(scenario(closed()), i, 5 * S) for i in range(100)]
    assert made[0].seed == 3
    assert len({one.seed for one in made}) == 100
    assert {one.duration_ns for one in made} == {5 * S}


def test_the_parts_of_a_budget_add_up_to_it():
    budget = SessionBudget(0.01, tests=50)
    parts = []
    for _ in range(50):
        budget.begin_test()
        parts += [budget.next_alpha() for _ in range(100)]
    assert 0.0099 < sum(parts) <= 0.01
    assert parts[0] == 0.01 / 50 / 2


def test_few_tests_do_not_spend_it_all():
    assert SessionBudget(0.01, tests=1).next_alpha() == SessionBudget(0.01).next_alpha() == 0.0005
    # Nor does a test that asserts in a loop.
    endless = SessionBudget(0.01, tests=10)
    assert sum(itertools.islice(iter(endless.next_alpha, None), 10000)) <= 0.001

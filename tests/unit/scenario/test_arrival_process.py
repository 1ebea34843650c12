"""Arrivals: what is accepted, what is refused with which words, how many requests they make."""

from __future__ import annotations

from datetime import timedelta

import pytest

import pytest_xsched
from pytest_xsched.base.units import ms, per_s
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import (
    ARRIVAL_KINDS,
    Bursts,
    Closed,
    Constant,
    Gamma,
    Poisson,
    Replay,
    bursts,
    check_replay,
    closed,
    constant,
    gamma,
    known_count,
    poisson,
    read_arrivals,
    replay,
    request_count,
)
from pytest_xsched.scenario.stages import Stages
from pytest_xsched.scenario.trace_files import TraceFile

S = 10**9


def test_arrivals_are_made_from_what_users_write():
    assert constant("20/s") == Constant(rate_hz=20.0)
    assert poisson(20 * per_s) == Poisson(rate_hz=20.0)
    assert gamma("1200/min", cv=2) == Gamma(rate_hz=20.0, cv=2.0)
    assert bursts("20/s", on="200ms", off=800 * ms) == Bursts(
        rate_hz=20.0, on_ns=200_000_000, off_ns=800_000_000
    )
    assert replay(["0s", 10 * ms, timedelta(milliseconds=10), "20ms"]) == Replay(
        times_ns=(0, 10_000_000, 10_000_000, 20_000_000)
    )
    assert closed() == Closed(concurrency=1, think_ns=0)
    assert closed(4, think="5ms") == Closed(concurrency=4, think_ns=5_000_000)
    assert [a.rate_hz for a in (closed(), replay(["1s"]), poisson("5/s"))] == [None, None, 5.0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: constant(20), "rate of constant: 20 has no unit"),
        (lambda: poisson("0/s"), "rate of poisson: '0/s' is not above zero"),
        (lambda: Poisson(rate_hz=0), "poisson: rate_hz 0 is outside (0, 1000000000.0]"),
        (lambda: Poisson(rate_hz=float("nan")), "poisson: rate_hz nan"),
        (lambda: Constant(rate_hz="20/s"), "constant: rate_hz '20/s' is not a number"),
        (lambda: gamma("20/s", cv=0), "gamma: cv 0 is outside"),
        (lambda: gamma("20/s", cv=0.001), "gamma: cv 0.001 is below 0.01"),
        (lambda: gamma("20/s", cv=11), "gamma: cv 11 is outside (0, 10]"),
        (lambda: gamma("20/s", cv=True), "gamma: cv True is not a number"),
        (lambda: bursts("20/s", on=1, off="1s"), "on of bursts: 1 has no unit"),
        (lambda: bursts("20/s", on="1s", off="0s"), "off of bursts: '0s' is zero"),
        (lambda: bursts("20/s", on="1us", off="1s"), "bursts: on_ns 1000 is outside"),
        (lambda: replay([]), "replay: () holds no time"),
        (lambda: replay("10ms"), "replay: '10ms' is not a list of times"),
        (lambda: replay(7), "replay: 7 is not a list of times"),
        (lambda: replay(["1s", 2]), "time 1 of replay: 2 has no unit"),
        (lambda: replay(["20ms", "10ms"]), "replay: 10ms follows 20ms"),
        (lambda: Replay(times_ns=(-1,)), "replay: time -1 is outside"),
        (lambda: closed(0), "closed: concurrency 0"),
        (lambda: closed(think=1), "think of closed: 1 has no unit"),
    ],
)
def test_arrivals_are_refused(make, words):
    with pytest.raises(ScenarioError) as error:
        make()
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("rate_hz", "span_ns", "count"),
    [
        (20.0, 60 * S, 1200),
        (20.0, 3 * S // 2, 30),
        (1.0, 3 * S // 2, 2),  # half up
        (0.3, 5 * S, 2),  # 1.5 as written, less as a float
        (1 / 60, 30 * S, 1),  # 1 a minute for half a minute
        (100 / 60, 30 * S, 50),
        (20.0, 0, 0),
        (1e6, S, 10**6),
    ],
)
def test_request_count_rounds_half_up(rate_hz, span_ns, count):
    assert request_count(rate_hz, span_ns) == count


def test_kinds_have_the_names_of_their_constructors():
    classes = [Constant, Poisson, Gamma, Bursts, Replay, Stages, TraceFile, Closed]
    assert list(ARRIVAL_KINDS.values()) == classes
    assert all(callable(getattr(pytest_xsched, name)) for name in ARRIVAL_KINDS)


@pytest.mark.parametrize(
    ("arrivals", "count"),
    [
        (poisson("20/s"), 1220),
        (constant("0.3/s"), 18),
        (replay(["0s", "59s"]), 2),
        (closed(7), 0),
    ],
)
def test_known_count_includes_the_warm_up(arrivals, count):
    assert known_count(arrivals, warmup_ns=S, duration_ns=60 * S, name="high") == count


def test_load_that_does_not_fit_its_window_is_refused():
    with pytest.raises(ScenarioError, match="queue 'low': 20/s for 20ms is not one request"):
        known_count(poisson("20/s"), warmup_ns=S, duration_ns=S // 50, name="low")
    with pytest.raises(ScenarioError, match="queue 'low': replay time 2s is not before the end"):
        check_replay(replay(["1s", "2s"]), duration_ns=2 * S, name="low")


def test_arrivals_are_read_from_their_json():
    assert read_arrivals({"kind": "gamma", "rate_hz": 20.0, "cv": 2.0}) == gamma("20/s", cv=2)
    assert read_arrivals({"kind": "replay", "times_ns": [0, 5]}) == Replay(times_ns=(0, 5))
    with pytest.raises(ScenarioError, match="poisson: missing or unknown fields 'cv'"):
        read_arrivals({"kind": "poisson", "rate_hz": 20.0, "cv": 2.0})

"""Loads in stages: what users write, exact counts at any moment, and the way to JSON and back."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pytest_xsched
from pytest_xsched.base.units import per_s
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import known_count, plain_arrivals, read_arrivals
from pytest_xsched.scenario.arrival_times import arrival_times
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.stages import Stage, Stages, stages

S = 10**9
rates = st.sampled_from([0.0, 0.3, 1.0, 7.5, 20.0, 100.0, 1234.5])
loads = st.builds(
    Stages,
    stages=st.lists(
        st.builds(
            Stage,
            duration_ns=st.integers(1_000_000, 25 * S),
            begin_hz=rates,
            end_hz=rates,
        ),
        min_size=1,
        max_size=4,
    ).map(tuple),
    process=st.sampled_from(["poisson", "constant"]),
)


def test_stages_are_made_from_what_users_write():
    made = stages([("10s", "20/s"), ["5s", 20 * per_s, "6000/min"], ("1s", "0/s")])
    assert [(one.begin_hz, one.end_hz, one.duration_ns) for one in made.stages] == [
        (20.0, 20.0, 10 * S),
        (20.0, 100.0, 5 * S),
        (0.0, 0.0, S),
    ]
    assert made.length_ns == 16 * S and made.rate_hz is None and made.process == "poisson"
    named = stages({"calm": ("1s", "1/s"), "burst": ("2s", "9/s")}, process="constant")
    assert [one.name for one in named.stages] == ["calm", "burst"]
    assert stages(made.stages) == made


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: stages("10s"), "stages: '10s' is not a list; write stages([("),
        (lambda: stages(("10s", "20/s")), "is one stage, not a list; write stages([("),
        (lambda: stages([]), "stages: 0 stages are outside [1, 1000]"),
        (lambda: stages(["10s"]), "stage 0 of stages: '10s' is not a stage; write ("),
        (lambda: stages([("10s", "20/s"), ("5s",)]), "stage 1 of stages: ('5s',) is not a stage"),
        (lambda: stages([("20/s", "10s")]), "are in the wrong order; write ("),
        (lambda: stages([("10s", 20)]), "rate of stage 0 of stages: 20 has no unit"),
        (lambda: stages([(10, "20/s")]), "length of stage 0 of stages: 10 has no unit"),
        (lambda: stages({"a": ("1s", "-1/s")}), "rate of stage 'a' of stages: '-1/s' is not above"),
        (lambda: stages([("1us", "1/s")]), "stage: duration_ns 1000 is outside"),
        (lambda: stages([("1s", "1/s")], process="even"), "stages: process 'even' is unknown; kn"),
        (lambda: stages([("1s", "1/s")], "constant"), "'constant' has no name; write one before"),
        (lambda: Stage(duration_ns=S, begin_hz=-1, end_hz=1), "begin_hz -1 is outside"),
        (lambda: Stage(duration_ns=S, begin_hz=1, end_hz=math.nan), "end_hz nan is outside"),
        (lambda: Stage(duration_ns=S, begin_hz=1, end_hz=1, name="a\nb"), "not a text of one line"),
        (lambda: stages([*stages({"a": ("1s", "1/s")}).stages] * 2), "two stages are named 'a'"),
    ],
)
def test_stages_are_refused(make, words):
    with pytest.raises(ScenarioError) as error:
        make()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_stages_that_make_no_request_are_refused():
    load = stages([("10s", "0/s"), ("5s", "10/s")])
    assert known_count(load, warmup_ns=S, duration_ns=15 * S, name="q") == 50
    with pytest.raises(ScenarioError, match="queue 'q': its stages make no request in 10s"):
        known_count(load, warmup_ns=S, duration_ns=10 * S, name="q")


@settings(deadline=None, max_examples=60)
@given(loads, st.integers(1, 70 * S), st.integers(0, 2 * S))
@example(stages([("25s", "0.3/s")]), 25 * S, 0)  # 7.5 requests but for a rounding
def test_the_count_up_to_any_window_is_the_area_below_the_rate(load, duration_ns, warmup_ns):
    times = arrival_times(load, warmup_ns=warmup_ns, duration_ns=duration_ns, seed=3, name="high")
    assert (np.diff(times) >= 0).all() and times.dtype == np.int64
    measured = times[times >= warmup_ns] - warmup_ns
    assert len(measured) == load.count_until(duration_ns)
    assert (measured < min(duration_ns, load.length_ns)).all()
    area = Fraction(0)
    for stage, (start_ns, end_ns) in zip(load.stages, load.spans_ns(), strict=True):
        hz = Fraction(str(stage.begin_hz)) + Fraction(str(stage.end_hz))  # as the user writes them
        area += hz * stage.duration_ns / 2 / S
        if end_ns <= duration_ns:
            assert abs(np.count_nonzero(measured < end_ns) - area) <= Fraction(1, 2)
        for at_ns in range(start_ns, min(end_ns, duration_ns), 10 * S):  # the windows
            assert np.count_nonzero(measured < at_ns) == load.count_until(at_ns)
    if load.stages[0].begin_hz and load.count_until(duration_ns):
        counted = known_count(load, warmup_ns=warmup_ns, duration_ns=duration_ns, name="high")
        assert counted == len(times)


def test_a_ramp_at_equal_distances_has_its_requests_where_the_area_says():
    load = stages([("10s", "0/s", "20/s")], process="constant")
    times = arrival_times(load, warmup_ns=0, duration_ns=10 * S, seed=0, name="high")
    # The area up to t is t**2, so request i is at sqrt(i + 1/2) seconds.
    expected = np.sqrt(np.arange(100) + 0.5) * S
    assert np.abs(times - expected).max() <= 1


def test_a_poisson_ramp_has_the_density_of_its_rate():
    load = stages([("10s", "0/s", "20000/s")])
    times = arrival_times(load, warmup_ns=0, duration_ns=10 * S, seed=0, name="high")
    shares = np.histogram((times / (10 * S)) ** 2, bins=10, range=(0, 1))[0] / len(times)
    assert np.abs(shares - 0.1).max() < 0.005  # 5 standard deviations


@settings(deadline=None, max_examples=60)
@given(loads)
def test_stages_come_back_from_json_and_from_python(load):
    assert read_arrivals(plain_arrivals(load)) == load
    names = {**vars(pytest_xsched), "stages": stages, "Stages": Stages, "Stage": Stage}
    assert eval(python_text(load), names) == load


def test_stages_as_python_are_what_users_write():
    load = stages([("10s", "20/s"), ("5s", "20/s", "100/s")])
    assert python_text(load) == 'stages((("10s", "20/s"), ("5s", "20/s", "100/s")))'
    named = stages({"calm": ("10s", "20/s")}, process="constant")
    assert python_text(named) == 'stages({"calm": ("10s", "20/s")}, process="constant")'

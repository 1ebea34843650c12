"""A program whose first requests are slow is named as cold; from samples written by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_xsched.analysis.cold_program import ColdStart, cold_program, cold_start_of
from pytest_xsched.analysis.evidence import gather
from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.scenario.workload import command
from pytest_xsched.workers.program_samples import counts_of, make_samples

MS = 1_000_000
S = 1000 * MS


def program_samples(taken_ms, *, period_ms=20, count=None, over_ms=None, first_begins_ms=0):
    """One after the other, each when it is due and the program is free; `count` of them arrive."""
    scheduled = np.arange(count or len(taken_ms), dtype=np.int64) * period_ms * MS
    begun, ended, free = [], [], first_begins_ms * MS
    for at, taken in zip(scheduled.tolist(), taken_ms, strict=False):
        begun.append(max(at, free))
        free = begun[-1] + round(taken * MS)
        ended.append(free)
    window = (0, len(scheduled) * period_ms * MS)
    over_ns = window[1] if over_ms is None else over_ms * MS
    begun = [at for at in begun if at <= over_ns]
    return make_samples(
        scheduled,
        np.array(begun, np.int64),
        np.array(ended[: len(begun)], np.int64),
        window_ns=window,
        over_ns=over_ns,
    )


@pytest.fixture
def made_program(made_queue):
    """Makes a queue of a program; its requests take some times, in ms, and 50 arrive a second."""

    def make(taken_ms, **more):
        period_ms = more.setdefault("period_ms", 20)
        samples = program_samples(taken_ms, **more)
        spec = made_queue([1], period_ms=period_ms).spec
        window_ns = (0, len(samples) * period_ms * MS)
        return MeasuredQueue(
            spec=dataclasses.replace(spec, workload=command(["serve"])),
            counts=counts_of(10, samples, window_ns=window_ns, over_ns=window_ns[1]),
            samples=samples,
            window_ns=window_ns,
        )

    return make


@pytest.mark.parametrize(
    ("taken_ms", "cold"),
    [
        ([6] * 100, None),
        ([900, *[6] * 100], ColdStart(900 * MS, 6 * MS, 894 * MS)),
        ([900, 300, 6, 700, *[6] * 100], ColdStart(900 * MS, 6 * MS, 1188 * MS)),
        ([24, *[6] * 100], None),  # four times is not more than four times
        ([6, 900, *[6] * 100], None),  # something else happened
        ([*[6] * 100, 900], None),
        ([*[900] * 80, *[6] * 20], None),  # most of them are no start
        ([900], None),
        ([], None),
    ],
)
def test_cold_are_the_first_requests_that_take_far_longer_than_the_later_ones(taken_ms, cold):
    assert cold_start_of(program_samples(taken_ms, over_ms=10**9)) == cold


def test_a_program_that_begins_late_is_cold_too():
    """It reported that it was ready, and loaded its model then."""
    samples = program_samples([6] * 100, first_begins_ms=500, over_ms=10**9)
    assert cold_start_of(samples) == ColdStart(506 * MS, 6 * MS, 500 * MS)


def test_requests_that_wait_for_a_cold_one_are_not_cold_themselves():
    samples = program_samples([2000, *[6] * 100], over_ms=10**9)
    waited = samples["completed_ns"] - samples["scheduled_ns"]
    assert np.count_nonzero(waited > 100 * MS) > 50
    assert cold_start_of(samples).lost_ns == 1994 * MS


def test_a_cold_program_is_named_and_not_called_late_arrivals(made_program):
    """The message was "did not arrive at the offered rate", which blames the load generator."""
    queue = made_program([3000, *[19.5] * 499], count=500)
    assert not queue.saturated
    found = gather((queue,), (), checked=False)
    expected = (
        "the program of high was cold: its first requests took up to 3 s, the later ones 19.5 ms, "
        "so 28% of its requests were submitted more than a period late; warm it up before it "
        "reports 'ready', as requests() does"
    )
    assert found.queue_faults["high"] == (expected,)
    assert found.rate_faults["high"] == (expected,)


def test_a_program_that_is_late_and_not_cold_is_still_late(made_program):
    queue = made_program([6] * 500)
    queue.samples["submitted_ns"][100:200] += 21 * MS
    (fault,) = gather((queue,), (), checked=False).queue_faults["high"]
    assert fault.startswith("the requests of high did not arrive at the offered rate: 20%")


def test_a_queue_of_ours_is_never_a_cold_program(made_queue):
    queue = made_queue([3000, *[1] * 299], period_ms=20)
    queue.samples["submitted_ns"][:100] += 10**9
    assert cold_program(queue) == ""


def test_a_start_that_costs_less_than_a_period_explains_nothing(made_program):
    assert cold_program(made_program([19, *[1] * 499])) == ""
    assert cold_program(made_program([22, *[1] * 499])) != ""


def test_a_saturated_program_that_was_cold_is_both(made_program):
    queue = made_program([6000, *[19.9] * 499], count=500)
    assert queue.saturated
    (fault,) = gather((queue,), (), checked=False).queue_faults["high"]
    cold = "; the program of high was cold: its first requests took up to 6 s, the later ones 19.9 "
    assert fault.startswith("high is saturated: 50/s were offered but ") and cold in fault


@pytest.mark.parametrize("cold_window", [0, 1])
def test_each_window_has_its_own_first_requests(made_program, cold_window):
    """A program that is started anew for a window may be cold in that one only."""
    taken_ms = [[6] * 500, [6] * 500]
    taken_ms[cold_window] = [900, *[6] * 499]
    queue, later = (made_program(one) for one in taken_ms)
    queue.extend(later.counts, later.samples, (0, 10 * S), 30 * S)
    assert cold_program(queue).endswith("took up to 900 ms, the later ones 6 ms")


def test_of_two_windows_a_warm_one_is_warm(made_program):
    queue, later = made_program([6] * 500), made_program([6] * 500)
    queue.extend(later.counts, later.samples, (0, 10 * S), 30 * S)
    assert cold_program(queue) == ""


def test_a_program_with_many_requests_in_flight_is_not_cold():
    """Each takes 100 ms and 50 arrive a second: the previous one ends 20 ms before it."""
    scheduled = np.arange(50, dtype=np.int64) * 20 * MS
    window = (0, int(scheduled[-1]) + 20 * MS)
    samples = make_samples(
        scheduled, scheduled, scheduled + 100 * MS, window_ns=window, over_ns=window[1] + S
    )
    assert cold_start_of(samples) is None


def test_the_first_of_many_requests_in_flight_may_be_cold():
    samples = program_samples([50], count=20)
    samples["launched_ns"] = samples["submitted_ns"] = samples["scheduled_ns"]
    samples["completed_ns"] = samples["scheduled_ns"] + 50 * MS
    assert cold_start_of(samples) is None
    samples["completed_ns"][:3] += 400 * MS
    assert cold_start_of(samples) == ColdStart(450 * MS, 50 * MS, 1200 * MS)

"""Samples of programs with many requests in flight, from times written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_xsched.native.binding import CENSORED, DRAIN, FAILED, HELD, WARMUP
from pytest_xsched.native.milestones import Milestones, no_milestones
from pytest_xsched.workers.numbered_requests import RequestTimes
from pytest_xsched.workers.program_samples import (
    counts_of,
    longest_stall,
    make_numbered_samples,
    milestones_until,
)

START = 5_000
SPAN = {"window_ns": (10, 100), "over_ns": 120}


def times(*rows):
    """Make times of rows (begun, ended, failed), since the start; None: never."""
    columns = [
        np.array([-1 if row[i] is None else row[i] + START for row in rows], np.int64)
        for i in range(3)
    ]
    return RequestTimes(*columns, np.array([row[3:] == ("held",) for row in rows]))


def test_samples_flags_and_counts():
    scheduled = np.array([5, 20, 30, 40, 50, 60, 110], np.int64)
    reported = times(
        (6, 25, None),
        (22, 70, None),
        (31, None, 33),
        (65, 80, None, "held"),
        (51, 130, None),  # after the end of the drain
        (None, None, None),
        (111, None, 125),  # likewise
    )
    samples = make_numbered_samples(scheduled, reported, START, **SPAN)
    assert samples["scheduled_ns"].tolist() == scheduled.tolist()
    assert samples["submitted_ns"].tolist() == [6, 22, 31, 40, 51, -1, 111]  # held: not late
    assert samples["launched_ns"].tolist() == [6, 22, 31, 65, 51, -1, 111]
    assert samples["completed_ns"].tolist() == [25, 70, -1, 80, -1, -1, -1]
    assert samples["flags"].tolist() == [
        *(WARMUP, 0, CENSORED | FAILED, HELD, CENSORED, CENSORED, CENSORED | DRAIN)
    ]
    counts = counts_of(3, samples, **SPAN, longest_stall_ns=7)
    assert (counts.requests_submitted, counts.requests_completed) == (6, 3)
    assert (counts.priority, counts.longest_stall_ns) == (3, 7)


def reached(*at_ns):
    none = np.zeros(len(at_ns), np.int64)
    return Milestones(names=("token",), request=none, name=none, at_ns=np.array(at_ns, np.int64))


@pytest.mark.parametrize(
    ("rows", "milestones", "stall"),
    [
        ([(20, 50, None)], no_milestones(), 30),
        ([(20, 50, None)], reached(30, 35), 15),
        ([(20, 60, None), (30, 40, None)], no_milestones(), 20),  # one moved meanwhile
        ([(20, None, 25), (70, 90, None)], no_milestones(), 20),  # nothing was in flight between
        ([(20, None, None)], reached(30), 90),  # until the end of the drain
        ([(101, 119, None)], no_milestones(), 0),  # after the window
        ([(None, None, None)], no_milestones(), 0),
    ],
)
def test_the_longest_time_in_which_nothing_in_flight_moved(rows, milestones, stall):
    reported = times(*rows)
    scheduled = np.array([(row[0] or 0) for row in rows], np.int64)
    samples = make_numbered_samples(scheduled, reported, START, **SPAN)
    assert longest_stall(samples, reported, milestones, START, **SPAN) == stall


def test_milestones_after_the_end_of_the_drain_do_not_count():
    kept = milestones_until(120, reached(30, 120, 121))
    assert kept.at_ns.tolist() == [30, 120] and len(kept.request) == len(kept.name) == 2

"""What looks at a server show of a program: counts, shares, and when they show nothing."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from pytest_xsched import SchedulerInactive
from pytest_xsched.looks import Cover, Looks
from pytest_xsched.transparent import require_covered

MS = 10**6


def looked(*seen):
    """Give looks at some ms, each with the sessions that had work there."""
    looks = Looks(lambda: None)
    looks.stop()
    looks._seen += [(at * MS, frozenset(ready)) for at, ready in seen]
    return looks


def test_looks_of_the_window_and_of_the_session_count():
    looks = looked((9, [7]), (10, [7]), (11, [8]), (12, []), (19, [7, 8]), (20, [7]))
    cover = looks.of(7, (10 * MS, 20 * MS), None)
    assert cover == Cover(looks=4, had=2, busy=1.0)


def test_busy_is_the_time_of_the_requests_in_the_window():
    requests = np.array([(8, 11), (13, 14), (18, 22)]) * MS
    assert looked().of(7, (10 * MS, 20 * MS), requests).busy == 0.4
    assert looked().of(7, (10 * MS, 20 * MS), requests[:0]).busy == 0.0


@pytest.mark.parametrize(
    ("looks", "had", "busy", "share"),
    [
        (100, 40, 0.5, 0.8),
        (100, 60, 0.5, 1.0),  # it may have work that no request waits for
        (40, 0, 0.5, 0.0),
        (39, 0, 0.5, None),
        (0, 0, 1.0, None),
        (39, 1, 0.5, 1 / 19.5),
    ],
)
def test_the_share_of_the_time_of_the_requests(looks, had, busy, share):
    assert Cover(looks=looks, had=had, busy=busy).share == share


def test_nothing_seen_is_inactive_if_it_would_have_been_seen():
    with pytest.raises(SchedulerInactive) as caught:
        require_covered("high", Cover(looks=200, had=0, busy=0.25))
    assert str(caught.value) == (
        "scheduler inactive: queue 'high': XSched had unfinished work of its program at 0 of 200 "
        "looks, 50 of them in its requests: what that launches goes past XSched, as all does on "
        "the default stream"
    )
    require_covered("high", Cover(looks=200, had=1, busy=0.25))
    require_covered("high", Cover(looks=200, had=0, busy=0.05))


def test_it_looks_until_it_is_stopped():
    threads, enough = set(), threading.Event()

    def ready():
        threads.add(threading.get_ident())
        if len(looks._seen) >= 2:
            enough.set()
        return [os.getpid(), 2**22 + 1]  # no process has such an id

    looks = Looks(ready)
    assert enough.wait(60)
    looks.stop()
    assert len(threads) == 1 and threading.get_ident() not in threads
    times, sessions = zip(*looks._seen, strict=True)
    assert list(times) == sorted(times)
    assert set(sessions) == {frozenset({os.getsid(0), 0})}

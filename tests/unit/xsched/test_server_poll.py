"""What polls of a server show of a program: counts, and when they show that nothing was there."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from pytest_xsched.reporting import run_table
from pytest_xsched.xsched.activation import Activity
from pytest_xsched.xsched.server_poll import Coverage, ServerPoller, _Poll

MS = 10**6
WINDOW = (10 * MS, 20 * MS)


def polled(*seen, takes=0):
    """Return a poller with polls that begin at some ms, each with the processes that had work."""
    poller = ServerPoller(lambda: None)
    poller.stop()
    poller._polls += [
        _Poll(at * MS, (at + takes) * MS, frozenset(whose), 8 in whose) for at, whose in seen
    ]
    return poller


def test_of_a_silent_program_all_looks_in_the_window_count():
    poller = polled((9, [7]), (10, [7]), (11, [6]), (12, []), (20, [6, 7]), (21, [7]))
    cover = poller.coverage_of(7, WINDOW, None)
    assert cover == Coverage(
        reports_requests=False, polls=4, requests=1, polls_with_work=2, ever_had_work=True
    )
    assert str(cover) == "2 of 4 polls"


REQUESTS = np.array([(8, 11), (13, 14), (18, 22)]) * MS


def test_of_others_those_into_requests():
    poller = polled((9, [7]), (10, [7]), (11, []), (12, [7]), (13, []), (18, []), (19, [7]))
    cover = poller.coverage_of(7, WINDOW, REQUESTS)
    assert cover == Coverage(
        reports_requests=True, polls=5, requests=3, polls_with_work=2, ever_had_work=True
    )
    assert str(cover) == "2 of 5 polls during 3 requests"
    none = Coverage(
        reports_requests=True, polls=0, requests=0, polls_with_work=0, ever_had_work=True
    )
    assert poller.coverage_of(7, WINDOW, REQUESTS[:0]) == none
    assert polled().coverage_of(7, WINDOW, REQUESTS).polls == 0


def test_a_look_lies_in_one_request_as_a_whole():
    poller = polled((11, [7]), (13, []), (17, [7]), (18, []), (20, [7]), takes=1)
    # 11 ends behind a request, 17 begins before one; 20 is in the last, which goes on.
    cover = poller.coverage_of(7, (10 * MS, 30 * MS), REQUESTS)
    assert cover == Coverage(
        reports_requests=True, polls=3, requests=2, polls_with_work=1, ever_had_work=True
    )
    # What is no look into a request is no share of them, but it speaks against nothing at all.
    cover = polled((16, [7])).coverage_of(7, WINDOW, REQUESTS)
    assert cover == Coverage(
        reports_requests=True, polls=0, requests=0, polls_with_work=0, ever_had_work=True
    )


def test_work_of_a_process_that_nobody_knows():
    assert polled((10, [8])).coverage_of(7, WINDOW, None).had_unknown_process
    assert not polled((9, [8])).coverage_of(7, WINDOW, None).had_unknown_process


def cover(polls, requests=100, polls_with_work=0, **more):
    values = {
        "reports_requests": True,
        "polls": polls,
        "requests": requests,
        "polls_with_work": polls_with_work,
        "ever_had_work": polls_with_work > 0,
    }
    return Coverage(**{**values, **more})


@pytest.mark.parametrize(
    ("seen", "is_fault"),
    [
        (cover(50), True),
        (cover(49), False),
        (cover(50, requests=10), True),
        (cover(50, requests=9), False),
        (cover(1000, polls_with_work=1), False),
        (cover(1000, ever_had_work=True), False),
        (cover(1000, had_unknown_process=True), False),
        (cover(200, requests=1, reports_requests=False), True),
        (cover(199, requests=1, reports_requests=False), False),
        (cover(30) + cover(20), True),
        (cover(30) + cover(20, polls_with_work=1), False),
        (cover(30, had_unknown_process=True) + cover(20), False),
    ],
)
def test_nothing_seen_is_a_fault_where_something_would_have_been(seen, is_fault):
    assert (seen.fault("high") is not None) == is_fault


def test_the_sentence():
    assert cover(50, requests=12).fault("high") == (
        "scheduler inactive: queue 'high': XSched had unfinished work of its program at 0 of 50 "
        "polls during 12 requests: what the program launches goes past XSched, as all work on the "
        "default stream does"
    )


def activity(**coverage):
    return Activity(report="", order=(), commands={}, files=(), coverage=coverage)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (None, "! unknown whether XSched had work of a: only its server reports that"),
        (
            cover(60, polls_with_work=59),
            "XSched had work of a at 59 of 60 polls during 100 requests",
        ),
        (
            cover(60, polls_with_work=5),
            "! XSched had work of a at 5 of 60 polls during 100 requests",
        ),
        (cover(60), "! XSched had work of a at 0 of 60 polls during 100 requests"),
        (
            cover(40),
            "! XSched had work of a at 0 of 40 polls during 100 requests: too few to decide",
        ),
        (
            cover(0, requests=0, ever_had_work=True),
            "XSched had work of a, but no poll lay within one of its requests",
        ),
    ],
)
def test_what_the_report_says(seen, said):
    assert run_table._activity(activity(a=seen).to_dict())[1:] == [said]


def test_windows_add_up():
    first = activity(a=cover(30), b=None)
    both = activity(a=cover(30), b=None).added_to(first)
    assert both.coverage == {"a": cover(60, requests=200), "b": None}
    assert first.bypassing == [] and len(both.bypassing) == 1
    assert first.added_to(None) is first


def test_it_looks_until_it_is_stopped():
    calls, enough = [], threading.Event()

    def ready():
        calls.append(threading.get_ident())
        if len(calls) > 2:
            enough.set()
        return [os.getpid(), 2**22 + 1]  # no process has such an id

    poller = ServerPoller(ready)
    assert enough.wait(60)
    poller.stop()
    assert not poller._thread.is_alive()
    assert set(calls) == {poller._thread.ident} != {threading.get_ident()}
    begins, ends, whose, had_unknown_process = zip(*poller._polls, strict=True)
    assert all(begin <= end for begin, end in zip(begins, ends, strict=True))
    assert all(begin >= end for begin, end in zip(begins[1:], ends, strict=False))
    assert all({os.getpid(), os.getppid(), 2**22 + 1} <= processes for processes in whose)
    assert all(had_unknown_process)


def test_an_error_of_its_own_is_not_lost():
    def ready():
        raise RuntimeError("a bug")

    poller = ServerPoller(ready)
    poller._thread.join(60)
    poller.stop()
    with pytest.raises(RuntimeError, match="a bug"):
        poller.coverage_of(7, WINDOW, None)

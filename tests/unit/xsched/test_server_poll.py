"""What looks at a server show of a program: counts, and when they show that nothing was there."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from pytest_xsched.reporting import run_table
from pytest_xsched.xsched.activation import Activity
from pytest_xsched.xsched.server_poll import Cover, Looks, _Look

MS = 10**6
WINDOW = (10 * MS, 20 * MS)


def looked(*seen, takes=0):
    """Give looks that begin at some ms, each with the processes of which there was work."""
    looks = Looks(lambda: None)
    looks.stop()
    looks._seen += [
        _Look(at * MS, (at + takes) * MS, frozenset(whose), 8 in whose) for at, whose in seen
    ]
    return looks


def test_of_a_silent_program_all_looks_in_the_window_count():
    looks = looked((9, [7]), (10, [7]), (11, [6]), (12, []), (20, [6, 7]), (21, [7]))
    cover = looks.of(7, WINDOW, None)
    assert cover == Cover(reports=False, looks=4, requests=1, had=2, ever=True)
    assert str(cover) == "2 of 4 looks"


REQUESTS = np.array([(8, 11), (13, 14), (18, 22)]) * MS


def test_of_others_those_into_requests():
    looks = looked((9, [7]), (10, [7]), (11, []), (12, [7]), (13, []), (18, []), (19, [7]))
    cover = looks.of(7, WINDOW, REQUESTS)
    assert cover == Cover(reports=True, looks=5, requests=3, had=2, ever=True)
    assert str(cover) == "2 of 5 looks into 3 requests"
    none = Cover(reports=True, looks=0, requests=0, had=0, ever=True)
    assert looks.of(7, WINDOW, REQUESTS[:0]) == none
    assert looked().of(7, WINDOW, REQUESTS).looks == 0


def test_a_look_lies_in_one_request_as_a_whole():
    looks = looked((11, [7]), (13, []), (17, [7]), (18, []), (20, [7]), takes=1)
    # 11 ends behind a request, 17 begins before one; 20 is in the last, which goes on.
    cover = looks.of(7, (10 * MS, 30 * MS), REQUESTS)
    assert cover == Cover(reports=True, looks=3, requests=2, had=1, ever=True)
    # What is no look into a request is no share of them, but it speaks against nothing at all.
    cover = looked((16, [7])).of(7, WINDOW, REQUESTS)
    assert cover == Cover(reports=True, looks=0, requests=0, had=0, ever=True)


def test_work_of_a_process_that_nobody_knows():
    assert looked((10, [8])).of(7, WINDOW, None).astray
    assert not looked((9, [8])).of(7, WINDOW, None).astray


def cover(looks, requests=100, had=0, **more):
    values = {"reports": True, "looks": looks, "requests": requests, "had": had, "ever": had > 0}
    return Cover(**{**values, **more})


@pytest.mark.parametrize(
    ("seen", "is_fault"),
    [
        (cover(50), True),
        (cover(49), False),
        (cover(50, requests=10), True),
        (cover(50, requests=9), False),
        (cover(1000, had=1), False),
        (cover(1000, ever=True), False),
        (cover(1000, astray=True), False),
        (cover(200, requests=1, reports=False), True),
        (cover(199, requests=1, reports=False), False),
        (cover(30) + cover(20), True),
        (cover(30) + cover(20, had=1), False),
        (cover(30, astray=True) + cover(20), False),
    ],
)
def test_nothing_seen_is_a_fault_where_something_would_have_been(seen, is_fault):
    assert (seen.fault("high") is not None) == is_fault


def test_the_sentence():
    assert cover(50, requests=12).fault("high") == (
        "scheduler inactive: queue 'high': XSched had unfinished work of its program at 0 of 50 "
        "looks into 12 requests: what that launches goes past XSched, as all does on the default "
        "stream"
    )


def activity(**covers):
    return Activity(said="", order=(), commands={}, files=(), covers=covers)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (None, "! unknown whether XSched had work of a: only its server reports that"),
        (cover(60, had=59), "XSched had work of a at 59 of 60 looks into 100 requests"),
        (cover(60, had=5), "! XSched had work of a at 5 of 60 looks into 100 requests"),
        (cover(60), "! XSched had work of a at 0 of 60 looks into 100 requests"),
        (cover(40), "! XSched had work of a at 0 of 40 looks into 100 requests: too few to decide"),
        (
            cover(0, requests=0, ever=True),
            "XSched had work of a, but no poll lay within one of its requests",
        ),
    ],
)
def test_what_the_report_says(seen, said):
    assert run_table._activity(activity(a=seen).to_dict())[1:] == [said]


def test_windows_add_up():
    first = activity(a=cover(30), b=None)
    both = activity(a=cover(30), b=None).behind(first)
    assert both.covers == {"a": cover(60, requests=200), "b": None}
    assert first.past_it == [] and len(both.past_it) == 1
    assert first.behind(None) is first


def test_it_looks_until_it_is_stopped():
    calls, enough = [], threading.Event()

    def ready():
        calls.append(threading.get_ident())
        if len(calls) > 2:
            enough.set()
        return [os.getpid(), 2**22 + 1]  # no process has such an id

    looks = Looks(ready)
    assert enough.wait(60)
    looks.stop()
    assert not looks._thread.is_alive()
    assert set(calls) == {looks._thread.ident} != {threading.get_ident()}
    begins, ends, whose, astray = zip(*looks._seen, strict=True)
    assert all(begin <= end for begin, end in zip(begins, ends, strict=True))
    assert all(begin >= end for begin, end in zip(begins[1:], ends, strict=False))
    assert all({os.getpid(), os.getppid(), 2**22 + 1} <= processes for processes in whose)
    assert all(astray)


def test_an_error_of_its_own_is_not_lost():
    def ready():
        raise RuntimeError("a bug")

    looks = Looks(ready)
    looks._thread.join(60)
    looks.stop()
    with pytest.raises(RuntimeError, match="a bug"):
        looks.of(7, WINDOW, None)

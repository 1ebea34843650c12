"""Lines of version 2 of the protocol: each names its request, and each lie is named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_xsched.workers import numbered_requests
from pytest_xsched.workers.program_reports import ProgramReports

START = 5_000_000_000
MS = 1_000_000


def reported(*lines, arrivals=(0, 10 * MS), read_ms=100):
    """Read lines at a moment, in ms after the start; @3 is 3 ms after it."""
    reports = ProgramReports(arrivals)
    reports.read("ready 7 2", 0)
    reports.start(START)
    for line in lines:
        text = re.sub(r"@(-?\d+)", lambda at: str(START + int(at[1]) * MS), line)
        reports.read(text, START + read_ms * MS)
    return reports


def test_requests_overlap_and_have_milestones():
    reports = reported(
        "begin 0 @0",
        "begin 1 @11",
        "at 1 first_token @12",
        "at 0 first_token @13",
        "at 1 last @14",
        "end 1 @14",
        "end 0 @20",
        "done",
    )
    assert not reports.fault and reports.is_done
    times = reports.numbered.times()
    assert (times.begun_ns - START).tolist() == [0, 11 * MS]
    assert (times.ended_ns - START).tolist() == [20 * MS, 14 * MS]
    assert times.failed_ns.tolist() == [-1, -1] and not times.held.any()
    milestones = reports.numbered.milestones()
    assert milestones.names == ("first_token", "last")
    assert milestones.request.tolist() == [1, 0, 1]
    assert milestones.name.tolist() == [0, 0, 1]
    assert milestones.at_ns.tolist() == [12 * MS, 13 * MS, 14 * MS]


def test_a_failed_request_has_no_end_and_its_reason_is_counted():
    reports = reported(
        "begin 0 @0",
        "begin 1 @10",
        "fail 1 @12 HTTP 429:  full",
        "fail 0 @13 HTTP 429: full",
    )
    assert not reports.fault and reports.is_done
    times = reports.numbered.times()
    assert times.ended_ns.tolist() == [-1, -1]
    assert (times.failed_ns - START).tolist() == [13 * MS, 12 * MS]
    assert reports.numbered.reasons(np.array([True, True])) == {"HTTP 429: full": 2}
    assert reports.numbered.reasons(np.array([True, False])) == {"HTTP 429: full": 1}


def test_names_that_are_known_before_are_there_without_any_milestone():
    """Else a server that fails from the first request on would have no latency to judge."""
    reports = ProgramReports([0], names=("token",))
    reports.read("ready 7 2", 0)
    reports.start(START)
    assert reports.numbered.milestones().names == ("token",)
    for line in (f"begin 0 {START}", f"at 0 sent {START}", f"at 0 token {START}"):
        reports.read(line, START)
    assert reports.numbered.milestones().names == ("token", "sent")
    assert reports.numbered.milestones().name.tolist() == [1, 0]


def test_spans_of_requests_that_overlap_are_united():
    """XSched's server is polled for work of the program while it has a request."""
    lines = [
        *("begin 0 @0", "begin 1 @11", "end 0 @20", "fail 1 @30 x"),
        *("begin 2 @40", "end 2 @50", "begin 3 @50", "begin 4 @60"),
    ]
    reports = reported(*lines, arrivals=(0,) * 6)
    spans = (reports.spans(START + 90 * MS) - START) // MS
    assert spans.tolist() == [[0, 30], [40, 90]]
    assert reported(arrivals=(0,)).spans(START).tolist() == []


def test_reasons_are_bounded(monkeypatch):
    monkeypatch.setattr(numbered_requests, "REASONS_MAX", 2)
    lines = [line for i in range(4) for line in (f"begin {i} @0", f"fail {i} @1 number {i}")]
    reports = reported(*lines, arrivals=(0,) * 4)
    assert reports.numbered.reasons(np.ones(4, bool)) == {
        "other reasons": 2,
        "number 0": 1,
        "number 1": 1,
    }


def test_a_held_request_is_marked_before_its_begin():
    reports = reported("begin 0 @0", "held 1", "end 0 @50", "begin 1 @50")
    assert not reports.fault
    assert reports.numbered.times().held.tolist() == [False, True]


def test_a_closed_loop_numbers_its_requests_as_they_come():
    reports = reported("begin 0 @0", "end 0 @3", "begin 1 @4", "fail 1 @5 x", "done", arrivals=None)
    assert not reports.fault
    assert (reports.numbered.times().begun_ns - START).tolist() == [0, 4 * MS]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["begin 0 @5", "end 0 @4"], "1 ms before the previous line of request 0"),
        (["begin 0 @5", "at 0 token @9", "at 0 token @8"], "1 ms before the previous line"),
        (["begin 0 @5", "at 0 token @9", "end 0 @8"], "1 ms before the previous line"),
        (["end 0 @5"], "'end 0 5005000000' comes before request 0 has begun"),
        (["at 1 token @5"], "comes before request 1 has begun"),
        (["fail 1 @20 why"], "comes before request 1 has begun"),
        (["begin 0 @5", "begin 0 @6"], "begins request 0 a second time"),
        (["begin 0 @5", "end 0 @6", "begin 0 @7"], "begins request 0 a second time"),
        (["begin 0 @5", "end 0 @6", "end 0 @7"], "comes after request 0 has ended"),
        (["begin 0 @5", "fail 0 @6 x", "end 0 @7"], "comes after request 0 has failed"),
        (["begin 0 @5", "end 0 @6", "at 0 token @7"], "comes after request 0 has ended"),
        (["begin 2 @20"], "names a request that was never offered: there were 2"),
        (["at 2 token @20"], "names a request that was never offered"),
        (["held 7"], "names a request that was never offered"),
        (["begin 99999999999999999999 @5"], "never offered"),
        (["begin 0 @101"], "1 ms after the line was read; is it one of CLOCK_MONOTONIC"),
        (["begin 0 @0", "at 0 token @700"], "600 ms after the line was read; is it one of CLOCK"),
        (["begin 0 @-1"], "1 ms before the start of the run; is it one of CLOCK_MONOTONIC"),
        (["begin 0 5"], "5 s before the start of the run; is it one of CLOCK_MONOTONIC"),
        (["begin 1 @9"], "1 ms before request 1 arrives"),
        (["begin 0 " + "9" * 31], "has a time that no clock shows"),
        (["begin 0 @0", "held 0"], "comes after request 0 has begun"),
        (["held 0", "held 0"], "'held 0' comes a second time"),
        (["begin 0 @0", "at 0 Token @5"], "has a name that is none; it has to match"),
        (["begin 0 @0", "at 0 " + "a" * 41 + " @5"], "has a name that is none"),
        (["begin 0 @0", "at 0  @5"], "has a name that is none"),
        (
            ["begin 0 @0", *(f"at 0 name_{i} @1" for i in range(17))],
            "'at 0 name_16 .*has one name too many: a program may have 16",
        ),
        (["begin 0 @0", "done"], "'done' comes while a request goes on"),
        (["begin 0 @0", "begin 1 @10", "done"], "comes while 2 requests go on"),
        (["done", "begin 0 @5"], "comes after 'done'"),
        (["begin @5"], "is none of 'begin ID TIME', 'at ID NAME TIME'"),
        (["begin 0 @5 6"], "is none of"),
        (["begin -1 @5"], "is none of"),
        (["begin 0 5e9"], "is none of"),
        (["begin \u0660 @5"], "is none of"),  # isdigit() and int() accept it
        (["begin 0 \u0665"], "is none of"),
        (["begin 0 @0", "at 0 @5"], "is none of"),
        (["begin 0 @0", "fail 0 @5"], "is none of"),
        (["held"], "is none of"),
        ([""], "the line '' is none of"),
        (["ready 7 2"], "comes a second time"),
        (["\x00\x01\x1b[2J"], r"the line '\\x00\\x01\\x1b\[2J' is none of"),
    ],
)
def test_a_lie_is_named_with_its_line(lines, fault):
    reports = reported(*lines)
    assert re.search(fault, reports.fault), reports.fault
    assert "\x1b" not in reports.fault and len(reports.fault) < 220


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["begin 1 @5"], "begins request 1, but the next one is 0"),
        (["begin 0 @5", "begin 1 @6"], "comes while a request goes on: those of a closed loop"),
        (["begin 0 @5", "end 0 @7", "begin 1 @6"], "1 ms before the end of the previous request"),
        (["begin 0 @5", "end 0 @7", "begin 0 @8"], "begins request 0 a second time"),
        (["held 0"], "comes in a closed loop"),
        (["end 0 @5"], "comes before request 0 has begun"),
    ],
)
def test_a_lie_in_a_closed_loop_is_named(lines, fault):
    assert re.search(fault, reported(*lines, arrivals=None).fault)


def test_a_request_is_not_held_before_it_arrives():
    assert "comes 1 ms before request 1 arrives" in reported("held 1", read_ms=9).fault


@pytest.mark.parametrize(
    ("ready", "later", "fault"),
    [
        ("ready 7 3", (), "'ready 7 3' names version 3 of the protocol; there are 1 and 2"),
        ("ready 7 2", ("begin 0 1",), "comes before the program was started"),
        ("ready 7 2", ("at 0 token 1",), "comes before the program was started"),
        ("ready 7", ("at 0 token 1",), "version 2 takes a program that has written 'ready PID 2'"),
    ],
)
def test_a_version_is_named_first_and_is_one_that_there_is(ready, later, fault):
    reports = ProgramReports([0])
    for line in (ready, *later):
        reports.read(line, START)
    assert fault in reports.fault


def test_the_version_is_the_same_in_all_windows():
    reports = ProgramReports([0], may_go_on=True, version=2)
    reports.start(START)
    for line in (f"begin 0 {START}", f"end 0 {START}", "done", "ready 7"):
        reports.read(line, START)
    assert "names another version of the protocol than 2" in reports.fault


def test_a_flood_of_milestones_ends_at_what_a_window_may_have(monkeypatch):
    monkeypatch.setattr(numbered_requests, "MILESTONES_MAX", 3)
    reports = reported("begin 0 @0", *["at 0 token @1"] * 9)
    assert "is one milestone too many: a window may have 3" in reports.fault
    assert len(reports.numbered.milestones()) == 3


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=40),
            st.builds(
                lambda word, number, at: f"{word} {number} {START + at}",
                st.sampled_from(["begin", "end", "fail", "at"]),
                st.integers(0, 2),
                st.integers(-MS, 3 * MS),
            ),
            st.builds(
                lambda number, at: f"at {number} token {START + at}",
                st.integers(0, 2),
                st.integers(-MS, 3 * MS),
            ),
        ),
        max_size=15,
    ),
    st.sampled_from([None, [0, MS]]),
)
def test_whatever_a_program_writes_its_times_are_in_order(lines, arrivals):
    reports = ProgramReports(arrivals)
    reports.read("ready 7 2", 0)
    reports.start(START)
    for line in lines:
        reports.read(line, START + 2 * MS)
    times, milestones = reports.numbered.times(), reports.numbered.milestones()
    for number, (begun, ended, failed, _) in enumerate(zip(*times, strict=True)):
        within = milestones.at_ns[milestones.request == number] + START
        own = [begun, *within, *(at for at in (ended, failed) if at >= 0)]
        assert own == sorted(own)
        assert begun == -1 or (begun >= START and max(own) <= START + 2 * MS)
        assert begun >= 0 or len(own) == 1

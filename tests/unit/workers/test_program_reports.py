"""Times of a program count only if they can be true; see the protocol in `client`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_xsched.scenario import arrival_process
from pytest_xsched.workers import program_reports
from pytest_xsched.workers.program_reports import ProgramReports

START = 5_000_000_000
MS = 1_000_000


def reported(*lines, arrivals=(0, 10 * MS), read_ms=100):
    """Read lines at a moment, in ms after the start."""
    reports = ProgramReports(arrivals)
    reports.read("ready 7", 0)
    reports.start(START)
    for line in lines:
        word, _, at_ms = line.partition("@")
        reports.read(word + (str(START + int(at_ms) * MS) if at_ms else ""), START + read_ms * MS)
    return reports


def test_true_times_count():
    reports = reported("begin @0", "end @3", "begin @10", "end @100", "done")
    assert not reports.fault
    assert reports.begun_ns == [START, START + 10 * MS]
    assert reports.ended_ns == [START + 3 * MS, START + 100 * MS]
    assert reports.is_done


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["begin @5", "end @4"], "'end 5004000000' .* is 1 ms before the request began"),
        (["begin @101"], "'begin 5101000000' .* 1 ms after the line was read; .* CLOCK_MONOTONIC"),
        (["begin @0", "end @700"], "600 ms after the line was read"),
        (["begin @-1"], "1 ms before the start of the run"),
        (["begin 0"], "5 s before the start of the run; is it one of CLOCK_MONOTONIC"),
        (["begin @0", "end @3", "begin @9"], "1 ms before request 1 arrives"),
        (["begin @0", "end @20", "begin @19"], "1 ms before the end of the previous request"),
        (["end @0"], "ends a request that has not begun"),
        (["begin @0", "begin @10"], "comes while a request goes on"),
        (["begin @0", "done"], "'done' comes while a request goes on"),
        (
            ["begin @0", "end @1", "begin @10", "end @11", "begin @12"],
            "begins a request that was never offered: there were 2",
        ),
        (["done", "begin @0"], "comes after 'done'"),
        (["done", "done"], "comes a second time"),
        (["ready 7"], "comes a second time"),
        (["begin " + "9" * 31], r"'begin 9{31}' has a time that no clock shows"),
        (["begin " + "9" * 5000], r"'begin 9{54}\.\.\.' has a time that no clock shows"),
        (["begin -5"], "'begin -5' is none of 'ready PID', 'begin TIME'"),
        (["begin 5e9"], "'begin 5e9' is none of"),
        (["begin 5000000000.0"], "is none of"),
        (["begin 0x5"], "is none of"),
        (["begin \u0665"], "is none of"),  # isdecimal() and int() accept it
        (["begin 5 6"], "is none of"),
        (["BEGIN 5"], "is none of"),
        (["begin"], "is none of"),
        ([""], "the line '' is none of"),
        (["begin 5\r"], r"'begin 5' is none of|'begin 5\\n' is none of"),
        (["\x00\x01\x1b[2J"], r"the line '\\x00\\x01\\x1b\[2J' is none of"),
    ],
)
def test_a_time_that_cannot_be_true_is_named_with_its_line(lines, fault):
    import re

    reports = reported(*lines)
    assert re.search(fault, reports.fault), reports.fault
    assert "\x1b" not in reports.fault and len(reports.fault) < 220


def test_a_program_that_may_go_on_reports_that_it_is_ready_again():
    reports = ProgramReports([0], may_go_on=True)
    reports.read("ready 7", 0)
    reports.start(START)
    for line in (f"begin {START}", f"end {START}", "done"):
        reports.read(line, START)
        assert not reports.is_ready_again
    reports.read("ready 7", START)
    assert reports.is_ready_again and not reports.fault
    reports.read("ready 7", START)
    assert "'ready 7' comes a second time" in reports.fault


def test_ready_again_is_a_fault_before_the_end_and_where_there_is_one_window():
    for may_go_on, lines in ((True, ["ready 7"]), (False, ["done", "ready 7"])):
        reports = ProgramReports(None, may_go_on=may_go_on, version=1)
        reports.start(START)
        for line in lines:
            reports.read(line, START)
        assert "'ready 7' comes a second time" in reports.fault


def test_in_a_further_window_a_program_is_ready_and_its_times_are_those_of_that_window():
    reports = ProgramReports([0], may_go_on=True, version=1)
    assert reports.is_ready and not reports.is_ready_again
    reports.start(START)
    reports.read(f"begin {START - 1}", START)
    assert "1 ns before the start of the run" in reports.fault


def test_a_time_before_the_start_message_does_not_count():
    reports = ProgramReports(None)
    reports.read("begin 5", 10)
    assert "'begin 5' comes before the program was started" in reports.fault


def test_no_line_counts_after_a_wrong_one():
    reports = reported("begin @0", "end @3", "begin @900", "begin @10", "end @11")
    assert (len(reports.begun_ns), len(reports.ended_ns)) == (1, 1)


def test_a_flood_of_requests_ends_at_what_a_run_may_have(monkeypatch):
    assert program_reports.SAMPLES_MAX == arrival_process.SAMPLES_MAX
    monkeypatch.setattr(program_reports, "SAMPLES_MAX", 3)
    reports = reported(*["begin @1", "end @1"] * 5, arrivals=None)
    assert "never offered: there were 3" in reports.fault
    assert len(reports.begun_ns) == 3


def test_a_line_without_end_is_named():
    reports = reported("begin @0")
    reports.read_unfinished("", is_over=True)
    assert not reports.fault
    reports.read_unfinished("end 50", is_over=True)
    assert reports.fault == "the line 'end 50' had no end when the program ended"


@given(
    st.lists(
        st.one_of(
            st.text(max_size=40),
            st.builds(
                lambda word, at: f"{word} {START + at}",
                st.sampled_from(["begin", "end"]),
                st.integers(-MS, 3 * MS),
            ),
        ),
        max_size=12,
    ),
    st.sampled_from([None, [0, MS]]),
)
def test_whatever_a_program_writes_its_latencies_are_not_negative(lines, arrivals):
    reports = ProgramReports(arrivals)
    reports.start(START)
    for line in lines:
        reports.read(line, START + 2 * MS)
    times = [at for pair in zip(reports.begun_ns, reports.ended_ns, strict=False) for at in pair]
    assert times == sorted(times)
    assert all(START <= at <= START + 2 * MS for at in times)
    assert len(reports.begun_ns) - len(reports.ended_ns) in (0, 1)

"""The progress line: when it is written, how it is erased."""

from __future__ import annotations

import pytest

from pytest_xsched.reporting import progress_line
from pytest_xsched.reporting.progress_line import ProgressLine


class Terminal:
    """Remembers what a terminal reporter is told."""

    def __init__(self):
        self.written = []

    def ensure_newline(self):
        self.written.append("NEWLINE")

    def write(self, text, *, flush=False):
        assert flush  # or a line without an end stays in the buffer
        self.written.append(text)


@pytest.fixture
def clock(monkeypatch):
    """Gives a clock that is moved by hand."""

    class Clock:
        now_s = 100.0

    monkeypatch.setattr(progress_line.time, "monotonic", lambda: Clock.now_s)
    return Clock


def test_nothing_in_the_first_second(clock):
    terminal = Terminal()
    line = ProgressLine(terminal, "high")
    for clock.now_s in (100.0, 100.5, 100.99):
        line(10**9, 60 * 10**9)
    line.close()
    assert terminal.written == []


def test_twice_a_second_after_it(clock):
    terminal = Terminal()
    line = ProgressLine(terminal, "high, low: builtin on cpu")
    for clock.now_s, elapsed_ns in ((101.0, 10**9), (101.4, 14 * 10**8), (101.5, 15 * 10**8)):
        line(elapsed_ns, 60 * 10**9)
    clock.now_s = 200.0
    line(60 * 10**9, 60 * 10**9)
    start = "\rxsched: high, low: builtin on cpu, "
    assert terminal.written == [
        "NEWLINE",  # after the name of the test or the dots, once
        f"{start}1 s of 60 s",
        f"{start}2 s of 60 s",
        f"{start}60 s of 60 s",
    ]


def test_erased_to_its_full_width(clock):
    terminal = Terminal()
    line = ProgressLine(terminal, "high")
    clock.now_s = 101.0
    line(3_600 * 10**9, 7_200 * 10**9)
    clock.now_s = 102.0
    line(3_601 * 10**9, 7_200 * 10**9)
    line.close()
    width = len("xsched: high, 3601 s of 7200 s")
    assert terminal.written[-1] == "\r" + " " * width + "\r"


def test_not_erased_where_nothing_was_written(clock):
    terminal = Terminal()
    ProgressLine(terminal, "high").close()
    assert terminal.written == []


def test_a_note_stands_where_the_progress_will_be(clock):
    terminal = Terminal()
    line = ProgressLine(terminal, "high", columns=40)
    clock.now_s = 101.0
    line.note("waiting for GPU 0000:1b:00.0, on which process 4711 measures")
    clock.now_s = 102.0
    line(10**9, 60 * 10**9)
    noted, progressed = terminal.written[1:]
    assert noted == "\r, waiting for GPU 0000:1b:00.0, on whic"
    assert progressed == "\rxsched: high, 1 s of 60 s".ljust(40)  # nothing of the note is left

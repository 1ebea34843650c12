"""The progress line of a long run: on a terminal only, and gone when the run is over."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from pytest_xsched import spin
from pytest_xsched.session.session import Session
from pytest_xsched.session.settings import Settings

LONG = """
    from pytest_xsched import spin

    def test_before(): pass

    def test_long(xsched):
        high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
        low = xsched.queue("low", spin("1ms"), priority=1)
        xsched.run(high, low, duration="1800ms", warmup="200ms")

    def test_after(): pass
    """


@pytest.fixture
def terminal(pytester, alone):
    """Runs pytest with a terminal as its output, and gives exit code and all that it wrote."""

    def run(*args):
        command = [
            sys.executable,
            "-mpytest",
            "-pxsched",
            "-pno:cacheprovider",
            "--color=no",
            *args,
        ]
        master, slave = pty.openpty()
        process = subprocess.Popen(
            command, cwd=pytester.path, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        written = b""
        try:
            while chunk := os.read(master, 4096):
                written += chunk
        except OSError:  # how Linux says that the other side is closed
            pass
        os.close(master)
        return process.wait(), written.decode()

    return run


def screen(written):
    """Give the lines that a terminal shows after all of it: a carriage return writes over."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-v"],
        ["-s", "-v"],
    ],
    ids=" ".join,
)
def test_progress_of_a_long_run(pytester, terminal, arguments):
    pytester.makepyfile(test_it=LONG)

    code, written = terminal("--xsched-device=cpu", *arguments)

    assert code == 0
    steps = re.findall(r"\rxsched: high, low: builtin on cpu, ([0-9]) s of 2 s", written)
    assert steps
    assert steps == sorted(steps)
    shown = screen(written)
    assert not [line for line in shown if " s of 2 s" in line]
    assert shown[0].startswith("=") and "test session starts" in shown[0]
    assert any(re.fullmatch("=+ 3 passed in .*s =+", line) for line in shown)
    if "-v" in arguments:
        for name in ("before", "long", "after"):
            assert any(re.match(rf"test_it.py::test_{name} ", line) for line in shown)
        assert sum("PASSED" in line for line in shown) == 3
    else:
        dots = [re.fullmatch(r"(test_it\.py )?(\.+)( +\[100%\])?", line) for line in shown]
        assert "".join(match[2] for match in dots if match) == "..."


def test_progress_of_a_comparison_counts_its_runs():
    labels = []
    session = Session(Settings(device="sim"), progress=labels.append)
    session.compare(session.queue("q", spin("1ms"), rate="20/s"), duration="1s", episodes=2)
    session.run(session.queue("q", spin("1ms"), rate="20/s"), duration="1s")
    session.close()
    assert labels[:2] == ["q: native on sim, run 1 of 6", "q: builtin on sim, run 2 of 6"]
    assert labels[-2:] == ["q: native on sim, run 6 of 6", "q: builtin on sim"]


def test_no_progress_of_a_short_run(pytester, terminal):
    pytester.makepyfile(test_it=LONG.replace("1800ms", "100ms").replace("200ms", "0s"))
    # On a busy machine, too, it is much shorter than that.
    pytester.makeconftest("""
        from pytest_xsched.reporting import progress_line

        progress_line._FIRST_AFTER_S = 60.0
        """)

    code, written = terminal("--xsched-device=cpu")

    assert code == 0
    assert " s of " not in written


def test_no_progress_without_a_terminal(pytester, fresh):
    pytester.makepyfile(test_it=LONG)

    result = fresh("--xsched-device=cpu")

    result.assert_outcomes(passed=3)
    assert " s of " not in str(result.stdout)
    assert "\r" not in str(result.stdout)

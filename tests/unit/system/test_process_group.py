"""A child process and its group: looked at, waited for, ended, and nobody else's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

import pytest

from pytest_xsched.system.process_group import (
    await_end,
    descent,
    has_ended,
    kill_group,
    signal_group,
)


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def make(script):
            process = subprocess.Popen(
                ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
            )
            stack.callback(process.stdout.close)
            return process

        yield make


def test_an_end_is_seen_and_the_status_left(start):
    process = start("exit 3")
    assert await_end(process, 60)
    assert has_ended(process) and process.returncode is None
    assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT).si_status == 3
    assert kill_group(process) == 3
    assert has_ended(process)


def test_what_it_has_started_ends_with_it(start):
    process = start("sleep 1000 & echo")
    process.stdout.readline()
    assert await_end(process, 60)
    assert kill_group(process) == 0
    # The other end of the pipe is held by what it started, until that is gone.
    assert process.stdout.read() == b""


def test_one_that_goes_on_is_killed(start):
    process = start("exec sleep 1000")
    assert not await_end(process, 0)
    assert kill_group(process) == -signal.SIGKILL


def test_nothing_is_sent_once_its_status_was_taken(start, monkeypatch):
    process = start("exit 0")
    process.wait()
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("its id may be a stranger's"))
    signal_group(process, signal.SIGTERM)
    assert kill_group(process) == 0


def test_somebody_else_took_its_status(start):
    process = start("exit 3")
    os.waitpid(process.pid, 0)
    assert has_ended(process)
    assert kill_group(process) == 0  # nobody knows; as of Popen


def test_whom_it_descends_from(start):
    process = start("exec sleep 1000")
    assert descent(process.pid) == [process.pid, *descent(os.getpid())]
    kill_group(process)
    assert descent(process.pid) == [process.pid]

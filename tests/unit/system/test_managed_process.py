"""A child process and its group: messages, deadline, end, and no stranger's."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
from pathlib import Path

import pytest

from pytest_xsched.system.managed_process import ManagedProcess, describe_exit
from pytest_xsched.system.process_tree import ancestry


class Recorder(ManagedProcess):
    """Keeps its messages."""

    def __init__(self, allowed_s=60):
        super().__init__(allowed_s)
        self.received = []

    def receive(self, messages):
        self.received += messages


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def make(script, **options):
            process = Recorder()
            process.output = stack.enter_context(tempfile.TemporaryFile())
            stack.callback(process.stop, 0)
            process.start(
                ["sh", "-c", script.replace("MESSAGES", str(process.messages_fd))],
                environment=os.environ,
                output=process.output,
                inherits=(process.messages_fd,),
                **options,
            )
            return process

        yield make


def test_an_end_is_seen_and_the_status_left(start):
    process = start("exit 3")
    assert process.wait(60)
    assert process.has_ended() and not process.is_running()
    with pytest.raises(RuntimeError, match="known after stop"):
        process.exit_status  # noqa: B018
    assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT).si_status == 3
    assert process.stop(0)
    assert process.exit_status == 3 and process.has_ended()


def test_what_it_has_started_ends_with_it(start):
    read_fd, write_fd = os.pipe()
    os.set_inheritable(write_fd, True)
    process = Recorder()
    with tempfile.TemporaryFile() as output:
        process.start(
            ["sh", "-c", f"sleep 1000 & echo started > /dev/fd/{write_fd}"],
            environment=os.environ,
            output=output,
            inherits=(write_fd,),
        )
    os.close(write_fd)
    assert os.read(read_fd, 100) == b"started\n"
    assert process.wait(60)
    assert process.stop(0)
    assert process.exit_status == 0
    # The other end of the pipe is held by what it started, until that is gone.
    assert os.read(read_fd, 100) == b""
    os.close(read_fd)


def test_one_that_goes_on_is_killed(start):
    process = start("exec sleep 1000")
    assert process.is_running()
    assert not process.stop(0)
    assert process.exit_status == -signal.SIGKILL


def test_nothing_is_sent_once_its_status_was_taken(start, monkeypatch):
    process = start("exit 0")
    process.stop(60)
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("its id may be a stranger's"))
    process.send_signal(signal.SIGTERM)
    process.stop(0)
    assert process.exit_status == 0


def test_somebody_else_took_its_status(start):
    process = start("exit 3")
    os.waitpid(process.pid, 0)
    assert process.has_ended()
    process.stop(0)
    assert process.exit_status == 0  # unknown; as of Popen


def test_one_that_was_never_started_has_ended(start):
    process = Recorder()
    with tempfile.TemporaryFile() as output, pytest.raises(FileNotFoundError):
        process.start(["/nowhere/program"], environment={}, output=output)
    assert process.stop(0)
    with pytest.raises(RuntimeError, match="not started"):
        process.pid  # noqa: B018


def test_messages_are_whole_lines_to_the_last_before_the_end(start):
    process = start("printf 'one\\ntw' > /dev/fd/MESSAGES; printf 'o\\nthree' > /dev/fd/MESSAGES")
    while process.is_running():
        process.listen(0.01)
    assert process.received == ["one", "two"]  # a line without an end is none


def test_messages_of_one_that_is_late_are_not_lost(start):
    process = start("echo one > /dev/fd/MESSAGES; exec sleep 1000")
    assert select.select([process._read_fd], [], [], 60)[0]
    process.drain()
    assert process.received == ["one"] and process.is_running()


def test_it_reads_its_input_until_that_is_closed(start):
    process = start("while read line; do echo got $line > /dev/fd/MESSAGES; done", has_stdin=True)
    process.write_line("a")
    process.write_line("b")
    process.close_input()
    assert process.wait(60) and not process.is_running()
    assert process.received == ["got a", "got b"]
    process.stop(0)
    assert process.exit_status == 0


def test_a_line_for_one_that_has_ended_is_lost(start):
    process = start("exit 0", has_stdin=True)
    process.wait(60)
    process.write_line("too late")
    process.stop(0)


def test_the_deadline_moves(start):
    process = start("exec sleep 1000")
    assert not process.is_late() and process.is_in_time
    process.allow(-1)
    assert process.is_late() and not process.is_in_time
    process.allow(60)
    assert not process.is_late()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "ended with exit status 0"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-signal.SIGKILL, "was ended by SIGKILL, as the kernel does where memory is short,"),
        (-250, "was ended by signal 250"),
    ],
)
def test_an_end_is_described(status, text):
    assert describe_exit(status) == text


def test_whom_it_descends_from(start):
    process = start("exec sleep 1000")
    assert ancestry(process.pid) == [process.pid, *ancestry(os.getpid())]
    process.stop(0)
    assert ancestry(process.pid, Path("/proc")) == [process.pid]

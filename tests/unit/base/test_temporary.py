"""Files and directories for a moment are gone, whatever ends the process that made them."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from pytest_xsched.base.temporary import TemporaryDirectory, partial_file, remove_left_behind


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def maker(directory):
    """A process that made one of each in the directory, and waits."""

    program = f"""
        import signal
        import time
        from pathlib import Path
        for number in (signal.SIGHUP, signal.SIGQUIT):  # nohup and "&" in a script ignore them
            signal.signal(number, signal.SIG_DFL)
        from pytest_xsched.base.temporary import TemporaryDirectory, partial_file
        made = TemporaryDirectory()
        Path(made.name, "inside").write_text("x")
        with partial_file(Path({str(directory)!r})):
            print("made", flush=True)
            time.sleep(60)
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(directory)},
    ) as process:
        assert process.stdout.readline() == b"made\n"
        assert len(list(directory.iterdir())) == 2
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_that_end_the_process_leave_nothing(maker, directory, number):
    maker.send_signal(number)
    assert maker.wait(20) == -number  # it ends by the signal, as without a handler
    assert list(directory.iterdir()) == []


def test_what_a_killed_process_left_the_next_one_removes(maker, directory):
    maker.kill()
    maker.wait(20)
    assert len(list(directory.iterdir())) == 2
    with TemporaryDirectory() as name:
        assert [str(path) for path in directory.iterdir()] == [name]
    assert list(directory.iterdir()) == []


def test_what_a_running_process_uses_stays(maker, directory):
    remove_left_behind(directory)
    assert len(list(directory.iterdir())) == 2


def test_files_of_others_stay(directory):
    for name in ("pytest-xsched-gpu-0000-1b-00.0.lock", "pytest-xsched-999999999-mine", "x"):
        (directory / name).write_text("")
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    (directory / "pytest-xsched-4194999-abcdefgh").symlink_to(elsewhere)
    remove_left_behind(directory)
    assert len(list(directory.iterdir())) == 5


def test_a_fork_removes_nothing_of_its_parent(directory):
    with TemporaryDirectory() as name:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
        assert os.path.isdir(name)


def test_handlers_are_there_only_while_they_are_needed(directory):
    def of_the_user(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGHUP, of_the_user)
    try:
        with TemporaryDirectory(), partial_file(directory):
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            assert signal.getsignal(signal.SIGHUP) == of_the_user
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) == of_the_user
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_end_of_the_block_removes_the_partial_file(directory):
    with pytest.raises(RuntimeError), partial_file(directory):
        raise RuntimeError
    assert list(directory.iterdir()) == []

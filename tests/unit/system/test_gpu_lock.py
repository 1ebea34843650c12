"""The lock of a GPU: who waits for whom, what is said meanwhile, and how it ends."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from pytest_xsched.errors import DeviceBusy, DeviceError
from pytest_xsched.system.gpu_lock import lock_cpu, lock_file, lock_gpus

GPU, OTHER = "0000:1b:00.0", "0000:1c:00.0"


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder():
    """A process that holds the lock of GPU until it is ended."""
    program = f"""
        import sys
        from pytest_xsched.system.gpu_lock import lock_gpus
        lock_gpus([{GPU!r}], timeout_s=0)
        print("held", flush=True)
        sys.stdin.read()
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def is_free(*pci_ids):
    try:
        lock_gpus(pci_ids, timeout_s=0).release()
    except DeviceBusy:
        return False
    return True


def test_one_after_the_other():
    first = lock_gpus([GPU], timeout_s=0)
    assert not is_free(GPU)
    assert is_free(OTHER)
    first.release()
    assert is_free(GPU)
    first.release()  # a second time does nothing


def test_who_has_it_is_named(holder):
    with pytest.raises(DeviceBusy) as caught:
        lock_gpus([GPU], timeout_s=0)
    assert str(caught.value) == (
        f"GPU {GPU} was not free within 0 s: process {holder.pid} measures on it "
        f"({lock_file(GPU)}); the ini key xsched_lock_timeout allows a longer wait"
    )


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_the_end_of_the_holder_is_the_end_of_the_lock(holder, end):
    said = []

    def waiting(what):
        said.append(what)
        if len(said) == 2:  # it was waited for, then
            holder.stdin.close() if end is None else holder.send_signal(end)

    lock_gpus([GPU], timeout_s=60, waiting=waiting).release()
    assert said[:2] == [f"for GPU {GPU}, on which process {holder.pid} measures"] * 2


def test_a_wait_can_be_stopped_and_leaves_nothing_locked(holder):
    def stop(what):
        raise KeyboardInterrupt

    before = "0000:00:00.0"  # is locked first
    with pytest.raises(KeyboardInterrupt):
        lock_gpus([GPU, before], timeout_s=60, waiting=stop)
    assert is_free(before)
    with pytest.raises(DeviceBusy):
        lock_gpus([GPU, before], timeout_s=0)
    assert is_free(before)


def test_two_gpus_are_locked_in_one_order(monkeypatch):
    lock_gpus([GPU, OTHER], timeout_s=0).release()  # now the files are there
    order = []
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, *more: order.append(path) or opened(path, *more))
    for pci_ids in ([OTHER, GPU], [GPU, OTHER]):
        lock_gpus(pci_ids, timeout_s=0).release()
    assert order == [lock_file(GPU), lock_file(OTHER)] * 2


def test_spelling_does_not_matter():
    locks = lock_gpus(["0000:1B:00.0", "0000:1b:00.0", ""], timeout_s=0)
    assert not is_free(GPU)
    locks.release()


def test_no_gpu_is_no_lock(directory):
    lock_gpus([""], timeout_s=0).release()
    assert list(directory.iterdir()) == []


def test_the_file_is_for_everybody_and_stays(directory):
    old = os.umask(0o077)
    try:
        lock_gpus([GPU], timeout_s=0).release()
    finally:
        os.umask(old)
    (file,) = directory.iterdir()
    assert file == lock_file(GPU) == directory / "pytest-xsched-gpu-0000-1b-00.0.lock"
    assert stat.S_IMODE(file.stat().st_mode) == 0o666


def test_an_id_cannot_lead_elsewhere(directory):
    assert lock_file("../../etc/passwd").parent == directory


def test_a_link_is_not_followed(directory, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "precious"
    elsewhere.write_text("precious")
    lock_file(GPU).symlink_to(elsewhere)
    with pytest.raises(
        DeviceError, match=f"the lock file of GPU {GPU} cannot be opened: .*symbolic links"
    ):
        lock_gpus([GPU], timeout_s=0)
    assert elsewhere.read_text() == "precious"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("put", "message"),
    [
        (os.mkfifo, "is not a regular file, so it is no lock file"),
        (os.mkdir, "Is a directory: "),
        (lambda path: path.write_text("precious"), "has other content than the id of a process"),
    ],
    ids=["pipe", "directory", "file-of-somebody"],
)
def test_something_else_in_the_place_of_the_lock_file(directory, put, message):
    """A lock file is what we made: nothing else is written to, and nothing hangs."""
    path = lock_file(GPU)
    put(path)
    with pytest.raises(DeviceError) as caught:
        lock_gpus([GPU], timeout_s=0)
    text = str(caught.value)
    assert text.startswith(f"the lock file of GPU {GPU} cannot be opened: ")
    assert message in text and str(path) in text and "PYTEST_XSCHED_LOCK_DIR" in text
    if path.is_file():
        assert path.read_text() == "precious"


def test_a_lock_directory_that_cannot_be_written(directory, monkeypatch):
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", "/proc/sys")
    with pytest.raises(DeviceError, match=r"cannot be opened: .*/proc/sys.*PYTEST_XSCHED_LOCK_DIR"):
        lock_gpus([GPU], timeout_s=0)


def test_a_directory_that_is_not_there(directory, monkeypatch):
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", str(directory / "missing"))
    with pytest.raises(DeviceError, match=r"the lock file of GPU .*/missing/") as caught:
        lock_gpus([GPU], timeout_s=0)
    assert not isinstance(caught.value, DeviceBusy)


def test_a_fork_does_not_let_go_of_it():
    locks = lock_gpus([GPU], timeout_s=0)
    child = os.fork()
    if child == 0:
        locks.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert not is_free(GPU)
    locks.release()


def test_a_fork_does_not_hold_it_on():
    locks = lock_gpus([GPU], timeout_s=0)
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_fd)
        os.read(read_fd, 1)  # until the parent is done
        os._exit(0)
    locks.release()
    assert is_free(GPU)
    os.close(write_fd)
    os.waitpid(child, 0)
    os.close(read_fd)


# ---- the device cpu


@pytest.fixture
def cpu_lock(monkeypatch):
    """Switches the lock of the device cpu on, which the tests here run without."""
    monkeypatch.delenv("PYTEST_XSCHED_CPU_LOCK")


def test_runs_on_cpu_wait_for_one_another(cpu_lock, directory):
    first, said = lock_cpu(timeout_s=0), []
    with pytest.raises(DeviceBusy, match=r"^the device cpu was not free within 0\.05 s: process "):
        lock_cpu(timeout_s=0.05, waiting=said.append)
    assert said[0] == f"for the device cpu, on which process {os.getpid()} measures"
    first.release()
    lock_cpu(timeout_s=0).release()
    names = {"pytest-xsched-cpu.lock", "pytest-xsched-cpu-next.lock"}
    assert {path.name for path in directory.iterdir()} == names


def test_one_that_measures_again_and_again_lets_others_have_a_turn(cpu_lock):
    """A process that waits polls, and would miss the short moments in which the lock is free."""
    order, over = [], threading.Event()

    def again_and_again():
        while not over.is_set():
            locks = lock_cpu(timeout_s=60)
            order.append("often")
            time.sleep(0.02)
            locks.release()

    thread = threading.Thread(target=again_and_again)
    thread.start()
    try:
        for _ in range(10):
            locks = lock_cpu(timeout_s=60)
            order.append("seldom")
            locks.release()
    finally:
        over.set()
        thread.join()
    between = " ".join(order).split("seldom")[1:-1]
    turns = sorted(turn.count("often") for turn in between)
    # In most turns: a busy machine may stop this thread before it begins to wait. A process that
    # polls finds the lock free in the fewest turns.
    assert turns[len(turns) // 2] <= 5


def test_without_a_place_for_its_lock_cpu_measures_without(cpu_lock, directory, monkeypatch):
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", str(directory / "missing"))
    lock_cpu(timeout_s=0).release()


def test_the_lock_of_cpu_can_be_switched_off(directory):
    lock_cpu(timeout_s=0)
    assert not list(directory.iterdir())

"""One measurement at a time on a GPU, or on the processors: a lock file for each.

That of a GPU is named by its PCI id.

flock, because the kernel releases it when the holder ends, whatever ends it. The file is never
removed: if it were while a process waits for it, there would be two locks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_xsched.base.temporary import partial_file
from pytest_xsched.errors import DeviceBusy, DeviceError

DIRECTORY = "/tmp"
"""All users can make files there and cannot remove those of others; TMPDIR may be private."""
VARIABLE = "PYTEST_XSCHED_LOCK_DIR"
"""Names another directory, for example one that containers share."""

CPU_VARIABLE = "PYTEST_XSCHED_CPU_LOCK"
""""off": runs on the device cpu do not wait for one another."""

POLL_S = 0.1
_CPU_POLL_S = 0.005
"""Shorter, because processes take turns for each run."""


class GpuLocks:
    """Locks that this process holds until `release` or its end; `lock_gpus` makes them."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._pid = os.getpid()

    def release(self) -> None:
        """Release the locks. In a fork of the holder, only close the files."""
        while self._fds:
            fd = self._fds.pop()
            if os.getpid() == self._pid:
                fcntl.flock(fd, fcntl.LOCK_UN)  # else forks would keep holding it
            os.close(fd)

    def open(self, path: Path) -> int:
        """Open a lock file, which `release` closes; the lock is not held yet."""
        self._fds.append(_open(path))
        return self._fds[-1]


def lock_gpus(
    pci_ids: Iterable[str],
    *,
    timeout_s: float,
    waiting: Callable[[str], None] | None = None,
) -> GpuLocks:
    """Wait until no other process measures on some GPUs, and lock them.

    Args:
        pci_ids: of the GPUs, in any order and case; empty ones are ignored.
        timeout_s: longest wait for all of them; 0: do not wait.
        waiting: called ten times a second while it waits, with a phrase "for ..."; may raise to
            stop that.

    Raises:
        DeviceBusy: a GPU was not free in time; the message names the GPU and the process.
        DeviceError: a lock file cannot be created or opened.
    """
    deadline_s = time.monotonic() + timeout_s
    locks = GpuLocks()
    try:
        # All runs use the same order, or two runs could wait for each other's second GPU.
        for pci_id in sorted({pci_id.lower() for pci_id in pci_ids if pci_id}):
            path = lock_file(pci_id)
            _lock(locks, f"GPU {pci_id}", path, deadline_s, timeout_s, waiting)
    except BaseException:
        locks.release()
        raise
    return locks


def lock_cpu(*, timeout_s: float, waiting: Callable[[str], None] | None = None) -> GpuLocks:
    """Lock the processors of this machine for one run on the device cpu; see `lock_gpus`.

    Hold it during the run only, and lock no GPU meanwhile. Without a directory for lock files the
    runs do not wait for one another: it is no reason not to measure.
    """
    locks, gate = GpuLocks(), GpuLocks()
    if os.environ.get(CPU_VARIABLE) == "off":
        return locks
    deadline_s = time.monotonic() + timeout_s
    try:
        # Who has the gate is the next one. Without it a process that measures again and again would
        # take the lock back before another one has noticed that it was free.
        for held, name in ((gate, "cpu-next"), (locks, "cpu")):
            path = _directory() / f"pytest-xsched-{name}.lock"
            what = "the device cpu"
            _lock(held, what, path, deadline_s, timeout_s, waiting, poll_s=_CPU_POLL_S)
    except DeviceBusy:
        locks.release()
        raise
    except DeviceError:
        pass
    except BaseException:
        locks.release()
        raise
    finally:
        gate.release()
    return locks


def lock_server(*, timeout_s: float, waiting: Callable[[str], None] | None = None) -> GpuLocks:
    """Lock the one server that XSched has on a machine; see `lock_gpus`."""
    locks = GpuLocks()
    path = _directory() / "pytest-xsched-xserver.lock"
    try:
        _lock(locks, "the xserver", path, time.monotonic() + timeout_s, timeout_s, waiting)
    except BaseException:
        locks.release()
        raise
    return locks


def _lock(
    locks: GpuLocks,
    what: str,
    path: Path,
    deadline_s: float,
    timeout_s: float,
    waiting: Callable[[str], None] | None,
    *,
    poll_s: float = POLL_S,
) -> None:
    next_call_s = 0.0
    try:
        fd = locks.open(path)
    except OSError as error:
        raise DeviceError(
            f"the lock file of {what} cannot be opened: {error.strerror}"
            + (f": {error.filename}" if error.filename else "")
            + (f"; set {VARIABLE} to a directory that all who measure may write"),
            call="lock.open",
            code=error.errno or 0,
        ) from None
    while not _take(fd):
        holder = _holder(fd)
        if time.monotonic() >= deadline_s:
            raise DeviceBusy(
                f"{what} was not free within {timeout_s:g} s: {holder} measures on it "
                f"({path}); the ini key xsched_lock_timeout allows a longer wait",
                call="lock.wait",
                code=errno.EWOULDBLOCK,
            )
        if waiting is not None and time.monotonic() >= next_call_s:
            waiting(f"for {what}, on which {holder} measures")
            next_call_s = time.monotonic() + POLL_S - poll_s
        time.sleep(poll_s)


def lock_file(pci_id: str) -> Path:
    """Return the path of a GPU's lock file."""
    name = re.sub(r"[^0-9a-z.]", "-", pci_id.lower())
    return _directory() / f"pytest-xsched-gpu-{name}.lock"


def _directory() -> Path:
    return Path(os.environ.get(VARIABLE) or DIRECTORY)


def _open(path: Path) -> int:
    """Open a lock file that all users may open; create it if it does not exist.

    O_CREAT is not used on an existing file, because the kernel refuses that for a file of another
    user in a directory such as /tmp (fs.protected_regular). A new file has another name until its
    mode is set, because under some umasks other users could not open it before.

    Raises:
        OSError: the file cannot be opened, or other users have put something else in its place.
    """
    while True:
        try:
            # O_NONBLOCK: a named pipe or a terminal line in its place must not stop this process.
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            _create(path)
            continue
        try:
            _require_lock_file(fd, path)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _create(path: Path) -> None:
    with partial_file(path.parent) as (fd, name):
        os.fchmod(fd, 0o666)
        with contextlib.suppress(FileExistsError):  # another process was faster: its file is used
            os.link(name, path)


def _require_lock_file(fd: int, path: Path) -> None:
    """Refuse a file that is none of ours, because `_take` writes into it."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise _not_a_lock(path, "is not a regular file")
    if not re.fullmatch(rb"\d{0,20}\n?", os.pread(fd, 32, 0)):
        raise _not_a_lock(path, "has other content than the id of a process")


def _not_a_lock(path: Path, what: str) -> OSError:
    return OSError(
        errno.EINVAL, f"{path} {what}, so it is no lock file; remove it, or set {VARIABLE}"
    )


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with contextlib.suppress(OSError):  # the disk is full: other processes cannot name the holder
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return True


def _holder(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode(errors="replace").strip()
    return f"process {text}" if text.isdecimal() else "another process"

"""One measurement at a time on a GPU: a lock file for each, named by its PCI id.

flock, because the kernel ends it with its holder, in whatever way that went. The file stays where
it is: one that is removed while somebody waits for it would be two locks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_xsched.errors import DeviceBusy, DeviceError

DIRECTORY = "/tmp"
"""Where all users can make files and none can remove another's; TMPDIR may be a user's own."""
VARIABLE = "PYTEST_XSCHED_LOCK_DIR"
"""Names another directory: one that containers share, say."""

POLL_S = 0.1


class GpuLocks:
    """Locks that are held. Made by `lock_gpus`; the end of the process, and only that or `release`,
    ends them."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._pid = os.getpid()

    def release(self) -> None:
        """Let others measure. In a fork of the holder: only forget the locks."""
        while self._fds:
            fd = self._fds.pop()
            if os.getpid() == self._pid:
                fcntl.flock(fd, fcntl.LOCK_UN)  # or forks would hold it on
            os.close(fd)

    def open(self, path: Path) -> int:
        """Open a lock file; the lock is not held yet, but `release` closes it."""
        self._fds.append(_open(path))
        return self._fds[-1]


def lock_gpus(
    pci_ids: Iterable[str],
    *,
    timeout_s: float,
    waiting: Callable[[str], None] | None = None,
) -> GpuLocks:
    """Wait until nobody measures on some GPUs, and keep others from doing so.

    Args:
        pci_ids: of the GPUs, in any order and spelling; empty ones are left out.
        timeout_s: longest wait for all of them; 0: do not wait.
        waiting: called some ten times a second of waiting, with what for; may raise to stop it.

    Raises:
        DeviceBusy: a GPU was not free in time; says which, and who has it.
        DeviceError: a lock file cannot be made or opened.
    """
    deadline_s = time.monotonic() + timeout_s
    locks = GpuLocks()
    try:
        # In one order everywhere, or two runs could wait for each other's second GPU.
        for pci_id in sorted({pci_id.lower() for pci_id in pci_ids if pci_id}):
            path = lock_file(pci_id)
            _lock(locks, f"GPU {pci_id}", path, deadline_s, timeout_s, waiting)
    except BaseException:
        locks.release()
        raise
    return locks


def lock_server(*, timeout_s: float, waiting: Callable[[str], None] | None = None) -> GpuLocks:
    """Do the same for the one server that XSched has on a machine."""
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
) -> None:
    try:
        fd = locks.open(path)
    except OSError as error:
        raise DeviceError(
            f"the lock of {what}: {error}", call="lock.open", code=error.errno or 0
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
        if waiting is not None:
            waiting(f"for {what}, on which {holder} measures")
        time.sleep(POLL_S)


def lock_file(pci_id: str) -> Path:
    """Give the path of a GPU's lock."""
    name = re.sub(r"[^0-9a-z.]", "-", pci_id.lower())
    return _directory() / f"pytest-xsched-gpu-{name}.lock"


def _directory() -> Path:
    return Path(os.environ.get(VARIABLE) or DIRECTORY)


def _open(path: Path) -> int:
    """Open a lock file that everybody may open; make it if nobody has.

    Without O_CREAT on one that exists, because the kernel refuses that for a file of another user
    in a directory such as /tmp (fs.protected_regular). Made under another name, because nobody
    else could open it before its mode is set, whatever the umask.
    """
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            pass
        fd, name = tempfile.mkstemp(prefix=".pytest-xsched-", dir=path.parent)
        try:
            os.fchmod(fd, 0o666)
            with contextlib.suppress(FileExistsError):  # somebody was faster: that one is it
                os.link(name, path)
        finally:
            os.close(fd)
            os.unlink(name)


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with contextlib.suppress(OSError):  # a full disk: nobody learns who it is, no more
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return True


def _holder(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode(errors="replace").strip()
    return f"process {text}" if text.isdecimal() else "another process"

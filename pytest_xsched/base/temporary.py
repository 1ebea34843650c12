"""Files and directories that exist for a moment, and are gone whatever ends this process.

While there is one, SIGTERM, SIGHUP and SIGQUIT remove it before they end the process, unless the
process has a handler of its own. SIGKILL leaves it: its name has the id of the process and its
maker holds a flock on it, so that the next process that makes one in the same directory finds out
that the maker has ended, and removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

_PREFIX = "pytest-xsched-"
_NAME = re.compile(r"\.?pytest-xsched-(\d{1,20})-\w{8}")
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class _Registry:
    """What exists at the moment, and the handlers that were replaced meanwhile."""

    def __init__(self) -> None:
        self._paths: dict[str, int] = {}
        """Paths, with the process that has made each: a fork removes nothing of its parent's."""
        self._replaced: dict[signal.Signals, Any] = {}

    def add(self, path: str) -> None:
        """Let signals remove a path."""
        self._paths[path] = os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may set handlers
        for number in _SIGNALS:
            if number not in self._replaced and signal.getsignal(number) == signal.SIG_DFL:
                self._replaced[number] = signal.signal(number, self._end)

    def discard(self, path: str) -> None:
        """Forget a path; with the last one, the handlers."""
        self._paths.pop(path, None)
        if self._paths or threading.current_thread() is not threading.main_thread():
            return
        for number, before in self._replaced.items():
            if signal.getsignal(number) == self._end:  # otherwise someone has set another since
                signal.signal(number, before)
        self._replaced.clear()

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Remove what exists, then let the signal do what it does without a handler."""
        for path, maker in list(self._paths.items()):
            if maker == os.getpid():
                _remove(path)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


_REGISTRY = _Registry()


class TemporaryDirectory:
    """A directory in the system's directory for such things, until `cleanup`.

    Args:
        parent: another directory for it; None: the system's.

    Attributes:
        name: its path.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, parent: str | None = None) -> None:
        parent = tempfile.gettempdir() if parent is None else parent
        remove_left_behind(Path(parent))
        self.name = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)
        _REGISTRY.add(self.name)
        self._fd = os.open(self.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *exception: object) -> None:
        self.cleanup()

    def cleanup(self) -> None:
        """Remove the directory with all that is in it; the second call does nothing."""
        if self._fd < 0:
            return
        _remove(self.name)
        os.close(self._fd)
        self._fd = -1
        _REGISTRY.discard(self.name)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.cleanup()


@contextlib.contextmanager
def partial_file(directory: Path) -> Iterator[tuple[int, str]]:
    """Create a file with a hidden name of its own, which is removed at the end if it is there.

    Args:
        directory: in which it lies, so that it can be renamed or linked to its final name.

    Yields:
        A descriptor that is open for writing, and the path.

    Raises:
        OSError: it cannot be created.
    """
    remove_left_behind(directory)
    fd, name = tempfile.mkstemp(prefix=f".{_PREFIX}{os.getpid()}-", dir=directory)
    _REGISTRY.add(name)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(fd, fcntl.LOCK_SH)
        yield fd, name
    finally:
        _remove(name)
        os.close(fd)
        _REGISTRY.discard(name)


def remove_left_behind(directory: Path) -> None:
    """Remove what processes of this user have left in a directory that were killed.

    Both signs must say that the maker has ended: no process has its id, and nothing holds the
    lock. One alone would be wrong for a moment after the file was made, or in containers, which
    number their processes apart.
    """
    try:
        names = [entry.name for entry in os.scandir(directory)]
    except OSError:
        return
    for name in names:
        found = _NAME.fullmatch(name)
        if found and not _runs(int(found[1])):
            path = os.path.join(directory, name)
            with contextlib.suppress(OSError):
                if _is_abandoned(path):
                    _remove(path)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _is_abandoned(path: str) -> bool:
    found = os.lstat(path)
    if found.st_uid != os.geteuid() or not (
        stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)
    ):
        return False
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _remove(path: str) -> None:
    """Remove a file or a directory; once more where a child still writes into it."""
    for _ in range(5):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if not os.path.lexists(path):
            return

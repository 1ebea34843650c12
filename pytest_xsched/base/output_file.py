"""Files that users name for output: checked before a run, written whole or not at all.

A path that cannot be written is found out before anything is measured. Directories are not made,
because a typing error would make them. Links that other users have put into a directory which all
may write, such as /tmp, are not followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time
from pathlib import Path

from pytest_xsched.base.temporary import partial_file

_PIPE_S = 10.0
"""How long the reader of a pipe may take to read."""


def output_fault(path: Path) -> str:
    """Describe why a file cannot be written at a path; "" where nothing is known to be wrong.

    Nothing is opened: that could stop a reader of a pipe, or wait for one.
    """
    try:
        return _fault(path)
    except OSError as error:
        return f"{_short(path)} cannot be written: {error.strerror}"
    except ValueError as error:  # a NUL
        return f"{_short(path)} is not a path: {error}"


def directory_fault(path: Path) -> str:
    """Describe why a path is no directory and cannot become one; "" where nothing is wrong.

    A directory that does not exist is made on use, if its parent exists.
    """
    try:
        if link := _link_of_others(path):
            return f"{_short(path)} goes through {link}, a symbolic link of another user"
        if not os.path.lexists(path):
            return _parent_fault(path)
        if not path.is_dir():
            return f"{_short(path)} is not a directory"
        return ""
    except OSError as error:
        return f"{_short(path)} cannot be used: {error.strerror}"
    except ValueError as error:
        return f"{_short(path)} is not a path: {error}"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it has either all of a content or what it had before.

    A device such as /dev/stdout is written to. A link is replaced, not followed.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    data = content if isinstance(content, bytes) else _encoded(content)
    refuse_link_of_others(path)
    if _is_stream(path):
        _write_stream(path, data)
        return
    umask = os.umask(0)
    os.umask(umask)
    with partial_file(path.parent) as (fd, name):
        os.fchmod(fd, 0o666 & ~umask)
        write_all(fd, data)
        os.fsync(fd)
        os.replace(name, path)
    _sync_directory(path.parent)


def append(path: Path, text: str) -> None:
    """Add a text to the end of a file, which is created if it does not exist.

    Raises:
        OSError: it cannot be written, or is no file, or a link of another user leads to it.
    """
    refuse_link_of_others(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(path, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) and not _is_stream(path):
            raise OSError(errno.EINVAL, "Not a file", str(path))
        write_all(fd, _encoded(text))
    finally:
        os.close(fd)


def read_regular(path: Path) -> bytes:
    """Return the content of a file; a pipe in its place is an error, not a wait.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        return file.read()


def write_all(fd: int, data: bytes) -> None:
    """Write all of some data to a descriptor, which may take more than one call."""
    while data:
        data = data[os.write(fd, data) :]


def refuse_link_of_others(path: Path) -> None:
    """Raise OSError where a link of another user, in a directory of all, is part of a path."""
    if link := _link_of_others(path):
        raise OSError(errno.ELOOP, f"{link} is a symbolic link of another user")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")


def _sync_directory(directory: Path) -> None:
    """Let the name of a new file reach the disk, too, where the file system can do that."""
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _fault(path: Path) -> str:
    if link := _link_of_others(path):
        return f"{_short(path)} goes through {link}, a symbolic link of another user"
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return _parent_fault(path)
    if stat.S_ISDIR(found.st_mode):
        return f"{_short(path)} is a directory"
    if _is_stream(path):
        return ""
    if not stat.S_ISREG(found.st_mode):
        return (
            f"{_short(path)} is not a file; write to a file, or to /dev/stdout or /dev/fd/N of a "
            "pipe"
        )
    if _is_kept_from_us(path):
        return f"{_short(path)} belongs to another user, in a directory where only they replace it"
    return _parent_fault(path)


def _parent_fault(path: Path) -> str:
    parent = path.absolute().parent
    if not parent.exists():
        return f"{_short(path)}: the directory {_short(parent)} does not exist; make it first"
    if not parent.is_dir():
        return f"{_short(path)} lies in {_short(parent)}, which is not a directory"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"{_short(path)}: the directory {_short(parent)} cannot be written"
    longest = os.pathconf(parent, "PC_NAME_MAX")
    if len(os.fsencode(path.name)) > longest:
        return f"{_short(path)}: the name has more than {longest} bytes"
    return ""


def _is_stream(path: Path) -> bool:
    """Check whether a path is a terminal, the null device, or what this process has open already.

    That may be a pipe, or a file to which a shell has redirected.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    handed_down = str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return stat.S_ISCHR(mode) or (handed_down and not stat.S_ISDIR(mode))


def _write_stream(path: Path, data: bytes) -> None:
    """Write to a stream; a reader that does not read is an error after some seconds."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    fd = os.open(path, flags)
    try:
        _write_all(fd, data, path)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes, path: Path) -> None:
    deadline_s = time.monotonic() + _PIPE_S
    while data:
        _, ready, _ = select.select([], [fd], [], max(0.0, deadline_s - time.monotonic()))
        if not ready:
            raise OSError(errno.ETIMEDOUT, f"nothing read it for {_PIPE_S:g} s", str(path))
        try:
            written = os.write(fd, data)
        except BlockingIOError:
            continue
        data, deadline_s = data[written:], time.monotonic() + _PIPE_S


def _link_of_others(path: Path) -> str:
    """Return the first link of another user that a path goes through, in a directory of all.

    The rule is that of Linux's fs.protected_symlinks, which not every machine has switched on.
    """
    absolute = path.absolute()
    for part in reversed((absolute, *absolute.parents)):
        try:
            found = os.lstat(part)
        except (FileNotFoundError, NotADirectoryError):
            break
        if not stat.S_ISLNK(found.st_mode):
            continue
        above = os.stat(part.parent)
        shared = stat.S_ISVTX | stat.S_IWOTH
        if above.st_mode & shared == shared and found.st_uid not in (os.geteuid(), above.st_uid):
            return str(part)
    return ""


def _is_kept_from_us(path: Path) -> bool:
    """Check whether the sticky bit keeps us from replacing a file of another user."""
    above, user = os.stat(path.absolute().parent), os.geteuid()
    sticky = above.st_mode & stat.S_ISVTX
    return bool(sticky) and user not in (0, above.st_uid, os.lstat(path).st_uid)


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-60:]}"

"""A timer of an asyncio loop that is precise to some 50 us.

The timers of asyncio end at full milliseconds, because epoll counts these. The timer files of the
kernel count nanoseconds, and wake epoll as a socket does.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_PR_SET_TIMERSLACK = 29


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """Call a function at a moment of CLOCK_MONOTONIC.

    Args:
        loop: in whose thread the function is called.
        expired: the function.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # else the kernel may add 50 us
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._setting = _Setting()
        self._loop = loop
        self._expired = expired
        loop.add_reader(self._fd, self._wake)

    def set(self, at_ns: int) -> None:
        """Set the moment; one that has passed is now."""
        self._setting.value.seconds, self._setting.value.nanoseconds = divmod(max(at_ns, 1), 10**9)
        arguments = (self._fd, _ABSOLUTE, ctypes.byref(self._setting), None)
        if self._libc.timerfd_settime(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        """Forget the moment."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _wake(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # it was set anew meanwhile
            return
        self._expired()

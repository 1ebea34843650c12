"""What a run keeps between its windows: programs, models, locks, XSched's server, MPS.

They end with the last window and with any error; when another run begins; and when no further
window has begun within `IDLE_S`, because the locks keep others off the devices meanwhile.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from pytest_xsched.errors import XSchedError
from pytest_xsched.workers.isolated import RunWorker
from pytest_xsched.workers.kept_processes import KeptProcesses
from pytest_xsched.workers.mps import MpsDaemon
from pytest_xsched.workers.multi_process import SeparateProcesses
from pytest_xsched.workers.xserver import Server

IDLE_S = 2.0
"""How long processes wait for the next window. One follows at once while a target is undecided."""

_OF_PARENT: list[object] = []
"""What a fork has forgotten. It stays, because to drop it would remove files of the parent."""


class RunProcesses:
    """The processes of one run, from its first window to its last.

    Args:
        duration_ns: the most that all windows measure together.

    Attributes:
        kept: processes that outlive their run; None: none do.
        separate: processes of earlier windows that live on; None: there are none.
        worker: the process that measures all queues, which lives on; None: there is none.
        server: XSched's server, which lives on with them; None: there is none.
        daemon: the control daemon of MPS, likewise.
        is_last: whether the window that is measured is the last one.
        tell: called with a remark on programs that did not end well after their last window.
    """

    def __init__(self, duration_ns: int) -> None:
        self.kept: KeptProcesses | None = None
        self.separate: SeparateProcesses | None = None
        self.worker: RunWorker | None = None
        self.server: Server | None = None
        self.daemon: MpsDaemon | None = None
        self.is_last = False
        self.tell: Callable[[str], None] = lambda remark: None
        self._left_ns = duration_ns
        self._around = contextlib.ExitStack()
        self._lock = threading.Lock()
        """Held while a window is measured, and while the processes are ended."""
        self._idle: threading.Timer | None = None
        self._pid = os.getpid()

    @contextlib.contextmanager
    def window(self, duration_ns: int) -> Iterator[contextlib.ExitStack]:
        """Enter a window of the run.

        Args:
            duration_ns: length of the window.

        Yields:
            What ends after the window, or later if processes live on.
        """
        self._leave_to_parent()
        self._stop_waiting()
        with self._lock:
            self._left_ns -= duration_ns
            self.is_last = self._left_ns <= 0
            try:
                with self._around.pop_all() as around:
                    yield around
                    if self._are_waiting():
                        for one in (self.server, self.daemon):
                            if one is not None:
                                one.require_alive()
                        self._around = around.pop_all()
                        self._wait()
                        return
            finally:
                if self._idle is None:
                    self.separate = self.server = self.daemon = self.worker = None

    def _are_waiting(self) -> bool:
        """Check whether processes wait for the next window."""
        separate = self.separate is not None and self.separate.are_waiting
        return separate or (self.worker is not None and self.worker.is_waiting)

    def close(self) -> None:
        """End the processes that live on, unless this process is a fork of the one that has them.

        What goes wrong then is no matter of a window that was measured.
        """
        if os.getpid() != self._pid:
            return
        self._stop_waiting()
        with self._lock:
            self._end(SeparateProcesses.end_run)

    def _end(self, end: Callable[[SeparateProcesses], str]) -> None:
        separate = self.separate
        self.separate = self.server = self.daemon = self.worker = None
        try:
            remark = "" if separate is None else end(separate)
        finally:
            with contextlib.suppress(XSchedError):
                self._around.close()
        if remark:
            self.tell(remark)

    def _leave_to_parent(self) -> None:
        """In a fork, forget what the parent has started, without ending it."""
        if os.getpid() == self._pid:
            return
        _OF_PARENT.append((self._around, self.separate, self.worker))
        self._around, self._lock = contextlib.ExitStack(), threading.Lock()
        self.separate = self.server = self.daemon = self.worker = self._idle = None
        self._pid = os.getpid()

    def _wait(self) -> None:
        """Begin to wait for the next window."""
        self._idle = threading.Timer(IDLE_S, self._end_idle)
        self._idle.daemon = True
        self._idle.start()
        atexit.register(self.close)

    def _stop_waiting(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.cancel()
            atexit.unregister(self.close)

    def _end_idle(self) -> None:
        with self._lock:
            # A window may have begun, and even ended, while this thread waited for the lock.
            if self._idle is threading.current_thread():
                self._idle = None
                atexit.unregister(self.close)
                self._end(SeparateProcesses.close)

"""The line that shows how far a long run has come, on a terminal only, and erased at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

_FIRST_AFTER_S = 1.0
_EVERY_S = 0.5


class ProgressLine:
    """Called with elapsed and total ns of a run; writes at most twice a second, as `note` does.

    Args:
        terminal: pytest's terminal reporter.
        label: what is running.
        columns: of the terminal; a longer line would wrap and could not be erased.
        uncaptured: gives a context in which writing reaches the terminal and not the captured
            output of a test.
    """

    def __init__(
        self,
        terminal: Any,
        label: str,
        *,
        columns: int = 80,
        uncaptured: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._terminal = terminal
        self._label = label
        self._columns = columns
        self._uncaptured = uncaptured
        self._next_s = time.monotonic() + _FIRST_AFTER_S
        self._width = 0

    def __call__(self, elapsed_ns: int, total_ns: int) -> None:
        self.note(f"{elapsed_ns / 1e9:.0f} s of {total_ns / 1e9:.0f} s")

    def note(self, text: str) -> None:
        """Show a text instead of the elapsed time."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _EVERY_S
        end = f", {text}"[: max(0, self._columns - 1)]
        start = f"xsched: {self._label}"[: max(0, self._columns - 1 - len(end))]
        with self._uncaptured():
            if not self._width:
                self._terminal.ensure_newline()
            self._rewrite((start + end).ljust(self._width))

    def close(self) -> None:
        """Leave an empty line where the progress was."""
        if self._width:
            with self._uncaptured():
                self._rewrite("")

    def _rewrite(self, text: str) -> None:
        self._terminal.write(f"\r{text:<{self._width}}\r" if not text else f"\r{text}", flush=True)
        self._width = max(self._width, len(text))

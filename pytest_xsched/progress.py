"""The line that shows how far a long run has come, on a terminal only, erased behind it."""

from __future__ import annotations

import time
from typing import Any

_FIRST_AFTER_S = 1.0
_EVERY_S = 0.5


class ProgressLine:
    """Called with elapsed and total ns of a run; writes at most twice a second."""

    def __init__(self, terminal: Any, label: str) -> None:
        self._terminal = terminal
        self._label = label
        self._next_s = time.monotonic() + _FIRST_AFTER_S
        self._width = 0

    def __call__(self, elapsed_ns: int, total_ns: int) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _EVERY_S
        if not self._width:
            self._terminal.ensure_newline()
        text = f"xsched: {self._label}, {elapsed_ns / 1e9:.0f} s of {total_ns / 1e9:.0f} s"
        self._rewrite(text)

    def close(self) -> None:
        """Leave an empty line where the progress was."""
        if self._width:
            self._rewrite("")

    def _rewrite(self, text: str) -> None:
        self._terminal.write(f"\r{text:<{self._width}}\r" if not text else f"\r{text}", flush=True)
        self._width = max(self._width, len(text))

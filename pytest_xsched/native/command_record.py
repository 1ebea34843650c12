"""What a queue did in a run, command by command: the rings of the runner, and their copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.native.binding import COMMAND_RECORD, SUSPENSION, ffi, lib

RECORDED_MOST = 2**20
"""The most commands of a queue, and the most suspensions, that are on record: the last ones."""
TOUCHED = 2**18
"""Entries whose memory is there before a run in real time begins: some 10 s of short commands."""
_PAGE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRecord:
    """What a queue did in one window.

    Attributes:
        commands: in order of launch, fields of `COMMAND_RECORD`; times in ns since the start of the
            run.
        suspensions: in order of time, fields of `SUSPENSION`.
        lost: commands that were launched before the first of `commands`.
        suspensions_lost: suspensions before the first of `suspensions`.
    """

    commands: NDArray[np.void]
    suspensions: NDArray[np.void]
    lost: int = 0
    suspensions_lost: int = 0

    @property
    def per_request(self) -> int:
        """Commands of a request, as far as they are on record."""
        return int(self.commands["index"].max()) + 1 if len(self.commands) else 0

    def to_arrays(self) -> list[NDArray[Any]]:
        """Return the record as arrays, for a file; `from_arrays` reads them back."""
        lost = np.array([self.lost, self.suspensions_lost], np.int64)
        return [self.commands, self.suspensions, lost]

    @classmethod
    def from_arrays(cls, arrays: Sequence[NDArray[Any]]) -> CommandRecord:
        """Return the record that `to_arrays` has written."""
        commands, suspensions, (lost, suspensions_lost) = arrays
        return cls(
            commands=commands,
            suspensions=suspensions,
            lost=int(lost),
            suspensions_lost=int(suspensions_lost),
        )


def device_tells(records: Iterable[CommandRecord]) -> bool:
    """Check whether the device of some queues told when it began a command."""
    return any(bool((record.commands["began_ns"] >= 0).any()) for record in records)


def no_record() -> CommandRecord:
    """Return the record of a queue that has none: a program, for one."""
    return CommandRecord(commands=np.empty(0, COMMAND_RECORD), suspensions=np.empty(0, SUSPENSION))


class RecordRings:
    """The memory of a record while the run fills it; keep it until the run is closed.

    Args:
        most: commands that the queue launches at most; None: not known.
        touch: whether the system is to provide the memory of the first entries now. It otherwise
            does when an entry is first written, which takes longer than a launch in real time.
    """

    def __init__(self, most: int | None, *, touch: bool) -> None:
        least = int(lib.XS_THRESHOLD_MAX) + 1
        length = RECORDED_MOST if most is None else min(max(most, least), RECORDED_MOST)
        self._commands = np.empty(length, COMMAND_RECORD)
        self._suspensions = np.empty(RECORDED_MOST, SUSPENSION)
        if touch:
            for ring in (self._commands, self._suspensions):
                ring[:TOUCHED].view(np.uint8)[::_PAGE] = 0
        commands, suspensions = (
            ffi.from_buffer(f"struct {name}[]", ring, require_writable=True)
            for name, ring in (
                ("xs_command_record", self._commands),
                ("xs_suspension", self._suspensions),
            )
        )
        self.spec = (commands, length, suspensions, len(self._suspensions))
        """The fields of `struct xs_record_spec`."""

    def copy(self, launched: int, suspensions: int) -> CommandRecord:
        """Copy what the rings hold after the end of the run.

        Args:
            launched: commands that the queue launched.
            suspensions: how often it changed between suspended and not suspended.
        """
        commands, lost = _unrolled(self._commands, launched)
        changes, changes_lost = _unrolled(self._suspensions, suspensions)
        return CommandRecord(
            commands=commands, suspensions=changes, lost=lost, suspensions_lost=changes_lost
        )


def _unrolled(ring: NDArray[np.void], count: int) -> tuple[NDArray[np.void], int]:
    """Copy what a ring holds of `count` entries, in order, and return how many it lost."""
    lost = max(0, count - len(ring))
    if lost == 0:
        return ring[:count].copy(), 0
    first = count % len(ring)
    return np.concatenate([ring[first:], ring[:first]]), lost

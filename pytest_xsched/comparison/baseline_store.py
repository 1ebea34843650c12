"""Runs stored in files, for comparison with later ones: NAME.jsonl only grows, next to its samples.

Several processes may write at the same time: a line is one write at the end of the file, under its
lock, and names samples that exist already. What cannot be read is reported and left as it is.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_xsched.analysis.comparability import Record
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.output_file import (
    read_regular,
    refuse_link_of_others,
    write_all,
    write_whole,
)
from pytest_xsched.comparison.stored_line import (
    FaultyLine,
    check_samples,
    make_line,
    pack_samples,
    parse_line,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRuns:
    """The runs of one baseline.

    Attributes:
        entries: one a run, in the order of writing: ``"id"``, ``"time"`` and ``"run"``.
        damaged: a sentence for each line, or its samples, that cannot be read.
    """

    entries: list[Record]
    damaged: list[str]


class Baseline:
    """A baseline: the runs stored under one name in a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}.jsonl"
        self._samples = directory / f"{name}.samples"

    def store(self, run: Run, commit: Record) -> str:
        """Add a run: first its samples, which reach the disk before its line is written.

        Args:
            run: whose evidence is complete.
            commit: of the tests, see `json_export.commit_info`.

        Returns:
            The id by which line and samples are known.

        Raises:
            OSError: it cannot be written; then the baseline is what it was before.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        key = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        packed = pack_samples(run)
        time = now.isoformat(timespec="seconds")
        line = make_line(run, key=key, time=time, commit=commit, packed=packed)
        self._samples.mkdir(parents=True, exist_ok=True)
        file = self._samples / f"{key}.npz"
        write_whole(file, packed)
        try:
            self._add(line)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        return key

    def _add(self, line: bytes) -> None:
        refuse_link_of_others(self.path)
        # O_NONBLOCK: a named pipe in its place must not stop this process.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "Not a regular file", str(self.path))
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                # Another process was cut off: leave its line and begin a new one.
                line = b"\n" + line
            try:
                write_all(fd, line)
                os.fsync(fd)
            except OSError:  # such as a full disk: take back what was written of the line
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)  # which ends the lock

    def read(self) -> StoredRuns:
        """Read what is there, checked line by line; nothing where there is no file.

        Raises:
            OSError: the file is there and cannot be read.
        """
        entries: list[Record] = []
        faults: dict[str, list[int]] = {}
        try:
            lines = read_regular(self.path).split(b"\n")
        except FileNotFoundError:
            return StoredRuns(entries=[], damaged=[])
        lines_of: dict[str, int] = {}
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                entry = self._entry(line)
                first = lines_of.setdefault(entry["id"], number)
                if first != number:
                    raise FaultyLine(f"has the id of line {first}, which counts once")
                entries.append(entry)
            except FaultyLine as error:
                faults.setdefault(str(error), []).append(number)
        damaged = [self._sentence(fault, numbers) for fault, numbers in faults.items()]
        return StoredRuns(entries=entries, damaged=damaged)

    def _entry(self, line: bytes) -> Record:
        entry = parse_line(line)
        try:
            packed = read_regular(self._samples / f"{entry['id']}.npz")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise FaultyLine(f"has no samples ({why})") from None
        check_samples(entry, packed)
        return entry

    def _sentence(self, fault: str, numbers: list[int]) -> str:
        first, more = numbers[0], len(numbers) - 1
        if not more:
            return f"{self.path}, line {first} {fault}; it is left as it is"
        lines = f"line {first} and {more} later line{'s' * (more > 1)}"
        return f"{self.path}, {lines}: each {fault}; they are left as they are"

    def samples(self, key: str) -> dict[str, np.ndarray[Any, Any]]:
        """Load the samples of a run by queue; see `QueueResult.samples`."""
        with np.load(self._samples / f"{key}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

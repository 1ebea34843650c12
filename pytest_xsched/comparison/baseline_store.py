"""Runs stored in files, for comparison with later ones: NAME.jsonl only grows, next to its samples.

Several processes may write at the same time: a line is one write at the end of the file, under its
lock, and names samples that exist already. What cannot be read is reported and left as it is.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import io
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_xsched.analysis.comparability import Record, likeness
from pytest_xsched.analysis.run import Run
from pytest_xsched.base.output_file import read_regular
from pytest_xsched.stats.estimators import requests_needed

FORMAT = 1


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
        """Add a run: first its samples, then its line.

        Args:
            run: whose evidence is complete.
            commit: of the tests, see `rows.commit_info`.

        Returns:
            The id by which line and samples are known.

        Raises:
            OSError: it cannot be written.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        key = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        data = io.BytesIO()
        np.savez_compressed(data, **{name: run[name].samples for name in run})  # type: ignore[arg-type]
        packed = data.getvalue()
        self._samples.mkdir(parents=True, exist_ok=True)
        file = self._samples / f"{key}.npz"
        with open(file, "xb") as new:
            new.write(packed)
        entry = {
            "format": FORMAT,
            "id": key,
            "time": now.isoformat(timespec="seconds"),
            "commit": commit,
            "samples": {"bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest()},
            "run": run.to_dict(),
        }
        self._add(json.dumps(entry, allow_nan=False).encode() + b"\n")
        return key

    def _add(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self.path, flags, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = (
                    b"\n" + line
                )  # another process was cut off: leave its line and begin a new one
            while line:
                line = line[os.write(fd, line) :]
            os.fsync(fd)
        finally:
            os.close(fd)  # which ends the lock

    def read(self) -> StoredRuns:
        """Read what is there, checked line by line; nothing where there is no file.

        Raises:
            OSError: the file is there and cannot be read.
        """
        entries: list[Record] = []
        damaged: list[str] = []
        try:
            lines = read_regular(self.path).split(b"\n")
        except FileNotFoundError:
            return StoredRuns(entries=[], damaged=[])
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                entry = json.loads(line)
                fault = self._fault(entry)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                fault = f"cannot be read ({type(error).__name__})"
            if fault:
                damaged.append(f"{self.path}, line {number} {fault}; it is left as it is")
            else:
                entries.append(entry)
        return StoredRuns(entries=entries, damaged=damaged)

    def _fault(self, entry: Any) -> str:
        if entry["format"] != FORMAT:
            return f"has format {entry['format']!r}, not {FORMAT}"
        likeness(entry["run"], scheduler=True)  # has it what a comparison needs?
        for queue in entry["run"]["queues"]:
            no_figure(entry["run"], queue)
        key = entry["id"]
        if os.path.basename(key) != key:
            return f"has the id {key!r}"
        try:
            packed = (self._samples / f"{key}.npz").read_bytes()
        except OSError as error:
            return f"has no samples ({error.strerror})"
        if hashlib.sha256(packed).hexdigest() != entry["samples"]["sha256"]:
            return f"has damaged samples: {len(packed)} of {entry['samples']['bytes']} bytes"
        return ""

    def samples(self, key: str) -> dict[str, np.ndarray[Any, Any]]:
        """Load the samples of a run by queue; see `QueueResult.samples`."""
        with np.load(self._samples / f"{key}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def no_figure(run: Record, queue: Record) -> str:
    """Describe why a queue of a run has no P99, or no throughput; '' where it has one."""
    evidence = run["evidence"]
    faults = [*evidence["faults"], *evidence["queue_faults"][queue["name"]]]
    needed = requests_needed(0.99)
    if queue["offered_hz"] is not None and queue["n"] < needed:
        faults.append(f"a P99 needs {needed} requests, not {queue['n']}")
    return "; ".join(faults)

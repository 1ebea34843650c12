"""The commands of a run on record, and which of them are kept.

A record of all commands may be large, and most requests are alike. So of each window a run keeps
its first second and what happened around the worst requests. In virtual time it keeps all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.native.binding import CENSORED
from pytest_xsched.native.command_record import CommandRecord

TRACES = ("worst", "all", "off")
"""What a run keeps of its commands."""
S = 10**9
WORST_LEAST = 20
WORST_SHARE = 0.05
"""The worst requests of a window: this share of each queue, and at least that number."""
FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedWindow:
    """The commands of one window. All times are ns since the start of the run.

    Attributes:
        start_ns: of the measured window.
        end_ns: of the measured window.
        first: by queue, the index of the first request of the window among its samples.
        records: by queue, the commands that are kept, and all suspensions. The numbers of requests
            count from the first request of the window.
        launched: by queue, how many commands it launched.
    """

    start_ns: int
    end_ns: int
    first: Mapping[str, int]
    records: Mapping[str, CommandRecord]
    launched: Mapping[str, int]


@dataclass(slots=True)
class Trace:
    """The windows of a run, each with the commands that are kept.

    Attributes:
        mode: one of `TRACES`.
        windows: in order of time; empty if the mode is "off".
    """

    mode: str = "off"
    windows: list[TracedWindow] = field(default_factory=list)

    def add(
        self,
        records: Sequence[CommandRecord],
        samples: Mapping[str, NDArray[np.void]],
        *,
        window_ns: tuple[int, int],
        offset_ns: int = 0,
        first: Mapping[str, int],
        whole: bool,
    ) -> None:
        """Add a window.

        Args:
            records: of each queue of `samples`, in that order; empty: nothing was recorded.
            samples: of that window only, by queue; ns since the start of its own run.
            window_ns: start and end of the measured window, ns since the start of its own run.
            offset_ns: when that start is, ns since the start of this run.
            first: see `TracedWindow`.
            whole: whether to keep everything, whatever the mode is.
        """
        if self.mode == "off" or not records:
            return
        by_queue = dict(zip(samples, records, strict=True))
        launched = {name: len(one.commands) + one.lost for name, one in by_queue.items()}
        if self.mode == "worst" and not whole:
            spans = worth_keeping(list(samples.values()), window_ns)
            by_queue = {name: within(one, spans) for name, one in by_queue.items()}
        self.windows.append(
            TracedWindow(
                start_ns=window_ns[0] + offset_ns,
                end_ns=window_ns[1] + offset_ns,
                first=dict(first),
                records={name: _moved(one, offset_ns) for name, one in by_queue.items()},
                launched=launched,
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Return in JSON's types what is kept, and how much of it was dropped."""
        names = self.windows[0].records if self.windows else ()
        return {
            "mode": self.mode,
            "queues": {
                name: {
                    "launched": sum(window.launched[name] for window in self.windows),
                    "kept": sum(len(window.records[name].commands) for window in self.windows),
                    "lost": sum(window.records[name].lost for window in self.windows),
                }
                for name in names
            },
        }


def worth_keeping(
    samples: Sequence[NDArray[np.void]], window_ns: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the spans of time to keep of a window.

    Args:
        samples: of each queue in that window.
        window_ns: start and end of the measured window.

    Returns:
        int64[n, 2], ns, ascending and disjoint.
    """
    spans = [(window_ns[0], window_ns[0] + S)]
    for of_queue in samples:
        ends = np.where(of_queue["flags"] & CENSORED, FOREVER, of_queue["completed_ns"])
        worst = max(WORST_LEAST, int(np.ceil(WORST_SHARE * len(of_queue))))
        order = np.argsort(of_queue["scheduled_ns"] - ends, kind="stable")[:worst]
        spans += zip(of_queue["scheduled_ns"][order].tolist(), ends[order].tolist(), strict=True)
    united: list[tuple[int, int]] = []
    for start_ns, end_ns in sorted(spans):
        if united and start_ns <= united[-1][1]:
            united[-1] = united[-1][0], max(united[-1][1], end_ns)
        else:
            united.append((start_ns, end_ns))
    return np.array(united, np.int64)


def within(record: CommandRecord, spans: NDArray[np.int64]) -> CommandRecord:
    """Keep the commands that were in flight in one of the spans."""
    commands = record.commands
    over = np.where(commands["completed_ns"] < 0, FOREVER, commands["completed_ns"])
    at = np.searchsorted(spans[:, 1], commands["launched_ns"])
    inside = at < len(spans)
    inside[inside] = spans[at[inside], 0] <= over[inside]
    return dataclasses.replace(record, commands=commands[inside])


def _moved(record: CommandRecord, offset_ns: int) -> CommandRecord:
    if offset_ns == 0:
        return record
    commands, suspensions = record.commands.copy(), record.suspensions.copy()
    for name in ("launched_ns", "began_ns", "ended_ns", "completed_ns"):
        commands[name][commands[name] >= 0] += offset_ns
    suspensions["at_ns"] += offset_ns
    return dataclasses.replace(record, commands=commands, suspensions=suspensions)

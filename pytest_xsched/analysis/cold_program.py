"""Whether a program was cold when its window began: its first requests took far longer.

They compile, choose algorithms and allocate. What arrives meanwhile waits, and the load that the
other requests then met was not the one that was offered. Pure functions of samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.base.units import format_duration
from pytest_xsched.native.binding import DRAIN

SLOWER = 4
"""The first requests count as cold if they took this many times as long as the later ones."""


class ColdStart(NamedTuple):
    """The first requests of a program that was cold.

    Attributes:
        longest_ns: the longest that one of them took.
        usual_ns: the median of the second half of all requests of the window.
        lost_ns: how much longer they took together than the usual time.
    """

    longest_ns: int
    usual_ns: int
    lost_ns: int


def cold_start_of(samples: NDArray[np.void]) -> ColdStart | None:
    """Return how cold a program was; None: it was not.

    A request takes the time from the moment at which it could have begun: from its arrival, or from
    the end of the previous request if that came later and was waited for.

    Args:
        samples: SAMPLE[n], of one start of the program, in order of arrival, warm-up included.
    """
    done = samples[samples["completed_ns"] >= 0]
    if len(done) < 2:
        return None
    free_ns = np.concatenate(([0], done["completed_ns"][:-1]))
    free_ns[free_ns > done["launched_ns"]] = 0  # it did not wait for the end of the previous one
    taken_ns = done["completed_ns"] - np.maximum(done["scheduled_ns"], free_ns)
    usual_ns = int(np.median(taken_ns[len(taken_ns) // 2 :]))
    slow = taken_ns > SLOWER * usual_ns
    first_ns = taken_ns[: int(np.argmin(slow))]  # up to the first that was not slow
    if len(first_ns) == 0:
        return None
    lost_ns = int(first_ns.sum()) - usual_ns * len(first_ns)
    return ColdStart(int(first_ns.max()), usual_ns, lost_ns)


def cold_program(queue: QueueResult) -> str:
    """Describe that the program of a queue was cold, and lost more than a period by that.

    Returns:
        The start of a sentence; '' if it was not cold, or the queue is no open loop of a program.
    """
    if queue.workload.own_program is None or queue.offered is None or queue.n == 0:
        return ""
    arrived = queue.samples[(queue.samples["flags"] & DRAIN) == 0]
    ends = np.array(queue.windows_ns)[:, 1]
    of_window = np.searchsorted(ends, arrived["scheduled_ns"], side="right")
    found = [cold_start_of(arrived[of_window == index]) for index in range(len(ends))]
    worst = max((cold for cold in found if cold), key=lambda cold: cold.lost_ns, default=None)
    if worst is None or worst.lost_ns <= 1e9 / queue.offered.value:
        return ""
    return (
        f"the program of {queue.name} was cold: its first requests took up to "
        f"{format_duration(worst.longest_ns)}, the later ones {format_duration(worst.usual_ns)}"
    )

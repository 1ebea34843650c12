"""The exceptions of pytest-xsched.

Each class says whose fault it is: the scenario's, the device's, the run's or the measured system's.
All of them survive pickling, so that they can cross a process boundary with their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "DeviceBusy",
    "DeviceError",
    "DeviceUnavailable",
    "ForkedError",
    "IncomparableError",
    "InvalidRun",
    "MissingExtra",
    "NotBuilt",
    "QosAssertionError",
    "QueueTimeout",
    "ScenarioError",
    "SchedulerInactive",
    "WorkerCrashed",
    "WorkerHung",
    "XSchedError",
    "XSchedWarning",
]


class XSchedError(Exception):
    """Base of every error that pytest-xsched raises on purpose."""


class ScenarioError(XSchedError, ValueError):
    """A value given by the user is wrong; the message names it and where it came from."""


class DeviceError(XSchedError):
    """A call of a device failed.

    Args:
        message: one sentence with the value that was refused.
        call: the call that failed, as in ``"cpu.launch"``.
        code: the driver's own code or errno; 0 if there is none.
    """

    def __init__(self, message: str = "", *, call: str = "", code: int = 0) -> None:
        super().__init__(message)
        self.call = call
        self.code = code


class DeviceUnavailable(DeviceError):
    """The device asked for does not exist here."""


class DeviceBusy(DeviceError):
    """Another process measured on the GPU, for longer than was to be waited."""


class ForkedError(XSchedError):
    """A device or a run was used in a forked child of the process that opened it."""


class WorkerCrashed(XSchedError):
    """A worker process ended without a result, or did not end.

    Args:
        message: how it ended, and the last it wrote.
        returncode: its exit status; negative: the signal that ended it.
    """

    def __init__(self, message: str = "", *, returncode: int = 0) -> None:
        super().__init__(message)
        self.returncode = returncode


class WorkerHung(WorkerCrashed):
    """A call in a worker process did not return in time, so the process was killed."""


class InvalidRun(XSchedError):
    """A run lacks the evidence that its figures mean anything: neither pass nor fail.

    Args:
        message: what is missing.
        run: the run, for the report.
        starved: whether all that is missing is what a queue did not get while others ran, which
            is the scheduler's doing.
    """

    def __init__(self, message: str = "", *, run: Any = None, starved: bool = False) -> None:
        super().__init__(message)
        self.run = run
        self.starved = starved


class SchedulerInactive(InvalidRun):
    """The scheduler under test was not in effect, so nothing was measured that concerns it."""


class IncomparableError(XSchedError):
    """Two runs differ in more than the scheduler, so that no ratio of the two means anything.

    Args:
        message: the fields that differ, with both values.
        differences: the same as data, `likeness.Difference`.
    """

    def __init__(self, message: str = "", *, differences: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences

    @classmethod
    def of(cls, differences: Sequence[Any]) -> IncomparableError:
        """Make the error about some differences."""
        fields = "; ".join(map(str, differences))
        return cls(
            "the runs differ in more than the scheduler, so that no ratio of them means "
            f"anything: {fields}",
            differences=tuple(differences),
        )


class QueueTimeout(XSchedError, TimeoutError):
    """A request of a live queue did not complete within the given time."""


class NotBuilt(XSchedError, ImportError):
    """The native module is missing or was built from other sources."""


class MissingExtra(XSchedError, ImportError):
    """An optional package is not installed; the message shows the command that installs it."""


class XSchedWarning(UserWarning):
    """A scenario can be run, but not as its author will have meant it."""


class QosAssertionError(XSchedError, AssertionError):
    """A target was missed.

    Args:
        message: what was asserted, what was measured, and how sure that is.
        verdict: the verdict behind the message, as data.
    """

    def __init__(self, message: str = "", *, verdict: Any = None) -> None:
        super().__init__(message)
        self.verdict = verdict

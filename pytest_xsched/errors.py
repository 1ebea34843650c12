"""The exceptions of pytest-xsched.

The class of an error shows where the fault is: in the scenario, the device, the run or the measured
system. All of them can be pickled, so they cross a process boundary with their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "DeviceBusy",
    "DeviceError",
    "DeviceUnavailable",
    "ForkedError",
    "HostError",
    "IncomparableError",
    "InvalidRun",
    "MissingExtra",
    "NotBuilt",
    "QosAssertionError",
    "QueueTimeout",
    "ScenarioError",
    "SchedulerInactive",
    "TargetMissed",
    "TargetUndecided",
    "WorkerCrashed",
    "WorkerHung",
    "XSchedError",
    "XSchedWarning",
]


class XSchedError(Exception):
    """Base of every error that pytest-xsched raises on purpose."""


class ScenarioError(XSchedError, ValueError):
    """A value of the user is wrong; the message has the value and its origin."""


class DeviceError(XSchedError):
    """A call of a device failed.

    Args:
        message: one sentence with the rejected value.
        call: the call that failed, as in ``"cpu.launch"``.
        code: the code of the driver, or errno; 0 if there is none.
    """

    def __init__(self, message: str = "", *, call: str = "", code: int = 0) -> None:
        super().__init__(message)
        self.call = call
        self.code = code


class DeviceUnavailable(DeviceError):
    """The requested device does not exist on this machine."""


class DeviceBusy(DeviceError):
    """Another process measured on the GPU for longer than the lock time-out."""


class ForkedError(XSchedError):
    """A device or a run was used in a forked child of the process that opened it."""


class HostError(XSchedError):
    """Another machine cannot be used: it was not reached, has another version, or was lost."""


class WorkerCrashed(XSchedError):
    """A worker process ended without a result, or did not end.

    Args:
        message: how it ended, and its last output.
        returncode: its exit status; negative: the signal that ended it.
    """

    def __init__(self, message: str = "", *, returncode: int = 0) -> None:
        super().__init__(message)
        self.returncode = returncode


class WorkerHung(WorkerCrashed):
    """A call in a worker process did not return in time, so the process was killed.

    Attributes:
        thread: the thread that made the call, if calls of other threads raise this error, too.
    """

    thread: int | None = None


class InvalidRun(XSchedError):
    """A run lacks the evidence that its figures are meaningful: it neither passes nor fails.

    Args:
        message: what is missing.
        run: the run, for the report.
        starved: whether the only missing evidence is work that a queue did not get while others
            ran, because of the scheduler.
    """

    def __init__(self, message: str = "", *, run: Any = None, starved: bool = False) -> None:
        super().__init__(message)
        self.run = run
        self.starved = starved


class SchedulerInactive(InvalidRun):
    """The scheduler under test was not active, so the run measured something else."""


class IncomparableError(XSchedError):
    """Two runs differ in more than the scheduler, so their ratios are meaningless.

    Args:
        message: the fields that differ, with both values.
        differences: the same as data, `comparability.Difference`.
    """

    def __init__(self, message: str = "", *, differences: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences

    @classmethod
    def of(cls, differences: Sequence[Any]) -> IncomparableError:
        """Return the error for some differences."""
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
    """A scenario can be run, but probably does not do what its author intends."""


class QosAssertionError(XSchedError, AssertionError):
    """A target was not met: `TargetMissed` or `TargetUndecided`.

    Args:
        message: the target, the measured value, and its confidence.
        verdict: the verdict as data.
    """

    def __init__(self, message: str = "", *, verdict: Any = None) -> None:
        super().__init__(message)
        self.verdict = verdict


class TargetMissed(QosAssertionError):
    """FAIL: what was measured contradicts a target."""


class TargetUndecided(QosAssertionError):
    """UNDECIDED: too little was measured to tell whether a target is met; it is no miss."""

"""Which duration a run has: command line > what a test passes > marker > ini."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_xsched.base.units import DurationLike, parse_duration
from pytest_xsched.errors import ScenarioError

RUN_UNITS = ("s", "min")
"""What a bare number may mean as the duration of a run."""

if TYPE_CHECKING:
    from pytest_xsched.session.settings import Settings


def chosen_duration_ns(
    settings: Settings, overrides: Mapping[str, Any], duration: DurationLike | None
) -> int:
    """Return the duration of a run in ns.

    Args:
        settings: of the command line and the ini file.
        overrides: of the marker.
        duration: of the test.

    Raises:
        ScenarioError: none is named, or it is no time; says where it came from.
    """
    if settings.duration is not None:
        return _run_ns(settings.duration, "--xsched-duration")
    if duration is not None:
        return _run_ns(duration, "duration")
    if "duration" in overrides:
        return _run_ns(overrides["duration"], "marker xsched: duration")
    if settings.default_duration is not None:
        return _run_ns(settings.default_duration, "ini option xsched_duration")
    raise ScenarioError('run() needs a duration; write duration="60s"')


def _run_ns(value: DurationLike, what: str) -> int:
    return parse_duration(value, what=what, units=RUN_UNITS)

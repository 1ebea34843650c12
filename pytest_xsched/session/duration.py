"""Which duration a run has: command line > what a test passes > marker > its load > ini."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_xsched.base.units import DurationLike, format_duration, parse_duration
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import length_ns
from pytest_xsched.scenario.queue_spec import QueueSpec

RUN_UNITS = ("s", "min")
"""What a bare number may mean as the duration of a run."""

if TYPE_CHECKING:
    from pytest_xsched.session.settings import Settings


def chosen_duration_ns(
    settings: Settings,
    overrides: Mapping[str, Any],
    duration: DurationLike | None,
    queues: Iterable[QueueSpec],
) -> int:
    """Return the duration of a run in ns.

    A load that has a length, such as stages, is the duration where neither the test nor its marker
    names one, and then the command line only shortens it.

    Args:
        settings: of the command line and the ini file.
        overrides: of the marker.
        duration: of the test.
        queues: of the run.

    Raises:
        ScenarioError: none is named, or it is no time; says where it came from.
    """
    named = duration is not None or "duration" in overrides
    lengths = [length_ns(queue.arrivals) for queue in queues if not named]
    longest_ns = max((length for length in lengths if length is not None), default=None)
    if settings.duration is not None:
        option_ns = _run_ns(settings.duration, "--xsched-duration")
        return option_ns if longest_ns is None else min(option_ns, longest_ns)
    if duration is not None:
        return _run_ns(duration, "duration")
    if "duration" in overrides:
        return _run_ns(overrides["duration"], "marker xsched: duration")
    if longest_ns is not None:
        return longest_ns
    if settings.default_duration is not None:
        return _run_ns(settings.default_duration, "ini option xsched_duration")
    raise ScenarioError('run() needs a duration; write duration="60s"')


def _run_ns(value: DurationLike, what: str) -> int:
    return parse_duration(value, what=what, units=RUN_UNITS)


def chosen_least_ns(settings: Settings, at_least: DurationLike | None, duration_ns: int) -> int:
    """Return the shortest time to measure, in ns; 0 where none is named.

    Only --xsched-duration may be shorter. The verdicts then say so; see `Run`.

    Args:
        settings: of the command line and the ini file.
        at_least: of the test.
        duration_ns: of the run.

    Raises:
        ScenarioError: it is no time, or longer than the duration of the test.
    """
    if at_least is None:
        return 0
    least_ns = parse_duration(at_least, what="at_least")
    if least_ns > duration_ns and settings.duration is None:
        raise ScenarioError(
            f"at_least {format_duration(least_ns)} is longer than the duration "
            f"{format_duration(duration_ns)}, which is the most that is measured"
        )
    return least_ns

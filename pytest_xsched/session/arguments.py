"""Arguments that are easily confused: each wrong one is answered with what was probably meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_xsched.base.constants import SCHEDULERS
from pytest_xsched.base.policies import POLICIES, XSCHED_POLICIES
from pytest_xsched.base.units import DurationLike, format_duration, one_line, parse_duration
from pytest_xsched.base.validation import one_of
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import clipped, length_ns
from pytest_xsched.scenario.mps_settings import MPS
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario, default_warmup_ns
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.workload import Workload
from pytest_xsched.scenario.xsched_settings import XSched
from pytest_xsched.session.duration import chosen_duration_ns

if TYPE_CHECKING:
    from pytest_xsched.session.settings import Settings


class Chosen(NamedTuple):
    """Settings of a run that a marker can set."""

    scheduler: str
    policy: str
    duration: int
    device: str
    seed: int
    host: str | None


def require_queues(what: str, queues: Sequence[object]) -> None:
    """Check that all positional arguments of a function are queues."""
    for given in queues:
        if not isinstance(given, QueueSpec):
            raise ScenarioError(
                f"{what}(): {one_line(given)} is not a queue; {_queue_advice(what, given)}"
            )


def _queue_advice(what: str, given: object) -> str:
    if isinstance(given, Mapping):
        return f"write {what}(*queues.values(), ...)"
    if isinstance(given, Workload):
        return f'write xsched.queue("high", {given.label})'
    if isinstance(given, str):
        try:
            parse_duration(given, what=what)
        except ScenarioError:
            return f'write xsched.queue("{given}", spin("1ms"))'
        return f'write duration="{given}"'
    if callable(given) and hasattr(given, "__name__"):
        return f'make it with xsched.queue("high", model({given.__name__}))'
    if isinstance(given, Iterable) and not hasattr(given, "scenario"):
        return f"write {what}(*queues, ...), with a star"
    return 'make it with xsched.queue("high", spin("1ms"))'


def require_changes(what: str, changes: object) -> tuple[Change, ...]:
    """Return changes as a tuple, after checking that they are a list of such."""
    if isinstance(changes, (str, Change)) or not isinstance(changes, Iterable):
        raise ScenarioError(
            f"{what}(): changes {one_line(changes)} are not a list; write "
            'changes=[at("2s", "low", priority=20)]'
        )
    found = tuple(changes)
    for change in found:
        if not isinstance(change, Change):
            raise ScenarioError(
                f"{what}(): {one_line(change)} in changes is not a change; write "
                'at("2s", "low", priority=20)'
            )
    return found


def require_scheduler(given: object, what: str = "scheduler") -> None:
    """Check the name of a scheduler."""
    if isinstance(given, (XSched, MPS)) or given in SCHEDULERS:
        return
    advice = ""
    if given is XSched:
        advice = "; write XSched()"
    elif given is MPS:
        advice = "; write MPS()"
    elif isinstance(given, str) and given.lower() in ("mps", "time slices", "time_slicing"):
        advice = '; write "mps"' if given.lower() == "mps" else '; write "time-slicing"'
    elif given in POLICIES:
        advice = f'; {given!r} is a policy of "builtin": write policy={given!r}'
    elif given in XSCHED_POLICIES:
        advice = f"; {given!r} is a policy of XSched: write XSched(policy={given!r})"
    elif isinstance(given, (list, tuple)):
        advice = "; xsched.compare() measures several"
    known = ", ".join(SCHEDULERS)
    raise ScenarioError(f"{what} {one_line(given)} is unknown; known: {known}{advice}")


def require_policy(given: object) -> None:
    """Check the name of a policy of scheduler "builtin"."""
    if given in XSCHED_POLICIES and given not in POLICIES:
        raise ScenarioError(
            f"policy {given!r} is one of XSched; write scheduler=XSched(policy={given!r})"
        )
    one_of("policy", given, POLICIES)


def require_mask(name: str, mask: object) -> tuple[int, ...]:
    """Return the numbers of multiprocessors as a tuple; `QueueSpec` checks each."""
    if isinstance(mask, str) or not isinstance(mask, Iterable):
        raise ScenarioError(
            f"queue {name!r}: cu_mask {one_line(mask)} is not a list of numbers; write [0, 1] or "
            "range(0, 4)"
        )
    return tuple(mask)


def refuse_hang(xsched: XSched, queues: Iterable[QueueSpec]) -> None:
    """Refuse queues that XSched would suspend for ever.

    Here, not in Scenario: `run_scenario` runs what hangs, too, so that a hang can be shown.
    """
    for queue in queues:
        if xsched.policy == "kedf" and queue.deadline_ns is None:
            raise ScenarioError(
                f"queue {queue.name!r}: XSched's K-EDF can suspend a queue without a deadline "
                'for ever; write deadline="1s"'
            )


def ns_or(value: DurationLike | None, what: str, default_ns: int) -> int:
    """Read a time in ns, 0 included, or return the default."""
    return default_ns if value is None else parse_duration(value, what=what, allow_zero=True)


def ns_or_none(value: DurationLike | None, what: str) -> int | None:
    """Read a time in ns; None: not set."""
    return None if value is None else parse_duration(value, what=what)


def marker_text(overrides: Mapping[str, object]) -> str:
    """Return the marker of a test as it is written."""
    values = ", ".join(f"{key}={value!r}" for key, value in overrides.items())
    return f"@pytest.mark.xsched({values})" if overrides else "no marker xsched"


def setting_text(name: str, value: object) -> str:
    """Return the value of a setting that a marker can set, a duration in units."""
    return format_duration(value) if name == "duration" else repr(value)  # type: ignore[arg-type]


def clip_replays(
    queues: tuple[QueueSpec, ...], duration_ns: int, option: str
) -> tuple[tuple[QueueSpec, ...], str]:
    """Leave out what replays have after the end of a run, and say so.

    Args:
        queues: of a run.
        duration_ns: of the run.
        option: value of --xsched-duration, which shortened it.
    """
    kept, said = [], []
    for queue in queues:
        arrivals = clipped(queue.arrivals, duration_ns)
        if arrivals is queue.arrivals:
            kept.append(queue)
            continue
        kept.append(dataclasses.replace(queue, arrivals=arrivals))
        whole, left = (len(one.times_ns) for one in (queue.arrivals, arrivals))  # type: ignore[union-attr]  # of replays
        said.append(f"{whole - left} of the {whole} requests of {queue.name}")
    if not said:
        return queues, ""
    return tuple(kept), f"--xsched-duration={option} cut {' and '.join(said)} off the replay"


def _said_of_lengths(queues: Iterable[QueueSpec], duration_ns: int) -> list[str]:
    """Describe the loads that are longer or shorter than the run."""
    said = []
    for queue in queues:
        whole_ns = length_ns(queue.arrivals)
        if whole_ns is None or whole_ns == duration_ns:
            continue
        where = "after" if whole_ns > duration_ns else "before"
        said.append(
            f"the load of {queue.name} takes {format_duration(whole_ns)}, and ends {where} the "
            f"run, which takes {format_duration(duration_ns)}"
        )
    return said


def marker_check(
    chosen: Callable[[], Chosen],
    read_overrides: Callable[[], Mapping[str, Any]],
    read_origin: Callable[[], str],
) -> Callable[[], None]:
    """Return a check that the test which is running has the settings of the one that measured.

    Tests may share a run. It is measured once, with the marker of the test that came first.

    Args:
        chosen: returns the settings of the run under the marker in effect.
        read_overrides: returns the settings of that marker.
        read_origin: returns the node id of the test that is running.
    """
    overrides, origin, settings = read_overrides(), read_origin(), chosen()

    def check() -> None:
        __tracebackhide__ = True
        if read_overrides() == overrides:
            return
        now = chosen()
        other = [
            f"{name} {setting_text(name, there)}, not {setting_text(name, here)}"
            for name, there, here in zip(settings._fields, settings, now, strict=True)
            if there != here
        ]
        if other:
            raise ScenarioError(
                f"{read_origin()} has {marker_text(read_overrides())}, but its run was measured "
                f"for {origin} with {marker_text(overrides)}: {' and '.join(other)}. Tests "
                "that share a run need one marker: put it on the module or the class, or "
                "measure another run for this test"
            )

    return check


def scenario_of(
    settings: Settings,
    overrides: Mapping[str, Any],
    queues: Sequence[QueueSpec],
    duration: DurationLike | None,
    warmup: DurationLike | None,
    describe: Callable[..., Scenario],
) -> tuple[Scenario, str]:
    """Return the scenario of a run; where only --xsched-duration makes it impossible, say so.

    Args:
        settings: of the command line and the ini file.
        overrides: of the marker.
        queues: of the test.
        duration: of the test.
        warmup: of the test; None: the default for the duration.
        describe: returns the scenario with `queues`, a `duration_ns` and a `warmup_ns`.

    Returns:
        The scenario, and a sentence about loads that do not fit its duration, or "".

    Raises:
        ScenarioError: `describe` does not accept the duration.
    """

    def of(settings: Settings) -> tuple[Scenario, str]:
        duration_ns = chosen_duration_ns(settings, overrides, duration, queues)
        warmup_ns = ns_or(warmup, "warmup", default_warmup_ns(duration_ns))
        fitting, said = tuple(queues), _said_of_lengths(queues, duration_ns)
        if settings.duration is not None:
            fitting, remark = clip_replays(fitting, duration_ns, settings.duration)
            said += [remark] if remark else []
        scenario = describe(queues=fitting, duration_ns=duration_ns, warmup_ns=warmup_ns)
        return scenario, "; ".join(said)

    try:
        return of(settings)
    except ScenarioError as error:
        if settings.duration is None:
            raise
        try:
            of(dataclasses.replace(settings, duration=None))
        except ScenarioError:
            raise error from None
        raise ScenarioError(
            f"{error}; that is the duration of --xsched-duration={settings.duration}, which "
            "shortens every run"
        ) from None

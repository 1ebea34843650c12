"""Arguments that are easily confused: each wrong one is answered with what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_xsched.base.constants import SCHEDULERS
from pytest_xsched.base.policies import POLICIES, XSCHED_POLICIES
from pytest_xsched.base.units import DurationLike, one_line, parse_duration
from pytest_xsched.base.validation import one_of
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.mps_settings import MPS
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.timed_changes import Change
from pytest_xsched.scenario.workload import Workload
from pytest_xsched.scenario.xsched_settings import XSched


def require_queues(what: str, queues: Sequence[object]) -> None:
    """Check that all positional arguments of a function are queues, and that there is one."""
    if not queues:
        raise ScenarioError(f"{what}(): no queue is given; write {what}(high, low, ...)")
    for given in queues:
        if not isinstance(given, QueueSpec):
            raise ScenarioError(
                f"{what}(): {_shown(given)} is not a queue; {_queue_advice(what, given)}"
            )


def _shown(given: object) -> str:
    """Return a value as one line; of a list or tuple of queues only their names."""
    if isinstance(given, (list, tuple)) and given:
        names = [one.name for one in given if isinstance(one, QueueSpec)]
        if len(names) == len(given):
            return f"the {type(given).__name__} of the queues {', '.join(names)}"
    return one_line(given)


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

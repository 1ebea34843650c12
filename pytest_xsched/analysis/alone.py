"""Whether a run measured the same queue alone, so that a slowdown can be computed from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_xsched.base.units import one_line
from pytest_xsched.errors import ScenarioError

if TYPE_CHECKING:
    from pytest_xsched.analysis.measured_queue import MeasuredQueue

_SAME_ALONE = ("arrivals", "threshold", "batch_size", "sm_share", "cu_mask")
"""Fields of a queue that make it faster or slower without any other queue."""


def require_alone(queue: MeasuredQueue, alone: Any) -> None:
    """Raise ScenarioError unless `alone` is the same queue in a run without other queues."""
    if not hasattr(alone, "require_alone"):
        raise ScenarioError(f"alone={alone!r} is not a queue of a run; write alone=run.high")
    if queue.latency != alone.latency:
        raise ScenarioError(
            f"{queue.label} is compared with {alone.label}; write alone=run.{queue.label}"
        )
    mine, its = ((q.workload, q._run.device_kind) for q in (queue, alone))
    if mine != its:
        raise ScenarioError(
            f"{queue.name} and {alone.name} are not the same work on one kind of device: "
            f"{mine[0].label} on {mine[1]}, {its[0].label} on {its[1]}"
        )
    others = ", ".join(name for name in alone._run.queues if name != alone.name)
    if others or alone._run is queue._run:
        there = f"with {others} in it" if others else "that is to be judged"
        raise ScenarioError(
            f"{queue.name}: alone is of a run {there}; it takes another, of this queue only"
        )
    for name in _SAME_ALONE:
        own, other = (getattr(one.spec, name) for one in (queue, alone))
        if own != other:
            raise ScenarioError(
                f"{queue.name}: alone has {name} {one_line(other)}, not {one_line(own)}; "
                "measure the queue alone under the same load, with the same settings"
            )
    here, alone_there = queue._run.scenario, alone._run.scenario
    if (here.cpu, here.sim) != (alone_there.cpu, alone_there.sim):
        raise ScenarioError(f"{queue.name}: alone has another device model (cpu= or sim=)")
    if any(change.suspended for change in alone_there.changes):
        raise ScenarioError(
            f"{queue.name}: changes= held {alone.name} in the run of alone, so it is no measure "
            "of what the queue does alone"
        )

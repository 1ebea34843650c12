"""Divide the multiprocessors of a device among queues that ask for some of their own."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.queue_spec import QueueSpec


def partition(queues: Sequence[QueueSpec], *, units: int, step: int) -> list[tuple[int, ...]]:
    """Divide a device's multiprocessors among queues.

    A queue with a `sm_share` gets that share of them, rounded to whole groups and at least one
    group, and no other queue uses these. A queue with a `cu_mask` gets the multiprocessors of its
    mask. All other queues share the rest. If no queue asks for any, all queues use all of them.

    Args:
        queues: of one scenario, on one device.
        units: number of multiprocessors that the device can assign; 0: it cannot assign any.
        step: multiprocessors in a group; only whole groups are assigned.

    Returns:
        The numbers of each queue's multiprocessors, from 0, ascending; empty: all of the device.

    Raises:
        ScenarioError: the device cannot assign any, or too few are left for a queue.
    """
    bound = [queue for queue in queues if queue.sm_share is not None or queue.cu_mask is not None]
    if not bound:
        return [() for _ in queues]
    if units == 0:
        raise ScenarioError(
            f"queue {bound[0].name!r} asks for multiprocessors of its own, which this device "
            "cannot assign; use HIP, or CUDA with driver 550 or later"
        )
    free = set(range(units))
    for queue in bound:
        free -= set(queue.cu_mask or ())
    given: dict[str, tuple[int, ...]] = {}
    for queue in bound:
        given[queue.name] = queue.cu_mask or _take(queue, free, units, step)
    for queue in queues:
        if queue not in bound:
            if not free:
                raise ScenarioError(
                    f"no multiprocessor is left for queue {queue.name!r}; "
                    "lower the sm_share or cu_mask of the other queues"
                )
            given[queue.name] = tuple(sorted(free))
    return [given[queue.name] for queue in queues]


def _take(queue: QueueSpec, free: set[int], units: int, step: int) -> tuple[int, ...]:
    """Take the first free groups out of `free`, and return their multiprocessors."""
    assert queue.sm_share is not None
    wanted = max(1, round(queue.sm_share * units / step))
    groups = [
        group
        for first in range(0, units, step)
        if free.issuperset(group := range(first, min(first + step, units)))
    ]
    if len(groups) < wanted:
        raise ScenarioError(
            f"queue {queue.name!r}: sm_share {queue.sm_share} is {wanted * step} of {units} "
            f"multiprocessors, but only {len(groups) * step} are left; lower it"
        )
    taken = tuple(unit for group in groups[:wanted] for unit in group)
    free.difference_update(taken)
    return taken

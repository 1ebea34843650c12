"""Which multiprocessors each queue of a scenario may use, where one wants some for itself."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.queue_spec import QueueSpec


def partition(queues: Sequence[QueueSpec], *, units: int, step: int) -> list[tuple[int, ...]]:
    """Divide a device's multiprocessors among queues.

    A queue with a `sm_share` gets that share of them, to the nearest group and at least one, and
    nobody else does; one with a `cu_mask` gets those. All others share what is left. If no queue
    asks for any, nobody is bound.

    Args:
        queues: of one scenario.
        units: multiprocessors that can be given, numbered from 0; 0: none can.
        step: they are given in groups of so many.

    Returns:
        The numbers of each queue's multiprocessors, ascending; empty: all of the device.

    Raises:
        ScenarioError: the device gives none, or too few are left for somebody.
    """
    bound = [queue for queue in queues if queue.sm_share is not None or queue.cu_mask is not None]
    if not bound:
        return [() for _ in queues]
    if units == 0:
        raise ScenarioError(
            f"queue {bound[0].name!r} wants multiprocessors of its own, which this device and its "
            "driver cannot give: that takes HIP, or CUDA with driver 550 or later"
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
                raise ScenarioError(f"no multiprocessor is left for queue {queue.name!r}")
            given[queue.name] = tuple(sorted(free))
    return [given[queue.name] for queue in queues]


def _take(queue: QueueSpec, free: set[int], units: int, step: int) -> tuple[int, ...]:
    """Take whole groups of free ones, the first there are."""
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
            f"multiprocessors, and {len(groups) * step} are left"
        )
    taken = tuple(unit for group in groups[:wanted] for unit in group)
    free.difference_update(taken)
    return taken

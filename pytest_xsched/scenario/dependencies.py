"""Queues whose requests start after those of another queue: pipelines, as of models.

Request n of a queue with ``after="first"`` arrives with request n of the queue "first", and starts
when that one is complete. So its latency is that of the pipeline up to its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.queue_spec import QueueSpec


def place_dependents(queues: Sequence[QueueSpec]) -> tuple[QueueSpec, ...]:
    """Return the queues, those that start after another one with the load of the first of all.

    Raises:
        ScenarioError: a queue names one that is not there or that waits for it, or the two cannot
            have the same requests.
    """
    known = {queue.name: queue for queue in queues}
    return tuple(queue if queue.after is None else _placed(queue, known) for queue in queues)


def pipeline_of(queue: QueueSpec, queues: Sequence[QueueSpec]) -> list[QueueSpec]:
    """Return a queue, the one that it starts after, the one before that, and so on.

    Args:
        queue: one of `queues`; the last one that is returned begins its pipeline.
        queues: of a scenario.
    """
    known = {one.name: one for one in queues}
    found = [queue]
    while (name := found[-1].after) is not None:
        found.append(known[name])
    return found


def _placed(queue: QueueSpec, known: Mapping[str, QueueSpec]) -> QueueSpec:
    what = f"queue {queue.name!r}: after={queue.after!r}"
    path = [queue]
    while (name := path[-1].after) is not None:
        if name not in known:
            raise ScenarioError(
                f"{what}: there is no queue {name!r}; known: {', '.join(sorted(known))}"
            )
        path.append(known[name])
        if known[name] in path[:-1]:
            circle = " after ".join(repr(one.name) for one in path[path.index(known[name]) :])
            raise ScenarioError(f"{what}: no request of these queues could ever start: {circle}")
    first = path[-1]
    for one in (queue, path[1]):
        if one.workload.own_program is not None:
            raise ScenarioError(
                f"{what}: the requests of {one.name!r} are in a program or a process of its own; "
                "only queues whose requests the runner launches can wait for each other"
            )
    if isinstance(first.arrivals, Closed):
        raise ScenarioError(
            f"{what}: {first.name!r} is a closed loop, which has no arrivals to begin a pipeline "
            f'with; give {first.name!r} a rate="20/s" or arrivals=poisson("20/s")'
        )
    if queue.arrivals not in (Closed(), first.arrivals):
        raise ScenarioError(
            f"{what}: its requests arrive with those of {first.name!r}, so it has no load of its "
            "own; leave rate, arrivals, concurrency and think out"
        )
    return replace(queue, arrivals=first.arrivals)

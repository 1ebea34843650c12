"""Warn of scenarios that AMD's hardware queues cannot run as intended.

HIP has three classes of stream priority, and puts the streams of a class on a few hardware queues
(ROCm's CLR: GPU_MAX_HW_QUEUES, by default 4 for each class, process and device). If there are more
streams, two share a hardware queue, and a short kernel of one waits for a long kernel of the other.
A run then measures neither the scheduler nor the priorities of the device. A stream with a mask of
compute units has a hardware queue of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario

HARDWARE_QUEUES = 4
VARIABLE = "GPU_MAX_HW_QUEUES"

_CLASSES = {1: "high", 0: "normal", -1: "low"}


def hardware_queues(environment: Mapping[str, str]) -> int:
    """Return the number of hardware queues of a class: the variable if it is above 0, else 4."""
    value = environment.get(VARIABLE, "").strip()
    return int(value) if value.isdecimal() and int(value) > 0 else HARDWARE_QUEUES


def stream_warnings(scenario: Scenario, queues_of_a_class: int = HARDWARE_QUEUES) -> list[str]:
    """Return one sentence for each thing that streams on "hip" cannot do; none for other devices.

    Args:
        scenario: what is to be run.
        queues_of_a_class: hardware queues of each class, at least 1; see `hardware_queues`.
    """
    if scenario.device_kind != "hip":
        return []
    sentences = []
    for name in scenario.devices:
        queues = scenario.queues_on(name)
        if all(queue.sm_share is None and queue.cu_mask is None for queue in queues):
            sentences += _of_a_device(scenario, queues, queues_of_a_class)
    return sentences


def _of_a_device(scenario: Scenario, queues: Sequence[QueueSpec], most: int) -> list[str]:
    classes: dict[int, list[int]] = {}
    for queue in queues:
        level = scenario.stream_priority_of(queue, min(_CLASSES), max(_CLASSES))
        classes.setdefault(level, []).append(queue.priority)
    sentences = []
    for level, priorities in sorted(classes.items(), reverse=True):
        if len(priorities) > most:
            sentences.append(
                f"{len(priorities)} queues have streams of {_CLASSES[level]} priority, and HIP has "
                f"{most} hardware queues for them: some share one and wait for each other, "
                f"whatever the scheduler does; use fewer queues, or raise {VARIABLE}"
            )
        if scenario.scheduler == "priority" and len(set(priorities)) > 1:
            named = ", ".join(str(priority) for priority in sorted(set(priorities), reverse=True))
            sentences.append(
                f"queues of priority {named} all have streams of {_CLASSES[level]} priority: HIP "
                "has three levels, so scheduler 'priority' cannot tell them apart"
            )
    return sentences

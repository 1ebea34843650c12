"""What a scenario asks of AMD's hardware queues that they cannot give.

HIP has three classes of stream priority, and puts the streams of a class on a few hardware queues
(ROCm's CLR: GPU_MAX_HW_QUEUES, by default 4, of each class, process and device). Beyond that two
streams share one, where a short kernel of the one waits behind a long one of the other: what is
measured then is neither the scheduler nor the device's priority.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_xsched.model import Scenario

HARDWARE_QUEUES = 4
VARIABLE = "GPU_MAX_HW_QUEUES"

_CLASSES = {1: "high", 0: "normal", -1: "low"}


def hardware_queues(environment: Mapping[str, str]) -> int:
    """Give how many hardware queues a class has: the variable, if it is a number above 0."""
    value = environment.get(VARIABLE, "").strip()
    return int(value) if value.isdecimal() and int(value) > 0 else HARDWARE_QUEUES


def stream_warnings(scenario: Scenario, queues_of_a_class: int = HARDWARE_QUEUES) -> list[str]:
    """Say in sentences what streams on "hip" will not do; nothing for other devices.

    Args:
        scenario: the queues and the scheduler.
        queues_of_a_class: hardware queues of each class, at least 1; see `hardware_queues`.
    """
    if scenario.device != "hip":
        return []
    classes: dict[int, list[int]] = {}
    for queue in scenario.queues:
        priority = scenario.stream_priority_of(queue)
        classes.setdefault((priority > 0) - (priority < 0), []).append(priority)
    sentences = []
    for level, priorities in sorted(classes.items(), reverse=True):
        if len(priorities) > queues_of_a_class:
            sentences.append(
                f"{len(priorities)} queues have streams of {_CLASSES[level]} priority, and HIP has "
                f"{queues_of_a_class} hardware queues for them: some share one and wait for each "
                f"other, whatever the scheduler does; use fewer queues, or raise {VARIABLE}"
            )
        if scenario.scheduler == "priority" and len(set(priorities)) > 1:
            named = ", ".join(str(priority) for priority in sorted(set(priorities), reverse=True))
            sentences.append(
                f"queues of priority {named} all have streams of {_CLASSES[level]} priority: HIP "
                "has three levels, above 0, 0 and below 0; scheduler 'priority' cannot tell them "
                "apart"
            )
    return sentences

"""All queues around a late request: what overlaps it, in its own time, and never too much of it."""

from types import SimpleNamespace

import numpy as np

from pytest_xsched.analysis.around import around
from pytest_xsched.analysis.trace import TracedWindow
from pytest_xsched.native.binding import COMMAND_RECORD, SUSPENSION
from pytest_xsched.native.command_record import CommandRecord


def record(commands, suspensions=()):
    """Commands: request, index, launched, began, ended, completed. Suspensions: at, suspended."""
    return CommandRecord(
        commands=np.array([tuple(one) for one in commands], COMMAND_RECORD),
        suspensions=np.array([(at, on, 0) for at, on in suspensions], SUSPENSION),
    )


def made(high, low, first=0):
    window = TracedWindow(
        start_ns=0,
        end_ns=10**9,
        first={"high": first, "low": first},
        records={"high": high, "low": low},
        launched={"high": 1, "low": 1},
    )
    return SimpleNamespace(trace=SimpleNamespace(windows=[window]))


LATE = SimpleNamespace(index=7, scheduled_ns=1000, latency_ns=800)


def test_what_overlaps_is_there_with_its_times():
    high = record([(2, 0, 1100, 1700, 1790, 1800)])
    low = record([(0, 0, 0, 0, 850, 860), (1, 0, 860, 900, 1700, 1710), (2, 0, 1950, 1950, -1, -1)])
    found = around(made(high, low, first=5), "high", LATE)
    # An eighth of the latency before and after. Requests are named by their samples: 5 before.
    assert (found["start_ns"], found["end_ns"]) == (900, 1900)
    of_high, of_low = found["queues"]
    assert of_high["commands"] == [[7, 1100, 1700, 1790]]
    assert of_low["commands"] == [[6, 860, 900, 1700]]


def test_where_the_device_does_not_tell_a_command_runs_from_launch_to_completion():
    found = around(made(record([(7, 0, 1100, -1, -1, 1800)]), record([])), "high", LATE)
    assert found["queues"][0]["commands"] == [[7, 1100, 1100, 1800]]


def test_where_the_device_does_not_tell_a_command_waits_for_the_one_before_it_in_its_queue():
    """A mark covers the second and the third, so it is not known when the third began."""
    low = record(
        [
            (6, 0, 1000, -1, -1, 1300),
            (7, 0, 1000, -1, -1, 1600),
            (8, 0, 1000, -1, -1, 1600),
            (9, 0, 1000, -1, -1, -1),
        ]
    )
    found = around(made(record([]), low), "high", LATE)["queues"][1]
    assert found["commands"] == [
        [6, 1000, 1000, 1300],
        [7, 1000, 1300, 1600],
        [8, 1000, 1300, 1600],
        [9, 1000, 1600, 1900],
    ]


def test_a_command_that_was_launched_and_never_began_is_not_drawn_as_running():
    """The device tells of low when it began a command; of high it never began one."""
    high, low = record([(7, 0, 1100, -1, -1, -1)]), record([(1, 0, 900, 900, 1900, 1900)])
    assert around(made(high, low), "high", LATE)["queues"][0]["commands"] == [
        [7, 1100, 1900, 1900],
    ]


def test_a_command_that_never_completed_reaches_the_end():
    found = around(made(record([(7, 0, 1100, 1200, -1, -1)]), record([])), "high", LATE)
    assert found["queues"][0]["commands"] == [[7, 1100, 1200, 1900]]


def test_commands_that_touch_in_the_drawing_are_one_slice_and_those_of_others_are_not():
    high = record([(7, 0, 1000, 1000, 1100, 1100), (7, 1, 1101, 1101, 1200, 1200)])
    low = record([(1, 0, 1000, 1000, 1100, 1100), (2, 0, 1100, 1100, 1200, 1200)])
    of_high, of_low = around(made(high, low), "high", LATE)["queues"]
    assert of_high["commands"] == [[7, 1000, 1000, 1200]]
    assert len(of_low["commands"]) == 2


def test_of_many_commands_the_longest_are_there_and_the_others_are_counted():
    late = SimpleNamespace(index=7, scheduled_ns=0, latency_ns=800_000)
    low = record([(i, 0, 10_000 * i, 10_000 * i, 10_000 * i + 1, 0) for i in range(50)]
                 + [(i, 0, 4000 * i, 4000 * i, 4000 * i + 2, 0) for i in range(130, 200)]
                 + [(999, 0, 700_000, 700_000, 790_000, 0)])  # fmt: skip
    found = around(made(record([]), low), "high", late)["queues"][1]
    assert len(found["commands"]) == 120 and found["left_out"] == 1
    assert [999, 700_000, 700_000, 790_000] in found["commands"]
    assert found["commands"] == sorted(found["commands"], key=lambda one: one[1:])


def test_suspensions_are_cut_to_the_time_and_end_with_it():
    low = record([], [(100, 1), (200, 0), (800, 1), (1000, 0), (1500, 1)])
    found = around(made(record([]), low), "high", LATE)["queues"][1]
    assert found["suspended"] == [[900, 1000], [1500, 1900]]


def test_without_commands_on_record_there_is_nothing():
    run = SimpleNamespace(trace=SimpleNamespace(windows=[]))
    assert around(run, "high", LATE) is None

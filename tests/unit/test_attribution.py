"""Parts of a latency in real time, from made-up records: only launches and completions are seen."""

import dataclasses

import numpy as np
import pytest

from pytest_xsched.analysis.attribution import Attribution, Request
from pytest_xsched.native.binding import COMMAND_RECORD, SUSPENSION
from pytest_xsched.native.command_record import CommandRecord


def record(*commands, suspensions=()):
    """Commands as (request, index, launched, completed); suspensions as (at, suspended)."""
    rows = np.zeros(len(commands), COMMAND_RECORD)
    for i, (request, index, launched, completed) in enumerate(commands):
        rows[i] = request, index, launched, -1, -1, completed
    changes = np.zeros(len(suspensions), SUSPENSION)
    for i, (at, suspended) in enumerate(suspensions):
        changes[i] = at, suspended, 0
    return CommandRecord(commands=rows, suspensions=changes)


def parts(own, others=(), *, request, alone_ns, submitted=(0,) * 9, **more):
    attribution = Attribution(
        own, np.array(submitted), dict(others), slots=0, alone_ns=alone_ns, **more
    )
    found = {}
    for piece in attribution.pieces(request):
        key = (piece.part, piece.queue)
        found[key] = found.get(key, 0) + piece.ns
    return found


def one(scheduled, submitted, end, *, number=0, commands=1):
    return Request(
        number=number,
        commands=commands,
        scheduled_ns=scheduled,
        submitted_ns=submitted,
        end_ns=end,
    )


def test_a_request_alone_runs_and_the_harness_and_the_launch_have_their_parts():
    assert parts(record((0, 0, 130, 230)), request=one(100, 120, 230), alone_ns=100) == {
        ("harness", ""): 20,
        ("launch", ""): 10,
        ("running", ""): 100,
    }


def test_what_takes_longer_than_alone_with_nobody_else_is_stretched():
    assert parts(record((0, 0, 0, 150)), request=one(0, 0, 150), alone_ns=100) == {
        ("running", ""): 100,
        ("stretched", ""): 50,
    }


def test_what_takes_longer_than_alone_counts_as_shared_while_others_had_work_in_flight():
    """High takes 150 more than alone. Low had work in flight for 90 of the 250, mid for 30."""
    low, mid = record((0, 0, 50, 190)), record((0, 0, 300, 330))
    others = {"low": low, "mid": mid}
    found = parts(record((0, 0, 100, 350)), others, request=one(100, 100, 350), alone_ns=100)
    assert found == {
        ("running", ""): 100,
        ("shared", "low"): 90,
        ("shared", "mid"): 30,
        ("stretched", ""): 30,
    }


def test_no_more_than_the_excess_counts_as_shared():
    low = record((0, 0, 0, 1000))
    found = parts(record((0, 0, 10, 150)), {"low": low}, request=one(10, 10, 150), alone_ns=100)
    assert found == {("running", ""): 100, ("shared", "low"): 40}


def test_commands_under_one_mark_count_together():
    own = record((0, 0, 0, 200), (0, 1, 0, 200))
    assert parts(own, request=one(0, 0, 200, commands=2), alone_ns=100) == {("running", ""): 200}


def test_a_command_that_is_launched_only_after_the_one_before_it_lacked_room():
    own = record((0, 0, 5, 100), (0, 1, 110, 210))
    assert parts(own, request=one(0, 0, 210, commands=2), alone_ns=100) == {
        ("launch", ""): 5,
        ("running", ""): 195,
        ("room", ""): 10,
    }


def test_after_a_suspension_a_command_did_not_lack_room():
    own = record((0, 0, 5, 100), (0, 1, 130, 230), suspensions=[(50, 1), (120, 0)])
    assert parts(own, request=one(0, 0, 230, commands=2), alone_ns=100) == {
        ("launch", ""): 15,
        ("running", ""): 195,
        ("held", ""): 20,
    }


def test_a_suspended_queue_is_held_until_it_launches():
    own = record((0, 0, 60, 160), suspensions=[(10, 1), (50, 0)])
    low = record((0, 0, 5, 40))
    assert parts(own, {"low": low}, request=one(0, 0, 160), alone_ns=100) == {
        ("launch", ""): 20,  # 10 before the suspension, 10 after it
        ("held", "low"): 40,
        ("running", ""): 100,
    }


def test_under_xsched_what_was_not_launched_was_held():
    own = record((0, 0, 60, 160))
    assert parts(own, request=one(0, 0, 160), alone_ns=100, holds=True) == {
        ("held", ""): 60,
        ("running", ""): 100,
    }


def test_an_earlier_request_counts_as_own():
    own = record((0, 0, 0, 100), (1, 0, 100, 200))
    assert parts(own, request=one(50, 50, 200, number=1), alone_ns=100) == {
        ("own", ""): 50,
        ("running", ""): 100,
    }


def test_in_virtual_time_a_queue_of_which_nothing_began_waited_for_the_other():
    """The device tells of low when it began, so high, of which it tells nothing, only waited."""
    own, low = record((0, 0, 10, -1)), record((0, 0, 0, 500))
    low.commands["began_ns"], low.commands["ended_ns"] = 0, 500
    unfinished = dataclasses.replace(one(0, 0, 400), completed=False)
    found = parts(own, {"low": low}, request=unfinished, alone_ns=100)
    assert found == {("launch", ""): 10, ("in flight", "low"): 390}


def test_if_nothing_is_known_of_the_time_alone_the_time_in_flight_is_not_divided():
    own = record((0, 0, 0, 100))
    assert parts(own, request=one(0, 0, 100), alone_ns=None) == {("stretched", ""): 100}


@pytest.mark.parametrize("seed", range(20))
def test_the_parts_of_random_records_add_up(seed):
    """`Attribution.pieces` checks the sum itself."""
    random = np.random.default_rng(seed)

    def stream(count):
        completed = np.cumsum(random.integers(0, 50, count))
        launched = np.minimum(np.sort(random.integers(0, 30 * count, count)), completed)
        times = zip(launched.tolist(), completed.tolist(), strict=True)
        return record(*((n // 2, n % 2, *row) for n, row in enumerate(times)))

    own, others = stream(40), {"a": stream(30), "b": stream(60)}
    for number in range(20):
        launched = int(own.commands["launched_ns"][2 * number])
        scheduled = max(0, launched - int(random.integers(0, 50)))
        submitted = int(random.integers(scheduled, launched + 1))
        end = int(own.commands["completed_ns"][2 * number + 1])
        request = one(scheduled, submitted, end, number=number, commands=2)
        found = parts(own, others, request=request, alone_ns=7.5, submitted=(0,) * 20)
        assert sum(found.values()) == end - scheduled

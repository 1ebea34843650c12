"""Changes of live queues, in virtual time: which command runs next, exactly."""

from __future__ import annotations

import pytest

from pytest_xsched import spin

ONE = {"threshold": 1, "batch_size": 1}


@pytest.fixture
def xqueues(sim):
    return sim.live()


def test_a_new_deadline_decides_before_the_next_command(xqueues):
    xqueues.set_policy("edf")
    first, second = xqueues(deadline="100ms", **ONE), xqueues(deadline="1s", **ONE)
    for queue in (first, second):
        queue.submit(spin("1ms", layers=20))
    xqueues.sleep("5.5ms")
    assert (first.state, second.state) == ("ready", "suspended")
    launched = first.counts.launched
    second.deadline = "10ms"
    assert (first.state, second.state) == ("suspended", "ready")
    second.wait()
    assert (first.counts.launched, second.counts.launched) == (launched + 1, 20)


def test_a_new_policy_begins_with_nothing_of_the_old_one(xqueues):
    xqueues.set_policy("fair")
    _, short, long = xqueues(), xqueues(**ONE), xqueues(**ONE)
    short.load(spin("1ms"))
    long.submit(spin("50ms")).wait()
    long.submit(spin("50ms"))
    xqueues.sleep("10ms")
    assert long.counts.launched == 1  # short has its turn, until it used as much
    xqueues.set_policy("fair")
    xqueues.sleep("10ms")
    assert long.counts.launched == 2


def test_a_new_policy_decides_also_where_the_scheduler_was_off(xqueues):
    low, high = xqueues(priority=1), xqueues(priority=2)
    for queue in (low, high):
        queue.submit(spin("1ms", layers=20))
    assert low.state == "suspended"
    xqueues.switch_off()
    assert low.state == "ready"
    xqueues.set_policy("hpf")
    assert low.state == "suspended"


def test_a_new_policy_stays_when_all_queues_are_cleared(xqueues):
    xqueues.set_policy("none")
    xqueues.clear()
    assert xqueues.policy.name == "none"
    low, high = xqueues(priority=1), xqueues(priority=2)
    for queue in (high, low):
        queue.submit(spin("1ms", layers=20))
    assert low.state == "ready"


def test_each_of_several_requests_waits_for_its_own(xqueues):
    low, high = xqueues(priority=1), xqueues(priority=2)
    sources = [low.submit(spin("10ms")) for _ in range(3)]
    tickets = [high.submit(spin("1ms"), after=source) for source in sources]
    high.wait()
    for source, ticket in zip(sources, tickets, strict=True):
        assert source.completed_ns <= ticket.launched_ns < source.completed_ns + 1_000_000

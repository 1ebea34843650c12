"""Queues whose launches take time, and a fault of XSched that only they show."""

from dataclasses import replace

import pytest

from pytest_xsched import ScenarioError, Session, XSched, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.pairs import SLOW_LAUNCH, pairs_of_steps
from pytest_xsched.stress.state_machine import OpenDevices

CALLS = [steps for steps in pairs_of_steps(0) if steps[0].launch == SLOW_LAUNCH]
(SUSPENDED,) = (steps for steps in CALLS if steps[3].does == "suspend")


def broken_by(make, steps):
    """Execute steps with all rules, also those about queues that the user holds."""
    pool = OpenDevices(make, 1)
    try:
        return pool.play(steps, (), "5s")
    finally:
        pool.close()


@pytest.mark.parametrize("kind", ["sim", "cpu"])
@pytest.mark.parametrize("steps", CALLS, ids=lambda steps: steps[3].does)
def test_our_own_scheduler_keeps_the_rules_with_slow_launches(kind, steps):
    session = Session(Settings(device=kind))
    assert broken_by(session.live, steps) is None
    session.close()


def test_a_suspend_that_does_not_wait_for_a_launch_is_found(xsched_session, monkeypatch):
    def make():
        return xsched_session.live(scheduler=XSched(policy="none", scheduler="app"))

    assert broken_by(make, SUSPENDED) is None
    monkeypatch.setenv("PREEMPT_DOUBLE", "suspend-beside-launch")
    usual = [replace(step, launch="") for step in SUSPENDED]
    assert broken_by(make, usual) is None
    # A busy machine may read the counts of the queue only after the launch has ended.
    found = (broken_by(make, SUSPENDED) for _ in range(5))
    broken = next(one for one in found if one is not None)
    assert broken.rule == "held launches nothing"
    assert 'launch="40ms"' in str(broken)


def test_in_virtual_time_commands_reach_the_device_later_by_as_much():
    queues = Session(Settings(device="sim")).live()
    usual, slow = queues(), queues(launch="2ms")
    done = usual.submit(spin("1ms", layers=3)).wait()
    assert done.completed_ns == 5_000 + 3_000_000
    ticket = slow.submit(spin("1ms", layers=3))
    assert ticket.latency.ns == 3 * 2_005_000 + 1_000_000
    queues.close()


def test_in_real_time_each_launch_takes_as_long():
    queues = Session(Settings(device="cpu")).live()
    ticket = queues(launch="2ms").submit(spin("0s", layers=5)).wait()
    assert ticket.latency > "10ms"
    queues.close()


def test_a_command_is_launched_when_its_launch_ends():
    queues = Session(Settings(device="cpu")).live()
    ticket = queues(launch="100ms").submit(spin("0s")).wait()
    arrived_ns = ticket.completed_ns - ticket.latency.ns
    assert ticket.launched_ns >= arrived_ns + 100_000_000
    queues.close()


def test_a_suspend_waits_for_the_end_of_a_launch():
    queues = Session(Settings(device="cpu")).live()
    queue = queues(launch="10ms")
    queue.submit(spin("0s", layers=1000))
    for _ in range(4):
        queue.suspend()
        launched = queue.counts.launched
        queues.sleep("50ms")  # if the machine is busy, a launch that goes on ends later: no failure
        assert queue.counts.launched == launched
        queue.resume()
        queues.sleep("15ms")
    queues.close()


def test_the_time_of_a_launch_is_a_time():
    queues = Session(Settings(device="sim")).live()
    with pytest.raises(ScenarioError, match="queue 'xq0': launch"):
        queues(launch="-2ms")
    queues.close()

"""Steps under loads in real time: our own scheduler keeps the rules, and faults of XSched that show
only under a load that does not end are found. The double of XSched has them."""

import pytest

from pytest_xsched import Session, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.background_load import WINDOW
from pytest_xsched.stress.pairs import pairs_of_steps
from pytest_xsched.stress.steps import Step

LONG = spin("2ms", layers=12)
LOW_BELOW_A_LOAD = (
    Step(does="create", queue=0, priority=1, depth=(1, 1)),
    Step(does="load", queue=0, workload=LONG),
    Step(does="create", queue=1),
    Step(does="load", queue=1, workload=LONG),
    Step(does="sleep", duration="20ms"),  # until XSched has its commands
)
UNDER_ITS_OWN_LOAD = (
    Step(does="create", queue=0),
    Step(does="load", queue=0, workload=spin("2ms", layers=5)),
    *[Step(does="set_launch_config", queue=0, depth=depth) for depth in ((8, 5), (1, 1), (2, 2))],
)
(DESTROYED,) = (
    steps for steps in pairs_of_steps(0) if steps[1].does == "load" and steps[-1].does == "destroy"
)
"""`first_broken` takes these steps itself."""
WATCHED = (*LOW_BELOW_A_LOAD, *[Step(does="sleep", duration=WINDOW)] * 5)
OFF_AND_ON = (*LOW_BELOW_A_LOAD, Step(does="switch_off"), Step(does="switch_on"))


@pytest.mark.parametrize("steps", [DESTROYED, WATCHED, UNDER_ITS_OWN_LOAD, OFF_AND_ON])
def test_our_own_scheduler_keeps_the_rules_under_load(played, steps):
    session = Session(Settings(device="cpu"))
    assert played(session.live, steps) is None
    session.close()


@pytest.mark.parametrize(
    ("fault", "steps", "rule"),
    [
        ("hang-destroy-below", DESTROYED, "destroy returns below a load"),
        ("tire", WATCHED, "highest first"),
        ("off-for-good", OFF_AND_ON, "highest first"),
        ("lose-during-config", UNDER_ITS_OWN_LOAD, "order of counts"),
    ],
)
def test_a_fault_that_shows_only_under_load(
    xsched_session, played, monkeypatch, fault, steps, rule
):
    def make():
        return xsched_session.live(scheduler="xsched", patience="2s")

    assert played(make, steps) is None
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    broken = played(make, steps, tries=5)
    assert broken is not None and broken.rule == rule


def test_xsched_alone_schedules_live_queues_under_it(xsched_session, monkeypatch):
    """A policy of ours above it would hide that it ignores priorities."""
    monkeypatch.setenv("PREEMPT_DOUBLE", "ignore-priority")
    queues = xsched_session.live(scheduler="xsched")
    low, high = queues(priority=1, threshold=1, batch_size=1), queues(priority=2)
    high.load(LONG)
    low.submit(spin("1ms", layers=3)).wait()
    assert high.counts.background_requests > 0
    queues.close()


def test_the_work_of_equal_queues_counts_before_a_call_is_late(xsched_session, played):
    """XSched launches what is left, two commands for each two of 50 ms: 2 s in all."""
    broken = played(
        lambda: xsched_session.live(scheduler="xsched", patience="1s"),
        (
            Step(does="create", queue=0, depth=(4, 4)),
            Step(does="create", queue=1, depth=(2, 1)),
            Step(does="load", queue=0, workload=spin("50ms")),
            Step(does="sleep", duration="20ms"),
            Step(does="submit", queue=1, workload=spin("1ms", layers=40)),
            Step(does="destroy", queue=1),
        ),
    )
    assert broken is None

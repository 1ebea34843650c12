"""Random steps on live XQueues in virtual time."""

import pytest
from hypothesis import settings

from pytest_xsched import ScenarioError, Session, spin
from pytest_xsched.options import Settings
from pytest_xsched.statemachine import check_xqueues

RANDOM = settings(
    settings.get_profile("xsched-nightly"),
    max_examples=100,
    stateful_step_count=30,
    database=None,
    report_multiple_bugs=False,
)


def test_live_queues():
    session = Session(Settings(device="sim"))
    check_xqueues(session.live, RANDOM)
    session.close()


def test_a_launch_config_may_change_with_unmarked_commands_in_flight():
    queues = Session(Settings(device="sim")).live()
    xq = queues(threshold=16, batch_size=16)
    xq.submit(spin("1ms", layers=8))
    assert xq.counts.launched == 8
    xq.set_launch_config(threshold=1, batch_size=1)
    later = xq.submit(spin("1ms", layers=3))
    assert later.wait().completed_ns == 11_000_000 + (1 + 3) * 5_000  # the last three go one by one
    for threshold, batch_size in ((1, 2), (0, 0), (1025, 1)):
        with pytest.raises(ScenarioError, match="queue 'xq0': "):
            xq.set_launch_config(threshold=threshold, batch_size=batch_size)
    with pytest.raises(ScenarioError, match="'xq1' has an automatic threshold"):
        queues(threshold="auto").set_launch_config(threshold=2, batch_size=1)
    queues.close()

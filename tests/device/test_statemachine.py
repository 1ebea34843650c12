"""Random steps on live XQueues in real time; and that idle ones burn no CPU."""

import time

import pytest
from hypothesis import settings

from pytest_xsched import Session, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.state_machine import check_xqueues

RANDOM = settings(
    settings.get_profile("xsched-nightly"),
    stateful_step_count=15,
    database=None,
    report_multiple_bugs=False,
)


@pytest.mark.parametrize(("kind", "sequences"), [("cpu", 10), ("opencl", 3)])
def test_live_queues_in_real_time(kind, sequences, pocl):
    session = Session(Settings(device=kind))
    check_xqueues(session.live, settings(RANDOM, max_examples=sequences), devices=1)
    session.close()


def test_idle_queues_burn_no_cpu():
    queues = Session(Settings(device="cpu")).live()
    for priority in range(4):
        queues(priority=priority).submit(spin("1ms")).wait()
    queues.sleep("10ms")  # they spin for a while before they sleep
    begin, cpu = time.monotonic(), time.process_time()
    queues.sleep("300ms")
    share = (time.process_time() - cpu) / (time.monotonic() - begin)
    queues.close()
    assert share < 0.5, f"four idle queues used {share:.0%} of a processor"

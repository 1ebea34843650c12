"""Steps with commands that take long, in real time, and a fault of XSched that only they show."""

from dataclasses import replace

import pytest

from pytest_xsched import Session, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.pairs import LONG_COMMANDS, pairs_of_steps

CALLS = [steps for steps in pairs_of_steps(0) if steps[1].workload == LONG_COMMANDS]


def test_single_calls_are_made_while_long_commands_execute():
    names = {steps[-1].does for steps in CALLS}
    assert names == {"wait", "suspend", "set_launch_config", "destroy"}


@pytest.mark.parametrize("steps", CALLS, ids=lambda steps: steps[-1].does)
def test_our_own_scheduler_keeps_the_rules_with_long_commands(played, steps):
    session = Session(Settings(device="cpu"))
    assert played(session.live, steps) is None
    session.close()


def test_a_scheduler_that_takes_a_long_command_for_complete_is_found(
    xsched_session, played, monkeypatch
):
    def make():
        return xsched_session.live(scheduler="xsched")

    def with_work(workload):
        return [
            replace(step, workload=workload) if step.does == "submit" else step for step in steps
        ]

    monkeypatch.setenv("PREEMPT_DOUBLE", "long-command")
    (steps,) = (steps for steps in CALLS if steps[-1].does == "wait")
    assert played(make, with_work(spin("2ms", layers=2))) is None
    broken = played(make, with_work(LONG_COMMANDS), tries=5)
    assert broken is not None and broken.rule == "threshold"

"""Steps that show whether hints have an effect, on the double of XSched, faulty and not.

bench/find_faults.py lets the shipped commands search for these faults: half a minute each.
"""

from __future__ import annotations

import pytest

from pytest_xsched import XSched
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import BrokenRule, Step


def create(priority):
    return Step(does="create", priority=priority)


REPLACED = (create(2), create(1), Step(does="destroy", queue=0), create(None))
RAISED = (create(1), create(2), Step(does="set_priority", queue=0, priority=3))
BORDERS = (create(255), create(-255), create(-254), create(254))


def played(session, policy, steps, last):
    """Return the rule that the steps break, or ""."""
    live = session.live(scheduler=XSched(policy=policy))
    executor = StepExecutor([live])
    try:
        for step in (*steps, last):
            executor.execute(step)
        assert executor.executed[-1] == last, "the last step was left out"
        executor.finish()
    except BrokenRule as broken:
        return broken.rule
    finally:
        live.close()
    return ""


@pytest.mark.parametrize(
    ("fault", "steps", "queue"),
    [
        pytest.param("inherit-hints", REPLACED, 1, id="the-hint-of-a-destroyed-queue"),
        pytest.param("hint-late", RAISED, 0, id="a-changed-hint"),
        pytest.param("hint-border", BORDERS, 0, id="the-highest-priority"),
        pytest.param("hint-border", BORDERS, 2, id="the-lowest-priority"),
    ],
)
def test_a_hint_without_an_effect_is_found(xsched_session, monkeypatch, fault, steps, queue):
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    competes = Step(does="compete", queue=queue)
    assert played(xsched_session, "hpf", steps, competes) == "highest first"


def test_hints_have_an_effect(xsched_session):
    competes = Step(does="compete", queue=3)
    assert played(xsched_session, "hpf", (*BORDERS, *REPLACED[2:]), competes) == ""

"""Steps that show whether hints have an effect, on the double of XSched, faulty and not.

bench/find_faults.py lets the shipped commands search for these faults: half a minute each.
"""

from __future__ import annotations

import pytest

from pytest_xsched import ScenarioError, XSched, spin
from pytest_xsched.stress import competition
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import BrokenRule, Step


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let a busy machine have more attempts than a search gives it."""
    monkeypatch.setattr(competition, "IN_VAIN", 50)


def create(priority, on=0, **hints):
    return Step(does="create", priority=priority, on=on, **hints)


REPLACED = (create(2), create(1), Step(does="destroy", queue=0), create(None))
RAISED = (create(1), create(2), Step(does="set_priority", queue=0, priority=3))
APART = (create(1), create(2, on=1), create(0, on=1))
BORDERS = (create(255), create(-255), create(-254), create(254))


def played(session, policy, steps, last, devices=1, expected=""):
    """Return the rule that the steps break, or "".

    On a busy machine the last step may show nothing, and is then made again: a breach in one of
    five tries proves that a fault is found, and without a fault there is none in any.
    """
    scheduler = XSched(policy=policy) if policy else None
    for _ in range(5):
        live = session.live(scheduler=scheduler, devices=devices)
        executor = StepExecutor([live])
        try:
            for step in (*steps, last):
                executor.execute(step)
            was_executed = executor.executed[-1] == last
            executor.finish()
        except BrokenRule as broken:
            return broken.rule
        finally:
            live.close()
        if was_executed and not expected:
            break
    assert was_executed, "the last step was left out"
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
    rule = "highest first"
    assert played(xsched_session, "hpf", steps, competes, expected=rule) == rule


def test_hints_have_an_effect(xsched_session):
    competes = Step(does="compete", queue=3)
    assert played(xsched_session, "hpf", (*BORDERS, *REPLACED[2:]), competes) == ""


DUE = (create(0, deadline="10000s"), create(1, deadline="100s"))
SOONER = Step(does="set_deadline", queue=0, deadline="1us")


@pytest.mark.parametrize(
    ("fault", "rule"),
    [("", ""), ("deadline-late", "earliest first"), ("deadline-border", "earliest first")],
)
def test_a_deadline_without_an_effect_is_found(xsched_session, monkeypatch, fault, rule):
    assert str(DUE[1]).endswith('batch_size=2, deadline="100s")')
    assert str(SOONER) == 'q0.deadline = "1us"'
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    steps = (*DUE, SOONER) if fault else (*DUE, Step(does="change_policy", queue=1), SOONER)
    competes = Step(does="compete", queue=0)
    assert played(xsched_session, "kedf", steps, competes, expected=rule) == rule


LATER = Step(does="set_deadline", queue=1)


def test_a_queue_whose_deadline_is_removed_is_due_last(xsched_session, session_on, monkeypatch):
    assert str(LATER) == "q1.deadline = None"
    competes = Step(does="compete", queue=0)
    assert played(xsched_session, "kedf", (*DUE, LATER), competes) == ""
    monkeypatch.setenv("PREEMPT_DOUBLE", "deadline-constant")
    assert played(xsched_session, "kedf", (*DUE, LATER), competes) == "earliest first"
    queues = session_on("sim").live()
    queues.set_policy("edf")
    one, other = queues(deadline="10s"), queues(deadline="20s")
    work = [xq.submit(spin("1ms", layers=9)) for xq in (one, other)]
    one.deadline = None
    assert (one.deadline, one.state, other.state) == (None, "suspended", "ready")
    for ticket in work:
        ticket.wait()
    queues.close()


LAX = (create(2, laxity="1us"), create(3, laxity="1000000s"), create(1))
CRITICAL = (
    Step(does="set_priority", queue=1, priority=4),
    Step(does="set_laxity", queue=1, laxity="1us"),
)
RAISED_LATER = (CRITICAL[1], Step(does="set_priority", queue=0, priority=4))


@pytest.mark.parametrize(
    ("fault", "steps", "queue", "rule"),
    [
        pytest.param("", (), 0, "", id="critical-at-once"),
        pytest.param("", CRITICAL, 1, "", id="a-changed-laxity"),
        pytest.param("", RAISED_LATER, 0, "", id="the-priority-of-a-laxity"),
        pytest.param("laxity-late", CRITICAL, 1, "critical first", id="a-change-without-an-effect"),
        pytest.param("always-lax", (), 0, "critical first", id="never-critical"),
    ],
)
def test_a_laxity_without_an_effect_is_found(
    xsched_session, monkeypatch, fault, steps, queue, rule
):
    assert str(LAX[0]).endswith('batch_size=2, laxity="1us")')
    assert str(CRITICAL[1]) == 'q1.laxity = "1us"'
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    competes = Step(does="compete", queue=queue)
    assert played(xsched_session, "lax", (*LAX, *steps), competes) == rule


PARTS = (create(0, utilization=1), create(0, utilization=10))
MORE = Step(does="set_utilization", queue=0, utilization=100)


@pytest.mark.parametrize(
    ("fault", "steps", "queue", "rule"),
    [
        pytest.param("", (), 1, "", id="ten-times-as-much"),
        pytest.param("", (MORE,), 0, "", id="a-changed-utilization"),
        pytest.param("utilization-late", (MORE,), 0, "time by weight", id="without-an-effect"),
    ],
)
def test_a_utilization_without_an_effect_is_found(
    xsched_session, monkeypatch, fault, steps, queue, rule
):
    assert str(PARTS[1]).endswith("batch_size=2, utilization=10)")
    assert str(MORE) == "q0.utilization = 100"
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    divides = Step(does="divide", queue=queue)
    assert str(divides) == f"divide(q{queue})"
    assert played(xsched_session, "up", (*PARTS, *steps), divides, expected=rule) == rule


@pytest.mark.parametrize("kind", ["sim", "cpu"])
def test_a_changed_utilization_of_ours_has_an_effect(session_on, kind):
    queues = session_on(kind).live()
    queues.set_policy("partition")
    executor = StepExecutor([queues])
    for step in (*PARTS, Step(does="divide", queue=1), MORE, Step(does="divide", queue=0)):
        executor.execute(step)
    executor.finish()
    assert [step.does for step in executor.executed].count("divide") == 2
    queues.close()


def test_only_utilizations_that_differ_by_much_are_compared(session_on):
    queues = session_on("sim").live()
    divides = Step(does="divide", queue=1)
    executor = StepExecutor([queues])
    queues.set_policy("fair")
    executor.execute(create(0))
    assert not executor.can(Step(does="divide", queue=0))
    queues.set_policy("partition")
    for step in (create(0, utilization=10), create(0)):
        executor.execute(step)
    assert not executor.can(divides)
    executor.execute(Step(does="set_utilization", queue=0, utilization=1))
    assert executor.can(divides)
    executor.execute(Step(does="load", queue=2))
    assert not executor.can(divides)
    executor.finish()
    queues.close()


def test_a_changed_utilization_divides_the_time_from_then_on(session_on):
    queues = session_on("sim").live()
    queues.set_policy("partition")
    one, other = queues(utilization=25), queues(utilization=75)
    for xq in (one, other):
        xq.load(spin("1ms"))
    parts = []
    for _ in range(2):
        before = one.counts.completed, other.counts.completed
        queues.sleep("400ms")
        parts.append([xq.counts.completed - b for xq, b in zip((one, other), before, strict=True)])
        one.utilization, other.utilization = 75, 25
    assert (one.utilization, other.utilization) == (75, 25)
    turn = 4  # what is in flight at the end of a turn
    for few, many in (parts[0], parts[1][::-1]):
        assert 395 <= few + many <= 400
        assert abs(few - 100) <= turn and abs(many - 300) <= turn
    queues.close()


def test_a_hint_that_the_policy_does_not_read_is_refused(session_on):
    queues = session_on("sim").live()
    said = "deadline has no effect under policy 'hpf'; policies that read it: edf of builtin, kedf"
    with pytest.raises(ScenarioError, match=f"queue 'xq0': {said}"):
        queues(deadline="1s")
    one = queues()
    with pytest.raises(ScenarioError, match=f"queue 'xq0': {said}"):
        one.deadline = "1s"
    assert one.deadline is None
    with pytest.raises(
        ScenarioError, match=r"utilization has no effect .*: partition of builtin, "
    ):
        queues(utilization=50)
    for policy in ("hpf", "edf"):
        queues.set_policy(policy)
        said = f"laxity has no effect under policy '{policy}'; policies that read it: lax of xsched"
        with pytest.raises(ScenarioError, match=f"queue 'xq1': {said}"):
            queues(laxity="1s")
        with pytest.raises(ScenarioError, match=f"queue 'xq0': {said}"):
            one.laxity = "1s"
    queues.close()


def test_a_queue_that_waits_for_another_device_is_found(xsched_session, monkeypatch):
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "2")
    apart = Step(does="apart", queue=0)
    assert str(APART[1]).endswith("batch_size=2, device=1)")
    assert played(xsched_session, "hpf", APART, apart, devices=2) == ""
    monkeypatch.setenv("PREEMPT_DOUBLE", "one-device")
    rule = "devices are apart"
    assert played(xsched_session, "hpf", APART, apart, devices=2, expected=rule) == rule


def test_our_queues_do_not_wait_for_another_device(session_on):
    assert played(session_on("cpu"), "", APART, Step(does="apart", queue=0), devices=2) == ""


def test_where_there_is_one_device(xsched_session, session_on):
    with pytest.raises(ScenarioError, match="device 'sim' have one device"):
        session_on("sim").live(devices=2)
    with pytest.raises(pytest.skip.Exception, match="no device number 1"):
        xsched_session.live(scheduler="xsched", devices=2)
    queues = xsched_session.live(scheduler="xsched")
    with pytest.raises(ScenarioError, match="device 1 is outside"):
        queues(device=1)
    queues.close()


def test_two_opencl_devices_on_one_processor(pocl, xsched_double, session_on, monkeypatch):
    monkeypatch.setenv("POCL_DEVICES", "pthread pthread")
    monkeypatch.setenv("XSCHED_HOME", str(xsched_double))
    apart = Step(does="apart", queue=0)
    assert played(session_on("opencl"), "hpf", APART, apart, devices=2) == ""


def test_a_new_policy_that_keeps_what_was_suspended_is_found(xsched_session, monkeypatch):
    last = Step(does="change_policy", queue=0)
    assert str(last) == "change_policy(q0)"
    monkeypatch.setenv("PREEMPT_DOUBLE", "policy-keeps")
    rule = "a new policy decides"
    assert played(xsched_session, "hpf", BORDERS, last, expected=rule) == rule


def test_xsched_gets_the_priorities_again_after_a_new_policy(xsched_session):
    queues = xsched_session.live(scheduler="xsched")
    low, high = queues(priority=1), queues(priority=2)
    low.priority, high.priority = 4, 3
    with pytest.raises(ScenarioError, match="set_policy 'edf' is unknown"):
        queues.set_policy("edf")
    queues.set_policy("kedf")
    queues.set_policy("hpf")
    assert queues.policy.name == "hpf"
    high.submit(spin("1ms", layers=100))
    last = high.submit(spin("1ms"))
    assert low.submit(spin("1ms")).launched_ns < last.launched_ns
    queues.close()

"""Live XQueues under XSched, in a process that may die: the double on the fake driver.

Where XSCHED_HOME names an installation, some of it runs with that one, too.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from pytest_xsched import ScenarioError, WorkerCrashed, WorkerHung, XSched, XSchedError, spin
from pytest_xsched.conformance import live_engine
from pytest_xsched.stress.minimize import first_broken
from pytest_xsched.stress.pairs import pairs_of_steps
from pytest_xsched.stress.state_machine import check_xqueues
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import BrokenRule, Step

FEW = settings(
    settings.get_profile("xsched-nightly"),
    max_examples=6,
    stateful_step_count=10,
    database=None,
    report_multiple_bugs=False,
)

# When XSched 1.2 is switched off, who was suspended stays so.
NOT_CLAIMED = {*live_engine.NOT_CLAIMED, "off means off"}


@pytest.fixture
def any_session(xsched_home, xsched_gpu, session_on, monkeypatch):
    """A session with the double of XSched, and one with the installed XSched."""
    monkeypatch.setenv("XSCHED_HOME", str(xsched_home))
    return session_on("cuda", lock_timeout_ns=10**10)


def test_they_are_those_of_every_other_scheduler(any_session):
    queues = any_session.live(scheduler=XSched(policy="none", scheduler="app"))
    assert queues.is_elsewhere and not queues.is_virtual
    xq = queues(priority=7, threshold=2, batch_size=1)
    assert (xq.name, xq.priority, xq.state) == ("xq0", 7, "idle")
    first, second = xq.submit(spin("1ms", layers=5)), xq.submit(spin("0s"))
    xq.wait()
    assert 0 < first.launched_ns < first.completed_ns <= second.completed_ns < queues.now.ns
    c = xq.counts
    assert (c.submitted, c.launched, c.completed, c.failed) == (6, 6, 6, 0)
    assert (c.requests_completed, c.most_in_flight) == (2, 2)

    xq.suspend()
    held = xq.submit(spin("1ms", layers=3))
    queues.sleep("20ms")
    assert not held.done
    assert (xq.state, xq.counts.launched) == ("suspended", 6)
    xq.resume()
    held.wait()
    xq.set_launch_config(threshold=5, batch_size=1)
    xq.submit(spin("1ms", layers=12)).wait()
    assert xq.counts.most_in_flight == 5

    xq.destroy()
    with pytest.raises(XSchedError, match="destroyed"):
        xq.submit(spin("1ms"))
    queues.clear()
    assert queues().name == "xq0"
    queues.close()
    with pytest.raises(XSchedError, match="closed"):
        queues()


def test_on_a_gpu_they_are_elsewhere_without_xsched_too(xsched_session):
    queues = xsched_session.live()
    low, high = queues(priority=1, threshold=1, batch_size=1), queues(priority=2)
    low.submit(spin("1ms", layers=20)).wait()
    assert low.counts.completed == 20
    slow = low.submit(spin("10ms", layers=4000))  # 40 s, however late the next calls are
    high.submit(spin("1ms")).wait()
    assert not slow.done
    with pytest.raises(ScenarioError, match="threshold 1 is outside"):
        low.set_launch_config(threshold=1, batch_size=2)
    queues.close()


def test_a_call_that_does_not_return_is_named(xsched_session, monkeypatch):
    monkeypatch.setenv("PREEMPT_DOUBLE", "hang-destroy")
    queues = xsched_session.live(scheduler="xsched")
    words = r"^XSched did not return from destroying queue 'xq1' within 200 ms$"
    xq = [queues(), queues()][1]
    queues.limit_calls("200ms")
    with pytest.raises(WorkerHung, match=words):
        xq.destroy()
    with pytest.raises(WorkerHung, match=words):
        queues()
    queues.close()


def test_an_end_of_the_process_is_named(xsched_session, monkeypatch):
    monkeypatch.setenv("PREEMPT_DOUBLE", "exit:3")
    queues = xsched_session.live(scheduler="xsched")
    words = "^the worker process ended with exit status 1 while .* queue 'xq0'; its last words: "
    xq = queues()
    with pytest.raises(WorkerCrashed, match=words + ".*the driver answers 700"):
        # XSched may end the process before submit() returns.
        xq.submit(spin("1ms", layers=3)).wait()
    queues.close()


def test_where_they_cannot_be(xsched_session, session_on):
    with pytest.raises(ScenarioError, match=r"'xsched' schedules hip, .*, not 'cpu'"):
        session_on("cpu").live(scheduler="xsched")
    with pytest.raises(ScenarioError, match="not with --xsched-process=inside"):
        session_on("cuda", process="inside").live(scheduler="xsched")
    with pytest.raises(ScenarioError, match="share a process"):
        xsched_session.live(scheduler=XSched(scheduler="global"))


def test_switched_off_it_holds_nobody_back_and_is_on_again_after_that(xsched_session):
    queues = xsched_session.live(scheduler="xsched")
    for is_off in (False, True, False):
        low, high = queues(priority=1), queues(priority=2)
        # While it is on, low waits for all of this; while it is off, for nothing, however late.
        high.submit(spin("1ms", layers=4000 if is_off else 300))
        last = high.submit(spin("1ms", layers=20))
        if is_off:
            queues.switch_off()
        ticket = low.submit(spin("100us"))
        assert (ticket.launched_ns < last.launched_ns) is is_off
        queues.clear()
    queues.close()


def test_random_steps(any_session):
    check_xqueues(lambda: any_session.live(scheduler="xsched"), FEW, devices=1, without=NOT_CLAIMED)


def test_a_hang_is_found(xsched_session, monkeypatch):
    """The other faults take longer: bench/find_faults.py."""
    monkeypatch.setenv("PREEMPT_DOUBLE", "hang-destroy")
    for patience in ("500 ms", "5 s"):  # a busy machine may delay another call by half a second

        def live(patience=patience):
            return xsched_session.live(scheduler="xsched", patience=patience.replace(" ", ""))

        found = first_broken(live, FEW, without=NOT_CLAIMED)
        assert found is not None
        if found.rule == "destroy returns" and found.reproduced:
            break
    assert found.reproduced
    assert found.rule == "destroy returns"
    assert found.sentence == f"XSched did not return from destroying queue 'xq0' within {patience}"
    assert [line.split("(")[0] for line in found.steps] == ["q0 = xqueues", "q0.destroy"]


# ---- requests that start after those of other queues

PIPELINE = (
    *(Step(does="create", queue=i, priority=i, depth=(2, 1)) for i in range(3)),
    Step(does="submit", queue=0, workload=spin("1ms", layers=40)),
    Step(does="submit", queue=1, workload=spin("1ms", layers=40)),
    Step(does="submit", queue=2, after=0),
    Step(does="wait", queue=2),
)
"""Queue 2, the highest one, waits for queue 0, the lowest one, and queue 1 is between them."""
PIPELINE_RULES = ("starts after", "no circular wait", "inversion is bounded")
(FOLLOWED,) = (steps for steps in pairs_of_steps(0) if steps[-1].does == "follow")
"""The same in fewer steps, which `first_broken` takes itself."""


def test_xsched_alone_decides_which_queue_waits(xsched_session):
    queues = xsched_session.live(scheduler="xsched")
    low, high = queues(priority=1), queues(priority=2)
    # So much that low does not complete on its own while the second call is late.
    waiting, busy = low.submit(spin("1ms", layers=300)), high.submit(spin("1ms", layers=40))
    assert waiting.wait().completed_ns > busy.completed_ns
    assert low.counts.suspensions == 0  # of our own policy
    queues.close()


@pytest.mark.parametrize(
    ("fault", "steps", "patience", "rule", "line"),
    [
        (
            *("circular-wait", PIPELINE, "1s", "no circular wait"),
            'q2.submit(spin("1ms"), after=q0)',
        ),
        ("long-inversion", FOLLOWED, "10s", "inversion is bounded", "follow(q2)"),
    ],
)
def test_a_wait_without_end_and_a_long_one_are_found(
    xsched_session, monkeypatch, fault, steps, patience, rule, line
):
    assert played(xsched_session, steps, "10s", shown=PIPELINE_RULES) is None
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    # A busy machine may delay a call until the wait that the fault makes longer has ended.
    tries = (played(xsched_session, steps, patience, shown=()) for _ in range(5))
    broken = next((one for one in tries if one is not None), None)
    assert broken is not None and broken.rule == rule, broken
    assert line in map(str, broken.steps)


def played(session, steps, patience, shown):
    """Execute steps in a fresh process, and return the breach that they show.

    If there is none, these rules were `shown`, in one of five tries: on a busy machine a request
    may be complete before the one that is to wait for it is submitted.
    """
    for _ in range(5):
        queues = session.live(scheduler="xsched")
        executor = StepExecutor([queues], patience=patience)
        try:
            for step in steps:
                executor.execute(step)
        except BrokenRule as broken:
            return broken
        finally:
            queues.close()
        if executor.shown >= {*shown}:
            break
    assert executor.shown >= {*shown}
    return None

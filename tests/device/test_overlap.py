"""Calls of several threads that overlap, in real time, and faults of XSched that only they show."""

import re
import threading

import pytest

from pytest_xsched import Session, WorkerHung, XSchedError, spin
from pytest_xsched.native import run
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.steps import Step

LONG = spin("5ms", layers=24)
TWO_WITH_WORK = (
    Step(does="create", queue=0),
    Step(does="create", queue=1),
    Step(does="submit", queue=0, workload=LONG),
    Step(does="submit", queue=1, workload=spin("2ms", layers=5)),
    Step(does="sleep", duration="5ms"),  # until XSched has its commands
)


def at_once(*steps):
    return (*TWO_WITH_WORK, Step(does="together", steps=steps))


CONFIGURED = at_once(
    Step(does="set_launch_config", queue=0, depth=(2, 1)), Step(does="destroy", queue=1)
)
HINTED = at_once(Step(does="destroy", queue=0), Step(does="set_priority", queue=1, priority=3))
SUSPENDED = at_once(Step(does="suspend", queue=0), Step(does="suspend", queue=1))
SUBMITTERS = (
    Step(does="create", queue=0, depth=(2, 1)),
    Step(does="load", queue=0, workload=LONG),
    *[Step(does="together", steps=(Step(does="submit", queue=0),) * 4)] * 5,
)


@pytest.mark.parametrize("kind", ["sim", "cpu"])
@pytest.mark.parametrize("steps", [CONFIGURED, HINTED, SUSPENDED, SUBMITTERS])
def test_our_own_scheduler_takes_calls_of_several_threads(played, kind, steps):
    session = Session(Settings(device=kind))
    assert played(session.live, steps) is None
    session.close()


@pytest.mark.parametrize(
    ("fault", "steps", "rule"),
    [
        ("hang-wait-beside-destroy", CONFIGURED, "set_launch_config returns"),
        ("crash-hint-beside-destroy", HINTED, "the process survives"),
        ("hang-two-suspends", SUSPENDED, "suspend returns"),
    ],
)
def test_a_fault_that_only_overlapping_calls_show(
    xsched_session, played, monkeypatch, fault, steps, rule
):
    def make():
        return xsched_session.live(scheduler="xsched", patience="2s")

    one_by_one = (*steps[:-1], *steps[-1].steps)
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    assert played(make, one_by_one) is None
    broken = played(make, steps, tries=5)
    assert broken is not None and broken.rule.startswith(rule)


def test_the_calls_that_did_not_return_are_named(xsched_session, monkeypatch):
    monkeypatch.setenv("PREEMPT_DOUBLE", "hang-two-suspends")
    for _ in range(5):  # a busy machine may delay one call until the other one has returned
        queues = xsched_session.live(scheduler="xsched")
        q0, q1 = queues(), queues()
        queues.limit_calls("500ms")
        said = ""
        try:
            queues.together(q0.suspend, q1.suspend)
        except WorkerHung as error:
            said = str(error)
        queues.close()
        if said:
            break
    words = r"XSched did not return from suspending queue 'xq[01]' within 500 ms; suspending queue"
    assert re.match(words, said)


def test_the_results_of_calls_at_once_are_in_their_order():
    queues = Session(Settings(device="cpu")).live()
    xq = queues()
    tickets = queues.together(*[lambda: xq.submit(spin("1ms"))] * 4)
    assert sorted(ticket.number for ticket in tickets) == [0, 1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        queues.together(xq.suspend, lambda: 1 // 0)
    assert xq.state == "suspended"  # the others were made nevertheless
    queues.close()


def test_a_queue_that_another_thread_uses_is_destroyed_after_that():
    """The memory of the queue was freed under the thread that waited for it."""
    queues = Session(Settings(device="cpu")).live()
    for _ in range(20):
        xq = queues()
        xq.suspend()
        xq.submit(spin("1ms"))
        errors = []

        def wait(xq=xq, errors=errors):
            try:
                xq.wait()
            except XSchedError as error:
                errors.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        xq.destroy()
        thread.join()
        assert errors == ["the queue was destroyed"]
    queues.close()


def test_ctrl_c_at_the_begin_of_a_call_does_not_make_the_end_wait():
    """As if it came after a call was counted and before its end was sure to be."""
    queues = Session(Settings(device="cpu")).live()
    xq = queues()
    xq.native._uses.__enter__()
    xq.destroy()
    queues.close()


def test_queues_that_another_thread_uses_are_closed_after_that():
    """The memory of the run was freed under the thread that waited for a queue."""
    queues = Session(Settings(device="cpu")).live()
    for _ in range(20):
        xq = queues()
        xq.suspend()
        ticket = xq.submit(spin("1ms"))
        ended, began = [], threading.Event()

        def wait(ticket=ticket, ended=ended, began=began):
            began.set()
            try:
                ticket.wait()
            except XSchedError as error:
                ended.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        began.wait()
        queues.clear()
        thread.join()
        assert len(ended) == 1
    queues.close()


def test_a_queue_that_a_submit_waits_for_is_destroyed_after_the_submit(monkeypatch):
    """Its memory was freed under the thread that submitted a request to another queue."""
    queues = Session(Settings(device="cpu")).live()
    first, second = queues(), queues()
    ticket = first.submit(spin("1ms"))
    destroyer = threading.Thread(target=first.destroy)

    def slowly(commands):
        destroyer.start()
        destroyer.join(0.2)
        alive.append(destroyer.is_alive())
        return native_commands(commands)

    alive, native_commands = [], run._native_commands
    monkeypatch.setattr(run, "_native_commands", slowly)
    second.submit(spin("1ms"), after=ticket).wait()
    destroyer.join()
    assert alive == [True]
    queues.close()


def test_after_two_submitters_a_wait_is_for_both():
    """The ticket of the slower thread took the place of the later one."""
    queues = Session(Settings(device="cpu")).live()
    for _ in range(50):
        xq = queues()
        queues.together(*[lambda xq=xq: xq.submit(spin("100us"))] * 2)
        xq.wait()
        assert xq.counts.requests_completed == 2
        xq.destroy()
    queues.close()

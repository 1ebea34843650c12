"""After a fork the child starts afresh or is refused, and never hangs; the parent goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from pytest_xsched import spin

pytestmark = [
    pytest.mark.xsched(duration="100ms"),
    pytest.mark.usefixtures("late_is_fine"),
    # Said by Python 3.12 and later of any fork while another thread runs, which is the point here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

LIMIT_S = 120


def _answer(sender, function):
    try:
        sender.send(("returned", function()))
    except BaseException as error:
        sender.send((type(error).__name__, str(error)))


def _by_multiprocessing(sender, function):
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(sender, function))
    process.start()
    return process.pid, process.join


def _by_os_fork(sender, function):
    pid = os.fork()
    if pid == 0:
        try:
            _answer(sender, function)
        finally:
            os._exit(0)
    return pid, lambda: os.waitpid(pid, 0)


@pytest.fixture(params=[_by_multiprocessing, _by_os_fork], ids=["multiprocessing", "os_fork"])
def in_child(request):
    """Calls a function in a forked child: ("returned", value) or (name of the error, text)."""

    def call(function):
        receiver, sender = multiprocessing.Pipe(duplex=False)
        pid, join = request.param(sender, function)
        sender.close()
        in_time = receiver.poll(LIMIT_S)
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        join()
        assert in_time, f"the child did not answer within {LIMIT_S} s"
        return receiver.recv()

    return call


def small_run(xsched):
    """Measure a little, and give the number of requests of the open loop."""
    high = xsched.queue("high", spin("100us"), priority=10, rate="100/s")
    low = xsched.queue("low", spin("1ms"), priority=1)
    run = xsched.run(high, low)
    run.high.assert_no_errors()
    for queue in run.queues.values():
        assert queue.counts.launched == queue.counts.completed > 0
    return run.high.n


def test_the_child_gets_a_device_of_its_own(device, xsched, in_child):
    assert small_run(xsched) == 10
    assert in_child(lambda: small_run(xsched)) == ("returned", 10)
    assert small_run(xsched) == 10


def test_the_child_opens_live_queues_of_its_own(device, xsched, xqueues, in_child):
    xqueues().submit(spin("1ms")).wait()

    def live():
        queues = xsched.live()
        ticket = queues().submit(spin("1ms", layers=3)).wait()
        queues.close()
        return ticket.number

    assert in_child(live) == ("returned", 0)
    assert xqueues().submit(spin("1ms")).wait().done


@pytest.mark.parametrize(
    "use",
    [
        lambda xqueues, xq, ticket: xq.submit(spin("1ms")),
        lambda xqueues, xq, ticket: ticket.wait("1s"),
        lambda xqueues, xq, ticket: ticket.done,
        lambda xqueues, xq, ticket: xq.wait("1s"),
        lambda xqueues, xq, ticket: xq.counts,
        lambda xqueues, xq, ticket: xq.suspend(),
        lambda xqueues, xq, ticket: xq.resume(),
        lambda xqueues, xq, ticket: setattr(xq, "priority", 5),
        lambda xqueues, xq, ticket: xqueues(),
    ],
    ids=["submit", "wait", "done", "wait_all", "counts", "suspend", "resume", "priority", "new"],
)
def test_live_queues_of_the_parent_are_refused(device, xqueues, in_child, use):
    xq = xqueues()
    ticket = xq.submit(spin("30ms", layers=4))  # in flight while the fork happens

    kind, text = in_child(lambda: use(xqueues, xq, ticket))

    assert kind == "ForkedError"
    assert "fork" in text and "\n" not in text
    assert ticket.wait().done
    assert xq.counts.completed == 4


@pytest.mark.xsched(device="sim")
def test_virtual_time_of_the_parent_does_not_move(xqueues, in_child):
    kind, _ = in_child(lambda: xqueues.sleep("1s"))
    assert kind == "ForkedError"
    xqueues.sleep("1ms")
    assert xqueues.now.ns == 1_000_000


def test_the_child_may_leave_everything_behind(device, xsched, xqueues, in_child):
    """Destroying and closing what belongs to the parent does nothing, and does not hang."""
    xq = xqueues()
    ticket = xq.submit(spin("30ms", layers=4))

    def leave():
        xq.destroy()
        xqueues.close()
        xsched.close()
        return "left"

    assert in_child(leave) == ("returned", "left")
    assert ticket.wait().done
    assert xq.submit(spin("1ms")).wait().done


def test_fork_while_a_run_is_measured(device, xsched, in_child):
    """Whatever locks the native side holds at that moment, the child does not wait for them."""
    small_run(xsched)
    duration = "1s" if device == "cpu" else "200s"  # virtual time goes by faster
    failures = []

    def measure():
        try:
            high = xsched.run(
                xsched.queue("high", spin("100us"), priority=10, rate="500/s"),
                xsched.queue("low", spin("50us", layers=4), priority=1),
                duration=duration,
                drain="60s",  # it ends with the last request; a busy machine needs some seconds
            ).high
            # Not assert_no_errors(): a busy machine may send requests late, and says so.
            assert (high.counts.failed, high.unfinished) == (0, 0)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    time.sleep(0.1)
    answers = [in_child(lambda: small_run(xsched)) for _ in range(3)]
    thread.join(LIMIT_S)

    assert not thread.is_alive()
    assert answers == [("returned", 10)] * 3
    assert failures == []

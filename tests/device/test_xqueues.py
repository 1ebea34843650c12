"""Live XQueues: order, counts and invariants on cpu, exact times on sim."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta

import pytest

from pytest_xsched import (
    QueueTimeout,
    ScenarioError,
    XSchedError,
    matmul,
    ms,
    sequence,
    spin,
    us,
    vector_add,
)

LAUNCH_NS = 5_000  # from a launch to the device, on sim


def test_requests_complete_and_are_counted(device, xqueues):
    xq = xqueues(priority=7)
    assert (xq.name, xq.priority, xq.state) == ("xq0", 7, "idle")
    xq.wait()  # nothing was submitted

    first = xq.submit(spin("1ms", layers=5))
    second = xq.submit(spin("0s"))
    assert (first.number, second.number) == (0, 1)
    xq.wait()

    assert first.done and second.done
    assert first.completed_ns <= second.completed_ns
    assert first.launched_ns <= second.launched_ns
    assert first.latency >= 5 * ms
    c = xq.counts
    assert (c.submitted, c.launched, c.completed, c.failed) == (6, 6, 6, 0)
    assert (c.requests_submitted, c.requests_completed, c.suspended) == (2, 2, 0)
    assert xq.state == "idle"


def test_a_request_is_not_done_before_it_is(device, xqueues):
    ticket = xqueues().submit(spin("1s"))
    assert not ticket.done
    assert ticket.wait().done


def test_every_kind_of_work_and_the_longest_request(device, xqueues):
    xq = xqueues(threshold=64, batch_size=16)
    for workload in (matmul(8, batch=2, layers=3), vector_add(100), spin("0s", layers=4096)):
        xq.submit(workload)
    xq.wait()
    assert xq.counts.completed == 3 + 1 + 4096


def test_a_suspended_queue_launches_nothing(device, xqueues):
    xq = xqueues()
    xq.suspend()
    ticket = xq.submit(spin("1ms", layers=3))

    with pytest.raises(QueueTimeout) as error:
        ticket.wait("50ms")

    assert str(error.value) == (
        "queue 'xq0': request 0 did not complete within 50 ms; the queue is suspended, "
        "0 of 3 commands completed"
    )
    assert isinstance(error.value, TimeoutError)
    assert (xq.state, xq.counts.launched) == ("suspended", 0)

    xq.resume()
    ticket.wait()
    assert (xq.state, xq.counts.completed) == ("idle", 3)


def test_what_is_in_flight_at_a_suspend_completes(device, xqueues, until):
    xq = xqueues(threshold=2, batch_size=1)
    xq.submit(spin("20ms", layers=100))
    until(lambda: xq.counts.completed > 0, lambda: xqueues.sleep("5ms"))

    xq.suspend()
    launched = xq.counts.launched
    assert 0 < launched < 100
    until(lambda: xq.counts.completed == launched, lambda: xqueues.sleep("5ms"))
    xqueues.sleep("50ms")

    c = xq.counts
    assert (c.launched, c.completed) == (launched, launched)
    assert c.state == "suspended"
    xq.resume()
    xq.wait()
    assert xq.counts.completed == 100


def test_suspend_and_resume_do_not_add_up(device, xqueues):
    xq = xqueues()
    xq.suspend()
    xq.suspend()
    xq.resume()
    xq.resume()
    assert xq.submit(spin("1ms")).wait().done


def test_counts_are_ordered_and_in_flight_is_bounded_at_every_look(device, xqueues):
    xq = xqueues(threshold=6, batch_size=3)
    for _ in range(4):
        xq.submit(spin("1ms", layers=25))
    looks = [xq.counts]
    while looks[-1].completed < 100:
        xqueues.sleep("1ms")
        looks.append(xq.counts)

    for c in looks:
        assert c.completed <= c.launched <= c.submitted == 100
        assert c.launched - c.completed <= 6
        assert c.requests_completed <= c.requests_submitted == 4
    for before, after in itertools.pairwise(looks):
        assert before.launched <= after.launched and before.completed <= after.completed


def test_a_higher_queue_overtakes_a_lower_one(device, xqueues, until):
    low, high = xqueues(priority=1), xqueues(priority=2)
    backlog = low.submit(spin("5ms", layers=200))
    until(lambda: low.counts.launched > 0, lambda: xqueues.sleep("5ms"))

    urgent = high.submit(spin("5ms"))

    urgent.wait()
    assert not backlog.done
    backlog.wait()
    assert urgent.completed_ns < backlog.completed_ns
    assert low.counts.suspended == 1
    assert high.counts.suspended == 0


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1)])
def test_priority_changed_while_queues_run(device, xqueues, first, second, until):
    a, b = xqueues(priority=2), xqueues(priority=first)
    of_a, of_b = a.submit(spin("5ms", layers=100)), b.submit(spin("5ms", layers=100))
    until(lambda: a.counts.launched + b.counts.launched > 0, lambda: xqueues.sleep("5ms"))

    b.priority = second

    assert b.priority == second
    winner, other = (of_b, of_a) if second > 2 else (of_a, of_b)
    winner.wait()
    assert not other.done
    other.wait()
    assert winner.completed_ns < other.completed_ns


def test_queues_of_equal_priority_run_together(device, xqueues):
    a, b = xqueues(priority=5), xqueues(priority=5)
    of_a, of_b = a.submit(spin("5ms", layers=100)), b.submit(spin("5ms", layers=100))
    of_a.wait()
    of_b.wait()
    assert of_b.launched_ns < of_a.completed_ns and of_a.launched_ns < of_b.completed_ns
    assert a.counts.suspended == b.counts.suspended == 0


def test_switched_off_the_scheduler_holds_nobody_back(device, xqueues):
    low, high = xqueues(priority=1), xqueues(priority=2)
    high.submit(spin("10ms", layers=4000))
    ticket = low.submit(spin("1ms"))
    xqueues.sleep("15ms")
    assert not ticket.done

    xqueues.switch_off()

    assert ticket.wait().done
    assert high.counts.completed < 4000
    low.priority = 0
    assert low.submit(spin("1ms")).wait().done


@pytest.mark.xsched(policy="none")
def test_without_a_policy_priority_suspends_nobody(device, xqueues):
    low, high = xqueues(priority=1), xqueues(priority=2)
    of_low, of_high = low.submit(spin("5ms", layers=100)), high.submit(spin("5ms", layers=100))
    of_low.wait()
    of_high.wait()
    assert of_low.launched_ns < of_high.completed_ns
    assert low.counts.suspended == 0


def test_destroy_drops_what_was_not_launched(device, xqueues, until):
    xq, other = xqueues(threshold=2, batch_size=1), xqueues()
    ticket = xq.submit(spin("10ms", layers=4000))
    until(lambda: xq.counts.launched > 0, lambda: xqueues.sleep("5ms"))

    started = time.monotonic()
    xq.destroy()
    assert time.monotonic() - started < 20  # of 40 s

    for use in (
        lambda: xq.counts,
        lambda: xq.state,
        lambda: xq.submit(spin("1ms")),
        xq.suspend,
        xq.resume,
        lambda: ticket.done,
        lambda: ticket.wait("1s"),
    ):
        with pytest.raises(XSchedError, match="destroyed"):
            use()
    xq.destroy()
    assert other.submit(spin("1ms")).wait().done


def test_a_destroyed_higher_queue_holds_nobody_back(device, xqueues):
    low, high = xqueues(priority=1), xqueues(priority=2)
    high.submit(spin("10ms", layers=4000))
    ticket = low.submit(spin("1ms"))
    xqueues.sleep("15ms")
    assert not ticket.done

    high.destroy()

    assert ticket.wait().done


def test_a_suspended_higher_queue_holds_nobody_back(device, xqueues):
    low, high = xqueues(priority=1), xqueues(priority=2)
    high.suspend()
    high.submit(spin("10ms"))
    assert low.submit(spin("1ms")).wait().done
    assert high.counts.launched == 0


def test_more_queues_come_and_go_than_may_exist_at_a_time(device, xqueues):
    for _ in range(300):
        xq = xqueues()
        xq.submit(spin("0s"))
        xq.destroy()
    assert xqueues().name == "xq300"


def test_closing_does_not_wait_for_what_was_submitted(device, xqueues):
    for _ in range(3):
        xqueues().submit(spin("10ms", layers=4000))
    xqueues.sleep("15ms")

    started = time.monotonic()
    xqueues.close()
    assert time.monotonic() - started < 20  # of 120 s


def test_nothing_is_left_of_queues_that_were_closed(device, xqueues):
    xq = xqueues()
    ticket, waited_for = xq.submit(spin("1ms")), xq.submit(spin("1ms"))
    waited_for.wait()
    xqueues.close()
    for use in (lambda: xq.counts, lambda: xq.submit(spin("1ms")), lambda: ticket.done):
        with pytest.raises(XSchedError):
            use()
    assert waited_for.done and waited_for.latency >= 1 * ms
    xq.destroy()
    xqueues.close()


def test_most_unfinished_requests(device, xqueues):
    xq = xqueues()
    xq.suspend()
    for _ in range(4096):
        xq.submit(spin("0s"))
    with pytest.raises(ScenarioError, match="'xq0' has 4096 unfinished requests"):
        xq.submit(spin("0s"))
    xq.resume()
    xq.wait()
    assert xq.counts.requests_completed == 4096


def test_bad_values(device, xqueues):
    xq = xqueues(name="mine")
    for value, words in ((256, r"256 is outside \[-255, 255\]"), ("high", "'high' is not an int")):
        with pytest.raises(ScenarioError, match=f"^queue 'mine': priority {words}"):
            xq.priority = value
    assert xq.priority == 0
    words = r"^queue 'mine': submit takes a workload such as matmul"
    with pytest.raises(ScenarioError, match=words):
        xq.submit("1ms")
    with pytest.raises(ScenarioError, match=r"^timeout: 5 has no unit"):
        xq.submit(spin("0s")).wait(5)
    with pytest.raises(ScenarioError, match=r"^duration of sleep: 5 has no unit"):
        xqueues.sleep(5)
    with pytest.raises(ScenarioError, match=r"^queue 'xq1': threshold 1 is below batch_size 2"):
        xqueues(threshold=1, batch_size=2)
    with pytest.raises(ScenarioError, match=r"^queue name 'a b' is not a Python identifier"):
        xqueues(name="a b")


@pytest.mark.xsched(device="sim")
def test_what_would_change_nothing_cannot_be_assigned(xqueues):
    xq = xqueues()
    with pytest.raises(ScenarioError, match=r"as 'edf'; write xqueues\.set_policy\("):
        xqueues.policy = "edf"
    for live, name in ((xq, "threshold"), (xq, "deadlne"), (xqueues, "seed")):
        with pytest.raises(AttributeError, match=name):
            setattr(live, name, 1)


# ---- virtual time is exact


@pytest.mark.xsched(device="sim")
def test_sleep_moves_virtual_time_exactly(xqueues):
    xq = xqueues()
    assert xqueues.now == 0 * ms
    for duration in ("5ms", 1 * us, timedelta(seconds=90), "1ns", "10h"):
        xqueues.sleep(duration)
    so_far_ns = 5_000_000 + 1_000 + 90 * 10**9 + 1 + 36_000 * 10**9
    assert xqueues.now.ns == so_far_ns
    xq.submit(spin("1ms"))
    xqueues.sleep("3ms")
    assert xqueues.now.ns == so_far_ns + 3_000_000


@pytest.mark.xsched(device="sim")
def test_times_of_a_request_in_virtual_time(xqueues):
    xqueues.sleep("1ms")
    xq = xqueues(threshold=4, batch_size=2)
    ticket = xq.submit(spin("1ms", layers=3))
    assert ticket.launched_ns == 1_000_000
    # The later launches reach the device while the first command executes.
    assert ticket.completed_ns == 1_000_000 + LAUNCH_NS + 3_000_000
    assert ticket.latency.ns == LAUNCH_NS + 3_000_000
    assert xqueues.now.ns == ticket.completed_ns


@pytest.mark.xsched(device="sim")
@pytest.mark.parametrize("times", [("1ms", "3ms"), ("1ms",), ("1ms", "2ms", "4ms")])
def test_requests_that_begin_alike_are_not_the_same(xqueues, times):
    """The queue keeps what it prepared for a request, and uses it for equal requests only."""
    xq = xqueues(threshold=4, batch_size=1)
    xq.submit(sequence([spin("1ms"), spin("2ms")])).wait()
    ticket = xq.submit(sequence([spin(time) for time in times])).wait()
    assert ticket.latency.ns == LAUNCH_NS + sum(int(time[0]) for time in times) * 10**6


@pytest.mark.xsched(device="sim")
def test_a_time_out_takes_exactly_its_virtual_time(xqueues):
    ticket = xqueues().submit(spin("1s"))
    with pytest.raises(QueueTimeout, match=r"within 300 ms; the queue is ready, 0 of 1 commands"):
        ticket.wait("300ms")
    assert xqueues.now.ns == 300_000_000
    ticket.wait("1s")
    assert xqueues.now.ns == 1_000_000_000 + LAUNCH_NS


@pytest.mark.xsched(device="sim")
def test_delay_by_a_lower_queue_is_bounded_by_its_threshold(xqueues):
    low, high = xqueues(priority=1, threshold=4, batch_size=1), xqueues(priority=2)
    low.submit(spin("1ms", layers=1000))
    xqueues.sleep("10.5ms")
    urgent = high.submit(spin("1ms"))
    # What is in flight goes first, of the command in execution only the rest.
    assert 4 * ms < urgent.latency < 5 * ms


@pytest.mark.xsched(device="sim")
def test_the_same_moves_give_the_same_times(xsched):
    def moves():
        xqueues = xsched.live()
        a, b = xqueues(priority=1), xqueues(priority=2, threshold=8, batch_size=4)
        tickets = [a.submit(matmul(64, layers=20)), b.submit(vector_add(10**6, layers=7))]
        xqueues.sleep("20us")
        a.priority = 3
        tickets += [b.submit(spin("1ms")), a.submit(spin("2ms", layers=2))]
        times = [(t.launched_ns, t.completed_ns) for t in tickets]
        xqueues.close()
        return times

    assert moves() == moves()


@pytest.mark.xsched(device="cpu")
def test_sleep_and_time_outs_take_at_least_their_real_time(xqueues):
    before, started = xqueues.now, time.monotonic()
    xqueues.sleep("20ms")
    assert time.monotonic() - started >= 0.02
    assert xqueues.now - before >= 20 * ms

    xq = xqueues()
    xq.suspend()  # so that the request is not done before a busy machine lets this thread wait
    ticket = xq.submit(spin("1ms"))
    started = time.monotonic()
    with pytest.raises(QueueTimeout):
        ticket.wait("120ms")
    assert time.monotonic() - started >= 0.12


def test_a_request_starts_after_one_of_another_queue(device, xqueues):
    first, second = xqueues(priority=0), xqueues(priority=1)
    first.suspend()
    early = first.submit(spin("1ms", layers=3))
    late = second.submit(spin("1ms"), after=early)
    xqueues.sleep("5ms")
    assert (second.state, second.counts.launched, late.done) == ("waiting", 0, False)
    first.resume()
    assert late.wait().launched_ns >= early.completed_ns
    assert late.latency >= 6 * ms
    assert second.submit(spin("1ms"), after=late).wait().done


def test_a_request_that_was_dropped_is_not_waited_for(device, xqueues):
    first, second = xqueues(), xqueues()
    first.suspend()
    late = second.submit(spin("1ms"), after=first.submit(spin("1ms")))
    first.destroy()
    assert late.wait().done


def test_only_tickets_of_queues_next_to_it_can_be_waited_for(device, xqueues):
    first = xqueues()
    old = first.submit(spin("1ms"))
    with pytest.raises(ScenarioError, match=r"^queue 'xq0': after='xq1' is no ticket; write"):
        first.submit(spin("1ms"), after="xq1")
    xqueues.clear()
    with pytest.raises(ScenarioError, match="only queues of the same xqueues wait for each other"):
        xqueues().submit(spin("1ms"), after=old)

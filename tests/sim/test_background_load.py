"""Live queues with a load of their own, in virtual time: exact counts, and steps with loads."""

import pytest

from pytest_xsched import ScenarioError, Session, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import Step


@pytest.fixture
def xqueues():
    session = Session(Settings(device="sim"))
    yield session.live()
    session.close()


def test_a_closed_loop_always_has_work_until_it_ends(xqueues):
    low, high = xqueues(priority=1), xqueues(priority=2)
    high.load(spin("1ms"))
    waiting = low.submit(spin("1ms"))
    xqueues.sleep("100ms")
    c = high.counts
    # The first command takes its way to the device; each later one follows the one before.
    assert (c.completed, c.submitted, c.most_in_flight) == (99, 101, 2)
    assert (c.background_commands, c.background_requests) == (101, 101)
    assert (low.state, low.counts.launched, waiting.done) == ("suspended", 0, False)
    high.unload()
    high.wait()
    assert (high.state, high.counts.completed) == ("idle", 101)
    waiting.wait()
    xqueues.sleep("10ms")
    assert high.counts.submitted == 101  # nothing arrives after the end


def test_an_open_loop_leaves_time_to_a_lower_queue(xqueues):
    low, high = xqueues(priority=1, threshold=1, batch_size=1), xqueues(priority=2)
    high.load(spin("1ms"), every="4ms")
    low.load(spin("1ms"), concurrency=1)
    xqueues.sleep("40ms")
    assert high.counts.background_requests == 11  # one at 0 ms, the last one at 40 ms
    assert low.counts.completed >= 27  # three in each gap, but for the ways to the device


def test_an_open_loop_leaves_out_no_arrival_while_its_queue_is_suspended(xqueues):
    xq = xqueues()
    xq.load(spin("1ms"), every="5ms")
    xqueues.sleep("22ms")
    assert xq.counts.background_requests == 5  # at 0, 5, ..., 20 ms
    xq.suspend()
    xqueues.sleep("100ms")
    assert xq.counts.background_requests == 7  # more than two are not unfinished at once
    xq.resume()
    xqueues.sleep("60ms")
    assert xq.counts.background_requests == 37  # one every 5 ms, up to 180 ms


def test_an_open_loop_has_no_more_unfinished_requests_than_it_may(xqueues):
    xq = xqueues()
    xq.load(spin("10ms"), every="1ms", concurrency=3)
    xqueues.sleep("25ms")
    c = xq.counts
    assert (c.requests_completed, c.requests_submitted) == (2, 5)
    xq.load(spin("10ms"), concurrency=1)  # takes its place
    xq.wait()
    xqueues.sleep("100ms")
    assert xq.counts.requests_submitted - xq.counts.requests_completed == 1


def test_requests_of_the_user_go_between_those_of_a_load(xqueues):
    xq = xqueues(threshold=1, batch_size=1)
    xq.load(spin("1ms"))
    tickets = [xq.submit(spin("1ms", layers=2)) for _ in range(3)]
    xqueues.sleep("20ms")
    assert [ticket.done for ticket in tickets] == [True] * 3
    assert [ticket.number for ticket in tickets] == [2, 3, 4]
    c = xq.counts
    assert c.requests_submitted == 3 + c.background_requests
    assert c.submitted == 6 + c.background_commands
    xqueues.sleep("5s")  # thousands of requests later, their times are gone
    xq.wait()


def test_bad_loads_are_refused(xqueues):
    xq = xqueues(name="q")
    with pytest.raises(ScenarioError, match=r"queue 'q': load takes a workload such as"):
        xq.load("spin")
    with pytest.raises(ScenarioError, match=r"queue 'q': concurrency 0 is outside \[1, 4095\]"):
        xq.load(spin("1ms"), concurrency=0)
    with pytest.raises(ScenarioError, match="queue 'q': every"):
        xq.load(spin("1ms"), every="soon")
    xq.unload()  # there is none, and nothing was submitted
    assert xq.state == "idle"


def test_steps_with_loads_print_as_python(xqueues):
    executor = StepExecutor([xqueues])
    workload = spin("1ms", layers=2)
    for step in (
        Step(does="create", queue=0),
        Step(does="load", queue=0, workload=workload),
        Step(does="load", queue=0, every="2ms"),
        Step(does="sleep", duration="50ms"),
        Step(does="unload", queue=0),
        Step(does="unload", queue=0),  # there is none any more
    ):
        executor.execute(step)
    executor.finish()
    assert list(map(str, executor.executed)) == [
        "q0 = xqueues(priority=0, threshold=4, batch_size=2)",
        'q0.load(spin("1ms", layers=2))',
        'q0.load(spin("1ms"), every="2ms")',
        'xqueues.sleep("50ms")',
        "q0.unload()",
        "q0.wait()",
        "q0.destroy()",
    ]


def test_a_queue_below_a_load_may_wait_and_can_be_destroyed(xqueues):
    executor = StepExecutor([xqueues])
    for step in (
        Step(does="create", queue=0, priority=1),
        Step(does="load", queue=0),
        Step(does="create", queue=1, priority=0),
        Step(does="submit", queue=1, workload=spin("1ms", layers=20)),
        Step(does="wait", queue=1),
        Step(does="wait", queue=0),
        Step(does="set_launch_config", queue=1, depth=(1, 1)),
        Step(does="destroy", queue=1),
    ):
        executor.execute(step)
    executor.finish()

"""The engine of threads against the one in virtual time: the same order of launches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_xsched import Session, closed, replay, spin
from pytest_xsched.session.settings import Settings

RANDOM = settings(
    settings.get_profile("xsched-nightly"),
    max_examples=15,
    database=None,
    report_multiple_bugs=False,
)


def order_of_launches(device, backlog, threshold):
    """All is submitted while the queues are suspended: (priority, of how many commands).

    They are resumed from the highest priority down, so that the order does not depend on how fast
    that is. Returns the priority of each request in order of launch.
    """
    session = Session(Settings(device=device))
    queues = session.live()
    batch_size = min(2, threshold)
    held = {
        priority: queues(priority=priority, threshold=threshold, batch_size=batch_size)
        for priority in sorted({priority for priority, _ in backlog}, reverse=True)
    }
    for queue in held.values():
        queue.suspend()
    tickets = [
        (priority, held[priority].submit(spin("200us", layers=layers)))
        for priority, layers in backlog
    ]
    for queue in held.values():
        queue.resume()
    launched = sorted((ticket.launched_ns, -priority) for priority, ticket in tickets)
    most = [queue.counts.most_in_flight for queue in held.values()]
    queues.close()
    session.close()
    assert max(most) <= threshold
    return [-priority for _, priority in launched]


@RANDOM
@given(
    backlog=st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 4)), min_size=1, max_size=8),
    threshold=st.sampled_from([1, 2, 4]),
)
def test_the_same_order(backlog, threshold):
    found = order_of_launches("cpu", backlog, threshold)
    assert found == order_of_launches("sim", backlog, threshold)
    assert found == sorted((priority for priority, _ in backlog), reverse=True)


@pytest.mark.parametrize("policy", ["fair", "partition"])
def test_policies_that_share_are_called_at_their_ticks(policy):
    """Neither of two closed loops ever runs out of work, so nothing but the time calls it."""
    session = Session(Settings(device="cpu", fixed_duration=True))
    queues = [session.queue(name, spin("1ms"), arrivals=closed(concurrency=2)) for name in "ab"]
    run = session.run(*queues, duration="500ms", warmup="0s", policy=policy)
    session.close()
    for name in run:
        assert run[name].counts.requests_completed >= 5
        assert run[name].counts.suspended >= 2


def test_a_request_is_late_by_its_arrival():
    """Latency counts from when the request was to come, not from when the runner sent it."""
    session = Session(Settings(device="cpu", fixed_duration=True))
    queue = session.queue("q", spin("2ms"), arrivals=replay(["5ms", "5ms", "11ms"]))
    samples = session.run(queue, duration="50ms", warmup="0s").q.samples
    session.close()
    assert samples["scheduled_ns"].tolist() == [5_000_000, 5_000_000, 11_000_000]
    # Equal where the thread spun right up to the arrival.
    assert (samples["submitted_ns"] >= samples["scheduled_ns"]).all()


def test_a_run_ends_on_time_and_waits_for_what_is_in_flight():
    """At the end of the drain the first of forty requests is on the device, and is the last."""
    session = Session(Settings(device="cpu", fixed_duration=True))
    queue = session.queue("q", spin("25ms"), arrivals=replay(["0ms"] * 40), threshold=1)
    counts = session.run(queue, duration="5ms", warmup="0s", drain="5ms").q.counts
    session.close()
    assert counts.submitted == 40
    assert counts.launched < 40
    assert counts.completed == counts.launched

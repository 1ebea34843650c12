"""The engine of threads against the one in virtual time: the same order of launches."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_xsched import Session, spin
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

"""A busy machine delays threads: steps on live queues then show nothing, and find nothing."""

from types import SimpleNamespace

import pytest

from pytest_xsched import Duration
from pytest_xsched.stress.background_load import took_over
from pytest_xsched.stress.competition import overtaken

MS = 1_000_000


class Live:
    """Live queues whose threads had to wait for a processor, each time by as much."""

    is_virtual = False

    def __init__(self, delay_ms):
        self._delays = iter((0, delay_ms))

    @property
    def run_delay(self):
        return Duration(next(self._delays) * MS)


def ticket(submitted, launched, completed):
    return SimpleNamespace(
        launched_ns=launched * MS,
        completed_ns=completed * MS,
        latency=Duration((completed - submitted) * MS),
    )


def outcome(*, late=(), delay_ms=0, second_ms=1):
    """Let a queue have work from 0 to 100 ms, and one below it launch at some times, in ms."""
    high = SimpleNamespace(name="high", priority=2, threshold=1)
    low = SimpleNamespace(name="low", priority=1, threshold=1)
    above = iter([ticket(0, 1, 99), ticket(second_ms, 100, 101)])
    below = [ticket(-5, at, at + 1) for at in (-4, *late, 102)]

    def submit(queue, workload, times):
        return below if queue is low else [next(above)]

    return overtaken(Live(delay_ms), high, [low], submit)


def test_launches_below_a_queue_that_waits_are_a_breach():
    assert outcome() == ""
    assert "low launched 2 requests while high" in outcome(late=(15, 25, 30))


@pytest.mark.parametrize(
    ("delay_ms", "found"), [(9, True), (11, False), (90, False)], ids=["less", "more", "too busy"]
)
def test_a_launch_that_a_delay_of_threads_explains_is_none(delay_ms, found):
    assert bool(outcome(late=(30,), delay_ms=delay_ms)) == found


def test_a_busy_machine_shows_nothing():
    assert outcome(delay_ms=90) is None
    # The queue may have been idle before its second request.
    assert outcome(late=(30,), second_ms=21) is None


def test_a_load_whose_next_request_was_delayed_leaves_time_to_lower_queues():
    class State(SimpleNamespace):
        __hash__ = object.__hash__

    top, low = State(deepest=1, durations_ns={MS}), State(deepest=1, durations_ns={MS})
    counts = [SimpleNamespace(launched=n) for n in (0, 20, 31)]
    before, now = {top: counts[0], low: counts[0]}, {top: counts[1], low: counts[2]}
    assert took_over(top, [low], before, now, 0) is low
    assert took_over(top, [low], before, now, 20 * MS) is None

"""Step "compete" on a busy machine, which delays threads: what it delays is no breach."""

from types import SimpleNamespace

import pytest

from pytest_xsched import Duration
from pytest_xsched.stress.competition import overtaken

MS = 1_000_000
LIVE = SimpleNamespace(is_virtual=False)


def ticket(submitted, launched, completed):
    return SimpleNamespace(
        launched_ns=launched * MS,
        completed_ns=completed * MS,
        latency=Duration((completed - submitted) * MS),
    )


def outcome(late=(), second_ms=1):
    """Let a queue have work from 0 to 100 ms, and one below it launch at some times, in ms."""
    high = SimpleNamespace(name="high", priority=2, threshold=1)
    low = SimpleNamespace(name="low", priority=1, threshold=1)
    above = iter([ticket(0, 1, 99), ticket(second_ms, 100, 101)])
    below = [ticket(-5, at, at + 1) for at in (-4, *late, 102)]

    def submit(queue, workload, times):
        return below if queue is low else [next(above)]

    return overtaken(LIVE, high, [low], submit)


def test_launches_below_a_queue_that_waits_are_a_breach():
    assert outcome() == ""
    assert "low launched 11 requests while high" in outcome(range(30, 52, 2))


@pytest.mark.parametrize(
    ("late", "found"), [(range(0, 20, 2), ""), ((60,), ""), (range(22, 42, 2), None)]
)
def test_launches_that_were_late_because_of_the_machine_are_none(late, found):
    """Soon after, one that was on its way, and as long as a thread may wait."""
    assert outcome(late) == found


def test_a_queue_that_may_have_been_idle_before_its_second_request_shows_nothing():
    assert outcome(range(30, 52, 2), second_ms=21) is None

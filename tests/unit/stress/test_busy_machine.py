"""Steps "compete" and "divide" on a busy machine: threads that it delays break no rule."""

from types import SimpleNamespace

import pytest

from pytest_xsched import Duration
from pytest_xsched.stress.competition import got_less, overtaken

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


def divided(small_each, large_each=2, first_ms=0):
    """Let two queues launch a request in every so many ms, from 0 on; the larger one is `one`."""
    one, other = (
        SimpleNamespace(name=name, utilization=percent) for name, percent in (("a", 100), ("b", 10))
    )

    def submit(queue, workload, times):
        each = large_each if queue is one else small_each
        return [ticket(first_ms, each * i + 1, each * i + 2) for i in range(times)]

    return got_less(one, other, submit)


def test_a_queue_that_gets_less_by_a_larger_utilization_is_a_breach():
    assert divided(small_each=20) == ""
    sentence = divided(small_each=2, large_each=20)
    assert sentence == (
        "b launched 119 requests while a, whose utilization is 100 and not 10, launched 12"
    )


@pytest.mark.parametrize(("large_each", "found"), [(2, ""), (3, None), (4, None)])
def test_turns_in_which_a_busy_machine_lets_each_queue_launch_one_are_none(large_each, found):
    assert divided(small_each=2, large_each=large_each) == found


def test_too_few_launches_show_nothing():
    assert divided(small_each=1, large_each=40, first_ms=70) is None

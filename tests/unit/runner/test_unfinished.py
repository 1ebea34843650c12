"""What a run says while it waits after its end: which queue, how many commands, in which call."""

from types import SimpleNamespace

import pytest

from pytest_xsched.runner.unfinished import Unfinished
from pytest_xsched.workers.worker import DOING, MOVED
from pytest_xsched.workers.worker_process import WorkerMessages

RUN = SimpleNamespace(warmup_ns=1, duration_ns=2, drain_ns=3)
END_NS = 6


class Queue:
    def __init__(self, launched, completed, call=""):
        self.launched, self.completed, self.call = launched, completed, call

    def counts(self):
        return SimpleNamespace(launched=10, completed=self.completed)

    def scheduler_call(self):
        return self.call, self.launched


@pytest.fixture
def said():
    return []


def unfinished(said, **queues):
    return Unfinished(queues, RUN, lambda sentence, moved: said.append((sentence, moved)))


def test_nothing_is_said_before_the_end_of_the_drain_and_after_the_run(said):
    one = unfinished(said, low=Queue(3, 2))
    one.poll(END_NS - 1)
    one.poll(END_NS, last=True)
    assert said == []


def test_a_hang_is_said_once_with_the_queue_and_the_call(said):
    one = unfinished(said, high=Queue(10, 10), low=Queue(3, 2, "XQueueSubmit"))
    for _ in range(3):
        one.poll(END_NS)
    assert said == [
        (
            "it waited for queue 'low' (10 commands, 3 launched, 2 completed), inside XQueueSubmit",
            False,
        )
    ]


def test_a_call_of_a_queue_without_work_counts(said):
    unfinished(said, high=Queue(10, 10, "XQueueSubmit"), low=Queue(9, 9)).poll(END_NS)
    (sentence, _) = said[0]
    assert "queue 'high'" in sentence and ", and for queue 'low'" in sentence


def test_commands_that_complete_are_no_hang(said):
    low = Queue(10, 2)
    one = unfinished(said, low=low)
    for low.completed in (2, 3, 3, 4):
        one.poll(END_NS)
    assert [moved for _, moved in said] == [False, True, True]


def test_a_slow_worker_gets_its_time_again_and_a_hanging_one_does_not():
    messages = WorkerMessages(7.0, 1.0, None, None)
    assert messages.read([f"{DOING}it waited for queue 'low'"]) is None
    assert messages.doing == "it waited for queue 'low'"
    assert messages.read([MOVED]) == 7.0

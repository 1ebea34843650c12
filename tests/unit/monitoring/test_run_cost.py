"""What a scheduler costs in a run: which reads count, and how windows and processes add up."""

import math

import numpy as np
import pytest

from pytest_xsched.monitoring.run_cost import PERIOD_NS, CostReader, RunCost, unite_costs
from pytest_xsched.system.scheduler_cost import QUEUES, SCHEDULER, SchedulerCost

S = 10**9


class Threads:
    """Threads whose counters grow by one with each read."""

    def __init__(self):
        self.reads = 0
        self.names = []
        self.alive = {1, 2}

    def __call__(self, name):
        self.reads += 1
        self.names.append(name)
        n = self.reads
        return SchedulerCost({thread: (1000 * n, 10 * n, n) for thread in self.alive})


def reader(threads, own=True):
    return CostReader(own_threads=own, start_ns=S, end_ns=2 * S, read=threads)


def test_only_reads_within_the_window_count():
    threads = Threads()
    one = reader(threads)
    for now_ns in range(0, 3 * S, PERIOD_NS // 2):
        one.poll(now_ns)
    one.poll(3 * S, last=True)
    assert threads.reads == S // PERIOD_NS + 1  # the begin of the window, and each period
    cost = one.cost()
    assert (cost.start_ns, cost.end_ns, cost.over_ns) == (S, 2 * S, S)
    assert (cost.threads, cost.processor_ns, cost.wakeups) == (2, 2 * 10_000, 2 * 100)


def test_a_window_from_the_start_of_the_run_ends_with_its_duration():
    one = CostReader(own_threads=True, start_ns=0, end_ns=S, read=Threads())
    for now_ns in (0, S, 2 * S):
        one.poll(now_ns)
    assert (one.cost().start_ns, one.cost().end_ns) == (0, S)


def test_the_delay_of_threads_counts_from_the_first_poll_to_the_end_of_the_run():
    delays = iter([5, 70])
    one = CostReader(
        own_threads=True, start_ns=0, end_ns=S, read=Threads(), delay=lambda: next(delays)
    )
    for now_ns in (0, S // 2, 2 * S):
        one.poll(now_ns, last=now_ns > S)
    assert one.cost().run_delay_ns == 65


def test_a_thread_that_ended_keeps_what_was_read_of_it():
    threads = Threads()
    one = reader(threads)
    one.poll(S)
    one.poll(S + PERIOD_NS)
    threads.alive = {1}
    one.poll(S + 2 * PERIOD_NS)
    assert one.cost().processor_ns == 2_000 + 1_000


@pytest.mark.parametrize(("own", "name"), [(True, SCHEDULER), (False, QUEUES)])
def test_the_threads_are_those_of_the_scheduler(own, name):
    threads = Threads()
    reader(threads, own).poll(S)
    assert threads.names == [name]


def test_a_single_read_shows_nothing_and_neither_does_a_kernel_that_does_not_count():
    one = reader(Threads())
    assert one.cost() is None
    one.poll(S)
    assert one.cost() is None
    silent = reader(lambda name: SchedulerCost())
    silent.poll(S)
    silent.poll(2 * S)
    assert silent.cost() is None


def cost(**values):
    made = {
        "own_threads": True,
        "threads": 2,
        "processor_ns": 40,
        "wakeups": 30,
        "preemptions": 4,
        "start_ns": 100,
        "end_ns": 200,
        "over_ns": 100,
        "requests": 10,
    }
    return RunCost(**{**made, **values})


def test_requests_are_those_that_were_submitted_between_the_reads():
    samples = np.zeros(5, [("submitted_ns", "i8")])
    samples["submitted_ns"] = [-1, 99, 100, 199, 200]
    assert cost().of_requests([samples, samples]).requests == 4


def test_windows_add_up():
    both = cost().added_to(cost(threads=3, processor_ns=60, over_ns=300, requests=30))
    assert (both.threads, both.processor_ns, both.over_ns, both.requests) == (3, 100, 400, 40)
    assert (both.processors, both.wakeups_per_request) == (0.25, 1.5)
    assert cost().added_to(None) == cost()
    assert cost(requests=0).wakeups_per_request == math.inf


def test_processes_that_measured_at_the_same_time_are_one_scheduler():
    both = unite_costs([cost(), cost(start_ns=90, end_ns=190)])
    assert (both.threads, both.processor_ns, both.over_ns) == (4, 80, 110)
    assert unite_costs([]) is None
    assert RunCost.from_dict(both.to_dict()) == both

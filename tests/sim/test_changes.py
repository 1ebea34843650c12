"""Queues that change during a run, in virtual time.

One device, first come first served, launches cost nothing. `a` and `b` are closed loops of
commands of 1 ms with a threshold of 1.
"""

import numpy as np
import pytest

from pytest_xsched import at, spin


def launches_ms(queue):
    return [int(ns) / 1e6 for ns in queue.samples["launched_ns"] if ns >= 0]


def run(sim, bare, *changes, **settings):
    queues = [
        sim.queue(name, spin("1ms"), priority=priority, threshold=1, batch_size=1)
        for name, priority in (("a", 2), ("b", 1))
    ]
    settings = {"duration": "10ms", "warmup": "0s", "sim": bare, **settings}
    return sim.run(*queues, changes=changes, **settings)


def test_a_priority_that_changes(sim, bare):
    done = run(sim, bare, at("4ms", "b", priority=3))
    # a runs alone up to 4 ms. There its command ends, but the change is seen before the launch.
    assert launches_ms(done.a)[:4] == [0, 1, 2, 3]
    assert launches_ms(done.b)[:6] == [4, 5, 6, 7, 8, 9]
    assert [queue.counts.priority for queue in (done.a, done.b)] == [2, 3]


def test_a_queue_that_is_held_and_let_go(sim, bare):
    done = run(sim, bare, at("2ms", "a", suspended=True), at("7ms", "a", suspended=False))
    assert launches_ms(done.a)[:5] == [0, 1, 7, 8, 9]
    assert launches_ms(done.b)[:5] == [2, 3, 4, 5, 6]


def test_the_times_count_from_the_measured_window(sim, bare):
    done = run(sim, bare, at("1ms", "b", priority=3), warmup="3ms")
    assert launches_ms(done.b)[0] == 4


@pytest.mark.parametrize("scheduler", ["native", "priority"])
def test_without_a_policy_a_priority_changes_nothing(sim, bare, scheduler):
    plain = run(sim, bare, scheduler=scheduler)
    changed = run(sim, bare, at("4ms", "b", priority=3), scheduler=scheduler)
    for name in ("a", "b"):
        assert np.array_equal(plain[name].samples, changed[name].samples)

"""Queues that change during a run, in virtual time.

One device, first come first served, launches cost nothing. `a` and `b` are closed loops of
commands of 1 ms with a threshold of 1.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import Phase, find, settings

from pytest_xsched import at, spin
from pytest_xsched.stress.invariants import broken_rules
from pytest_xsched.stress.strategies import priority_changes, scenarios

RAW = settings(max_examples=500, database=None, derandomize=True, phases=[Phase.generate])


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


def test_what_must_hold_goes_by_the_priority_of_the_moment(sim, bare):
    done = run(sim, bare, at("4ms", "b", priority=3))
    assert broken_rules(done) == {}
    # Whoever does not know of the change, or not of its moment, sees a launch below the other.
    done.scenario = dataclasses.replace(done.scenario, changes=())
    assert broken_rules(done)["highest first"] == [
        "b launched at 4000000 ns, while a of higher priority had work"
    ]
    done.scenario = dataclasses.replace(done.scenario, changes=(at("3ms", "b", priority=3),))
    assert broken_rules(done)["highest first"] == [
        "a launched at 3000000 ns, while b of higher priority had work"
    ]


def test_changes_are_drawn_and_shrink():
    quick = settings(max_examples=500, database=None, derandomize=True)
    changes = priority_changes(("a", "b"))
    assert find(changes, bool, settings=quick) == (at("0s", "a", priority=0),)
    late = find(changes, lambda some: any(c.queue == "b" and c.at_ns for c in some), settings=quick)
    assert late == (at("10ms", "b", priority=0),)
    scenario = find(scenarios(changes=True), lambda one: len(one.changes) == 2, settings=RAW)
    assert scenario.to_python().count("at(") == 2

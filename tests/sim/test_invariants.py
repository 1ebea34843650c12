"""Each check of `invariants` passes a run, and reports a breach in the same run when spoiled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_xsched import closed, replay, spin
from pytest_xsched.conformance.spec import BUILTIN
from pytest_xsched.stress.invariants import CHECKS, broken_rules

MS = 1_000_000


@pytest.fixture
def runs(sim, bare):
    """Makes a run of a policy: low begins, high comes and goes before it."""

    def make(policy):
        if policy == "pipeline":
            return pipeline(sim, bare)
        if policy in ("partition", "fair"):
            queues = [queue(sim, name, closed()) for name in ("high", "low")]
        else:
            queues = [
                queue(sim, "high", replay(["5ms"] * 5), priority=1, deadline="10ms"),
                queue(sim, "low", replay(["0ms"] * 20), deadline="1s"),
            ]
        return sim.run(*queues, duration="100ms", warmup="0s", policy=policy, sim=bare)

    return make


def queue(sim, name, arrivals, **more):
    return sim.queue(name, spin("1ms"), arrivals=arrivals, threshold=1, batch_size=1, **more)


def pipeline(sim, bare):
    """A run under hpf: low works 0-3 ms, each of the requests of high runs after one of low."""
    queues = [
        queue(sim, "low", replay(["0ms"] * 3)),
        sim.queue("high", spin("1ms"), after="low", priority=1, threshold=1),
    ]
    return sim.run(*queues, duration="100ms", warmup="0s", policy="hpf", sim=bare)


def count(run, **changes):
    run.low.counts = dataclasses.replace(run.low.counts, **changes)


def lose(run):
    count(run, completed=run.low.counts.completed - 1)


def swap(run):
    run.low.samples["completed_ns"][[3, 4]] = run.low.samples["completed_ns"][[4, 3]]


def flood(run):
    count(run, most_in_flight=2)


def never_end(run):
    run.low.samples["completed_ns"][-1] = -1


def idle(run):
    run.low.samples["completed_ns"][-1] += 2 * MS


def overtake(run):
    run.low.samples["launched_ns"][10] = 6 * MS


def delay(run):
    run.high.samples["completed_ns"][-1] += 5 * MS


def starve(run):
    run.low.samples["completed_ns"][10:] = 10**9


def begin_early(run):
    run.high.samples["launched_ns"][1] = 2 * MS


def wait_in_a_circle(run):
    run.low.samples["completed_ns"][-1] = run.high.samples["completed_ns"][-1] = -1


def invert(run):
    run.low.samples["completed_ns"][-1] += 5 * MS


SPOILED = {
    "starts after": ("pipeline", begin_early),
    "no circular wait": ("pipeline", wait_in_a_circle),
    "inversion is bounded": ("pipeline", invert),
    "nothing lost, nothing twice": ("none", lose),
    "in order": ("none", swap),
    "threshold": ("none", flood),
    "everything ends": ("none", never_end),
    "works while there is work": ("none", idle),
    "highest first": ("hpf", overtake),
    "delay of the highest": ("hpf", delay),
    "earliest first": ("edf", overtake),
    "time by weight": ("fair", starve),
}


@pytest.mark.parametrize("rule", CHECKS)
def test_a_spoiled_run_is_noticed(runs, rule):
    policy, spoil = SPOILED[rule]
    run = runs(policy)
    assert broken_rules(run) == {}
    spoil(run)
    assert rule in broken_rules(run)
    (check,) = [
        one
        for tested in BUILTIN
        if tested.policy.name == policy.replace("pipeline", "hpf")
        for one in tested.checks
        if one.rule.id == rule
    ]
    assert check.judge(run)


def test_a_queue_that_is_alone_shows_no_order(sim, bare):
    alone = sim.run(queue(sim, "a", replay(["0ms"])), duration="10ms", warmup="0s", sim=bare)
    shown = {check.rule.id: check.judge(alone) for tested in BUILTIN for check in tested.checks}
    assert shown["works while there is work"] == []
    order = (
        "inversion is bounded",
        "starts after",
        "no circular wait",
        "highest first",
        "delay of the highest",
        "earliest first",
        "time by weight",
    )
    assert [shown[name] for name in order] == [None] * len(order)
    assert np.all(alone.a.samples["completed_ns"] > 0)

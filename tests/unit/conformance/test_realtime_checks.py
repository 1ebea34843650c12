"""Claims about runs in real time: each holds for a run made by hand, and each can fail."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_xsched import XSched, replay, spin
from pytest_xsched.conformance import realtime_checks
from pytest_xsched.conformance.spec import XSCHED
from pytest_xsched.native.binding import SAMPLE
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario

MS = 1_000_000
NEVER = -1
TICKS = list(range(300))


def burst(launches, *, begin=0, took=1, threshold=2, **hints):
    """Commands of 1 ms, submitted at `begin` and launched at the given times, in ms."""
    spec = QueueSpec(
        name="q",
        workload=spin("1ms"),
        arrivals=replay([f"{begin}ms"] * len(launches)),
        threshold=threshold,
        batch_size=1,
        **hints,
    )
    samples = np.zeros(len(launches), SAMPLE)
    samples["submitted_ns"] = begin * MS
    launched = np.array(launches, np.int64)
    samples["launched_ns"] = np.where(launched < 0, NEVER, launched * MS)
    samples["completed_ns"] = np.where(launched < 0, NEVER, (launched + took) * MS)
    return spec, samples


def made_run(policy, *bursts, **settings):
    """Makes what a claim looks at of a run under XSched: queues a, b, c."""
    queues = {}
    for name, (spec, samples) in zip("abc", bursts, strict=False):
        named = dataclasses.replace(spec, name=name)
        counts = SimpleNamespace(launched=len(samples))
        queues[name] = SimpleNamespace(
            name=name, spec=named, samples=samples, workload=named.workload, counts=counts
        )
    scenario = Scenario(
        queues=tuple(queue.spec for queue in queues.values()),
        duration_ns=500 * MS,
        warmup_ns=0,
        drain_ns=3_000 * MS,
        seed=0,
        device="cuda",
        scheduler="xsched",
        policy="none",
        xsched=XSched(policy=policy, **settings),
    )
    return SimpleNamespace(
        scenario=scenario,
        queues=queues,
        evidence=SimpleNamespace(activity=None),
        remark="",
        device_kind="cuda",
        scheduler_cost=None,
    )


def behind(n, first=0):
    """Launches one behind the other: in ms."""
    return [first + i for i in range(n)]


def mixed(n, step, first=0):
    """Launches with others between them."""
    return [first + i * step for i in range(n)]


def judge(policy, claim, *bursts, delay_ns=0, **settings):
    (found,) = [
        check
        for tested in XSCHED
        if tested.policy.name == policy
        for check in tested.checks
        if check.rule.id == claim
    ]
    run = made_run(policy, *bursts, **settings)
    run.scheduler_cost = SimpleNamespace(run_delay_ns=delay_ns) if delay_ns else None
    return found.judge(run)


# Of each claim: a policy, a run for which it holds, and one for which it does not.
HIGH, LOW = {"priority": 1}, {"priority": 0}
CASES = [
    (
        *("hpf", "highest first"),
        (burst(behind(200), **HIGH), burst(behind(100, 200), **LOW)),
        (burst(mixed(200, 2), **HIGH), burst(mixed(100, 2, 1), **LOW)),
    ),
    (
        *("hhpf", "highest first"),
        (burst(behind(200), **HIGH), burst([0, 1, *behind(98, 200)], **LOW)),
        (burst(behind(200), **HIGH), burst([0, 1, 150, *behind(97, 200)], **LOW)),
    ),
    (
        *("hpf", "equals run together"),
        (burst(mixed(200, 2)), burst(mixed(200, 2, 1))),
        (burst(behind(300)), burst(behind(300, 300))),
    ),
    (
        *("awf", "equals run together"),
        (burst(mixed(200, 2), priority=9), burst(mixed(200, 2, 1))),
        (burst(behind(300), priority=9), burst(behind(300, 300))),
    ),
    (
        *("kedf", "earliest first"),
        (burst(behind(100, 100)), burst(behind(100), deadline_ns=10**9)),
        (burst(mixed(100, 2, 1)), burst(mixed(100, 2), deadline_ns=10**9)),
    ),
    (
        *("kedf", "earliest first"),
        # Due at 300 + 10 ms, and at 0 + 1000 ms.
        (
            burst(behind(200, 300), begin=300, deadline_ns=10 * MS),
            burst([*behind(302), *behind(98, 500)], deadline_ns=10**9),
        ),
        (
            burst(behind(200, 400), begin=300, deadline_ns=10 * MS),
            burst(behind(400), deadline_ns=10**9),
        ),
    ),
    (
        *("lax", "critical first"),
        # Critical from 20 ms on.
        (
            burst([*mixed(10, 2), *behind(190, 20)], laxity_ns=20 * MS, **HIGH),
            burst([*mixed(10, 2, 1), *behind(90, 210)]),
        ),
        (burst(mixed(200, 2), laxity_ns=20 * MS, **HIGH), burst(mixed(200, 2, 1))),
    ),
    (
        *("lax", "equals run together"),
        (burst(mixed(200, 2)), burst(mixed(200, 2, 1))),
        (burst(behind(300)), burst(behind(300, 300))),
    ),
    (
        *("up", "time by weight"),
        # 3 of 4 ms, and 1 of 4.
        (
            burst([i for i in range(400) if i % 4], utilization=75),
            burst([i for i in range(400) if i % 4 == 0], utilization=25),
        ),
        (
            burst([i for i in range(400) if i % 10 == 0], utilization=75),
            burst([i for i in range(400) if i % 10], utilization=25),
        ),
    ),
    (
        *("cfs", "time by weight"),
        (burst(mixed(200, 2)), burst(mixed(200, 2, 1))),
        (
            burst([i for i in range(400) if i % 5]),
            burst([i for i in range(400) if i % 5 == 0]),
        ),
    ),
    (
        *("mlfq", "time by weight"),
        (burst(mixed(400, 2)), burst(mixed(400, 2, 1))),
        (
            burst([i for i in range(1000) if i % 10]),
            burst([i for i in range(1000) if i % 10 == 0]),
        ),
    ),
    (
        *("cfs", "takes turns"),
        (burst([*behind(300), *mixed(100, 2, 301)]), burst(mixed(300, 2, 300), begin=300)),
        # It used nothing before, and so keeps the other from its turn.
        (burst([*behind(300), *behind(10, 600)]), burst(behind(300, 300), begin=300)),
    ),
    (
        *("up", "takes turns"),
        (burst(mixed(300, 2)), burst(mixed(300, 2, 1))),
        (burst(behind(300)), burst(behind(10, 300))),
    ),
    (
        *("hpf", "everything ends"),
        (burst(behind(10)),),
        (burst([*behind(9), NEVER]),),
    ),
    (
        *("hpf", "works while there is work"),
        (burst(behind(10)), burst(behind(10, 300), begin=300)),
        (burst(behind(10)), burst(behind(10, 300), begin=20)),
    ),
    (
        *("hpf", "threshold"),
        (burst(behind(50), took=2, threshold=2),),
        (burst([i // 3 * 3 for i in range(50)], threshold=2),),
    ),
    (
        *("cfs", "starts after"),
        (burst(behind(10)), burst(behind(10, 1), after="a")),
        (burst(behind(10)), burst(behind(10), after="a")),
    ),
    (
        *("hpf", "no circular wait"),
        (burst(behind(10)), burst(behind(10, 10), after="a", **HIGH)),
        (burst([*behind(9), NEVER]), burst([*behind(9, 10), NEVER], after="a", **HIGH)),
    ),
    (
        *("hpf", "inversion is bounded"),
        # In all 40 ms of work; four times as long and 200 ms are no finding.
        (
            burst([*behind(9), 350]),
            burst([*behind(9, 10), 360], after="a", priority=2),
            burst(behind(20, 20), **HIGH),
        ),
        (
            burst([*behind(9), 370]),
            burst([*behind(9, 10), 380], after="a", priority=2),
            burst(behind(20, 20), **HIGH),
        ),
    ),
]


@pytest.mark.parametrize(("policy", "claim", "good", "bad"), CASES)
def test_each_claim_holds_and_fails(policy, claim, good, bad):
    assert judge(policy, claim, *good) == []
    found = judge(policy, claim, *bad)
    assert found and all(
        sentence.endswith(tuple("abcdefghijklmnopqrstuvwxyz%)")) for sentence in found
    )


@pytest.mark.parametrize(
    ("policy", "claim", "bad"),
    [
        (policy, claim, bad)
        for policy, claim, _, bad in CASES
        if claim not in ("threshold", "in order", "starts after", "no circular wait")
        and claim not in ("nothing lost, nothing twice", "everything ends")  # exact ones
    ],
)
def test_what_the_wait_of_threads_for_a_processor_explains_is_no_finding(policy, claim, bad):
    assert not judge(policy, claim, *bad, delay_ns=3_000 * MS)


@pytest.mark.parametrize("policy", sorted({case[0] for case in CASES} - {"cfs", "up", "mlfq"}))
def test_a_queue_that_is_alone_shows_no_order(policy):
    own = {case[1] for case in CASES if case[0] == policy} & {
        "highest first",
        "equals run together",
        "earliest first",
        "critical first",
    }
    for claim in own:
        assert judge(policy, claim, burst(behind(300), deadline_ns=10**9)) is None


@pytest.mark.parametrize("policy", ["cfs", "up", "mlfq"])
def test_a_short_meeting_shows_no_shares(policy):
    short = burst(mixed(5, 2)), burst(mixed(5, 2, 1))
    assert judge(policy, "time by weight", *short) is None
    assert judge(policy, "takes turns", *short) is None


@pytest.mark.parametrize(("launched", "broken"), [(8, False), (0, True)])
def test_a_queue_with_a_small_threshold_gets_less_of_a_device_that_goes_in_order(launched, broken):
    deep = burst(behind(300), threshold=16)
    flat = burst([*mixed(launched, 20), *behind(10 - launched, 400)], threshold=1)
    assert bool(judge("awf", "equals run together", deep, flat)) == broken


def test_turns_are_those_of_the_timeslice():
    # Rounds of 400 ms, in which one has 100: 300 ms are no waiting for ever.
    slow = (
        burst([i for i in range(1200) if i % 400 >= 100], utilization=75),
        burst([i for i in range(1200) if i % 400 < 100], utilization=25),
    )
    assert judge("up", "takes turns", *slow, timeslice="400ms") in ([], None)
    assert judge("up", "takes turns", *slow)


def test_what_is_only_slow_is_no_finding():
    late = burst([*behind(299), NEVER])  # when the drain is over, others still complete
    slow = burst([*behind(299), 3_400])
    for claim in ("everything ends", "works while there is work"):
        assert judge("cfs", claim, late, slow) is None
    assert judge("cfs", "takes turns", late, slow) is None


def test_what_the_process_left_behind_is_a_finding():
    run = made_run("hpf", burst(behind(10)))
    assert realtime_checks.ends_cleanly(run) == []
    run.remark = "the worker process did not end and was killed"
    assert realtime_checks.ends_cleanly(run) == [run.remark]


def test_commands_that_xsched_lost():
    run = made_run("hpf", burst(behind(10)))
    assert realtime_checks.all_through_it(run) is None
    run.evidence.activity = SimpleNamespace(faults=lambda launched: [f"{launched}"])
    assert realtime_checks.all_through_it(run) == ["{'a': 10}"]

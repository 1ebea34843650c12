"""Threshold and policy are separate levers.

One device, first come first served, launches cost nothing, every command takes 1 ms. `low` is a
closed loop of requests of 100 commands, `high` one request that arrives at 10.5 ms, in the middle
of a command of low (which runs from 10 to 11 ms).
"""

import pytest

from pytest_xsched import SimModel, replay, spin
from pytest_xsched.base.units import parse_duration


def latency_ms(
    sim,
    bare,
    *,
    high_layers,
    low_threshold,
    policy,
    scheduler="builtin",
    model=None,
    arrival="10.5ms",
):
    low_batch = None if low_threshold == "auto" else 1
    run = sim.run(
        sim.queue(
            "high",
            spin("1ms", layers=high_layers),
            priority=10,
            arrivals=replay([arrival]),
            threshold=1,
            batch_size=1,
        ),
        sim.queue(
            "low",
            spin("1ms", layers=100),
            priority=1,
            threshold=low_threshold,
            batch_size=low_batch,
        ),
        duration="50ms",
        warmup="0s",
        scheduler=scheduler,
        policy=policy,
        sim=model or bare,
    )
    assert run.high.n == 1
    return run.high.latency_ns[0] / 1e6


@pytest.mark.parametrize("policy", ["none", "hpf"])
@pytest.mark.parametrize(("threshold", "expected"), [(1, 1.5), (2, 2.5), (4, 4.5), (16, 16.5)])
def test_the_threshold_alone(sim, bare, policy, threshold, expected):
    # At 10.5 ms low has `threshold` commands on the device: one runs for another 0.5 ms, the
    # others come before high. Then high runs: 0.5 + (threshold - 1) + 1 = threshold + 0.5.
    # The policy is asked when all of that is launched already, so it changes nothing.
    measured = latency_ms(sim, bare, high_layers=1, low_threshold=threshold, policy=policy)
    assert measured == expected


@pytest.mark.parametrize(
    ("threshold", "policy", "expected"),
    [
        # The first command of high takes threshold + 0.5, as above. While it waits, low without
        # a policy has launched a new command for each completed one, so when high can launch its
        # second, `threshold` of low are there before it: threshold + 1 for each of the other two.
        # 4.5 + 2 * 5 and 1.5 + 2 * 2:
        (4, "none", 14.5),
        (1, "none", 5.5),
        # Under hpf low is suspended at 10.5 ms. What it had launched is done when high's first
        # command begins, and the other two follow at once, 1 ms each: 4.5 + 2 and 1.5 + 2:
        (4, "hpf", 6.5),
        (1, "hpf", 3.5),
    ],
)
def test_the_policy_alone(sim, bare, threshold, policy, expected):
    measured = latency_ms(sim, bare, high_layers=3, low_threshold=threshold, policy=policy)
    assert measured == expected


def test_native_waits_for_everything(sim, bare):
    # All 100 commands of low were launched at 0 and last until 100 ms; high arrived at 10.5 ms,
    # before low's next request, and runs until 101 ms.
    measured = latency_ms(
        sim, bare, high_layers=1, low_threshold=4, policy=None, scheduler="native"
    )
    assert measured == 90.5


@pytest.mark.parametrize("scheduler", ["priority", "builtin"])
def test_stream_priority_overtakes_what_was_launched(sim, bare, scheduler):
    # A device that honours stream priority lets high pass all but the running command.
    model = SimModel(priority=True, launch_ns=0)
    measured = latency_ms(
        sim, bare, high_layers=1, low_threshold=16, policy=None, scheduler=scheduler, model=model
    )
    assert measured == 1.5


def test_batch_size_delays_what_is_seen_of_a_completion(sim, bare):
    # One queue alone, 6 commands of 1 ms. With a mark behind every third, completions are seen at
    # 3 and 6 ms; with threshold 3 the next three are launched at 3 ms. Nothing is lost: 6 ms.
    queue = sim.queue(
        "q", spin("1ms", layers=6), arrivals=replay(["0ms"]), threshold=3, batch_size=3
    )
    run = sim.run(queue, duration="10ms", warmup="0s", sim=bare)
    assert run.q.latency_ns.tolist() == [6_000_000]

    # A launch that takes 0.5 ms to reach the device shows the bubble: the second three are
    # launched at 3.5 ms (mark behind the third: 0.5 + 3) and reach it from 4.0 ms on: 7 ms.
    run = sim.run(queue, duration="10ms", warmup="0s", sim=SimModel(launch_ns=500_000))
    assert run.q.latency_ns.tolist() == [7_000_000]


@pytest.mark.parametrize("policy", ["none", "hpf"])
@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        # Low runs from 10 to 11 ms and launches the next at 10.97 ms, 30 us before the end.
        ("10.5ms", 1.5),
        ("10.96ms", 1.04),
        ("10.98ms", 2.02),
    ],
)
def test_an_automatic_threshold_keeps_one_long_command_in_flight(
    sim, bare, policy, arrival, expected
):
    measured = latency_ms(
        sim, bare, high_layers=1, low_threshold="auto", policy=policy, arrival=arrival
    )
    assert measured == expected


@pytest.mark.parametrize(
    ("duration", "in_flight"),
    [("500us", 2), ("100us", 2), ("25us", 3), ("10us", 4), ("1us", 31)],
)
def test_an_automatic_threshold_keeps_the_device_busy(sim, bare, duration, in_flight):
    # As many as are worth 30 us without the oldest; of long ones the next is there in time.
    queue = sim.queue("q", spin(duration, layers=500))
    run = sim.run(queue, duration="50ms", warmup="0s", sim=bare)
    assert run.q.counts.most_in_flight == in_flight
    cost_ns = parse_duration(duration, what="duration")
    assert run.q.latency_ns.tolist() == [500 * cost_ns] * len(run.q.latency_ns)


def test_an_automatic_threshold_hides_the_way_to_the_device(sim):
    # A launch takes 20 us, less than it is ahead: only the first of a request is waited for, once
    # it is known what a command takes.
    queue = sim.queue("q", spin("500us", layers=4))
    run = sim.run(queue, duration="20ms", warmup="0s", sim=SimModel(launch_ns=20_000))
    assert run.q.latency_ns[-1] == 20_000 + 4 * 500_000

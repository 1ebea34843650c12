"""Twelve runs in virtual time with one planted cause each: the explanation names it first.

The parts of each request add up to its latency, to the nanosecond.
"""

import dataclasses

import pytest

from pytest_xsched import SimModel, at, closed, replay, sequence, spin
from pytest_xsched.analysis.timeline import timeline
from pytest_xsched.monitoring.noise import GpuReadings, Readings
from pytest_xsched.reporting.trace_tracks import tracks
from pytest_xsched.session import device_pool

MS = 10**6
FIFO = SimModel(priority=False, launch_ns=0)


def run_of(sim, *queues, duration="2s", **more):
    return sim.run(*queues, duration=duration, warmup="0s", sim=FIFO, **more)


def threshold_too_deep(sim, plant):
    """Low keeps 16 commands of 2 ms in flight, so high waits for up to 32 ms."""
    return run_of(
        sim,
        sim.queue("high", spin("1ms"), priority=2, rate="20/s", threshold=2),
        sim.queue("low", spin("2ms", layers=64), priority=1, threshold=16),
    )


def one_long_command(sim, plant):
    """Among commands of 1 ms, low has one of 50 ms."""
    work = sequence([spin("1ms", layers=9), spin("50ms")])
    return run_of(
        sim,
        sim.queue("high", spin("1ms"), priority=2, rate="20/s", threshold=1, batch_size=1),
        sim.queue("low", work, priority=1, threshold=1, batch_size=1),
    )


def own_backlog(sim, plant):
    """60 requests of 16 ms in a second take 96 % of the device, and come at random."""
    from pytest_xsched import poisson

    return run_of(sim, sim.queue("high", spin("16ms"), arrivals=poisson("60/s"), threshold=2))


def priority_inverted(sim, plant):
    """The queue with the target has the lower priority; the other runs half of the time."""
    return run_of(
        sim,
        sim.queue("high", spin("1ms"), priority=1, rate="20/s", threshold=1, batch_size=1),
        sim.queue("low", spin("20ms"), priority=10, arrivals=closed(think="20ms"), threshold=2),
    )


def policy_off(sim, plant):
    """High has ten commands, and between each two of them one of low runs."""
    return run_of(
        sim,
        sim.queue(
            "high", spin("1ms", layers=10), priority=2, rate="5/s", threshold=1, batch_size=1
        ),
        sim.queue("low", spin("4ms"), priority=1, threshold=1, batch_size=1),
        policy="none",
    )


def arrival_burst(sim, plant):
    """30 requests of 1 ms arrive at once, twice a second."""
    times = [f"{500 * k}ms" for k in range(4) for _ in range(30)]
    return run_of(sim, sim.queue("high", spin("1ms"), arrivals=replay(times), threshold=2))


def slow_drain(sim, plant):
    """The test suspends high at 1 s for 0.3 s. Its load is 0.8, so the pile drains slowly.

    The first request after 1 s comes at 1.005 s.
    """
    return run_of(
        sim,
        sim.queue("high", spin("8ms"), priority=1, rate="100/s", threshold=2),
        duration="4s",
        changes=[at("1s", "high", suspended=True), at("1300ms", "high", suspended=False)],
    )


def starvation(sim, plant):
    """Low never gets a turn, because high always has work."""
    return run_of(
        sim,
        sim.queue("low", spin("1ms"), priority=1, rate="20/s", threshold=2),
        sim.queue("high", spin("1ms"), priority=2, threshold=2),
    )


def equal_priorities(sim, plant):
    """As with the policy off, but because both have one priority."""
    return run_of(
        sim,
        sim.queue(
            "high", spin("1ms", layers=10), priority=5, rate="5/s", threshold=1, batch_size=1
        ),
        sim.queue("low", spin("4ms"), priority=5, threshold=1, batch_size=1),
    )


def alone(sim, duration="20s"):
    return run_of(sim, sim.queue("high", spin("2ms"), rate="20/s"), duration=duration)


def noise(sim, plant):
    """The machine stops the harness for 7 ms in one second of 20."""

    def late(measurement):
        samples = measurement.samples[0]
        commands = measurement.records[0].commands
        here = (samples["scheduled_ns"] >= 4 * 10**9) & (samples["scheduled_ns"] < 5 * 10**9)
        for name in ("submitted_ns", "launched_ns", "completed_ns"):
            samples[name][here] += 7 * MS
        for name in ("launched_ns", "began_ns", "ended_ns", "completed_ns"):
            commands[name][here] += 7 * MS
        beats = tuple(7 * MS if i == 4 else 0 for i in range(20))
        readings = Readings(block_ns=10**9, on_host=True, heartbeat_ns=beats)
        return dataclasses.replace(measurement, readings=readings)

    plant(late)
    return alone(sim)


def _slower(measurement, here):
    """Let some requests run for 3 ms instead of 2."""
    samples, commands = measurement.samples[0], measurement.records[0].commands
    samples["completed_ns"][here] += MS
    for name in ("ended_ns", "completed_ns"):
        commands[name][here] += MS


def cold_start(sim, plant):
    """The first 40 of 400 requests run for longer."""

    def cold(measurement):
        _slower(measurement, slice(0, 40))
        return measurement

    plant(cold)
    return alone(sim)


def clock(sim, plant):
    """The GPU is too hot, and from the tenth second on it runs at two thirds of its clock."""

    def slow(measurement):
        _slower(measurement, slice(200, None))
        gpu = GpuReadings(clock_mhz=(1320, 1980), reasons=("heat",))
        readings = Readings(block_ns=10**9, on_host=False, slowdown=(0,) * 10 + (1,) * 10, gpu=gpu)
        return dataclasses.replace(measurement, readings=readings)

    plant(slow)
    sim.settings = dataclasses.replace(sim.settings, noise="note")
    return alone(sim)


PLANTED = [
    (threshold_too_deep, "high", "threshold", "the threshold of low is 16"),
    (one_long_command, "high", "long command", "one command of low, `spin('50ms')`, 50 ms alone"),
    (own_backlog, "high", "backlog", "running earlier requests of high itself: they take 9"),
    (
        priority_inverted,
        "high",
        "priority",
        "high (priority 1) being suspended by policy hpf while low (priority 10) ran",
    ),
    (policy_off, "high", "policy off", "policy none holds no queue back"),
    (arrival_burst, "high", "burst", "a burst, 29 requests arrived at the same time"),
    (
        slow_drain,
        "high",
        "piled up",
        "running earlier requests of high itself, which piled up while the test suspended high "
        "for 295 ms",
    ),
    (starvation, "low", "starvation", "40 of 40 requests never completed"),
    (equal_priorities, "high", "equal priorities", "both have priority 5"),
    (noise, "high", "noise", "the harness, which sent them late, in noisy seconds"),
    (cold_start, "high", "cold start", "running 1.5 times as long as alone"),
    (clock, "high", "clock", "the clock of the GPU was held down (1320 to 1980 MHz, heat)"),
]


@pytest.fixture
def plant(monkeypatch):
    """Changes what the next run measures."""
    measure = device_pool.measure

    def change(how):
        def measure_here(devices, scenario, progress, **more):
            return how(measure(devices, scenario, progress, **more))

        monkeypatch.setattr(device_pool, "measure", measure_here)

    return change


def test_noise_and_the_clock_are_in_the_timeline(sim, plant):
    """The clock is held down from the tenth second on; noise is in the blocks of it and after."""
    found = {track.name: track for track in tracks(timeline(clock(sim, plant)))}
    assert [(one.start_ns, one.end_ns) for one in found["GPU clock"].slices] == [
        (i * 1000 * MS, (i + 1) * 1000 * MS) for i in range(10, 20)
    ]
    assert found["GPU clock"].slices[0].facts == {"clock": "1320 to 1980 MHz, heat"}
    (noisy,) = found["noise"].slices
    assert (noisy.start_ns, noisy.end_ns) == (10_000 * MS, 20_000 * MS)
    assert noisy.facts == {"cause": "GPU held down by heat"}


@pytest.mark.parametrize(
    ("make", "queue", "cause", "words"), PLANTED, ids=[one[0].__name__ for one in PLANTED]
)
def test_the_explanation_names_the_planted_cause_first(sim, plant, make, queue, cause, words):
    run = make(sim, plant)
    limit = "20ms" if make in (own_backlog, slow_drain) else None
    found = run[queue].explain(limit)
    print(found)
    assert found.cause == cause
    assert words in found.sentence
    assert found.requests
    for request in found.requests:
        assert sum(request.parts().values()) == request.latency_ns
        latency_ns = run[queue].samples["completed_ns"] - run[queue].samples["scheduled_ns"]
        if request.completed:
            assert request.latency_ns == latency_ns[request.index]
    assert sum(found.parts.values()) == found.latency_ns

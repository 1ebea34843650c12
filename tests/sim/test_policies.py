"""The policies beside hpf, by hand.

One device, first come first served, launches cost nothing, every command takes 1 ms.
"""

import pytest

from pytest_xsched import closed, replay, spin


def run(sim, bare, *queues, policy, duration="100ms"):
    return sim.run(*queues, duration=duration, warmup="0s", policy=policy, sim=bare)


def queue(sim, name, *, layers=1, threshold=1, **more):
    return sim.queue(name, spin("1ms", layers=layers), threshold=threshold, batch_size=1, **more)


def done(queue, by_ns=100_000_000):
    return int((queue.samples["completed_ns"] <= by_ns).sum())


def test_edf_runs_what_is_due_first(sim, bare):
    # a is due at 0 + 50, b at 2 + 20, c at 4 + 30 ms, whatever their priorities. a runs its first
    # two commands; then b from 2 to 5, c from 5 to 8, and a's other eight from 8 to 16 ms.
    found = run(
        sim,
        bare,
        queue(sim, "a", layers=10, priority=9, arrivals=replay(["0ms"]), deadline="50ms"),
        queue(sim, "b", layers=3, arrivals=replay(["2ms"]), deadline="20ms"),
        queue(sim, "c", layers=3, priority=5, arrivals=replay(["4ms"]), deadline="30ms"),
        policy="edf",
    )
    ends = {name: found[name].samples["completed_ns"].tolist() for name in found}
    assert ends == {"a": [16_000_000], "b": [5_000_000], "c": [8_000_000]}


def test_edf_goes_by_requests(sim, bare):
    # Both requests of a that wait at 0 are due at 10, b's is due at 15, a's third, which arrives
    # at 7 while the second runs, at 17: so b goes before it.
    found = run(
        sim,
        bare,
        queue(sim, "a", layers=4, arrivals=replay(["0ms", "0ms", "7ms"]), deadline="10ms"),
        queue(sim, "b", layers=4, arrivals=replay(["0ms"]), deadline="15ms"),
        policy="edf",
    )
    assert found.a.samples["completed_ns"].tolist() == [4_000_000, 8_000_000, 16_000_000]
    assert found.b.samples["completed_ns"].tolist() == [12_000_000]


def test_edf_lets_a_queue_without_a_deadline_wait(sim, bare):
    found = run(
        sim,
        bare,
        queue(sim, "a", layers=3, arrivals=replay(["0ms"])),
        queue(sim, "b", layers=3, arrivals=replay(["1ms"]), deadline="1s"),
        policy="edf",
    )
    assert found.b.latency_ns.tolist() == [3_000_000]
    assert found.a.latency_ns.tolist() == [6_000_000]


@pytest.mark.parametrize(("shares", "expected"), [((75, 25), (75, 25)), ((60, 20), (75, 25))])
def test_partition_gives_shares_in_proportion(sim, bare, shares, expected):
    found = run(
        sim,
        bare,
        queue(sim, "a", arrivals=closed(), utilization=shares[0]),
        queue(sim, "b", arrivals=closed(), utilization=shares[1]),
        policy="partition",
    )
    assert (done(found.a), done(found.b)) == expected


def test_partition_leaves_no_share_unused(sim, bare):
    # b has work for 3 of 100 ms.
    found = run(
        sim,
        bare,
        queue(sim, "a", arrivals=closed(), utilization=10),
        queue(sim, "b", layers=3, arrivals=replay(["50ms"]), utilization=90),
        policy="partition",
    )
    assert done(found.a) == 97


def test_fair_goes_by_priority_but_starves_nobody(sim, bare):
    # 1.2^4 = 2.07: 67.5 and 32.5 of 100.
    found = run(
        sim,
        bare,
        queue(sim, "a", arrivals=closed(), priority=4),
        queue(sim, "b", arrivals=closed(), priority=0),
        policy="fair",
    )
    assert (done(found.a), done(found.b)) == (67, 33)


def test_fair_counts_time_not_commands(sim, bare):
    # Ten commands of 1 ms for each of 10 ms.
    long = sim.queue("long", spin("10ms"), arrivals=closed(), threshold=1, batch_size=1)
    short = queue(sim, "short", arrivals=closed())
    found = run(sim, bare, long, short, policy="fair", duration="1s")
    assert (done(found.long, 10**9), done(found.short, 10**9)) == (50, 500)


def test_an_idle_queue_saves_nothing_up(sim, bare):
    # b comes at 50 ms, and from there on they take turns, although a has had 50 ms before it.
    found = run(
        sim,
        bare,
        queue(sim, "a", arrivals=closed()),
        queue(sim, "b", layers=20, arrivals=replay(["50ms"])),
        policy="fair",
    )
    assert 39_000_000 <= found.b.latency_ns[0] <= 41_000_000


@pytest.mark.parametrize("policy", ["fair", "partition"])
def test_no_time_is_made_up_for_where_a_queue_comes_alone(sim, bare, policy):
    # a works until 50 ms and is away until 61 ms; b comes at 60 ms, alone. From 61 ms on they take
    # turns of 1 ms, although a has had 50 ms and b 1: b has its 20 at about 99 ms.
    found = run(
        sim,
        bare,
        queue(sim, "a", arrivals=replay(["0ms"] * 50 + ["61ms"] * 100)),
        queue(sim, "b", layers=20, arrivals=replay(["60ms"])),
        policy=policy,
        duration="200ms",
    )
    assert 38_000_000 <= found.b.latency_ns[0] <= 40_000_000
    between = found.a.samples["completed_ns"][50:]
    assert 18 <= (between < 60_000_000 + found.b.latency_ns[0]).sum() <= 20


@pytest.mark.parametrize("policy", ["fair", "partition"])
def test_time_in_which_a_queue_has_no_work_is_not_charged(sim, bare, policy):
    # a has one command of 1 ms each 10 ms, b one of 1 ms after another: a never waits for more
    # than what runs.
    found = run(
        sim,
        bare,
        queue(sim, "a", arrivals=closed(think="9ms")),
        queue(sim, "b", arrivals=closed()),
        policy=policy,
    )
    assert found.a.latency_ns.max() <= 3_000_000
    assert done(found.a) + done(found.b) == 100


@pytest.mark.parametrize("policy", ["fair", "partition"])
def test_time_in_which_the_device_had_no_work_is_charged_to_nobody(sim, bare, policy):
    # Both come at 50 ms, with five commands each, and take turns.
    found = run(
        sim,
        bare,
        queue(sim, "a", layers=5, arrivals=replay(["50ms"])),
        queue(sim, "b", layers=5, arrivals=replay(["50ms"])),
        policy=policy,
    )
    assert (found.a.latency_ns[0], found.b.latency_ns[0]) == (9_000_000, 10_000_000)


@pytest.mark.parametrize("policy", ["fair", "partition"])
def test_the_policy_is_called_at_its_ticks_also_where_nothing_else_happens(sim, bare, policy):
    # Commands of 0.4 ms. At 0.8 ms a launches its third; the tick at 1 ms, in the middle of it,
    # sees that a has had 0.8 ms and b nothing, so that b launches then.
    found = sim.run(
        *(
            sim.queue(name, spin("400us"), arrivals=closed(), threshold=1, batch_size=1)
            for name in "ab"
        ),
        duration="100ms",
        warmup="0s",
        policy=policy,
        sim=bare,
    )
    assert found.b.samples["launched_ns"][0] == 1_000_000
    assert abs(done(found.a) - done(found.b)) <= 3


def test_streams_have_priorities_only_where_the_policy_goes_by_them(sim, bare):
    queues = queue(sim, "a", priority=1), queue(sim, "b")
    for policy in ("none", "hpf", "edf", "partition", "fair"):
        scenario = run(sim, bare, *queues, policy=policy).scenario
        assert scenario.uses_stream_priorities == (policy in ("none", "hpf"))

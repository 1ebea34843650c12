"""Queues that start after others, in virtual time: exact numbers, worked out by hand."""

from __future__ import annotations

import pytest

from pytest_xsched import ScenarioError, at, closed, poisson, replay, spin
from pytest_xsched.stress.invariants import broken_rules, check_invariants

MS = 1_000_000


def queue(sim, name, work, **more):
    return sim.queue(name, spin(work), threshold=1, batch_size=1, **more)


def times(run, name):
    """Return arrival, submission, launch and completion of each request, in ms."""
    return [tuple(t / MS for t in row[:4]) for row in run[name].samples.tolist()]


@pytest.fixture
def pipeline(sim, bare):
    """Run queues for 100 ms without a warm-up."""

    def run(*queues, **more):
        more = {"duration": "100ms", "warmup": "0s", "sim": bare, "policy": "hpf", **more}
        made = sim.run(*queues, **more)
        check_invariants(made)
        return made

    return run


def test_a_request_starts_when_the_one_before_it_ends_and_counts_from_its_arrival(sim, pipeline):
    """first: 0-2; second: 2-5, so the next of first, which came at 1, runs 5-7."""
    run = pipeline(
        queue(sim, "first", "2ms", arrivals=replay(["0ms", "1ms", "20ms"])),
        queue(sim, "second", "3ms", after="first", priority=1),
    )
    assert times(run, "first") == [(0, 0, 0, 2), (1, 1, 5, 7), (20, 20, 20, 22)]
    assert times(run, "second") == [(0, 2, 2, 5), (1, 7, 7, 10), (20, 22, 22, 25)]
    assert [ns / MS for ns in run.second.latency_ns] == [5, 9, 5]
    assert [ns / MS for ns in run.second.service_ns] == [3, 3, 3]
    assert len(run.second.lateness_ns) == 0


def test_a_chain_has_the_load_of_its_first_queue_whatever_the_order(sim, pipeline):
    """third is made first, and waits for second, which waits for first."""
    run = pipeline(
        queue(sim, "third", "1ms", after="second"),
        queue(sim, "second", "1ms", after="first"),
        queue(sim, "first", "1ms", arrivals=poisson("100/s")),
    )
    assert run.third.n == run.second.n == run.first.n == 10
    assert run.third.offered.value == run.first.offered.value
    arrived = run.first.samples["scheduled_ns"].tolist()
    assert run.third.samples["scheduled_ns"].tolist() == arrived
    ends = run.second.samples["completed_ns"].tolist()
    assert run.third.samples["submitted_ns"].tolist() == ends


def test_two_queues_after_one_start_at_the_same_moment(sim, pipeline):
    run = pipeline(
        queue(sim, "first", "2ms", arrivals=replay(["0ms"])),
        queue(sim, "left", "3ms", after="first"),
        queue(sim, "right", "1ms", after="first"),
    )
    assert times(run, "left") == [(0, 2, 2, 5)]
    assert times(run, "right") == [(0, 2, 2, 6)]


def test_a_queue_that_waits_holds_no_queue_back(sim, pipeline):
    """high waits for low until 8. It is not ready, so middle runs 0-6 and low 6-8."""
    run = pipeline(
        queue(sim, "low", "2ms", arrivals=replay(["0ms"])),
        queue(sim, "middle", "3ms", arrivals=replay(["0ms", "0ms"]), priority=1),
        queue(sim, "high", "1ms", after="low", priority=2),
    )
    assert times(run, "middle") == [(0, 0, 0, 3), (0, 0, 3, 6)]
    assert times(run, "low") == [(0, 0, 6, 8)]
    assert times(run, "high") == [(0, 8, 8, 9)]
    assert run.high.counts.suspended == 0


def test_an_inversion_is_said_with_its_time_and_the_queues_that_go_before(sim, pipeline):
    run = pipeline(
        queue(sim, "low", "2ms", arrivals=replay(["0ms"])),
        queue(sim, "middle", "3ms", arrivals=replay(["0ms", "0ms"]), priority=1),
        queue(sim, "high", "1ms", after="low", priority=2),
    )
    (inversion,) = run.evidence.inversions
    assert (inversion.most_ns, inversion.alone_ns) == (8 * MS, run.alone_ns[0])
    assert inversion.sentence == (
        "priority inversion: high (priority 2) waited for low (priority 0), at most 8 ms; alone, "
        "a request of low takes 2 ms, and middle goes before low"
    )
    (written,) = run.to_dict()["evidence"]["inversions"]
    assert written["ahead"] == ["middle"]


def test_a_request_that_never_started_is_an_inversion_without_an_end(sim, bare):
    """middle takes all of the device for ever, so low gets nothing, and high waits for it."""
    run = sim.run(
        queue(sim, "low", "2ms", arrivals=replay(["1ms", "2ms"])),
        queue(sim, "middle", "3ms", arrivals=closed(), priority=1),
        queue(sim, "high", "1ms", after="low", priority=2),
        **{"duration": "100ms", "warmup": "0s", "drain": "10ms", "sim": bare, "policy": "hpf"},
    )
    assert times(run, "high") == [(1, -1e-6, -1e-6, -1e-6), (2, -1e-6, -1e-6, -1e-6)]
    (inversion,) = run.evidence.inversions
    assert inversion.most_ns is None
    assert "2 of its 2 requests never started" in inversion.sentence
    assert broken_rules(run) == {}  # hpf lets low wait for the closed loop


@pytest.mark.parametrize("policy", ["edf", "fair", "none"])
def test_there_is_no_inversion_where_priorities_order_nothing(sim, pipeline, policy):
    run = pipeline(
        queue(sim, "low", "2ms", arrivals=replay(["0ms"])),
        queue(sim, "high", "1ms", after="low", priority=2),
        policy=policy,
    )
    assert run.evidence.inversions == ()


def test_waiting_for_another_queue_is_a_part_of_the_latency(sim, pipeline):
    run = pipeline(
        queue(sim, "low", "2ms", arrivals=replay(["0ms"])),
        queue(sim, "middle", "3ms", arrivals=replay(["0ms"]), priority=1),
        queue(sim, "high", "1ms", after="low", priority=2),
    )
    found = run.high.explain()
    assert found.parts == {("after", "low"): 5 * MS, ("running", ""): MS}
    assert found.cause == "after"
    assert found.sentence == (
        "all of the excess is waiting for the requests of low, which high starts after; low has "
        "the lower priority"
    )


def test_the_request_before_is_no_contender(sim, pipeline):
    """first has no work while second runs, except where its next request has come."""
    alone = pipeline(
        queue(sim, "first", "2ms", arrivals=replay(["0ms", "20ms"])),
        queue(sim, "second", "3ms", after="first", priority=1),
    )
    assert alone.evidence.uncontended["second"] == (
        "first had no work during any request of second, so second had nothing to contend with",
    )
    met = pipeline(
        queue(sim, "first", "2ms", arrivals=replay(["0ms", "3ms"])),
        queue(sim, "second", "3ms", after="first", priority=1),
    )
    assert "second" not in met.evidence.uncontended


def test_the_deadline_counts_from_the_arrival(sim, pipeline):
    """second, due 10 ms after its arrival at 0, goes before other, which is due at 10.5."""
    run = pipeline(
        queue(sim, "first", "2ms", arrivals=replay(["0ms"]), deadline="5ms"),
        queue(sim, "other", "3ms", arrivals=replay(["0.5ms"]), deadline="10ms"),
        queue(sim, "second", "1ms", after="first", deadline="10ms"),
        policy="edf",
    )
    assert times(run, "second") == [(0, 2, 2, 3)]
    assert times(run, "other") == [(0.5, 0.5, 3, 6)]


def test_a_wait_is_no_stall(sim, pipeline):
    run = pipeline(
        queue(sim, "first", "20ms", arrivals=replay(["0ms"])),
        queue(sim, "second", "3ms", after="first"),
    )
    assert run.second.counts.longest_stall_ns == 3 * MS


def test_a_held_queue_keeps_the_next_one_waiting(sim, bare):
    run = sim.run(
        queue(sim, "first", "2ms", arrivals=replay(["1ms"])),
        queue(sim, "second", "3ms", after="first"),
        changes=[at("0ms", "first", suspended=True), at("10ms", "first", suspended=False)],
        **{"duration": "100ms", "warmup": "0s", "sim": bare, "policy": "hpf"},
    )
    assert times(run, "second") == [(1, 12, 12, 15)]


def test_later_windows_have_the_same_requests_in_both_queues(sim, bare):
    run = sim.run(
        queue(sim, "first", "2ms", arrivals=poisson("50/s")),
        queue(sim, "second", "3ms", after="first"),
        **{"duration": "30s", "sim": bare, "policy": "hpf"},
    )
    first, second = run.first.samples, run.second.samples
    assert first["scheduled_ns"].tolist() == second["scheduled_ns"].tolist()
    assert first["completed_ns"].tolist() == second["submitted_ns"].tolist()


def test_a_load_and_after_are_two_loads(sim):
    with pytest.raises(ScenarioError) as error:
        sim.queue("second", spin("1ms"), after="first", rate="20/s")
    assert str(error.value) == (
        "queue 'second': after='first' and rate: its requests arrive with those of the other "
        "queue; leave rate out"
    )

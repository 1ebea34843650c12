"""Milestones of requests of our own kernels in virtual time: each time to the nanosecond."""

import csv
import io
import itertools
import re
from pathlib import Path

import pytest

from pytest_xsched import InvalidRun, Session, SimModel, sequence, spin
from pytest_xsched.reporting.samples_file import part, samples_file
from pytest_xsched.session.settings import Settings

MS = 1_000_000
ANSWER = sequence([spin("5ms"), *[spin("1ms")] * 3], milestone="token", label="answer")


def times(queue):
    """Return when each milestone was reached, from the scheduled arrival: a row for a request."""
    reached = queue.milestones
    count = len(reached) // len(queue.samples)
    at_ns = reached.at_ns.reshape(-1, count)
    assert (reached.request.reshape(-1, count) == [[i] for i in range(len(at_ns))]).all()
    return (at_ns - queue.samples["scheduled_ns"][:, None]).tolist()


def between(row):
    return [later - before for before, later in itertools.pairwise(row)]


@pytest.mark.parametrize("scheduler", ["native", "builtin"])
def test_each_part_is_reached_when_its_last_command_completes(sim, bare, scheduler):
    queue = sim.queue("q", ANSWER, rate="50/s")
    run = sim.run(queue, duration="100ms", warmup="40ms", sim=bare, scheduler=scheduler)
    assert run.q.milestones.names == ("token",)
    assert times(run.q) == [[5 * MS, 6 * MS, 7 * MS, 8 * MS]] * 7  # with those of the warm-up
    assert (run.q.samples["completed_ns"] - run.q.samples["scheduled_ns"] == 8 * MS).all()


def test_names_are_kept_apart_and_commands_after_the_last_are_none(sim, bare):
    work = sequence(
        [spin("2ms", layers=2), spin("3ms"), spin("1ms")], milestone=["copied", "scored", None]
    )
    run = sim.run(sim.queue("q", work, rate="20/s"), duration="100ms", warmup="0s", sim=bare)
    reached = run.q.milestones
    assert reached.names == ("copied", "scored")
    assert reached.name.tolist() == [0, 1] * 2
    assert times(run.q) == [[4 * MS, 7 * MS]] * 2


def test_a_contender_delays_each_step_where_streams_take_turns(sim):
    """Under XQueues it delays the first one only, by the rest of its command."""
    model = SimModel(priority=False, launch_ns=0, interleave=True)
    high = sim.queue("high", ANSWER, priority=9, rate="20/s")
    low = sim.queue("low", spin("4ms"), priority=1, threshold=1)
    native, builtin = (
        sim.run(high, low, duration="1s", warmup="0s", sim=model, scheduler=scheduler)
        for scheduler in ("native", "builtin")
    )
    assert all(between(row) == [5 * MS] * 3 for row in times(native.high))
    assert all(between(row) == [1 * MS] * 3 for row in times(builtin.high))
    assert max(row[0] for row in times(builtin.high)) <= 9 * MS


def test_a_request_that_did_not_get_so_far_has_no_later_milestones(sim, bare):
    work = sequence([spin("30ms"), spin("1s")], milestone="token")
    queue = sim.queue("q", work, rate="20/s")
    run = sim.run(queue, duration="100ms", warmup="0s", drain="50ms", sim=bare)
    assert run.q.milestones.request.tolist() == [0]
    assert run.q.milestones.at_ns.tolist() == [55 * MS]
    assert run.q.censored == 2


def test_latencies_to_milestones_are_exact(sim, bare):
    queue = sim.queue("q", ANSWER, rate="50/s")
    run = sim.run(queue, duration="20s", sim=bare)
    assert (run.q.first_token.p50, run.q.first_token.max) == ("5ms", "5ms")
    assert (run.q.per_token.p50, run.q.per_token.max) == ("1ms", "1ms")
    assert (run.q.between_tokens.n, run.q.between_tokens.max) == (3 * run.q.n, "1ms")
    run.q.first_token.assert_p99_below("6ms")


def test_windows_of_a_run_have_all_of_them():
    session = Session(Settings(device="sim"))
    run = session.run(session.queue("q", ANSWER, rate="10/s"), duration="60s")
    before = len(run.q.milestones)
    assert run.measure_on()
    assert len(run.q.samples) * 4 == len(run.q.milestones) > before
    assert run.q.milestones.request.tolist() == [i // 4 for i in range(len(run.q.milestones))]
    session.close()


def test_targets_of_a_milestone_that_came_once_may_have_the_names_of_several(sim, bare):
    """A server whose answers happen to have one token each is judged all the same."""
    work = sequence([spin("5ms"), spin("1ms")], milestone=["token", None])
    run = sim.run(sim.queue("q", work, rate="50/s"), duration="20s", sim=bare)
    assert list(run.q.latencies) == ["token"]
    run.q.first_token.assert_p99_below("6ms")
    run.q.assert_goodput_at_least(rate="40/s", first_token="6ms")
    with pytest.raises(InvalidRun, match="no request of q reached 'token' twice"):
        run.q.per_token.assert_p99_below("1s")


def test_a_target_is_judged_on_all_windows_of_a_run():
    """The first window has too few requests for a P99.9 of the first token."""
    session = Session(Settings(device="sim"))
    run = session.run(session.queue("q", ANSWER, rate="100/s"), duration="60s")
    first = run.q.first_token
    before = first.n
    first.assert_p999_below("1s")
    assert run.windows > 1
    assert run.q.first_token is first and first.n == run.q.n > before
    session.close()


def test_a_latency_to_a_milestone_can_be_published(sim, bare):
    class Benchmark:
        enabled, extra_info = True, {}

        def pedantic(self, function, rounds):
            self.rounds = rounds

    run = sim.run(sim.queue("q", ANSWER, rate="20/s"), duration="1s", scheduler="native", sim=bare)
    benchmark = Benchmark()
    run.q.first_token.publish(benchmark)
    assert benchmark.rounds == run.q.n == 20
    assert benchmark.extra_info["queue"] == "q.first_token"
    assert benchmark.extra_info["p99_ns"] == 5 * MS


def test_the_file_of_samples_has_rows_of_each_latency(sim, bare):
    queue = sim.queue("q", ANSWER, rate="20/s")
    run = sim.run(queue, duration="1s", warmup="0s", scheduler="native", sim=bare)
    content = samples_file(Path("samples.csv"), [part([("", 0, run)], is_comparison=False)])
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    ns = {}
    for row in rows:
        ns.setdefault(row["latency"], []).append(int(row["latency_ns"]))
    assert ns == {
        "": [8 * MS] * 20,
        "first_token": [5 * MS] * 20,
        "per_token": [MS] * 20,
        "between_tokens": [MS] * 60,
    }


def test_an_explanation_says_which_part_of_late_requests_was_until_the_first_token(sim, bare):
    """The first token waits for the other queue, the later ones do not."""
    high = sim.queue("high", ANSWER, priority=9, rate="20/s")
    low = sim.queue("low", spin("40ms"), priority=1, threshold=1)
    run = sim.run(high, low, duration="1s", warmup="0s", sim=bare)
    why = run.high.explain("1us")
    assert len(why.requests) == 20
    assert why.milestones == {
        "first_token": why.latency_ns - 20 * 3 * MS,
        "between_tokens": 20 * 3 * MS,
    }
    assert why.milestones["first_token"] > 20 * 5 * MS
    assert re.fullmatch(
        r"of [\d.]+ ms: [\d.]+ ms until first_token, 3 ms between tokens", why.lines[2]
    )
    assert why.to_dict()["milestones"] == why.milestones
    assert "milestones" not in run.low.explain().to_dict()


def test_what_comes_after_the_last_milestone_and_before_any_is_part_of_it(sim, bare):
    work = sequence([spin("2ms"), spin("3ms")], milestone=["copied", None])
    run = sim.run(sim.queue("q", work, rate="20/s"), duration="100ms", warmup="0s", sim=bare)
    assert run.q.explain("1us").milestones == {"copied": 2 * 2 * MS, "": 2 * 3 * MS}
    late = sim.queue("q", sequence([spin("500ms")], milestone="copied"), rate="20/s")
    run = sim.run(late, duration="100ms", warmup="0s", drain="0s", sim=bare)
    why = run.q.explain("1us")  # none reached it before the end
    assert why.milestones == {"copied": why.latency_ns}

"""Latencies to milestones, from samples and milestones written by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_xsched import stages
from pytest_xsched.analysis import targets
from pytest_xsched.analysis.milestone_latency import latencies_to_list
from pytest_xsched.analysis.milestone_times import kept
from pytest_xsched.errors import InvalidRun, QosAssertionError, ScenarioError
from pytest_xsched.native.binding import CENSORED, FAILED
from pytest_xsched.native.milestones import Milestones
from pytest_xsched.stats.estimators import CENSORED_NS

MS = 1_000_000


@pytest.fixture
def made(made_queue):
    """Makes a queue; milestones are (request, name, ms after its arrival), 50 ms apart."""

    def make(latencies, reached, *, failed=(), names=None, **more):
        queue = made_queue(latencies, **more)
        names = names or tuple(dict.fromkeys(name for _, name, _ in reached))
        at = [queue.samples["scheduled_ns"][i] + round(ms * MS) for i, _, ms in reached]
        queue.milestones = Milestones(
            names=names,
            request=np.array([i for i, _, _ in reached], np.int64),
            name=np.array([names.index(name) for _, name, _ in reached], np.int64),
            at_ns=np.array(at, np.int64),
        )
        for index in failed:
            queue.samples["flags"][index] |= FAILED | CENSORED
            queue.samples["completed_ns"][index] = -1
        queue.latency_ns = queue._span("scheduled_ns")
        return queue

    return make


def ms(latency):
    return [None if ns == CENSORED_NS else ns / MS for ns in latency.latency_ns.tolist()]


def test_a_milestone_that_comes_once_is_a_latency_from_the_arrival(made):
    queue = made([30, 40, 50], [(1, "copied", 7), (0, "copied", 5), (2, "copied", 9)], late_ms=3)
    assert list(queue.latencies) == ["copied"]
    assert ms(queue.copied) == [5, 7, 9]
    assert queue.copied is queue.latencies["copied"] and queue.copied.label == "high.copied"
    assert queue.copied.max.value == 9 * MS and queue.copied.max.what == "max of high.copied"
    assert ms(queue.first_copied) == [5, 7, 9]  # of several there would be a first one


def test_a_milestone_that_repeats_is_three_latencies(made):
    tokens = [(0, "token", at) for at in (10, 14, 30)] + [(1, "token", at) for at in (20, 21)]
    queue = made([30, 40], tokens)
    assert list(queue.latencies) == ["first_token", "per_token", "between_tokens"]
    assert ms(queue.first_token) == [10, 20]
    assert ms(queue.per_token) == [10, 1]  # (30 - 10) / 2 and 21 - 20
    assert ms(queue.between_tokens) == [4, 16, 1]  # in order of time
    assert (queue.per_token.n, queue.between_tokens.n) == (2, 3)


def test_requests_that_overlap_have_their_own_times_between(made):
    """Request 1 arrives at 50 ms, and has its tokens between those of request 0."""
    tokens = [(0, "token", 10), (1, "token", 5), (0, "token", 60), (1, "token", 20)]
    queue = made([70, 40], tokens)
    assert ms(queue.between_tokens) == [50, 15]
    assert ms(queue.first_token) == [10, 5]


def test_a_request_that_failed_or_never_got_there_is_above_every_limit(made):
    tokens = [(i, "token", at) for i in (0, 1, 2) for at in (5, 9)]
    # Request 1 fails after its tokens, 2 goes on for ever, 3 reaches none, 4 none and fails.
    queue = made([20, 20, None, 20, 20], tokens, failed=[1, 4])
    assert ms(queue.first_token) == [5, None, 5, None, None]
    assert ms(queue.per_token) == [4, None, None, None, None]
    # Each that was lost, or reached none, has one time more, which never ended.
    assert sorted(ms(queue.between_tokens), key=str) == [4, 4, 4, None, None, None, None]
    assert queue.first_token.censored == 3 and queue.first_token.max.value == np.inf
    assert (queue.failed, queue.censored, queue.lost) == (2, 3, "2 failed, 1 unfinished")


def test_a_request_with_one_token_has_no_time_per_token(made):
    queue = made([20, 20], [(0, "token", 5), (1, "token", 5), (1, "token", 9)])
    assert ms(queue.first_token) == [5, 5]
    assert ms(queue.per_token) == [4] == ms(queue.between_tokens)


def test_only_requests_of_the_window_count(made):
    tokens = [(i, "token", at) for i in range(4) for at in (1 + i, 11 + i)]
    queue = made([30] * 4, tokens, window_ms=(50, 150))
    assert ms(queue.first_token) == [2, 3]
    assert ms(queue.between_tokens) == [10, 10]


def test_windows_are_merged_and_latencies_follow(made):
    first = made([30, 30], [(0, "token", 5), (0, "token", 9), (1, "token", 6), (1, "token", 12)])
    held = first.first_token
    later = made([30], [(0, "end_of_input", 2), (0, "token", 7)], names=("end_of_input", "token"))
    first.extend(later.counts, later.samples, (0, 50 * MS), 10**9, milestones=later.milestones)
    assert ms(held) == [5, 6, 7] and held is first.first_token
    assert ms(first.per_token) == [4, 6]
    assert list(first.latencies) == ["first_token", "per_token", "between_tokens", "end_of_input"]
    assert ms(first.end_of_input) == [None, None, 2]
    assert first.milestones.at_ns[-1] == 10**9 + 7 * MS and first.milestones.request[-1] == 2


def test_declared_milestones_that_none_reached_are_above_every_limit(made):
    queue = made([None] * 3, [], names=("token",))
    assert ms(queue.token) == ms(queue.first_token) == [None] * 3
    assert ms(queue.per_token) == ms(queue.between_tokens) == [None] * 3


def test_a_milestone_that_never_came_twice_has_no_time_between(made):
    queue = made([20, 20], [(0, "token", 5), (1, "token", 5)])
    assert list(queue.latencies) == ["token"]
    for latency in (queue.per_token, queue.between_tokens):
        assert latency.n == 0
        with pytest.raises(InvalidRun, match="no request of high reached 'token' twice"):
            latency.p50  # noqa: B018


def test_lower_bounds_know_how_long_an_unfinished_request_waited(made):
    queue = made([20, None, 20], [(1, "token", 10), (1, "token", 30)], failed=[2])
    # The window ends at 150 ms; request 1 arrived at 50 ms and had its last token at 80 ms.
    assert ms(queue.between_tokens.lower_bounds()) == [150, 20, 70, 50]
    assert ms(queue.first_token.lower_bounds()) == [150, 10, 50]
    assert ms(queue.per_token.lower_bounds()) == [0, 0, 0]


def test_targets_judge_a_latency_and_name_it(made):
    tokens = [(i, "token", at) for i in range(400) for at in (5, 9)]
    queue = made([20] * 400, tokens)
    verdict = targets.percentile_below(queue.first_token, 0.99, 6 * MS)
    assert (verdict.status, verdict.queue, verdict.latency) == ("PASS", "high", "first_token")
    assert verdict.sentence.startswith("high.first_token: P99 5 ms is below 6 ms (n = 400")
    assert targets.percentile_below(queue.per_token, 0.99, 4 * MS).status == "FAIL"
    assert targets.max_below(queue.between_tokens, 5 * MS).n == 400


def test_joint_goodput_takes_requests_that_keep_all_limits(made):
    """Of ten requests two have a late first token, one late tokens after it, one both."""
    tokens = []
    for i in range(10):
        first, per = (90 if i in (0, 1, 2) else 10), (30 if i in (2, 3) else 5)
        tokens += [(i, "token", first), (i, "token", first + per)]
    queue = made([130] * 10, tokens)  # 20/s
    assert queue.goodput(first_token="50ms").value == 14
    assert queue.goodput(per_token="10ms").value == 16
    assert queue.goodput(first_token="50ms", per_token="10ms").value == 12
    assert queue.goodput("100ms", first_token="50ms").value == 0
    assert queue.goodput(between_tokens="10ms").value == 16
    found = queue.goodput(first_token="50ms", per_token="10ms")
    assert found.what == "goodput of high"
    assert found.detail == "first_token 50 ms, per_token 10 ms"
    limits_ns = {"first_token": 50 * MS, "per_token": 10 * MS}
    assert np.flatnonzero(~kept(queue, limits_ns)).tolist() == [0, 1, 2, 3]


def test_a_request_that_did_not_complete_is_not_good(made):
    tokens = [(i, "token", at) for i in range(4) for at in (5, 9)]
    queue = made([20, 20, None, 20], tokens, failed=[1])
    limits_ns = {"first_token": 50 * MS}
    assert kept(queue, limits_ns).tolist() == [True, False, False, True]
    # At best, the one that goes on keeps the limits, and the one that failed does not.
    assert kept(queue.lower_bounds(), limits_ns).tolist() == [True, False, True, True]


def test_joint_goodput_of_a_closed_loop_counts_completions(made):
    tokens = [(i, "token", 5 if i % 2 else 30) for i in range(200)]
    queue = made([40] * 200, tokens, closed=True)
    verdict = targets.goodput_at_least(
        queue, None, 9.0, kept=kept(queue, {"token": 10 * MS}), more=", token 10 ms"
    )
    assert verdict.status == "PASS" and verdict.value == 10
    assert "token 10 ms" in verdict.sentence


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda q: q.goodput(), "goodput: there is no limit"),
        (lambda q: q.goodput(last_token="1s"), "high has no latency 'last_token'; .*: first_token"),
        (lambda q: q.goodput(first_token="fast"), "first_token of goodput"),
        (lambda q: q.assert_goodput_at_least(first_token="1s"), "there is no rate; write rate="),
        (lambda q: q.assert_goodput_at_least(rate="1/s"), "there is no limit"),
    ],
)
def test_wrong_limits_are_named(made, call, error):
    queue = made([20], [(0, "token", 5), (0, "token", 9)])
    with pytest.raises(ScenarioError, match=error):
        call(queue)


def test_what_a_latency_is_not(made):
    queue = made([20], [(0, "token", 5), (0, "token", 9)])
    with pytest.raises(
        AttributeError, match=r"high.first_token is .*; write run\.high\.throughput"
    ):
        queue.first_token.throughput  # noqa: B018
    with pytest.raises(AttributeError, match="its latencies to milestones are first_token, per_"):
        queue.last_token  # noqa: B018
    with pytest.raises(AttributeError, match=r"write percentile\(0\.90\)"):
        queue.first_token.p90  # noqa: B018
    with pytest.raises(InvalidRun, match=r"needs at least 299 requests, high.first_token has 1"):
        queue.first_token.require_n(0.99)
    with pytest.raises(InvalidRun, match=r"needs at least 299 times, high.between_tokens has 1"):
        queue.between_tokens.require_n(0.99)
    with pytest.raises(ScenarioError, match=r"with high; write alone=run\.high\.first_token"):
        queue.first_token.require_alone(queue)


def test_a_milestone_with_the_name_of_a_number_is_in_latencies(made):
    queue = made([20], [(0, "max", 5)])
    assert ms(queue.latencies["max"]) == [5] and queue.max.value == 20 * MS


def test_json_has_the_numbers_of_each_latency(made):
    tokens = [(0, "token", 5), (0, "token", 9), (1, "token", 6), (1, "token", 12)]
    first, per, between = latencies_to_list(made([20, None], tokens), 10**9)
    assert first["name"] == "first_token" and per["name"] == "per_token"
    assert (first["n"], first["censored"], first["p50_ns"], first["max_ns"]) == (
        2,
        0,
        5 * MS,
        6 * MS,
    )
    assert (per["n"], per["censored"], per["p50_ns"], per["max_ns"]) == (2, 1, 4 * MS, None)
    assert (between["n"], between["censored"]) == (3, 1)
    assert {"curve_ns", "bounds_ns", "blocks", "spread"} <= set(first)


@pytest.fixture
def staged(made, made_run):
    """600 requests at 20/s in two stages of 15 s: the first token after 5 ms, then after 7 ms."""
    tokens = [(i, "token", (5 if i < 300 else 7) + extra) for i in range(600) for extra in (0, 2)]
    queue = made([30] * 600, tokens)
    load = stages([("15s", "20/s"), ("15s", "20/s")], process="constant")
    queue.spec = dataclasses.replace(queue.spec, arrivals=load)
    return made_run(queue).high


def test_a_stage_has_the_latencies_of_its_requests(staged):
    second = staged.stage(1)
    assert (second.first_token.n, second.first_token.max.value) == (300, 7 * MS)
    assert set(ms(staged.first_token.stage(0))) == {5}
    assert second.first_token.label == "high.first_token in stage 1"
    staged.first_token.stage(0).assert_p99_below("6ms")
    verdict = staged._run.verdicts[-1]
    assert (verdict.queue, verdict.part, verdict.n) == ("high", "in stage 0", 300)
    staged.first_token.assert_recovers_within("1s", after=0, below="8ms")


def test_every_slice_of_a_latency_has_to_hold(staged):
    staged.first_token.every("15s").assert_p99_below("8ms")
    with pytest.raises(QosAssertionError) as error:
        staged.first_token.every("15s").assert_p99_below("6ms")
    assert str(error.value).startswith("high.first_token from 15 s to 30 s: P99 7 ms is not below")
    staged.between_tokens.every("15s").assert_p95_below("3ms")


def test_requests_that_fail_are_no_backlog(made_queue):
    """All of the second half fail at once: that is a miss of each target, and no saturation."""
    queue = made_queue([20] * 100)
    samples = queue.samples.copy()
    samples["completed_ns"][50:] = -1
    samples["flags"][50:] |= CENSORED
    assert queue._is_saturated(samples, queue.windows_ns[0])  # they wait until the end
    samples["flags"][50:] |= FAILED
    assert not queue._is_saturated(samples, queue.windows_ns[0])

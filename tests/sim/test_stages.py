"""Loads in stages, and targets on stages and slices, with numbers worked out by hand.

A request takes 1 ms, so 1000/s saturate the device. Arrivals at equal distances: request i of a
stage of rate r at (i + 1/2) / r.
"""

import html

import numpy as np
import pytest

from pytest_xsched import ScenarioError, Session, TargetMissed, poisson, spin, stages
from pytest_xsched.errors import InvalidRun
from pytest_xsched.session.settings import Settings

BURST = {"calm": ("5s", "100/s"), "burst": ("5s", "2000/s"), "after": ("20s", "100/s")}


@pytest.fixture
def burst(sim, bare):
    """5 s calm, 5 s of twice what the device can do, 20 s calm."""
    high = sim.queue("high", spin("1ms"), arrivals=stages(BURST, process="constant"))
    return sim.run(high, warmup="0s", sim=bare)


def test_a_run_takes_the_length_of_its_stages_and_each_stage_has_its_exact_count(burst):
    assert burst.measured_ns == 30 * 10**9 and burst.windows == 1
    assert [burst.high.stage(name).n for name in BURST] == [500, 10_000, 2000]
    assert burst.high.n == 12_500
    assert [burst.high.stage(i).n for i in (0, 1, -1)] == [500, 10_000, 2000]


def test_a_stage_has_the_latencies_of_the_requests_that_arrived_in_it(burst):
    calm, high, after = (burst.high.stage(i) for i in range(3))
    assert calm.max.value == 10**6
    # Request k of the burst arrives at 0.25 + 0.5 k ms and is done at 1.25 + k ms.
    assert high.latency_ns.tolist() == [10**6 + 500_000 * k for k in range(10_000)]
    # The burst is done 5000.25 ms after it ended. Request i then arrived at 5 + 10 i ms.
    expected = [max(10**6, 4_996_250_000 - 9_000_000 * i) for i in range(2000)]
    assert after.latency_ns.tolist() == expected
    assert str(after.p50) == "1 ms" and after.p50.what == "P50 of high in stage 'after'"


def test_a_target_of_a_stage_is_judged_by_its_requests_alone(burst):
    burst.high.stage("calm").assert_p99_below("2ms")
    burst.high.stage("burst").assert_max_below("5.1s")
    burst.high.stage("burst").assert_throughput_at_least("990/s")
    with pytest.raises(TargetMissed, match=r"^high in stage 'burst': P99 4\.95 s is not below 1 s"):
        burst.high.stage("burst").assert_p99_below("1s")
    parts = [verdict.part for verdict in burst.verdicts]
    assert parts == ["in stage 'calm'", *["in stage 'burst'"] * 3]
    assert {verdict.queue for verdict in burst.verdicts} == {"high"}
    assert burst.high.stage("calm").p99 < "2ms"


def test_a_stage_that_the_end_of_the_run_cuts_says_how_much_of_it_was_measured(sim, bare):
    high = sim.queue("high", spin("1ms"), arrivals=stages(BURST, process="constant"))
    run = sim.run(high, duration="16s", warmup="0s", sim=bare)
    run.high.stage("calm").assert_max_below("2ms")
    run.high.stage("after").assert_max_below("6s")
    said = "high in stage 'after' (the first 6 s of its 20 s): max 5 s is below 6 s"
    assert run.high.stage("after").n == 600
    assert run.verdicts[-1].sentence.startswith(said)
    assert run.verdicts[0].part == "in stage 'calm'"


def test_recovery_is_when_the_latency_is_back(burst):
    # Request i after the burst takes 4996.25 - 9 i ms: 554 is the last that takes 5 ms. The first
    # 20 in a row with at most one such begin there, 5 + 10 * 554 ms after the burst.
    burst.high.assert_recovers_within("5.5451s", below="5ms")
    assert burst.verdicts[-1].value == 5_545_000_000
    assert burst.verdicts[-1].sentence.startswith(
        "high after stage 'burst': recovery 5.545 s is below 5.5451 s (n = 2000, "
    )
    with pytest.raises(TargetMissed, match=r"recovery 5\.545 s is not below 5\.545 s"):
        burst.high.assert_recovers_within("5545ms", after="burst", below="5ms")
    # For a P99 100 in a row count, and one of them may be late; for a P50 half of 20 may.
    burst.high.assert_recovers_within("5.5451s", after=1, below="5ms", percentile=0.99)
    burst.high.assert_recovers_within("5.456s", after=1, below="5ms", percentile=0.5)
    assert burst.verdicts[-1].value == 5_455_000_000  # 10 of requests 545 to 564 are late
    burst.high.assert_recovers_within("1ms", after="calm", below="1h")
    assert burst.verdicts[-1].value == 0
    with pytest.raises(TargetMissed, match="recovery never is not below 19 s"):
        burst.high.assert_recovers_within("19s", after="burst", below="1ms")


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda high: high.stage("later"), "no stage 'later'; the load has 'calm', 'burst', 'aft"),
        (lambda high: high.stage(3), "no stage 3"),
        (lambda high: high.stage(True), "no stage True"),
        (lambda high: high.assert_recovers_within("1s", after="calm", below=5), "5 has no unit"),
        (lambda high: high.every("31s"), "a slice of 31 s is longer than what is measured, 30 s"),
        (lambda high: high.every("1s", step="2s"), "step 2 s is longer than the slices, 1 s"),
        (lambda high: high.every("1s", step="1us"), "30000000 slices are above 1000"),
    ],
)
def test_what_a_run_has_not_is_one_sentence(burst, ask, words):
    with pytest.raises(ScenarioError) as error:
        ask(burst.high)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_queue_without_stages_says_what_load_it_has(sim):
    run = sim.run(sim.queue("high", spin("1ms"), arrivals=poisson("50/s")), duration="20s")
    with pytest.raises(ScenarioError, match=r'has no stages but the load poisson\("50/s"\); write'):
        run.high.stage(0)


def test_nothing_follows_the_last_stage(burst):
    with pytest.raises(InvalidRun, match="nothing was measured after stage 'after'"):
        burst.high.assert_recovers_within("1s", after="after", below="5ms")


def test_a_stage_too_short_for_a_percentile_says_so(sim, bare):
    load = stages([("5s", "20/s"), ("20s", "20/s")])
    run = sim.run(sim.queue("high", spin("1ms"), arrivals=load), sim=bare)
    with pytest.raises(InvalidRun, match=r"high in stage 0: P99 needs 299 requests, and there are"):
        run.high.stage(0).assert_p99_below("5ms")
    run.high.stage(1).assert_p99_below("50ms")


def test_a_load_that_saturates_in_its_last_stage_spoils_no_earlier_stage(sim, bare):
    load = stages([("10s", "100/s"), ("5s", "2000/s")], process="constant")
    run = sim.run(sim.queue("high", spin("1ms"), arrivals=load), sim=bare, drain="20s")
    with pytest.raises(InvalidRun, match="high is saturated"):
        run.high.assert_p99_below("1h")
    run.high.stage(0).assert_p99_below("2ms")
    assert run.high.stage(0).p99 < "2ms"
    with pytest.raises(InvalidRun, match="high is saturated"):
        run.high.stage(1).assert_p99_below("1h")


def test_every_slice_has_to_hold(burst, sim, bare):
    # From 10 to 15 s the latency falls from 5 s to 0.5 s.
    with pytest.raises(TargetMissed, match=r"; 2 of 6 slices of 5 s fail, this is the worst"):
        burst.high.every("5s").assert_p99_below("1s")
    verdict = burst.verdicts[-1]
    assert verdict.sentence.startswith("high from 10 s to 15 s: P99 4.95 s is not below 1 s (n = 5")
    assert (verdict.part, verdict.n, verdict.rule) == ("every 5 s", 500, "P99 below")
    with pytest.raises(TargetMissed, match=r"of 26 slices of 5 s fail, this is the worst"):
        burst.high.every("5s", step="1s").assert_p99_below("2s")
    calm = sim.queue("high", spin("1ms"), arrivals=stages([("30s", "100/s")], process="constant"))
    run = sim.run(calm, sim=bare)
    run.high.every("7s").assert_p99_below("2ms")
    # What remains after four slices of 7 s belongs to the last one.
    assert "; 4 of 4 slices of 7 s pass, this is the worst" in run.verdicts[-1].sentence
    run.high.stage(0).every("10s").assert_p95_below("2ms")
    assert run.verdicts[-1].part == "in stage 0, every 10 s"


def test_slices_are_of_the_measured_time_however_it_is_cut_into_windows(bare):
    session = Session(Settings(device="sim"))
    high = session.queue("high", spin("1ms"), arrivals=poisson("50/s"))
    run = session.run(high, duration="60s", sim=bare)
    assert run.measured_ns < 60 * 10**9
    run.high.every("20s").assert_p99_below("50ms")
    assert run.measured_ns == 60 * 10**9 and run.windows > 2
    assert "; 3 of 3 slices of 20 s pass" in run.verdicts[-1].sentence
    slices = run.high.every("20s", step="10s")
    parts, _ = slices._parts(run.high, 0.99)
    assert sum(part.n for part in parts[::2]) == 3000 and len(parts) == 5
    assert parts[1].part == "from 10 s to 30 s" and len(parts[1].windows_ns) > 1
    session.close()


def test_a_slice_too_short_for_a_percentile_says_so(burst):
    words = r"high from 0 s to 2 s: P99 needs 299 requests in every slice, and there are 200; take"
    with pytest.raises(InvalidRun, match=words):
        burst.high.every("2s").assert_p99_below("1h")


def test_the_same_seed_gives_the_same_arrivals_and_another_seed_others(sim, bare):
    load = stages([("5s", "50/s"), ("10s", "50/s", "200/s")])
    high = sim.queue("high", spin("1ms"), arrivals=load)
    one, same, other = (sim.run(high, seed=seed, sim=bare).high.samples for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert len(one) == len(other)


def test_the_stages_are_in_the_record_and_on_the_page(burst):
    from pytest_xsched.page.view import _over_time
    from pytest_xsched.reporting.run_table import remarks

    record = burst.to_dict()
    (queue,) = record["queues"]
    assert [(one["name"], one["n"]) for one in queue["stages"]] == [
        ("calm", 500),
        ("burst", 10_000),
        ("after", 2000),
    ]
    assert queue["stages"][1]["p99_ns"] == 10**6 + 500_000 * 9899
    line = "high in stage 'burst' (5 s at 2000/s): n = 10000, P50 2.5 s, P99 4.95 s, max 5 s"
    assert line in remarks(record)
    svg = str(_over_time(record, queue, []))
    assert "stage 'burst': 2000/s, 5 s to 10 s" in html.unescape(svg) and ">after</text>" in svg
    assert "5.5 s, stage 'burst': n = 2000" in html.unescape(svg)


def test_the_limit_of_a_stage_is_drawn_over_the_stage_and_not_over_the_percentiles_of_all(burst):
    from pytest_xsched.page.view import _limits, _over_time, _queue

    burst.high.stage("calm").assert_p99_below("2ms")
    burst.high.assert_max_below("6s")
    record = burst.to_dict()
    (queue,) = record["queues"]
    limits = _limits(record, "high", "")
    drawn = str(_over_time(record, queue, limits))
    assert ">P99 below 2 ms</text>" in drawn and ">max below 6 s</text>" in drawn
    whole = str(_queue(record, queue, {}, limits)["distribution"])
    assert "P99 below" not in whole and ">max below 6 s</text>" in whole

"""Whole runs in virtual time: loads, windows, counts, reproducibility."""

import pytest

from pytest_xsched import (
    InvalidRun,
    QosAssertionError,
    ScenarioError,
    matmul,
    poisson,
    replay,
    spin,
)


def test_the_same_scenario_and_seed_give_the_same_bytes(sim):
    def run(seed):
        return sim.run(
            sim.queue("high", matmul(512), priority=10, arrivals=poisson("20/s")),
            sim.queue("low", matmul(1024, batch=8), priority=1),
            duration="30s",
            seed=seed,
        )

    first, again, other = run(7), run(7), run(8)
    assert first.to_json() == again.to_json()
    for name in first:
        assert first[name].samples.tobytes() == again[name].samples.tobytes()
    assert first.to_json() != other.to_json()
    assert first.high.latency_ns.tolist() != other.high.latency_ns.tolist()


def test_the_offered_rate_is_exact(sim):
    run = sim.run(sim.queue("q", spin("1ms"), arrivals=poisson("20/s")), duration="60s")
    assert run.q.n == 1200
    assert run.q.offered == "20/s"
    assert run.q.throughput == "20/s"
    assert run.q.counts.requests_submitted == 1200 + 20  # and a second of warm-up


def test_warm_up_is_kept_but_not_measured(sim, bare):
    # Requests at 5, 15, 25, ... ms; those before 20 ms are warm-up.
    queue = sim.queue("q", spin("1ms"), rate="100/s")
    run = sim.run(queue, duration="100ms", warmup="20ms", sim=bare)
    assert len(run.q.samples) == 12
    assert run.q.n == 10
    assert run.q.measured["scheduled_ns"][0] == 25_000_000


def test_closed_loop_thinks(sim, bare):
    # 3 ms of work and 7 ms of thought: requests at 0, 10, 20, ... ms, ten in 100 ms.
    run = sim.run(sim.queue("q", spin("3ms"), think="7ms"), duration="100ms", warmup="0s", sim=bare)
    assert run.q.samples["scheduled_ns"].tolist() == [i * 10_000_000 for i in range(10)]
    assert set(run.q.latency_ns.tolist()) == {3_000_000}
    assert run.q.throughput == "100/s"


def test_closed_loop_of_several_clients(sim, bare):
    # Three clients and one slot: each request waits for the two before it. From the third on,
    # 3 ms: submitted when its predecessor thrice removed completed.
    run = sim.run(
        sim.queue("q", spin("1ms"), concurrency=3), duration="10ms", warmup="0s", sim=bare
    )
    assert run.q.latency_ns.tolist()[:5] == [1_000_000, 2_000_000] + 3 * [3_000_000]
    assert run.q.throughput.value == 900  # completions at 1, 2, ... 9 ms; 10 ms is outside


def test_contenders_go_on_until_the_last_request_is_answered(sim, bare):
    # high's request at 9 ms has to wait for the running command of low (8 to 16 ms), beyond the
    # window of 10 ms. Low, 8 ms a command, has submitted its third meanwhile: flagged, not counted.
    run = sim.run(
        sim.queue("high", spin("1ms"), priority=10, arrivals=replay(["9ms"])),
        sim.queue("low", spin("8ms")),
        duration="10ms",
        warmup="0s",
        scheduler="priority",
        sim=bare,
    )
    assert run.high.latency_ns.tolist() == [8_000_000]
    assert run.low.samples["scheduled_ns"].tolist() == [0, 8_000_000, 16_000_000]
    assert run.low.n == 2
    assert not run.evidence.faults


def test_a_request_at_the_end_of_the_window_is_outside_of_it(sim, bare):
    # low: 5 ms a command. Its third request arrives at 10 ms, when the window ends; it is sent,
    # because high, which arrived at 9 ms, is not done yet.
    run = sim.run(
        sim.queue("high", spin("4ms"), priority=10, arrivals=replay(["9ms"])),
        sim.queue("low", spin("5ms")),
        duration="10ms",
        warmup="0s",
        policy="none",
        sim=bare,
    )
    assert run.low.samples["scheduled_ns"].tolist()[:3] == [0, 5_000_000, 10_000_000]
    assert run.low.n == 2


def test_a_request_is_launched_with_its_first_command(sim, bare):
    queue = sim.queue("q", spin("1ms", layers=3), arrivals=replay(["1ms", "2ms"]), threshold=1)
    run = sim.run(queue, duration="10ms", warmup="0s", sim=bare)
    assert run.q.samples["launched_ns"].tolist() == [1_000_000, 4_000_000]
    assert run.q.samples["completed_ns"].tolist() == [4_000_000, 7_000_000]


def test_overload_is_censored_counted_and_refused(sim, bare):
    # 100/s of 20 ms each for 10 s, and 1 s of drain. The first arrives at 5 ms, so completions are
    # at 25, 45, ... ms: 549 until 11 s, and 499 of them within the window.
    queue = sim.queue("q", spin("20ms"), rate="100/s")
    run = sim.run(queue, duration="10s", warmup="0s", drain="1s", sim=bare)
    assert (run.q.n, run.q.censored) == (1000, 451)
    assert run.q.counts.completed == run.q.counts.launched
    assert str(run.q.p99) == "never"
    assert run.q.saturated
    assert run.q.throughput.value == 49.9
    with pytest.raises(
        InvalidRun, match=r"q is saturated: 100/s were offered but 49\.9/s completed"
    ):
        run.q.assert_p99_below("1h")
    with pytest.raises(AssertionError, match="saturated"):
        run.q.assert_throughput_at_least("100/s")
    run.q.assert_throughput_at_least("49/s")


def test_suspensions_are_counted(sim, bare):
    # Three requests of high find low at work: it is suspended three times, high never.
    run = sim.run(
        sim.queue("high", spin("1ms"), priority=10, arrivals=replay(["10ms", "20ms", "30ms"])),
        sim.queue("low", spin("1ms", layers=7), priority=1),
        duration="40ms",
        warmup="0s",
        sim=bare,
    )
    assert run.low.counts.suspended == 3
    assert run.high.counts.suspended == 0
    assert run.low.counts.completed == run.low.counts.submitted


def test_a_queue_without_work_is_not_counted_as_suspended(sim, bare):
    run = sim.run(
        sim.queue("high", spin("1ms"), priority=10, arrivals=replay(["10ms", "20ms"])),
        sim.queue("low", spin("1ms"), priority=1, arrivals=replay(["0ms", "20ms"])),
        duration="40ms",
        warmup="0s",
        sim=bare,
    )
    assert run.low.counts.suspended == 1  # at 20 ms only: at 10 ms it has no work
    assert run.low.latency_ns.tolist() == [1_000_000, 2_000_000]


def test_equal_priorities_share(sim, bare):
    run = sim.run(
        *(sim.queue(name, spin("1ms", layers=4), priority=5) for name in ("a", "b", "c")),
        duration="1200ms",
        warmup="0s",
        sim=bare,
    )
    # First come, first served: a, b, c take turns of 4 ms. In 1200 ms each has 100; a and b have
    # submitted another by then (at 1192 and 1196 ms), c would do so at 1200 ms, when it is over.
    assert [run[name].counts.requests_completed for name in run] == [101, 101, 100]


def test_too_many_requests_of_a_closed_loop_end_the_run(sim, bare, monkeypatch):
    monkeypatch.setattr("pytest_xsched.runner.measure.SAMPLES_MAX", 1000)
    queue = sim.queue("greedy", spin("0s"))
    with pytest.raises(ScenarioError, match=r"queue 'greedy' made more than 1000 requests"):
        sim.run(queue, duration="1h", sim=bare)
    assert sim.runs == []
    monkeypatch.undo()
    assert (
        sim.run(sim.queue("q", spin("1ms")), duration="1s", sim=bare).q.n == 1000
    )  # the next one runs


def test_runs_on_one_device_do_not_disturb_each_other(sim):
    def latencies():
        queue = sim.queue("q", matmul(100), arrivals=poisson("1000/s"))
        return sim.run(queue, duration="1s").q.latency_ns.tolist()

    assert latencies() == latencies()


@pytest.mark.parametrize(
    ("high", "stall_ns"),
    [
        # The third command of low ends at 15 ms; the next one is launched after high's.
        ("3s", 3_000_000_000),
        # The run ends at 11 s: one second after the window.
        ("1h", 10_985_000_000),
    ],
)
def test_a_request_that_is_starved_after_its_first_launch_waits(sim, bare, high, stall_ns):
    """Also if it still waits at the end: only its first command was launched without a wait."""
    run = sim.run(
        sim.queue("high", spin(high), priority=10, arrivals=replay(["12ms"])),
        sim.queue("low", spin("5ms", layers=50), priority=1, threshold=1, batch_size=1),
        duration="10s",
        warmup="0s",
        drain="1s",
        sim=bare,
    )
    assert run.low.counts.longest_stall_ns == stall_ns
    assert run.low.longest_wait.value == stall_ns
    with pytest.raises(QosAssertionError, match=r"low: wait .* is not below 3 s"):
        run.low.assert_longest_wait_below("3s")


def test_a_command_that_runs_counts_as_a_wait_and_a_pause_does_not(sim, bare):
    queue = sim.queue("q", spin("5ms", layers=2), think="70ms", threshold=1, batch_size=1)
    run = sim.run(queue, duration="1s", warmup="0s", sim=bare)
    assert run.q.longest_wait.value == 5_000_000
    # Plain streams show nothing of a request but its end.
    run = sim.run(queue, duration="1s", warmup="0s", sim=bare, scheduler="native")
    assert run.q.longest_wait.value == 10_000_000


def test_what_waited_in_the_warm_up_only_does_not_count(sim, bare):
    run = sim.run(
        sim.queue("q", spin("300ms", layers=2), think="10s", threshold=1, batch_size=1),
        sim.queue("other", spin("1ms"), rate="10/s"),
        duration="1s",
        warmup="1s",
        sim=bare,
    )
    assert run.q.counts.longest_stall_ns == 0

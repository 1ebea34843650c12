"""What one window of a run shows is never forgotten, whichever window it is. No device."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_xsched.monitoring.noise import Readings, Rules
from pytest_xsched.native.binding import CENSORED, SAMPLE
from pytest_xsched.native.run import Counts
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.scenario.arrival_process import closed, constant
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.scenario.workload import spin
from pytest_xsched.session.adaptive import run_in_windows
from pytest_xsched.xsched.activation import Activity, File
from pytest_xsched.xsched.server_poll import Coverage

MS, S = 10**6, 10**9
WINDOWS = 5  # of 15, 7, 11, 16 and 11 s


def samples(duration_ns, period_ms, served_ms):
    """Requests at equal distances, each launched at once and served in a time."""
    made = np.zeros(duration_ns // (period_ms * MS), SAMPLE)
    for field in ("scheduled_ns", "submitted_ns", "launched_ns"):
        made[field] = np.arange(len(made)) * period_ms * MS
    made["completed_ns"] = made["launched_ns"] + served_ms * MS
    return made


def counts(requests):
    return Counts(
        submitted=requests,
        launched=requests,
        completed=requests,
        failed=0,
        requests_submitted=requests,
        requests_completed=requests,
        suspended=0,
        most_in_flight=1,
        priority=0,
        state="idle",
    )


def readings(duration_ns, late_ns):
    return Readings(block_ns=S, heartbeat_ns=(late_ns,) * (duration_ns // S), on_host=False)


@pytest.fixture
def windows(made_fingerprint):
    """Runs all windows of a scenario, of which one is spoiled: window 0, 1, ... or None."""

    def run(spoil, at, *, noise="note", measure_all=True, at_least_ns=0):
        scenario = Scenario(
            queues=(
                QueueSpec(name="high", workload=spin("6ms"), priority=9, arrivals=constant("20/s")),
                QueueSpec(name="low", workload=spin("10ms"), arrivals=closed()),
            ),
            duration_ns=60 * S,
            warmup_ns=0,
            drain_ns=0,
            seed=3,
            device="cpu",
            scheduler="builtin",
            policy="hpf",
        )
        made = []

        def measure(window):
            both = (samples(window.duration_ns, 50, 6), samples(window.duration_ns, 10, 10))
            measurement = Measurement(
                fingerprint=made_fingerprint(kind="cpu"),
                counts=tuple(counts(len(one)) for one in both),
                samples=both,
                wrong_results=(),
                priority_effect="yes",
                alone_ns=(6 * MS, 10 * MS),
                readings=readings(window.duration_ns, late_ns=0),
            )
            made.append(spoil(measurement) if len(made) == at else measurement)
            return made[-1]

        whole = run_in_windows(scenario, measure, rules=Rules(mode=noise), at_least_ns=at_least_ns)
        if not measure_all:
            return whole
        while whole._measure_on(whole):
            pass
        assert len(made) == len(whole.high.windows_ns) == WINDOWS
        assert whole.measured_ns == 60 * S
        return whole

    return run


def of_queue(index, **changes):
    """Changes the samples (by a function) or the counts of one queue."""
    change = changes.pop("samples", None)

    def spoil(m):
        every, numbers = list(m.samples), list(m.counts)
        if change is not None:
            every[index] = change(every[index].copy())
        numbers[index] = dataclasses.replace(numbers[index], **changes)
        return dataclasses.replace(m, samples=tuple(every), counts=tuple(numbers))

    return spoil


def of_measurement(**changes):
    return lambda m: dataclasses.replace(m, **changes)


def later(ms, *fields, step=1):
    def change(made):
        for field in fields:
            made[field][::step] += ms * MS
        return made

    return change


def growing(made):
    """Each request takes longer than the one before: the queue falls behind."""
    made["completed_ns"] += np.arange(len(made)) * 60 * MS
    return made


def fast(made):
    made["completed_ns"] = made["launched_ns"] + MS
    return made


def a_few(change):
    """Changes one in forty: 2.5 % of a window, and at most 0.7 % of the run."""

    def changed(made):
        made[::40] = change(made[::40].copy())
        return made

    return changed


def unfinished(made):
    made["completed_ns"][0], made["flags"][0] = -1, CENSORED
    return made


def activity(commands=None, coverage=None, files=()):
    return Activity(
        report="using local scheduler",
        order=(),
        commands=commands or {},
        files=tuple(File(path=path, bytes=1, sha256="0") for path in files),
        coverage=coverage or {},
    )


def polls(with_work):
    return Coverage(
        reports_requests=True,
        polls=1000,
        requests=500,
        polls_with_work=with_work,
        ever_had_work=with_work > 0,
    )


FAULTS = {
    "wrong results": (of_measurement(wrong_results=("low: all is wrong",)), "low: all is wrong"),
    "a fault of the measurement": (of_measurement(faults=("a worker hung",)), "a worker hung"),
    "failed commands": (of_queue(1, failed=1), "1 commands of low failed"),
    "lost commands": (of_queue(0, completed=1), "high launched"),
    "lost commands that others make up for": (of_queue(0, completed=10**6), "high launched"),
    "a queue that launched nothing": (
        of_queue(1, launched=0, completed=0),
        "no command of low was launched",
    ),
    "work that was not done": (
        of_queue(0, samples=fast),
        "high: * % of its requests took less than a quarter of the time",
    ),
    "work that was not done for a few requests": (
        of_queue(0, samples=a_few(fast)),
        "high: * % of its requests took less than a quarter of the time",
    ),
    "XSched had not all commands": (
        of_measurement(activity=activity(commands={"low": (1, 1)})),
        "commands of low to XSched, which counts 1 and launched 1",
    ),
    "XSched had no work of a program": (
        of_measurement(activity=activity(coverage={"low": polls(0)})),
        "XSched had unfinished work of its program at 0 of",
    ),
    "two drivers": (
        of_measurement(activity=activity(files=["/a/libcuda.so.1", "/b/libcuda.so.1"])),
        "two copies of the driver are mapped",
    ),
}
FAULTS_OF_HIGH = {
    "saturation": (of_queue(0, samples=growing), "high is saturated"),
    "requests that were sent late": (
        of_queue(0, samples=later(60, "submitted_ns", "launched_ns", "completed_ns", step=5)),
        "the requests of high did not arrive at the offered rate",
    ),
    "a few requests that were sent late": (
        of_queue(0, samples=a_few(later(60, "submitted_ns", "launched_ns", "completed_ns"))),
        "the requests of high did not arrive at the offered rate",
    ),
    "a contender that was away": (
        of_queue(1, samples=lambda made: made[:3]),
        "low had work during only",
    ),
}
ANY = pytest.mark.parametrize("at", range(WINDOWS), ids=lambda at: f"window{at + 1}")


def has(faults, expected):
    parts = expected.split("*")
    return [fault for fault in faults if all(part in fault for part in parts)]


def test_without_a_spoiled_window_there_is_no_fault(windows):
    evidence = windows(None, None).evidence
    assert evidence.faults == ()
    assert evidence.queue_faults == {"high": (), "low": ()}


@ANY
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_any_window_is_one_of_the_run(windows, fault, at):
    spoil, expected = FAULTS[fault]
    found = windows(spoil, at).evidence.faults
    assert len(has(found, expected)) == 1, found


@ANY
@pytest.mark.parametrize("fault", FAULTS_OF_HIGH)
def test_a_fault_of_a_queue_in_any_window_is_one_of_the_run(windows, fault, at):
    spoil, expected = FAULTS_OF_HIGH[fault]
    run = windows(spoil, at)
    found = run.evidence.queue_faults["high"]
    assert len(has(found, expected)) == 1, found
    assert run.evidence.queue_faults["low"] == ()
    if fault == "saturation":
        assert run.high.saturated
        assert run.evidence.starvation == found


@ANY
def test_an_unfinished_request_of_any_window_is_an_error(windows, at):
    run = windows(of_queue(0, samples=unfinished, requests_completed=0), at)
    assert (run.high.censored, run.high.unfinished) == (1, 1)
    assert run.high.max.value == float("inf")


@ANY
def test_the_priority_effect_and_the_remark_of_any_window(windows, at):
    run = windows(of_measurement(priority_effect="no", remark="a crash at exit"), at)
    assert run.evidence.priority_effect == "no"
    assert run.remark == "a crash at exit"


@ANY
def test_the_scheduler_activity_of_any_window(windows, at):
    seen = windows(of_measurement(activity=activity(coverage={"low": polls(1)})), at)
    assert seen.evidence.activity.coverage == {"low": polls(1)}


@ANY
def test_the_noise_of_any_window(windows, at):
    """A window of which most is noisy spoils the run, though most of the run is quiet."""

    def noisy(m):
        duration_ns = len(m.samples[0]) * 50 * MS
        return dataclasses.replace(m, readings=readings(duration_ns, late_ns=20 * MS))

    run = windows(noisy, at, noise="mask")
    assert has(run.evidence.faults, "environment too noisy")
    assert run.evidence.noise.noisy_ns > 0


def test_a_run_that_gets_worse_does_not_pass_early(windows):
    """Its P90 rises within the first window: the rest of the duration is measured."""

    def rising(made):
        made["completed_ns"] += (np.arange(len(made)) // 20) * 7 * MS
        return made

    run = windows(of_queue(0, samples=rising), 0, measure_all=False)
    run.high.assert_p99_below("200ms")
    assert run.measured_ns == 60 * S
    (verdict,) = run.verdicts
    assert verdict.status == "PASS"
    assert verdict.sentence.endswith("; later blocks were worse than earlier ones")


def test_a_run_that_stays_as_it_is_passes_early_and_says_on_what(windows):
    run = windows(None, None, measure_all=False)
    run.high.assert_p99_below("200ms")
    assert run.measured_ns == 15 * S
    assert run.verdicts[0].sentence.endswith("; held in the 15 s of 60 s that were measured")


@pytest.mark.parametrize(
    ("least_s", "measured_s"), [(0, 15), (15, 15), (40, 40), (57, 60), (60, 60)]
)
def test_at_least_is_the_shortest_time_to_measure(windows, least_s, measured_s):
    run = windows(None, None, measure_all=False, at_least_ns=least_s * S)
    run.high.assert_p99_below("200ms")
    assert run.measured_ns == measured_s * S


def test_a_queue_without_a_request_so_far_may_get_one_later(windows):
    """The only fault that a later window ends."""
    run = windows(of_queue(0, samples=lambda made: made[:0]), 0)
    assert run.evidence.queue_faults["high"] == ()


def test_what_windows_add_up_to(windows):
    """Latencies are of all requests, in order; counts are sums."""
    run = windows(of_queue(0, failed=3), 2)
    assert run.high.n == 1200
    assert (np.diff(run.high.samples["scheduled_ns"]) > 0).all()
    assert set(run.high.latency_ns) == {6 * MS}
    assert (run.high.counts.completed, run.high.counts.failed) == (1200, 3)
    assert run.low.counts.completed == 6000

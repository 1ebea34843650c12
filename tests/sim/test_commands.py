"""The record of commands and suspensions, in virtual time: exact numbers, worked out by hand."""

import dataclasses

import numpy as np
import pytest

from pytest_xsched import ScenarioError, SimModel, matmul, replay, spin
from pytest_xsched.analysis import trace
from pytest_xsched.native import command_record
from pytest_xsched.native.binding import COMMAND_RECORD, SAMPLE, SUSPENSION

MS = 10**6
S = 10**9


def run_of(sim, bare, **more):
    """`low` launches two commands of 4 ms at 0, and `high` one of 1 ms at 1 ms.

    At 4 ms the device takes the command of high, whose stream has the higher priority, and only
    then the second of low. The policy suspends low from 1 ms to 5 ms.
    """
    return sim.run(
        sim.queue("high", spin("1ms"), priority=2, arrivals=replay(["1ms"]), threshold=2),
        sim.queue("low", spin("4ms", layers=2), priority=1, arrivals=replay(["0s"]), threshold=2),
        duration="20ms",
        warmup="0s",
        sim=dataclasses.replace(bare, priority=True),
        **more,
    )


def test_every_command_is_on_record_with_its_times_on_the_device(sim, bare):
    (window,) = run_of(sim, bare).trace.windows
    # request, index, launched, began, ended, completed
    assert window.records["high"].commands.tolist() == [(0, 0, MS, 4 * MS, 5 * MS, 5 * MS)]
    assert window.records["low"].commands.tolist() == [
        (0, 0, 0, 0, 4 * MS, 9 * MS),  # seen with the mark after two commands
        (0, 1, 0, 5 * MS, 9 * MS, 9 * MS),
    ]
    assert (window.start_ns, window.end_ns) == (0, 20 * MS)


def test_every_suspension_is_on_record(sim, bare):
    (window,) = run_of(sim, bare).trace.windows
    assert window.records["low"].suspensions.tolist() == [(MS, 1, 0), (5 * MS, 0, 0)]
    # With nothing to do, low suspends nobody.
    assert window.records["high"].suspensions.tolist() == []


def test_the_same_run_has_the_same_record_to_the_byte(sim):
    def bytes_of():
        run = sim.run(
            sim.queue("high", matmul(512), priority=2, rate="300/s"),
            sim.queue("low", matmul(1024, batch=8), priority=1),
            duration="100ms",
        )
        (window,) = run.trace.windows
        return [
            array.tobytes() for one in window.records.values() for array in one.to_arrays()
        ], run.to_json()

    assert bytes_of() == bytes_of()


def test_a_run_without_a_trace_keeps_no_commands(sim, bare):
    run = run_of(sim, bare, trace="off")
    assert run.trace.windows == []
    assert run.to_dict()["trace"] == {"mode": "off", "queues": {}}


def test_an_unknown_trace_is_refused(sim, bare):
    with pytest.raises(ScenarioError, match="trace of run"):
        run_of(sim, bare, trace="some")


def test_a_ring_that_is_too_short_keeps_the_last_commands_and_says_what_it_lost(
    sim, bare, monkeypatch
):
    def run():
        return sim.run(
            sim.queue("low", spin("10us"), threshold=4),
            duration="30ms",
            warmup="0s",
            sim=bare,
        )

    (whole,) = run().trace.windows
    monkeypatch.setattr(command_record, "RECORDED_MOST", 2000)
    made = run()
    (window,) = made.trace.windows
    last = window.records["low"]
    assert (whole.launched["low"], last.lost, len(last.commands)) == (3000, 1000, 2000)
    assert last.commands.tobytes() == whole.records["low"].commands[-2000:].tobytes()
    assert made.to_dict()["trace"]["queues"]["low"] == {
        "launched": 3000,
        "kept": 2000,
        "lost": 1000,
    }


def test_later_windows_lie_on_the_time_of_the_run(sim_in_windows):
    run = sim_in_windows.run(
        sim_in_windows.queue("high", spin("1ms"), rate="20/s"), duration="60s", warmup="1s"
    )
    run.measure_on()
    second = run.trace.windows[1]
    assert (second.start_ns, second.end_ns) == run.high.windows_ns[1]
    first = second.first["high"]
    commands = second.records["high"].commands
    assert commands["request"][0] == 0
    samples = run.high.samples[first:]
    assert np.array_equal(commands["launched_ns"], samples["launched_ns"])
    assert np.array_equal(commands["completed_ns"], samples["completed_ns"])


def test_by_default_real_time_keeps_the_first_second_and_the_worst_requests():
    """A request every 10 ms for 10 s, each 1 ms long, the 300th 50 ms."""
    samples = np.zeros(1000, SAMPLE)
    samples["scheduled_ns"] = np.arange(1000) * 10 * MS
    samples["completed_ns"] = samples["scheduled_ns"] + MS
    samples["completed_ns"][300] += 49 * MS
    commands = np.zeros(1000, COMMAND_RECORD)
    commands["request"] = np.arange(1000)
    commands["launched_ns"] = samples["scheduled_ns"]
    commands["completed_ns"] = samples["completed_ns"]
    one = command_record.CommandRecord(commands=commands, suspensions=np.zeros(0, SUSPENSION))
    kept = trace.Trace(mode="worst")
    kept.add(
        [one],
        {"high": samples},
        window_ns=(0, 10 * S),
        first={"high": 0},
        whole=False,
    )
    requests = set(kept.windows[0].records["high"].commands["request"].tolist())
    # The first second holds the first 101 (one begins at its end). The 50 worst are the 300th,
    # with the four that begin until it ends and one that begins then, and the first 49.
    assert requests == {*range(101), *range(300, 306)}
    assert kept.to_dict()["queues"]["high"] == {"launched": 1000, "kept": 107, "lost": 0}


def test_a_device_with_two_slots_tells_which_commands_ran_at_once(sim):
    model = SimModel(launch_ns=0, slots=2, priority=False)
    run = sim.run(
        sim.queue("a", spin("3ms"), arrivals=replay(["0s"])),
        sim.queue("b", spin("5ms"), arrivals=replay(["1ms"])),
        duration="20ms",
        warmup="0s",
        sim=model,
    )
    (window,) = run.trace.windows
    assert window.records["a"].commands.tolist() == [(0, 0, 0, 0, 3 * MS, 3 * MS)]
    assert window.records["b"].commands.tolist() == [(0, 0, MS, MS, 6 * MS, 6 * MS)]

"""The sim device's model, by hand: costs, launches, slots, order."""

import pytest

from pytest_xsched import SimModel, matmul, replay, sequence, spin, trace, vector_add
from pytest_xsched.scenario.workload import Command


def latencies_ns(sim, model, *queues, duration="1s"):
    run = sim.run(*queues, duration=duration, warmup="0s", scheduler="priority", sim=model)
    return {name: run[name].latency_ns.tolist() for name in run}


def test_the_documents_workloads_alone(sim):
    # About what its GPU took: 0.7 ms and 12 ms a request.
    # matmul(512): 2 * 512^3 flops at a quarter of 1.44e12/s, because 512^2 of 2^20 items: 745,654
    # ns; matmul(1024, batch=8) fills the device: 17,179,869,184 / 1.44e12 s = 11,930,465 ns.
    # A launch adds 5,000 ns.
    high = sim.queue("high", matmul(512), rate="20/s")
    low = sim.queue("low", matmul(1024, batch=8))
    assert set(sim.run(high, duration="1s").high.latency_ns.tolist()) == {750_654}
    assert set(sim.run(low, duration="1s").low.latency_ns.tolist()) == {11_935_465}


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        (matmul(100), 2_000),  # 2e6 flops at 1e12/s; 120,000 bytes would take 1,200 ns
        (matmul(10), 12),  # 1,200 bytes at 1e11/s take longer than 2,000 flops
        (matmul(100, batch=3), 6_000),
        (vector_add(1000), 120),  # 12,000 bytes
        (spin("7us"), 7_000),
    ],
)
def test_costs_in_c_are_those_of_the_docstring(sim, workload, expected):
    model = SimModel(launch_ns=0, flops_per_s=1e12, bytes_per_s=1e11, full_items=1)
    queue = sim.queue("q", workload, arrivals=replay(["0ms"]))
    assert latencies_ns(sim, model, queue)["q"] == [expected]
    assert model.cost_ns(workload.commands[0]) == expected


@pytest.mark.parametrize("n", [1, 3, 17, 100, 511, 512, 513, 1000, 2047])
def test_costs_in_c_and_in_python_agree(sim, n):
    for workload in (matmul(n), matmul(n, batch=5), vector_add(n * n)):
        queue = sim.queue("q", workload, arrivals=replay(["0ms"]))
        command: Command = workload.commands[0]
        expected = SimModel().launch_ns + SimModel().cost_ns(command)
        assert latencies_ns(sim, SimModel(), queue, duration="100s")["q"] == [expected]


@pytest.mark.parametrize("name", ["cnn-small", "decode", "train", "prefill", "hog"])
def test_a_trace_takes_the_sum_of_its_durations(sim, name):
    workload = trace(name, seed=4)
    queue = sim.queue("q", workload, arrivals=replay(["0ms"]))
    expected = sum(command.duration_ns for command in workload.commands)
    # Whatever share of the device each takes: a command keeps a slot.
    assert latencies_ns(sim, SimModel(launch_ns=0), queue)["q"] == [expected]
    assert expected == sum(SimModel().cost_ns(command) for command in workload.commands)


def test_a_sequence_is_its_parts_one_after_the_other(sim):
    model = SimModel(launch_ns=0, flops_per_s=1e12, bytes_per_s=1e11, full_items=1)
    workload = sequence([matmul(100, layers=3), vector_add(1000), spin("7us")])
    queue = sim.queue("q", workload, arrivals=replay(["0ms"]))
    assert latencies_ns(sim, model, queue)["q"] == [3 * 2_000 + 120 + 7_000]


def test_launches_of_a_stream_follow_one_another(sim):
    # Three commands of 1 us, launched at once, 10 us a launch: they reach the device at 10, 20 and
    # 30 us, and the last is done at 31 us.
    queue = sim.queue("q", spin("1us", layers=3), arrivals=replay(["0ms"]))
    assert latencies_ns(sim, SimModel(launch_ns=10_000), queue)["q"] == [31_000]
    # Of 100 us each the device is the bottleneck: 10 + 300.
    queue = sim.queue("q", spin("100us", layers=3), arrivals=replay(["0ms"]))
    assert latencies_ns(sim, SimModel(launch_ns=10_000), queue)["q"] == [310_000]


def test_slots_run_side_by_side_but_a_stream_stays_in_order(sim):
    queues = [
        sim.queue("a", spin("4ms", layers=2), arrivals=replay(["0ms"])),
        sim.queue("b", spin("4ms"), arrivals=replay(["1ms"])),
        sim.queue("c", spin("4ms"), arrivals=replay(["2ms"])),
    ]
    # Two slots: a from 0 to 4, b from 1 to 5. At 4 ms a's second command and c both want the free
    # slot. By order of arrival a's, launched at 0, goes first: 4 to 8; c gets b's slot: 5 to 9.
    model = SimModel(slots=2, priority=False, launch_ns=0)
    found = latencies_ns(sim, model, *queues)
    assert found == {"a": [8_000_000], "b": [4_000_000], "c": [7_000_000]}
    # One slot: a 0 to 8, b 8 to 12, c 12 to 16.
    model = SimModel(slots=1, priority=False, launch_ns=0)
    assert latencies_ns(sim, model, *queues) == {
        "a": [8_000_000],
        "b": [11_000_000],
        "c": [14_000_000],
    }


def test_streams_that_interleave_take_turns(sim):
    queues = [
        sim.queue("long", spin("4ms", layers=3), arrivals=replay(["0ms"])),
        sim.queue("short", spin("1ms", layers=2), arrivals=replay(["1ms"])),
    ]
    # By order of arrival all of long goes first: 0 to 12; short 12 to 14.
    model = SimModel(priority=False, launch_ns=0)
    found = latencies_ns(sim, model, *queues)
    assert found == {"long": [12_000_000], "short": [13_000_000]}
    # In turns: long 0 to 4, short 4 to 5 (it waits since 1, long's second command since 4), long 5
    # to 9, short 9 to 10, long 10 to 14.
    model = SimModel(priority=False, launch_ns=0, interleave=True)
    found = latencies_ns(sim, model, *queues)
    assert found == {"long": [14_000_000], "short": [9_000_000]}


def test_others_start_in_the_tail_of_a_command(sim):
    queues = [
        sim.queue("long", spin("4ms", layers=2), arrivals=replay(["0ms"])),
        sim.queue("short", spin("1ms", layers=3), arrivals=replay(["1ms"])),
    ]
    # long 0 to 4 leaves its slot at 2; short 2 to 3, and it leaves the slot at once, but is one
    # after the other: 3 to 4, and 4 to 5, as long's second command, 4 to 8, starts first and keeps
    # the slot until 6: 6 to 7.
    model = SimModel(priority=False, launch_ns=0, interleave=True, tail_ns=2_000_000)
    found = latencies_ns(sim, model, *queues)
    assert found == {"long": [8_000_000], "short": [6_000_000]}
    # A command alone takes its time.
    alone = sim.queue("q", spin("4ms", layers=2), arrivals=replay(["0ms"]))
    assert latencies_ns(sim, model, alone)["q"] == [8_000_000]


def test_priority_comes_before_turns(sim):
    queues = [
        sim.queue("low", spin("4ms", layers=3), priority=1, arrivals=replay(["0ms"])),
        sim.queue("high", spin("1ms", layers=2), priority=2, arrivals=replay(["1ms"])),
    ]
    found = latencies_ns(sim, SimModel(launch_ns=0, interleave=True), *queues)
    assert found == {"low": [14_000_000], "high": [5_000_000]}


def test_priority_goes_first_but_does_not_preempt(sim):
    queues = [
        sim.queue("low", spin("4ms", layers=2), priority=1, arrivals=replay(["0ms"])),
        sim.queue("high", spin("1ms"), priority=2, arrivals=replay(["1ms"])),
        sim.queue("higher", spin("1ms"), priority=3, arrivals=replay(["2ms"])),
    ]
    # low's first command runs until 4 ms; then higher (4 to 5), high (5 to 6), low (6 to 10).
    assert latencies_ns(sim, SimModel(launch_ns=0), *queues) == {
        "low": [10_000_000],
        "high": [5_000_000],
        "higher": [3_000_000],
    }

"""What streams on hip cannot do, from a scenario alone."""

import dataclasses

import pytest

from pytest_xsched import Session, XSchedWarning, matmul
from pytest_xsched.errors import DeviceUnavailable
from pytest_xsched.runner.stream_limits import HARDWARE_QUEUES, hardware_queues, stream_warnings
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.scenario import QueueSpec, Scenario
from pytest_xsched.session.settings import Settings


def scenario(priorities, scheduler="builtin", device="hip", **more):
    return Scenario(
        queues=tuple(
            QueueSpec(name=f"q{i}", workload=matmul(8), priority=priority, arrivals=Closed())
            for i, priority in enumerate(priorities)
        ),
        duration_ns=1_000_000_000,
        warmup_ns=0,
        drain_ns=0,
        seed=0,
        device=device,
        scheduler=scheduler,
        policy="hpf" if scheduler == "builtin" else "none",
        **more,
    )


@pytest.mark.parametrize(
    ("priorities", "count"),
    [
        ([9, 5, 2, 1], 0),
        ([9, 5, 2, 2, 1, 1], 0),
        ([9, 5, 2, 2, 2, 1, 1], 1),  # the third and all below are of one class
        ([9, 9, 9, 9, 0, 0, 0, 0, -1, -1, -1, -7], 0),
        ([0] * 5, 1),
        ([-1] * 5 + [0] * 5 + [1] * 5, 3),
    ],
)
def test_five_streams_of_a_class_are_one_too_many(priorities, count):
    sentences = stream_warnings(scenario(priorities))
    assert len(sentences) == count
    assert all("HIP has 4 hardware queues for them" in sentence for sentence in sentences)


def test_the_sentence_says_how_many_of_which_class_and_what_to_do():
    (sentence,) = stream_warnings(scenario([-1] * 7 + [1, 3]))
    assert sentence == (
        "7 queues have streams of low priority, and HIP has 4 hardware queues for them: some share "
        "one and wait for each other, whatever the scheduler does; use fewer queues, or raise "
        "GPU_MAX_HW_QUEUES"
    )


def test_streams_without_priority_are_all_of_one_class():
    mixed = [5, 5, -5, -5, 0]
    assert stream_warnings(scenario(mixed)) == []
    assert len(stream_warnings(scenario(mixed, "native"))) == 1
    assert len(stream_warnings(scenario(mixed, stream_priority=False))) == 1


def test_streams_with_compute_units_of_their_own_share_no_queue():
    masked = scenario([0] * 6)
    first = dataclasses.replace(masked.queues[0], sm_share=0.5)
    assert stream_warnings(masked)
    assert stream_warnings(dataclasses.replace(masked, queues=(first, *masked.queues[1:]))) == []


def test_each_device_has_its_own():
    both = scenario([0] * 6, device="hip:0")
    half = [dataclasses.replace(queue, device="hip:1") for queue in both.queues[:3]]
    assert stream_warnings(both)
    assert stream_warnings(dataclasses.replace(both, queues=(*half, *both.queues[3:]))) == []


def test_other_limits_and_other_devices():
    assert stream_warnings(scenario([0] * 8), 8) == []
    assert len(stream_warnings(scenario([0] * 3), 2)) == 1
    assert stream_warnings(scenario([1] * 50, device="cuda")) == []
    assert stream_warnings(scenario([5, 1], "priority", device="cuda")) == []


@pytest.mark.parametrize(
    ("value", "count"),
    [("8", 8), (" 1 ", 1), ("0", HARDWARE_QUEUES), ("", HARDWARE_QUEUES), ("many", 4), ("-2", 4)],
)
def test_the_variable_counts_if_it_is_a_number(value, count):
    assert hardware_queues({"GPU_MAX_HW_QUEUES": value}) == count
    assert hardware_queues({}) == HARDWARE_QUEUES == 4


def test_priorities_that_one_level_has_to_serve():
    (sentence,) = stream_warnings(scenario([10, 1, 10, 0, -3], "priority"))
    assert sentence.startswith("queues of priority 0, -3 all have streams of low priority")
    assert stream_warnings(scenario([1, 0, -1], "priority")) == []
    assert stream_warnings(scenario([10, 1], "priority")) == []
    assert stream_warnings(scenario([10, 1])) == []  # XQueues tell them apart


def test_a_run_warns(monkeypatch):
    def nothing_there(scenario, progress, **more):
        raise DeviceUnavailable("not here")

    monkeypatch.setattr("pytest_xsched.session.device_pool.measure_in_processes", nothing_there)
    monkeypatch.setenv("GPU_MAX_HW_QUEUES", "2")
    session = Session(Settings(device="hip"))
    queues = [session.queue(f"q{i}", matmul(8)) for i in range(3)]
    with (
        pytest.warns(XSchedWarning, match="HIP has 2 hardware queues") as caught,
        pytest.raises(pytest.skip.Exception),
    ):
        session.run(*queues, duration="1s")
    assert [warning.filename for warning in caught] == [__file__]

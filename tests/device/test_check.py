"""check=True: what the device computed is compared with numpy, and a difference is found."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_xsched import (
    CpuModel,
    InvalidRun,
    ScenarioError,
    SimModel,
    empty,
    matmul,
    sequence,
    spin,
    trace,
    vector_add,
)
from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import QueueSettings, Run

pytestmark = pytest.mark.xsched(device="cpu", duration="150ms")

MIXED = sequence(
    [
        matmul(9, layers=2),
        vector_add(77),
        spin("10us", fill=0.5),
        matmul(5, batch=3),
        vector_add(77),
        empty(),
        spin("10us", waves=3),
    ],
    label="mixed",
)


@pytest.mark.parametrize(
    "workload",
    [
        matmul(1),
        matmul(16),
        matmul(33, batch=2, layers=3),
        vector_add(1),
        vector_add(1000, layers=2),
        spin("100us"),
        spin("0s", layers=4),
        trace("decode", seed=1, commands=40, total="1ms"),
        MIXED,
    ],
    ids=lambda workload: workload.label,
)
@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_results_equal_numpy(xsched, workload, seed):
    run = xsched.run(
        xsched.queue("high", workload, priority=10, rate="20/s"),
        xsched.queue("low", workload, priority=1, think="1ms"),
        seed=seed,
        check=True,
    )
    assert run.evidence.checked
    assert run.evidence.faults == ()
    for queue in (run.high, run.low):
        assert queue.counts.requests_completed > 0
        assert queue.counts.completed >= (len(workload.commands) * queue.counts.requests_completed)


@pytest.mark.parametrize("scheduler", ["native", "priority", "builtin"])
def test_results_equal_numpy_under_every_scheduler(xsched, scheduler):
    run = xsched.run(
        xsched.queue("high", MIXED, priority=10, rate="20/s"),
        xsched.queue("low", MIXED, priority=1, concurrency=3),
        scheduler=scheduler,
        check=True,
        cpu=CpuModel(workers=2),
    )
    assert run.evidence.faults == ()


def test_more_launches_than_the_results_count_to(xsched):
    busy = xsched.queue("busy", vector_add(3, layers=64), threshold=64, batch_size=32)
    run = xsched.run(busy, duration="300ms", check=True)
    assert run.busy.counts.completed > 1024  # launch k adds k modulo 1024
    assert run.evidence.faults == ()


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (matmul(8), "high: [0-9]+ of 64 elements of the last matmul differ from numpy"),
        (vector_add(8), "high: [0-9]+ of 8 elements of the last vector_add differ from numpy"),
    ],
    ids=["matmul", "vector_add"],
)
def test_wrong_elements_are_found(xsched, monkeypatch, workload, words):
    from pytest_xsched.runner import reference

    right = reference.operand
    monkeypatch.setattr(reference, "operand", lambda count, seed, which: right(count, seed + 1, 0))
    run = xsched.run(xsched.queue("high", workload, rate="100/s"), check=True)

    assert len(run.evidence.faults) == 1
    with pytest.raises(InvalidRun, match=f"^no verdict: {words}"):
        run.high.assert_max_below("1h")
    with pytest.raises(InvalidRun, match=words):
        run.high.assert_throughput_at_least("1/s")


def test_a_wrong_number_of_launches_is_found(xsched, monkeypatch):
    from pytest_xsched.runner import measure

    right = measure.wrong_results
    monkeypatch.setattr(
        measure,
        "wrong_results",
        lambda command, seed, launches, checksum, last: right(
            command, seed, launches - 1, checksum, last
        ),
    )
    run = xsched.run(xsched.queue("high", spin("100us"), rate="100/s"), check=True)
    assert run.evidence.faults[0].startswith("high: the checksum over ")
    assert " launches of spin is " in run.evidence.faults[0]


@pytest.mark.xsched(device="sim")
def test_sim_has_nothing_to_check(xsched):
    with pytest.raises(ScenarioError) as error:
        xsched.run(xsched.queue("high", matmul(8)), check=True)
    assert str(error.value) == (
        "check=True: the device sim computes nothing, so there are no results to check; "
        "leave check out, or use the device cpu or a GPU"
    )


def test_results_of_commands_that_a_request_does_not_have():
    device = Device("cpu", cpu=CpuModel(), sim=SimModel())
    run = Run(device, "none")
    settings = QueueSettings(name="q", priority=0, stream_priority=0, threshold=2, batch_size=1)
    commands = sequence([vector_add(3), matmul(2)]).commands
    queue = run.add_open(settings, commands, np.array([0]))
    run.start(warmup_ns=0, duration_ns=10_000_000, drain_ns=1_000_000_000)
    while not run.wait():
        pass
    assert [queue.checksum(index)[0] for index in (0, 1)] == [1, 1]
    assert [len(queue.output(index, count)) for index, count in ((0, 3), (1, 4))] == [3, 4]
    for index in (2, 2**32 - 1):
        with pytest.raises(ScenarioError, match=f"queue 'q' has no command {index} in its"):
            queue.output(index, 1)
    run.close()
    device.close()

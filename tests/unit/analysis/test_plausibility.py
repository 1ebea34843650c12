"""Whether a run was possible: the rule on samples by hand, and where its numbers come from."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_xsched import Session, SimModel, matmul, spin, vector_add
from pytest_xsched.analysis.evidence import gather
from pytest_xsched.errors import DeviceError, ScenarioError
from pytest_xsched.native.binding import Device
from pytest_xsched.runner import calibration
from pytest_xsched.runner.calibration import TooFast, measured_ns, modelled_ns
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.device_models import CpuModel
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.settings import Settings

MS = 1_000_000


def faults(*queues, alone_ns, slots=None):
    return list(gather(queues, (), checked=False, alone_ns=alone_ns, slots=slots).faults)


@pytest.mark.parametrize(("fast", "is_fault"), [(0, False), (3, False), (4, True), (300, True)])
def test_more_than_one_percent_under_a_quarter(made_queue, fast, is_fault):
    # A quarter of 12 ms is not under it.
    queue = made_queue([2.9] * fast + [3] * (300 - fast), name="low")
    expected = (
        f"low: {fast / 3:.3g} % of its requests took less than a quarter of the time that their "
        "commands take alone (2.9 ms instead of 12 ms): the work was not done"
    )
    assert faults(queue, alone_ns=[12 * MS]) == ([expected] if is_fault else [])


def test_what_is_too_short_to_tell_is_not_judged(made_queue):
    queue = made_queue([0.001] * 300)
    assert len(faults(queue, alone_ns=[MS])) == 1
    evidence = gather([queue], (), checked=False, alone_ns=[999_999])
    assert evidence.faults == ()
    assert evidence.to_dict()["plausible"] == [
        {
            "queue": "high",
            "alone_ns": 999_999,
            "exact": False,
            "too_fast": None,
            "served_ns": None,
            "command_ns": 999_999,
        }
    ]


def test_only_measured_requests_that_were_served_count(made_queue):
    warm_up, unfinished = made_queue([1] * 100, window_ms=(5000, 9000)), made_queue([None] * 300)
    assert faults(warm_up, unfinished, alone_ns=[40 * MS, 40 * MS]) == []


def test_service_counts_from_the_launch(made_queue):
    queue = made_queue([100] * 300)
    queue.samples["launched_ns"] += 98 * MS
    (fault,) = faults(queue, alone_ns=[40 * MS])
    assert "(2 ms instead of 40 ms)" in fault


def test_of_a_model_no_request_may_be_faster(made_queue):
    queue = made_queue([10] * 299 + [9.999999])
    assert faults(queue, alone_ns=[9_999_999], slots=1) == []
    assert faults(queue, alone_ns=[10 * MS], slots=1) == [
        "high: 0.333 % of its requests took less than the time that their commands take alone "
        "(10 ms instead of 10 ms): the work was not done"
    ]


def test_a_device_does_no_more_than_its_slots(made_queue):
    queues = [made_queue([30] * 300, name=name) for name in ("a", "b")]  # every 50 ms
    assert faults(*queues, alone_ns=[25 * MS, 25 * MS], slots=1) == []
    assert faults(*queues, alone_ns=[26 * MS, 26 * MS], slots=2) == []
    assert faults(*queues, alone_ns=[26 * MS, 26 * MS], slots=1) == [
        "15.6 s of work was done on 1 slot in 15 s, which is impossible"
    ]


# ---- where it comes from


@pytest.fixture
def sim():
    session = Session(Settings(device="sim"))
    yield session
    session.close()


@pytest.mark.parametrize("threshold", ["auto", 1, 8])
def test_on_sim_nothing_is_faster_than_the_model(sim, threshold):
    queues = [
        sim.queue("high", matmul(512, layers=3), priority=2, rate="20/s", threshold=threshold),
        sim.queue("low", vector_add(10**6, layers=7), priority=1, threshold=threshold),
    ]
    run = sim.run(*queues, duration="1s", sim=SimModel(slots=2))
    assert run.evidence.faults == ()
    high, low = run.evidence.plausible
    assert (high.exact, high.too_fast, low.too_fast) == (True, 0, 0)
    assert high.alone_ns == modelled_ns(SimModel(), queues[0].workload.commands) == 3 * 745_653
    # By no more than the rounding and the launch: it is held against the time that it takes.
    fastest = np.min(run.high.measured["completed_ns"] - run.high.measured["launched_ns"])
    assert high.alone_ns < fastest <= high.alone_ns + 3 + 3 * SimModel().launch_ns


def test_a_made_up_measurement_of_sim_is_refused(sim):
    run = sim.run(sim.queue("high", spin("5ms"), rate="20/s"), duration="1s")
    run.high.samples["completed_ns"] -= MS
    (fault,) = gather(
        [run.high], (), checked=False, alone_ns=[run.evidence.plausible[0].alone_ns], slots=1
    ).faults
    assert fault.startswith(
        "high: 100 % of its requests took less than the time that their commands take"
    )


def test_commands_are_timed_alone_and_not_for_long():
    device = Device("cpu", cpu=CpuModel(), sim=SimModel())
    try:
        # How much more than it was told to take is the machine's, and not that of the request.
        spin_ns = measured_ns(device, "q", spin("200us", layers=2).commands, 500 * MS)
        # One that does not come to its end takes longer than it was given, as far as is known.
        # None: other programs had the processors for all that time.
        long = spin("2ms", layers=500).commands
        tries = (measured_ns(device, "q", long, 100 * MS) for _ in range(10))
        long_ns = next((ns for ns in tries if ns is not None), None)
    finally:
        device.close()
    assert spin_ns is not None and 0 < spin_ns <= 400_000
    assert long_ns is not None and 0 < long_ns <= 100 * MS


def test_equal_requests_are_timed_once_and_endless_ones_not(monkeypatch):
    timed = []
    monkeypatch.setattr(calibration, "measured_ns", lambda *args: timed.append(args) or 5 * MS)
    endless = spin(timedelta(seconds=2))
    specs = [
        QueueSpec(name=name, workload=work, priority=0, arrivals=Closed())
        for name, work in (("a", spin("1us")), ("b", endless), ("c", spin("1us")))
    ]
    scenario = on("cpu", specs)
    assert calibration.calibrate({"cpu": None}, scenario, specs) == (5 * MS, None, 5 * MS)
    assert timed == [(None, "a", specs[0].workload.commands, 9 * MS)]


@pytest.mark.parametrize(
    ("on_host", "windows_ns", "alone_ns"),
    [
        (True, [6 * MS, 5 * MS, MS // 100], MS // 100),  # enough fit into the third
        (True, [6 * MS, None, 5 * MS, 7 * MS, 8 * MS], 5 * MS),
        (True, [None] * 5, None),
        (True, [MS // 100], MS // 100),
        (False, [6 * MS], 6 * MS),
    ],
)
def test_a_busy_processor_is_given_more_windows(monkeypatch, on_host, windows_ns, alone_ns):
    left = iter(windows_ns)
    monkeypatch.setattr(calibration, "measured_ns", lambda *_: next(left))
    specs = [QueueSpec(name="a", workload=matmul(64), priority=0, arrivals=Closed())]
    device = SimpleNamespace(describe=lambda: SimpleNamespace(on_host=on_host))
    assert calibration.calibrate({"cpu": device}, on("cpu", specs), specs) == (alone_ns,)
    assert next(left, "none") == "none"


def test_no_gpu_takes_no_time(monkeypatch):
    def too_fast(*_):
        raise TooFast

    monkeypatch.setattr(calibration, "measured_ns", too_fast)
    specs = [QueueSpec(name="a", workload=matmul(64), priority=0, arrivals=Closed())]
    device = SimpleNamespace(describe=lambda: SimpleNamespace(name="Some GPU"))
    with pytest.raises(DeviceError) as caught:
        calibration.calibrate({"cuda": device}, on("cuda", specs), specs)
    assert str(caught.value) == (
        "queue 'a': more than 100000 requests took 50 ms alone on Some GPU, so the "
        "GPU did not do their work"
    )
    assert calibration.calibrate({"cpu": device}, on("cpu", specs), specs) == (90,)


def test_what_is_wrong_with_the_commands_is_said_as_such(monkeypatch):
    def wrong(*_):
        raise ScenarioError("kernel 'f' has no such argument")

    monkeypatch.setattr(calibration, "measured_ns", wrong)
    specs = [QueueSpec(name="a", workload=matmul(64), priority=0, arrivals=Closed())]
    with pytest.raises(ScenarioError, match="kernel 'f' has no such argument"):
        calibration.calibrate({"cuda": None}, on("cuda", specs), specs)


def test_more_requests_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(calibration, "MOST", 3)
    device = Device("cpu", cpu=CpuModel(), sim=SimModel())
    try:
        with pytest.raises(TooFast):
            measured_ns(device, "q", spin("1us").commands, 10_000 * MS)
    finally:
        device.close()


def on(device, specs):
    return Scenario(
        queues=tuple(specs),
        duration_ns=90 * MS,
        warmup_ns=0,
        drain_ns=0,
        seed=1,
        device=device,
        scheduler="native",
        policy="none",
    )

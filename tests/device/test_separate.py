"""Each queue of a run in a process of its own: barrier, clock, one measurement, one fault for all.

On `cpu` each of the processes has a device of its own, so nothing here is about contention; with
PoCL there is one driver under them.
"""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pytest

from pytest_xsched import (
    DeviceError,
    ScenarioError,
    Session,
    WorkerCrashed,
    XSched,
    matmul,
    spin,
)
from pytest_xsched.scenario.arrival_process import Closed, constant
from pytest_xsched.scenario.scenario import QueueSpec
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.multi_process import SeparateProcesses
from pytest_xsched.xsched.installation import Home

GPU = "0000:1b:00.0"

BEGIN = """
import json, os, signal, sys, time
from pytest_xsched import DeviceError
from pytest_xsched.runner import measure
from pytest_xsched.workers import worker
from pytest_xsched.system.gpu_lock import lock_gpus

low = json.load(open(worker.JOB))["part"] == [1]

class NativeRun(measure.NativeRun):
    # What the tests change is this one, and not those that time its commands before.
    pass

measure.NativeRun = NativeRun
"""


@pytest.fixture
def two(scenario):
    """An open and a closed loop, each for a process of its own."""

    def make(**changes):
        high = QueueSpec(name="high", workload=spin("1ms"), priority=10, arrivals=constant("50/s"))
        low = QueueSpec(name="low", workload=spin("1ms", layers=2), arrivals=Closed())
        separate = {"scheduler": "native", "policy": "none", "processes": "separate"}
        return scenario("cpu", queues=(high, low), duration_ns=500_000_000, **separate, **changes)

    return make


@pytest.fixture
def with_body(worker):
    """Writes a worker that knows whether it is the one of low, and goes on to measure."""

    def write(body):
        return worker(f"{BEGIN}{body}\nsys.exit(worker.main())")

    return write


def children():
    mine = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            mine.append(stat.parent.name)
    return mine


def test_two_processes_make_one_run():
    made = Session(Settings(device="cpu"))
    run = made.run(
        made.queue("high", matmul(24), priority=10, rate="50/s"),
        made.queue("low", matmul(24, layers=2), priority=1),
        duration="500ms",
        scheduler="priority",
        processes="separate",
        check=True,
    )
    assert run.evidence.checked and run.evidence.faults == ()
    assert run.remark == ""
    assert run.high.n == 25
    assert run.evidence.priority_effect == "unknown"
    for queue, commands in ((run.high, 1), (run.low, 2)):
        assert queue.counts.launched == queue.counts.completed > 0
        assert queue.counts.submitted == commands * queue.counts.requests_submitted
    # A closed loop goes on until the window has ended.
    assert run.low.samples["completed_ns"].max() >= 550_000_000
    assert len(run.fingerprint.devices) == 1
    assert run.to_dict()["scenario"]["processes"] == "separate"


def test_all_begin_at_one_moment_when_all_are_ready(two, with_body):
    module = with_body("""
start = measure.NativeRun.start
def tell(self, **timing):
    assert time.monotonic_ns() < timing["start_clock_ns"]
    print(os.getpid(), timing["start_clock_ns"], ready_ns, flush=True)
    start(self, **timing)
measure.NativeRun.start = tell
if low:
    time.sleep(1)
ready_ns = time.monotonic_ns()
""")
    measurement = SeparateProcesses(module=module).measure(two())
    said = [tuple(map(int, line.split())) for line in measurement.output.splitlines()]
    (high, start_ns, high_ready_ns), (low, other_start_ns, low_ready_ns) = said
    assert high != low
    assert high_ready_ns < low_ready_ns < start_ns == other_start_ns
    assert len(measurement.samples[0]) == 25


def test_progress_is_that_of_the_run(two):
    seen = []
    SeparateProcesses().measure(two(), lambda *times: seen.append(times))
    assert seen == sorted(seen) and {total for _, total in seen} == {500_000_000}


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("low and os._exit(7)", WorkerCrashed, "ended with exit status 7, without a result"),
        (
            "if low: measure.NativeRun.wait = lambda self: os.kill(os.getpid(), signal.SIGSEGV)",
            WorkerCrashed,
            "was ended by SIGSEGV while it measured, without a result",
        ),
        (
            "if low: print('for ever', flush=True), time.sleep(1000)",
            WorkerCrashed,
            "did not end in time and was killed, without a result; its last words: for ever",
        ),
        (
            "if low: measure.NativeRun.wait = lambda self: time.sleep(1000)",
            WorkerCrashed,
            "did not end in time and was killed while it measured, without a result",
        ),
    ],
    ids=["before", "in the middle", "hang before", "hang in the middle"],
)
def test_one_that_falls_ends_all(two, with_body, hurried, body, error, message):
    scenario = two(drain_ns=0)
    set_up_s = 8.0 if "for ever" in body else 60.0
    with pytest.raises(error) as caught, hurried("measured", limit_s=5.0):
        SeparateProcesses(module=with_body(body), set_up_s=set_up_s).measure(scenario)
    assert str(caught.value) == f"the worker process of queue 'low' {message}"
    assert children() == []


def test_an_error_names_the_queue(two, with_body):
    module = with_body("""
def fail(self):
    raise DeviceError("the driver said no", call="cuLaunch", code=700)
if low:
    measure.NativeRun.wait = fail
""")
    with pytest.raises(DeviceError, match=r"^queue 'low': the driver said no$") as caught:
        SeparateProcesses(module=module).measure(two())
    assert (caught.value.call, caught.value.code) == ("cuLaunch", 700)
    assert children() == []


def test_a_fault_behind_the_data_of_one_is_a_remark(two, with_body):
    module = with_body("if low: measure.NativeRun.close = lambda self: os.abort()")
    measurement = SeparateProcesses(module=module).measure(two())
    assert len(measurement.samples[0]) == 25
    assert measurement.remark == (
        "the worker process of queue 'low' was ended by SIGABRT while it closed the run, after it "
        "had left its data"
    )


def test_the_lock_is_held_until_all_have_ended(two, with_body, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", str(tmp_path))
    module = with_body(f"""
worker.locate = lambda name, libraries: {GPU!r}
def close(self):
    time.sleep(0.2)
    try:
        lock_gpus([{GPU!r}], timeout_s=0)
    except Exception as error:
        print(error, flush=True)
if low:
    measure.NativeRun.close = close
""")
    measurement = SeparateProcesses(module=module).measure(two())
    assert re.search(f"GPU {GPU} was not free within 0 s: process ", measurement.output)
    lock_file = tmp_path / f"pytest-xsched-gpu-{GPU.replace(':', '-')}.lock"
    assert lock_file.exists()


def test_an_interrupt_ends_all(two):
    def interrupt(elapsed_ns, total_ns):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SeparateProcesses().measure(two(), interrupt)
    assert children() == []


def test_inside_is_refused():
    made = Session(Settings(device="cpu", process="inside"))
    with pytest.raises(ScenarioError, match="own: not with --xsched-process=inside"):
        made.run(
            made.queue("q", spin("1ms")), duration="1s", scheduler="native", processes="separate"
        )


@pytest.mark.parametrize("scheduler", ["native", "priority"])
def test_processes_share_a_real_driver(pocl, scheduler):
    made = Session(Settings(device="opencl"))
    run = made.run(
        made.queue("high", matmul(32, layers=2), priority=10, rate="50/s"),
        made.queue("low", matmul(48, layers=8), priority=1),
        scheduler=scheduler,
        duration="1s",
        processes="separate",
        check=True,
    )
    assert run.evidence.checked and run.evidence.faults == ()
    assert run.high.n == 50
    assert run.low.counts.completed == run.low.counts.launched > 0
    assert any("pocl" in library.path for library in run.fingerprint.libraries)


REAL = os.environ.get("XSCHED_HOME")


@pytest.mark.skipif(not REAL, reason="XSCHED_HOME names no XSched")
def test_the_real_server_schedules_both_processes(pocl):
    made = Session(Settings(device="opencl", xsched_home=Home(path=REAL, origin="XSCHED_HOME")))
    medians = []
    for high, low in ((10, 1), (1, 10)):
        run = made.run(
            made.queue("high", matmul(64, layers=4), priority=high, rate="20/s", threshold=2),
            made.queue("low", matmul(96, layers=32), priority=low, threshold=2),
            scheduler=XSched(scheduler="global"),
            duration="2s",
            processes="separate",
            check=True,
        )
        assert run.evidence.checked and run.evidence.faults == ()
        assert set(run.evidence.activity.commands) == {"high", "low"}
        medians.append(int(np.median(run.high.latency_ns)))
    assert medians[0] < medians[1]


def test_a_local_scheduler_reaches_no_other_process(two):
    with pytest.raises(ScenarioError, match=r'take XSched\(scheduler="global"\)$'):
        dataclasses.replace(two(), device="cuda", scheduler="xsched", xsched=XSched())

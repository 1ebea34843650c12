"""The scheduler xsched in every way in which it ends, hangs or lies: one error that names the
cause, no process that is left, and the next run is a good one.

On the fake driver; the faults are those of the double of XSched. Tests that need no fault also use
the installed XSched, if XSCHED_HOME names one.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import threading
from pathlib import Path

import pytest

from pytest_xsched import (
    DeviceError,
    DeviceUnavailable,
    SchedulerInactive,
    WorkerCrashed,
    XSched,
    spin,
)
from pytest_xsched.native.binding import locate
from pytest_xsched.workers.isolated import measure_in_worker

NTH = 45
"""Callback of a queue, in the run: before it queues of 40 commands are compared, once or more."""
SAID = r"its last words: \[XSCHED ERRO @ T \d+ @ [\d:.]+\] Assertion failed: "


@pytest.fixture
def session(xsched_gpu, session_on):
    return session_on("cuda")


@pytest.fixture
def any_session(xsched_home, xsched_gpu, session_on, monkeypatch):
    """A session with the double of XSched, and one with the installed XSched."""
    monkeypatch.setenv("XSCHED_HOME", str(xsched_home))
    return session_on("cuda")


def two_queues(session, *, low_rate="400/s", **settings):
    work = {"threshold": 2, "batch_size": 1}
    high = session.queue("high", spin("1ms"), priority=10, rate="100/s", **work)
    # A closed loop (None) may end, under load, before the callback that a fault waits for.
    low = session.queue("low", spin("1ms"), priority=1, rate=low_rate, **work)
    settings = {
        "duration": "300ms",
        "warmup": "0s",
        "drain": "1s",
        "scheduler": "xsched",
        **settings,
    }
    return session.run(high, low, **settings)


def good(session):
    run = two_queues(session)
    assert not run.evidence.faults
    assert run.remark == ""
    assert run.high.n == 30
    assert children() == []
    return run


def children():
    """Give the processes that this one has started and that have not ended."""
    mine, found = os.getpid(), []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == mine and state != "Z":
            found.append(int(stat.parent.name))
    return found


# ---- it ends its process


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("abort", "was ended by SIGABRT{}$"),
        ("exit", f"ended with exit status 1{{}}; {SAID}the driver answers 700 to a synchronize$"),
        ("callback", f"ended with exit status 1{{}}; {SAID}a launch callback returned 1$"),
        ("segv", "was ended by SIGSEGV{}$"),
        ("kill", "was ended by SIGKILL, as the kernel does where memory is short,{}$"),
        ("oom", "was ended by SIGABRT{}; its last words: terminate called .*'std::bad_alloc'"),
    ],
)
def test_an_end_in_the_middle_is_one_error(session, monkeypatch, fault, message):
    with monkeypatch.context() as patch:
        patch.setenv("PREEMPT_DOUBLE", f"{fault}:{NTH}")
        message = message.format(" while it measured, without a result")
        with pytest.raises(WorkerCrashed, match=f"^the worker process {message}"):
            two_queues(session)
    good(session)


def test_an_error_of_the_driver_is_one_error(any_session, monkeypatch):
    """Who notices it first, our own calls or XSched, which ends the process, is chance."""
    with monkeypatch.context() as patch:
        patch.setenv("XS_FAKE_FAULT", "cuStreamSynchronize:200:700")
        with pytest.raises((DeviceError, WorkerCrashed), match=r"\b700\b|ILLEGAL_ADDRESS"):
            two_queues(any_session)
    good(any_session)


def test_an_end_on_a_real_driver_is_one_error(session_on, xsched_double, monkeypatch, pocl):
    try:
        locate("opencl")
    except DeviceUnavailable as error:
        pytest.skip(f"no opencl device: {error}")
    monkeypatch.setenv("XSCHED_HOME", str(xsched_double))
    session = session_on("opencl")
    with monkeypatch.context() as patch:
        patch.setenv("PREEMPT_DOUBLE", f"exit:{NTH}")
        with pytest.raises(WorkerCrashed, match=f"exit status 1 while it measured, .*{SAID}"):
            two_queues(session)
    good(session)


def test_an_end_while_queues_are_compared_is_one_error(session, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("PREEMPT_DOUBLE", "exit:20")
        with pytest.raises(
            WorkerCrashed, match=f"1 while XSched ordered two queues in a trial, .*{SAID}"
        ):
            two_queues(session)
    good(session)


def test_one_of_separate_processes_ends(session, monkeypatch):
    apart = XSched(policy="none", scheduler="app")  # the local one is of one process
    with monkeypatch.context() as patch:
        patch.setenv("PREEMPT_DOUBLE", "exit:20")
        with pytest.raises(WorkerCrashed, match=rf"of queue '\w+' ended with .*{SAID}"):
            two_queues(session, processes="separate", scheduler=apart)
    good(session)


# ---- it hangs


def test_a_launch_thread_that_stands_still_is_one_error(session, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("PREEMPT_DOUBLE", f"hang-callback:{NTH}")
        with pytest.raises(DeviceError, match=r"XSched got \d+ commands and launched \d+"):
            two_queues(session)
    good(session)


def test_a_lost_command_is_one_error(session, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("PREEMPT_DOUBLE", "drop")
        with pytest.raises(DeviceError, match=r"XSched got \d+ commands and launched \d+"):
            two_queues(session, low_rate=None)
    good(session)


def test_a_hang_of_a_driver_call_is_one_error(any_session, hurried, monkeypatch):
    with monkeypatch.context() as patch, hurried("measured"):
        patch.setenv("XS_FAKE_FAULT", "cuStreamSynchronize:200:hang")
        with pytest.raises(
            WorkerCrashed, match="did not end in time and was killed while it measured"
        ):
            two_queues(any_session)
    good(any_session)


def test_a_hang_in_the_tearing_down_says_where(session, hurried, monkeypatch):
    with monkeypatch.context() as patch, hurried("ordered two queues"):
        patch.setenv("PREEMPT_DOUBLE", "hang-destroy")
        with pytest.raises(
            WorkerCrashed, match="was killed while XSched ordered two queues in a trial"
        ):
            two_queues(session)
    good(session)


@pytest.mark.parametrize(
    ("fault", "inside"),
    [("hang-callback", ""), ("hang-submit", ", inside XQueueSubmit")],
)
def test_a_hang_names_the_queue_and_the_call(session, hurried, monkeypatch, fault, inside):
    with monkeypatch.context() as patch, hurried("waited for queue"):
        patch.setenv("PREEMPT_DOUBLE", f"{fault}:{NTH}")
        with pytest.raises(WorkerCrashed) as caught:
            two_queues(session)
    one = rf"queue '\w+' \(\d+ commands, \d+ launched, \d+ completed\){inside}"
    assert re.search(rf" was killed while it waited for {one}", str(caught.value))
    good(session)


# ---- behind the samples: the run is good, and its remark says it


@pytest.mark.parametrize(
    ("fault", "remark"),
    [
        ("hang-exit", "did not end and was killed while it ended, after it had left its data"),
        ("crash-exit", "was ended by SIGSEGV while it ended, after it had left its data"),
    ],
)
def test_a_bad_end_keeps_the_samples(session, monkeypatch, fault, remark):
    with monkeypatch.context() as patch:
        patch.setenv("PREEMPT_DOUBLE", fault)
        if fault == "hang-exit":
            patch.setitem(measure_in_worker.__kwdefaults__, "grace_s", 0.5)
        run = two_queues(session)
    assert run.remark == f"the worker process {remark}"
    assert run.high.n == 30
    assert not run.evidence.faults
    assert children() == []
    good(session)


# ---- it is not in effect


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "inactive",
            "the run needs the local scheduler with policy hpf, but XSched reports 'using ",
        ),
        ("ignore-priority", "hints preferred one of two queues, and then the "),
    ],
)
def test_what_is_not_in_effect_is_inactive(session, monkeypatch, fault, message):
    with monkeypatch.context() as patch:
        patch.setenv("PREEMPT_DOUBLE", fault)
        with pytest.raises(SchedulerInactive, match=f"^scheduler inactive: .*{message}"):
            two_queues(session)
    good(session)


def test_variables_of_the_user_change_nothing(session, monkeypatch):
    for name, value in [
        ("XSCHED_POLICY", "KEDF"),
        ("XLOG_LEVEL", "ERRO"),
    ]:
        monkeypatch.setenv(name, value)
    assert good(session).evidence.activity.report == "using local scheduler with policy HPF"


# ---- something is missing


def test_a_missing_library_is_named(session, monkeypatch, spoiled):
    home = spoiled("libhalcuda.so")
    with monkeypatch.context() as patch:
        patch.setenv("XSCHED_HOME", str(home))
        with pytest.raises(SchedulerInactive, match=rf"XSCHED_HOME names {home}, which has no lib"):
            two_queues(session)
    good(session)


@pytest.mark.parametrize(
    ("library", "function"),
    [("libpreempt.so", "XQueueSubmit"), ("libhalcuda.so", "CudaQueueCreate")],
)
def test_a_missing_function_is_named(session, monkeypatch, spoiled, library, function):
    home = spoiled(library, f"-D{function}=renamed")
    with monkeypatch.context() as patch:
        patch.setenv("XSCHED_HOME", str(home))
        with pytest.raises(DeviceError, match=f"has no function {function}"):
            two_queues(session)
    good(session)


def test_a_library_that_cannot_be_loaded_is_named(session, monkeypatch, spoiled):
    home = spoiled("libpreempt.so")
    (home / "lib" / "libpreempt.so").write_text("no library")
    with monkeypatch.context() as patch:
        patch.setenv("XSCHED_HOME", str(home))
        with pytest.raises(DeviceError, match=rf"cannot load {home}/lib/libpreempt\.so"):
            two_queues(session)
    good(session)


def test_a_driver_without_a_function_that_xsched_wants_is_named(any_session, monkeypatch, built):
    fake = (
        *("fake_cuda.c", "fake_errors.c", "fake_graph.c"),
        *("fake_identity.c", "fake_kernels.c", "fake_nvrtc.c"),
    )
    old = built(*fake, flags=("-shared", "-fPIC", "-DcuStreamGetCtx=renamed"))
    with monkeypatch.context() as patch:
        patch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(old))
        with pytest.raises(WorkerCrashed, match=f"{SAID}fail to get symbol cuStreamGetCtx"):
            two_queues(any_session)
    good(any_session)


def test_a_full_disk_is_named(any_session):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))  # the worker inherits it
        with pytest.raises(
            WorkerCrashed, match=r"exit status (1|120) while .* without a result \(.*too large\)"
        ):
            two_queues(any_session)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    good(any_session)


# ---- beside forks and threads


def mapped():
    """Give the libraries of GPUs and of XSched that this process has mapped."""
    names = ("libcuda", "fake_cuda", "libamdhip64", "libpreempt", "libhal", "libshim", "OpenCL")
    text = Path("/proc/self/maps").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if any(name in line for name in names)]


def test_forks_and_threads_around_a_run_meet_no_driver(any_session):
    """What gives HIP error 709: a fork of a process that has a context."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    runs = []
    before = mapped()  # by tests that opened a device in this process

    def measure():
        return two_queues(any_session).high.n, mapped()

    idle = threading.Thread(target=threading.Event().wait, daemon=True)
    child = fork.Process(target=lambda: sender.send(measure()), daemon=True)
    thread = threading.Thread(target=lambda: runs.append(measure()), daemon=True)
    idle.start()
    assert measure() == (30, before)
    child.start()
    thread.start()
    assert receiver.poll(120)
    assert receiver.recv() == (30, before)
    child.join(120)
    thread.join(120)
    assert runs == [(30, before)]
    assert measure() == (30, before)

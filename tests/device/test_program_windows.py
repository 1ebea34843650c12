"""Programs live on over the windows of a run: one start, and every way in which that can end.

On `cpu`, where they use no device. The windows are short, and measured one by one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from pytest_xsched import InvalidRun, Session, WorkerCrashed, command, spin
from pytest_xsched.errors import DeviceBusy, DeviceUnavailable
from pytest_xsched.scenario.arrival_process import Closed, constant, poisson
from pytest_xsched.scenario.scenario import QueueSpec
from pytest_xsched.session import adaptive
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.gpu_lock import CPU_VARIABLE, lock_cpu
from pytest_xsched.workers import run_processes
from pytest_xsched.workers.dispatch import measure_in_processes
from pytest_xsched.workers.multi_process import SeparateProcesses
from pytest_xsched.workers.run_processes import RunProcesses

MS = 1_000_000

LOOP = """
import os, sys, time
from pytest_xsched.client import requests
print("start", os.getpid(), flush=True)
for number in requests(warmup=2):
    print("request", number, flush=True)
"""

EARLIER = """
import os, sys, time
print("start", os.getpid(), os.environ["PYTEST_XSCHED_AGAIN"], flush=True)
report = int(os.environ["PYTEST_XSCHED_REPORT"])
start = int(os.environ["PYTEST_XSCHED_START"])
os.write(report, b"ready 1\\n")
begin, end = map(int, os.read(start, 64).split())
time.sleep(max(0, (begin - time.monotonic_ns()) / 1e9))
for line in open(os.environ["PYTEST_XSCHED_ARRIVALS"]):
    while (due := begin + int(line)) > time.monotonic_ns():
        time.sleep(0.001)
    os.write(report, b"begin %d\\n" % time.monotonic_ns())
    os.write(report, b"end %d\\n" % time.monotonic_ns())
os.write(report, b"done\\n")
while os.read(start, 64):
    pass
"""
"""A program of the protocol as it was when a run had one start for each window."""


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    """Let no other test hold the lock of the processors."""
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", str(tmp_path))
    monkeypatch.delenv(CPU_VARIABLE, raising=False)  # the other tests do without that lock


@pytest.fixture
def program(tmp_path):
    """Writes a Python program; gives it as a workload."""

    def write(text=LOOP, *arguments, reports=True):
        path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
        path.write_text(textwrap.dedent(text))
        return command([sys.executable, path, *arguments], reports=reports)

    return write


@pytest.fixture
def windows(scenario):
    """Makes the windows of a run of programs, 300 ms each; a drain ends with the last request."""

    def make(*workloads, arrivals=None, drain_ns=10**10):
        queues = tuple(
            QueueSpec(name=f"q{i}", workload=workload, arrivals=arrivals or constant("50/s"))
            for i, workload in enumerate(workloads)
        )
        changes = {"scheduler": "native", "policy": "none", "drain_ns": drain_ns}
        whole = scenario("cpu", queues=queues, duration_ns=900 * MS, **changes)
        return [adaptive.window(whole, index, 300 * MS) for index in range(3)]

    return make


@pytest.fixture
def processes():
    """Makes the processes of a run, and ends them."""
    made = []

    def make(**more):
        made.append(SeparateProcesses(**more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def starts(measurement):
    """Give the process ids that programs wrote at their start."""
    lines = [line.split() for line in measurement.output.splitlines()]
    return [int(words[1]) for words in lines if words[0] == "start"]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children():
    mine = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                mine.append(int(stat.parent.name))
    return mine


def is_locked():
    try:
        lock_cpu(timeout_s=0).release()
    except DeviceBusy:
        return True
    return False


def test_a_program_is_started_once_for_a_run_and_not_for_each_window(windows, program, processes):
    run = processes()
    one, two, three = windows(program(), arrivals=poisson("50/s"))
    measured = [run.measure(one, is_last=False), run.measure(two, is_last=False)]
    (pid,) = starts(measured[0])
    assert is_running(pid) and run.are_waiting
    measured.append(run.measure(three))
    assert [starts(measurement) for measurement in measured] == [[pid]] * 3
    assert not is_running(pid) and children() == []
    # Two requests warm it up, once; the numbers begin at 0 in each window.
    numbers = [
        int(line.split()[1])
        for line in measured[2].output.splitlines()
        if line.startswith("request")
    ]
    assert numbers == [0, 1, *(number for _ in range(3) for number in range(15))]
    # Each window has arrivals and times of its own.
    scheduled = [measurement.samples[0]["scheduled_ns"] for measurement in measured]
    assert len({tuple(times) for times in scheduled}) == 3
    for measurement in measured:
        (samples,) = measurement.samples
        assert measurement.counts[0].requests_completed == 15 == len(samples)
        assert np.all(samples["launched_ns"] >= samples["scheduled_ns"])
        assert np.all(samples["completed_ns"] >= samples["launched_ns"])
        assert measurement.remark == ""


def test_a_closed_loop_goes_on_in_the_next_window(windows, program, processes):
    run = processes()
    closed = windows(program(f"{LOOP}    time.sleep(0.01)\n"), arrivals=Closed())
    measured = [run.measure(closed[0], is_last=False)]
    # A busy machine may stop the program until a window is over, between two of its requests. A
    # loop that does not go on has no request at the end of any window after the first one.
    for window in [*closed[1:]] * 3:
        measured.append(run.measure(window, is_last=False))
        if measured[-1].samples[0]["completed_ns"].max() >= 290 * MS:
            break
    assert measured[-1].samples[0]["completed_ns"].max() >= 290 * MS
    assert len({*map(tuple, map(starts, measured))}) == 1


def test_a_program_that_does_not_know_of_windows_is_started_anew(windows, program, processes):
    run = processes()
    one, two, three = windows(program(EARLIER), program())
    measured = [run.measure(one, is_last=False)]
    earlier, lasting = starts(measured[0])
    assert not is_running(earlier) and is_running(lasting)
    measured += [run.measure(two, is_last=False), run.measure(three)]
    pids = [starts(measurement) for measurement in measured]
    assert [one[1] for one in pids] == [lasting] * 3
    assert len({one[0] for one in pids}) == 3
    for measurement in measured:
        assert [counts.requests_completed for counts in measurement.counts] == [15, 15]
        assert measurement.remark == ""
    assert children() == []


def test_without_a_program_that_lives_on_nothing_is_kept(windows, program, processes):
    run = processes()
    one, two, three = windows(program(EARLIER))
    assert run.measure(one, is_last=False).output.split()[2] == "1"
    assert not run.are_waiting and children() == [] and not is_locked()
    # In a further window it is not asked again, and no process waits for its answer.
    second = run.measure(two, is_last=False)
    assert second.output.split()[2] == "0" and not run.are_waiting and children() == []
    assert run.measure(three).counts[0].requests_completed == 15


def test_a_contender_without_reports_does_not_compute_between_windows(windows, program, processes):
    run = processes()
    contender = program("import os, time\nprint('start', os.getpid(), flush=True)\ntime.sleep(999)")
    contender = command(contender.own_program.argv, reports=False)
    one, two, _ = windows(program(f"{LOOP}    time.sleep(0.01)"), contender, arrivals=Closed())
    first = run.measure(one, is_last=False)
    lasting, stopped = starts(first)
    assert is_running(lasting) and not is_running(stopped)
    second = run.measure(two)
    assert starts(second)[0] == lasting and starts(second)[1] != stopped
    assert children() == []


def test_the_lock_is_held_as_long_as_a_program_lives_and_no_longer(windows, program, processes):
    run = processes()
    one, two, _ = windows(program())
    assert not is_locked()
    run.measure(one, is_last=False)
    assert is_locked()
    run.measure(two, is_last=False)
    assert is_locked()
    assert run.close() == ""
    assert not is_locked() and children() == []


def test_a_run_of_one_window_has_no_process_for_the_lock_alone(windows, program, processes):
    run = processes()
    started = []
    make = run.make_directory
    run.make_directory = lambda: started.append(1) or make()
    run.measure(windows(program())[0])
    assert len(started) == 2  # the worker that describes the device, and the program


def test_a_program_that_is_killed_between_windows_is_started_anew(windows, program, processes):
    run = processes()
    one, two, _ = windows(program())
    (pid,) = starts(run.measure(one, is_last=False))
    os.kill(pid, signal.SIGKILL)
    second = run.measure(two)
    assert starts(second) != [pid] and second.counts[0].requests_completed == 15
    assert second.remark.startswith("the program of queue 'q0' was ended by SIGKILL")
    assert second.remark.endswith(
        "after its last request; its last words: request 12 | request 13 | request 14"
    )
    assert children() == []


def test_what_a_program_lies_between_windows_makes_the_run_invalid(
    windows, program, processes, tmp_path, until
):
    run = processes()
    ask, said = tmp_path / "ask", tmp_path / "said"
    liar = f"""
        import os, pathlib, threading, time
        report = int(os.environ["PYTEST_XSCHED_REPORT"])
        def lie():
            while not os.path.exists({str(ask)!r}):
                time.sleep(0.01)
            os.write(report, b"begin 5\\n")
            pathlib.Path({str(said)!r}).touch()
        threading.Thread(target=lie, daemon=True).start()
        """
    one, two, _ = windows(program(textwrap.dedent(liar) + LOOP))
    (pid,) = starts(run.measure(one, is_last=False))
    ask.touch()
    until(said.exists)
    with pytest.raises(InvalidRun, match="'begin 5' comes after 'done'"):
        run.measure(two)
    assert not is_running(pid) and children() == []


def test_all_is_started_anew_where_the_locks_were_lost(windows, program, processes, until):
    run = processes()
    one, two, _ = windows(program())
    (pid,) = starts(run.measure(one, is_last=False))
    os.kill(run.holder.pid, signal.SIGKILL)
    until(run.holder.has_ended)
    second = run.measure(two, is_last=False)
    assert starts(second) != [pid] and not is_running(pid)
    assert is_locked()


def test_the_locks_that_are_lost_within_a_window_are_an_error(windows, program, processes):
    run = processes()
    one, two, _ = windows(program())
    run.measure(one, is_last=False)

    def kill(elapsed_ns, total_ns):
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.holder.pid, signal.SIGKILL)

    with pytest.raises(WorkerCrashed, match=r"SIGKILL.* while it held the locks of the run"):
        run.measure(two, kill, is_last=False)
    assert children() == [] and not is_locked()


def test_an_interrupt_in_a_later_window_ends_all(windows, program, processes):
    def interrupt(elapsed_ns, total_ns):
        raise KeyboardInterrupt

    run = processes()
    one, two, _ = windows(program(), program())
    run.measure(one, is_last=False)
    with pytest.raises(KeyboardInterrupt):
        run.measure(two, interrupt, is_last=False)
    assert children() == [] and not is_locked()


def test_a_program_that_fails_in_a_later_window_ends_all(windows, program, processes):
    failing = f"calls = 0\n{LOOP}    calls += 1\n    1 / (calls < 20)\n"
    run = processes()
    one, two, _ = windows(program(failing), program())
    run.measure(one, is_last=False)
    with pytest.raises(WorkerCrashed, match="queue 'q0' ended with exit status 1 before the run"):
        run.measure(two, is_last=False)
    assert children() == [] and not is_locked()


def test_a_request_that_does_not_end_is_not_carried_into_the_next_window(
    windows, program, processes
):
    slow = f"calls = 0\n{LOOP}    calls += 1\n    time.sleep(100 * (calls == 12))\n"
    run = processes(grace_s=0.2)
    one, two, _ = windows(program(slow), drain_ns=0)
    first = run.measure(one, is_last=False)
    assert np.count_nonzero(first.samples[0]["completed_ns"] < 0) >= 6
    second = run.measure(two)
    assert starts(second) != starts(first)


def test_a_child_that_left_the_session_lives_as_long_as_its_program(windows, program, processes):
    marker = f"marked{os.getpid()}"
    leaving = f"""
        import subprocess, sys
        code = "import time; time.sleep(1000)"
        subprocess.Popen([sys.executable, "-c", code, {marker!r}], start_new_session=True)
        """
    run = processes()
    one, two, _ = windows(program(textwrap.dedent(leaving) + LOOP))
    for window in (one, two):
        run.measure(window, is_last=False)
        assert len(running(marker)) == 1
    run.close()
    assert running(marker) == []


def running(marker):
    """Give the processes with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if marker in path.read_bytes().decode(errors="replace").split("\0"):
                found.append(int(path.parent.name))
    return found


# ---- how long a run keeps them


@pytest.fixture
def measure(windows, program):
    """Measures windows of a run, each by `measure_in_processes`; the last is the third."""
    made = RunProcesses(900 * MS)
    three = iter(windows(program()))

    def one(progress=None):
        return measure_in_processes(
            next(three),
            progress,
            waiting=None,
            libraries=None,
            lock_timeout_s=60.0,
            home=None,
            processes=made,
        )

    one.run = made
    yield one
    made.close()


def test_the_last_window_ends_all(measure):
    pids = [starts(measure()) for _ in range(3)]
    assert pids[0] == pids[1] == pids[2]
    assert children() == [] and not is_locked() and measure.run.separate is None


def test_they_do_not_wait_for_long(measure, monkeypatch, until):
    monkeypatch.setattr(run_processes, "IDLE_S", 0.1)
    first = starts(measure())
    until(lambda: not is_locked())
    until(lambda: children() == [])
    monkeypatch.setattr(run_processes, "IDLE_S", 600.0)
    second = measure()
    assert starts(second) != first and second.counts[0].requests_completed == 15
    assert starts(measure()) == starts(second)
    assert children() == []


def test_an_error_ends_what_waited(measure):
    def interrupt(elapsed_ns, total_ns):
        raise KeyboardInterrupt

    measure()
    with pytest.raises(KeyboardInterrupt):
        measure(interrupt)
    assert children() == [] and not is_locked() and measure.run.separate is None


def test_a_fork_does_not_end_what_its_parent_has_started(measure):
    (pid,) = starts(measure())
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            measure.run.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert is_running(pid)
    assert starts(measure()) == [pid]


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr(adaptive, "FIRST_NS", 300 * MS)
    monkeypatch.setattr(adaptive, "NEXT_NS", 300 * MS)
    monkeypatch.setattr(run_processes, "IDLE_S", 600.0)
    made = Session(Settings(device="cpu"))
    yield made
    made.close()


def undecided(session, workload, name="q"):
    """Measure the first of three windows."""
    queue = session.queue(name, workload, think="10ms")
    return session.run(queue, duration="900ms", warmup="0s", scheduler="native")


def test_a_run_measures_on_with_the_same_processes(session, program):
    run = undecided(session, program())
    before = children()
    assert len(before) == 2  # the program, and what holds the lock
    assert run.measure_on() and children() == before
    assert run.measure_on() and children() == []
    assert not run.measure_on()
    assert run.windows == 3 and run.evidence.faults == () and run.remark == ""


def test_another_run_ends_the_processes_of_the_one_before(session, program):
    """They hold the lock for which the other run waits."""
    run = undecided(session, program())
    before = children()
    other = session.run(session.queue("r", spin("1ms"), rate="50/s"), duration="200ms")
    assert other.r.n == 10 and children() == []
    assert run.measure_on()
    assert children() and not set(children()) & set(before)
    session.close()
    assert children() == []


def test_live_queues_end_the_processes_of_a_run(session, program):
    undecided(session, program())
    with contextlib.suppress(DeviceUnavailable):
        session.devices.live("cuda", "hpf", None, 10**9)
    assert not is_locked()


def test_a_program_that_fails_at_its_end_is_a_remark_of_its_run(session, program):
    run = undecided(session, program(f"{LOOP}\nos.abort()"))
    assert run.remark == ""
    session.close()
    assert run.remark.startswith("the program of queue 'q' was ended by SIGABRT, after its last r")


SCRIPT = """
    import os, sys, time
    from pytest_xsched import Session, command
    from pytest_xsched.session import adaptive
    from pytest_xsched.session.settings import Settings
    from pytest_xsched.workers import run_processes
    adaptive.FIRST_NS = adaptive.NEXT_NS = 300_000_000
    run_processes.IDLE_S = 600.0
    session = Session(Settings(device="cpu"))
    queue = session.queue("q", command([sys.executable, sys.argv[1], sys.argv[2]]), think="10ms")
    session.run(queue, duration="900ms", warmup="0s", scheduler="native")
    print("on", flush=True)
    if sys.argv[3] == "kill":
        time.sleep(1000)
    """


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_nothing_outlives_pytest_between_two_windows(program, tmp_path, how, until):
    marker = f"outlives{os.getpid()}{how}"
    path = program().own_program.argv[1]
    script = [sys.executable, "-c", textwrap.dedent(SCRIPT), path, marker, how]
    with subprocess.Popen(script, stdout=subprocess.PIPE, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"on\n"
        if how == "kill":
            assert len(running(marker)) == 2  # the script itself, and its program
            parent.kill()
        assert parent.wait() == (-signal.SIGKILL if how == "kill" else 0)
    until(lambda: running(marker) == [])
    until(lambda: not is_locked())


def test_scenarios_of_windows_differ_in_their_seed_only(windows, program):
    one, two, _ = windows(program())
    assert dataclasses.replace(two, seed=one.seed) == one

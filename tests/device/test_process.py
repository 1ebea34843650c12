"""Runs in worker processes: the same data as inside, and every way in which a worker can end."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pytest_xsched import CpuModel, DeviceError, ScenarioError, Session, WorkerCrashed, matmul, spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.isolated import measure_in_worker
from pytest_xsched.workers.worker_process import OUTPUT_BYTES, Environment, last_words


@pytest.fixture
def session():
    def make(**settings):
        return Session(Settings(**settings))

    return make


def test_a_worker_gives_the_same_bytes(session):
    texts = []
    for process in ("inside", "worker"):
        made = session(device="sim", process=process)
        run = made.run(
            made.queue("high", matmul(512), priority=10, rate="20/s"),
            made.queue("low", matmul(1024, batch=8), priority=1),
            duration="20s",
        )
        texts.append((run.to_json(), run.high.samples.tobytes(), run.low.samples.tobytes()))
    assert texts[0] == texts[1]


def test_results_are_checked_in_the_worker(session):
    made = session(device="cpu", process="worker")
    run = made.run(made.queue("q", matmul(24), rate="50/s"), duration="200ms", check=True)
    assert run.evidence.checked
    assert not run.evidence.faults
    assert run.remark == ""


def test_progress_is_handed_on(scenario):
    seen = []
    measure_in_worker(
        scenario("cpu"), lambda elapsed_ns, total_ns: seen.append((elapsed_ns, total_ns))
    )
    assert seen
    assert all(0 <= elapsed <= total == 1_000_000_000 for elapsed, total in seen)


def test_errors_are_those_of_a_run_inside(session, scenario):
    with pytest.raises(ScenarioError, match="the device sim computes nothing"):
        measure_in_worker(scenario(check=True))
    # 46340 x 46340 needs 25.8 GB; on a machine that has them, nothing is to be seen here.
    made = session(device="cpu", process="worker")
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 25e9:
        with pytest.raises(DeviceError, match=r"needs 25\.8 GB") as caught:
            made.run(made.queue("q", matmul(46340)), duration="1s")
        assert caught.value.call == "cpu.kernel_create"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os; os._exit(7)", "ended with exit status 7, without a result"),
        ("raise SystemExit('no such luck')", "exit status 1, .*its last words: no such luck"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV"),
        ("import os; os.abort()", "was ended by SIGABRT"),
        (
            "import sys; print('a', file=sys.stderr); print('b', file=sys.stderr); 1 / 0",
            "last words: .*ZeroDivisionError: division by zero",
        ),
        ("", "ended with exit status 0, without a result"),
    ],
)
def test_a_worker_that_dies_is_an_error_with_the_cause(scenario, worker, body, message):
    with pytest.raises(WorkerCrashed, match=message):
        measure_in_worker(scenario(), module=worker(body))


def test_a_worker_that_hangs_is_killed(scenario, worker):
    module = worker(
        """
        import signal, time
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        print("waiting for ever", flush=True)
        time.sleep(1000)
        """
    )
    short = scenario(duration_ns=10_000_000, drain_ns=0)
    with pytest.raises(WorkerCrashed, match=r"did not end in time .*: waiting for ever") as caught:
        measure_in_worker(short, module=module, set_up_s=5.0)
    assert caught.value.returncode == -signal.SIGKILL


def test_a_crash_at_exit_keeps_the_data(scenario, worker):
    module = worker(
        """
        import os, signal
        from pytest_xsched.workers import worker
        assert worker.main() == 0
        print("tearing down", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
        """
    )
    measurement = measure_in_worker(scenario(), module=module)
    assert len(measurement.samples[0]) == 100
    assert measurement.remark == (
        "the worker process was ended by SIGSEGV while it ended, after it had left its data; "
        "its last words: tearing down"
    )


@pytest.mark.parametrize(
    ("close", "how"),
    [
        ("os.abort()", "was ended by SIGABRT{}"),
        ("os._exit(1)", "ended with exit status 1{}"),
        ("time.sleep(1000)", "did not end and was killed{}"),
        ("fail()", r"ended with exit status 3{} \(the driver said no\)"),
    ],
)
def test_a_fault_in_the_tearing_down_keeps_the_data(scenario, worker, close, how):
    grace_s = 0.5 if "sleep" in close else 60.0
    module = worker(
        f"""
        import os, sys, time
        from pytest_xsched import DeviceError
        from pytest_xsched.runner import measure
        from pytest_xsched.workers import worker

        def fail():
            raise DeviceError("the driver said no")

        measure.NativeRun.close = lambda self: {close}
        sys.exit(worker.main())
        """
    )
    # If the grace did not count, the test would end by its own time-out.
    measurement = measure_in_worker(scenario(), module=module, set_up_s=1000.0, grace_s=grace_s)
    assert len(measurement.samples[0]) == 100
    assert re.fullmatch(
        f"the worker process {how.format(' while it closed the run')}, after it had left its data",
        measurement.remark,
    )


def test_a_disk_without_room_is_told(scenario, worker):
    module = worker(
        """
        import resource, sys
        from pytest_xsched.workers import worker
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # what it says is lost, too
        sys.exit(worker.main())
        """
    )
    with pytest.raises(
        WorkerCrashed, match=r"exit status (1|120) while it measured, .* \(.*too large\)$"
    ):
        measure_in_worker(scenario(), module=module)


def test_the_environment_is_what_was_asked_for(scenario, worker, monkeypatch):
    for name in ("XSCHED_POLICY", "XSCHED_X", "CUXTRA_CUDA_LIB", "XLOG_LEVEL", "MY_XSCHED_"):
        monkeypatch.setenv(name, "inherited")
    module = worker(
        """
        import os
        found = (f"{k}={v}" for k, v in os.environ.items() if v in ("inherited", "HPF"))
        raise SystemExit(" ".join(sorted(found)))
        """
    )
    environment = Environment(
        scrubbed=("XSCHED_", "CUXTRA_", "XLOG_LEVEL"), values={"XSCHED_POLICY": "HPF"}
    )
    with pytest.raises(WorkerCrashed, match=r"words: MY_XSCHED_=inherited XSCHED_POLICY=HPF$"):
        measure_in_worker(scenario(), module=module, environment=environment)
    assert os.environ["XSCHED_POLICY"] == "inherited"


def test_the_end_of_the_output_is_kept(scenario, worker):
    module = worker(
        """
        import sys
        from pytest_xsched.workers import worker
        print("first " + 100_000 * "x", "the last line", sep="\\n", flush=True)
        sys.exit(worker.main())
        """
    )
    measurement = measure_in_worker(scenario(), module=module)
    assert measurement.remark == ""
    assert measurement.output.endswith("x\nthe last line\n")
    assert len(measurement.output) == OUTPUT_BYTES


ASSERTION = (
    "[XSCHED ERRO @ T 7 @ 10:00:00.000001] Assertion failed: hip error 709 @ hip_queue.cpp:32"
)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", ""),
        ("a\nb\n\n c \nd\n", "; its last words: b | c | d"),
        (f"a\n{ASSERTION}\nb\nc\nd\n", f"; its last words: {ASSERTION} | c | d"),
        (f"a\n{ASSERTION}\n", f"; its last words: {ASSERTION}"),
        ("a\n[XSCHED INFO @ T 7 @ 10:00:00.1] using it\n[INFO @ T 7] b\n", "; its last words: a"),
        (
            "a\n[XSCHED WARN @ T 7 @ 10:00] unsupported hint type: 1 @ up.cpp\n",
            "; its last words: a",
        ),
        (f"[ERRO @ T 1] old\na\n{ASSERTION}\nb\n", f"; its last words: {ASSERTION} | b"),
        ("[ERRO @ T 1] old\na\n", "; its last words: [ERRO @ T 1] old | a"),
    ],
)
def test_last_words_begin_with_the_error_of_xsched(output, words):
    assert last_words(output) == words


def test_one_bad_arm_is_one_failed_test(session, monkeypatch):
    made = session(device="sim", process="worker")
    queue = made.queue("q", spin("1ms"), rate="100/s")
    with monkeypatch.context() as patch:
        patch.setattr("pytest_xsched.workers.worker_process.sys.executable", "/bin/false")
        with pytest.raises(WorkerCrashed, match="exit status 1"):
            made.run(queue, duration="1s")
    assert made.run(queue, duration="1s").q.n == 100


def test_an_interrupt_ends_the_worker(scenario):
    def interrupt(elapsed_ns, total_ns):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_in_worker(scenario("cpu", duration_ns=10**12), interrupt)
    assert children() == []


def test_no_worker_outlives_its_parent(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        from pytest_xsched import Session, spin
        from pytest_xsched.session.settings import Settings
        session = Session(Settings(device="cpu", process="worker"))
        queue = session.queue("q", spin("1ms"), rate="100/s")
        measure = session.devices.measure
        tell = lambda *_: print("on", flush=True)
        session.devices.measure = lambda window, _, run, **more: measure(window, tell, run, **more)
        session.run(queue, duration="1h")
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=tmp_path
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"on\n"  # so there is a worker, in the middle of a run
        (worker,) = children(parent.pid)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)


def test_the_parent_opens_no_device(session):
    # The cpu device has worker threads; measured in a worker process, they are not here.
    before = len(os.listdir("/proc/self/task"))
    made = session(device="cpu", process="worker")
    made.run(made.queue("q", spin("1ms"), rate="100/s"), duration="100ms", cpu=CpuModel(workers=9))
    assert len(os.listdir("/proc/self/task")) <= before


def children(pid=None):
    pid = os.getpid() if pid is None else pid
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_worker_started_ends_with_it(scenario, worker):
    module = worker(
        """
        import os, subprocess, sys
        from pytest_xsched.workers import worker
        started = subprocess.Popen(["sleep", "1000"])
        print("started", started.pid, flush=True)
        sys.exit(worker.main())
        """
    )
    measurement = measure_in_worker(scenario(), module=module)
    assert measurement.remark == ""
    started = int(measurement.output.split()[1])
    deadline = time.monotonic() + 30
    while is_running(started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(started)

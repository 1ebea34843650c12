"""Runs on a GPU that others measure on; which GPU it is, is made up, as the devices are cpu and
sim."""

import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_xsched import DeviceBusy, Session, command, spin
from pytest_xsched.runner import measure
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.gpu_lock import lock_cpu, lock_gpus
from pytest_xsched.workers.isolated import measure_in_worker
from pytest_xsched.workers.worker_process import WorkerMessages

GPU = "0000:1b:00.0"

ON_A_GPU = f"""
    import sys
    from pytest_xsched.workers import worker
    worker.locate = lambda name, libraries: {GPU!r}
    """


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", str(tmp_path))
    return tmp_path


def is_free():
    try:
        lock_gpus([GPU], timeout_s=0).release()
    except DeviceBusy:
        return False
    return True


# ---- in a worker process


def test_the_worker_waits_and_then_measures(scenario, worker):
    locks, said = lock_gpus([GPU], timeout_s=0), []

    def waiting(what):
        said.append(what)
        locks.release()

    module = worker(f"{ON_A_GPU}\n    sys.exit(worker.main())")
    measurement = measure_in_worker(scenario(), waiting=waiting, module=module)
    assert len(measurement.samples[0]) == 100
    assert said[0].startswith(f"waiting for GPU {GPU}, on which process ")
    assert is_free()  # the worker is gone


def test_a_worker_that_waited_long_enough_is_an_error(scenario, worker):
    module = worker(f"{ON_A_GPU}\n    sys.exit(worker.main())")
    locks = lock_gpus([GPU], timeout_s=0)
    with pytest.raises(DeviceBusy, match=f"GPU {GPU} was not free within 0 s: process "):
        measure_in_worker(scenario(), module=module, lock_timeout_s=0.0)
    locks.release()


def test_an_interrupt_ends_a_waiting_worker(scenario, worker):
    def interrupt(what):
        raise KeyboardInterrupt

    module = worker(f"{ON_A_GPU}\n    sys.exit(worker.main())")
    locks = lock_gpus([GPU], timeout_s=0)
    with pytest.raises(KeyboardInterrupt):
        measure_in_worker(scenario(), module=module, waiting=interrupt)
    locks.release()
    assert is_free()


def test_two_workers_measure_one_after_the_other(scenario, worker, directory):
    journal = directory / "journal"
    module = worker(
        f"""{ON_A_GPU}
    import os
    def note(what):
        fd = os.open({str(journal)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{{what}} {{os.getpid()}}\\n".encode())
        os.close(fd)
    measure = worker._measure
    def noted(*arguments):
        note("begin")
        measurement = measure(*arguments)
        note("end")
        return measurement
    worker._measure = noted
    sys.exit(worker.main())"""
    )
    run = scenario("cpu", duration_ns=200_000_000)
    threads = [
        threading.Thread(target=measure_in_worker, args=(run,), kwargs={"module": module})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = [line.split() for line in journal.read_text().splitlines()]
    assert [what for what, _ in words] == ["begin", "end"] * 3
    assert all(begin[1] == end[1] for begin, end in zip(words[::2], words[1::2], strict=True))


def test_waiting_does_not_count_against_the_worker():
    said, seen = [], []
    messages = WorkerMessages(10, 1, lambda *times: seen.append(times), said.append)
    assert messages.read(["waiting for GPU 1"]) == 10 and said == ["waiting for GPU 1"]
    assert messages.read(["waiting for GPU 2", "1 2"]) == 10  # the last of them is passed
    assert said == ["waiting for GPU 1"] and seen == [(1, 2)]
    assert messages.read(["2 2"]) is None
    assert messages.read([]) is None
    assert seen[1:] == [(2, 2)]
    assert messages.read(["left"]) == 1


# ---- in this process


@pytest.fixture
def session(monkeypatch):
    """A session that measures in this process, on a device that is said to be GPU."""
    monkeypatch.setattr("pytest_xsched.session.device_pool.locate", lambda name, libraries: GPU)

    def make(**settings):
        return Session(Settings(device="sim", process="inside", **settings))

    return make


def test_a_device_in_this_process_keeps_others_off_as_long_as_it_is_open(session):
    made = session()
    queue = made.queue("q", spin("1ms"), rate="100/s")
    assert is_free()
    made.run(queue, duration="1s")
    assert not is_free()
    made.run(queue, duration="1s")
    made.live().close()  # a second device, on the same GPU
    assert not is_free()
    made.close()
    assert is_free()


def test_a_device_in_this_process_waits_for_others(session):
    made = session(lock_timeout_ns=0)
    queue = made.queue("q", spin("1ms"), rate="100/s")
    locks = lock_gpus([GPU], timeout_s=0)
    with pytest.raises(DeviceBusy, match=f"GPU {GPU} was not free"):
        made.run(queue, duration="1s")
    locks.release()
    assert made.run(queue, duration="1s").q.n == 100
    made.close()


def test_devices_that_are_no_gpu_are_not_locked(directory):
    for kind in ("cpu", "sim"):
        for where in ("inside", "worker"):
            made = Session(Settings(device=kind, process=where))
            made.run(made.queue("q", spin("1ms"), rate="100/s"), duration="100ms")
            made.close()
    assert not list(Path(directory).glob("*.lock"))


# ---- the processors, for each run


PROGRAM = """
import sys, time
from pytest_xsched.client import requests
with open(sys.argv[1], "w") as times:
    for _ in requests(warmup=0):
        print(time.monotonic_ns(), file=times)
"""


@pytest.mark.parametrize("processes", ["together", "separate"])
def test_runs_on_cpu_of_two_pytests_do_not_overlap(monkeypatch, processes, tmp_path):
    """As in two pytest processes, or two xdist workers: a lock does not know threads.

    All times are taken within the runs, so that a thread that is late does not change their order.
    """
    monkeypatch.delenv("PYTEST_XSCHED_CPU_LOCK")
    noted = {"a": [], "b": []}

    class NotedRun(measure.NativeRun):
        def start(self, **timing):
            noted[threading.current_thread().name].append(time.monotonic_ns())
            super().start(**timing)

        def close(self):
            noted[threading.current_thread().name].append(time.monotonic_ns())
            super().close()

    monkeypatch.setattr(measure, "NativeRun", NotedRun)

    def one():
        name = threading.current_thread().name
        path = tmp_path / f"{name}.txt"
        program = command([sys.executable, "-c", PROGRAM, path])
        session = Session(Settings(device="cpu"))
        work = spin("1ms") if processes == "together" else program
        queue = session.queue("q", work, rate="100/s")
        run = session.run(queue, duration="300ms", processes=processes, scheduler="native")
        assert run["q"].n == 30
        session.close()
        if processes == "separate":
            noted[name] += map(int, path.read_text().split())

    threads = [threading.Thread(target=one, name=name) for name in noted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = sorted(noted.values())
    assert len(first) >= 2 and len(second) >= 2
    assert max(first) < min(second)


def test_live_queues_on_cpu_hold_no_run_up(monkeypatch):
    monkeypatch.delenv("PYTEST_XSCHED_CPU_LOCK")
    session = Session(Settings(device="cpu", lock_timeout_ns=10**9))
    queues = session.live()
    queues().submit(spin("1ms")).wait()
    run = session.run(session.queue("q", spin("1ms"), rate="100/s"), duration="100ms")
    assert run["q"].n == 10
    other = Session(Settings(device="cpu", process="worker", lock_timeout_ns=10**9))
    other.run(other.queue("q", spin("1ms"), rate="100/s"), duration="100ms")
    queues.close()
    session.close()
    other.close()


def test_runs_on_sim_need_no_lock(monkeypatch, directory):
    monkeypatch.delenv("PYTEST_XSCHED_CPU_LOCK")
    session = Session(Settings(device="sim"))
    session.run(session.queue("q", spin("1ms"), rate="100/s"), duration="100ms")
    session.close()
    assert not list(directory.iterdir())


def test_the_progress_says_that_a_run_on_cpu_waits(monkeypatch):
    monkeypatch.delenv("PYTEST_XSCHED_CPU_LOCK")
    locks, said = lock_cpu(timeout_s=0), []

    def waiting(text):
        said.append(text)
        locks.release()

    session = Session(Settings(device="cpu"))
    with session.devices.cpu_locked(["cpu:0"], waiting):
        pass
    session.close()
    assert said[0].startswith("waiting for the device cpu, on which process ")

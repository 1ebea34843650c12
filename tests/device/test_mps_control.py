"""The control daemon of MPS: started for a run, asked for its clients, ended in every case.

A script stands for NVIDIA's program, and the fake driver registers with it as a client.
"""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_xsched import MPS, DeviceError, InvalidRun, SchedulerInactive, command, model, spin
from pytest_xsched.analysis.comparability import differences
from pytest_xsched.session import adaptive
from pytest_xsched.system import mps_keeper
from pytest_xsched.system.process_tree import marked
from pytest_xsched.workers import mps as module
from pytest_xsched.workers import run_processes
from pytest_xsched.workers.mps import MARK, mps_daemon, running_daemons

CLIENT = """
import ctypes, os, sys, time
sys.path.insert(0, os.getcwd())
driver = ctypes.CDLL(os.environ["XS_TEST_CUDA_DRIVER"])
assert driver.cuInit(0) == 0
from pytest_xsched.client import requests
for number in requests():
    time.sleep(0.001)
"""
NETS = """
import ctypes, os

def pause():
    ctypes.CDLL(os.environ["XS_TEST_CUDA_DRIVER"]).cuInit(0)
    return lambda: None
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Let a daemon that does not end be killed soon."""
    monkeypatch.setattr(module, "DEFAULT_PIPE", "/nowhere")


@pytest.fixture
def session(fake_cuda, mps_control, session_on, monkeypatch):
    """A session on the fake driver, under which processes may be clients of the stand-in."""
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    return session_on("cuda")


@pytest.fixture
def program(tmp_path):
    def write(text, **more):
        path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
        path.write_text(textwrap.dedent(text))
        return command([sys.executable, path], **more)

    return write


def two(session):
    return (
        session.queue("high", spin("100us"), priority=10, rate="100/s"),
        session.queue("low", spin("1ms"), priority=1),
    )


def ended(directory):
    return not Path(directory).exists() and marked(f"{MARK}={directory}") == []


def test_each_queue_is_a_client_of_a_daemon_of_the_run(session, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_CLIENT_PRIORITY", "1")  # of the user's shell, and not of the run
    seen = {}
    clients = module.MpsDaemon.clients

    def see(daemon):
        found = clients(daemon)
        folder = Path(daemon.pipe) / "clients"
        seen.update({int(path.name): path.read_text() for path in folder.iterdir()})
        seen["pipe"] = daemon.pipe
        return found

    monkeypatch.setattr(module.MpsDaemon, "clients", see)
    settings = MPS(active_thread_percentage={"low": 62.5}, priority={"low": 1})
    run = session.run(*two(session), scheduler=settings, duration="300ms", whole=True)
    assert run.evidence.faults == ()
    found = run.evidence.mps
    (server,) = found.servers
    ((high,), (low,)) = (found.queues[name] for name in ("high", "low"))
    assert len({server, high, low, os.getpid()}) == 4
    assert (seen[high], seen[low]) == ("100 0\n", "62.5 1\n")
    assert ended(seen["pipe"])
    assert run.high.n == 30 and run.low.n > 0
    record = run.to_dict()
    assert record["evidence"]["mps"] == {
        "servers": [server],
        "queues": {"high": [high], "low": [low]},
    }


def test_a_program_and_an_eager_model_are_clients(session, program, tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    build = f"{tmp_path}/nets.py:pause"
    run = session.run(
        session.queue("high", program(CLIENT), rate="50/s"),
        session.queue("low", model(build, mode="eager"), rate="50/s"),
        session.queue("ours", spin("100us"), rate="50/s"),
        scheduler="mps",
        duration="300ms",
        whole=True,
    )
    assert run.evidence.faults == ()
    assert [len(run.evidence.mps.queues[name]) for name in ("high", "low", "ours")] == [1, 1, 1]


def test_one_daemon_serves_all_windows_of_programs(session, program, monkeypatch):
    monkeypatch.setattr(adaptive, "FIRST_NS", 300_000_000)
    monkeypatch.setattr(adaptive, "NEXT_NS", 300_000_000)
    monkeypatch.setattr(run_processes, "IDLE_S", 600.0)
    run = session.run(
        session.queue("high", spin("100us"), think="10ms"),
        session.queue("low", program(CLIENT), think="10ms"),
        scheduler="mps",
        duration="900ms",
    )
    assert run.windows == 1 and len(run.evidence.mps.servers) == 1
    assert run.measure_on() and run.measure_on() and not run.measure_on()
    assert run.evidence.faults == () and run.windows == 3
    assert len(run.evidence.mps.servers) == 1
    (high, low) = (run.evidence.mps.queues[name] for name in ("high", "low"))
    assert len(low) == 1 and len(high) >= 1  # the program lived on


def test_a_program_that_bypasses_mps_makes_the_run_invalid(session, program):
    past = 'import os\nos.environ["CUDA_MPS_PIPE_DIRECTORY"] = "/elsewhere"\n'
    run = session.run(
        session.queue("high", spin("100us"), priority=10, rate="50/s"),
        session.queue("low", program(past + CLIENT), rate="50/s"),
        scheduler="mps",
        duration="300ms",
        whole=True,
    )
    with pytest.raises(InvalidRun, match="no verdict: queue 'low' bypassed MPS: its process") as e:
        run.high.assert_p99_below("1s")
    (client,) = run.evidence.mps.queues["high"]
    assert str(client) in str(e.value) and run.evidence.mps.queues["low"] == ()


def test_time_slicing_is_without_mps(session, monkeypatch, tmp_path):
    """A process a queue; a daemon that runs gets none of them as a client."""
    (tmp_path / "clients").mkdir()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    run = session.run(*two(session), scheduler="time-slicing", duration="300ms", whole=True)
    assert run.evidence.faults == () and run.evidence.mps is None
    assert run.fingerprint.environment["CUDA_MPS_PIPE_DIRECTORY"] == module.NO_DAEMON
    assert list((tmp_path / "clients").iterdir()) == []
    session.run(
        *two(session), scheduler="native", processes="separate", duration="100ms", whole=True
    )
    assert len(list((tmp_path / "clients").iterdir())) >= 2


def test_one_comparison_has_it_and_schedulers_of_one_process(session):
    shares = MPS(active_thread_percentage={"low": 50})
    comparison = session.compare(
        *two(session),
        schedulers=[shares, "builtin"],
        arms=["alone"],
        episodes=1,
        duration="100ms",
    )
    assert (comparison.baseline, *comparison.schedulers) == ("mps low 50%", "builtin")
    for arm, (episode,) in comparison.arms.items():
        assert (episode.run.evidence.mps is not None) == (arm not in comparison.schedulers)
        assert episode.run.evidence.faults == ()


def test_the_directory_of_a_daemon_is_no_difference_between_runs(session):
    (queue,) = two(session)[:1]
    first, second = (
        session.run(queue, scheduler="mps", duration="50ms", whole=True).to_dict() for _ in "12"
    )
    pipes = {
        run["fingerprint"]["environment"]["CUDA_MPS_PIPE_DIRECTORY"] for run in (first, second)
    }
    assert len(pipes) == 2
    assert differences(first, second, scheduler=True) == []


@pytest.mark.parametrize("error", [DeviceError("the driver said no"), KeyboardInterrupt()])
def test_an_error_and_an_interrupt_end_the_daemon(mps_control, error):
    pipes = []

    def run():
        with mps_daemon(MPS()) as daemon:
            pipes.append(daemon.pipe)
            server = int(Path(daemon.pipe, "server.pid").read_text())
            assert daemon.clients() == {server: frozenset()}
            assert not ended(daemon.pipe)
            raise error

    with pytest.raises(type(error)):
        run()
    assert ended(*pipes)


def test_a_daemon_that_does_not_quit_is_killed(mps_control, monkeypatch):
    monkeypatch.setenv("FAKE_MPS", "deaf")
    with mps_daemon(MPS()) as daemon:
        pids = [int(Path(daemon.pipe, f"{name}.pid").read_text()) for name in ("control", "server")]
    assert ended(daemon.pipe)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_daemon_does_not_outlive_a_process_that_is_killed(mps_control, number, until):
    text = textwrap.dedent("""
        import time
        from pytest_xsched.scenario.mps_settings import MPS
        from pytest_xsched.workers.mps import mps_daemon
        with mps_daemon(MPS()) as daemon:
            print(daemon.pipe, flush=True)
            time.sleep(1000)
        """)
    line = [sys.executable, "-c", text]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as parent:
        pipe = parent.stdout.readline().strip()
        assert len(marked(f"{MARK}={pipe}")) >= 3  # keeper, daemon, server
        parent.send_signal(number)
    until(lambda: ended(pipe))


def test_a_killed_keeper_leaves_nothing_behind(mps_control):
    with mps_daemon(MPS()) as daemon:
        keeper = daemon._keeper
        os.kill(keeper.pid, signal.SIGKILL)
        keeper.wait(10)
        with pytest.raises(SchedulerInactive, match=r"mps-control-\d+ -d was ended by SIGKILL"):
            daemon.clients()
    assert ended(daemon.pipe)


def test_a_daemon_that_ends_early_is_an_error(mps_control, until):
    with mps_daemon(MPS()) as daemon:
        control = int(Path(daemon.pipe, "control.pid").read_text())
        os.kill(control, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{control}").exists())
        with pytest.raises(SchedulerInactive, match=r"no control daemon answers at .*Cannot find"):
            daemon.clients()
    assert ended(daemon.pipe)


def test_one_that_does_not_start_is_inactive(mps_control, monkeypatch):
    monkeypatch.setenv("FAKE_MPS", "refuses")
    with (
        pytest.raises(SchedulerInactive, match=r"exit status 1; its last words: An instance"),
        mps_daemon(MPS()),
    ):
        pytest.fail("there is a daemon")


def test_without_the_program_mps_is_inactive(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "_FOLDERS", (str(tmp_path),))
    with pytest.raises(SchedulerInactive, match=r"neither on PATH nor in .*nvidia-compute-utils"):
        module.find_control()


def test_the_daemon_of_somebody_else_is_left_alone(
    mps_control, tmp_path, session, monkeypatch, until
):
    pipe = tmp_path / "others"
    pipe.mkdir()
    environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(pipe)}
    subprocess.run([mps_control, "-d"], env=environment, check=True)
    control = int((pipe / "control.pid").read_text())
    try:
        until(lambda: running_daemons() == [control])
        expected = rf"runs already, process {control}; .* MPS\(daemon=.running.\)$"
        with pytest.raises(SchedulerInactive, match=expected):
            session.run(*two(session), scheduler="mps", duration="100ms")
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(pipe))
        run = session.run(
            *two(session), scheduler=MPS(daemon="running"), duration="200ms", whole=True
        )
        assert run.evidence.faults == ()
        assert run.evidence.mps.servers == (int((pipe / "server.pid").read_text()),)
        assert Path(f"/proc/{control}").exists()
    finally:
        subprocess.run([mps_control], input=b"quit\n", env=environment, check=True)
        until(lambda: running_daemons() == [])


def test_daemons_of_two_sessions_of_ours_are_next_to_each_other(mps_control):
    with mps_daemon(MPS()) as first, mps_daemon(MPS()) as second:
        assert first.pipe != second.pipe
        assert first.clients().keys() != second.clients().keys()
    assert running_daemons() == []


def test_the_daemon_sees_the_gpus_that_clients_number(mps_control, monkeypatch):
    """It numbers what it sees anew, and clients choose by that; a UUID is one GPU to both."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "CUDA_VISIBLE_DEVICES" not in module._environment("d")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1, MIG-2")
    assert module._environment("d")["CUDA_VISIBLE_DEVICES"] == "GPU-1, MIG-2"


def test_the_path_of_its_socket_is_short(mps_control, monkeypatch, tmp_path):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with mps_daemon(MPS()) as daemon:
        assert len(daemon.pipe) < 80
    assert mps_keeper.QUIT_S < module._STOP_S

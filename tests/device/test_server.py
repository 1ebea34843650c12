"""Servers that a run starts: ready, shared, kept over windows, ended, and what can go wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import pytest_xsched
from pytest_xsched import Build, Session, endpoint, percentile_below, server, spin
from pytest_xsched.errors import ScenarioError, WorkerCrashed
from pytest_xsched.scenario.arrival_process import constant
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.scenario import QueueSpec, Scenario
from pytest_xsched.session import adaptive
from pytest_xsched.session.settings import Settings
from pytest_xsched.system import marked_keeper
from pytest_xsched.workers.multi_process import SeparateProcesses
from pytest_xsched.workers.program_process import MARK
from pytest_xsched.workers.server_process import ServerProcess

pytest.importorskip("aiohttp", reason="the extra http is not installed")

MS = 1_000_000

SERVE = """\
import http.server, os, subprocess, sys, time

port, mode = int(sys.argv[1]), sys.argv[2]
started = time.monotonic()
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print("server", os.getpid(), "child", child.pid, flush=True)
if "STARTS" in os.environ:
    with open(os.environ["STARTS"], "a") as file:
        file.write(f"{os.getpid()}\\n")
most = {"dies": 20, "dies early": 2}.get(mode, 10**9)
if mode == "ends":
    print("no model here", flush=True)
    sys.exit(3)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0

    def log_message(self, *args):
        pass

    def do_GET(self):
        Handler.asked += 1
        if self.path == "/work" and Handler.asked > most:
            print("out of memory", flush=True)
            os._exit(9)
        warm = mode != "unready" and time.monotonic() > started + 0.3
        self.send_response(200 if self.path != "/health" or warm else 503)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def serve(tmp_path):
    """Return a server with a way to behave, and its URL."""
    (tmp_path / "serve.py").write_text(SERVE, encoding="utf-8")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    url = f"http://127.0.0.1:{port}"

    def make(mode="well", **more):
        argv = [sys.executable, tmp_path / "serve.py", str(port), mode]
        return server(argv, ready=f"{url}/health", **more), url

    return make


@pytest.fixture
def session():
    made = Session(Settings(device="cpu"))
    yield made
    made.close()


def measure(session, serving, url, *, duration="500ms", **more):
    queue = session.queue("q", endpoint(f"{url}/work", server=serving), rate="50/s")
    return session.run(queue, duration=duration, scheduler="native", **more)


def left(word):
    """Return the processes that have a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return [process for process in found if process != os.getpid()]


def test_requests_come_when_it_is_ready_and_nothing_of_it_is_left(session, serve, tmp_path):
    run = measure(session, *serve())
    assert run.q.n == 25 and not run.q.failures
    assert not left(str(tmp_path / "serve.py"))
    assert not left(f"{MARK}={os.getpid()}-")


def starts(path):
    return len(path.read_text().splitlines())


def compare(session, *queues, **more):
    """Compare two builds of a neighbour of a server."""
    builds = [Build(name, {"other": spin(time)}) for name, time in (("a", "1ms"), ("b", "2ms"))]
    other = session.queue("other", spin("1ms"), rate="50/s")
    return session.compare(
        *queues, other, schedulers=builds, **{"episodes": 1, "duration": "300ms", **more}
    )


def test_arms_of_a_comparison_share_a_server_which_ends_before_one_without_it(
    session, serve, tmp_path
):
    serving, url = serve(env={"STARTS": str(tmp_path / "starts")})
    chat = session.queue("chat", endpoint(f"{url}/work", server=serving), rate="50/s")
    comparison = compare(session, chat, arms=["alone"])
    together = [one.run for arm in ("a", "b", "a again") for one in comparison.episodes(arm)]
    assert [run.chat.n for run in together] == [15] * 3
    assert starts(tmp_path / "starts") == 2  # alone, without it, and then in all arms
    assert not left(str(tmp_path / "serve.py")) and not left(f"{MARK}={os.getpid()}-")


def test_a_server_that_ends_between_two_arms_is_an_error_and_nothing_is_left(
    session, serve, tmp_path
):
    serving, url = serve("dies", env={"STARTS": str(tmp_path / "starts")})
    chat = session.queue("chat", endpoint(f"{url}/work", server=serving), rate="50/s")
    with pytest.raises(WorkerCrashed, match=r"the server of queue 'chat', .* out of memory"):
        compare(session, chat)
    assert starts(tmp_path / "starts") == 1
    assert not left(str(tmp_path / "serve.py"))


def test_a_search_for_the_highest_rate_starts_a_server_once(session, serve, tmp_path, late_is_fine):
    serving, url = serve(env={"STARTS": str(tmp_path / "starts")})
    chat = session.queue("chat", endpoint(f"{url}/work", server=serving), rate="50/s")
    session.find_rate(
        [chat],
        queue="chat",
        target=percentile_below(0.5, "5s"),
        lowest="40/s",
        highest="60/s",
        budget="500ms",
        scheduler="native",
    )
    assert starts(tmp_path / "starts") == 1
    assert not left(str(tmp_path / "serve.py"))


def test_queues_with_equal_servers_share_one(session, serve):
    serving, url = serve()
    queues = [
        session.queue(name, endpoint(f"{url}/work", server=serving), rate="20/s") for name in "ab"
    ]
    run = session.run(*queues, duration="500ms", scheduler="native")  # a second would find the port
    assert run.a.n == run.b.n == 10


def test_it_lives_on_over_the_windows_of_a_run(scenario, serve, tmp_path):
    serving, url = serve()
    work = endpoint(f"{url}/work", server=serving)
    queue = QueueSpec(name="q", workload=work, arrivals=constant("50/s"))
    changes = {"scheduler": "native", "policy": "none", "drain_ns": 10**9}
    whole = scenario("cpu", queues=(queue,), duration_ns=900 * MS, **changes)
    processes = SeparateProcesses()
    seen = []
    for i in range(3):
        measured = processes.measure(adaptive.window(whole, i, 300 * MS), is_last=i == 2)
        seen.append(left(str(tmp_path / "serve.py")))
        assert np.count_nonzero(measured.samples[0]["completed_ns"] > 0) >= 15
    assert seen[0] == seen[1] != [] and seen[2] == []


def test_one_that_ends_early_is_one_sentence_with_its_last_words(session, serve):
    with pytest.raises(WorkerCrashed, match=r"the server of queue 'q'.*exit status 3") as error:
        measure(session, *serve("ends"))
    assert "no model here" in str(error.value)


def test_one_that_is_never_ready_says_what_it_answers(session, serve, tmp_path):
    for limit in ("1.5", "10", "60"):  # a busy machine starts it late, so that nobody answers
        expected = rf"not ready within {limit} s: .*/health: "
        with pytest.raises(WorkerCrashed, match=expected) as error:
            measure(session, *serve("unready", start_timeout=f"{limit}s"))
        if "it answers" in str(error.value):
            break
    assert "/health: it answers 503; name a URL with ready= that it answers" in str(error.value)
    assert not left(str(tmp_path / "serve.py"))


@pytest.mark.parametrize("mode", ["dies", "dies early"])
def test_one_that_dies_in_the_middle_or_in_the_warm_up_ends_the_run(session, serve, mode):
    with pytest.raises(WorkerCrashed, match="the server of queue 'q'") as error:
        measure(session, *serve(mode), duration="3s")
    assert "out of memory" in str(error.value)


def test_the_locks_are_held_until_it_has_ended(scenario, serve, monkeypatch):
    """Also in a run of one window: else the next run would begin on a GPU that it still uses."""
    serving, url = serve()
    queue = QueueSpec(
        name="q", workload=endpoint(f"{url}/work", server=serving), arrivals=constant("50/s")
    )
    changes = {"scheduler": "native", "policy": "none", "drain_ns": 10**9}
    whole = scenario("cpu", queues=(queue,), duration_ns=300 * MS, **changes)
    processes = SeparateProcesses()
    held = []
    end = ServerProcess.end

    def end_and_look(self):
        end(self)
        held.append(processes.holder is not None and processes.holder.is_running())

    monkeypatch.setattr(ServerProcess, "end", end_and_look)
    processes.measure(whole)
    assert held == [True]
    assert processes.holder is None


def test_one_whose_keeper_does_not_start_is_ended(session, serve, tmp_path, monkeypatch):
    def refuse(mark):
        raise OSError("no more processes")

    monkeypatch.setattr(marked_keeper, "start", refuse)
    with pytest.raises(OSError, match="no more processes"):
        measure(session, *serve())
    assert not left(str(tmp_path / "serve.py"))


def test_a_port_that_is_taken_is_no_server_of_the_run(session, serve):
    serving, url = serve()
    taken = socket.create_server(("127.0.0.1", int(url.rpartition(":")[2])))
    refused = pytest.raises(ScenarioError, match=r"another process listens at .* already")
    with taken, refused:
        measure(session, serving, url)


def test_requests_that_another_process_would_take_are_not_those_of_the_server(session, serve):
    serving, _ = serve()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        url = f"http://127.0.0.1:{stranger.getsockname()[1]}"
        with pytest.raises(ScenarioError, match=f"another process listens at {url[7:]} already"):
            measure(session, serving, url)


def test_a_program_that_does_not_exist(session, serve):
    _, url = serve()
    gone = server(["/no/such/server"], ready=f"{url}/health", start_timeout="5s")
    with pytest.raises(WorkerCrashed, match="/no/such/server"):
        measure(session, gone, url)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_server_survives_pytest(serve, tmp_path, number):
    """Also what it started in a session of its own ends."""
    serving, url = serve()
    test = f"""\
    from pytest_xsched import endpoint, server

    def test_long(xsched):
        serving = server({list(serving.program.argv)!r}, ready={f"{url}/health"!r})
        queue = xsched.queue("q", endpoint({url!r} + "/work", server=serving), rate="50/s")
        xsched.run(queue, duration="100s", scheduler="native")
    """
    (tmp_path / "test_long.py").write_text(textwrap.dedent(test), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "xsched", "-p", "no:cacheprovider", "-q"]
    options = ["-c", os.devnull, "--rootdir", str(tmp_path), "--xsched-device=cpu"]
    pytest_process = subprocess.Popen(
        [*command, *options, str(tmp_path / "test_long.py")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        start_new_session=True,
    )
    script = str(tmp_path / "serve.py")
    deadline = time.monotonic() + 60
    while not left(script) and time.monotonic() < deadline:
        time.sleep(0.05)
    serving_processes = left(script)
    assert serving_processes
    time.sleep(0.5)
    children = Path(f"/proc/{serving_processes[0]}/task/{serving_processes[0]}/children")
    while not children.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(children.read_text().split()[0])
    pytest_process.send_signal(number)
    pytest_process.wait(60)
    while (left(script) or Path(f"/proc/{child}").exists()) and time.monotonic() < deadline + 30:
        time.sleep(0.05)
    assert not left(script)
    assert not Path(f"/proc/{child}").exists()


def test_it_is_data_that_prints_as_python(scenario, serve):
    serving, url = serve(env={"A": "1"}, start_timeout="7s")
    work = endpoint(f"{url}/work", server=serving)
    queue = QueueSpec(name="q", workload=work, arrivals=constant("50/s"))
    made = scenario("cpu", queues=(queue,), scheduler="native", policy="none")
    assert Scenario.from_dict(made.to_dict()) == made
    text = python_text(work)
    assert eval(text, vars(pytest_xsched)) == work
    assert 'start_timeout="7s"' in text


def test_queues_of_one_server_have_one_priority(session, serve):
    serving, url = serve()
    work = endpoint(f"{url}/work", server=serving)
    queues = [session.queue(f"q{i}", work, rate="5/s", priority=i) for i in range(2)]
    with pytest.raises(ScenarioError, match="'q0' and 'q1' share a server"):
        session.run(*queues, duration="1s", scheduler="native")


@pytest.mark.parametrize(
    "ready", ["127.0.0.1:8000", "tcp://127.0.0.1", "http://", "unix://host/x", "ftp://x", 5]
)
def test_wrong_addresses(ready):
    with pytest.raises(ScenarioError, match=r"server: ready .*write ready="):
        server(["serve"], ready=ready)

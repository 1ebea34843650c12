"""Requests to a real server as a queue of a run: measured, failing, refused, and nothing left over.

On `cpu`: what is tested is the load process. tests/unit/clients has each way in which a request can
fail.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from pytest_xsched import Session, endpoint, openai_chat, own_client
from pytest_xsched.client import fail, milestone
from pytest_xsched.errors import MissingExtra, ScenarioError
from pytest_xsched.reporting import run_table
from pytest_xsched.scenario.arrival_process import SAMPLES_MAX, closed, replay
from pytest_xsched.scenario.endpoint import LOAD_MODULE
from pytest_xsched.scenario.scenario import QueueSpec
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.multi_process import SeparateProcesses

pytest.importorskip("aiohttp", reason="the extra http is not installed")


@pytest.fixture
def server(new_http_server):
    return new_http_server()


@pytest.fixture
def session():
    made = Session(Settings(device="cpu"))
    yield made
    made.close()


@pytest.fixture
def measure(scenario):
    """Measures a workload alone for half a second; gives the measurement."""

    def run(workload, arrivals, *, duration_ns=500_000_000, drain_ns=2_000_000_000):
        queue = QueueSpec(name="q", workload=workload, arrivals=arrivals)
        changes = {"scheduler": "native", "policy": "none", "drain_ns": drain_ns}
        made = scenario("cpu", queues=(queue,), duration_ns=duration_ns, **changes)
        return SeparateProcesses().measure(made)

    return run


def load_processes(parent=None):
    """Give the load processes that this process, or another one, has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            stat = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if LOAD_MODULE in words and stat[0] != "Z" and int(stat[1]) == (parent or os.getpid()):
            found.append(int(path.name))
    return found


def test_a_run_has_the_latencies_of_a_server(session, server):
    queue = session.queue("web", endpoint(f"{server.url}/after/0.05"), rate="40/s")
    run = session.run(queue, duration="1s", warmup="0s", scheduler="native")
    assert run.web.n == 40
    assert not run.web.censored
    assert min(run.web.latency_ns) >= 50_000_000
    assert run.to_dict()["queues"][0]["workload"] == f"endpoint({server.url}/after/0.05)"


def test_tokens_of_a_stream_are_latencies_of_the_queue(session, server):
    """The server sends three words, each at least 20 ms after the one before."""
    workload = openai_chat(f"{server.url}/v1", model="m", messages="Hi")
    queue = session.queue("chat", workload, rate="5/s")
    run = session.run(queue, duration="1s", warmup="0s", scheduler="native")
    chat = run.chat
    assert list(chat.latencies) == ["first_token", "per_token", "between_tokens"]
    assert chat.n == chat.first_token.n == chat.per_token.n == 5
    assert chat.between_tokens.n == 10
    assert not chat.censored and not chat.first_token.censored
    between_ns = chat.between_tokens.latency_ns.reshape(5, 2)
    assert between_ns.min() >= 0  # 0: a busy machine reads two of them at once
    assert between_ns.sum() > 0
    last_ns = chat.first_token.latency_ns + between_ns.sum(axis=1)
    assert (last_ns < chat.latency_ns).all()
    assert chat.goodput(first_token="1h", per_token="1h").value == 5
    assert chat.goodput(first_token="1h", per_token="1ms").value == 0


def test_the_report_has_the_reasons_of_failures_and_what_held_requests(session, new_http_server):
    arrivals = replay([f"{at}ms" for at in range(0, 350, 5)])
    # A busy machine may send the second request of busy only when the first has its answer.
    for _ in range(5):
        busy = endpoint(f"{new_http_server().url}/after/0.2", in_flight=1)
        # One after the other, so that those after the last one of the server are refused.
        dies = endpoint(f"{new_http_server().url}/dies/60", body=number_of, in_flight=1)
        run = session.run(
            session.queue("busy", busy, arrivals=replay(["0ms", "1ms", "2ms"])),
            session.queue("fails", dies, arrivals=arrivals),
            **{"duration": "500ms", "warmup": "0s", "scheduler": "native"},
        )
        assert run.fails.failed == 10
        if run.busy.held == 2:
            break
    assert run.busy.held == 2
    text = "\n".join(run_table.table(json.loads(run.to_json())))
    assert "2 requests of busy were due while as many as in_flight=1 allows were in flight" in text
    reasons = "10 requests of fails failed: 9 times 'connection refused', and 1 time 'the ser"
    assert reasons in text, text


def test_a_closed_loop_has_one_request_at_a_time(measure, server):
    for _ in range(5):  # a busy machine may leave it time for one or two requests only
        samples = measure(endpoint(f"{server.url}/after/0.02"), closed()).samples[0]
        done = samples[samples["completed_ns"] >= 0]
        if len(done) > 3:
            break
    assert len(done) > 3
    assert (done["scheduled_ns"][1:] >= done["completed_ns"][:-1]).all()


def test_one_load_process_does_all_windows_and_sends_no_request_twice(scenario, server):
    """Not in the warm-up either: a server with a cache would have the answer already."""
    workload = endpoint(f"{server.url}/ok", body=number_of)
    queue = QueueSpec(name="q", workload=workload, arrivals=replay(["50ms"]))
    # It ends before the drain does: a load process that is late has as much time as it needs.
    changes = {"scheduler": "native", "policy": "none", "duration_ns": 100_000_000}
    changes["drain_ns"] = 10**10
    run = SeparateProcesses()
    pids = []
    for is_last in (False, False, True):
        measured = run.measure(scenario("cpu", queues=(queue,), **changes), is_last=is_last)
        assert (measured.samples[0]["completed_ns"] >= 0).all()
        pids.append(tuple(load_processes()))
    assert pids[0] == pids[1] != ()
    assert not pids[2]
    sent = [int(body) for *_, body in server.requests]
    assert len(set(sent)) == len(sent)
    assert sent[-3:] == [0, 1, 2], "the measured ones come after those of the warm-up"


def test_where_no_server_listens_is_one_sentence(measure):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    expected = rf"^queue 'q': GET {url}: the first request failed: connection refused; start the "
    expected += r"server first, or let the run start it: server=$"
    with pytest.raises(ScenarioError, match=expected):
        measure(endpoint(url), replay(["0s"]))
    assert not load_processes()


def test_a_wrong_path_is_one_sentence(measure, server):
    with pytest.raises(ScenarioError, match=r"the first request failed: status 404$"):
        measure(endpoint(f"{server.url}/status/404"), replay(["0s"]))
    assert not load_processes()


def number_of(number):
    """Return the number among the requests of a load process; it is below 0 in a warm-up."""
    own = number % SAMPLES_MAX
    return str(own if own < SAMPLES_MAX / 2 else own - SAMPLES_MAX)


def test_a_server_that_dies_in_the_middle_fails_what_follows(session, server):
    dies = endpoint(f"{server.url}/dies/60", body=number_of, in_flight=2000)
    run = session.run(
        session.queue("web", dies, rate="100/s"), duration="1s", warmup="0s", scheduler="native"
    )
    assert run.web.n == 100
    assert run.web.censored == 40
    assert not load_processes()


def test_secrets_are_in_no_file_and_in_no_list_of_processes(session, server, monkeypatch, until):
    monkeypatch.setenv("MY_TOKEN", "s3cret-value")
    made = endpoint(f"{server.url}/ok", headers={"Authorization": "Bearer env:MY_TOKEN"})
    seen = []

    def reads():
        until(load_processes)
        seen.extend(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in load_processes())

    reader = threading.Thread(target=reads)
    reader.start()
    run = session.run(session.queue("web", made, rate="20/s"), duration="300ms", scheduler="native")
    reader.join()
    assert server.requests[-1][2]["authorization"] == "Bearer s3cret-value"
    texts = [json.dumps(run.to_dict()), repr(run), run.scenario.to_python(), *map(str, seen)]
    assert len(texts) >= 4
    assert not [text for text in texts if "s3cret" in text]
    assert "env:MY_TOKEN" in texts[0]


async def asks(number):
    milestone("token")
    milestone("token")
    if number % 2:
        fail("odd")


def test_an_own_client_reports_milestones_and_failures_as_programs_do(measure):
    measured = measure(own_client(asks), replay(["0s", "10ms", "20ms"]))
    milestones = measured.milestones[0]
    assert milestones.names == ("token",)
    assert sorted(milestones.request) == [0, 0, 1, 1, 2, 2]
    assert list(measured.samples[0]["completed_ns"] >= 0) == [True, False, True]


def test_a_missing_package_is_one_sentence(measure, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    expected = r"^The package 'aiohttp' is not installed; .*pip install 'pytest-xsched\[http\]'$"
    with pytest.raises(MissingExtra, match=expected):
        measure(endpoint("http://localhost:1/"), replay(["0s"]))


def test_a_load_process_does_not_run_where_it_cannot(session):
    queue = session.queue("web", endpoint("http://localhost:1/"), rate="20/s")
    sentence = r"^queue 'web' sends requests to a server: .* no virtual time; the device is 'sim'$"
    with pytest.raises(ScenarioError, match=sentence):
        Session(Settings(device="sim")).run(queue, duration="1s", scheduler="native")
    with pytest.raises(ScenarioError, match=r"an endpoint has one request at a time, not several"):
        session.queue("web", endpoint("http://localhost:1/"), concurrency=2)


ENDLESS = """
    from pytest_xsched import endpoint

    def test_long(xsched):
        queue = xsched.queue("web", endpoint("URL"), rate="200/s")
        xsched.run(queue, duration="600s", scheduler="native")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_load_process_is_left_where_pytest_is_interrupted_or_killed(
    tmp_path, server, number, until
):
    text = textwrap.dedent(ENDLESS.replace("URL", f"{server.url}/ok"))
    (tmp_path / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "xsched", "-p", "no:cacheprovider"]
    command += ["--xsched-device=cpu", "test_it.py"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        until(lambda: len(server.requests) > 60)  # after the warm-up
        left = until(lambda: load_processes(process.pid))
        process.send_signal(number)
        output = process.communicate(timeout=60)[0].decode()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in output

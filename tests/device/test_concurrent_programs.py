"""Programs with many requests in flight, milestones and failures: version 2 of the protocol.

tests/unit/workers/test_numbered_requests.py has each way to cheat; here are some in real processes.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap

import numpy as np
import pytest

from pytest_xsched import InvalidRun, Session, TargetMissed, command, replay
from pytest_xsched.native.binding import CENSORED, FAILED, HELD
from pytest_xsched.reporting import run_table
from pytest_xsched.scenario.arrival_process import constant
from pytest_xsched.scenario.scenario import QueueSpec
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.multi_process import SeparateProcesses

RAW = """
import os, time
report, start = (int(os.environ[f"PYTEST_XSCHED_{name}"]) for name in ("REPORT", "START"))
assert os.environ["PYTEST_XSCHED_PROTOCOL"] == "2"
def say(line):
    os.write(report, f"{line}\\n".encode())
def wait_until(at):
    while time.monotonic_ns() < at:
        time.sleep(0.0002)
arrivals = [int(line) for line in open(os.environ["PYTEST_XSCHED_ARRIVALS"])]
say(f"ready {os.getpid()} 2")
begin, end = map(int, os.read(start, 64).split())
due = [begin + at for at in arrivals]
now = time.monotonic_ns
"""


@pytest.fixture
def measure(scenario, tmp_path):
    """Measures a program alone for 200 ms, ten requests; gives the measurement."""

    def run(text, *, drain_ns=0):
        path = tmp_path / "program.py"
        path.write_text(RAW + textwrap.dedent(text))
        workload = command([sys.executable, path])
        queue = QueueSpec(name="chat", workload=workload, arrivals=constant("50/s"))
        changes = {"scheduler": "native", "policy": "none", "drain_ns": drain_ns}
        made = scenario("cpu", queues=(queue,), duration_ns=200_000_000, **changes)
        return SeparateProcesses().measure(made)

    return run


def test_many_requests_in_flight_with_milestones_failures_and_held_ones(measure):
    measured = measure(
        """
        for i in range(5):
            wait_until(due[i])
            say(f"begin {i} {now()}")
        say(f"at 0 first_token {now()}")
        for i in (3, 2, 1):
            say(f"at {i} first_token {now()}")
            say(f"at {i} last_token {now()}")
            say(f"end {i} {now()}")
        say(f"fail 4 {now()} HTTP 429: full")
        say(f"end 0 {now()}")
        for i in range(5, 10):
            wait_until(due[i])
            if i == 7:
                say(f"held {i}")
            say(f"begin {i} {now()}")
            say(f"end {i} {now()}")
        say("done")
        os.read(start, 1)
    """,
        drain_ns=10**10,
    )
    (samples,), (counts,) = measured.samples, measured.counts
    assert len(samples) == 10
    begun, done, flags = samples["launched_ns"], samples["completed_ns"], samples["flags"]
    assert np.all(begun >= samples["scheduled_ns"])
    assert np.flatnonzero(flags & CENSORED).tolist() == [4]
    assert np.flatnonzero(flags & FAILED).tolist() == [4]
    assert np.flatnonzero(flags & HELD).tolist() == [7]
    assert done[4] == -1 and np.all(np.delete(done - begun, 4) >= 0)
    assert done[3] < done[2] < done[1] < done[0]  # they overlapped
    assert samples["submitted_ns"][7] == samples["scheduled_ns"][7]
    assert (counts.requests_submitted, counts.requests_completed) == (10, 9)
    (milestones,), (failures,) = measured.milestones, measured.failures
    assert milestones.names == ("first_token", "last_token")
    assert milestones.request.tolist() == [0, 3, 3, 2, 2, 1, 1]
    assert milestones.name.tolist() == [0, 0, 1, 0, 1, 0, 1]
    assert np.all(np.diff(milestones.at_ns) >= 0)
    assert failures == {"HTTP 429: full": 1}


def test_a_request_that_never_ends_is_unfinished_and_keeps_its_milestones(measure):
    text = """
        for i in range(10):
            wait_until(due[i])
            say(f"begin {i} {now()}")
            say(f"at {i} token {now()}")
        time.sleep(60)
    """
    for drain_ns in (10**8, 10**9, 10**10):
        measured = measure(text, drain_ns=drain_ns)
        if len(measured.milestones[0].request) == 10:  # all came in time, on a busy machine, too
            break
    assert np.all(measured.samples[0]["flags"] & CENSORED)
    assert not np.any(measured.samples[0]["flags"] & FAILED)
    assert measured.milestones[0].request.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "wait_until(due[0]); t = now(); say(f'begin 0 {t}'); say(f'end 0 {t - 1000}')",
            "has a time that is 1 us before the previous line of request 0",
        ),
        (
            "wait_until(due[0]); say(f'begin 0 {time.time_ns()}')",
            "after the line was read; is it one of CLOCK_MONOTONIC, in ns?",
        ),
        (
            "os.write(report, bytes(range(256)) * 40)",
            r"is none of 'begin ID TIME'",
        ),
        (
            "wait_until(due[0]); say(f'begin 0 {now()}')\n"
            "while True: os.write(report, b'at 0 token %d\\n' % now() * 50)",
            "is one milestone too many: a window may have 1000",
        ),
    ],
    ids=["order", "clock", "noise", "flood"],
)
def test_a_program_that_cheats_gets_one_sentence(measure, monkeypatch, text, fault):
    monkeypatch.setattr("pytest_xsched.workers.numbered_requests.MILESTONES_MAX", 1000)
    with pytest.raises(InvalidRun, match=r"^the program of queue 'chat' reported wha") as error:
        measure(f"{text}\ntime.sleep(60)")
    assert re.search(fault, str(error.value)), error.value
    assert "\n" not in str(error.value) and len(str(error.value)) < 350


def test_a_run_has_latencies_to_milestones(tmp_path, late_is_fine):
    """Ten requests are offered within 10 ms, each takes 20 ms, and three may be in flight."""
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent("""
            import asyncio
            from pytest_xsched.client import milestone, run_requests

            async def answer(number):
                for _ in range(3):
                    milestone("token")
                    await asyncio.sleep(0.01)
                if number == 9:
                    raise ConnectionError("reset")

            asyncio.run(run_requests(answer, limit=3, warmup=1))
        """)
    )
    session = Session(Settings(device="cpu"))
    queue = session.queue(
        "chat",
        command([sys.executable, path]),
        arrivals=replay([f"{i}ms" for i in range(10)]),
    )
    run = session.run(queue, scheduler="native", duration="500ms", warmup="0s")
    chat = run.chat
    assert list(chat.latencies) == ["first_token", "per_token", "between_tokens"]
    assert (chat.n, chat.failed, chat.failures) == (10, 1, {"ConnectionError: reset": 1})
    assert chat.held >= 6  # the first three begin at once
    assert np.all(chat.first_token.latency_ns[:9] < chat.latency_ns[:9])
    assert chat.first_token.censored == chat.per_token.censored == 1
    assert chat.between_tokens.n == 21  # two of each request, and one that never came
    assert chat.between_tokens.percentile(0.1) > "5ms"
    assert run.evidence.held == {"chat": chat.held}
    with pytest.raises(TargetMissed, match=r"^chat\.first_token: max never is not below 1 s \("):
        chat.first_token.assert_max_below("1s")
    record = json.loads(run.to_json())
    text = "\n".join(run_table.table(record))
    assert "10 (1 failed)" in text and "chat.first_token " in text and "10 (1 never)" in text
    assert "1 request of chat failed: 1 time 'ConnectionError: reset'" in text
    assert f"{chat.held} requests of chat were due while as many as its program allows" in text

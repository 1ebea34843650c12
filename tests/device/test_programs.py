"""Programs of the user in a run: paced, measured, and every way in which one can end.

On `cpu`, where they use no device: what is tested is how they are started, told, read and ended.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from pytest_xsched import InvalidRun, Session, WorkerCrashed, command, spin
from pytest_xsched.scenario.arrival_process import Closed, constant
from pytest_xsched.scenario.scenario import QueueSpec
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.multi_process import SeparateProcesses
from pytest_xsched.workers.program_process import ProgramProcess

LOOP = """
from pytest_xsched.client import requests
for number in requests():
    work(number)
"""

IN_C = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void)
{
    int report = atoi(getenv("PYTEST_XSCHED_REPORT")), start = atoi(getenv("PYTEST_XSCHED_START"));
    FILE *arrivals = fopen(getenv("PYTEST_XSCHED_ARRIVALS"), "r"), *told = fdopen(start, "r");
    long long begin, end, at;
    dprintf(report, "ready %d\n", (int)getpid());
    if (fscanf(told, "%lld %lld", &begin, &end) != 2)
        return 1;
    while (fscanf(arrivals, "%lld", &at) == 1) {
        while (now() < begin + at)
            usleep(100);
        dprintf(report, "begin %lld\n", now());
        dprintf(report, "end %lld\n", now());
    }
    dprintf(report, "done\n");
    while (fgetc(told) != EOF)
        ;
    return 0;
}
"""


@pytest.fixture
def program(tmp_path):
    """Writes a Python program; gives it as a workload."""

    def write(text, *, reports=True, **more):
        path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
        path.write_text(textwrap.dedent(text))
        return command([sys.executable, path], reports=reports, **more)

    return write


@pytest.fixture
def session():
    return Session(Settings(device="cpu"))


@pytest.fixture
def measure(scenario):
    """Measures a program alone for half a second; gives the measurement.

    A long drain costs nothing where all requests complete, for it ends with the last one.
    """

    def run(workload, arrivals=None, *, duration_ns=500_000_000, drain_ns=0, **more):
        queue = QueueSpec(name="q", workload=workload, arrivals=arrivals or constant("50/s"))
        changes = {"scheduler": "native", "policy": "none", "drain_ns": drain_ns}
        made = scenario("cpu", queues=(queue,), duration_ns=duration_ns, **changes)
        return SeparateProcesses(**more).measure(made)

    return run


def running(marker):
    """Give the processes with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if marker in words:
            found.append(int(path.parent.name))
    return found


def test_it_is_measured_beside_a_queue_of_ours(session, program):
    queues = (
        session.queue("high", program(f"work = lambda number: None\n{LOOP}"), rate="100/s"),
        session.queue("low", spin("1ms"), rate="50/s"),
    )
    for _ in range(5):  # without a verdict where a busy machine stopped the program for a while
        settings = {"duration": "500ms", "warmup": "100ms", "check": True}
        run = session.run(*queues, scheduler="native", **settings)
        if not run.evidence.queue_faults["high"]:
            break
    assert run.evidence.faults == ()
    assert run.evidence.unchecked == ("high: results of its program are not checked",)
    assert (run.high.n, run.low.n) == (50, 25)
    samples = run.high.samples
    assert len(samples) == 60 == run.high.counts.requests_completed
    assert samples["scheduled_ns"].tolist() == [5_000_000 + i * 10_000_000 for i in range(60)]
    # None begins before its time, and each before it has ended.
    assert np.all(samples["scheduled_ns"] <= samples["submitted_ns"])
    assert np.all(samples["launched_ns"] <= samples["completed_ns"])
    run.high.assert_throughput_at_least("100/s")
    run.high.assert_no_errors()
    assert run.remark == ""


def test_a_request_that_waits_is_not_excused(measure, program):
    work = "import time\nwork = lambda number: time.sleep(0.1 * (number == 3))\n"
    (samples,) = measure(program(work + LOOP), drain_ns=10**10).samples
    assert np.all(samples["launched_ns"][1:] >= samples["completed_ns"][:-1])
    # The fourth takes five periods, so the fifth is late by four.
    assert samples["completed_ns"][4] - samples["scheduled_ns"][4] >= 80_000_000
    assert np.array_equal(samples["submitted_ns"][4:6], samples["scheduled_ns"][4:6])


def test_a_closed_loop_goes_on_until_the_end(measure, program):
    work = "import time\nwork = lambda number: time.sleep(0.01)\n"
    (samples,) = measure(program(work + LOOP), Closed(think_ns=5_000_000)).samples
    assert len(samples) > 2
    # The last one may not be done; and a busy machine may let the program stand before it asks.
    last_ns = samples["completed_ns"][-1]
    assert last_ns < 0 or last_ns >= 250_000_000
    samples = samples[samples["completed_ns"] >= 0]
    gaps = samples["scheduled_ns"][1:] - samples["completed_ns"][:-1]
    assert np.all(gaps >= 5_000_000)


def test_one_in_another_language(measure, tmp_path):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    source, made = tmp_path / "program.c", tmp_path / "program"
    source.write_text(IN_C)
    subprocess.run([compiler, "-O1", source, "-o", made], check=True)
    measurement = measure(command([made]), drain_ns=10**10)
    assert len(measurement.samples[0]) == 25
    assert np.all(measurement.samples[0]["completed_ns"] >= 0)
    assert measurement.remark == ""


def test_all_wait_for_one_that_is_slow_to_be_ready(session, program):
    run = session.run(
        session.queue("slow", program(f"import time; time.sleep(1)\nwork = print\n{LOOP}")),
        session.queue("high", spin("1ms"), rate="50/s"),
        scheduler="native",
        duration="200ms",
    )
    assert run.slow.samples["launched_ns"][0] >= 0
    assert run.high.n == 10


def test_it_warms_up_before_it_is_ready_and_that_does_not_count(measure, program):
    code = "import time\ncalls = []\ndef work(number):\n    calls.append(number)\n"
    code += "    time.sleep(0.3 * (len(calls) <= 3))\n"
    measurement = measure(program(f"{code}{LOOP}\nprint(calls)"), drain_ns=10**10)
    calls = json.loads(measurement.output)
    assert calls[:10] == list(range(10)) and calls[-25:] == list(range(25))
    (samples,) = measurement.samples
    assert len(samples) == 25 == measurement.counts[0].requests_completed
    # The three that sleep are all in the warm-up, so no measured one begins after their 900 ms.
    assert samples["launched_ns"][0] < 900_000_000


def test_no_program_warms_up_while_a_worker_times_its_commands_alone(scenario, program, worker):
    """What a command takes alone was measured while the programs of the run were started."""
    body = """
        import sys, time
        from pytest_xsched.runner import measure
        from pytest_xsched.workers import worker
        calibrate = measure.calibrate
        def alone(*arguments):
            time.sleep(1)
            taken_ns = calibrate(*arguments)
            print("alone", time.monotonic_ns(), flush=True)
            return taken_ns
        measure.calibrate = alone
        sys.exit(worker.main())
        """
    began = "import time\nprint('began', time.monotonic_ns(), flush=True)\nwork = int\n"
    queues = (
        QueueSpec(name="high", workload=program(began + LOOP), arrivals=constant("50/s")),
        QueueSpec(name="low", workload=spin("1ms"), arrivals=constant("50/s")),
    )
    made = scenario("cpu", queues=queues, duration_ns=10**8, scheduler="native", policy="none")
    measurement = SeparateProcesses(module=worker(body)).measure(made)
    at_ns = dict(line.split() for line in measurement.output.splitlines())
    assert int(at_ns["alone"]) < int(at_ns["began"])


def test_a_contender_has_no_figures(session, program, late_is_fine):
    run = session.run(
        session.queue("high", spin("1ms"), rate="50/s"),
        session.queue("low", program("import time\ntime.sleep(1000)", reports=False)),
        scheduler="native",
        duration="200ms",
    )
    assert run.evidence.faults == ()
    assert run.evidence.queue_faults["low"] == ("low is a program that reports no requests",)
    assert run.evidence.contention == ()  # when it had work is not known
    run.high.assert_no_errors()
    run.high.assert_max_below("10s")
    for ask in (
        lambda: run.low.assert_throughput_at_least("1/s"),
        run.low.assert_no_errors,
        lambda: run.low.assert_max_below("1s"),
        lambda: run.low.throughput > "0/s",
    ):
        with pytest.raises(InvalidRun, match="low is a program that reports no requests"):
            ask()


def test_nothing_of_it_stays(measure, program, until):
    marker = f"marker{os.getpid()}"
    code = f"""
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", {marker!r}])
        time.sleep(1000)
        """
    measure(program(code, reports=False), Closed(), grace_s=0.2)
    until(lambda: not running(marker))


def test_the_environment_is_its_own(measure, program, monkeypatch):
    monkeypatch.setenv("OF_PYTEST", "1")
    code = """
        import os, sys
        print(os.environ["OF_PYTEST"], os.environ["X"], os.environ.get("LD_PRELOAD"), os.getcwd())
        work = print
        """
    made = program(textwrap.dedent(code) + LOOP, env={"X": "a=b"})
    measurement = measure(made)
    assert measurement.output.startswith(f"1 a=b None {os.getcwd()}\n")
    assert "X" not in os.environ


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit('no model')", "exit status 1 before it was ready; its last words: no m"),
        ("import os; os.abort()", "was ended by SIGABRT before it was ready"),
        (
            "pass",
            r"status 0 before it was ready \(its loop `for _ in requests\(\):` of pytest_xsch",
        ),
        (
            "import time; time.sleep(1000)",
            "was not ready in time .its first call of requests.. reports",
        ),
        (
            f"def work(number): 1 / (number < 5)\n{LOOP}",
            "exit status 1 before it was ready; its",
        ),
        (
            f"def work(number): 1 / (number < 5)\n{LOOP.replace('()', '(warmup=0)')}",
            "exit status 1 before the run did; its",
        ),
    ],
)
def test_one_that_fails_is_an_error(measure, program, text, message):
    with pytest.raises(WorkerCrashed, match=f"^the program of queue 'q' .*{message}"):
        measure(program(text), set_up_s=6.0 if "sleep" in text else 60.0)


def test_a_contender_that_goes_early_is_an_error(measure, program):
    with pytest.raises(WorkerCrashed, match="ended with exit status 0 before the run did"):
        measure(
            program("import time; time.sleep(0.7)", reports=False), Closed(), duration_ns=10**10
        )


def test_a_program_that_is_not_there_is_an_error(measure):
    with pytest.raises(WorkerCrashed, match=r"status 126 before it was ready; .* No such file"):
        measure(command(["/nowhere/serve"]))


def test_a_fault_behind_the_last_request_is_a_remark(measure, program):
    measurement = measure(program(f"import os\nwork = print\n{LOOP}\nos.abort()"), drain_ns=10**9)
    assert len(measurement.samples[0]) == 25
    assert measurement.remark.startswith(
        "the program of queue 'q' was ended by SIGABRT, after its last request"
    )


def test_a_request_that_never_ends_is_unfinished(measure, program):
    work = "import time\nwork = lambda number: time.sleep(1000 * (number == 20))\n"
    (samples,) = measure(program(work + LOOP), grace_s=0.2).samples
    assert len(samples) == 25
    assert np.all(samples["completed_ns"][20:] == -1)


def test_an_interrupt_ends_it(session, program, monkeypatch, until):
    marker = f"interrupted{os.getpid()}"
    made = command([sys.executable, "-c", "import time; time.sleep(1000)", marker], reports=False)
    started = []

    def interrupt(process, *_):
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_xsched.workers.program_process.ProgramProcess.begin", interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.run(session.queue("q", made), scheduler="native", duration="1s")
    (process,) = started
    # It ran until then, and was ended.
    assert process.exit_status in (-signal.SIGTERM, -signal.SIGKILL)
    until(lambda: not running(marker))


def test_alone_the_helper_goes_on_for_ever(monkeypatch):
    from pytest_xsched.client import REPORT, requests

    monkeypatch.delenv(REPORT, raising=False)
    numbers = requests()
    assert [next(numbers) for _ in range(3)] == [0, 1, 2]


PROTOCOL = """
import os, sys, time
report = int(os.environ["PYTEST_XSCHED_REPORT"])
start = int(os.environ["PYTEST_XSCHED_START"])
write = lambda text: os.write(report, text.encode() if isinstance(text, str) else text)
write("ready 1\\n")
begin, end = map(int, os.read(start, 64).split())
time.sleep(max(0, (begin - time.monotonic_ns()) / 1e9) + 0.05)
now = time.monotonic_ns()
"""


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("write(f'begin {now}\\nend {now - 9390000}\\n')", "'end .* before the request began"),
        (
            "for at in range(now, now + 25 * 10**9, 10**9):\n"
            "    write(f'begin {at}\\nend {at + 1000}\\n')",
            "'begin .* after the line was read",
        ),
        ("write('begin ' + '9' * 31 + '\\n')", "'begin 9{31}' has a time that no clock shows"),
        ("write(f'begin {time.time_ns()}\\n')", ".* is it one of CLOCK_MONOTONIC"),
        ("write(b'\\x00\\xff\\x1b[2J\\n')", r"'\\x00\\xff\\x1b\[2J' is none of"),
        ("[write('x' * 65536) for _ in range(10**6)]", "'x{60}...' had no end and is longer"),
        ("[write('begin 1\\n' * 9999) for _ in range(10**6)]", ".* before the start of the run"),
        ("write('done\\nbegi')", "'begi' had no end when the program ended"),
    ],
)
@pytest.mark.timeout(120)  # the programs sleep for longer: a run must not wait for their end
def test_times_that_cannot_be_true_make_the_run_invalid(measure, program, code, line):
    ending = "os.read(start, 64)" if "done" in code else "time.sleep(1000)"
    with pytest.raises(InvalidRun, match=f"program of queue 'q' reported what .*: the line {line}"):
        measure(program(PROTOCOL + code + "\n" + ending), duration_ns=10**9)


def test_escape_sequences_of_a_program_do_not_reach_the_terminal(measure, program):
    noise = r"print('\x1b]0;owned\x07 \x1b[31mred\x1b[0m', flush=True)"
    measurement = measure(program(f"{noise}\nwork = lambda number: None\n{LOOP}"))
    assert measurement.output == "\\x1b]0;owned\\x07 red\n"
    with pytest.raises(WorkerCrashed) as error:
        measure(program(f"{noise}\nraise SystemExit(1)"))
    assert "\\x1b]0;owned" in str(error.value) and "\x1b" not in str(error.value)


def test_a_flood_of_output_keeps_its_end_only(measure, program, monkeypatch):
    monkeypatch.setattr("pytest_xsched.workers.program_process._OUTPUT_LIMIT", 10**6)
    sizes = []
    bound = ProgramProcess._bound_output

    def watch(self):
        bound(self)
        sizes.append(os.path.getsize(self._output_path))

    monkeypatch.setattr(ProgramProcess, "_bound_output", watch)
    work = "work = lambda number: print('x' * 100_000 + str(number))\n"
    measurement = measure(program(work + LOOP))
    assert len(measurement.output) <= 65536 and "x24\n" in measurement.output
    assert max(sizes) < 2 * 10**6


@pytest.mark.parametrize("forks", [1, 2])
def test_a_child_that_leaves_the_session_does_not_outlive_the_run(measure, program, forks):
    marker = f"daemon{os.getpid()}x{forks}"
    code = f"""
        import os, subprocess, sys, time
        from pytest_xsched.client import requests
        if os.fork() == 0:
            os.setsid()
            if {forks} == 1 or os.fork() == 0:
                code = "import time; time.sleep(1000)"
                os.execv(sys.executable, [sys.executable, "-c", code, {marker!r}])
            os._exit(0)
        for number in requests():
            pass
        """
    measure(program(code))
    assert not running(marker)

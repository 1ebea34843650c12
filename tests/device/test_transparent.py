"""XSched under a program that knows nothing of it: in effect, or an error with the cause.

With a shim made for this test, which says that it made an XQueue and launches nothing, and a
library that is called as the driver is. Where XSCHED_HOME names an installation, a program under
the real shim, on PoCL.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_xsched import InvalidRun, SchedulerInactive, XSched, command, matmul
from pytest_xsched.reporting import run_table
from pytest_xsched.workers import program_process
from pytest_xsched.workers.xserver import EXPOSED
from pytest_xsched.xsched.installation import Home
from pytest_xsched.xsched.preload import Preload, ProcessRecord, with_driver

SHIM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LAUNCH(void)
{
    static int once;
    const char *automatic = getenv("XSCHED_AUTO_XQUEUE");
    if (automatic != NULL && strcmp(automatic, "ON") == 0 && once++ == 0)
        fprintf(stderr, "[XSCHED INFO @ T 1] XQueue (0x1f) from process %d created\n", getpid());
    return 0;
}
"""

PROGRAM = """
import ctypes, os, sys
from pytest_xsched.client import requests

for path in sys.argv[1:]:
    ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
launch = ctypes.CDLL(None).cuLaunchKernel if sys.argv[1:] else print
settings = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("XSCHED_")]
print(*settings, flush=True)
for _ in requests():
    launch()
"""


IN_OPENCL = r"""
import ctypes
from ctypes import byref, c_int, c_size_t, c_ulong, c_void_p
from pytest_xsched.client import requests

ctypes.CDLL("libOpenCL.so.1", ctypes.RTLD_GLOBAL)
cl = ctypes.CDLL(None)
for name in ("Context", "CommandQueue", "ProgramWithSource", "Kernel", "Buffer"):
    getattr(cl, "clCreate" + name).restype = c_void_p
source = ctypes.c_char_p(b"kernel void spin(global float *x) { float y = x[0];"
                         b"for (int i = 0; i < 500000; i++) y = y * 0.5f + 1.0f; x[0] = y; }")
platform, device, error, one = c_void_p(), c_void_p(), c_int(), c_size_t(1)
assert cl.clGetPlatformIDs(1, byref(platform), None) == 0
assert cl.clGetDeviceIDs(platform, c_ulong(0xFFFFFFFF), 1, byref(device), None) == 0
context = c_void_p(cl.clCreateContext(None, 1, byref(device), None, None, byref(error)))
queue = c_void_p(cl.clCreateCommandQueue(context, device, c_ulong(0), byref(error)))
program = c_void_p(cl.clCreateProgramWithSource(context, 1, byref(source), None, byref(error)))
assert cl.clBuildProgram(program, 0, None, None, None, None) == 0
kernel = c_void_p(cl.clCreateKernel(program, b"spin", byref(error)))
buffer = c_void_p(cl.clCreateBuffer(context, c_ulong(1), c_size_t(64), None, byref(error)))
assert cl.clSetKernelArg(kernel, 0, c_size_t(8), byref(buffer)) == 0

def launch():
    return cl.clEnqueueNDRangeKernel(queue, kernel, 1, None, byref(one), None, 0, None, None)

for _ in requests():
    assert [launch() for _ in range(20)] == [0] * 20
    assert cl.clFinish(queue) == 0
"""


@pytest.fixture
def library(tmp_path):
    """Compiles a library with one function; gives its path."""

    def build(path, function, text="int LAUNCH(void) { return 0; }"):
        compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
        made = tmp_path / path
        made.parent.mkdir(exist_ok=True)
        source = made.with_suffix(".c")
        source.write_text(text)
        flags = ["-shared", "-fPIC", f"-DLAUNCH={function}"]
        subprocess.run([compiler, *flags, source, "-o", made], check=True)
        return str(made)

    return build


@pytest.fixture
def shim(library):
    return library("libshim.so", "cuLaunchKernel", SHIM)


@pytest.fixture
def driver(library):
    return library("driver/libcuda.so.1", "cuLaunchKernel")


@pytest.fixture
def start(tmp_path, xsched_double, fake_cuda, monkeypatch, session_on):
    """Runs a program under XSched on the fake driver; gives the run."""
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    session = session_on("cuda", xsched_home=Home(path=str(xsched_double), origin="--xsched-home"))

    def run(*libraries, before=(), scheduler=None, **more):
        made = command([*before, sys.executable, program, *libraries], **more)
        queue = session.queue("low", made, priority=7, rate="50/s", threshold=4)
        return session.run(queue, duration="300ms", warmup="0s", scheduler=scheduler or XSched())

    return run


def inactive(run, *words):
    with pytest.raises(SchedulerInactive) as caught:
        run()
    text = str(caught.value)
    assert text.startswith("scheduler inactive: ")
    for word in words:
        assert word in text


def test_it_is_in_effect(start, shim, driver):
    run = start(driver, preload=shim)
    assert run.evidence.faults == ()
    assert run.evidence.activity.coverage == {"low": None}  # without a server nobody tells
    unknown = "  ! unknown whether XSched had work of low: only its server reports that"
    assert unknown in run_table.table(run.to_dict())
    assert run.low.n == 15 == run.low.counts.requests_completed
    assert driver in {library.path for library in run.fingerprint.libraries}


def test_the_variables_are_those_of_the_queue(start, shim, driver, monkeypatch):
    monkeypatch.setenv("XSCHED_POLICY", "CFS")
    monkeypatch.setenv("XSCHED_AUTO_XQUEUE", "ON")
    monkeypatch.setenv("XSCHED_AUTO_XQUEUE_LEVEL", "3")
    seen = {}
    monkeypatch.setattr(
        "pytest_xsched.workers.program_process.require_active",
        lambda setting, *_: seen.update(setting.variables),
    )
    start(driver, preload=shim)
    assert {key: seen[key] for key in seen if key.startswith("XSCHED_") and key != DRIVER} == {
        "XSCHED_AUTO_XQUEUE": "ON",
        "XSCHED_AUTO_XQUEUE_LEVEL": "1",
        "XSCHED_AUTO_XQUEUE_PRIORITY": "7",
        "XSCHED_AUTO_XQUEUE_THRESHOLD": "4",
        "XSCHED_AUTO_XQUEUE_BATCH_SIZE": "2",
        "XSCHED_POLICY": "HPF",
    }
    assert seen["LD_PRELOAD"] == shim
    assert os.environ["XSCHED_POLICY"] == "CFS" and "LD_PRELOAD" not in os.environ


DRIVER = "XSCHED_CUDA_LIB"


def test_the_driver_is_the_one_that_our_own_process_has():
    setting = Preload(shim="/s.so", variables={"A": "b"}, environment={"A": "b", "C": "d"})
    ours = ProcessRecord(pid=1, environment={}, files=("/x/libc.so.6", "/x/libcuda.so.580.1"))
    other = ProcessRecord(pid=2, environment={}, files=("/y/libcuda.so.1",))
    found = with_driver(setting, "cuda", [ours])
    assert found.variables == {"A": "b", DRIVER: "/x/libcuda.so.580.1"}
    assert found.environment == {"A": "b", "C": "d", DRIVER: "/x/libcuda.so.580.1"}
    # Nobody knows which, or the user has said it.
    assert with_driver(setting, "cuda", [ours, other]) == setting
    assert with_driver(setting, "hip", [ours]) == setting
    assert with_driver(found, "cuda", [other]) == found


def test_natively_it_runs_as_it_is(start, driver, monkeypatch):
    monkeypatch.setenv("XSCHED_POLCY", "HPF")  # of no importance there
    run = start(driver, scheduler="native", preload="/nowhere.so")
    assert run.low.n == 15
    assert run.evidence.faults == ()


# ---- four ways of measuring nothing, which look like success


def test_a_shim_that_is_not_there(start, driver):
    inactive(lambda: start(driver, preload="/nowhere/libshim.so"), "/nowhere/libshim.so", "No such")


def test_a_shim_that_exports_nothing_of_the_driver(start, driver, library):
    empty = library("libempty.so", "XQueueCreate")
    inactive(lambda: start(driver, preload=empty), "libempty.so exports no cuLaunchKernel")


def test_no_xqueue_is_wanted(start, driver, shim):
    off = {"XSCHED_AUTO_XQUEUE": "OFF"}
    words = "XSCHED_AUTO_XQUEUE is 'OFF' in the environment of the program of queue 'low'"
    inactive(lambda: start(driver, preload=shim, env=off), words)
    before = ["env", "-u", "XSCHED_AUTO_XQUEUE"]
    words = "XSCHED_AUTO_XQUEUE is not set in the environment of process "
    inactive(lambda: start(driver, preload=shim, before=before), words)


def test_a_variable_that_is_misspelt(start, driver, shim, monkeypatch):
    words = "XSCHED_POLCY is not a variable of XSched", "did you mean XSCHED_POLICY?"
    inactive(lambda: start(driver, preload=shim, env={"XSCHED_POLCY": "HPF"}), *words)
    monkeypatch.setenv("XSCHED_POLCY", "HPF")
    inactive(lambda: start(driver, preload=shim), *words)


# ---- and others


def test_what_the_loader_ignores(start, driver, shim):
    before = ["env", "LD_PRELOAD=/nowhere/libshim.so"]
    words = "object '/nowhere/libshim.so' from LD_PRELOAD cannot be preloaded"
    inactive(lambda: start(driver, preload=shim, before=before), words)


def test_a_preload_that_is_lost(start, driver, shim):
    words = f"has not mapped {shim}, though LD_PRELOAD was set"
    inactive(lambda: start(driver, preload=shim, before=["env", "-u", "LD_PRELOAD"]), words)


def test_a_program_without_a_device(start, shim):
    inactive(lambda: start(preload=shim), "has libcuda.so mapped, so it launches nothing on cuda")


def test_two_drivers(start, driver, shim, library):
    other = library("other/libcuda.so.1", "cuInit")
    inactive(lambda: start(driver, other, preload=shim), "has two drivers mapped", driver, other)


def test_two_rocms(start, driver, shim, library):
    trees = [library(f"rocm-{v}/libamdhip64.so.{v[0]}", "hipInit") for v in ("6.4.0", "7.2.0")]
    words = "has libraries of two ROCm installations mapped: rocm-6.4.0, rocm-7.2.0"
    inactive(lambda: start(driver, *trees, preload=shim), words)


def test_a_shim_that_makes_no_xqueue(start, driver, library):
    passive = library("libpassive.so", "cuLaunchKernel")
    inactive(lambda: start(driver, preload=passive), "made no XQueue for it", "default stream")


XSERVER = f"""\
#!{sys.executable}
import http.server, json, os, sys
from pathlib import Path

known = set()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        for path in [] if known else Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found = os.environ["PROGRAM"].encode() in path.read_bytes().split(bytes(1))
            except OSError:
                continue
            if found and (pid := int(path.parent.name)) not in known:
                known.add(pid)
                print(f"XQueue (0x1f) from process {{pid}} created", flush=True)
        word, _, over = os.environ["READY"].partition(" ")
        ready = word == "yes" or (word == "until" and not os.path.exists(over))
        xqueues = [{{"pid": pid, "ready": ready}} for pid in known]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({{"xqueues": xqueues}}).encode())
    def log_message(self, *_): pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


@pytest.fixture
def with_server(xsched_double, fake_cuda, shim, driver, tmp_path, monkeypatch, session_on):
    """Runs a program under a server that has work of it, or not; gives the run."""
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    monkeypatch.setattr("pytest_xsched.workers.xserver.KEY", 0x58000000 + os.getpid() % 2**24)
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", str(tmp_path))
    for name in ("POLLS_NEEDED", "REQUESTS_NEEDED", "POLLS_NEEDED_SILENT"):
        monkeypatch.setattr(f"pytest_xsched.xsched.server_poll.{name}", 2)
    home = Path(shutil.copytree(xsched_double, tmp_path / "installed"))
    (home / "bin").mkdir()
    (home / "bin/xserver").write_text(XSERVER)
    (home / "bin/xserver").chmod(0o755)
    program = tmp_path / "program.py"
    program.write_text(f"import time\n{PROGRAM}    time.sleep(0.05)\n")
    monkeypatch.setenv("PROGRAM", str(program))
    session = session_on("cuda", xsched_home=Home(path=str(home), origin="--xsched-home"))

    def run(*, ready, reports=True, rate=None, duration="500ms"):
        monkeypatch.setenv("READY", ready)
        made = command([sys.executable, program, driver], preload=shim, reports=reports)
        queue = session.queue("low", made, priority=7, rate=rate)
        scheduler = XSched(scheduler="global", policy="awf")
        return session.run(queue, duration=duration, warmup="0s", scheduler=scheduler)

    return run


@pytest.fixture
def in_windows(monkeypatch):
    """Lets a run of 1 s have two windows."""
    for name in ("FIRST_NS", "NEXT_NS"):
        monkeypatch.setattr(f"pytest_xsched.session.adaptive.{name}", 500_000_000)
    monkeypatch.setattr("pytest_xsched.workers.run_processes.IDLE_S", 600.0)


def test_each_window_has_evidence_of_its_own_and_the_program_one_start(
    with_server, in_windows, monkeypatch
):
    asked = []
    require = program_process.require_active

    def require_active(setting, kind, name, output, seen, created):
        asked.append((sorted(one.pid for one in seen), created is None))
        require(setting, kind, name, output, seen, created)

    monkeypatch.setattr(program_process, "require_active", require_active)
    run = with_server(ready="yes", duration="1s")
    first = run.evidence.activity.coverage["low"]
    assert first.polls_with_work == first.polls > 0
    assert run.measure_on() and run.evidence.faults == ()
    both = run.evidence.activity.coverage["low"]
    # The second window was polled, too, and its polls count once.
    assert both.polls_with_work == both.polls > first.polls
    # One program, which had made its XQueue in the first window.
    assert asked[0][0] == asked[1][0] and [known for _, known in asked] == [False, True]
    assert not run.measure_on()


def test_a_later_window_without_work_in_xsched_is_named(with_server, in_windows, tmp_path):
    run = with_server(ready=f"until {tmp_path / 'over'}", duration="1s")
    assert run.evidence.faults == ()
    (tmp_path / "over").touch()
    with pytest.raises(InvalidRun, match="in window 2: scheduler inactive: queue 'low'"):
        run.measure_on()


@pytest.mark.parametrize(("address", "remark"), [("127.0.0.1", ""), ("0.0.0.0", EXPOSED)])
def test_a_run_says_that_other_machines_reach_its_server(
    with_server, tmp_path, monkeypatch, address, remark
):
    monkeypatch.setattr("pytest_xsched.workers.xserver.LOOPBACK", tmp_path / "none.so")
    program = tmp_path / "installed/bin/xserver"
    program.write_text(program.read_text().replace("127.0.0.1", address))
    assert with_server(ready="yes").remark == remark


def test_a_server_that_ends_between_windows_is_an_error(with_server, in_windows, tmp_path):
    run = with_server(ready="yes", duration="1s")
    server = str(tmp_path / "installed/bin/xserver").encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if server in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
    with pytest.raises(SchedulerInactive, match="xserver AWF was ended by SIGKILL"):
        run.measure_on()


@pytest.mark.parametrize("reports", [True, False])
def test_the_server_has_work_of_it(with_server, reports):
    run = with_server(ready="yes", reports=reports)
    cover = run.evidence.activity.coverage["low"]
    assert (cover.reports_requests, cover.polls_with_work) == (reports, cover.polls)
    assert cover.polls > 0
    assert run.evidence.faults == ()
    lines = run_table.table(run.to_dict())
    assert f"  XSched had work of low at {cover}" in lines
    assert "  XSched: 'using global scheduler', no hints order two queues" in lines


@pytest.mark.parametrize("reports", [True, False])
def test_the_server_has_none_of_its_work(with_server, reports):
    run = with_server(ready="no", reports=reports)
    (fault,) = run.evidence.faults
    assert fault == run.evidence.activity.coverage["low"].fault("low")
    with pytest.raises(InvalidRun, match="no verdict: scheduler inactive: queue 'low': XSched had"):
        run.low.assert_throughput_at_least("1/s")


def test_too_few_looks_to_tell(with_server, monkeypatch):
    monkeypatch.setattr("pytest_xsched.xsched.server_poll.POLLS_NEEDED", 10**6)
    run = with_server(ready="no")
    assert run.evidence.faults == ()
    cover = run.evidence.activity.coverage["low"]
    assert f"  ! XSched had work of low at {cover}: too few to decide" in run_table.table(
        run.to_dict()
    )


REAL = os.environ.get("XSCHED_HOME")


@pytest.mark.skipif(not REAL, reason="XSCHED_HOME names no XSched")
def test_under_the_real_one_the_order_of_priorities_swaps(pocl, tmp_path, session_on):
    session = session_on("opencl", xsched_home=Home(path=REAL, origin="XSCHED_HOME"))
    program = tmp_path / "program.py"
    program.write_text(IN_OPENCL)
    medians = []
    for ours, its in ((10, 1), (1, 10)):
        run = session.run(
            session.queue("ours", matmul(64, layers=4), priority=ours, rate="20/s", threshold=2),
            session.queue(
                "its",
                command([sys.executable, program]),
                priority=its,
                threshold=2,
                batch_size=1,
            ),
            duration="2s",
            scheduler=XSched(scheduler="global"),
        )
        assert run.evidence.faults == ()
        assert run.its.n > 0
        assert run.evidence.activity.coverage["its"].ever_had_work
        assert {"libshimopencl.so", "libpreempt.so"} <= {
            Path(library.path).name for library in run.fingerprint.libraries
        }
        medians.append(int(np.median(run.ours.latency_ns)))
    # The program never pauses, so whoever is below it waits for its requests.
    assert medians[0] < medians[1]


PAST = IN_OPENCL.replace(
    "cl = ctypes.CDLL(None)",
    "cl = shim = ctypes.CDLL(None)\nimport os\ncl = ctypes.CDLL(os.environ['XSCHED_CUDA_LIB'])",
).replace(
    "for _ in requests():",
    "shim.clCreateCommandQueue(context, device, c_ulong(0), byref(error))\nfor _ in requests():",
)
"""It has an XQueue and launches to another queue, which XSched does not know."""


@pytest.mark.skipif(not REAL, reason="XSCHED_HOME names no XSched")
def test_work_that_goes_past_the_real_one(pocl, tmp_path, session_on, monkeypatch):
    monkeypatch.setattr("pytest_xsched.xsched.server_poll.POLLS_NEEDED", 5)
    monkeypatch.setattr("pytest_xsched.xsched.server_poll.REQUESTS_NEEDED", 5)
    session = session_on("opencl", xsched_home=Home(path=REAL, origin="XSCHED_HOME"))
    program = tmp_path / "program.py"
    program.write_text(PAST)
    queue = session.queue("low", command([sys.executable, program]), priority=1)
    run = session.run(queue, duration="4s", scheduler=XSched(scheduler="global"))
    assert run.evidence.activity.coverage["low"].polls_with_work == 0
    (fault,) = run.evidence.faults
    assert fault.startswith("scheduler inactive: queue 'low': XSched had unfinished work of its ")

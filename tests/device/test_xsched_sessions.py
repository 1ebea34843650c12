"""A whole session of pytest in which XSched ends, hangs or is interrupted: outcomes, exit status,
and what is left behind.

The fake driver, and the double of XSched with its faults.
"""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

OPTIONS = ("-pxsched", "--xsched-device=cuda", "--xsched-scheduler=xsched", "-pno:cacheprovider")

# A good run after each bad one. The counts are those of callbacks of a queue: `low` has 120, and
# the queues that are compared before the run have 40 each, however often they are compared.
FAULTS = """
    import pytest
    from pytest_xsched import spin

    FAULTS = ["abort:45", "", "exit:45", "", "segv:45", "", "kill:45", "", "inactive", ""]

    @pytest.fixture
    def run(xsched, fault, monkeypatch):
        monkeypatch.setenv("PREEMPT_DOUBLE", fault)
        high = xsched.queue("high", spin("1ms"), priority=10, rate="100/s")
        low = xsched.queue("low", spin("1ms"), priority=1, rate="400/s")
        return xsched.run(high, low, duration="300ms", warmup="0s")

    @pytest.mark.parametrize("fault", FAULTS, ids=[f"{i}{f[:4]}" for i, f in enumerate(FAULTS)])
    def test_it(run):
        assert run.high.n == 30
        run.high.assert_no_errors()
    """

ENDLESS = """
    import pathlib
    from pytest_xsched import XSched, spin

    def test_long(xsched):
        high = xsched.queue("high", spin("1ms"), priority=10, rate="100/s")
        low = xsched.queue("low", spin("1ms"), priority=1)
        apart = XSched(policy="none", scheduler="app")  # the local one is of one process
        scheduler = apart if "{processes}" == "separate" else "xsched"
        xsched.run(
            high, low, duration="600s", scheduler=scheduler, processes="{processes}"
        )

    def test_next(xsched):
        pathlib.Path("went on").touch()
    """


@pytest.fixture
def session(pytester, xsched_gpu, monkeypatch):
    """Runs pytest in a process of its own."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(*options):
        return pytester.runpytest_subprocess(*OPTIONS, *options, timeout=200)

    return run


def parents_of_all():
    """Give the parent of each process that has not ended."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(entry.parent.name)] = int(parent)
    return parents


def running():
    return parents_of_all().keys()


def descendants(pid):
    """Give the processes below one, those of its workers, too."""
    parents = parents_of_all()
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.parametrize("options", [(), ("-pxdist", "-n2")], ids=["alone", "xdist"])
@pytest.mark.usefixtures("late_is_fine_there")
def test_each_bad_run_is_one_error_and_the_session_goes_on(pytester, session, options):
    pytester.makepyfile(FAULTS)
    result = session("--xsched-json=out.json", "--junitxml=out.xml", *options)
    result.assert_outcomes(errors=5, passed=5)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    crashed = "E  *WorkerCrashed: the worker process"
    for how in (
        f"{crashed} was ended by SIGABRT while it measured, without a result",
        f"{crashed} ended with exit status 1 while *; its last words: [[]XSCHED ERRO * 700*",
        f"{crashed} was ended by SIGSEGV while it measured, without a result",
        f"{crashed} was ended by SIGKILL, as the kernel does where memory is short, while *",
        "E  *SchedulerInactive: scheduler inactive: the run needs the local scheduler *",
    ):
        result.stdout.fnmatch_lines_random([how])
    said = [line for line in result.outlines if line.startswith("E  ")]  # not in the summary
    assert sum("WorkerCrashed: the worker process" in line for line in said) == 4
    runs = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    assert len(runs) == 5
    assert {run["scheduler"] for run in runs} == {"xsched"}
    junit = (pytester.path / "out.xml").read_text()
    assert 'errors="5"' in junit and 'failures="0"' in junit


@pytest.mark.parametrize("processes", ["together", "separate"])
def test_ctrl_c_leaves_nothing(pytester, session, processes):
    pytester.makepyfile(ENDLESS.format(processes=processes))
    process = pytester.popen(
        [sys.executable, "-mpytest", *OPTIONS],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    count = 1 if processes == "together" else 2
    try:
        deadline = time.monotonic() + 120
        while len(descendants(process.pid)) < count:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        time.sleep(2)  # into the run
        workers = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=120)[0].decode()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "KeyboardInterrupt" in output
    assert not (pytester.path / "went on").exists()
    deadline = time.monotonic() + 60
    while (left := workers & running()) and time.monotonic() < deadline:
        time.sleep(0.05)  # what a worker had started ends behind it
    assert not left


@pytest.mark.usefixtures("late_is_fine_there")
def test_a_full_disk_for_the_result_file_is_told(pytester, session):
    """A device that is always full; and a device is not replaced by a file."""
    pytester.makepyfile(
        FAULTS.replace('["abort:45", "", "exit', '["", "exit').replace(":45", ":9999")
    )
    result = session("--xsched-json=/dev/full", "-k0")
    result.assert_outcomes(passed=1, deselected=8)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["--xsched-json: *No space left on device*"])
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)

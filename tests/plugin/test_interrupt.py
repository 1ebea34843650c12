"""Ctrl-C and time-outs end a run at once, and what comes after it works."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENDLESS = """
    import pathlib
    import pytest
    from pytest_xsched import spin

    def test_long(xsched):
        high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
        low = xsched.queue("low", spin("1ms"), priority=1)
        pathlib.Path("started").touch()
        xsched.run(high, low, duration="600s")

    def test_next(xsched):
        pathlib.Path("went on").touch()
    """

ENDLESS_LIVE = """
    import pathlib
    import pytest
    from pytest_xsched import spin

    def test_long(xqueues):
        ticket = xqueues().submit(spin("10ms", layers=4096))
        pathlib.Path("started").touch()
        ticket.wait("600s")

    def test_next(xsched):
        pathlib.Path("went on").touch()
    """


BETWEEN_WINDOWS = """
    import pathlib
    import sys
    import time
    import pytest
    from pytest_xsched import command
    from pytest_xsched.session import adaptive
    from pytest_xsched.workers import run_processes

    PROGRAM = "; ".join([
        "import os, pathlib",
        "from pytest_xsched.client import requests",
        "pathlib.Path('pid').write_text(str(os.getpid()))",
        "list(requests())",
    ])

    def test_long(xsched, monkeypatch):
        monkeypatch.setattr(adaptive, "FIRST_NS", 300_000_000)
        monkeypatch.setattr(adaptive, "NEXT_NS", 300_000_000)
        monkeypatch.setattr(run_processes, "IDLE_S", 600)
        queue = xsched.queue("q", command([sys.executable, "-c", PROGRAM]), think="10ms")
        xsched.run(queue, duration="900ms", scheduler="native")
        pathlib.Path("started").touch()
        time.sleep(600)

    def test_next(xsched):
        pathlib.Path("went on").touch()
    """


@pytest.mark.parametrize(
    "text", [ENDLESS, ENDLESS_LIVE, BETWEEN_WINDOWS], ids=["run", "live", "between windows"]
)
def test_ctrl_c(pytester, alone, text):
    pytester.makepyfile(text)
    process = pytester.popen(
        [sys.executable, "-mpytest", "-pxsched", "--xsched-device=cpu", "--xsched-json=out.json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 120
        while not (pytester.path / "started").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=120)[0].decode()
    finally:
        process.kill()
        process.wait()

    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "KeyboardInterrupt" in output
    assert "no tests ran" in output
    assert not (pytester.path / "went on").exists()
    if text == BETWEEN_WINDOWS:
        program = (pytester.path / "pid").read_text()
        assert not (Path("/proc") / program).exists()


@pytest.mark.usefixtures("late_is_fine_there")
@pytest.mark.parametrize(
    ("device", "long"),
    [
        ("cpu", 'xsched.run(xsched.queue("high", spin("1ms")), duration="600s")'),
        ("cpu", 'live()().submit(spin("10ms", layers=4096)).wait("600s")'),
        ("cpu", 'live().sleep("600s")'),
        # Days of virtual time are many minutes of real time, too.
        (
            "sim -oxsched_fixed_duration=yes",
            'xsched.run(xsched.queue("high", spin("1us", layers=4096)), duration="30h")',
        ),
    ],
)
def test_time_out(pytester, fresh, device, long):
    pytester.makepyfile(f"""
        import pytest
        from pytest_xsched import spin

        @pytest.fixture
        def live(xsched):
            made = []

            def make():
                made.append(xsched.live())
                return made[-1]

            yield make
            for queues in made:
                queues.close()

        def test_before(xsched, live):
            # Imports and opens the device, which is not what is to be interrupted.
            xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="100ms")
            live()

        @pytest.mark.timeout(1, method="signal", func_only=True)
        def test_long(xsched, live):
            {long}

        def test_next(xsched):
            run = xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="200ms")
            run.high.assert_no_errors()
            assert run.high.n == 4

        def test_live(xqueues):
            assert xqueues().submit(spin("1ms", layers=3)).wait().done
        """)

    # Long before the ten minutes that the test itself would take.
    result = fresh("-ptimeout", *f"--xsched-device={device}".split(), timeout=120)

    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["E *Failed: Timeout (>1.0s) from pytest-timeout."])

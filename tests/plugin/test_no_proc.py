"""Without /proc, as in hardened containers and under pyfakefs, `sim` and `cpu` run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

TEST = """
    from pytest_xsched import spin

    def test_it(xsched):
        high = xsched.queue("high", spin("1ms"), priority=10, rate="50/s")
        low = xsched.queue("low", spin("1ms"), priority=1)
        run = xsched.run(high, low, duration="1s"{more})
        run.high.assert_no_errors()
    """


def has_namespaces():
    """Whether this user may hide /proc from a process."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    hide = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc"]
    return subprocess.run(hide, capture_output=True).returncode == 0


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("late_is_fine_there")
@pytest.mark.skipif(not has_namespaces(), reason="/proc can be hidden by root with unshare only")
@pytest.mark.parametrize(
    ("device", "process", "more"),
    [
        *(("sim", "inside", ""), ("cpu", "inside", ""), ("cpu", "worker", "")),
        ("cpu", "auto", ', scheduler="native", processes="separate"'),
    ],
)
def test_runs_without_proc(pytester, alone, device, process, more):
    """The fingerprint says what it could not read, and so does the report."""
    pytester.makepyfile(TEST.format(more=more))
    options = f"-pxsched --xsched-device={device} --xsched-process={process} --xsched-json=out.json"
    command = f"mount -t tmpfs none /proc && exec {sys.executable} -mpytest {options}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command], cwd=pytester.path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "! unknown: libraries of drivers: /proc/self/maps: No such file" in done.stdout
    (run,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    assert run["fingerprint"]["unknown"] == [
        "libraries of drivers: /proc/self/maps: No such file or directory",
        "model of the CPU: /proc/cpuinfo: No such file or directory",
    ]
    assert run["fingerprint"]["cpus"]


def test_readers_that_find_nothing_are_no_error(load, sim, pytester):
    """The same where /proc cannot be hidden: the readers are pointed elsewhere."""
    pytester.makeconftest("""
        import pytest
        from pytest_xsched.monitoring import environment
        from pytest_xsched.runner import measure

        @pytest.fixture(autouse=True, scope="session")
        def nothing(tmp_path_factory):
            real, empty = environment.take_fingerprint, tmp_path_factory.mktemp("proc")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(measure, "take_fingerprint", lambda devices: real(devices, empty))
                yield
        """)
    load("def test_it(run): run.high.assert_no_errors()")
    result = sim()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*! unknown: libraries of drivers: */self/maps: No such file*"])

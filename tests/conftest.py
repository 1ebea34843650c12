"""For all tests: pytester, libraries compiled for tests, and modules that load only once.

pytester removes the modules that a run inside this process imported. numpy's C core and the native
module cannot be imported twice, so this module imports them, and they stay.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np  # noqa: F401
import pytest

import pytest_xsched.native.binding  # noqa: F401

pytest_plugins = ["pytester"]

# A process that a shell starts in the background ignores SIGINT, and so would all children, which
# the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No run is refused for noise on the machines that run these tests, unless a test says so: the
# drivers made for a test use the processors on which the runs are measured.
os.environ["PYTEST_XSCHED_NOISE"] = "note"

# Runs on the device cpu do not wait for those of other xdist workers, or two processors would not
# make the tests faster; they assert nothing that the load of the machine changes.
os.environ["PYTEST_XSCHED_CPU_LOCK"] = "off"

NATIVE = Path(__file__).resolve().parents[1] / "native"
DOUBLES = NATIVE / "tests" / "doubles"
PLACES = [NATIVE, DOUBLES / "driver", DOUBLES / "xsched"]
INCLUDES = (f"-I{NATIVE}", f"-I{NATIVE / 'include'}")
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O1", "-pthread", *INCLUDES)
SHARED = ("-shared", "-fPIC")
LIBRARIES = {
    "libpreempt.so": (
        *("hardware.c", "launch.c", "log.c", "queues.c", "scheduler.c", "faults.c"),
        "process.c",
        *("base/base.c", "base/clock.c"),  # of the runner
        *("core/xqueue.c", "policies/hpf.c"),
    ),
    **{
        f"lib{kind}{driver}.so": (f"{kind}_{driver}.c", "hal.c")
        for kind in ("hal", "shim")
        for driver in ("cuda", "hip", "opencl")
    },
}
"""The libraries of the double of XSched, each with its source files."""


def compile_c(out: Path, files: tuple[str, ...], flags: tuple[str, ...]) -> Path:
    """Compile C files of PLACES to `out`."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    sources = [str(place / name) for name in files for place in PLACES if (place / name).exists()]
    subprocess.run([compiler, *FLAGS, *sources, *flags, "-ldl", "-o", str(out)], check=True)
    return out


def compile_library(lib: Path, name: str, *flags: str) -> None:
    """Compile one of LIBRARIES. The others find libpreempt in their own directory."""
    flags = (*SHARED, *flags, "-fvisibility=hidden", f"-Wl,-soname,{name}")
    if name != "libpreempt.so":
        flags += (f"-L{lib}", "-lpreempt", "-Wl,-rpath,$ORIGIN")
    compile_c(lib / name, LIBRARIES[name], flags)


def add_server(home: Path) -> None:
    """Add the server of the double to its home; PREEMPT_DOUBLE_SERVER names the socket of both."""
    server = home / "bin" / "xserver"
    server.parent.mkdir(parents=True)
    text = (DOUBLES / "xsched" / "xserver.py").read_text(encoding="utf-8")
    server.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    server.chmod(0o755)


@pytest.fixture
def late_is_fine(monkeypatch):
    """Lets a machine with much to do send requests late, in tests that are about other things."""
    monkeypatch.setattr("pytest_xsched.analysis.evidence._late", lambda queue: [])


@pytest.fixture
def late_is_fine_there(pytester):
    """Does what `late_is_fine` does, for pytest in a process of its own."""
    pytester.makeconftest("""
        from pytest_xsched.analysis import evidence

        evidence._late = lambda queue: []
        """)


PATIENT_DOCTOR = """
import sys
from pytest_xsched.cli.main import main
from pytest_xsched.doctor import checks, fork, subprocesses
limit_s = float(sys.argv[1])
if limit_s:
    checks.LIMIT_S = fork.PYTEST_S = subprocesses.LOAD_S = limit_s
sys.exit(main(["doctor", *sys.argv[2:]]))
"""


@pytest.fixture
def doctor_command():
    """Return what runs the doctor with time for a machine that has much to do.

    What hangs takes all of that time, and needs a limit of its own; 0: those of the doctor.
    """

    def words(*arguments, limit_s=100.0):
        return [sys.executable, "-c", PATIENT_DOCTOR, str(limit_s), *arguments]

    return words


@pytest.fixture
def xsched_with_server(xsched_double, tmp_path, monkeypatch):
    """Return a home of the double that has a server, too."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "lib").symlink_to(xsched_double / "lib")
    add_server(home)
    monkeypatch.setenv("XSCHED_HOME", str(home))
    monkeypatch.setenv("PREEMPT_DOUBLE_SERVER", str(tmp_path / "socket"))
    return home


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Compile C files of native/ or of its doubles, and return the path of the result."""
    made = {}

    def build(*files, flags=SHARED):
        if (files, flags) not in made:
            out = tmp_path_factory.mktemp("built") / f"{Path(files[0]).stem}.so"
            made[files, flags] = compile_c(out, files, flags)
        return made[files, flags]

    return build


@pytest.fixture
def new_http_server():
    """Makes a real HTTP server of given arguments; see http_server.py."""
    path = Path(__file__).with_name("http_server.py")
    spec = importlib.util.spec_from_file_location("http_server", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = []

    def make(**more):
        made.append(module.Server(**more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def fake_nvml(built, tmp_path, monkeypatch):
    """Puts the double of NVIDIA's management library where processes that start now find it.

    Returns a function that sets what it reports; fake_nvml.c lists the variables.
    """
    folder = tmp_path / "nvml"
    folder.mkdir()
    (folder / "libnvidia-ml.so.1").symlink_to(built("fake_nvml.c"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder), prepend=os.pathsep)
    for name in [name for name in os.environ if name.startswith("FAKE_NVML_")]:
        monkeypatch.delenv(name)

    def report(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"FAKE_NVML_{name.upper()}", str(value))

    return report


@pytest.fixture(scope="session")
def xsched_double(tmp_path_factory):
    """Compile the double of XSched's libraries, and return a directory like an installation.

    native/tests/doubles/xsched/preempt.h describes it, faults.h the faults of PREEMPT_DOUBLE.
    """
    lib = tmp_path_factory.mktemp("xsched") / "lib"
    lib.mkdir()
    for name in LIBRARIES:
        compile_library(lib, name)
    return lib.parent


@pytest.fixture
def spoiled(xsched_double, tmp_path):
    """Copy the double, with one library compiled with other flags, or missing."""

    def spoil(name, *flags):
        home = Path(shutil.copytree(xsched_double, tmp_path / "spoiled"))
        (home / "lib" / name).unlink()
        if flags:
            compile_library(home / "lib", name, *flags)
        return home

    return spoil


@pytest.fixture(params=["double", "installed"])
def xsched_home(request):
    """Return the directory of the double, and that of the real XSched that XSCHED_HOME names.

    The real one must do what the double does, on `fake_cuda`, too.
    """
    if request.param == "double":
        return request.getfixturevalue("xsched_double")
    home = os.environ.get("XSCHED_HOME") or pytest.skip("XSCHED_HOME names no XSched")
    return Path(home)

"""For tests on the devices that every machine has, on drivers made for a test, and on PoCL."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import textwrap
import time
from pathlib import Path

import pytest

from pytest_xsched import Session
from pytest_xsched.conformance.live_engine import NOT_CLAIMED
from pytest_xsched.scenario.arrival_process import constant
from pytest_xsched.scenario.scenario import QueueSpec, Scenario
from pytest_xsched.scenario.workload import spin
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.state_machine import OpenDevices
from pytest_xsched.workers import mps
from pytest_xsched.workers.worker_process import WorkerMessages

NATIVE = Path(__file__).resolve().parents[2] / "native"
FAKE = (
    *("fake_cuda.c", "fake_errors.c", "fake_graph.c"),
    *("fake_identity.c", "fake_kernels.c", "fake_nvrtc.c"),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has `device` among its arguments on cpu and on sim."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize(
            "device",
            [pytest.param(kind, marks=pytest.mark.xsched(device=kind)) for kind in ("sim", "cpu")],
        )


@pytest.fixture
def until():
    """Waits until something holds, insists on it, and returns it."""

    def wait(holds, pause=lambda: time.sleep(0.02)):
        deadline_s = time.monotonic() + 60
        while not (found := holds()) and time.monotonic() < deadline_s:
            pause()
        assert found
        return found

    return wait


@pytest.fixture
def scenario():
    """A second of virtual time, or the same scenario on another device."""

    def make(device="sim", **changes):
        values = {
            "queues": (QueueSpec(name="q", workload=spin("1ms"), arrivals=constant("100/s")),),
            "duration_ns": 1_000_000_000,
            "warmup_ns": 0,
            "drain_ns": 1_000_000_000,
            "seed": 0,
            "device": device,
            "scheduler": "builtin",
            "policy": "hpf",
        }
        return Scenario(**{**values, **changes})

    return make


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Writes a module that a worker process runs instead of ours; gives its name."""

    def write(body):
        (tmp_path / "other_worker.py").write_text(textwrap.dedent(body))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return "other_worker"

    return write


@pytest.fixture
def hurried(monkeypatch):
    """Makes a context in which a worker that has begun to do what hangs has little time for it.

    Until then it has as much as ever: how long that takes depends on the load of the machine.
    """

    @contextlib.contextmanager
    def hurry(step, limit_s=2.0):
        read = WorkerMessages.read

        def read_and_hurry(self, messages):
            before = self.doing
            more_s = read(self, messages)
            if step not in self.doing or step in before:
                return more_s
            self.allowed_s = limit_s
            return limit_s

        with monkeypatch.context() as patch:
            patch.setattr(WorkerMessages, "read", read_and_hurry)
            yield

    return hurry


@pytest.fixture(scope="session")
def lock_directory(tmp_path_factory):
    """A directory for the locks of GPUs that are none, so that nobody else waits for them."""
    return str(tmp_path_factory.mktemp("locks"))


@pytest.fixture
def fake_cuda(built, lock_directory, monkeypatch):
    """Gives the path of the fake driver, and puts it behind the one that forwards."""
    fake = str(built(*FAKE))
    monkeypatch.setenv("XS_TEST_CUDA_DRIVER", fake)
    monkeypatch.setenv("XS_TEST_CUDA_COMPILER", fake)
    monkeypatch.setenv("PYTEST_XSCHED_LOCK_DIR", lock_directory)
    monkeypatch.setenv("PYTEST_XSCHED_CACHE", "")  # or its compiler would be asked only once
    return fake


@pytest.fixture(params=["cuda", "hip"])
def fake_gpu(request, built, fake_cuda, monkeypatch):
    """Puts the fake driver under `cuda`, and through the forwarding one under `hip`; its kind."""
    hip = request.param == "hip"
    driver = str(built("hip_on_cuda.c")) if hip else fake_cuda
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", driver)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", "" if hip else fake_cuda)
    return request.param


@pytest.fixture
def xsched_gpu(fake_cuda, xsched_double, monkeypatch):
    """Puts the fake driver under `cuda`, and the double of XSched over it."""
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
    monkeypatch.setenv("XSCHED_HOME", str(xsched_double))


@pytest.fixture
def xsched_session(xsched_gpu, session_on):
    """Gives a session on the fake driver, with the double of XSched over it."""
    return session_on("cuda", lock_timeout_ns=10**10)


@pytest.fixture
def played():
    """Executes steps on live queues that a function opens; gives the breach that they show.

    More `tries` are for faults: a busy machine may delay a call until the other one has ended, and
    then no fault shows. A breach in one of them proves that it is found; without a fault there is
    none in any.
    """

    def play(make, steps, tries=1):
        for _ in range(tries):
            pool = OpenDevices(make, 1)
            try:
                if broken := pool.play(steps, NOT_CLAIMED, "5s"):
                    return broken
            finally:
                pool.close()
        return None

    return play


MPS_CONTROL = """\
#!/bin/sh
# nvidia-cuda-mps-control without a GPU. Clients are files that fake_cuda.c writes.
# FAKE_MPS=refuses: it does not start; deaf: it does not quit.
pipe=${CUDA_MPS_PIPE_DIRECTORY:-/nowhere}
case $1 in
-d)
    [ "$FAKE_MPS" = refuses ] && { echo "An instance of this daemon is already running"; exit 1; }
    mkdir "$pipe/clients" || exit 1
    setsid "$0" -f "$pipe" > /dev/null 2>&1 &
    until [ -s "$pipe/server.pid" ]; do sleep 0.01; done
    exit 0 ;;
-f)
    sleep 1000 &
    [ "$FAKE_MPS" = deaf ] && trap "" TERM || trap "kill $!; exit" TERM
    echo $$ > "$pipe/control.pid"
    echo $! > "$pipe/server.pid"
    wait
    sleep 1000 ;;
esac
control=$(cat "$pipe/control.pid" 2> /dev/null) && kill -0 "$control" 2> /dev/null || {
    echo "Cannot find MPS control daemon process"
    exit 1
}
while read -r request argument; do
    case $request in
    get_server_list) cat "$pipe/server.pid" ;;
    get_client_list)
        for client in "$pipe/clients"/*; do
            kill -0 "${client##*/}" 2> /dev/null && echo "${client##*/}"
        done ;;
    quit) kill "$control" ;;
    esac
done
exit 0
"""


@pytest.fixture
def mps_control(tmp_path, monkeypatch):
    """Put a stand-in for nvidia-cuda-mps-control on PATH; return its path.

    It has another name in this process, so that no daemon of another process is somebody else's.
    """
    folder = tmp_path / "nvidia"
    folder.mkdir()
    name = f"{mps.CONTROL}-{os.getpid()}"
    (folder / name).write_text(MPS_CONTROL)
    (folder / name).chmod(0o755)
    (folder / mps.CONTROL).symlink_to(name)
    monkeypatch.setattr(mps, "CONTROL", name)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return str(folder / name)


@pytest.fixture
def session_on():
    """Makes a session whose runs are on a kind of device, each in a worker process."""
    sessions = []

    def make(kind, **settings):
        sessions.append(Session(Settings(device=kind, **settings)))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


@pytest.fixture(scope="session")
def cuda_files():
    """Finds a file of NVIDIA's toolkit by pattern: CUDA_HOME, PyPI's packages, /usr/local."""

    def find(pattern):
        spec = importlib.util.find_spec("nvidia")
        places = [Path(os.environ["CUDA_HOME"])] if "CUDA_HOME" in os.environ else []
        for parent in spec.submodule_search_locations or () if spec else ():
            places += sorted(Path(parent).glob("cu*"))
        places += sorted(Path("/usr/local").glob("cuda*"))
        for place in places:
            for path in sorted(place.glob(pattern)):
                return str(path)
        return pytest.skip(
            f"{pattern} is not here (CUDA_HOME, PyPI's nvidia-cuda-nvrtc, /usr/local/cuda)"
        )

    return find


@pytest.fixture(scope="session")
def pocl_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a directory for the kernels that PoCL compiles: not the user's, whatever is in that."""
    return str(tmp_path_factory.mktemp("pocl"))


@pytest.fixture
def pocl(monkeypatch: pytest.MonkeyPatch, pocl_cache: str) -> None:
    """Leave processors to us: PoCL's kernels get one (3.x and 5.x call that differently)."""
    monkeypatch.setenv("POCL_CACHE_DIR", pocl_cache)
    monkeypatch.setenv("POCL_MAX_PTHREAD_COUNT", "1")
    monkeypatch.setenv("POCL_CPU_MAX_CU_COUNT", "1")


@pytest.fixture(scope="session")
def opencl_functions() -> list[tuple[str, str, str]]:
    """Give result, name and parameters of every OpenCL function that we declare."""
    text = (
        (NATIVE / "devices" / "opencl" / "opencl_api.h")
        .read_text(encoding="utf-8")
        .replace("\\\n", " ")
    )
    rows = re.findall(r"X\((int|void \*), (\w+),\s*\(([^()]*)\)\)", text)
    return [(result, f"cl{name}", " ".join(rest.split())) for result, name, rest in rows]

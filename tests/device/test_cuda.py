"""The cuda device: without a GPU it is a skip with the reason, or a failure where it is required;
with one, what it computes is compared with numpy, in a worker process."""

import contextlib
from pathlib import Path

import pytest

from pytest_xsched import DeviceError, DeviceUnavailable, ScenarioError, Session, matmul, spin
from pytest_xsched import vector_add as add
from pytest_xsched.session.auto_device import GPU_FILES
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.driver_files import LibraryFile
from pytest_xsched.workers.isolated import measure_in_worker


@pytest.fixture
def cuda():
    session = Session(Settings(device="cuda"))
    yield session
    session.close()


def mapped_libraries():
    return Path("/proc/self/maps").read_text()


def test_it_computes_what_numpy_does_or_says_why_not(cuda):
    run = cuda.run(
        cuda.queue("mm", matmul(50, batch=3, layers=2), rate="50/s", priority=3),
        cuda.queue("va", add(1000), think="1ms"),
        cuda.queue("sp", spin("100us"), rate="50/s"),
        duration="500ms",
        check=True,
    )
    assert run.evidence.checked
    assert not run.evidence.faults
    assert run.device_kind == "cuda"
    assert all(run[name].counts.completed == run[name].counts.submitted for name in run)


def test_the_driver_is_not_opened_in_this_process(cuda):
    with contextlib.suppress(pytest.skip.Exception):
        cuda.run(cuda.queue("q", matmul(8), rate="50/s"), duration="100ms")
    assert "libcuda.so" not in mapped_libraries()


def test_live_queues_do_not_open_it_either(cuda):
    with contextlib.suppress(pytest.skip.Exception):
        cuda.live().close()
    assert "libcuda.so" not in mapped_libraries()


def test_a_required_device_that_is_missing_is_a_failure(monkeypatch):
    # A driver that is not there, whatever this machine has.
    monkeypatch.setattr("pytest_xsched.session.device_pool.measure_in_processes", nothing_there)
    session = Session(Settings(device="cuda", require_device="cuda"))
    with pytest.raises(
        pytest.fail.Exception, match="--xsched-require-device=cuda: not here"
    ) as error:
        session.run(session.queue("q", matmul(8)), duration="1s")
    assert error.value.__suppress_context__, "its reason is in the sentence, so it comes once"
    session = Session(Settings(device="cuda"))
    with pytest.raises(pytest.skip.Exception, match="no cuda device: not here"):
        session.run(session.queue("q", matmul(8)), duration="1s")


def nothing_there(scenario, progress, **_):
    raise DeviceUnavailable("not here", call="cuda.open", code=100)


def test_a_driver_file_that_cannot_be_loaded_is_an_error_not_a_skip(cuda, monkeypatch, tmp_path):
    wrong = tmp_path / "libcuda.so.1"
    wrong.write_text("not a library")
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(wrong))
    with pytest.raises(DeviceError, match=rf"cannot load {wrong}") as caught:
        cuda.run(cuda.queue("q", matmul(8)), duration="1s")
    assert str(caught.value).endswith(f"({wrong} is from PYTEST_XSCHED_GPU_DRIVER)")
    assert not isinstance(caught.value, DeviceUnavailable)
    assert caught.value.call == "cuda.open"


def test_a_library_that_is_no_driver_names_the_missing_function(cuda, monkeypatch):
    (libc,) = {line.split()[-1] for line in mapped_libraries().splitlines() if "/libc.so" in line}
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", libc)
    with pytest.raises(DeviceError, match="the library has no function cuInit"):
        cuda.run(cuda.queue("q", matmul(8)), duration="1s")


def test_a_worker_that_is_started_directly_asks_the_environment(scenario, monkeypatch, tmp_path):
    (tmp_path / "libcuda.so.1").write_text("not a library")
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(tmp_path / "libcuda.so.1"))
    with pytest.raises(DeviceError, match="is from PYTEST_XSCHED_GPU_DRIVER"):
        measure_in_worker(scenario("cuda"))


@pytest.mark.parametrize("process", ["worker", "inside"])
def test_the_option_wins_over_the_environment(process, monkeypatch, tmp_path):
    wrong = tmp_path / "libcuda.so.1"
    wrong.write_text("not a library")
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", "/nowhere/libcuda.so.1")
    named = LibraryFile(path=str(wrong), origin="--xsched-gpu-driver")
    session = Session(Settings(device="cuda", process=process, gpu_driver=named))
    with pytest.raises(DeviceError, match=rf"cannot load {wrong}") as caught:
        session.run(session.queue("q", matmul(8)), duration="1s")
    assert str(caught.value).endswith(f"({wrong} is from --xsched-gpu-driver)")
    # Without the option it is the other file, which is not even there.
    with pytest.raises(ScenarioError) as missing:
        Session(Settings(device="cuda", process=process)).run(
            session.queue("q", matmul(8)), duration="1s"
        )
    assert str(missing.value) == "PYTEST_XSCHED_GPU_DRIVER: /nowhere/libcuda.so.1 does not exist"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ((GPU_FILES["cuda"],), "cuda"),
        ((GPU_FILES["hip"],), "hip"),
        ((GPU_FILES["cuda"], GPU_FILES["hip"]), "hip"),
        ((), "cpu"),
    ],
)
def test_auto_takes_the_gpu_where_a_driver_is(files, kind, monkeypatch):
    session = Session(Settings())
    monkeypatch.setattr(
        "pytest_xsched.session.auto_device.os.path.exists", lambda path: path in files
    )
    assert session.device_kind == kind

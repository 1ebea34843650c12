"""The cuda device on a driver and a compiler made for tests: the cache of compiled kernels, errors.

What a kernel does is tested on GPUs; here it is what is around them, on every machine.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_xsched import Session, sequence, spin, trace, vector_add
from pytest_xsched.options import Settings


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("fake") / "libfake_cuda.so"
    source = Path(__file__).with_name("fake_cuda.c")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, source], check=True)
    return library


@pytest.fixture
def cuda(driver, tmp_path, monkeypatch):
    """A session on the fake driver, in worker processes; `cuda.noted()` is what the driver saw."""
    log = tmp_path / "log.txt"
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", str(driver))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", str(driver))
    monkeypatch.setenv("PYTEST_XSCHED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_CUDA_LOG", str(log))
    session = Session(Settings(device="cuda"))

    def noted(*kinds):
        """What was compiled and loaded since the last look, or lines of other kinds."""
        lines = [line.split() for line in log.read_text().splitlines()]
        log.write_text("")
        return [line for line in lines if line[0] in (kinds or ("compile", "load"))]

    log.write_text("")
    session.noted = noted
    yield session
    session.close()


def measure(session, workload=None, **arguments):
    queue = session.queue("q", workload or spin("1us"), rate="100/s")
    return session.run(queue, duration="50ms", **arguments)


COMPILED = [["compile", "--gpu-architecture=sm_90"], ["load"]]
CACHED = [["load"]]


def test_it_computes(cuda):
    run = measure(cuda, vector_add(1000), check=True)
    assert run.evidence.checked and run.evidence.faults == ()
    assert run.device_name == "fake 0"


@pytest.mark.parametrize("name", ["cnn-small", "decode", "train", "prefill", "hog"])
def test_traces_run(cuda, name):
    run = measure(cuda, trace(name, seed=1, commands=30), check=True)
    assert run.evidence.checked and run.evidence.faults == ()


def test_spins_are_calibrated_by_how_full_the_device_is(cuda):
    parts = [spin("1ms"), spin("1ms", fill=0.5), spin("1ms", fill=0.2), spin("1ms", waves=4)]
    measure(cuda, sequence(parts))
    spins = [(int(blocks), int(iterations)) for _, blocks, iterations in cuda.noted("spin")]
    # Four multiprocessors take eight blocks. An iteration takes 1 ns, and 2 with two blocks on one.
    expected = [(8, 500_000), (4, 1_000_000), (2, 1_000_000), (32, 125_000)]
    assert len(spins) > 20 and (len(spins) - 20) % 4 == 0  # 20 of the calibration
    for (blocks, iterations), (expected_blocks, per_duration) in zip(
        spins[20:24], expected, strict=True
    ):
        assert blocks == expected_blocks
        assert iterations == pytest.approx(per_duration, rel=0.3)


def test_the_second_worker_compiles_nothing(cuda, tmp_path):
    measure(cuda)
    assert cuda.noted() == COMPILED
    (file,) = (tmp_path / "cache").iterdir()
    before = file.stat()
    measure(cuda)
    assert cuda.noted() == CACHED
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def test_another_driver_version_compiles_again(cuda, tmp_path, monkeypatch):
    measure(cuda)
    monkeypatch.setenv("FAKE_CUDA_VERSION", "13010")
    cuda.noted()
    measure(cuda)
    assert cuda.noted() == COMPILED
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-9] + b"X" * 9])
def test_a_damaged_file_is_compiled_anew(cuda, tmp_path, damage):
    measure(cuda)
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    cuda.noted()
    measure(cuda)
    assert cuda.noted() == COMPILED
    assert file.read_bytes() == whole


@pytest.mark.parametrize("where", ["", "file/below"])
def test_without_a_cache_everything_is_compiled(cuda, tmp_path, monkeypatch, where):
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("PYTEST_XSCHED_CACHE", str(tmp_path / where) if where else "")
    for _ in range(2):
        measure(cuda)
        assert cuda.noted() == COMPILED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "log.txt"]


def test_a_relative_directory_is_that_of_pytest(cuda, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_XSCHED_CACHE", "here")
    measure(cuda)
    assert len(list((tmp_path / "here").iterdir())) == 1

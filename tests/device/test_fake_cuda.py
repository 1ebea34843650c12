"""The cuda device on a driver and a compiler made for tests: the cache of compiled kernels,
kernels of the user's own.

What a kernel does is tested on GPUs; here it is what is around them, on every machine.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from pytest_xsched import (
    CpuModel,
    DeviceError,
    InvalidRun,
    ScenarioError,
    Session,
    SimModel,
    buffer,
    float32,
    int32,
    int64,
    kernel,
    sequence,
    spin,
    trace,
    vector_add,
)
from pytest_xsched.native.binding import Device
from pytest_xsched.native.run import QueueSettings, Run
from pytest_xsched.reporting.run_table import table
from pytest_xsched.runner.reference import operand
from pytest_xsched.session.settings import Settings


@pytest.fixture
def cuda(fake_cuda, tmp_path, monkeypatch):
    """A session on the fake driver, in worker processes; `cuda.noted()` is what the driver saw."""
    log = tmp_path / "log.txt"
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)
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
    # Calibration takes real time, which a busy processor can spoil. One that does not look at how
    # full the device is finds the same number of iterations for all, each time.
    for _ in range(4):
        measure(cuda, sequence(parts))
        spins = [(int(blocks), int(iterations)) for _, blocks, iterations in cuda.noted("spin")]
        assert len(spins) >= 24  # 20 of the calibration
        whole, half, fifth, waves = spins[20:24]
        # Four multiprocessors take eight blocks; with two on one, an iteration takes longer.
        assert [blocks for blocks, _ in (whole, half, fifth, waves)] == [8, 4, 2, 32]
        assert half[1] == fifth[1] > 0
        assert waves[1] == pytest.approx(whole[1] / 4, abs=1)
        if 0 < whole[1] < half[1]:
            break
    else:
        pytest.fail(f"the same iterations for a whole and half a device, 4 times: {spins[20:24]}")


def test_a_driver_that_stops_working_is_not_fast_but_invalid(cuda, monkeypatch):
    # Spins of 10 ms: 20 launches when the device is opened, at most six to time them alone.
    monkeypatch.setenv("XS_FAKE_FAULT", "cuLaunchKernel:30:idle")
    queue = cuda.queue("low", spin("10ms"), rate="50/s")
    # On a busy machine the time of a command alone may be measured too short to show anything.
    for _ in range(5):
        run = cuda.run(queue, duration="1s", warmup="0s")
        if run.evidence.faults:
            break
    (fault,) = run.evidence.faults
    assert re.fullmatch(
        r"low: [0-9.]+ % of its requests took less than a quarter of the time that their commands "
        r"take alone \(.* instead of .*\): the work was not done",
        fault,
    )
    with pytest.raises(InvalidRun, match="the work was not done"):
        run.low.assert_max_below("1h")


def test_a_driver_that_never_works_is_an_error(cuda, monkeypatch):
    monkeypatch.setenv("XS_FAKE_FAULT", "cuLaunchKernel:1:idle")
    queue = cuda.queue("low", spin("100us"), rate="50/s")
    with pytest.raises(DeviceError, match=r"gpu\.calibrate: a longer spin did not take longer"):
        cuda.run(queue, duration="200ms", warmup="0s")


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


# ---- kernels of the user's own

SCALE = 'extern "C" __global__ void scale(float *x, long long n, float by, int more) { ... }'
ARGUMENTS = [buffer(1000), int64(1000), float32(0.5), int32(-7)]


def scale(source=SCALE, name="scale", args=ARGUMENTS, **arguments):
    return kernel(source, name, grid=(4, 2), block=(32, 8, 1), args=args, **arguments)


def test_a_kernel_gets_its_arguments_and_its_grid(cuda):
    device = Device("cuda", cpu=CpuModel(), sim=SimModel())
    run = Run(device, "none")
    settings = QueueSettings(
        name="q", priority=0, stream_priority=0, threshold=4, batch_size=2, seed=3
    )
    queue = run.add_open(settings, scale(layers=2).commands, np.array([0]))
    run.start(warmup_ns=0, duration_ns=10_000_000, drain_ns=1_000_000_000)
    while not run.wait():
        pass
    expected = operand(1000, 3, 0)
    for _ in range(2):  # equal commands share their buffers
        expected = expected * np.float32(0.5) + np.float32(-7)
    assert np.array_equal(queue.output(1, 1000), expected)
    with pytest.raises(ScenarioError, match="kernel 'scale' has no checksum, because"):
        queue.checksum(0)
    run.close()
    device.close()
    assert cuda.noted("scale") == 2 * [["scale", "4", "2", "1", "32", "8", "1"]]


def test_a_text_is_compiled_once_and_kept(cuda):
    both = sequence([scale(), scale(args=[*ARGUMENTS[:1], int64(10), *ARGUMENTS[2:]])])
    measure(cuda, both)
    assert cuda.noted() == 2 * COMPILED  # ours, and theirs for two kernels
    measure(cuda, sequence([both, scale(SCALE + " ")]))
    assert cuda.noted() == 2 * CACHED + COMPILED


def test_results_of_a_kernel_are_said_not_to_be_checked(cuda):
    run = cuda.run(
        cuda.queue("own", sequence([scale(), vector_add(10)]), rate="100/s"),
        cuda.queue("other", vector_add(10), rate="100/s"),
        duration="50ms",
        check=True,
    )
    assert not run.evidence.checked
    assert run.evidence.unchecked == ("own: results of kernel 'scale' are not checked",)
    assert run.evidence.faults == ()
    assert run.to_dict()["evidence"]["results_not_checked"] == list(run.evidence.unchecked)
    assert "  ! own: results of kernel 'scale' are not checked" in table(run.to_dict())
    assert "  all results equal those of numpy" not in table(run.to_dict())
    assert measure(cuda, scale()).evidence.unchecked == ()  # nobody asked


def test_a_compile_error_carries_the_end_of_the_log(cuda):
    with pytest.raises(DeviceError) as caught:
        measure(cuda, scale("#error"))
    assert caught.value.call == "nvrtc.compile"
    assert str(caught.value).startswith("nvrtc.compile: ....")
    assert str(caught.value).endswith("error: this is the end of the log ")
    assert len(str(caught.value)) > 1000


def test_a_kernel_that_is_not_in_the_source(cuda):
    with pytest.raises(DeviceError, match="the source has no kernel 'other'; declare it as"):
        measure(cuda, scale(name="other"))


@pytest.mark.parametrize("kind", ["cpu", "sim"])
def test_other_devices_run_no_source(kind):
    session = Session(Settings(device=kind))
    with pytest.raises(ScenarioError) as error:
        measure(session, scale())
    assert str(error.value) == (
        f"kernel 'scale': the {kind} device cannot compile source text; cuda and hip can"
    )
    session.close()

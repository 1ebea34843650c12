"""Where a run was measured: what is read from where, what it forbids, JSON there and back."""

import dataclasses
import json
import os

import pytest

from pytest_xsched.errors import InvalidRun
from pytest_xsched.monitoring import environment
from pytest_xsched.monitoring.environment import (
    SERIALISING,
    VARIABLES,
    Fingerprint,
    driver_libraries,
    pci_facts,
    relevant,
    serialising,
    take_fingerprint,
)
from pytest_xsched.native.binding import DeviceInfo
from pytest_xsched.reporting.run_table import title
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.session.adaptive import run_in_windows

GPU = DeviceInfo(
    kind="cuda",
    index=1,
    name="NVIDIA H200",
    virtual_time=False,
    computes=True,
    on_host=False,
    honours_priority=None,
    stream_priorities=(0, 5),
    parallel=0,
    units=0,
    unit_step=0,
    architecture="sm_90",
    uuid="GPU-0a",
    pci_id="",
    driver_version="13.0",
    compiler_version="",
    memory_bytes=0,
    driver_file="/usr/lib/libcuda.so.1",
)


# ---- a setting that makes a GPU do one thing at a time


@pytest.mark.parametrize("name", SERIALISING)
@pytest.mark.parametrize("kind", ["cuda", "hip"])
def test_a_serialised_gpu_is_no_gpu_to_judge_by(name, kind):
    for value in ("1", "3", " 1", "true"):
        (fault,) = serialising(kind, {name: value})
        assert fault.startswith(f"{name}={value} serialises the GPU")
    for value in ("0", "", " 0 ", None):
        assert serialising(kind, {name: value}) == ()
    assert serialising(kind, {}) == ()


def test_every_setting_is_named():
    assert len(serialising("cuda", dict.fromkeys(SERIALISING, "1"))) == len(SERIALISING)


@pytest.mark.parametrize("kind", ["cpu", "sim"])
def test_what_is_no_gpu_is_not_serialised(kind):
    assert serialising(kind, dict.fromkeys(SERIALISING, "1")) == ()


def test_a_gate_refuses(made_fingerprint, made_queue, made_run):
    run = made_run(made_queue([1.0] * 300))

    def judged(kind, environment):
        measurement = Measurement(
            fingerprint=made_fingerprint(environment, kind=kind),
            counts=(run.high.counts,),
            samples=(run.high.samples,),
            wrong_results=(),
            priority_effect=None,
            alone_ns=(None,),
        )
        scenario = dataclasses.replace(run.scenario, device=kind)
        return run_in_windows(scenario, lambda _: measurement, fixed=True)

    judged("sim", {"AMD_SERIALIZE_KERNEL": "3"}).high.assert_no_errors()
    judged("cuda", {"AMD_SERIALIZE_KERNEL": None}).high.assert_no_errors()
    refused = judged("cuda", {"AMD_SERIALIZE_KERNEL": "3"})
    with pytest.raises(InvalidRun, match="no verdict: AMD_SERIALIZE_KERNEL=3 serialises the GPU"):
        refused.high.assert_no_errors()
    assert not refused.evidence.to_dict()["valid"]


# ---- what is read


def test_the_environment_has_every_variable_and_the_rest_of_its_families():
    kept = relevant({"HOME": "/root", "GPU_MAX_HW_QUEUES": "8", "CUDA_MPS_LOG_DIRECTORY": "/l"})
    assert set(kept) == {*VARIABLES, "CUDA_MPS_LOG_DIRECTORY"}
    assert kept["GPU_MAX_HW_QUEUES"] == "8" and kept["CUDA_MPS_LOG_DIRECTORY"] == "/l"
    assert sum(value is not None for value in kept.values()) == 2
    assert list(kept) == sorted(kept)


def test_mapped_libraries_of_drivers():
    libraries = driver_libraries(
        [
            "/usr/bin/python3.12",
            "/usr/lib/libcuda.so.580.178",
            "/usr/lib/libcuda.so.580.178",
            "/opt/my rocm/libamdhip64.so.6.4.43484",
            "/usr/lib/libnvrtc-builtins.so.13.0.88",
            "/usr/lib/libc.so.6",
            "/home/libcuda/numpy.so",
        ]
    )
    assert [library.path for library in libraries] == [
        "/opt/my rocm/libamdhip64.so.6.4.43484",
        "/usr/lib/libcuda.so.580.178",
        "/usr/lib/libnvrtc-builtins.so.13.0.88",
    ]


@pytest.fixture
def sys_of(tmp_path):
    """Makes a sysfs with one device, bound to a kernel module; gives its root."""

    def make(module, version, **files):
        device = tmp_path / "bus" / "pci" / "devices" / "0000:1b:00.0"
        device.mkdir(parents=True)
        (tmp_path / "module" / module).mkdir(parents=True)
        (tmp_path / "module" / module / "version").write_text(f"{version}\n")
        (tmp_path / "drivers" / module).mkdir(parents=True)
        (tmp_path / "drivers" / module / "module").symlink_to(tmp_path / "module" / module)
        (device / "driver").symlink_to(tmp_path / "drivers" / module)
        for name, text in files.items():
            (device / name).write_text(text)
        return tmp_path

    return make


def test_an_amd_gpu_has_clocks_and_partitions(sys_of):
    sys = sys_of(
        "amdgpu",
        "6.12.12",
        pp_dpm_sclk="0: 132Mhz\n1: 2100Mhz *\n",
        pp_dpm_mclk="0: 900Mhz *\n1: 1300Mhz\n",
        current_compute_partition="SPX\n",
        current_memory_partition="NPS1\n",
    )
    assert pci_facts("0000:1B:00.0", sys) == {
        "kernel_driver_version": "6.12.12",
        "core_clock_mhz": 2100,
        "memory_clock_mhz": 900,
        "partition": "SPX/NPS1",
    }


def test_what_the_kernel_does_not_say_is_not_known(sys_of, tmp_path):
    nothing = dict.fromkeys(pci_facts("0000:00:00.0", tmp_path))
    assert pci_facts("0000:00:00.0", tmp_path) == nothing
    sys = sys_of("nvidia", "580.178")
    assert pci_facts("0000:1b:00.0", sys) == nothing | {"kernel_driver_version": "580.178"}


def test_taken_here_and_read_back(monkeypatch):
    monkeypatch.setenv("GPU_MAX_HW_QUEUES", "2")
    taken = take_fingerprint([GPU])
    assert taken.devices[0].name == "NVIDIA H200" and taken.devices[0].architecture == "sm_90"
    assert taken.devices[0].memory_bytes is None and taken.devices[0].pci_id is None
    assert taken.environment["GPU_MAX_HW_QUEUES"] == "2"
    assert taken.kernel == os.uname().release
    assert all(taken.packages[name] for name in ("pytest-xsched", "pytest", "numpy", "cffi"))
    assert Fingerprint.from_dict(json.loads(json.dumps(taken.to_dict()))) == taken


# ---- what is shown of it


def test_the_processors_that_may_be_used_are_named():
    allowed = os.sched_getaffinity(0)
    (first, *_) = sorted(allowed)
    os.sched_setaffinity(0, {first})
    try:
        taken = take_fingerprint([])
    finally:
        os.sched_setaffinity(0, allowed)
    assert (taken.cpus, taken.cpus_usable) == (str(first), 1)


def test_what_cannot_be_read_is_said_and_no_error(tmp_path):
    taken = take_fingerprint([], tmp_path)
    assert (taken.libraries, taken.cpu) == ((), None)
    assert taken.unknown == (
        f"libraries of drivers: {tmp_path}/self/maps: No such file or directory",
        f"model of the CPU: {tmp_path}/cpuinfo: No such file or directory",
    )
    (tmp_path / "cpuinfo").write_text("model name\t: fast\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "maps").write_text("")
    taken = take_fingerprint([], tmp_path)
    assert (taken.cpu, taken.unknown) == ("fast", ())


def test_versions_that_were_hidden_for_a_while_are_found_later(monkeypatch):
    def hidden(package):
        raise environment.importlib.metadata.PackageNotFoundError

    environment._found_version.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", hidden)
        assert take_fingerprint([]).packages["numpy"] is None
    assert take_fingerprint([]).packages["numpy"] is not None


def test_the_title_says_which_gpu(made_fingerprint, made_queue, made_run):
    run = made_run(made_queue([1.0])).to_dict()
    assert title(run) == "builtin (hpf) on sim, 50 ms of 60 s, seed 3"
    facts = {"kind": "cuda", "name": "NVIDIA H200", "architecture": "sm_90"}
    versions = {"driver_version": "13.0", "kernel_driver_version": "580.178"}
    for more, said in (
        ({}, "cuda"),
        ({"index": 1}, "cuda:1"),
        ({"index": 1}, "cuda:1"),
        ({"driver_version": "13.0"}, "cuda (NVIDIA H200, sm_90, driver 13.0)"),
        (versions, "cuda (NVIDIA H200, sm_90, driver 580.178)"),
    ):
        run["scenario"]["device"] = "cuda"
        run["fingerprint"] = made_fingerprint(**facts, **more).to_dict()
        assert title(run) == f"builtin (hpf) on {said}, 50 ms of 60 s, seed 3"

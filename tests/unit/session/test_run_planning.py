"""Every arm is checked before the first is measured: nothing is lost to one that cannot be."""

from __future__ import annotations

import pytest

from pytest_xsched import MPS, SimModel, XSched, at, command, spin
from pytest_xsched.errors import DeviceUnavailable, ScenarioError, SchedulerInactive
from pytest_xsched.session import device_pool
from pytest_xsched.session.device_pool import DevicePool
from pytest_xsched.session.named_builds import NamedBuild
from pytest_xsched.session.session import Session
from pytest_xsched.session.settings import Settings
from pytest_xsched.system.driver_files import Libraries, LibraryFile
from pytest_xsched.workers import mps
from pytest_xsched.workers.dispatch import is_there

DRIVER = LibraryFile(path="libcuda.so.1", origin="a test")


@pytest.fixture
def measured(monkeypatch):
    """Counts the windows that are measured; none of them is, but in virtual time."""
    found = []
    measure = DevicePool.measure

    def count(pool, scenario, *arguments, **more):
        found.append((scenario.scheduler, scenario.seed))
        if scenario.device_kind != "sim":
            raise DeviceUnavailable("there is no driver")
        return measure(pool, scenario, *arguments, **more)

    monkeypatch.setattr(DevicePool, "measure", count)
    return found


@pytest.fixture
def session_on():
    """Makes a session whose runs are on a kind of device."""
    sessions = []

    def make(device, **settings):
        sessions.append(Session(Settings(device=device, **settings)))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


@pytest.fixture
def home(tmp_path):
    """A directory with the names of XSched's libraries for CUDA."""
    (tmp_path / "lib").mkdir()
    for name in ("libpreempt.so", "libhalcuda.so"):
        (tmp_path / "lib" / name).touch()
    return tmp_path


def two(session, **more):
    return (
        session.queue("high", spin("1ms"), priority=1, rate="20/s", **more),
        session.queue("low", spin("1ms")),
    )


def sentence_of(error, use):
    with pytest.raises(error) as raised:
        use()
    return str(raised.value)


@pytest.mark.parametrize("first", ["time-slicing", "xsched"])
def test_an_arm_that_cannot_be_is_refused_before_any_is_measured(session_on, measured, first):
    """With the sentence of the run itself; of several the one that would have come first."""
    session = session_on("sim")
    wrong = ["time-slicing", "xsched"]
    schedulers = ["native", "builtin", first, *(one for one in wrong if one != first)]
    said = sentence_of(
        ScenarioError,
        lambda: session.compare(
            *two(session), schedulers=schedulers, arms=["alone"], duration="1s"
        ),
    )
    assert measured == [] and session.runs == []
    alone = sentence_of(
        ScenarioError, lambda: session.run(*two(session), scheduler=first, duration="1s")
    )
    assert said == alone


@pytest.mark.parametrize(
    ("device", "scheduler", "more", "sentence"),
    [
        (
            "cuda",
            "xsched",
            {},
            "queue 'chat' is a program: XSched's local scheduler sees the queues of its own "
            'process only; take XSched(scheduler="global")',
        ),
        (
            "cuda",
            XSched(policy="kedf", scheduler="global"),
            {},
            "queue 'chat': XSched's K-EDF can suspend a queue without a deadline for ever; write "
            'deadline="1s"',
        ),
        (
            "cuda",
            "time-slicing",
            {"changes": [at("1s", "chat", priority=2)]},
            "queue 'chat' is a program: changes do not reach it",
        ),
        (
            "auto",
            "xsched",
            {},
            "scheduler 'xsched' schedules GPUs, but device auto took cpu, because neither "
            "/dev/kfd nor /dev/nvidiactl exists; name a device, as in --xsched-device=cuda",
        ),
    ],
)
def test_what_an_arm_cannot_do_with_these_queues(
    session_on, measured, monkeypatch, device, scheduler, more, sentence
):
    monkeypatch.setattr("pytest_xsched.session.auto_device.os.path.exists", lambda path: False)
    session = session_on(device)
    chat = session.queue("chat", command(["python", "serve.py"]), priority=1, rate="20/s")
    queues = [chat, session.queue("low", command(["python", "train.py"]))]
    said = sentence_of(
        ScenarioError,
        lambda: session.compare(
            *queues, schedulers=["native", scheduler], episodes=1, duration="2s", **more
        ),
    )
    assert said == sentence and measured == []


def test_what_two_arms_differ_in_is_still_measured_in_turns(session_on, measured):
    session = session_on("sim", seed=5)
    session.compare(*two(session), episodes=2, duration="2s", sim=SimModel(priority=False))
    one, other = measured[0][1], measured[-1][1]
    assert measured[:3] == [("native", 5), ("builtin", 5), ("native", 5)]
    assert measured[3:] == [("native", other), ("builtin", other), ("native", other)]
    assert one != other and session.runs == []


def test_a_seed_that_is_no_number_is_refused(session_on, measured):
    session = session_on("sim")
    said = sentence_of(
        ScenarioError, lambda: session.compare(*two(session), seed="7", duration="2s")
    )
    assert said.startswith("compare(): seed '7' ") and measured == []


def test_files_that_are_no_list_are_refused(session_on, measured):
    session = session_on("sim")
    said = sentence_of(
        ScenarioError, lambda: session.compare(*two(session), files="serve.py", duration="2s")
    )
    assert said.startswith("files 'serve.py' are not a list of paths") and measured == []


def test_an_arm_whose_xsched_is_not_installed(session_on, measured, monkeypatch, home):
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    session = session_on("cuda", gpu_driver=DRIVER)

    def compare(*schedulers):
        return lambda: session.compare(
            *two(session), schedulers=["native", *schedulers], duration="1s"
        )

    said = sentence_of(SchedulerInactive, compare("xsched"))
    assert said.startswith("scheduler inactive: no XSched is named; set the variable XSCHED_HOME")
    monkeypatch.setenv("XSCHED_HOME", str(home))
    said = sentence_of(SchedulerInactive, compare(XSched(scheduler="global")))
    assert "has no program xserver" in said
    (home / "lib" / "libhalcuda.so").unlink()
    assert "has no libhalcuda.so" in sentence_of(SchedulerInactive, compare("xsched"))
    assert measured == []


def test_an_arm_whose_mps_is_not_there(session_on, measured, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mps, "_FOLDERS", ())
    session = session_on("cuda", gpu_driver=DRIVER)

    def compare(settings):
        return lambda: session.compare(
            *two(session), schedulers=["native", settings], duration="1s"
        )

    said = sentence_of(SchedulerInactive, compare("mps"))
    assert said.startswith("scheduler inactive: MPS needs nvidia-cuda-mps-control, which is ")
    control = tmp_path / mps.CONTROL
    control.write_text("#!/bin/sh\necho no daemon\nexit 1\n")
    control.chmod(0o755)
    said = sentence_of(SchedulerInactive, compare(MPS(daemon="running")))
    assert said.startswith("scheduler inactive: MPS: no control daemon answers at CUDA_MPS_PIPE")
    monkeypatch.setattr(mps, "running_daemons", lambda: [17])
    said = sentence_of(SchedulerInactive, compare("mps"))
    assert said.startswith("scheduler inactive: an MPS control daemon runs already, process 17;")
    assert measured == []


@pytest.mark.parametrize("device", ["opencl", "cuda"])
def test_an_arm_is_checked_where_only_the_driver_itself_knows_its_devices(
    session_on, measured, monkeypatch, device
):
    """OpenCL has no device file, nor has CUDA under WSL; such an arm was found in its turn."""
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    monkeypatch.delenv("PYTEST_XSCHED_GPU_DRIVER", raising=False)
    monkeypatch.setattr("pytest_xsched.session.auto_device.os.path.exists", lambda path: False)
    asked, there = [], [True]

    def is_there(name, libraries):
        asked.append((name, libraries.driver))
        return there[0]

    monkeypatch.setattr(device_pool, "is_there", is_there)
    session = session_on(device)

    def compare():
        session.compare(*two(session), schedulers=["native", "xsched"], duration="1s")

    said = sentence_of(SchedulerInactive, compare)
    assert said.startswith("scheduler inactive: no XSched is named;")
    assert measured == [] and asked == [(device, None)]
    there[0] = False
    with pytest.raises(pytest.skip.Exception, match=f"no {device} device: there is no driver"):
        compare()
    assert len(measured) == 1


def test_another_process_says_whether_a_device_is_there(monkeypatch, tmp_path):
    """Also of OpenCL, whose loader may be there without any driver."""
    (tmp_path / "libcuda.so.1").touch()
    no_library = LibraryFile(path=str(tmp_path / "libcuda.so.1"), origin="a test")
    assert is_there("cpu", Libraries())
    assert not is_there("cuda", Libraries(driver=no_library))
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    assert not is_there("opencl", Libraries())


def test_an_arm_whose_shim_is_not_installed(session_on, measured, monkeypatch, home):
    """Only programs need it, and only under XSched."""
    monkeypatch.setenv("XSCHED_HOME", str(home))
    (home / "bin").mkdir()
    xserver = home / "bin" / "xserver"
    xserver.touch()
    xserver.chmod(0o755)
    session = session_on("cuda", gpu_driver=DRIVER)
    chat = session.queue("chat", command(["python", "serve.py"]), priority=1, rate="20/s")

    def compare():
        schedulers = ["native", XSched(scheduler="global")]
        session.compare(chat, schedulers=schedulers, episodes=1, duration="2s")

    assert "has no libshimcuda.so" in sentence_of(SchedulerInactive, compare)
    (home / "lib" / "libshimcuda.so").touch()
    said = sentence_of(SchedulerInactive, compare)
    assert said.startswith("scheduler inactive: queue 'chat': ") and "libshimcuda.so" in said
    assert measured == []


def test_a_gpu_that_is_not_there_skips_although_xsched_is_not_there_either(
    session_on, measured, monkeypatch
):
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    monkeypatch.delenv("PYTEST_XSCHED_GPU_DRIVER", raising=False)
    monkeypatch.setattr("pytest_xsched.session.auto_device.os.path.exists", lambda path: False)
    session = session_on("cuda")
    with pytest.raises(pytest.skip.Exception, match="no cuda device: there is no driver"):
        session.compare(*two(session), schedulers=["native", "xsched"], duration="1s")
    assert len(measured) == 1


def test_an_arm_that_needs_a_process_is_refused_where_all_is_measured_inside(session_on, measured):
    session = session_on("cuda", process="inside")
    said = sentence_of(
        ScenarioError,
        lambda: session.compare(*two(session), schedulers=["native", "mps"], duration="1s"),
    )
    assert said.endswith(
        "runs each queue in a process of its own: not with --xsched-process=inside"
    )
    assert measured == []


def test_a_build_that_is_not_there_is_refused_before_the_other_is_measured(
    session_on, measured, home
):
    session = session_on(
        "cuda",
        gpu_driver=DRIVER,
        scheduler="xsched",
        build=NamedBuild(name="pr", home=f"{home}/pr"),
        reference=NamedBuild(name="main", home=str(home)),
    )
    said = sentence_of(SchedulerInactive, lambda: session.run(*two(session), duration="1s"))
    assert said == f"scheduler inactive: XSched(home='{home}/pr'): {home}/pr does not exist"
    assert measured == []

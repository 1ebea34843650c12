"""The real XSched's place in a run: its double under the fake drivers, and PoCL under both.

Where XSCHED_HOME names an installation, the same tests run with that one on PoCL.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from pytest_xsched import (
    DeviceError,
    ScenarioError,
    SchedulerInactive,
    XSched,
    at,
    matmul,
    spin,
)
from pytest_xsched.reporting.run_table import table
from pytest_xsched.scenario.xsched_settings import POLICY_NUMBERS
from pytest_xsched.xsched.installation import Home

REAL = os.environ.get("XSCHED_HOME")


DOUBLES = ["double-cuda", "double-hip", "double-opencl"]


@pytest.fixture(params=[*DOUBLES, "real-opencl"] if REAL else DOUBLES)
def place(request, xsched_double, built, fake_cuda, monkeypatch, pocl):
    """Makes a kind of device with XSched for it there; gives the kind and the installation."""
    which, kind = request.param.split("-")
    if kind == "opencl":
        request.getfixturevalue("some_opencl")
    else:
        driver = str(built("hip_on_cuda.c")) if kind == "hip" else fake_cuda
        monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", driver)
        monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", "" if kind == "hip" else fake_cuda)
    path = REAL if which == "real" else str(xsched_double)
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    return kind, Home(path=path, origin="--xsched-home")


@pytest.fixture
def some_opencl():
    from pytest_xsched import DeviceUnavailable
    from pytest_xsched.native.binding import locate

    try:
        locate("opencl")
    except DeviceUnavailable as error:
        pytest.skip(f"no opencl device: {error}")


@pytest.fixture
def session(place, session_on):
    kind, home = place
    return session_on(kind, xsched_home=home)


def two_queues(session, **hints):
    return (
        session.queue("high", matmul(16, layers=3), priority=10, rate="50/s", **hints),
        session.queue("low", matmul(24, layers=5), priority=1, think="1ms", **hints),
    )


def test_two_models(session):
    run = session.run(*two_queues(session, threshold=2), duration="1s", scheduler="xsched")
    shown = run.evidence.activity
    assert run.evidence.faults == ()
    assert shown.report == "using local scheduler with policy HPF"
    assert len(shown.order) == 2 and min(shown.order) >= 0.75
    (line,) = [line for line in table(run.to_dict()) if "XSched:" in line]
    assert "'using local scheduler with policy HPF', hints were followed in " in line
    commands = sum(run[name].counts.launched for name in run)
    assert line.endswith(f"of pairs, all {commands} commands went through it")
    for name in run:
        queue = run[name]
        assert queue.n > 0
        assert shown.commands[name] == (queue.counts.launched, queue.counts.launched)
        done = queue.samples[queue.samples["completed_ns"] >= 0]
        assert np.all(done["submitted_ns"] <= done["launched_ns"])
        assert np.all(done["launched_ns"] <= done["completed_ns"])
    assert {os.path.basename(file.path).partition(".")[0] for file in shown.files} >= {
        "libpreempt",
        f"libhal{session.device_kind}",
    }


def test_what_it_computes_is_checked(session):
    run = session.run(
        *two_queues(session), duration="500ms", scheduler=XSched(policy="hpf"), check=True
    )
    assert run.evidence.checked
    assert run.evidence.faults == ()


def test_without_a_policy_the_user_holds_and_lets_go(session):
    # An open loop: the request of a closed one may be submitted before it is held, for all of it.
    low = session.queue("low", spin("1ms"), rate="100/s", threshold=2, batch_size=1)
    run = session.run(
        low,
        duration="900ms",
        warmup="0s",
        scheduler=XSched(policy="none", scheduler="app"),
        changes=[at("300ms", "low", suspended=True), at("600ms", "low", suspended=False)],
    )
    done = run.low.samples[run.low.samples["completed_ns"] >= 0]
    hold_ns, go_ns = 300_000_000, 600_000_000
    # The owner of the queue holds it before it submits what is due then or later; what it had
    # submitted just before may be held as well, and then nothing is submitted meanwhile.
    held = (done["submitted_ns"] >= hold_ns) & (done["submitted_ns"] < go_ns)
    assert np.all(done["launched_ns"][held] >= go_ns)
    assert np.any((done["submitted_ns"] < go_ns) & (done["launched_ns"] >= go_ns))
    assert np.any(done["launched_ns"] < hold_ns) and np.any(done["submitted_ns"] >= go_ns)


@pytest.mark.skipif(not REAL, reason="XSCHED_HOME names no XSched")
@pytest.mark.parametrize("policy", sorted(POLICY_NUMBERS.keys() - {"none"}))
def test_all_policies_of_the_real_one(policy, session_on, pocl, monkeypatch, some_opencl):
    session = session_on("opencl", xsched_home=Home(path=REAL, origin="XSCHED_HOME"))
    xsched = XSched(policy=policy, timeslice="5ms" if policy == "up" else None)
    queues = two_queues(session, deadline="1s", laxity="1ms", utilization=50)
    run = session.run(*queues, duration="300ms", scheduler=xsched)
    assert run.evidence.faults == ()
    assert run.evidence.activity.report == f"using local scheduler with policy {policy.upper()}"


def test_the_environment_of_the_tests_does_not_reach_it(session, monkeypatch):
    monkeypatch.setenv("XSCHED_POLICY", "CFS")
    monkeypatch.setenv("XLOG_LEVEL", "ERRO")
    run = session.run(*two_queues(session), duration="300ms", scheduler="xsched")
    assert run.evidence.activity.report == "using local scheduler with policy HPF"


# ---- what is refused, or inactive


def test_a_variable_that_xsched_does_not_know(session, monkeypatch):
    monkeypatch.setenv("XSCHED_POLCY", "HPF")
    with pytest.raises(SchedulerInactive, match=r"XSCHED_POLCY is not a variable .* XSCHED_POLICY"):
        session.run(*two_queues(session), duration="300ms", scheduler="xsched")


def test_it_does_not_run_in_this_process(place, session_on):
    kind, home = place
    session = session_on(kind, xsched_home=home, process="inside")
    with pytest.raises(ScenarioError, match="--xsched-process=inside"):
        session.run(*two_queues(session), duration="300ms", scheduler="xsched")


def test_no_installation(place, session_on):
    session = session_on(place[0])
    with pytest.raises(SchedulerInactive, match="no XSched is named"):
        session.run(*two_queues(session), duration="300ms", scheduler="xsched")


def double(place):
    if place[1].path == REAL:
        pytest.skip("a fault of the double")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("inactive", "policy hpf, but XSched reports 'using app-managed scheduler'"),
        ("ignore-priority", "hints preferred one of two queues, and then the other"),
    ],
)
def test_a_scheduler_that_does_not_schedule(place, session, monkeypatch, fault, sentence):
    double(place)
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    with pytest.raises(SchedulerInactive, match=f"^scheduler inactive: .*{sentence}"):
        session.run(*two_queues(session), duration="300ms", scheduler="xsched")


def test_a_library_that_is_none(place, session_on, tmp_path):
    kind, _ = place
    (tmp_path / "libpreempt.so").write_bytes(b"no library")
    for name in ("libhalcuda.so", "libhalhip.so", "libhalopencl.so"):
        (tmp_path / name).write_bytes(b"no library")
    session = session_on(kind, xsched_home=Home(path=str(tmp_path), origin="--xsched-home"))
    with pytest.raises(DeviceError, match=r"cannot load .*libpreempt\.so"):
        session.run(*two_queues(session), duration="300ms", scheduler="xsched")

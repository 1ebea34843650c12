"""What counts as XSched being in effect, from what it said and what was counted."""

from unittest.mock import MagicMock

import numpy as np
import pytest

from pytest_xsched import SchedulerInactive, XSched
from pytest_xsched.xsched import activation
from pytest_xsched.xsched.activation import Activity, File, check_report, measure_order
from pytest_xsched.xsched.installation import Home, files_for, find_home

APP = "[XSCHED INFO @ T 1 @ 1] using app-managed scheduler\n"
HPF = "[XSCHED INFO @ T 1 @ 2] using local scheduler with policy HPF\n"
CHANGED = "[XSCHED INFO @ T 1 @ 3] policy changed from HPF to KEDF\n"


@pytest.mark.parametrize(
    ("xsched", "text", "said"),
    [
        (XSched(), APP + HPF, "using local scheduler with policy HPF"),
        (XSched(policy="kedf"), HPF + CHANGED, "using local scheduler with policy KEDF"),
        (XSched(policy="none", scheduler="app"), APP, "using app-managed scheduler"),
        (XSched(scheduler="global"), "using global scheduler", "using global scheduler"),
    ],
)
def test_it_says_what_was_asked_for(xsched, text, said):
    assert check_report(xsched, text) == said


@pytest.mark.parametrize(
    ("xsched", "text", "sentence"),
    [
        (XSched(), "", "reported no scheduler"),
        (XSched(), HPF + APP, "policy hpf, but XSched reports 'using app-managed scheduler'"),
        (XSched(policy="cfs"), HPF, "policy cfs, but XSched reports 'using local .* HPF'"),
        (XSched(policy="none", scheduler="app"), HPF, "the app-managed scheduler, but"),
        (XSched(scheduler="global"), HPF, "the global scheduler with policy hpf, but"),
    ],
)
def test_it_says_something_else(xsched, text, sentence):
    with pytest.raises(SchedulerInactive, match=f"^scheduler inactive: .*{sentence}"):
        check_report(xsched, text)


def activity(*paths, commands=None):
    return Activity(
        report="",
        order=(),
        commands=commands or {},
        files=tuple(File(path=path, bytes=1, sha256="0") for path in paths),
    )


class _Opened:
    def forget_hints(self, xsched):
        self.policy = xsched.policy


@pytest.mark.parametrize(
    ("policy", "waited_ns", "trials"),
    [("hpf", 0, 4), ("hpf", 30_000_000, 8), ("up", 0, 4), ("up", 30_000_000, 20)],
)
def test_there_are_more_trials_while_threads_wait_for_a_processor(
    monkeypatch, policy, waited_ns, trials
):
    """Turns by the clock pass also while the thread of a queue waits, so `up` gets the most."""
    works = []

    def share_first(_device, work, _hints, _step, _in_turns):
        works.append(work)
        return 0.6, waited_ns // 2

    monkeypatch.setattr(activation, "_share_first", share_first)
    with pytest.raises(SchedulerInactive, match="in 60% and 60% of the pairs"):
        measure_order(_Opened(), XSched(policy=policy))
    assert len(works) == 2 * trials
    if policy == "up":
        assert len(set(works)) == 1  # short ones only


def test_a_late_trial_is_enough_and_leaves_no_hints(monkeypatch):
    shares = iter([0.7, 0.9] * 19 + [0.8, 0.9])
    monkeypatch.setattr(activation, "_share_first", lambda *_: (next(shares), 30_000_000))
    device = _Opened()
    assert measure_order(device, XSched(policy="up")) == (0.8, 0.9)
    assert device.policy == "up"


def test_the_time_that_threads_of_xsched_waited_counts(monkeypatch):
    """These threads end when the run is closed, and the kernel forgets their times."""
    waited = {"ns": 5}

    class Run:
        def __init__(self, *_):
            waited["ns"] += 40

        def start(self, **_):
            waited["ns"] += 2

        def wait_until_over(self):
            pass

        def close(self):
            waited["ns"] -= 40

    monkeypatch.setattr(activation, "Run", Run)
    monkeypatch.setattr(activation, "_add", lambda *_: _Launched(0, 1))
    monkeypatch.setattr(activation, "run_delay_ns", lambda: waited["ns"])
    share, waited_ns = activation._share_first(None, None, [(0, None), (1, None)], 1, False)
    assert (share, waited_ns) == (0.25, 42)


class _Launched:
    def __init__(self, *times_ns):
        self.times_ns = np.array(times_ns)

    def samples(self, _most):
        return {"launched_ns": self.times_ns}


@pytest.mark.parametrize(
    ("preferred", "other", "share"),
    [
        ((5, 6, 7, 9), (1, 2, 3, 8), 0.75),  # a first turn alone
        ((5, 7, 9, 11), (6, 8, 10, 12), 0.625),  # one after the other: no order
        ((6, 8, 10, 12), (5, 7, 9, 11), 0.5),
        ((5, 6, 7, 8), (1, 2, 3, 4), 0.0),  # nothing but first turns
    ],
)
def test_the_first_turn_of_a_queue_that_is_alone_shows_no_order(
    monkeypatch, preferred, other, share
):
    queues = iter([_Launched(*preferred), _Launched(*other)])
    monkeypatch.setattr(activation, "Run", lambda *_: MagicMock())
    monkeypatch.setattr(activation, "_add", lambda *_: next(queues))
    found, _ = activation._share_first(None, None, [(0, None), (1, None)], 1, True)
    assert found == pytest.approx(share)


def test_every_command_went_through():
    shown = activity(commands={"high": (40, 40), "low": (7, 7)})
    assert shown.faults({"high": 40, "low": 7}) == []
    assert Activity.from_dict(shown.to_dict()) == shown


@pytest.mark.parametrize("counts", [(39, 39), (40, 39), (0, 0), (41, 41)])
def test_some_command_did_not(counts):
    (fault,) = activity(commands={"high": counts}).faults({"high": 40})
    assert fault == (
        f"the runner passed 40 commands of high to XSched, which counts {counts[0]} and launched "
        f"{counts[1]}"
    )


def test_one_driver_from_one_rocm():
    one = ("/opt/rocm-6.4.0/lib/libamdhip64.so.6", "/opt/x/lib/libpreempt.so")
    assert activity(*one).faults({}) == []
    (copies, trees) = sorted(
        activity(*one, "/opt/rocm-7.2.0/lib/libamdhip64.so.7").faults({}), reverse=True
    )
    assert copies.startswith("two copies of the driver are mapped: /opt/rocm-6.4.0/")
    assert trees == "libraries of two ROCm installations are mapped: rocm-6.4.0, rocm-7.2.0"


# ---- where it is


def test_no_installation_is_named(monkeypatch):
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    with pytest.raises(
        SchedulerInactive, match="no XSched is named; set the variable XSCHED_HOME, the ini key"
    ):
        find_home()
    monkeypatch.setenv("XSCHED_HOME", "/nowhere")
    with pytest.raises(SchedulerInactive, match="XSCHED_HOME: /nowhere does not exist"):
        find_home()


@pytest.mark.parametrize("folder", ["lib", "output/lib", "."])
def test_the_libraries_of_an_installation(tmp_path, folder):
    directory = tmp_path / folder
    directory.mkdir(parents=True, exist_ok=True)
    home = Home(path=str(tmp_path), origin="--xsched-home")
    with pytest.raises(SchedulerInactive, match=r"--xsched-home names .* has no libpreempt\.so"):
        files_for("hip", home)
    for name in ("libpreempt.so", "libhalhip.so"):
        (directory / name).write_bytes(b"")
    found = files_for("hip", home)
    assert found.hal == str((directory / "libhalhip.so").resolve())
    with pytest.raises(SchedulerInactive, match=r"has no libhalcuda\.so"):
        files_for("cuda", home)

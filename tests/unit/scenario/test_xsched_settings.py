"""The settings of the real XSched, and the changes of a run: as data, and what is refused."""

import pytest

from pytest_xsched import ScenarioError, Session, XSched, at, ms
from pytest_xsched.scenario.arrival_process import closed, constant
from pytest_xsched.scenario.scenario import QueueSpec, Scenario
from pytest_xsched.scenario.workload import spin
from pytest_xsched.scenario.xsched_settings import POLICY_NUMBERS
from pytest_xsched.session.settings import Settings


def make_scenario(**changes):
    values = {
        "queues": (QueueSpec(name="low", workload=spin("1ms"), arrivals=closed(1)),),
        "duration_ns": 5_000_000_000,
        "warmup_ns": 0,
        "drain_ns": 0,
        "seed": 0,
        "device": "cuda",
        "scheduler": "xsched",
        "policy": "none",
        "xsched": XSched(),
    }
    return Scenario(**{**values, **changes})


def test_a_timeslice_is_a_duration():
    assert XSched(policy="up", timeslice="5ms").timeslice_us == 5000
    assert XSched(policy="up", timeslice=5 * ms).timeslice == 5 * ms
    assert XSched().timeslice_us == 0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"policy": "spup"}, "XSched declares the policy 'spup'"),
        ({"policy": "edf"}, "policy 'edf' is unknown; known: none, hpf"),
        ({"policy": "none"}, "'none' does not fit scheduler 'local'"),
        ({"scheduler": "app"}, "'hpf' does not fit scheduler 'app'"),
        ({"scheduler": "GLB"}, "scheduler 'GLB' is unknown; known: app, local, global"),
        ({"level": 0}, r"level 0 is outside \[1, 3\]"),
        ({"timeslice": "1us"}, r"timeslice 1 us is outside \[100 us, 10 s\]"),
        ({"timeslice": 5}, "5"),
        ({"policy": "kedf", "k": 0}, "k 0 is outside"),
    ],
)
def test_refused(values, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        XSched(**values)


def test_policies_have_the_numbers_of_xsched():
    assert POLICY_NUMBERS["hpf"] == 1
    assert POLICY_NUMBERS["mlfq"] == 11
    assert 6 not in POLICY_NUMBERS.values()  # which ends the process


@pytest.mark.parametrize(
    "xsched", [XSched(), XSched(policy="up", timeslice="2ms"), XSched(policy="kedf", k=2, level=2)]
)
def test_it_survives_json(xsched):
    queues = (
        QueueSpec(name="low", workload=spin("1ms"), arrivals=closed(1), deadline_ns=10**9),
        QueueSpec(
            name="high",
            workload=spin("1ms"),
            arrivals=constant("20/s"),
            deadline_ns=10**6,
            laxity_ns=10**6,
            utilization=80,
        ),
    )
    changes = (at("1s", "high", suspended=True), at("500ms", "low", priority=3))
    scenario = make_scenario(xsched=xsched, queues=queues, changes=changes)
    again = Scenario.from_dict(scenario.to_dict())
    assert again == scenario
    assert again.digest() == scenario.digest()
    assert [change.queue for change in again.changes] == ["low", "high"]  # by time


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"xsched": None}, "xsched None does not go with scheduler 'xsched'"),
        ({"scheduler": "native"}, "does not go with scheduler 'native'"),
        ({"device": "cpu"}, "schedules hip, cuda, opencl devices, not 'cpu'"),
        ({"policy": "hpf"}, "policy 'hpf' needs scheduler 'builtin'"),
        ({"changes": (at("1s", "lo", priority=1),)}, "names queue 'lo'; known: low"),
        ({"changes": (at("5s", "low", priority=1),)}, "at 5s is after the end, 5s"),
        ({"changes": ("low",)}, "'low' in changes is not a Change"),
    ],
)
def test_what_does_not_go_together(changes, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        make_scenario(**changes)


def test_what_is_known_to_hang_is_refused_where_queues_are_made():
    session = Session(Settings(device="opencl"))
    low = session.queue("low", spin("1ms"))
    with pytest.raises(ScenarioError, match=r"queue 'low': XSched's K-EDF .* deadline"):
        session.run(low, duration="1s", scheduler=XSched(policy="kedf"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "nothing changes"),
        ({"priority": 256}, r"256 is outside \[-255, 255\]"),
        ({"suspended": 1}, "suspended 1 is not True or False"),
    ],
)
def test_a_change_that_is_none(values, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        at("1s", "low", **values)


def test_the_time_of_a_change_has_a_unit():
    with pytest.raises(ScenarioError, match="time of a change"):
        at(2, "low", priority=1)

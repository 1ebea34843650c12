"""MPS and time slices as schedulers: their settings as data, and where they are refused."""

import pytest

from pytest_xsched import MPS, ScenarioError, Session, command, spin
from pytest_xsched.scenario.arrival_process import closed
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.mechanism import arm_name
from pytest_xsched.session.settings import Settings
from pytest_xsched.workers.dispatch import why_own_process
from pytest_xsched.workers.multi_process import divide


def make_scenario(**changes):
    queues = (
        QueueSpec(name="high", workload=spin("1ms"), arrivals=closed(1)),
        QueueSpec(name="low", workload=spin("1ms"), arrivals=closed(1)),
    )
    values = {
        "queues": queues,
        "duration_ns": 5_000_000_000,
        "warmup_ns": 0,
        "drain_ns": 0,
        "seed": 0,
        "device": "cuda",
        "scheduler": "mps",
        "policy": "none",
        "mps": MPS() if changes.get("scheduler", "mps") == "mps" else None,
    }
    return Scenario(**{**values, **changes})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"active_thread_percentage": {"low": 0}}, r"of 'low' 0 is outside \(0, 100\]"),
        ({"active_thread_percentage": {"low": 101}}, "of 'low' 101 is outside"),
        ({"active_thread_percentage": {"low": "50%"}}, "of 'low' '50%' is not a number"),
        (
            {"active_thread_percentage": 50},
            'active_thread_percentage 50 is not by name of a queue; write .*={"low": 50}$',
        ),
        ({"priority": {"low": 2}}, r"priority of 'low' 2 is outside \[0, 1\]"),
        ({"priority": {1: 1}}, "is not by name of a queue"),
        ({"daemon": "mine"}, "daemon 'mine' is unknown; known: own, running"),
    ],
)
def test_refused(values, sentence):
    with pytest.raises(ScenarioError, match=f"^MPS: {sentence}|{sentence}"):
        MPS(**values)


def test_settings_are_variables_of_each_client():
    settings = MPS(active_thread_percentage={"low": 62.5}, priority={"low": 1, "high": 0})
    assert settings.variables("low") == {
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "62.5",
        "CUDA_MPS_CLIENT_PRIORITY": "1",
    }
    assert settings.variables("high") == {"CUDA_MPS_CLIENT_PRIORITY": "0"}
    assert settings.variables("other") == settings.variables(None) == {}


def test_arms_are_named_by_their_settings():
    low = MPS(active_thread_percentage={"low": 50}, priority={"low": 1, "high": 0})
    assert [arm_name(one) for one in ("time-slicing", MPS(), low, MPS(daemon="running"))] == [
        "time-slicing",
        "mps",
        "mps low 50%, low below normal",
        "mps running daemon",
    ]


def test_a_scenario_is_read_back_from_json_and_from_python():
    made = make_scenario(mps=MPS(active_thread_percentage={"low": 50}, priority={"high": 0}))
    assert Scenario.from_dict(made.to_dict()) == made
    text = made.to_python()
    assert "mps=MPS(active_thread_percentage={'low': 50.0}, priority={'high': 0})" in text
    names = {"Scenario": Scenario, "QueueSpec": QueueSpec, "MPS": MPS}
    assert eval(text, {**names, "spin": spin, "closed": closed}) == made


def test_other_schedulers_have_the_json_that_they_had():
    plain = make_scenario(scheduler="native").to_dict()
    assert "mps" not in plain
    assert Scenario.from_dict(plain).scheduler == "native"


@pytest.mark.parametrize("scheduler", ["mps", "time-slicing"])
def test_each_queue_has_a_process(scheduler):
    made = make_scenario(scheduler=scheduler)
    assert made.processes == "together" and made.has_separate_processes
    assert divide(made) == [(0,), (1,)]
    assert why_own_process(made) == (
        f"scheduler '{scheduler}' runs each queue in a process of its own"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device": "cpu"}, "'mps' shares cuda devices between processes; the device is 'cpu'$"),
        ({"device": "hip"}, "'mps' shares cuda devices between processes; the device is 'hip'$"),
        (
            {"scheduler": "time-slicing", "device": "sim"},
            "'time-slicing' shares hip, cuda, opencl devices between processes",
        ),
        ({"mps": MPS(priority={"lwo": 1})}, "MPS names queue 'lwo'; known: high, low$"),
        ({"scheduler": "native", "mps": MPS()}, "does not go with scheduler 'native'"),
        ({"mps": None}, "mps None does not go with scheduler 'mps'"),
    ],
)
def test_a_scenario_refuses(changes, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        make_scenario(**changes)


def test_a_share_of_a_stream_is_no_share_of_a_client():
    queue = QueueSpec(name="low", workload=spin("1ms"), arrivals=closed(1), sm_share=0.5)
    with pytest.raises(ScenarioError, match=r"MPS\(active_thread_percentage={.low.: 50}\)$"):
        make_scenario(queues=(queue,))


def test_a_comparison_refuses_a_misspelt_queue_before_it_measures():
    made = Session(Settings(device="cuda"))
    high = made.queue("high", command(["serve"]))
    settings = MPS(priority={"hihg": 1})
    with pytest.raises(ScenarioError, match="MPS names queue 'hihg'; known: high"):
        made.compare(high, schedulers=["native", settings], arms=["alone"], duration="1s")


@pytest.mark.parametrize(
    ("given", "advice"), [("MPS", '"mps"'), ("time_slicing", '"time-slicing"')]
)
def test_a_name_that_is_nearly_right(given, advice):
    made = Session(Settings(device="cuda"))
    with pytest.raises(ScenarioError, match=f"{given}' is unknown; .*; write {advice}$"):
        made.run(made.queue("q", spin("1ms")), scheduler=given, duration="1s")

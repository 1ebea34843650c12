"""The model: what is accepted, what is refused with which words, JSON there and back."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario import queue_spec, scenario
from pytest_xsched.scenario.arrival_process import bursts, closed, constant, gamma, poisson, replay
from pytest_xsched.scenario.device_models import CpuModel, SimModel
from pytest_xsched.scenario.scenario import QueueSpec, Scenario, default_drain_ns, default_warmup_ns
from pytest_xsched.scenario.timed_changes import at
from pytest_xsched.scenario.workload import command, matmul, spin, vector_add
from pytest_xsched.scenario.xsched_settings import XSched

S = 10**9


def make_queue(name="high", **changes):
    values = {"name": name, "workload": matmul(512), "arrivals": poisson("20/s"), **changes}
    return QueueSpec(**values)


def make_scenario(**changes):
    values = {
        "queues": (make_queue("high", priority=10), make_queue("low", arrivals=closed())),
        "duration_ns": 60 * S,
        "warmup_ns": S,
        "drain_ns": 5 * S,
        "seed": 0,
        "device": "sim",
        "scheduler": "builtin",
        "policy": "hpf",
        **changes,
    }
    return Scenario(**values)


def test_limits_are_those_of_the_native_runner():
    native = pytest.importorskip("pytest_xsched.native._native")
    for name in ("PRIORITY_MIN", "PRIORITY_MAX", "THRESHOLD_MAX", "QUEUES_MAX"):
        home = scenario if name == "QUEUES_MAX" else queue_spec
        assert getattr(home, name) == getattr(native.lib, f"XS_{name}"), name


# ---- queues


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"name": "low", "threshold": 1, "batch_size": 2},
            "queue 'low': threshold 1 is below batch_size 2",
        ),
        ({"priority": 256}, "queue 'high': priority 256 is outside [-255, 255]"),
        ({"priority": -256}, "queue 'high': priority -256"),
        ({"priority": 1.0}, "queue 'high': priority 1.0 is not an integer"),
        ({"priority": True}, "queue 'high': priority True"),
        ({"threshold": 1025}, "queue 'high': threshold 1025 is outside [1, 1024]"),
        ({"threshold": 4, "batch_size": 0}, "queue 'high': batch_size 0"),
        ({"workload": 512}, "queue 'high': workload 512 is not a workload"),
        ({"arrivals": "20/s"}, "queue 'high': arrivals '20/s' are none"),
        ({"name": 3}, "queue name 3 is not a text"),
        ({"name": ""}, "queue name '' is not a Python identifier"),
        ({"name": "my queue"}, "queue name 'my queue' is not a Python identifier"),
        ({"name": "class"}, "queue name 'class' is not a Python identifier"),
        ({"name": "_x"}, "queue name '_x' starts with an underscore"),
        ({"device": "tpu"}, "queue 'high': device 'tpu' is unknown; known: cpu, sim, "),
        ({"device": "cpu:1"}, "queue 'high': device 'cpu:1' has an index, which only hip and "),
    ],
)
def test_queue_is_refused(changes, words):
    with pytest.raises(ScenarioError) as error:
        make_queue(**changes)
    assert words in str(error.value)


@pytest.mark.parametrize("name", sorted(queue_spec.RESERVED_NAMES))
def test_queue_does_not_hide_an_attribute_of_the_run(name):
    with pytest.raises(ScenarioError, match=f"queue name '{name}' would hide"):
        make_queue(name)


def test_queue_defaults():
    queue = make_queue()
    assert (queue.priority, queue.threshold, queue.batch_size) == (0, "auto", None)
    assert queue.depth == (0, 0)
    assert make_queue(threshold=8).depth == (8, 2)
    assert make_queue(threshold=1).depth == (1, 1)
    assert make_queue(threshold=1024, batch_size=1024, priority=-255).threshold == 1024


# ---- devices


@pytest.mark.parametrize(
    ("workload", "cost_ns"),
    [
        (matmul(512), 745_654),  # a quarter of the device is filled
        (matmul(1024, batch=8), 11_930_465),
        (matmul(1024), 1_491_308),
        (vector_add(2**20), 3_146),  # bound by bytes
        (vector_add(1), 3_146),  # one item costs what a full device costs
        (spin("500us"), 500_000),
        (spin("0s"), 0),
    ],
)
def test_cost_of_a_command(workload, cost_ns):
    assert SimModel().cost_ns(workload.commands[0]) == cost_ns


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CpuModel(workers=0), "cpu: workers 0 is outside [1, 64]"),
        (lambda: CpuModel(priority=1), "cpu: priority 1 is not True or False"),
        (lambda: CpuModel(spin_ns=-1), "cpu: spin_ns -1"),
        (lambda: SimModel(slots=65), "sim: slots 65"),
        (lambda: SimModel(launch_ns=-1), "sim: launch_ns -1"),
        (lambda: SimModel(flops_per_s=0), "sim: flops_per_s 0"),
        (lambda: SimModel(bytes_per_s=float("inf")), "sim: bytes_per_s inf"),
        (lambda: SimModel(full_items=0), "sim: full_items 0"),
    ],
)
def test_device_model_is_refused(make, words):
    with pytest.raises(ScenarioError) as error:
        make()
    assert words in str(error.value)


# ---- scenario


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"queues": ()}, "scenario: 0 queues are outside [1, 256]"),
        ({"queues": (make_queue(), make_queue())}, "scenario: two queues are named 'high'"),
        ({"queues": ("high",)}, "scenario: 'high' in queues is not a QueueSpec"),
        ({"duration_ns": 0}, "scenario: duration_ns 0"),
        ({"warmup_ns": -1}, "scenario: warmup_ns -1"),
        ({"drain_ns": 1.5}, "scenario: drain_ns 1.5 is not an integer"),
        ({"seed": 2**32}, "scenario: seed 4294967296"),
        ({"seed": -1}, "scenario: seed -1"),
        ({"device": "sim:1"}, "device 'sim:1' has an index, which only hip and "),
        (
            {"device": "hip:1", "queues": (make_queue("low", device="cuda:1"),)},
            "queue 'low': device 'cuda:1' is of another kind than the run's, 'hip:1'",
        ),
        (
            {"queues": (make_queue("low", device="cuda"),)},
            "queue 'low': device 'cuda' is of another kind than the run's, 'sim'",
        ),
        ({"device": "tpu"}, "device 'tpu' is unknown; known: cpu, sim, hip, cuda, opencl"),
        ({"scheduler": "cfs"}, "scheduler 'cfs' is unknown; known: native, priority, builtin"),
        ({"policy": "lifo"}, "policy 'lifo' is unknown; known: none, hpf"),
        ({"scheduler": "native"}, "policy 'hpf' needs scheduler 'builtin', not 'native'"),
        (
            {"scheduler": "native", "policy": "none", "stream_priority": False},
            "stream_priority False needs scheduler 'builtin', not 'native'",
        ),
        (
            {"scheduler": "priority", "policy": "none", "stream_priority": False},
            "stream_priority False needs scheduler 'builtin', not 'priority'",
        ),
        ({"stream_priority": 0}, "scenario: stream_priority 0 is not True or False"),
        ({"check": 1}, "scenario: check 1 is not True or False"),
        ({"cpu": None}, "scenario: cpu None is not a CpuModel"),
        ({"sim": CpuModel()}, "is not a SimModel"),
        ({"duration_ns": S // 50}, "queue 'high': 20/s for 20ms is not one request"),
        (
            {"queues": (make_queue(arrivals=replay(["1s", "60s"])),)},
            "queue 'high': replay time 60s is not before the end of the measured window, 60s",
        ),
        (
            {"queues": (make_queue(arrivals=poisson("200/ms")),)},
            "scenario: 12200000 requests in 1s of warm-up and 60s, above 10000000",
        ),
    ],
)
def test_scenario_is_refused(changes, words):
    with pytest.raises(ScenarioError) as error:
        make_scenario(**changes)
    assert words in str(error.value)


def test_scenario_takes_a_list_of_queues_and_is_hashable():
    scenario = make_scenario(queues=[make_queue()])
    assert scenario.queues == (make_queue(),)
    assert hash(scenario) == hash(make_scenario(queues=(make_queue(),)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        scenario.seed = 1


EVERY_KIND = make_scenario(
    queues=(
        make_queue("a", workload=matmul(64, batch=2, layers=3), arrivals=constant("20/s")),
        make_queue("b", workload=vector_add(1000), arrivals=poisson("0.1/s")),
        make_queue("c", workload=spin("1ms"), arrivals=gamma("20/s", cv=2)),
        make_queue("d", arrivals=bursts("20/s", on="200ms", off="800ms"), priority=-3),
        make_queue("e", arrivals=replay(["0s", "1.5s"]), threshold=8, batch_size=8),
        make_queue("f", arrivals=closed(3, think="1ms")),
    ),
    stream_priority=False,
    check=True,
    cpu=CpuModel(workers=2),
    sim=SimModel(slots=2, priority=False, flops_per_s=1e12),
)


def test_json_round_trip():
    data = EVERY_KIND.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert Scenario.from_dict(json.loads(json.dumps(data))) == EVERY_KIND
    assert data["queues"][1]["arrivals"] == {"kind": "poisson", "rate_hz": 0.1}
    assert data["queues"][0]["workload"]["commands"][0] == {
        "kind": "matmul",
        "n": 64,
        "batch": 2,
        "duration_ns": 0,
        "fill_permille": 1000,
        "waves": 1,
        "kernel": None,
    }


def test_several_gpus():
    queues = (make_queue("a"), make_queue("b", device="cuda:2"), make_queue("c", device="cuda:1"))
    scenario = make_scenario(device="cuda:1", queues=queues)
    assert (scenario.device, scenario.device_kind) == ("cuda:1", "cuda")
    assert scenario.devices == ("cuda:1", "cuda:2")
    assert Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))) == scenario
    assert make_scenario(device="cuda", queues=queues).devices == ("cuda", "cuda:2", "cuda:1")
    assert make_scenario(device="cpu").devices == ("cpu",)


def test_index_0_is_the_device_without_an_index():
    queues = (make_queue("a"), make_queue("b", device="cuda:0"))
    scenario = make_scenario(device="cuda:0", queues=queues)
    assert scenario.devices == (scenario.queues[1].device,) == ("cuda",)
    assert make_scenario(device="cuda:0").digest() == make_scenario(device="cuda").digest()


def test_every_field_counts_in_the_digest():
    scenario = make_scenario()
    digest = scenario.digest()
    assert len(digest) == 64
    assert digest == make_scenario().digest()
    changes = [
        {"queues": scenario.queues[:1]},
        {"queues": scenario.queues[::-1]},
        {"duration_ns": 61 * S},
        {"warmup_ns": 0},
        {"drain_ns": 0},
        {"seed": 1},
        {"device": "cpu"},
        {"device": "cuda"},
        {"device": "cuda:1"},
        {"device": "cuda", "queues": (make_queue(), make_queue("low", device="cuda:1"))},
        {"policy": "none"},
        {"scheduler": "native", "policy": "none"},
        {"device": "cuda", "scheduler": "xsched", "policy": "none", "xsched": XSched()},
        {"changes": (at("2s", "high", priority=20),)},
        {"stream_priority": False},
        {"check": True},
        {"device": "cpu", "scheduler": "native", "policy": "none"},
        {"device": "cpu", "scheduler": "native", "policy": "none", "processes": "separate"},
        {"cpu": CpuModel(workers=2)},
        {"sim": SimModel(slots=2)},
    ]
    digests = {make_scenario(**change).digest() for change in changes}
    assert len(digests | {digest}) == len(changes) + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"processes": "two"}, "processes 'two' is unknown; known: together, separate"),
        ({"device": "cpu"}, "'builtin' sees the queues of its own process only"),
        ({"scheduler": "native", "policy": "none"}, "share no virtual time; the device is 'sim'"),
        (
            {
                **{"device": "cuda", "scheduler": "native", "policy": "none"},
                "queues": (make_queue(sm_share=0.5),),
            },
            "queue 'high' has a share of the multiprocessors",
        ),
    ],
)
def test_separate_processes_are_refused(changes, words):
    with pytest.raises(ScenarioError) as error:
        make_scenario(**{"processes": "separate", **changes})
    assert words in str(error.value)


def test_digest_does_not_depend_on_how_a_number_was_given():
    one = make_scenario(sim=SimModel(flops_per_s=10**12))
    assert one.digest() == make_scenario(sim=SimModel(flops_per_s=1e12)).digest()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: d.pop("seed"), "scenario: missing or unknown fields 'seed'"),
        (lambda d: d.update(colour=1), "scenario: missing or unknown fields 'colour'"),
        (lambda d: d["queues"][0].pop("name"), "queue: missing or unknown fields 'name'"),
        (lambda d: d["queues"][0]["arrivals"].update(kind="x"), "kind of arrivals 'x' is unknown"),
        (lambda d: d["queues"][0]["arrivals"].pop("kind"), "kind of arrivals None is unknown"),
        (lambda d: d["queues"][0].update(arrivals=3), "arrivals: 3 is not an object with fields"),
        (lambda d: d.update(queues=3), "scenario: queues 3 is not a list"),
        (lambda d: d["queues"][0]["workload"].update(commands=None), "commands None is not a list"),
        (lambda d: d.update(sim=[]), "sim: [] is not an object with fields"),
        (lambda d: d["cpu"].update(workers=0), "cpu: workers 0"),
    ],
)
def test_spoiled_json_is_refused(spoil, words):
    data = json.loads(json.dumps(make_scenario().to_dict()))
    spoil(data)
    with pytest.raises(ScenarioError) as error:
        Scenario.from_dict(data)
    assert words in str(error.value)


def test_default_times():
    assert default_warmup_ns(60 * S) == S
    assert default_warmup_ns(2 * S) == S // 5
    assert default_drain_ns() == 5 * S


# ---- stream priorities


@pytest.mark.parametrize(
    ("priorities", "levels", "expected"),
    [
        ([10, 1], (-1, 1), [1, 0]),  # hip
        ([10, 1], (0, 5), [5, 4]),  # cuda
        ([1, 10, 5], (-1, 1), [-1, 1, 0]),
        ([4, 3, 2, 1, 4], (-1, 1), [1, 0, -1, -1, 1]),
        ([7, 7], (0, 5), [0, 0]),
        ([10, 1], (0, 0), [0, 0]),
        ([255, -255], (-255, 255), [255, 254]),
    ],
)
def test_stream_priorities_go_by_rank(priorities, levels, expected):
    queues = tuple(make_queue(f"q{i}", priority=p) for i, p in enumerate(priorities))
    scenario = make_scenario(queues=queues)
    assert [scenario.stream_priority_of(queue, *levels) for queue in queues] == expected
    plain = make_scenario(queues=queues, scheduler="native", policy="none")
    assert [plain.stream_priority_of(queue, *levels) for queue in queues] == [0] * len(queues)


def test_each_device_ranks_its_own_queues():
    queues = (
        make_queue("a", priority=3),
        make_queue("b", priority=2, device="cuda:1"),
        make_queue("c", priority=1, device="cuda:1"),
    )
    scenario = make_scenario(queues=queues, device="cuda")
    assert [scenario.stream_priority_of(queue, 0, 5) for queue in queues] == [0, 5, 4]


def pipeline(*queues, **changes):
    return make_scenario(queues=queues, **changes)


def test_a_queue_after_another_has_its_load():
    first, second = pipeline(
        make_queue("second", arrivals=closed(), after="first"), make_queue("first")
    ).queues
    assert (first.arrivals, second.arrivals) == (poisson("20/s"), poisson("20/s"))


def test_a_pipeline_goes_to_json_and_back_and_old_records_have_none():
    made = pipeline(make_queue("first"), make_queue("second", arrivals=closed(), after="first"))
    data = json.loads(json.dumps(made.to_dict()))
    assert Scenario.from_dict(data) == made
    assert data["queues"][1]["after"] == "first"
    assert "after" not in data["queues"][0]
    assert make_queue("second", after=make_queue("first")).after == "first"


@pytest.mark.parametrize(
    ("queues", "message"),
    [
        (
            [make_queue("b", arrivals=closed(), after="a")],
            "queue 'b': after='a': there is no queue 'a'; known: b",
        ),
        (
            [
                make_queue("a", arrivals=closed(), after="b"),
                make_queue("b", arrivals=closed(), after="c"),
                make_queue("c", arrivals=closed(), after="b"),
            ],
            "queue 'a': after='b': no request of these queues could ever start: 'b' after 'c' "
            "after 'b'",
        ),
        (
            [make_queue("a", arrivals=closed()), make_queue("b", arrivals=closed(), after="a")],
            "queue 'b': after='a': 'a' is a closed loop, which has no arrivals to begin a pipeline "
            'with; give \'a\' a rate="20/s" or arrivals=poisson("20/s")',
        ),
        (
            [make_queue("a"), make_queue("b", arrivals=poisson("10/s"), after="a")],
            "queue 'b': after='a': its requests arrive with those of 'a', so it has no load of its "
            "own; leave rate, arrivals, concurrency and think out",
        ),
        (
            [make_queue("a"), make_queue("b", arrivals=closed(2), after="a")],
            "queue 'b': after='a': its requests arrive with those of 'a', so it has no load of its "
            "own; leave rate, arrivals, concurrency and think out",
        ),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused(queues, message):
    with pytest.raises(ScenarioError) as error:
        pipeline(*queues)
    assert str(error.value) == message


def test_a_queue_does_not_wait_for_itself_nor_for_what_is_no_name():
    with pytest.raises(ScenarioError, match="'a': after='a': a queue cannot wait for itself"):
        make_queue("a", after="a")
    with pytest.raises(ScenarioError, match='after=7 is no name of a queue; write after="first"'):
        make_queue("a", after=7)


def test_only_queues_of_one_process_wait_for_each_other():
    queues = (make_queue("a"), make_queue("b", arrivals=closed(), after="a"))
    with pytest.raises(ScenarioError, match="queue 'b' has after='a', and only queues of one"):
        pipeline(*queues, device="cpu", scheduler="native", policy="none", processes="separate")
    program = make_queue("a", workload=command(["true"]))
    with pytest.raises(ScenarioError, match="the requests of 'a' are in a program or a process"):
        pipeline(program, queues[1], device="cpu", scheduler="native", policy="none")

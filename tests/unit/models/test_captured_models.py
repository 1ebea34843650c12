"""Which captured models are kept, how they are cut, and when their results must be comparable."""

import dataclasses
import types

import numpy as np
import pytest

from pytest_xsched import QueueSpec, Scenario, ScenarioError, model
from pytest_xsched.models import captured
from pytest_xsched.models.captured import CapturedModel, CapturedModels
from pytest_xsched.scenario.arrival_process import Closed


@pytest.fixture
def made(monkeypatch):
    """Stands in for the models; the list has what was done to them."""
    done = []

    class Stub:
        is_compared = False
        outputs = "not compared: they change"

        def __init__(self, device, name, model, place, units):
            self.label = f"{model.factory} on {name}{' '.join(map(str, units))}"
            done.append(f"build {self.label}")

        def cut(self, model, *, whole):
            done.append(f"cut {model.commands}{' whole' if whole else ''}")

        def close(self):
            done.append(f"close {self.label}")

    monkeypatch.setattr(captured, "CapturedModel", Stub)
    return done


def scenario(*specs, **more):
    values = {"duration_ns": 10**9, "warmup_ns": 0, "drain_ns": 0, "seed": 0, "device": "cuda"}
    values |= {"scheduler": "builtin", "policy": "hpf"}
    return Scenario(queues=specs, **{**values, **more})


def queue(name, factory="a:net", **more):
    workload = model(factory, **{k: more.pop(k) for k in ("commands", "tolerance") if k in more})
    return QueueSpec(name=name, workload=workload, arrivals=Closed(), **more)


DEVICES = {name: types.SimpleNamespace(name=name) for name in ("cuda", "cuda:1")}


def prepare(models, *specs, units=(), **more):
    shares = {spec.name: units for spec in specs}
    return models.prepare(DEVICES, scenario(*specs, **more), specs, shares)


def test_each_queue_has_its_own_and_the_next_run_the_same(made):
    models = CapturedModels()
    first = prepare(models, queue("a"), queue("b"))
    assert first["a"] is not first["b"]
    assert prepare(models, queue("a"), queue("b")) == first
    assert made.count("build a:net on cuda") == 2 and "close a:net on cuda" not in made
    models.close()
    assert made[-2:] == ["close a:net on cuda"] * 2


def test_what_the_next_run_does_not_want_is_released_before_others_are_built(made):
    models = CapturedModels()
    prepare(models, queue("a"), queue("b", "b:net"))
    made.clear()
    prepare(models, queue("a", device="cuda:1"), queue("b", "b:net"))
    assert made[:2] == ["close a:net on cuda", "build a:net on cuda:1"]
    made.clear()
    prepare(models, queue("b", "b:net"))
    assert made == ["close a:net on cuda:1", "cut auto whole"]


def test_another_cut_or_scheduler_builds_nothing(made):
    models = CapturedModels()
    prepare(models, queue("a"))
    made.clear()
    prepare(models, queue("a", commands=3))
    prepare(models, queue("a"), scheduler="native", policy="none")
    prepare(models, queue("a"), scheduler="priority", policy="none")
    prepare(models, queue("a"), policy="fair")
    assert made == ["cut 3 whole", "cut auto whole", "cut auto whole", "cut auto"]


def test_another_share_of_the_multiprocessors_is_captured_anew(made):
    """Kernels keep the multiprocessors of the stream on which they were captured."""
    models = CapturedModels()
    prepare(models, queue("a"), units=(0, 1))
    prepare(models, queue("a"), units=(0, 1))
    prepare(models, queue("a"))
    assert [line for line in made if "cut" not in line] == [
        *("build a:net on cuda0 1", "close a:net on cuda0 1", "build a:net on cuda"),
    ]


def test_it_is_told_what_is_built(made):
    told = []
    models = CapturedModels(doing=told.append)
    prepare(models, queue("a"))
    assert told == ["it built and captured model(net) of queue 'a'", "it measured"]


def test_results_that_differ_from_request_to_request_cannot_be_checked(made):
    with pytest.raises(ScenarioError) as error:
        prepare(CapturedModels(), queue("a"), check=True)
    assert str(error.value) == (
        "queue 'a': model(net): check=True, but its results are not compared: they change; state a "
        "tolerance, or tolerance=None where a request changes the model, as training does"
    )
    prepare(CapturedModels(), queue("a", tolerance=None), check=True)
    prepare(CapturedModels(), queue("a"))


def test_a_model_that_runs_eagerly_is_not_captured(made):
    spec = queue("a")
    eager = dataclasses.replace(spec.workload.model, mode="eager")
    spec = dataclasses.replace(spec, workload=dataclasses.replace(spec.workload, model=eager))
    assert prepare(CapturedModels(), spec, scheduler="native", policy="none") == {}


def test_a_cut_that_computes_something_else_is_an_error_in_the_next_run_too(monkeypatch):
    """The model is kept for the next run, which must not take the cut for one that was checked."""
    cuts = []
    graph = types.SimpleNamespace(
        nodes=4,
        cut=cuts.append,
        run_ns=lambda repeats: np.zeros((repeats, 1), np.int64),
        kernels=("gemm",),
        segments=1,
        close=lambda: None,
    )
    request = types.SimpleNamespace(
        pointers=[(1, 1)],
        poison=lambda: None,
        compare=lambda: "1 differs",
        capture_ns=1,
        warm_ups=3,
        again=lambda: None,
    )
    monkeypatch.setattr(captured, "Capture", lambda device, units: None)
    monkeypatch.setattr(captured, "Graph", lambda device, pointer: graph)
    monkeypatch.setattr(captured, "find_factory", lambda model, place: None)
    monkeypatch.setattr(captured, "_capture", lambda factory, device, capture: request)
    net = queue("a", commands=1).workload.model
    kept = CapturedModel(None, "cuda", net, None)
    for _ in range(2):
        with pytest.raises(ScenarioError, match=r"model\(net\): cut into 1 commands, 1 differs"):
            kept.cut(net, whole=False)
    request.compare = lambda: ""
    for _ in range(2):
        kept.cut(net, whole=False)
    assert cuts == [[4]] * 3  # what was checked is not cut again

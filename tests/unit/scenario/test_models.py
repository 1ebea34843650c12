"""Models as workloads: what is refused, what a label says, where they run."""

import functools
import json
import os

import pytest

from pytest_xsched import (
    QueueSpec,
    Scenario,
    ScenarioError,
    at,
    graph,
    model,
    sequence,
    spin,
    us,
)
from pytest_xsched.scenario.arrival_process import Closed
from pytest_xsched.scenario.models import Model, eager_program
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.scenario.workload import read_workload

HERE = os.path.relpath(__file__)


def net(n=8, *, half=False, sizes=()):
    return lambda: None


class Holder:
    @staticmethod
    def build():
        return lambda: None


class Net:
    """Like a module of PyTorch."""

    def parameters(self):
        return []

    def __call__(self):
        return 1


def with_mode(mode="x"):
    return lambda: mode


def queue(workload, name="q", **more):
    return QueueSpec(name=name, workload=workload, arrivals=Closed(), **more)


def scenario(*queues, **changes):
    values = {"duration_ns": 10**9, "warmup_ns": 0, "drain_ns": 0, "seed": 0, "device": "cuda"}
    values |= {"scheduler": "native", "policy": "none"}
    return Scenario(queues=queues, **{**values, **changes})


def test_a_label_shows_the_call():
    assert model(net).label == "model(net)"
    assert model(net, 16, half=True).label == "model(net, 16, half=True)"
    assert model(net, commands=8, mode="eager").label == "model(net, mode='eager', commands=8)"
    assert model(Holder.build).label == "model(Holder.build)"
    assert graph(net, commands="50us").label == "graph(net, commands='50us')"
    assert len(model(net, "x" * 100).label) < 70


def test_a_function_is_known_by_its_file_or_by_its_installed_module():
    assert model(net).model.factory == f"{HERE}:net"
    assert model(json.dumps).model.factory == "json:dumps"
    assert model("some.package:Net.build").model.factory == "some.package:Net.build"
    assert model(f"{HERE}:net").model.factory == f"{HERE}:net"


def test_it_survives_json_and_python():
    made = model(net, 16, half=True, sizes=[1, {"a": None}], commands=50 * us, tolerance=1e-3)
    one = scenario(queue(made))
    assert Scenario.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert read_workload(one.to_dict()["queues"][0]["workload"]) == made
    assert eval(python_text(made), {"model": model}) == made
    assert Model.from_json(made.model.to_json()) == made.model
    assert hash(made) == hash(model(net, 16, half=True, sizes=[1, {"a": None}], **OPTIONS))
    other = graph(net, commands=3)
    assert eval(python_text(other), {"graph": graph}) == other


OPTIONS = {"commands": "50us", "tolerance": 0.001}


def test_commands_are_a_number_or_a_time():
    assert model(net).model.commands == "auto"
    assert model(net, commands=8).model.commands == 8
    assert model(net, commands="0.1ms").model.commands == "100us"
    assert model(net, commands="0.05ms").model.commands == "50us"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: model(lambda: 1), "<lambda> is a lambda, so another process cannot find it"),
        (lambda: model(_inner()), "is defined inside another function, so another process"),
        (
            lambda: model(_inner()),
            "if _inner returned it, write model(_inner, ...), without the call",
        ),
        (lambda: model(Net()), "is a model that exists; write a function of the file that builds"),
        (
            lambda: model(functools.partial(net, 8)),
            "is a partial; pass the function and its arguments, as in model(build, 8)",
        ),
        (lambda: model(3), "model: 3 is not a function; write model(build)"),
        (lambda: model("net"), '\'net\' names no module; write "module:net" or "path/file.py:net"'),
        (lambda: model("a b:net"), "'a b:net' names no function; write \"package.module:name\""),
        (lambda: model("a.b:"), "'a.b:' names no function"),
        (lambda: model("none.py:net"), "model: there is no file 'none.py' in /"),
        (lambda: model(net, object()), "argument 1: <object object at"),
        (lambda: model(net, half=float("nan")), "half: nan is not finite; arguments are JSON"),
        (lambda: model(net, {1: 2}), "argument 1: the key 1 is not a text"),
        (lambda: model(net, mode="fast"), "mode 'fast' is unknown; known: graph, eager"),
        (lambda: model(net, commands=0), "commands 0 is outside [1, 4096]"),
        (lambda: model(net, commands=1.5), "commands 1.5 is not an integer"),
        (lambda: model(net, commands=True), "commands True is not an integer"),
        (lambda: model(net, commands="8"), "commands '8' is a text; write 8"),
        (lambda: model(net, commands="fine"), "commands is a number of them, the time of one"),
        (lambda: model(net, tolerance=-1), "tolerance -1 is outside [0, inf)"),
        (lambda: model(net, tolerance=10**400), "is outside [0, inf)"),
        (lambda: model(net, tolerance=float("nan")), "tolerance nan is outside [0, inf)"),
        (lambda: model(net, tolerance="1%"), "tolerance '1%' is not a number; write 0 (equal to"),
        (lambda: model(with_mode, mode="eager"), "with_mode has a parameter of this name, too"),
        (lambda: sequence([model(net)]), "is not a workload like matmul(512)"),
        (lambda: queue(net), "the function net is not a workload; write a function that builds"),
        (
            lambda: queue(model(net, mode="eager"), sm_share=0.5),
            "a model that runs eagerly cannot get a share of the multiprocessors",
        ),
        (
            lambda: scenario(queue(model(net, mode="eager")), scheduler="builtin"),
            "queue 'q' is a model that runs eagerly, in a process of its own: scheduler 'builtin' "
            "cannot schedule it; 'native' (--xsched-scheduler=native) leaves it unchanged, ",
        ),
        (
            lambda: scenario(queue(model(net)), scheduler="priority", device="cpu"),
            "on device 'cpu', in a process of its own: scheduler 'priority' cannot schedule it",
        ),
        (
            lambda: scenario(
                queue(model(net)), device="cpu", changes=(at("10ms", "q", priority=3),)
            ),
            "is a model that runs eagerly on device 'cpu', in a process of its own: changes do not",
        ),
        (
            lambda: scenario(queue(model(net)), device="sim"),
            "q': model(net) runs on the devices cuda, hip and cpu; the device is 'sim'; recorded(",
        ),
        (lambda: scenario(queue(model(net)), device="opencl"), "the device is 'opencl'"),
        (
            lambda: scenario(queue(graph(net)), device="cpu"),
            "graph(net) launches onto a stream of a GPU, cuda or hip; the device is 'cpu'",
        ),
    ],
)
def test_a_wrong_value_is_named_with_the_way_out(make, words):
    with pytest.raises(ScenarioError) as error:
        make()
    assert words in str(error.value) and "\n" not in str(error.value)


def _inner():
    def build():
        return lambda: None

    return build


def test_on_the_processor_a_model_runs_eagerly_and_says_so():
    workload = scenario(queue(model(net)), device="cpu").queues[0].workload
    assert workload.model.mode == "eager" and workload.label == "model(net, mode='eager')"
    assert workload.own_program == eager_program(workload.model)
    on_gpu = scenario(queue(model(net)))
    assert on_gpu.queues[0].workload.own_program is None and not on_gpu.programs


def test_on_a_gpu_every_scheduler_takes_a_model_as_it_takes_kernels():
    for scheduler in ("native", "priority", "builtin"):
        scenario(queue(model(net), sm_share=0.5), scheduler=scheduler)
    scenario(queue(spin("1ms"), name="a"), queue(model(net)), changes=(at("1ms", "q", priority=3),))

"""What the program of an eager model gets at its start, and what it writes when it fails."""

import json
import os
import sys
import types

import pytest

from pytest_xsched import ScenarioError
from pytest_xsched.models import eager_program
from pytest_xsched.models.eager_program import PLACE_VARIABLE, error_of, variables
from pytest_xsched.models.factory import Factory
from pytest_xsched.scenario.models import Model


def test_it_knows_the_device_and_where_the_code_of_the_user_is(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data = json.loads(variables("cuda:1")[PLACE_VARIABLE])
    assert data["device"] == "cuda:1" and data["place"]["directory"] == str(tmp_path)


def test_threads_of_openmp_do_not_spin_on_the_processor_unless_the_user_wants_it(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert variables("cpu")["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_WAIT_POLICY" not in variables("cuda")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert "OMP_WAIT_POLICY" not in variables("cpu")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_last_sentence_about_the_model_is_its_error():
    output = "noise\npytest-xsched, model: one\npytest-xsched, model: model(net): two\nmore\n"
    assert error_of(output) == "model(net): two"
    assert error_of("Traceback ...") == ""


def serve(monkeypatch, compiles):
    """Do 3 requests of a warm-up and 4 measured ones; `compiles` tells which compile."""
    stats, at = {"unique_graphs": 0}, [-1]
    utils = types.SimpleNamespace(counters={"stats": stats})

    def requests():
        for at[0] in range(7):
            yield at[0]

    def request(_):
        stats["unique_graphs"] += at[0] in compiles

    monkeypatch.setitem(sys.modules, "torch._dynamo.utils", utils)
    monkeypatch.setattr(eager_program, "requests", requests)
    monkeypatch.setattr(eager_program, "is_measured", lambda: at[0] >= 3)
    monkeypatch.setattr(eager_program, "_build", lambda factory, device: request)
    model = Model(factory="nets.py:net", mode="eager")
    eager_program._serve(Factory(model=model, function=lambda: None, directory="/"), "cpu")
    return at[0]


def yields():
    def request():
        yield "this code does not run where it is only called"

    return request


def waits():
    async def request():
        raise AssertionError

    return request


@pytest.mark.parametrize(("build", "kind"), [(yields, "a generator"), (waits, "a coroutine")])
def test_a_request_whose_code_does_not_run_is_no_request(build, kind):
    model = Model(factory="nets.py:net", mode="eager")
    request = eager_program._build(Factory(model=model, function=build, directory="/"), "cpu")
    with pytest.raises(ScenarioError, match=rf"^model\(net\): a request returned {kind}, so none"):
        request({})


def test_what_compiles_in_the_warm_up_is_warm(monkeypatch):
    assert serve(monkeypatch, {0, 2}) == 6


def test_what_compiles_in_a_measured_request_is_no_measurement(monkeypatch):
    with pytest.raises(ScenarioError) as error:
        serve(monkeypatch, {0, 4})
    assert "compiled in a measured request, after 3 requests of the warm-up; let" in str(
        error.value
    )

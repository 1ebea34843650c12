"""What the program of an eager model gets at its start, and what it writes when it fails."""

import json
import os

from pytest_xsched.models.eager_program import PLACE_VARIABLE, error_of, variables


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

"""Errors of a worker process, as its parent raises them."""

from pytest_xsched.errors import DeviceError, ScenarioError
from pytest_xsched.workers.worker import error_to_dict
from pytest_xsched.workers.worker_process import error_from_dict, last_words


def test_escape_sequences_that_a_compiler_prints_do_not_reach_the_terminal():
    log = "\x1b[31merror:\x1b[0m no such type\n\x1b]0;owned\x07"
    error = error_from_dict(error_to_dict(DeviceError(log, call="cuda.compile", code=6)))
    assert str(error).endswith("error: no such type\n\\x1b]0;owned\\x07")
    assert (type(error), error.call, error.code) == (DeviceError, "cuda.compile", 6)
    assert str(error_from_dict(error_to_dict(ScenarioError("plain")))) == "plain"


def test_the_last_words_are_text():
    assert last_words("\x1b[2Jone\ntwo\r") == r"; its last words: \x1b[2Jone | two"

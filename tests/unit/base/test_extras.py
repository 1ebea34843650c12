"""Without an optional package: one sentence, with the command that installs it."""

import subprocess
import sys

import pytest

from pytest_xsched import MissingExtra
from pytest_xsched.base.extras import require_extra

SENTENCE = (
    "The package 'hypothesis' is not installed; install it with: "
    "pip install 'pytest-xsched[hypothesis]'"
)
USERS = ("strategies", "state_machine", "minimize", "worst_case")


def test_an_installed_package():
    require_extra("pytest", "test")


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(MissingExtra) as caught:
        require_extra("hypothesis", "hypothesis")
    assert str(caught.value) == SENTENCE
    assert isinstance(caught.value, ImportError)


def test_stress_without_hypothesis():
    program = f"""
import importlib, sys
sys.modules["hypothesis"] = None
for name in {USERS}:
    try:
        importlib.import_module(f"pytest_xsched.stress.{{name}}")
    except ImportError as error:
        print(error)
import pytest_xsched.stress.invariants, pytest_xsched.stress.steps
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [SENTENCE] * len(USERS)

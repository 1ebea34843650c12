"""What is public is said once, exists and has a docstring; all else may change at any time."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import pytest_xsched
import pytest_xsched.stress

MODULES = [
    "pytest_xsched.errors",
    "pytest_xsched.client",
    *(
        f"pytest_xsched.stress.{one.name}"
        for one in pkgutil.iter_modules(pytest_xsched.stress.__path__)
    ),
]


def test_the_names_are_said_once():
    names = pytest_xsched.__all__
    assert names == sorted(set(names)) == dir(pytest_xsched)
    assert set(pytest_xsched._load_homes()) == set(names)
    source = inspect.getsource(pytest_xsched)
    assert not [name for name in names if f'"{name}"' in source]


@pytest.mark.parametrize("name", pytest_xsched.__all__)
def test_name(name):
    value = getattr(pytest_xsched, name)
    assert value is pytest_xsched.__getattr__(name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ == pytest_xsched._load_homes()[name]
        assert inspect.getdoc(value)


@pytest.mark.parametrize("module", MODULES)
def test_public_modules_list_their_names(module):
    found = importlib.import_module(module)
    names = found.__all__
    assert len(set(names)) == len(names) > 0
    for name in names:
        value = getattr(found, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__ == module, f"{name} is defined in {value.__module__}"
            assert inspect.getdoc(value)


def test_every_error_is_public():
    errors = importlib.import_module("pytest_xsched.errors")
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) == defined <= set(pytest_xsched.__all__)


def test_star_import_gives_all_of_them():
    namespace = {}
    exec("from pytest_xsched import *", namespace)
    assert set(pytest_xsched.__all__) <= set(namespace)


def test_what_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pytest_xsched' has no attribute 'nothing'"):
        _ = pytest_xsched.nothing


def test_the_list_is_not_read_before_it_is_needed():
    code = "import pytest_xsched; print(len(pytest_xsched._homes)); pytest_xsched.ms; print(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["0", "1"], done.stderr

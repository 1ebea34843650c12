"""Every public name exists, has a home and a docstring."""

from __future__ import annotations

import inspect

import pytest

import pytest_xsched


def test_all_names_have_a_home():
    homes = [name for names in pytest_xsched._HOMES.values() for name in names]
    assert sorted(homes) == pytest_xsched.__all__
    assert len(set(homes)) == len(homes)
    assert dir(pytest_xsched) == pytest_xsched.__all__


@pytest.mark.parametrize("name", pytest_xsched.__all__)
def test_name(name):
    value = getattr(pytest_xsched, name)
    assert value is pytest_xsched.__getattr__(name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__module__ == f"pytest_xsched.{pytest_xsched._HOME[name]}"
        assert inspect.getdoc(value)


def test_type_checkers_see_the_same_names():
    """The imports under TYPE_CHECKING are what editors and mypy know of the package."""
    import ast

    tree = ast.parse(inspect.getsource(pytest_xsched))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (statement.module.removeprefix("pytest_xsched."), alias.name)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == {(home, name) for home, names in pytest_xsched._HOMES.items() for name in names}


def test_star_import_gives_all_of_them():
    namespace = {}
    exec("from pytest_xsched import *", namespace)
    assert set(pytest_xsched.__all__) <= set(namespace)


def test_unknown_name():
    with pytest.raises(
        AttributeError, match=r"^module 'pytest_xsched' has no attribute 'matmull'$"
    ):
        _ = pytest_xsched.matmull

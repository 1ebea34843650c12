"""Functions whose further arguments must be named: one sentence where they are not."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pytest_xsched.base.units import one_line
from pytest_xsched.errors import ScenarioError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_NAMES_SHOWN = 4


def names_the_rest(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let a function or method refuse too many unnamed arguments with their names.

    Python's own message counts them, `self` included, and names none.
    """
    code = function.__code__
    most: int = code.co_argcount

    @functools.wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        __tracebackhide__ = True
        if len(args) > most:
            raise ScenarioError(_advice(function, list(args)))
        return function(*args, **kwargs)

    return call


def _advice(function: Callable[..., object], args: list[object]) -> str:
    parameters = inspect.signature(function).parameters.values()
    plain = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    named = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    extra = args[len(plain) :]
    shown = ", ".join(map(one_line, extra))
    if not named:
        own = [name for name in plain if name != "self"]
        takes = f"takes {' and '.join(own)} only" if own else "takes no argument"
        return f"{function.__name__}() {takes}; leave out {shown}"
    names = ", ".join(f"{name}=" for name in named[:_NAMES_SHOWN])
    more = ", ..." if len(named) > _NAMES_SHOWN else ""
    has = "has no name; write one before it" if len(extra) == 1 else "have no names; write them"
    return f"{function.__name__}(): {shown} {has}: {names}{more}"

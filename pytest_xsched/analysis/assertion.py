"""What all assert_* have in common: named arguments, a place in the test, targets without verdict.

An assert_* that gets no verdict raises InvalidRun. Its run keeps that, because a test may catch the
error: the plugin then knows that the target was not judged.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from pytest_xsched.base.named_arguments import names_the_rest
from pytest_xsched.errors import InvalidRun

_Arguments = ParamSpec("_Arguments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A target that got no verdict when it was asserted.

    Attributes:
        sentence: why there is no verdict.
        origin: file and line of the assertion.
    """

    sentence: str
    origin: str


class _Asserts(Protocol):
    @property
    def _unjudged(self) -> list[Unjudged]: ...


_Self = TypeVar("_Self", bound=_Asserts)


def asserts(
    method: Callable[Concatenate[_Self, _Arguments], None],
) -> Callable[Concatenate[_Self, _Arguments], None]:
    """Let an assert_* refuse arguments without names, and keep that it got no verdict."""
    takes_any = method.__code__.co_flags & inspect.CO_VARARGS
    named = method if takes_any else names_the_rest(method)

    @functools.wraps(method)
    def call(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        __tracebackhide__ = True
        try:
            named(self, *args, **kwargs)
        except InvalidRun as error:
            keep(self._unjudged, error)
            raise

    return call


def keep(unjudged: list[Unjudged], error: InvalidRun) -> None:
    """Keep that a target got no verdict, once, however many of our functions the error leaves."""
    found = Unjudged(sentence=sentence_of(error), origin=place_in_the_test())
    if found not in unjudged:
        unjudged.append(found)


def sentence_of(error: BaseException) -> str:
    """Return the first line of an error."""
    return str(error).partition("\n")[0]


def level_of_the_test() -> int:
    """Return the `stacklevel` of the first frame outside of this package; the caller's is 1."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("pytest_xsched."):
        frame, level = frame.f_back, level + 1
    return level


def place_in_the_test() -> str:
    """Return file and line of the first frame outside of this package, as "test_qos.py:12"."""
    frame = sys._getframe(level_of_the_test() - 1)
    file = frame.f_code.co_filename
    below = os.path.relpath(file)
    return f"{os.path.basename(file) if below.startswith(os.pardir) else below}:{frame.f_lineno}"


def target_advice(queue: object, name: str) -> str:
    """Return how a target or a percentile is written that has no such name; "" if it is neither."""
    percentile = re.fullmatch(r"(assert_)?p([0-9]{1,6})(?(1)_below)", name)
    if percentile:
        return f"; write {_written(percentile[2], percentile[1])}"
    if not name.startswith("assert_"):
        return ""
    import difflib  # not at the start of each session

    known = [target for target in dir(queue) if target.startswith("assert_")]
    near = difflib.get_close_matches(name, known)
    return f"; it has {', '.join(near)}" if near else ""


def _written(digits: str, asserted: str | None) -> str:
    """Return how a percentile is written whose name has these digits: "90", or "5" for P5."""
    if digits == "100":
        return 'assert_max_below("50ms")' if asserted else "max"
    q = f"0.{digits:0>2}"
    return f'assert_percentile_below({q}, "50ms")' if asserted else f"percentile({q})"

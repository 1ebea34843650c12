"""A kernel that the user wrote, as data: source text, grid, arguments."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pytest_xsched.base.units import one_line
from pytest_xsched.base.validation import (
    checked_fields,
    checked_list,
    integer,
    one_of,
    set_integer,
    set_number,
)
from pytest_xsched.errors import ScenarioError

ARGUMENTS_MAX = 64  # of a kernel: the limit of the native runner
BUFFER_MAX = 2**31 - 1  # elements: likewise
ARGUMENT_KINDS = ("buffer", "int32", "int64", "float32")

_GRID_MAX = (2**31 - 1, 65535, 65535)  # the drivers' limits
_BLOCK_MAX = (1024, 1024, 64)
_THREADS_MAX = 1024
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of a kernel; made by `buffer`, `int32`, `int64` and `float32`.

    Args:
        kind: ``"buffer"`` or the type of a number.
        value: the number; of a buffer its elements.
    """

    kind: str
    value: int | float

    def __post_init__(self) -> None:
        one_of("kind of argument", self.kind, ARGUMENT_KINDS)
        if self.kind == "buffer":
            set_integer(self, "value", "buffer", 1, BUFFER_MAX)
        elif self.kind == "float32":
            set_number(self, "value", "float32", -_FLOAT32_MAX, _FLOAT32_MAX)
        else:
            most = 2 ** (31 if self.kind == "int32" else 63) - 1
            set_integer(self, "value", self.kind, -most - 1, most)


def buffer(n: int) -> Argument:
    """Make an argument ``float *``: device memory of its own, n float32.

    It is filled once, with what the first operands of `matmul` and `vector_add` hold: whole numbers
    from -2 to 2 that follow from the seed of the run and the name of the queue. Equal commands of a
    queue share their buffers, so what a launch writes is there at the next.

    Args:
        n: elements, in [1, 2**31 - 1].
    """
    return Argument(kind="buffer", value=n)


def int32(value: int) -> Argument:
    """Make an argument ``int``."""
    return Argument(kind="int32", value=value)


def int64(value: int) -> Argument:
    """Make an argument ``long long``."""
    return Argument(kind="int64", value=value)


def float32(value: float) -> Argument:
    """Make an argument ``float``: the nearest to a finite number."""
    return Argument(kind="float32", value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that is compiled on the device.

    Args:
        source: text in the device's language.
        name: of an ``extern "C" __global__ void`` function in it.
        grid: blocks in x, y and z; made of a number or up to three of them.
        block: threads of a block, likewise; together at most 1024.
        args: of the function, in order; at most 64.
    """

    source: str
    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    args: tuple[Argument, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not (self.name.isidentifier() and self.name.isascii()):
            raise ScenarioError(f"kernel name {self.name!r} is not an identifier")
        what = f"kernel {self.name!r}"
        if not isinstance(self.source, str) or not self.source.strip() or "\0" in self.source:
            advice = "; write path.read_text()" if isinstance(self.source, os.PathLike) else ""
            raise ScenarioError(
                f"{what}: source {one_line(self.source)} is not a text of a program{advice}"
            )
        object.__setattr__(self, "grid", _sizes(f"{what}: grid", self.grid, _GRID_MAX))
        object.__setattr__(self, "block", _sizes(f"{what}: block", self.block, _BLOCK_MAX))
        if math.prod(self.block) > _THREADS_MAX:
            raise ScenarioError(
                f"{what}: block {self.block} has {math.prod(self.block)} threads, above "
                f"{_THREADS_MAX}"
            )
        object.__setattr__(self, "args", _arguments(what, self.args))


def _sizes(what: str, value: object, most: tuple[int, int, int]) -> tuple[int, ...]:
    """Return one to three sizes as three."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not 1 <= len(given) <= 3:
        raise ScenarioError(f"{what} {value!r} is not one to three numbers")
    sizes = (*given, 1, 1)[:3]
    axes = zip("xyz", sizes, most, strict=True)
    return tuple(integer(f"{what}: {axis}", size, 1, high) for axis, size, high in axes)


def _arguments(what: str, value: object) -> tuple[Argument, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ScenarioError(f"{what}: args {value!r} are not a list of arguments")
    arguments = tuple(value)
    for argument in arguments:
        if not isinstance(argument, Argument):
            raise ScenarioError(
                f"{what}: {argument!r} in args has no type; write int32(n), int64(n), float32(x) "
                "or buffer(n)"
            )
    if len(arguments) > ARGUMENTS_MAX:
        raise ScenarioError(f"{what}: {len(arguments)} args are more than {ARGUMENTS_MAX}")
    return arguments


def read_kernel(data: Any) -> Kernel:
    """Return a kernel from its JSON."""
    values = checked_fields(Kernel, data, "kernel")
    values["args"] = [
        Argument(**checked_fields(Argument, argument, "argument"))
        for argument in checked_list(values, "args", "kernel")
    ]
    return Kernel(**values)

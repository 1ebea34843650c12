"""Kernels of the user's own, as data: what is accepted, what is refused, JSON there and back."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from pytest_xsched import SimModel
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.kernels import ARGUMENTS_MAX, BUFFER_MAX, buffer, float32, int32, int64
from pytest_xsched.scenario.workload import Command, kernel, read_workload

TEXT = 'extern "C" __global__ void f(float *x) {}'


def make(source=TEXT, name="f", *, grid=1, block=1, **arguments):
    return kernel(source, name, grid=grid, block=block, **arguments)


def own(workload):
    return workload.commands[0].kernel


def test_limits_are_those_of_the_native_runner():
    native = pytest.importorskip("pytest_xsched.native._native")
    assert native.lib.XS_ARGUMENTS_MAX == ARGUMENTS_MAX
    assert native.lib.XS_ITEMS_MAX == BUFFER_MAX


def test_kernel():
    workload = make(grid=(4, 2), block=64, args=[buffer(100), int32(-3)], layers=2)
    assert workload.label == "kernel('f', layers=2)"
    assert len(workload.commands) == 2 and len(set(workload.commands)) == 1
    assert (own(workload).grid, own(workload).block) == ((4, 2, 1), (64, 1, 1))
    assert own(workload).args == (buffer(100), int32(-3))
    (command,) = make().commands
    assert (command.items, command.flops, command.bytes) == (0, 0, 0)


def test_numbers_are_stored_as_pythons_own():
    workload = make(grid=np.int64(3), block=[np.int32(2)], args=(buffer(np.int64(7)), float32(1)))
    assert [type(size) for size in own(workload).grid] == [int, int, int]
    assert [type(argument.value) for argument in own(workload).args] == [int, float]
    json.dumps(asdict(workload))


@pytest.mark.parametrize(
    "change",
    [
        {"source": TEXT + " "},
        {"name": "g"},
        {"grid": 2},
        {"block": (1, 2)},
        {"args": [buffer(1)]},
        {"args": [int32(1)]},
        {"args": [int64(1)]},
    ],
)
def test_kernels_that_differ_are_not_equal(change):
    workloads = {make(), make(**change), make(args=[float32(1)])}
    assert len({workload.commands for workload in workloads}) == 3


@pytest.mark.parametrize(
    "args",
    [[], [buffer(2**31 - 1)], [int32(-(2**31)), int64(2**63 - 1), float32(0.1), float32(-3e38)]],
)
def test_a_kernel_is_read_from_its_json(args):
    workload = make(grid=(2**31 - 1, 65535, 65535), block=(16, 1, 64), args=args)
    assert read_workload(json.loads(json.dumps(asdict(workload)))) == workload


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: make(""), "kernel 'f': source '' is not a text of a program"),
        (lambda: make(None), "source None is not a text"),
        (lambda: make("a\0b"), "is not a text"),
        (lambda: make(name="my kernel"), "kernel name 'my kernel' is not an identifier"),
        (lambda: make(name="ä"), "kernel name 'ä' is not an identifier"),
        (lambda: make(name=3), "kernel name 3 is not an identifier"),
        (lambda: make(grid=0), "kernel 'f': grid: x 0 is outside [1, 2147483647]"),
        (lambda: make(grid=(1, 65536)), "grid: y 65536 is outside [1, 65535]"),
        (lambda: make(grid=()), "grid () is not one to three numbers"),
        (lambda: make(grid=(1, 1, 1, 1)), "grid (1, 1, 1, 1) is not one to three numbers"),
        (lambda: make(block=1.5), "block: x 1.5 is not an integer"),
        (lambda: make(block=(64, 32)), "block (64, 32, 1) has 2048 threads, above 1024"),
        (lambda: make(block=(1, 1, 65)), "block: z 65 is outside [1, 64]"),
        (lambda: make(args=3), "args 3 are not a list"),
        (lambda: make(args="xy"), "args 'xy' are not a list"),
        (lambda: make(args=[3]), "3 in args has no type; write int32(n), int64(n), float32(x) or"),
        (lambda: make(args=[int32(1)] * 65), "65 args are more than 64"),
        (lambda: make(layers=0), "kernel: layers 0"),
        (lambda: buffer(0), "buffer: value 0 is outside [1, 2147483647]"),
        (lambda: int32(2**31), "int32: value 2147483648 is outside"),
        (lambda: int64(2**63), "int64: value 9223372036854775808 is outside"),
        (lambda: int32(1.0), "int32: value 1.0 is not an integer"),
        (lambda: float32("1"), "float32: value '1' is not a number"),
        (lambda: float32(1e39), "float32: value 1e+39 is outside"),
        (lambda: float32(float("nan")), "float32: value nan is outside"),
        (lambda: Command(kind="kernel"), "kernel: kernel None does not go with it"),
        (lambda: Command(kind="spin", kernel=own(make())), "spin: kernel Kernel("),
        (lambda: Command(kind="kernel", kernel=own(make()), n=1), "kernel: n 1 is outside [0, 0]"),
        (lambda: SimModel().cost_ns(make().commands[0]), "kernel 'f' has no cost on the sim"),
    ],
)
def test_a_kernel_is_refused(refused, words):
    with pytest.raises(ScenarioError) as error:
        refused()
    assert words in str(error.value)

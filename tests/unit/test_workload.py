"""Workloads: what is accepted, what is refused with which words, what they amount to."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import pytest

from pytest_xsched.errors import ScenarioError
from pytest_xsched.units import ms
from pytest_xsched.workload import (
    COMMANDS_MAX,
    Command,
    Workload,
    matmul,
    read_workload,
    spin,
    vector_add,
)


def test_limit_is_that_of_the_native_runner():
    native = pytest.importorskip("pytest_xsched._native")
    assert native.lib.XS_COMMANDS_MAX == COMMANDS_MAX


@pytest.mark.parametrize(
    ("workload", "label", "count"),
    [
        (matmul(512), "matmul(512)", 1),
        (matmul(1024, batch=8), "matmul(1024, batch=8)", 1),
        (matmul(256, layers=4), "matmul(256, layers=4)", 4),
        (matmul(256, batch=2, layers=4), "matmul(256, batch=2, layers=4)", 4),
        (vector_add(1000), "vector_add(1000)", 1),
        (vector_add(2**31, layers=2), "vector_add(2147483648, layers=2)", 2),
        (spin("500us"), "spin('500us')", 1),
        (spin(1.5 * ms, layers=2), "spin('1.5ms', layers=2)", 2),
        (spin(timedelta(seconds=1)), "spin('1s')", 1),
        (spin("0s"), "spin('0s')", 1),
        (matmul(1, layers=COMMANDS_MAX), "matmul(1, layers=4096)", COMMANDS_MAX),
    ],
)
def test_workload(workload, label, count):
    assert workload.label == label
    assert len(workload.commands) == count
    assert len(set(workload.commands)) == 1


def test_work_of_commands():
    (command,) = matmul(1024, batch=8).commands
    assert command.flops == 2 * 1024**3 * 8
    assert command.bytes == 12 * 1024**2 * 8
    assert command.items == 1024**2 * 8
    (command,) = vector_add(1000).commands
    assert (command.flops, command.bytes, command.items) == (1000, 12000, 1000)
    (command,) = spin("2ms").commands
    assert (command.flops, command.bytes, command.items) == (0, 0, 0)
    assert command.duration_ns == 2_000_000
    (command,) = spin("0s").commands
    assert command == Command(kind="spin")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: matmul(0), "matmul: n 0 is outside [1, 2147483648]"),
        (lambda: matmul(-3), "matmul: n -3"),
        (lambda: matmul(512.0), "matmul: n 512.0 is not an integer"),
        (lambda: matmul("512"), "matmul: n '512' is not an integer"),
        (lambda: matmul(True), "matmul: n True is not an integer"),
        (lambda: matmul(512, batch=0), "matmul: batch 0"),
        (lambda: matmul(512, layers=0), "matmul: layers 0 is outside [1, 4096]"),
        (lambda: matmul(512, layers=4097), "matmul: layers 4097"),
        (lambda: matmul(32768, batch=3), "matmul(32768, batch=3): n * n * batch = 3221225472"),
        (lambda: vector_add(2**31 + 1), "vector_add: n 2147483649"),
        (lambda: spin(5), "duration of spin: 5 has no unit"),
        (lambda: spin("0.1ns"), "duration of spin: '0.1ns' is below 1 ns"),
        (lambda: Command(kind="conv", n=1), "'conv' is unknown; known: matmul, vector_add, spin"),
        (lambda: Command(kind="spin", n=3), "spin: n 3"),
        (lambda: Command(kind="vector_add", n=3, batch=2), "vector_add: batch 2"),
        (lambda: Command(kind="matmul", n=3, duration_ns=1), "matmul: duration_ns 1"),
        (lambda: Workload(commands=(), label="x"), "0 commands are outside [1, 4096]"),
        (lambda: Workload(commands=(1,), label="x"), "1 in commands is not a Command"),
        (lambda: Workload(commands=3, label="x"), "3 is not a tuple of Command"),
        (lambda: Workload(commands=matmul(1).commands, label=""), "label ''"),
    ],
)
def test_work_is_refused(make, words):
    with pytest.raises(ScenarioError) as error:
        make()
    assert words in str(error.value)


def test_largest_matmul():
    assert matmul(32768, batch=2).commands[0].items == 2**31


@pytest.mark.parametrize(
    "workload", [matmul(64, batch=2, layers=3), vector_add(1000), spin("1ms"), spin("0s")]
)
def test_workload_is_read_from_its_json(workload):
    assert read_workload(json.loads(json.dumps(asdict(workload)))) == workload

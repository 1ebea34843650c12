"""Workloads: what is accepted, what is refused with which words, what they amount to."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import pytest

from pytest_xsched.base.units import ms
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.workload import (
    COMMANDS_MAX,
    WAVES_MAX,
    Command,
    Workload,
    empty,
    matmul,
    read_workload,
    sequence,
    spin,
    vector_add,
)


def test_limit_is_that_of_the_native_runner():
    native = pytest.importorskip("pytest_xsched.native._native")
    assert native.lib.XS_COMMANDS_MAX == COMMANDS_MAX
    assert native.lib.XS_WAVES_MAX == WAVES_MAX


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
        (spin("1ms", fill=0.25), "spin('1ms', fill=0.25)", 1),
        (spin("1ms", fill=1), "spin('1ms')", 1),
        (spin("1ms", waves=8, layers=2), "spin('1ms', waves=8, layers=2)", 2),
        (empty(), "empty()", 1),
        (empty(layers=3), "empty(layers=3)", 3),
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
    assert empty().commands == (command,)


@pytest.mark.parametrize(
    ("fill", "permille"), [(1.0, 1000), (0.3, 300), (0.0004, 1), (0.0016, 2), (0.9999, 1000)]
)
def test_share_of_a_spin(fill, permille):
    (command,) = spin("1ms", fill=fill).commands
    assert command.fill_permille == permille


def test_sequence_is_the_commands_in_order():
    parts = [matmul(512, layers=3), vector_add(2**20), spin("50us")]
    whole = sequence(parts)
    assert whole.label == "sequence(matmul(512, layers=3), vector_add(1048576), spin('50us'))"
    assert whole.commands == parts[0].commands + parts[1].commands + parts[2].commands
    assert sequence(iter(parts), label="model").label == "model"
    nested = sequence([whole, empty()], label="more")
    assert nested.commands == (*whole.commands, *empty().commands)


def test_a_sequence_reaches_a_milestone_after_each_part():
    parts = [spin("9ms"), spin("1ms", layers=2), spin("1ms")]
    whole = sequence(parts, milestone="token")
    assert whole.milestones == (("token", 1), ("token", 3), ("token", 4))
    some = sequence(parts, milestone=["first", None, "last"])
    assert some.milestones == (("first", 1), ("last", 4))
    nested = sequence([empty(), some, empty()], milestone=[None, "answer", None])
    assert nested.milestones == (("first", 2), ("answer", 5))
    assert sequence(parts).milestones == ()
    for one in (whole, some, nested):
        assert read_workload(json.loads(json.dumps(asdict(one)))) == one


def test_a_workload_of_an_old_record_has_no_milestones():
    data = json.loads(json.dumps(asdict(spin("1ms"))))
    del data["milestones"]
    assert read_workload(data) == spin("1ms")


@pytest.mark.parametrize(
    ("milestone", "words"),
    [
        (
            ["token"],
            "sequence: milestone ['token'] is neither a name nor a list with a name or None",
        ),
        (3, "sequence: milestone 3 is neither a name"),
        ("First Token", "milestone: 'First Token' is no name; write up to 40 letters a-z"),
        (["", None], "milestone: '' is no name"),
    ],
)
def test_milestones_that_are_none(milestone, words):
    with pytest.raises(ScenarioError) as error:
        sequence([spin("1ms"), spin("2ms")], milestone=milestone)
    assert str(error.value).startswith(words)


@pytest.mark.parametrize(
    ("milestones", "words"),
    [
        ([["a", 2], ["a", 2]], "the milestone 'a' is reached after 2 commands; the numbers must"),
        ([["a", 5]], "after 5 commands; the numbers must ascend, and a request has 4 commands"),
        ([["a", 0]], "milestone 0 is outside [1, 4096]"),
        ([["a"]], "are no pairs"),
        ([[f"m{i}", i + 1] for i in range(17)], "17 names, above the limit of 16"),
    ],
)
def test_milestones_of_a_record_are_checked(milestones, words):
    data = json.loads(json.dumps(asdict(spin("1ms", layers=4))))
    with pytest.raises(ScenarioError) as error:
        read_workload({**data, "milestones": milestones})
    assert words in str(error.value)


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
        (lambda: spin(5), 'duration of spin: 5 has no unit; write "5us" or "5ms"'),
        (lambda: spin("0.1ns"), "duration of spin: '0.1ns' is below 1 ns"),
        (lambda: spin("1ms", fill=0), "fill of spin: 0 is outside (0, 1]"),
        (
            lambda: spin("1ms", fill=1.5),
            'fill of spin: 1.5 is outside [0, 1] (0% to 100%); write "1.5%" or 0.015',
        ),
        (lambda: spin("1ms", fill="much"), "fill of spin: 'much' is not a fraction"),
        (lambda: spin("1ms", waves=0), "spin: waves 0 is outside [1, 1024]"),
        (lambda: spin("1ms", waves=2, fill=0.5), "spin: 2 waves need the whole device, not 0.5"),
        (lambda: spin("1ms", layers=0), "spin: layers 0"),
        (lambda: empty(layers=5000), "empty: layers 5000"),
        (lambda: sequence([]), "sequence: an empty list"),
        (lambda: sequence(matmul(8)), "is not a list of workloads"),
        (lambda: sequence(8), "sequence: 8 is not a list of workloads"),
        (lambda: sequence([matmul(8), 8]), "sequence: 8 is not a workload"),
        (lambda: sequence([empty(layers=4000), empty(layers=97)]), "4097 commands are outside"),
        (lambda: sequence([empty()], label=""), "label ''"),
        (lambda: Command(kind="matmul", n=3, fill_permille=999), "matmul: fill_permille 999"),
        (lambda: Command(kind="matmul", n=3, waves=2), "matmul: waves 2 is outside [1, 1]"),
        (
            lambda: Command(kind="conv", n=1),
            "'conv' is unknown; known: matmul, vector_add, spin, kernel",
        ),
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
    "workload",
    [
        matmul(64, batch=2, layers=3),
        vector_add(1000),
        spin("1ms"),
        spin("0s"),
        spin("1ms", fill=0.125),
        spin("1ms", waves=1024),
        sequence([matmul(8), vector_add(8), spin("1us"), empty()]),
    ],
)
def test_workload_is_read_from_its_json(workload):
    assert read_workload(json.loads(json.dumps(asdict(workload)))) == workload

"""Scenarios as Python text: the text makes the same scenario again."""

import pytest
from hypothesis import given, settings

import pytest_xsched
from pytest_xsched import (
    Scenario,
    SimModel,
    buffer,
    bursts,
    closed,
    constant,
    empty,
    gamma,
    int32,
    kernel,
    matmul,
    poisson,
    replay,
    sequence,
    spin,
    trace,
    vector_add,
)
from pytest_xsched.scenario.arrival_process import Constant, Replay
from pytest_xsched.scenario.python_source import python_text
from pytest_xsched.stress.strategies import scenarios

PUBLIC = {name: getattr(pytest_xsched, name) for name in pytest_xsched.__all__}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (spin("1ms"), 'spin("1ms")'),
        (spin("1ms", fill=0.5, layers=3), 'spin("1ms", fill=0.5, layers=3)'),
        (spin("1ms", waves=2), 'spin("1ms", waves=2)'),
        (empty(layers=2), "empty(layers=2)"),
        (matmul(512, batch=8), "matmul(512, batch=8)"),
        (vector_add(1_000_000), "vector_add(1_000_000)"),
        (sequence([spin("1ms")], label="mine"), 'sequence((spin("1ms"),), label="mine")'),
        (
            sequence([spin("9ms"), empty()], milestone="token", label="llm"),
            'sequence((spin("9ms"), empty()), label="llm", milestone="token")',
        ),
        (
            sequence([spin("9ms"), empty()], milestone=["first", None], label="q"),
            'sequence((spin("9ms"), empty()), label="q", milestone=("first", None))',
        ),
        (constant("20/s"), 'constant("20/s")'),
        (poisson("0.3/s"), 'poisson("0.3/s")'),
        (gamma("20/s", cv=0.5), 'gamma("20/s", cv=0.5)'),
        (bursts("20/s", on="1ms", off="2s"), 'bursts("20/s", on="1ms", off="2s")'),
        (closed(), "closed()"),
        (closed(2, think="1ms"), 'closed(2, think="1ms")'),
        (replay(["0ms", "10ms"]), 'replay(("0s", "10ms"))'),
        (replay(["10ms"] * 100), 'replay(["10ms"] * 100)'),
        (Constant(rate_hz=100 / 3), "Constant(rate_hz=33.333333333333336)"),
        (SimModel(slots=2), "SimModel(slots=2)"),
    ],
)
def test_short_constructors_are_used(value, expected):
    assert python_text(value) == expected
    assert eval(expected, {**PUBLIC, "Constant": Constant}) == value


@pytest.mark.parametrize(
    "workload",
    [
        trace("decode", seed=4),
        sequence([matmul(512, layers=3), spin("50us"), matmul(512)]),
        kernel("code", "f", grid=(2, 3), block=64, args=[buffer(8), int32(-1)], layers=2),
    ],
    ids=lambda workload: workload.label,
)
def test_long_workloads_come_back(workload):
    assert eval(python_text(workload), PUBLIC) == workload


@settings(max_examples=50, deadline=None)
@given(scenario=scenarios(changes=True))
def test_scenarios_come_back(scenario):
    text = scenario.to_python()
    assert eval(text, PUBLIC) == scenario
    assert Scenario.from_dict(scenario.to_dict()) == scenario


def test_a_part_is_spelled_once_however_deep_it_is(monkeypatch):
    """It was spelled twice a level: a replay of 300,000 times took a quarter of a minute."""
    from pytest_xsched.scenario import python_source

    spelled = []
    spell = python_source.spell_duration
    monkeypatch.setattr(python_source, "spell_duration", lambda ns: spelled.append(ns) or spell(ns))
    times = tuple(range(0, 4_000_000, 1000))
    nested = ((((Replay(times_ns=times),),),),)
    text = python_text(nested)
    assert text.count("us") + text.count("ms") + text.count('"0s"') == len(times) == len(spelled)

"""Wrong arguments over the whole public API: one short sentence, which shows the way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_xsched import (
    CpuModel,
    SimModel,
    XSched,
    at,
    command,
    compare_runs,
    kernel,
    matmul,
    poisson,
    replay,
    sequence,
    spin,
    stages,
    trace_file,
    us,
)
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.queue_spec import RESERVED_NAMES
from pytest_xsched.session.session import Session
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress import strategies


@pytest.fixture(scope="module")
def x():
    session = Session(Settings(device="sim"))
    yield session
    session.close()


@pytest.fixture(scope="module")
def high(x):
    return x.queue("high", spin("1ms"), priority=10, rate="20/s")


@pytest.fixture(scope="module")
def run(x, high):
    return x.run(high, duration="15s")


@pytest.fixture(scope="module")
def compared(x, high):
    return x.compare(high, duration="15s", episodes=1)


def refused(use):
    with pytest.raises(ScenarioError) as error:
        use()
    text = str(error.value)
    assert "\n" not in text and len(text) < 300
    return text


@pytest.mark.parametrize(
    ("workload", "advice"),
    [
        (lambda: 1, 'code of your own as a program: command(["python", "serve.py"])'),
        (print, "write a function that builds a model: model(print); code of your own"),
        (spin, "the function spin is not a workload; call it, as in spin(...)"),
        (
            "http://localhost:8000",
            "write endpoint('http://localhost:8000') for requests to a server",
        ),
        ("python serve.py", "write command(['python', 'serve.py']) for a program"),
        (["python", "serve.py"], "write command(['python', 'serve.py']) for a program"),
        ([spin("1ms"), spin("2ms")], "write sequence([...]), whose requests run them one after"),
        ((spin("1ms"),), "write sequence([...])"),
        (np.zeros((512, 512)), 'write matmul(512), spin("1ms"), or command('),
        (512, "512 is not a workload; write matmul(512)"),
        (None, "None is not a workload; write matmul(512)"),
        ({"n": 512}, "write matmul(512)"),
    ],
)
def test_what_is_handed_to_a_queue_as_its_workload(x, workload, advice):
    assert advice in refused(lambda: x.queue("high", workload))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"arrivals": poisson}, 'arrivals the function poisson are none; write poisson("20/s")'),
        ({"arrivals": [("10s", "20/s")]}, 'write stages([("10s", "20/s"), ("30s", "100/s")])'),
        ({"arrivals": {"calm": ("10s", "20/s")}}, 'write stages([("10s", "20/s"), ("30s", "'),
        ({"arrivals": stages}, 'write stages([("10s", "20/s"), ("30s", "100/s")])'),
        ({"arrivals": trace_file}, 'write trace_file("azure.csv")'),
        ({"arrivals": "log.jsonl"}, 'write trace_file("log.jsonl")'),
        ({"arrivals": [0.1, 0.2]}, "write replay([...]) of times with a unit"),
        ({"rate": poisson("20/s")}, "has a name: arrivals="),
        ({"threshold": None}, 'threshold None is no number; write "auto", or leave it out'),
        ({"sm_share": 50}, 'sm_share: 50 is outside [0, 1] (0% to 100%); write "50%" or 0.5'),
        ({"cu_mask": 3}, "cu_mask 3 is not a list of numbers; write [0, 1] or range(0, 4)"),
        ({"cu_mask": "0-3"}, "cu_mask '0-3' is not a list of numbers; write [0, 1] or range"),
        ({"device": 1}, "device 1 is unknown; known: cpu, sim, hip, cuda, opencl; write 'cuda:1'"),
        ({"deadline": 50}, 'deadline: 50 has no unit; write "50ms" or "50s"'),
    ],
)
def test_arguments_of_a_queue(x, arguments, words):
    assert words in refused(lambda: x.queue("high", spin("1ms"), **arguments))


def test_name_and_workload_swapped(x):
    words = "queue: the name comes first; write queue(\"high\", spin('1ms'))"
    assert refused(lambda: x.queue(spin("1ms"), "high")).startswith(words)


def test_no_queue_hides_an_attribute_of_its_run(x, run, compared):
    """A queue named "burst" was a number: `run.burst.assert_p99_below` had no such attribute."""
    public = {name for name in dir(run) if not name.startswith("_")}
    assert public <= RESERVED_NAMES
    for name in sorted(name for name in dir(compared) if not name.startswith("_")):
        assert "would hide an attribute of the " in refused(
            lambda name=name: x.compare(x.queue(name, spin("1ms"), rate="20/s"), duration="1s")
        )


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda x, q: x.run([q, q], duration="1s"), "write run(*queues, ...), with a star"),
        (lambda x, q: x.run((q,), duration="1s"), "write run(*queues, ...), with a star"),
        (lambda x, q: x.run({"high": q}, duration="1s"), "write run(*queues.values(), ...)"),
        (lambda x, q: x.run(q, "60s"), "'60s' is not a queue; write duration=\"60s\""),
        (lambda x, q: x.run("high", duration="1s"), 'write xsched.queue("high", spin("1ms"))'),
        (lambda x, q: x.run(spin("1ms"), duration="1s"), 'write xsched.queue("high", spin(\'1ms'),
        (lambda x, q: x.run(None, duration="1s"), "None is not a queue; make it with"),
        (lambda x, q: x.run(q, duration="1s", scheduler="hpf"), "write policy='hpf'"),
        (lambda x, q: x.run(q, duration="1s", scheduler="kedf"), "write XSched(policy='kedf')"),
        (lambda x, q: x.run(q, duration="1s", scheduler=XSched), "write XSched()"),
        (
            lambda x, q: x.run(q, duration="1s", scheduler=["native", "builtin"]),
            "xsched.compare() measures several",
        ),
        (lambda x, q: x.run(q, duration="1s", scheduler=""), "scheduler '' is unknown; known: "),
        (lambda x, q: x.run(q, duration="1s", policy="kedf"), "scheduler=XSched(policy='kedf')"),
        (
            lambda x, q: x.run(q, duration="1s", changes=at("1ms", "high", priority=1)),
            'are not a list; write changes=[at("2s", "low", priority=20)]',
        ),
        (lambda x, q: x.run(q, duration="1s", changes=5), "changes 5 are not a list; write "),
        (lambda x, q: x.run(q, duration="1s", changes="x"), "changes 'x' are not a list; write "),
        (
            lambda x, q: x.run(q, duration="1s", changes=[("1s", "high")]),
            "in changes is not a change; write at(",
        ),
        (lambda x, q: x.run(q, duration="1s", whole="yes"), "whole 'yes' is not True or False"),
        (lambda x, q: x.run_scenario(q), "run_scenario takes a Scenario, not QueueSpec("),
        (lambda x, q: x.compare([q], duration="1s"), "write compare(*queues, ...), with a star"),
        (lambda x, q: x.compare(spin("1ms"), duration="1s"), 'write xsched.queue("high", '),
        (lambda x, q: x.compare(q, schedulers=5, duration="1s"), '["native", "builtin"]'),
        (
            lambda x, q: x.compare(q, schedulers={"native", "builtin"}, duration="1s"),
            'are not two; write ["native", "builtin"]',  # a set has no first
        ),
        (
            lambda x, q: x.compare(q, schedulers=["native", "hpf"], duration="1s"),
            "write policy='hpf'",
        ),
        (lambda x, q: x.compare(q, arms=5, duration="1s"), 'arms 5 are no list; write ["alone"]'),
        (lambda x, q: x.compare(q, changes=5, duration="1s"), "changes 5 are not a list"),
        (lambda x, q: x.live(scheduler="fair"), "scheduler 'fair' is unknown; known: native"),
        (lambda x, q: x.live(patience=5), 'patience: 5 has no unit; write "5ms" or "5s"'),
        (lambda x, q: x.live()().wait(5), 'timeout: 5 has no unit; write "5ms" or "5s"'),
        (lambda x, q: x.live()().submit([spin("1ms")]), "submit takes a workload such as matmul"),
        (
            lambda x, q: x.search(strategies.scenarios, queue="a", budget="1s"),
            "the function scenarios is not a strategy; write scenarios()",
        ),
        (
            lambda x, q: x.search(strategies.workloads(), queue="a", budget="1s"),
            "space of search draws Workload(",
        ),
        (
            lambda x, q: x.search(strategies.scenarios(), queue=q, budget="1s"),
            "is not the name of a queue",
        ),
    ],
)
def test_arguments_of_the_session(x, high, use, words):
    assert words in refused(lambda: use(x, high))


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (
            lambda run: run.high.assert_attainment_at_least("99%", "50ms"),
            'are in the wrong order; write assert_attainment_at_least("50ms", "99%")',
        ),
        (
            lambda run: run.high.assert_attainment_at_least(0.99, "50ms"),
            "0.99 and '50ms' are in the wrong order; write ",
        ),
        (
            lambda run: run.high.assert_goodput_at_least("20/s", "50ms"),
            'are in the wrong order; write assert_goodput_at_least("50ms", "20/s")',
        ),
        (
            lambda run: run.high.assert_percentile_below("50ms", 0.99),
            'are in the wrong order; write assert_percentile_below(0.99, "50ms")',
        ),
        (lambda run: run.high.assert_tail_ratio_below("10"), "'10' is not a number; write 10"),
        (
            lambda run: run.high.assert_slowdown_below("1.5x", alone=None),
            "'1.5x' is not a number; write 1.5",
        ),
        (lambda run: run.assert_fair("high", at_least=80), 'write "80%" or 0.8'),
        (lambda run: run.assert_fair(["high"]), 'write assert_fair("high")'),
        (lambda run: run[["high"]], "the run has no queue ['high']; it has high"),
        (lambda run: compare_runs(run, run, force="yes"), "force 'yes' is not True or False"),
    ],
)
def test_arguments_of_targets(run, use, words):
    assert words in refused(lambda: use(run))


@pytest.mark.parametrize("limit", ["50ms", "50%", "150 %"])
def test_no_advice_that_would_be_a_gate_which_is_green_for_ever(run, limit):
    assert refused(lambda: run.high.assert_tail_ratio_below(limit)).endswith("is not a number")


def test_a_target_that_does_not_exist_is_answered_with_the_one_that_does(run):
    for name, written in {
        "assert_p90_below": 'assert_percentile_below(0.90, "50ms")',
        "assert_p9999_below": 'assert_percentile_below(0.9999, "50ms")',
        "assert_p5_below": 'assert_percentile_below(0.05, "50ms")',
        "assert_p100_below": 'assert_max_below("50ms")',
        "p90": "percentile(0.90)",
        "p100": "max",
    }.items():
        with pytest.raises(AttributeError) as error:
            getattr(run.high, name)
        assert str(error.value) == f"a queue of a run has no {name!r}; write {written}"
    for name, near in {
        "assert_p99": "assert_p99_below",
        "assert_throughput": "assert_throughput_at_least",
    }.items():
        with pytest.raises(AttributeError, match=rf"no '{name}'; it has .*\b{near}\b"):
            getattr(run.high, name)
    with pytest.raises(AttributeError, match=r"has no 'assert_zzz'$"):
        _ = run.high.assert_zzz
    with pytest.raises(AttributeError, match=r"; write run\.high\.assert_p99_below$"):
        _ = run.assert_p99_below


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (
            lambda c: c.high.assert_p99_improved(scheduler="xsched"),
            "scheduler 'xsched' is not compared with 'native' here; name 'builtin'",
        ),
        (lambda c: c.high.assert_p99_improved(by="2x"), "'2x' is not a number; write 2"),
        (lambda c: c.high.assert_p99_improved(by=0.5), "0.5 is below 1; by=2 is half the latency"),
        (lambda c: c.high.assert_no_worse(by=10), 'write "10%" or 0.1'),
        (lambda c: c.high.assert_no_worse(by=1), '1 lets the latency double; write "1%" or 0.01'),
        (lambda c: c.high.assert_best_effort_kept(90), 'write "90%" or 0.9'),
    ],
)
def test_arguments_of_claims(compared, use, words):
    assert words in refused(lambda: use(compared))


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: at("low", "2s", priority=1), "the time comes first; write at(\"2s\", 'low'"),
        (lambda: at("2s", ["low"], priority=1), "is not the name of a queue; write at("),
        (lambda: kernel(Path("k.cu"), "k", grid=1, block=1), "write path.read_text()"),
        (lambda: sequence([spin]), "the function spin is not a workload like matmul(512)"),
        (lambda: replay("times.csv"), 'is not a list of times; write ["10ms", "20ms"]'),
        (lambda: command("serve.py"), "'serve.py' is not a list; write ['serve.py']"),
        (lambda: matmul("512"), "'512' is not an integer"),
        (lambda: matmul(np.zeros(100_000)), "is not an integer"),
    ],
)
def test_arguments_of_workloads_and_changes(use, words):
    assert words in refused(use)


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (
            lambda x: x.queue("h", spin("1ms"), utilization="50%"),
            "queue 'h': utilization '50%' is not an integer; write 50",
        ),
        (
            lambda x: x.queue("h", spin("1ms"), utilization=0.5),
            "queue 'h': utilization 0.5 is not an integer, which is in percent; write 50 for a "
            "half",
        ),
        (
            lambda x: SimModel(launch_ns="5us"),
            "sim: launch_ns '5us' is not an integer, which counts nanoseconds; write 5000",
        ),
        (
            lambda x: CpuModel(spin_ns=5 * us),
            "cpu: spin_ns Duration(ns=5000) is not an integer, which counts nanoseconds; write "
            "5000",
        ),
        (
            lambda x: SimModel(launch_ns=1.5),
            "sim: launch_ns 1.5 is not an integer, which counts nanoseconds; 5000 are 5 us",
        ),
        (lambda x: SimModel(slots="2"), "sim: slots '2' is not an integer; write 2"),
        (
            lambda x: x.queue("h", spin("1ms"), priority=10.0),
            "queue 'h': priority 10.0 is not an integer; write 10",
        ),
    ],
)
def test_a_number_with_a_unit_where_a_plain_one_counts(x, use, sentence):
    assert refused(lambda: use(x)) == sentence


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda s, q: s.scenarios(queues=20), "scenarios: queues 20 is outside [1, 8]"),
        (lambda s, q: s.scenarios(queues="3"), "scenarios: queues '3' is not an integer; write 3"),
        (lambda s, q: s.scenarios(queues=2, least=5), "scenarios: least 5 is outside [1, 2]"),
        (
            lambda s, q: s.scenarios(policies="hpf"),
            "scenarios: policies 'hpf' is not a list of choices; write [\"hpf\"]",
        ),
        (lambda s, q: s.contentions(q, others=20), "contentions: others 20 is outside [0, 8]"),
        (
            lambda s, q: s.contentions(q, thresholds=[]),
            "contentions: thresholds [] is not a list of choices; write [1, 8, 64]",
        ),
        (
            lambda s, q: s.contentions("high"),
            "contentions: 'high' is not a queue; make it with xsched.queue(\"high\", "
            'spin("1ms"), rate="20/s")',
        ),
    ],
)
def test_a_space_is_checked_where_it_is_made(high, make, sentence):
    """It was drawn with eight queues at most, or failed inside of hypothesis."""
    assert refused(lambda: make(strategies, high)) == sentence


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda run: run.assert_fair(run.high), 'write assert_fair("high")'),
        (lambda run: run.assert_fair(run.high, "low"), 'write assert_fair("high", "low")'),
        (lambda run: run.assert_fair(["a", "b"]), 'write assert_fair("a", "b")'),
        (lambda run: run.assert_fair(run.high.spec), 'write assert_fair("high")'),
        (
            lambda run: run.assert_fair("a", "b", 0.8),
            "assert_fair: 0.8 is not the name of a queue; write at_least=0.8",
        ),
    ],
)
def test_fairness_takes_names(run, use, sentence):
    assert sentence in refused(lambda: use(run))


MEASURED = "P50 of high, 1 ms, was measured, and this must be known before; write"


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda q: q.assert_p99_below(q.p50), f'limit of assert_p99_below: {MEASURED} "50ms"'),
        (
            lambda q: q.assert_longest_wait_below(q.p50),
            f'limit of assert_longest_wait_below: {MEASURED} "50ms"',
        ),
        (
            lambda q: q.assert_throughput_at_least(q.p50),
            f'rate of assert_throughput_at_least: {MEASURED} "20/s"',
        ),
        (
            lambda q: q.assert_attainment_at_least("1s", q.p50),
            f'fraction of assert_attainment_at_least: {MEASURED} "50%"',
        ),
        # As a float it was five million, which every ratio is below.
        (
            lambda q: q.assert_tail_ratio_below(q.p50),
            f"limit of assert_tail_ratio_below: {MEASURED} a plain number",
        ),
    ],
)
def test_a_measured_number_is_no_limit(run, use, sentence):
    text = refused(lambda: use(run.high))
    assert text.startswith(sentence)
    assert text.endswith("as in assert run.high.p99 < run.low.p99")


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (
            lambda x, run, compared: x.queue("h", spin("1ms"), 10, "20/s"),
            "queue(): 10, '20/s' have no names; write them: priority=, rate=, arrivals=, "
            "concurrency=, ...",
        ),
        (
            lambda x, run, compared: run.high.assert_p99_below("50ms", "10ms"),
            "assert_p99_below() takes limit only; leave out '10ms'",
        ),
        (
            lambda x, run, compared: run.high.assert_no_errors(1),
            "assert_no_errors() takes no argument; leave out 1",
        ),
        (
            lambda x, run, compared: run.high.assert_slowdown_below(2, run.high),
            "assert_slowdown_below(): <queue high of a run> has no name; write one before it: "
            "alone=, percentile=",
        ),
        (
            lambda x, run, compared: compared.high.assert_p99_improved(3),
            "assert_p99_improved(): 3 has no name; write one before it: by=, scheduler=",
        ),
        (
            lambda x, run, compared: x.search(strategies.scenarios(), "a"),
            "search(): 'a' has no name; write one before it: queue=, objective=, budget=, "
            "examples=, ...",
        ),
        (
            lambda x, run, compared: spin("1ms", 4),
            "spin(): 4 has no name; write one before it: fill=, waves=, layers=",
        ),
        (
            lambda x, run, compared: at("1s", "low", 20),
            "at(): 20 has no name; write one before it: priority=, suspended=",
        ),
    ],
)
def test_too_many_arguments_without_a_name(x, run, compared, use, sentence):
    assert refused(lambda: use(x, run, compared)) == sentence

"""`pytest-xsched conformance` with the double of XSched on the fake driver, faulty and not."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from pytest_xsched import Scenario, XSched, replay, spin
from pytest_xsched.conformance.command import Subject, theirs
from pytest_xsched.conformance.engine import FAILED, HOLDS, Examination, Limits
from pytest_xsched.conformance.generators import simpler
from pytest_xsched.conformance.spec import IN_EFFECT, RETURNS, XSCHED
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.session.settings import Settings
from pytest_xsched.xsched.installation import find_home


def two_bursts(policy):
    """The high one comes when the low one has begun."""
    queues = tuple(
        QueueSpec(
            name=name,
            workload=spin("1ms"),
            arrivals=replay([begin] * 100),
            threshold=1,
            priority=priority,
        )
        for name, begin, priority in (("high", "20ms", 1), ("low", "0ms", 0))
    )
    return Scenario(
        queues=queues,
        duration_ns=200_000_000,
        warmup_ns=0,
        drain_ns=10_000_000_000,
        seed=0,
        device="cuda",
        scheduler="xsched",
        policy="none",
        xsched=XSched(policy=policy),
    )


@pytest.fixture
def examined(xsched_gpu):
    """Holds a policy against its claims in one scenario, as the command does."""

    def look(name):
        tested = next(tested for tested in XSCHED if tested.policy.name == name)
        subject: Subject = theirs(tested, "cuda", Settings(device="cuda"), find_home())
        few = Limits(examples=1, shrink_s=0, shrink_runs=0, repeats=1)
        space = st.just(two_bursts(name))
        runs = (subject.run, subject.run_fresh)
        one = Examination(tested, space, *runs, few, seed=0, simpler=simpler)
        one.run_next()
        return {result.rule: result for result in one.conclude().results}

    return look


def test_what_holds(examined):
    shown = (RETURNS, IN_EFFECT, "all through XSched", "everything ends", "highest first")
    for _ in range(3):  # a run can be spoiled by other load, which is no failure
        results = examined("hpf")
        assert FAILED not in {result.status for result in results.values()}
        if all(results[claim].status == HOLDS for claim in shown):
            return
    pytest.fail(f"not seen in three runs: {results}")


@pytest.mark.parametrize(
    ("fault", "claim", "sentence"),
    [
        (
            "ignore-priority",
            IN_EFFECT,
            "scheduler inactive: in a trial of the policy hpf hints preferred one of two queues",
        ),
        ("segv", RETURNS, "the worker process was ended by SIGSEGV"),
    ],
)
def test_faults_are_findings(examined, monkeypatch, fault, claim, sentence):
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    results = examined("hpf")
    assert [name for name, result in results.items() if result.status == FAILED] == [claim]
    assert results[claim].sentence.startswith(sentence)
    assert results[claim].reproduced == results[claim].repeats == 1

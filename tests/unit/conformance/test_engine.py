"""The search of `pytest-xsched conformance`: what counts, what is shrunk, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_xsched.base import policies
from pytest_xsched.base.policies import POLICIES, Policy
from pytest_xsched.conformance import live_engine
from pytest_xsched.conformance.engine import (
    FAILED,
    HOLDS,
    LEAST,
    ONCE,
    UNSEEN,
    Conformance,
    Limits,
    check_scenario,
    examine,
    from_text,
)
from pytest_xsched.conformance.generators import contests, simpler
from pytest_xsched.conformance.report import policy_lines, summary, to_json
from pytest_xsched.conformance.spec import (
    BUILTIN,
    IN_EFFECT,
    NAMES,
    RETURNS,
    XSCHED,
    Check,
    PolicyUnderTest,
)
from pytest_xsched.errors import DeviceUnavailable, SchedulerInactive, WorkerCrashed
from pytest_xsched.scenario.xsched_settings import POLICY_NUMBERS
from pytest_xsched.stress.minimize import Counterexample
from pytest_xsched.stress.rules import Rule

LIMITS = Limits(search_s=60, examples=10, shrink_s=60, shrink_runs=150)
HPF = next(tested.policy for tested in BUILTIN if tested.policy.name == "hpf")
XS_HPF = next(tested.policy for tested in XSCHED if tested.policy.name == "hpf")


def policy_with(judge, name="few queues"):
    checks = tuple(
        Check(rule=Rule(id=id, definition=f"what {id} means"), judge=one)
        for id, one in ((name, judge), (RETURNS, lambda run: []), (IN_EFFECT, lambda run: []))
    )
    policy = Policy(scheduler="builtin", name="hpf", definition="A rule.", source="a book")
    return PolicyUnderTest(policy=policy, checks=checks)


def few_queues(run):
    count = len(run.scenario.queues)
    return None if count == 1 else [f"{count} queues"] if count > 2 else []


def nothing(run):
    return []


def run(scenario):
    return SimpleNamespace(scenario=scenario)


def examined(judge=few_queues, *, run=run, limits=LIMITS, policy=HPF, **more):
    space = contests(policy, "opencl")
    return examine(policy_with(judge), space, run, run, limits, seed=1, **more)


def first_of(policy):
    found = []
    one = Limits(search_s=60, examples=1, shrink_s=1, shrink_runs=1)

    def keep(scenario):
        found.append(scenario)
        return run(scenario)

    examine(policy_with(nothing), contests(policy, "opencl"), keep, keep, one, seed=0)
    return found[0]


@pytest.fixture(scope="module")
def found():
    return examined()


def test_a_failure_is_shrunk_and_reproduced(found):
    first = found.results[0]

    assert (first.status, first.reproduced, first.repeats) == (FAILED, 3, 3)
    assert first.sentence == "3 queues"
    assert 0 < first.failing < first.looked < LIMITS.examples
    assert len(first.scenario.queues) == 3
    # The first choice of each grid, wherever that changes nothing.
    assert {queue.priority for queue in first.scenario.queues} == {0}
    assert {queue.workload.commands[0].duration_ns for queue in first.scenario.queues} == {10**6}


def test_slow_runs_are_made_simpler_by_large_steps():
    ran = []

    def slow(scenario):
        ran.append(scenario)
        return run(scenario)

    found = examined(
        lambda run: [f"{q.name} is 2" for q in run.scenario.queues if q.priority == 2],
        run=slow,
        policy=XS_HPF,
        simpler=simpler,
    )
    first = found.results[0]
    assert first.status == FAILED
    (queue,) = first.scenario.queues
    assert (queue.priority, queue.threshold, len(queue.arrivals.times_ns)) == (2, 1, 100)
    assert found.runs == len(ran) <= found.scenarios + 60


def test_what_fails_only_once_does_not_count():
    seen = set()

    def once(scenario):
        new = scenario.digest() not in seen
        seen.add(scenario.digest())
        return SimpleNamespace(scenario=scenario, new=new)

    for more in ({}, {"simpler": simpler}):
        seen.clear()
        policy = XS_HPF if more else HPF
        found = examined(lambda r: ["new"] if r.new else [], run=once, policy=policy, **more)
        assert (found.results[0].status, found.results[0].reproduced) == (ONCE, 0)
        assert found.failed == ()


def test_two_of_three_count():
    number = 0

    def often(scenario):
        nonlocal number
        number += 1
        return SimpleNamespace(scenario=scenario, bad=number % 3 != 0)

    found = examined(lambda r: ["bad"] if r.bad else [], run=often)
    assert (found.results[0].status, found.results[0].reproduced) == (FAILED, 2)


def test_the_end_of_a_process_is_a_finding():
    def crash(scenario):
        raise WorkerCrashed("the worker process was ended by SIGSEGV")

    found = examined(run=crash)
    assert [result.status for result in found.results] == [UNSEEN, FAILED, UNSEEN]
    assert found.results[1].sentence == "the worker process was ended by SIGSEGV"
    assert len(found.results[1].scenario.queues) == 1


def test_a_scheduler_that_is_inactive_is_a_finding():
    def inactive(scenario):
        raise SchedulerInactive("scheduler inactive: it said nothing")

    outcome = check_scenario(policy_with(few_queues), inactive, first_of(HPF))
    assert outcome == {IN_EFFECT: ["scheduler inactive: it said nothing"]}


def test_without_a_device_nothing_is_a_finding():
    def refuse(scenario):
        raise DeviceUnavailable("no GPU")

    with pytest.raises(DeviceUnavailable):
        examined(run=refuse)


def test_some_are_run_however_little_time_there_is():
    found = examined(nothing, limits=Limits(search_s=-1, examples=5, shrink_s=1, shrink_runs=5))
    assert found.scenarios == LEAST


@pytest.mark.parametrize("policy", policies.XSCHED, ids=lambda policy: policy.name)
def test_scenarios_come_back_from_their_text(policy):
    scenarios = []

    def keep(scenario):
        scenarios.append(scenario)
        return run(scenario)

    few = Limits(search_s=60, examples=3, shrink_s=1, shrink_runs=1)
    examine(policy_with(nothing), contests(policy, "cuda"), keep, keep, few, seed=2)
    for scenario in scenarios:
        assert from_text(scenario.to_python()) == scenario
        assert scenario.to_python().count("\n") < 60
        for step in simpler(scenario):
            assert step != scenario


def test_every_policy_is_here():
    assert tuple(tested.policy.name for tested in BUILTIN) == POLICIES
    assert {tested.policy.name for tested in XSCHED} == POLICY_NUMBERS.keys() - {"none"}
    assert NAMES[: len(POLICIES)] == POLICIES


# ---- the report


def test_the_text(found):
    lines = policy_lines(found, {"few queues": Path("kept/it.json")})

    assert lines[0].startswith(f"builtin hpf: {found.scenarios} scenarios, {found.runs} runs in ")
    assert lines[1] == "  A rule (a book)."
    assert lines[2] == "  FAILED  few queues                  3 queues"
    assert lines[3] == "          claimed: what few queues means"
    failing, looked = found.results[0].failing, found.results[0].looked
    assert lines[4] == (
        f"          in {failing} of {looked} scenarios; reproduced in 3 of 3 fresh processes by "
        "this one, kept in kept/it.json:"
    )
    text = "\n".join(line.removeprefix(" " * 10) for line in lines[5:-2])
    assert from_text(text) == found.results[0].scenario
    assert lines[-2] == f"  holds   returns in time             {found.scenarios} scenarios"
    assert summary([found], 2.0) == f"1 finding in {found.scenarios} scenarios of 1 policy, 2.0 s"


@pytest.mark.parametrize(("reproduced", "status"), [(True, FAILED), (False, ONCE)])
def test_steps_on_live_queues(monkeypatch, reproduced, status):
    steps = ("q0 = xqueues(priority=0)", "q0.destroy()")
    finding = Counterexample(
        rule="destroy returns", sentence="It did not.", steps=steps, reproduced=reproduced
    )
    monkeypatch.setattr(live_engine, "all_broken", lambda make, *_, **__: [finding])
    results = live_engine.take_steps(None, XS_HPF)
    found = Conformance(policy=XS_HPF, scenarios=1, runs=1, seconds=1.0, results=results)
    assert [result.status for result in results] == [status]
    lines = policy_lines(found, {})[2:]
    if reproduced:
        assert lines[0] == "  FAILED  live queues: destroy returns  It did not."
        assert lines[1].startswith("          claimed: Each call returns")
        assert lines[2:] == [
            "          reproduced in 1 of 1 fresh process by these steps of the fixture xqueues:",
            "          q0 = xqueues(priority=0)",
            "          q0.destroy()",
        ]
    (plain,) = json.loads(to_json([found], {}, facts={}, seconds=1))["policies"][0]["claims"]
    assert (plain["python"], plain["file"]) == ("\n".join(steps), None)

    monkeypatch.setattr(live_engine, "all_broken", lambda make, *_, **__: [])
    (result,) = live_engine.take_steps(None, XS_HPF)
    assert (result.status, result.looked) == (HOLDS, 5)


def test_a_finding_on_live_queues_is_printed_as_it_comes(monkeypatch):
    def all_broken(make, *_, say, **__):
        say("destroy returns: It did not.")
        return []

    monkeypatch.setattr(live_engine, "all_broken", all_broken)
    lines = []
    live_engine.take_steps(None, XS_HPF, lines.append)
    assert lines == ["\nfound under hpf: destroy returns: It did not."]


def test_the_text_of_what_is_no_finding():
    unseen = examined(lambda run: None)
    assert unseen.results[0].status == UNSEEN and unseen.results[1].status == HOLDS
    assert policy_lines(unseen, {})[2] == (
        "  unseen  few queues                  no scenario showed anything about this rule"
    )


def test_the_json(found):
    files = {("builtin", "hpf", "few queues"): Path("kept/it.json")}
    plain = json.loads(to_json([found], files, facts={"seed": 1}, seconds=2.0))

    assert (plain["ok"], plain["seed"], plain["seconds"]) == (False, 1, 2.0)
    first, second, _ = plain["policies"][0]["claims"]
    assert (first["status"], first["file"]) == ("failed", "kept/it.json")
    assert from_text(first["python"]) == found.results[0].scenario
    assert second == {
        "claim": RETURNS,
        "definition": "what returns in time means",
        "status": "holds",
        "looked": found.scenarios,
        "unit": "scenario",
    }

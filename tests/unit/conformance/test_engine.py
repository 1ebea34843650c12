"""The search of `pytest-xsched conformance`: what counts, what is shrunk, what is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_xsched.base import policies
from pytest_xsched.base.policies import POLICIES, Policy
from pytest_xsched.conformance import engine, live_engine
from pytest_xsched.conformance.engine import (
    FAILED,
    HOLDS,
    LEAST,
    ONCE,
    UNSEEN,
    Conformance,
    Examination,
    Limits,
    check_scenario,
    from_text,
    take_turns,
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
    NotClaimed,
    PolicyUnderTest,
)
from pytest_xsched.errors import DeviceUnavailable, SchedulerInactive, WorkerCrashed
from pytest_xsched.scenario.xsched_settings import POLICY_NUMBERS
from pytest_xsched.stress.minimize import Counterexample
from pytest_xsched.stress.rules import Rule

LIMITS = Limits(examples=10, shrink_s=60, shrink_runs=150)
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


def examined(judge=few_queues, *, run=run, limits=LIMITS, policy=HPF, search_s=60, **more):
    space = contests(policy, "opencl")
    one = Examination(policy_with(judge), space, run, run, limits, seed=1, **more)
    return conclusion(one, search_s)


def conclusion(one, search_s=60):
    take_turns([one], search_s)
    return one.conclude()


def first_of(policy):
    found = []
    one = Limits(examples=1, shrink_s=1, shrink_runs=1)

    def keep(scenario):
        found.append(scenario)
        return run(scenario)

    space = contests(policy, "opencl")
    conclusion(Examination(policy_with(nothing), space, keep, keep, one, seed=0))
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


# ---- which scenario is next


class Clock:
    """Stands in for `time`: it moves only where a run takes time."""

    def __init__(self, monkeypatch):
        self.now_s = 0.0
        monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def taking(self, seconds, ran):
        def slow(scenario):
            self.now_s += seconds
            ran.append(scenario)
            return run(scenario)

        return slow


def examination(judge, one_run, policy=XS_HPF, may_show=None, limits=LIMITS):
    checks = (Check(rule=Rule(id="few queues", definition="Few."), judge=judge),)
    if may_show is not None:
        checks = (dataclasses.replace(checks[0], may_show=may_show),)
    tested = PolicyUnderTest(policy=policy, checks=checks)
    return Examination(tested, contests(policy, "opencl"), one_run, one_run, limits, seed=1)


def test_policies_get_the_same_time_and_not_one_after_the_other(monkeypatch):
    clock, order = Clock(monkeypatch), []

    def taking(seconds):
        one_run = clock.taking(seconds, [])
        return lambda scenario: order.append(seconds) or one_run(scenario)

    both = [examination(nothing, taking(seconds)) for seconds in (10, 2)]
    take_turns(both, 17)
    assert order == [10, 2, 2, 2, 2, *[10] * (LEAST - 1)]
    assert [one.cut for one in both] == [True, True]


def test_virtual_scenarios_take_less_of_the_budget(monkeypatch):
    clock, ours, theirs = Clock(monkeypatch), [], []
    both = [
        examination(nothing, clock.taking(1, ours), HPF),
        examination(nothing, clock.taking(1, theirs)),
    ]
    take_turns(both, 7)
    assert (len(ours), len(theirs)) == (LEAST, 6)


def test_a_policy_whose_rules_are_unseen_gets_more_scenarios(monkeypatch):
    clock, seen, unseen = Clock(monkeypatch), [], []
    both = [
        examination(nothing, clock.taking(1, seen)),
        examination(lambda run: None, clock.taking(1, unseen)),
    ]
    take_turns(both, 11)
    assert (len(seen), len(unseen)) == (4, 8)


def test_the_first_scenario_may_show_what_is_unseen(monkeypatch):
    ran = []
    one = examination(
        lambda run: [] if len(run.scenario.queues) == 3 else None,
        Clock(monkeypatch).taking(1, ran),
        may_show=lambda scenario: len(scenario.queues) == 3,
    )
    take_turns([one], 60)
    assert len(ran[0].queues) == 3
    assert {len(scenario.queues) for scenario in ran} == {1, 2, 3}


def test_a_first_breach_is_reported_at_once():
    said = []
    one = examination(lambda run: [f"{len(run.scenario.queues)} queues"], run)
    take_turns([one], 60, lambda tested, rule, sentence: said.append((rule, sentence)))
    assert [rule for rule, _ in said] == ["few queues"]
    outcome = one.conclude(shorten=False)
    assert (outcome.results[0].status, outcome.results[0].repeats) == (ONCE, 0)
    assert policy_lines(outcome, {})[2].endswith("failed, and was not run again: " + said[0][1])


def test_a_conclusion_is_made_once():
    """With --exitfirst it decides whether the search goes on, and is reported after that."""
    ran = []
    one = examination(few_queues, lambda scenario: ran.append(scenario) or run(scenario))
    take_turns([one], 60)
    first = one.conclude()
    assert first.failed and first.results[0].repeats == LIMITS.repeats
    count = len(ran)
    assert one.conclude().results == one.conclude(shorten=False).results == first.results
    assert len(ran) == count


@pytest.mark.parametrize("policy", policies.XSCHED, ids=lambda policy: policy.name)
def test_each_rule_of_a_policy_has_scenarios_that_may_show_it(policy):
    (tested,) = [one for one in XSCHED if one.policy == policy]
    scenarios = []
    many = dataclasses.replace(LIMITS, examples=30)  # as with the default budget
    one = examination(nothing, lambda s: scenarios.append(s) or run(s), policy, limits=many)
    take_turns([one], 60)
    for check in tested.checks:
        assert any(map(check.may_show, scenarios)), check.rule.id


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
    found = examined(nothing, limits=Limits(examples=5, shrink_s=1, shrink_runs=5), search_s=-1)
    assert found.scenarios == LEAST


@pytest.mark.parametrize("policy", policies.XSCHED, ids=lambda policy: policy.name)
def test_scenarios_come_back_from_their_text(policy):
    scenarios = []

    def keep(scenario):
        scenarios.append(scenario)
        return run(scenario)

    few = Limits(examples=3, shrink_s=1, shrink_runs=1)
    space = contests(policy, "cuda")
    conclusion(Examination(policy_with(nothing), space, keep, keep, few, seed=2))
    for scenario in scenarios:
        assert from_text(scenario.to_python()) == scenario
        assert scenario.to_python().count("\n") < 60
        for step in simpler(scenario):
            assert step != scenario


def test_a_pipeline_is_made_simpler_too():
    """A queue whose source is left out starts at its arrivals, and one alone is no pipeline."""
    policy = next(policy for policy in policies.XSCHED if policy.name == "hpf")
    kept = []

    def keep(scenario):
        kept.append(scenario)
        return run(scenario)

    many = Limits(examples=20, shrink_s=1, shrink_runs=1)
    space = contests(policy, "cuda")
    conclusion(Examination(policy_with(nothing), space, keep, keep, many, seed=2))
    pipelines = [one for one in kept if one.queues[-1].after is not None]
    assert pipelines
    for scenario in pipelines:
        steps = list(simpler(scenario))
        assert any(step.queues[-1].after is None for step in steps)
        assert any(len(step.queues) < len(scenario.queues) for step in steps)
        assert any(step.queues[-1].after == "a" for step in steps)


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


@pytest.mark.parametrize(("reproduced", "status"), [(3, FAILED), (2, FAILED), (1, ONCE), (0, ONCE)])
def test_steps_on_live_queues(monkeypatch, reproduced, status):
    steps = ("q0 = xqueues(priority=0)", "q0.destroy()")
    finding = Counterexample(
        rule="destroy returns",
        sentence="It did not.",
        steps=steps,
        reproduced=reproduced,
        repeats=3,
    )
    monkeypatch.setattr(live_engine, "all_broken", lambda make, *_, **__: [finding])
    results = live_engine.take_steps(None, XS_HPF)
    found = Conformance(policy=XS_HPF, scenarios=1, runs=1, seconds=1.0, results=results)
    assert [result.status for result in results] == [status, HOLDS]
    lines = policy_lines(found, {})[2:-1]
    if status == FAILED:
        assert lines[0] == "  FAILED  live queues: destroy returns  It did not."
        assert lines[1].startswith("          claimed: Each call returns")
        assert lines[2:] == [
            f"          reproduced in {reproduced} of 3 fresh processes by these steps of the "
            "fixture xqueues:",
            "          q0 = xqueues(priority=0)",
            "          q0.destroy()",
        ]
    plain, _ = json.loads(to_json([found], {}, facts={}, seconds=1))["policies"][0]["claims"]
    assert (plain["python"], plain["file"]) == ("\n".join(steps), None)

    monkeypatch.setattr(live_engine, "all_broken", lambda make, *_, **__: [])
    (result,) = live_engine.take_steps(None, XS_HPF)
    assert (result.status, result.looked) == (HOLDS, 5)


def test_live_queues_say_how_many_sequences_checked_each_rule(monkeypatch):
    def all_broken(make, *_, shown, **__):
        shown.update({"threshold": 4, "returns": 5})
        return []

    monkeypatch.setattr(live_engine, "all_broken", all_broken)
    (result,) = live_engine.take_steps(None, XS_HPF)
    assert (result.shown["threshold"], result.shown["off means off"]) == (4, 0)
    found = Conformance(policy=XS_HPF, scenarios=1, runs=1, seconds=1.0, results=(result,))
    line = policy_lines(found, {})[2]
    assert line.startswith("  holds   live queues                 5 sequences: ")
    shown, unseen = line.split("; unseen: ")
    assert "threshold 4" in shown and "returns 5" in shown
    assert "off means off" in unseen and "threshold" not in unseen
    (plain,) = json.loads(to_json([found], {}, facts={}, seconds=1))["policies"][0]["claims"]
    assert plain["shown"] == dict(result.shown)


def test_a_finding_on_live_queues_is_printed_as_it_comes(monkeypatch):
    def all_broken(make, *_, say, **__):
        say("destroy returns: It did not.")
        return []

    monkeypatch.setattr(live_engine, "all_broken", all_broken)
    lines = []
    live_engine.take_steps(None, XS_HPF, lines.append)
    assert lines == ["\nfound under hpf: destroy returns: It did not."]


def test_rules_that_are_not_claimed_come_with_the_reason():
    reasons = (("a", "only A keep it"), ("b", "only B keep it"), ("c", "only A keep it"))
    found = dataclasses.replace(
        examined(nothing), not_claimed=tuple(NotClaimed(rule=r, why=why) for r, why in reasons)
    )
    assert policy_lines(found, {})[-1] == (
        "  not claimed: a, c (only A keep it); b (only B keep it)"
    )
    (plain,) = json.loads(to_json([found], {}, facts={}, seconds=1))["policies"]
    assert plain["not_claimed"][1] == {"claim": "b", "why": "only B keep it"}


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

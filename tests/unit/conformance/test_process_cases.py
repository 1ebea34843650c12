"""What the outcomes of the cases say of the rules; no program runs here."""

from __future__ import annotations

import pytest

from pytest_xsched.conformance import process_cases
from pytest_xsched.conformance.engine import FAILED, HOLDS, UNSEEN, Result
from pytest_xsched.conformance.observed_program import Ended
from pytest_xsched.conformance.process_cases import (
    CASES,
    CHILD,
    ENDS,
    PART_RULES,
    RETURNS,
    SCHEDULED,
    STAYS,
    Skipped,
)
from pytest_xsched.conformance.report import summary
from pytest_xsched.stress.rules import RULES


class Trial:
    """Breaks what a test says, without running anything."""

    def __init__(self, broken):
        self.broken_in = broken
        self.seen = []

    def broken(self, case):
        self.seen.append(case.name)
        outcome = self.broken_in.get(case.name, {})
        if isinstance(outcome, str):
            raise Skipped(outcome)
        return outcome


@pytest.fixture
def outcome(monkeypatch):
    def failed(trial, case, rule, sentence):
        return Result(
            rule=f"{rule}: {case.name}", definition="", status=FAILED, looked=1, sentence=sentence
        )

    monkeypatch.setattr(process_cases, "_reproduced", failed)

    def results(**broken):
        trial = Trial({name.replace("_", "-"): what for name, what in broken.items()})
        found = process_cases._results(trial, None)
        return {one.rule: one for one in found}, trial.seen

    return results


def test_every_rule_has_a_definition_and_a_case():
    assert set(PART_RULES) <= set(RULES)
    assert {rule for case in CASES.values() for rule in case.rules} == set(PART_RULES)


def test_without_a_breach_all_rules_hold(outcome):
    found, seen = outcome()
    assert {rule: one.status for rule, one in found.items()} == dict.fromkeys(PART_RULES, HOLDS)
    assert seen == list(CASES)


def test_a_fault_of_the_simplest_case_is_one_finding(outcome):
    found, seen = outcome(plain={ENDS: "its program was ended by SIGSEGV"})
    assert seen == ["plain"]
    assert [rule for rule, one in found.items() if one.status == FAILED] == [f"{ENDS}: plain"]
    assert {one.status for rule, one in found.items() if ENDS not in rule} == {UNSEEN}
    assert found[CHILD].sentence == "fork-first: plain breaks a rule already"


def test_a_fault_without_a_server_is_not_found_again_with_one(outcome):
    found, seen = outcome(exec={SCHEDULED: "the program that it starts has no shim"})
    assert "server-exec" not in seen and "spawn" in seen and "server-plain" in seen
    assert (found[CHILD].status, found[CHILD].looked) == (HOLDS, 5)


def test_a_program_whose_server_has_ended_shows_nothing_else(outcome):
    found, _ = outcome(server_exec={STAYS: "xserver HPF was ended by SIGABRT"})
    assert found[f"{STAYS}: server-exec"].sentence == "xserver HPF was ended by SIGABRT"
    assert (found[CHILD].looked, found[SCHEDULED].looked) == (5, 2)


def test_what_cannot_be_run_is_unseen_with_the_reason(outcome):
    found, _ = outcome(server_returns="there is no server")
    assert found[RETURNS].status == UNSEEN
    assert found[RETURNS].sentence == "server-returns: there is no server"


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (None, "its child hangs when it ends"),
        (1, "its program ended with exit status 1; its last words: no"),
        (-11, "its program was ended by SIGSEGV; its last words: no"),
    ],
)
def test_how_a_program_ended(status, phrase):
    ended = Ended(
        status=status,
        seconds=1.0,
        last="its child hangs when it ends",
        shims=(True,),
        words="; its last words: no",
    )
    assert ended.phrase == phrase


def test_the_summary_counts_cases_apart_from_scenarios(outcome):
    found, _ = outcome()
    part = process_cases.Conformance(
        policy=process_cases.PART,
        scenarios=16,
        unit="case",
        runs=20,
        seconds=1.0,
        results=tuple(found.values()),
    )
    assert summary([part], 1.0) == "0 findings in 16 cases of processes, 1.0 s"

"""What a shim does to processes: programs under the double of XSched, on the fake driver.

Each rule has a fault of the double that breaks it.
"""

from __future__ import annotations

import json
import os

import pytest

from pytest_xsched.cli.main import ExitCode, main
from pytest_xsched.conformance import process_cases
from pytest_xsched.conformance.process_cases import (
    CASES,
    CHILD,
    ENDS,
    GOES,
    HINTS,
    NAMESPACE,
    PART_RULES,
    RETURNS,
    SCHEDULED,
    STAYS,
    Place,
    Skipped,
    Trial,
)
from pytest_xsched.xsched.installation import Home


@pytest.fixture
def home(xsched_gpu, xsched_with_server):
    return xsched_with_server


@pytest.fixture
def trial(home):
    return Trial(Place.find("cuda", Home(path=str(home), origin="a test"), None))


def namespace_or_skip():
    try:
        process_cases._require_namespace()
    except Skipped as reason:
        pytest.skip(str(reason))


def test_every_rule_holds_without_a_fault(home, capsys, monkeypatch):
    monkeypatch.setattr(process_cases, "_NOTICES_S", 0.1)
    code = main(["conformance", "processes", "--device=cuda", "--json"])

    assert code == ExitCode.OK
    plain = json.loads(capsys.readouterr().out)
    (part,) = plain["policies"]
    assert (part["policy"], part["checked"]) == ("processes", True)
    shown = {claim["claim"]: claim["status"] for claim in part["claims"]}
    if shown[NAMESPACE] == "unseen":  # where the system makes no namespace
        (claim,) = [claim for claim in part["claims"] if claim["claim"] == NAMESPACE]
        assert "no pid namespace can be made here" in claim["sentence"]
        shown[NAMESPACE] = "holds"
    assert shown == dict.fromkeys(PART_RULES, "holds")


def test_the_command_prints_what_reproduces_a_finding(home, capsys, monkeypatch):
    monkeypatch.setenv("PREEMPT_DOUBLE", "exit-status")
    some = {name: CASES[name] for name in ("plain", "exit-pending", "server-exit-pending")}
    monkeypatch.setattr(process_cases, "CASES", some)
    code = main(["conformance", "processes", "--device=cuda"])

    assert code == ExitCode.FINDING
    lines = capsys.readouterr().out.splitlines()
    sentence = "its program ended with exit status 1; without XSched it ended with exit status 3"
    assert f"found in processes: exit-pending: {sentence}" in lines
    assert f"  FAILED  {ENDS}: exit-pending  {sentence}" in lines
    command = next(line for line in lines if "-m pytest_xsched.conformance.process_cases" in line)
    assert lines[lines.index(command) - 1].endswith("reproduced in 3 of 3 fresh processes by:")
    assert f"process_cases exit-pending --device cuda --home {home} --gpu-driver " in command
    # The case with a server would show the same, and is not run.
    assert lines[-1].startswith("1 finding in 2 cases of processes, ")


@pytest.mark.parametrize(
    ("fault", "case", "rule", "sentence"),
    [
        ("crash-exit", "plain", ENDS, "its program was ended by SIGSEGV; without"),
        ("exit-pending", "exit-pending", ENDS, "its program hangs when it ends; without"),
        ("fork-hangs", "fork-first", CHILD, "its child hangs when it calls cuLaunchKernel()"),
        ("fork-exit", "fork-idle", CHILD, "its child hangs when it ends; without"),
        ("exec-hangs", "exec", CHILD, "its program hangs when it execs another program; without"),
        ("exec-loses", "exec", SCHEDULED, "the program that it starts has not mapped XSched's "),
        ("exec-loses", "spawn", SCHEDULED, "the program that it starts has not mapped XSched's "),
        (
            *("pid-namespace", "pid-namespace-first", NAMESPACE),
            "its program hangs when it calls cuLaunchKernel(); without",
        ),
        ("server-dies", "server-plain", STAYS, "xserver HPF was ended by SIGABRT"),
        (
            *("server-gone", "server-goes", GOES),
            "after the server has ended, its program hangs when it calls cuLaunchKernel()",
        ),
        (
            *("server-kills", "server-goes", GOES),
            "after the server has ended, its program ended with exit status 1; its last words: [XS",
        ),
        (
            *("server-back", "server-returns", RETURNS),
            "the server that has started again has no work of its program within 1 s, and",
        ),
        (
            *("outside-hint-lost", "server-hint", HINTS),
            "after the server has taken a hint, the program of priority 3 completes ",
        ),
    ],
)
def test_each_fault_breaks_its_rule(trial, monkeypatch, fault, case, rule, sentence):
    if CASES[case].namespace:
        namespace_or_skip()
    monkeypatch.setenv("PREEMPT_DOUBLE", fault)
    monkeypatch.setattr(process_cases, "LIMIT_S", 1.5)
    monkeypatch.setattr(process_cases, "_KNOWN_S", 1.0)
    broken = trial.broken(CASES[case])
    assert list(broken) == [rule]
    assert broken[rule].startswith(sentence)


def test_a_case_that_fails_without_xsched_shows_nothing(trial, monkeypatch):
    monkeypatch.setenv("XS_FAKE_FAULT", "cuLaunchKernel:1:700")
    with pytest.raises(
        Skipped, match=r"^without XSched, too, its program ended with exit status 1"
    ):
        trial.broken(CASES["plain"])


def test_a_shim_that_is_not_mapped_shows_nothing(trial, monkeypatch):
    monkeypatch.setattr(Trial, "_command", lambda self, case, _: self.place.command(case.program))
    with pytest.raises(Skipped, match=r"shim is not mapped in the program$"):
        trial.broken(CASES["plain"])


def test_without_a_server_its_rules_are_unseen(trial, home):
    (home / "bin" / "xserver").unlink()
    with pytest.raises(Skipped, match=r"which has no program xserver"):
        trial.broken(CASES["server-goes"])


@pytest.mark.skipif(not os.path.exists("/usr/bin/unshare"), reason="there is no unshare")
def test_a_system_without_namespaces_says_so(monkeypatch):
    monkeypatch.setattr(process_cases, "_UNSHARE", ("/usr/bin/unshare", "--no-such-option"))
    with pytest.raises(Skipped, match=r"^no pid namespace can be made here: .*no-such-option"):
        process_cases._require_namespace()

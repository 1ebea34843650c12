"""`pytest-xsched conformance`: what it prints, its exit codes, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import re
import sys

import pytest

from pytest_xsched.cli.main import ExitCode, main
from pytest_xsched.conformance import command, spec
from pytest_xsched.stress.rules import Rule

BUDGET = "--budget=1min"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "EXAMPLES", 12)
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def conformance(capsys):
    """Runs the command inside this process; gives exit code, lines of stdout, text of stderr."""

    def run(*args):
        code = main(["conformance", *args])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return run


def test_all_of_ours(conformance):
    code, lines, err = conformance(BUDGET)

    assert (code, err) == (ExitCode.OK, "")
    assert lines[0] == "xsched conformance: builtin on sim, no XSched, seed 0"
    heads = [line.split(":")[0] for line in lines if line.startswith("builtin ")]
    assert heads == [f"builtin {name}" for name in ("none", "hpf", "edf", "partition", "fair")]
    assert any(line.startswith("  holds   highest first ") for line in lines)
    text = " ".join(line.strip() for line in lines)
    assert "earliest first (only policies that order queues by deadline keep it)" in text
    assert lines[-1].startswith("0 findings in ")


def test_json(conformance):
    code, lines, err = conformance("hpf", "--json", BUDGET)

    assert (code, err) == (ExitCode.OK, "")
    plain = json.loads("\n".join(lines))
    assert (plain["ok"], plain["home"], plain["interrupted"]) == (True, None, False)
    (policy,) = plain["policies"]
    assert (policy["scheduler"], policy["policy"]) == ("builtin", "hpf")
    assert policy["scenarios"] == policy["runs"] > 0
    assert {claim["status"] for claim in policy["claims"]} <= {"holds", "unseen"}


def test_a_budget_for_a_few_scenarios_is_not_green(conformance):
    code, lines, _ = conformance("--budget=1us")

    assert code == ExitCode.UNDECIDED
    assert re.fullmatch(
        r"builtin none: 3 scenarios, 3 runs in .* s; then the budget was over", lines[2]
    )
    assert lines[-2].startswith("0 findings in 15 scenarios of 5 policies, ")
    assert lines[-1] == (
        "NOT CHECKED builtin none, builtin hpf, builtin edf, builtin partition, builtin fair: the "
        "budget was over after fewer than 10 scenarios; a longer one is set with --budget"
    )

    code, lines, _ = conformance("hpf", "--json", "--budget=1us")
    assert code == ExitCode.UNDECIDED
    assert json.loads("\n".join(lines))["policies"][0]["checked"] is False


@pytest.mark.parametrize("corpus", [None, "kept"])
def test_a_finding(conformance, tmp_path, monkeypatch, corpus):
    (hpf,) = [tested for tested in spec.BUILTIN if tested.policy.name == "hpf"]
    wrong = spec.Check(
        rule=Rule(id="nobody is second", definition="No."),
        judge=lambda run: [f"{len(run.queues)} queues"],
    )
    broken = dataclasses.replace(hpf, checks=(*hpf.checks, wrong))
    monkeypatch.setattr(command, "BUILTIN", (broken,))
    monkeypatch.setitem(command.RUNS, "builtin", 10)
    where = [f"--corpus={corpus}"] if corpus else []
    code, lines, _ = conformance("hpf", BUDGET, "--seed=3", *where)

    assert code == ExitCode.FINDING
    (file,) = (tmp_path / (corpus or ".xsched/conformance")).iterdir()
    assert file.name.startswith("builtin-hpf-nobody-is-second-")
    text = "\n".join(lines)
    assert "seed 3" in lines[0]
    assert re.search(r"^  FAILED  nobody is second +1 queues\n {10}claimed: No\.$", text, re.M)
    assert f"; reproduced in 3 of 3 fresh processes by this one, kept in {file}:\n" in text
    assert "\n          Scenario(\n" in text
    assert lines[-1].startswith("1 finding in ") and " of 1 policy, " in lines[-1]


def test_ctrl_c(conformance, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "take_turns", interrupt)
    code, lines, err = conformance("hpf", BUDGET)

    assert code == ExitCode.INTERRUPTED
    assert lines[-1].startswith("interrupted: 0 findings in 0 scenarios")
    assert err == "pytest-xsched: interrupted\n"


def test_ctrl_c_keeps_what_ran_before_it(conformance, monkeypatch):
    take_turns = command.take_turns

    def some(examinations, search_s, found, *, exit_first):
        take_turns(examinations, -1, found)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "take_turns", some)
    code, lines, err = conformance("hpf", BUDGET)

    assert (code, err) == (ExitCode.INTERRUPTED, "pytest-xsched: interrupted\n")
    assert any(line.startswith("builtin hpf: 3 scenarios") for line in lines)
    assert lines[-2].startswith("interrupted: 0 findings in 3 scenarios")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["hfp"],
            "conformance: policy 'hfp' is unknown; known: none, hpf, edf, partition, "
            "fair, hhpf, chpf, up, pup, kedf, lax, awf, cfs, mlfq",
        ),
        (
            ["cfs"],
            "conformance: 'cfs' is a policy of XSched; name the directory of XSched with --home "
            "or XSCHED_HOME",
        ),
        (["cfs", "--home=/nowhere"], "--home: /nowhere does not exist"),
        (
            ["cfs", "--home=.", "--device=cpu"],
            "--device: XSched schedules hip, cuda, opencl devices, not 'cpu'; name one of them",
        ),
        (["--budget=5"], "--budget: '5' has no unit"),
        (["--seed=x"], "--seed: 'x' is not a whole number from 0 to 4294967295, nor 'random'"),
        (["--device=tpu"], "--device: 'tpu' is unknown; known: auto, cpu, sim, hip, cuda, opencl"),
        (["--gpu-driver=/no.so"], "--gpu-driver: /no.so does not exist"),
        (["--corpus=/dev/null"], "--corpus: /dev/null is not a directory"),
    ],
)
def test_what_is_refused(conformance, args, sentence):
    code, lines, err = conformance(*args)

    assert (code, lines) == (ExitCode.USAGE, [])
    assert err.startswith(f"pytest-xsched: {sentence}") and err.count("\n") == 1


def test_without_hypothesis(conformance, monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    code, lines, err = conformance("hpf", BUDGET)

    assert (code, lines) == (ExitCode.UNAVAILABLE, [])
    assert err == (
        "pytest-xsched: The package 'hypothesis' is not installed; install it with: "
        "pip install 'pytest-xsched[hypothesis]'\n"
    )

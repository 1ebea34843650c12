"""--xsched-conformance as an option: what it says, its exit status, what it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest

# Here, or a run would import its own: pytester drops what a run was the first to import.
from pytest_xsched.conformance import command, spec

BUDGET = "--xsched-conformance-budget=500ms"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, pytester):
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    pytester.makepyfile("def test_it(): open('ran', 'w')")


def test_all_of_ours(inside, pytester):
    result = inside("--xsched-conformance", BUDGET)

    assert result.ret == 0
    assert not (pytester.path / "ran").exists()
    assert result.outlines[0] == "xsched conformance: builtin on sim, no XSched, seed 0"
    heads = [line.split(":")[0] for line in result.outlines if line.startswith("builtin ")]
    assert heads == [f"builtin {name}" for name in ("none", "hpf", "edf", "partition", "fair")]
    result.stdout.fnmatch_lines(
        ["  holds   highest first *scenario*", "0 findings in * scenarios *"]
    )


def test_json(inside):
    result = inside("--xsched-conformance=json,hpf", BUDGET)

    assert result.ret == 0
    plain = json.loads("\n".join(result.outlines))
    assert (plain["ok"], plain["home"], plain["interrupted"]) == (True, None, False)
    (policy,) = plain["policies"]
    assert (policy["scheduler"], policy["policy"]) == ("builtin", "hpf")
    assert policy["scenarios"] == policy["runs"] > 0
    assert {claim["status"] for claim in policy["claims"]} <= {"holds", "unseen"}


def test_a_finding(inside, pytester, monkeypatch):
    (hpf,) = [policy for policy in spec.BUILTIN if policy.name == "hpf"]
    wrong = spec.Claim(
        name="nobody is second", definition="No.", judge=lambda run: [f"{len(run.queues)} queues"]
    )
    broken = dataclasses.replace(hpf, claims=(*hpf.claims, wrong))
    monkeypatch.setattr(command, "BUILTIN", (broken,))
    monkeypatch.setitem(command.RUNS, "builtin", 10)
    result = inside("--xsched-conformance=hpf", BUDGET, "--xsched-seed=3")

    assert result.ret == 1
    (file,) = (pytester.path / ".xsched" / "conformance").iterdir()
    assert file.name.startswith("builtin-hpf-nobody-is-second-")
    result.stdout.fnmatch_lines(
        [
            "  FAILED  nobody is second            1 queues",
            "          claimed: No.",
            f"*; reproduced in 3 of 3 fresh processes by this one, kept in {file}:",
            "          Scenario(",
            "1 finding in * of 1 policy, * s",
        ]
    )


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["--xsched-conformance=hfp"],
            "--xsched-conformance: policy 'hfp' is unknown; known: none, hpf, edf, partition, "
            "fair, hhpf, chpf, up, pup, kedf, lax, awf, cfs, mlfq",
        ),
        (
            ["--xsched-conformance=cfs"],
            "--xsched-conformance: 'cfs' is a policy of XSched, and none is named by --xsched-home "
            "or XSCHED_HOME",
        ),
        (
            ["--xsched-conformance=cfs", "--xsched-home=/nowhere"],
            "--xsched-home: /nowhere does not exist",
        ),
        (
            ["--xsched-conformance=cfs", "--xsched-home=.", "--xsched-device=cpu"],
            "--xsched-conformance: XSched schedules hip, cuda, opencl devices, not 'cpu'; "
            "--xsched-device names one",
        ),
        (
            ["--xsched-conformance", "--xsched-conformance-budget=5"],
            "--xsched-conformance-budget: '5' has no unit",
        ),
    ],
)
def test_what_is_refused(inside, args, sentence):
    result = inside(*args)

    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {sentence}*"])

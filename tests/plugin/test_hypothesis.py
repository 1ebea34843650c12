"""Scenarios drawn by hypothesis: what a user sees of one that fails, and where it is kept."""

from __future__ import annotations

import json

import pytest

from pytest_xsched import Scenario

FAILS = """
from hypothesis import given, settings
from pytest_xsched.stress.strategies import scenarios

@settings(max_examples=200, database=None, derandomize=True)
@given(scenario=scenarios(queues=2, policies=["hpf"]))
def test_alone(xsched, scenario):
    run = xsched.run_scenario(scenario)
    assert all(queue.counts.suspended == 0 for queue in run.queues.values())

def test_known(xsched, known_scenario):
    xsched.run_scenario(known_scenario)
"""


@pytest.fixture
def inside(pytester):
    """Runs pytest with hypothesis, in this process."""
    return lambda *args: pytester.runpytest_inprocess("--xsched-device=sim", *args)


def test_the_smallest_failure_is_shown_and_kept(pytester, inside):
    pytester.makepyfile(test_own=FAILS)
    pytester.mkdir("known")
    result = inside("--xsched-corpus=known", "--hypothesis-profile=xsched-ci")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["*    scenario=Scenario(", "*        queues=(", '*workload=spin("1ms"*']
    )
    # Of all that were tried only the last, the smallest, is in the summary.
    assert result.stdout.str().count("builtin (hpf) on sim") == 1

    (kept,) = (pytester.path / "known").iterdir()
    assert kept.name.startswith("test_alone-")
    scenario = Scenario.from_dict(json.loads(kept.read_text())["scenario"])
    assert len(scenario.queues) == 2

    again = inside("--xsched-corpus=known", "-ktest_known", "-v")
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines([f"*::test_known?{kept.stem}? PASSED*"])


def test_a_damaged_corpus_is_named(pytester, inside):
    pytester.makepyfile(test_own=FAILS)
    (pytester.path / "known").mkdir()
    (pytester.path / "known" / "x.json").write_text('{"scenario": {}}')
    result = inside("--xsched-corpus=known")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*--xsched-corpus: *x.json holds no scenario: *"])


def test_a_corpus_that_does_not_exist_is_an_error_and_not_an_empty_one(pytester, inside):
    pytester.makepyfile(test_own=FAILS)
    result = inside("--xsched-corpus=typo")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            f"ERROR: --xsched-corpus: {pytester.path / 'typo'} does not exist; make it first if it "
            "is a new one, or correct the name"
        ]
    )
    assert not (pytester.path / "typo").exists()


def test_a_file_is_no_corpus(pytester, inside):
    (pytester.path / "known").write_text("")
    result = inside("--xsched-corpus=known")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--xsched-corpus: *known is not a directory"])


def test_scenarios_are_drawn_without_an_import(pytester, inside):
    pytester.makepyfile(
        """
        from hypothesis import given, settings, strategies as st
        from pytest_xsched import Scenario

        @settings(max_examples=5)
        @given(scenario=...)
        def test_type(xsched, scenario: Scenario):
            xsched.run_scenario(scenario)
        """
    )
    inside("--hypothesis-profile=xsched-nightly").assert_outcomes(passed=1)

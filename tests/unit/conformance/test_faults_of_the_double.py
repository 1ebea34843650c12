"""bench/find_faults.py looks for every fault that the double of XSched has."""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

from pytest_xsched.conformance.engine import FAILED, Conformance, Result
from pytest_xsched.conformance.report import policy_lines

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench"))

import find_faults

DOUBLE = find_faults.TABLE.parent


def test_it_reads_all_faults_of_the_double():
    fields = re.findall(r"^    bool (\w+);", (DOUBLE / "faults.h").read_text("utf-8"), re.MULTILINE)
    names = find_faults.names_of_faults()
    assert len(names) == len(set(names)) == len(fields) - 1  # ignore_case is none
    assert {"exit", "drop", "threshold-plus-one", "one-more"} <= set(names)
    assert set(find_faults.OWN_RULES) == set(names)


def test_a_finding_counts_if_it_is_of_a_rule_that_the_fault_breaks():
    assert find_faults.is_own("tire", "live queues: highest first")
    assert find_faults.is_own("fork-hangs", "a child works as without: fork-first")
    assert find_faults.is_own("hang-destroy", "live queues: destroy returns next to a held queue")
    assert not find_faults.is_own("tire", "wake-ups grow with events")


def report(rule="threshold", size="6 steps", reproduced=3):
    return find_faults.Report(rule=rule, size=size, reproduced=reproduced, repeats=3)


def test_a_row_says_what_it_keeps_and_the_last_line_counts_that():
    other = ("conformance", report("highest first", "3 queues", 1))
    rows = [
        find_faults.Row("threshold-plus-one", "first_broken", 3.0, report()),
        find_faults.Row("reorder", "first_broken", 601.0, report("in order", "7 steps", 2)),
        find_faults.Row("tire", "-", 30.0, None, (other,)),
    ]
    assert [find_faults.lines(row)[0].split("  ")[-1] for row in rows] == [
        "kept",
        "not: size, again, time",
        "not: rule, size, again, time",
    ]
    assert (
        "another rule, by conformance: highest first, 3 queues, reproduced 1 of 3"
        in (find_faults.lines(rows[2])[1])
    )
    assert find_faults.total(rows, clean=False) == (
        "all four kept for 1 of 3 faults: found by a rule of their own 2, at most 6 steps or 3 "
        "queues 1, reproduced 3 of 3 1, within 600 s 1; findings of other rules: 1"
    )
    assert find_faults.total([rows[2]], clean=True).startswith("without a fault: 1 findings in 1")


def test_parts_of_the_faults_have_each_of_them_once():
    names = find_faults.names_of_faults()
    parts = [find_faults.part_of(names, f"{part}/3") for part in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(names)


def test_the_size_of_an_example_is_that_of_the_report():
    """Steps that begin with no queue count, too: compete(q0), measure_memory(xqueues)."""
    found = Result(
        rule="a",
        definition="A.",
        status=FAILED,
        looked=1,
        failing=1,
        sentence="broken",
        steps=("q0 = xqueues()", "compete(q0)", "measure_memory(xqueues)"),
        reproduced=3,
        repeats=3,
    )

    def size(one):
        outcome = Conformance(
            policy=find_faults.HPF, scenarios=1, runs=1, seconds=1.0, results=(one,)
        )
        return find_faults._size("\n".join(policy_lines(outcome, {})))

    assert size(found) == "3 steps"
    assert size(replace(found, steps=(), command="python -m cases")) == "1 program"


def test_a_command_that_takes_too_long_is_ended(tmp_path):
    environment = {**os.environ, "PYTEST_XSCHED_LOCK_DIR": str(tmp_path)}
    program = "import time; print('begins', flush=True); time.sleep(600)"
    assert list(find_faults.lines_of(["-c", program], environment, 0.5)) in ([], ["begins\n"])

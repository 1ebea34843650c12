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


def test_a_command_that_takes_too_long_is_ended(monkeypatch, tmp_path):
    monkeypatch.setattr(find_faults, "LIMIT_S", 0.5)
    environment = {**os.environ, "PYTEST_XSCHED_LOCK_DIR": str(tmp_path)}
    program = "import time; print('begins', flush=True); time.sleep(600)"
    assert list(find_faults.lines_of(["-c", program], environment)) in ([], ["begins\n"])

"""Two faults of the double of XSched, found by shipped commands that do not know them.

bench/find_faults.py looks for all of them; docs/explanation/conformance.md has what it found.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import find_faults


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return find_faults.Setup(tmp_path_factory.mktemp("find_faults"))


@pytest.mark.parametrize(
    ("fault", "command", "rule"),
    [
        ("twice", "doctor", "canary"),
        # Its example is of counts, and of no moment that a fresh process may miss.
        ("threshold-plus-one", "first_broken", "threshold"),
    ],
)
def test_a_fault_is_found(setup, fault, command, rule):
    row = find_faults.examine(setup, fault, seed="0")
    assert (row.command, row.report.rule) == (command, rule)
    assert not row.others and find_faults.is_small(row.report)

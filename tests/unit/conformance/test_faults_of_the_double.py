"""bench/find_faults.py looks for every fault that the double of XSched has."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOUBLE = ROOT / "native" / "tests" / "doubles" / "xsched"
sys.path.insert(0, str(ROOT / "bench"))

import find_faults  # noqa: E402


def test_it_reads_all_faults_of_the_double():
    fields = re.findall(r"^    bool (\w+);", (DOUBLE / "faults.h").read_text("utf-8"), re.MULTILINE)
    names = find_faults.names_of_faults()
    assert len(names) == len(set(names)) == len(fields) - 1  # ignore_case is none
    assert {"exit", "drop", "threshold-plus-one", "one-more"} <= set(names)

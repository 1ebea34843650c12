"""bench/find_faults.py looks for every fault that the double of XSched has."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NO_FAULT = "ignore-case"


def test_the_bench_has_all_faults_of_the_table():
    table = (ROOT / "native/tests/doubles/xsched/faults.c").read_text(encoding="utf-8")
    names = re.findall(r'^    \{"([a-z0-9-]+)", &', table, re.MULTILINE)
    assert NO_FAULT in names
    bench = ast.parse((ROOT / "bench/find_faults.py").read_text(encoding="utf-8"))
    (faults,) = [
        ast.literal_eval(node.value)
        for node in bench.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FAULTS"
    ]
    assert sorted(faults) == sorted(set(names) - {NO_FAULT})

"""docs/explanation/mistakes.md has a line for each mistake, and names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(
    r"^\| (M\d+) \| (.+?) \| (.+?) \| (.+?) \|$",
    (ROOT / "docs" / "explanation" / "mistakes.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_all_are_there_in_order():
    assert [number for number, *_ in ROWS] == [f"M{i}" for i in range(1, len(ROWS) + 1)]
    assert len(ROWS) >= 65


@pytest.mark.parametrize(("number", "_", "guard", "tests"), ROWS, ids=[row[0] for row in ROWS])
def test_the_tests_exist(number, _, guard, tests):
    if tests == "-":
        assert "not guarded" in guard or "there is no test" in guard
        return
    for test in tests.split(", "):
        path, _, name = test.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {re.escape(name)}\(", text, re.MULTILINE), test

"""What `commands` may be, and that profiles and models are grouped by one rule.

tests/unit/models/test_cuts.py has the rule itself.
"""

import pytest

from pytest_xsched import us
from pytest_xsched.errors import ScenarioError
from pytest_xsched.scenario.grouping import TARGET_NS, checked_commands, grouped


@pytest.mark.parametrize(
    ("value", "checked"), [("auto", "auto"), (8, 8), ("50us", "50us"), (50 * us, "50us")]
)
def test_commands_are_auto_a_number_or_a_time(value, checked):
    assert checked_commands("recorded", value) == checked


@pytest.mark.parametrize(
    ("commands", "ends"),
    [(1, [9]), (2, [5, 9]), ("100ns", [5, 9]), ("1us", [9]), ("1ns", [3, 5, 7, 9])],
)
def test_pieces_are_grouped_by_number_or_by_time(commands, ends):
    assert grouped([3, 5, 7, 9], [50, 50, 50, 50], commands) == ends


def test_auto_aims_at_one_time():
    half = TARGET_NS // 2
    assert grouped([1, 2, 3, 4], [half] * 4, "auto") == [2, 4]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0, r"recorded: commands 0 is outside \[1, 4096\]"),
        (5000, r"recorded: commands 5000 is outside \[1, 4096\]"),
        (True, "recorded: commands True is not an integer"),
        (0.5, "recorded: commands 0.5 is not an integer"),
        ("8", "recorded: commands '8' is a text; write 8"),
        ("fast", "recorded: commands: 'fast' is not a time.*; commands is a number of them, the "),
        ("0us", "recorded: commands: '0us' is zero; commands is a number of them"),
    ],
)
def test_other_commands_are_refused_in_a_sentence(value, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        checked_commands("recorded", value)

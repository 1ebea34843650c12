"""What is printed fits a terminal, and is left as it is elsewhere."""

import pytest

from pytest_xsched.reporting.table_layout import aligned, fitted, wrapped
from pytest_xsched.reporting.terminal_summary import summary

TABLE = [("queue", "n", "P50", "P99"), ("high", "300", "6.72 ms", "12.6 ms")]


def test_a_table_that_fits_is_one_table():
    assert fitted(TABLE, left=("queue",), keys=1, columns=28) == aligned(TABLE, left=("queue",))
    assert fitted(TABLE, left=("queue",), keys=1, columns=None) == aligned(TABLE, left=("queue",))


def test_a_table_that_is_too_wide_is_two_which_name_the_queues():
    assert fitted(TABLE, left=("queue",), keys=1, columns=22) == [
        "queue    n      P50",
        "high   300  6.72 ms",
        "queue      P99",
        "high   12.6 ms",
    ]


def test_a_sentence_is_wrapped_between_words():
    line = "  FAIL high: " + "word " * 20 + "end"
    lines = wrapped(line, 50)
    assert len(lines) > 1 and all(len(one) <= 50 for one in lines)
    assert lines[0].startswith("  FAIL") and all(one.startswith("      w") for one in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(line.split())
    assert wrapped(line, None) == [line]


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_a_summary_fits_the_terminal(made_run, made_queue, columns):
    low = made_queue([5] * 3000, name="low", period_ms=5, closed=True)
    run = made_run(made_queue([5.0] * 300), low)
    run.high.assert_p99_below("50ms")
    lines = summary([run.to_dict()], columns)
    assert max(map(len, lines)) <= columns
    assert " ".join(summary([run.to_dict()])).split()[-1] == " ".join(lines).split()[-1]

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


def test_a_part_of_a_table_leaves_out_the_queues_that_have_nothing_there():
    table = [
        ("queue", "arm", "P50", "P99"),
        *(("high", "native", "6.72 ms", ""), ("", "builtin", "1.51 ms", "12.6 ms")),
        *(("low", "native", "250 ms", ""), ("", "builtin", "250 ms", "")),
        ("high.token", "native", "", "2 ms"),
        ("idle", "native", "", ""),
    ]
    assert fitted(table, left=("queue", "arm"), keys=2, columns=30) == [
        "queue  arm          P50",
        "high   native   6.72 ms",
        "       builtin  1.51 ms",
        "low    native    250 ms",
        "       builtin   250 ms",
        "idle   native",
        "queue       arm          P99",
        "high        native",
        "            builtin  12.6 ms",
        "high.token  native      2 ms",
        "idle        native",
    ]


def test_a_sentence_is_wrapped_between_words():
    line = "  FAIL high: " + "word " * 20 + "end"
    lines = wrapped(line, 50)
    assert len(lines) > 1 and all(len(one) <= 50 for one in lines)
    assert lines[0].startswith("  FAIL") and all(one.startswith("      w") for one in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(line.split())
    assert wrapped(line, None) == [line]


def test_a_figure_stays_with_its_unit():
    line = "  FAIL high: P99 13.9 ms, max 14 ms, during 100 % of the time; 15 s of 30 s"
    for columns in range(40, len(line)):
        for one in wrapped(line, columns):
            assert one.strip().split()[0] not in ("ms", "ms,", "%", "s"), (columns, one)


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_a_summary_fits_the_terminal(made_run, made_queue, columns):
    low = made_queue([5] * 3000, name="low", period_ms=5, closed=True)
    run = made_run(made_queue([5.0] * 300), low)
    run.high.assert_p99_below("50ms")
    lines = summary([run.to_dict()], columns)
    assert max(map(len, lines)) <= columns
    assert " ".join(summary([run.to_dict()])).split()[-1] == " ".join(lines).split()[-1]


LONG = [
    ("queue", "prio", "workload", "P50", "P99", "max", "rate", "commands", "suspended"),
    (
        "the-queue-of-the-model-that-answers-requests-of-users (gpu:1)",
        "10",
        "matmul(1024, batch=8) + spin(500 us, layers=40) + copy(64 MiB, to='device') + "
        "matmul(2048, batch=16) + spin(1 ms)",
        *("6.72 ms", "12.6 ms", "13.1 ms", "20/s of 20/s", "12000", "300"),
    ),
    ("low", "1", "spin(5 ms)", "5 ms", "5 ms", "6 ms", "20/s", "6000", "0"),
]


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_no_column_and_no_word_is_broken_however_long_the_names_are(columns):
    lines = fitted(LONG, left=("queue", "workload"), keys=1, columns=columns)
    assert max(map(len, lines)) <= columns
    words = " ".join(lines).split()
    for row in LONG:
        for cell in row:
            assert all(words.count(word) >= 1 for word in cell.split()), cell


def test_a_cell_that_no_line_has_room_for_goes_on_below_itself():
    table = [("queue", "workload"), ("high", "spin(1 ms) + spin(2 ms) + spin(3 ms)")]
    assert fitted(table, left=("queue", "workload"), keys=1, columns=30) == [
        "queue  workload",
        "high   spin(1 ms) + spin(2 ms)",
        "       + spin(3 ms)",
    ]

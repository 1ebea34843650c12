"""The file of samples as readers of CSV see it."""

import csv
import io
from pathlib import Path

import pytest

from pytest_xsched.reporting.samples_file import COLUMNS, part, samples_file


@pytest.mark.parametrize("origin", ["a,b", 'a"b', "a\nb", "a\rb"])
def test_a_name_with_a_comma_a_quote_or_an_end_of_line_is_one_cell(origin, made_run, made_queue):
    run = made_run(made_queue([5] * 3))
    run.origin = origin
    content = samples_file(Path("samples.csv"), [part([("", 0, run)], is_comparison=False)])
    head, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    assert tuple(head) == COLUMNS
    assert [row[0] for row in rows] == [origin] * 3
    assert {len(row) for row in rows} == {len(COLUMNS)}

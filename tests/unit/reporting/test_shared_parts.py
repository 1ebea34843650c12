"""The JSON file says each thing once, and what is read from it is what was written."""

import copy
import json

import pytest

from pytest_xsched.reporting.json_export import document
from pytest_xsched.reporting.shared_parts import layout, whole


@pytest.fixture
def comparison(made_queue, made_run):
    """Two arms of three runs, of a queue with many commands."""
    record = made_run(made_queue([1.0] * 400)).to_dict()
    workload = record["scenario"]["queues"][0]["workload"]
    workload["commands"] = workload["commands"] * 1000
    runs = [copy.deepcopy({**record, "remark": str(i)}) for i in range(6)]
    return {"baseline": "a", "schedulers": ["b"], "arms": {"a": runs[:3], "b": runs[3:]}}


def test_what_the_runs_of_a_comparison_share_is_written_once(comparison, tmp_path):
    content = document([comparison], tmp_path, [])
    text = layout(content)
    assert text.count('"fill_permille"') == 1000  # not 6000
    assert text.count('"cpu_count"') == 1
    read = json.loads(text)["xsched"]
    assert whole(read["comparisons"][0], read["runs"], read["shared"]) == comparison


def test_a_run_that_was_compared_later_is_written_once(comparison, tmp_path):
    first, second = comparison["arms"]["a"][0], comparison["arms"]["b"][0]
    later = {**comparison, "arms": {"a": [first], "b": [second]}}
    read = document([first, second, later], tmp_path, [])["xsched"]
    assert read["comparisons"][0]["arms"] == {"a": [0], "b": [1]}
    assert whole(read["comparisons"][0], read["runs"], read["shared"]) == later


def test_a_part_that_the_file_does_not_have(comparison, tmp_path):
    read = document([comparison], tmp_path, [])["xsched"]
    with pytest.raises(LookupError):
        whole(read["comparisons"][0], [], {"queues": {}, "fingerprints": {}})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "[]"),
        ({}, "{}"),
        ([1, [2, 3]], "[\n 1,\n [2, 3]\n]"),
        ({"a": {"b": [1.5]}, "c": "\x1b"}, '{\n "a": {\n  "b": [1.5]\n },\n "c": "\\u001b"\n}'),
        ({"a": [], "b": {}}, '{"a": [], "b": {}}'),
    ],
)  # fmt: skip
def test_an_innermost_list_or_object_is_one_line(value, text):
    assert layout(value) == text
    assert json.loads(layout(value)) == value


def test_a_number_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        layout({"a": [float("nan")]})

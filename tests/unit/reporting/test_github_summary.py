"""The page of a job on GitHub: what failed comes first, and the size is one that GitHub shows."""

import pytest

from pytest_xsched.reporting import github_summary
from pytest_xsched.reporting.github_summary import append, fitting


@pytest.fixture
def records(monkeypatch):
    """Forty runs of some 300 bytes each; the last is the only one with a missed target."""
    text = github_summary.run_table
    monkeypatch.setattr(text, "title", lambda run: f"run {run['n']}")
    monkeypatch.setattr(text, "rows", lambda run: [("queue", "P99"), ("höher", "1 ms")])
    monkeypatch.setattr(text, "rows_with_latencies", lambda run: text.rows(run))
    monkeypatch.setattr(text, "remarks", lambda run: ["r" * 200])
    return [
        {
            "n": n,
            "verdicts": [
                {"status": "FAIL" if n == 39 else "PASS", "sentence": f"target {n}", "nodeid": ""}
            ],
            "refused": [],
        }
        for n in range(40)
    ]


def test_all_runs_are_there_where_they_fit(records):
    text = fitting(records, 100_000)
    assert all(f"### run {n}\n" in text for n in range(40))
    assert "not shown" not in text
    assert fitting(records, len(text.encode())) == text


@pytest.mark.parametrize("most", [300, 2_000, 5_001, 10_000])
def test_a_page_that_is_too_large_is_cut_after_what_failed_and_says_how_much_is_missing(
    records, most
):
    text = fitting(records, most)
    assert len(text.encode()) <= most
    shown = text.count("### run ")
    assert shown == 0 or text.index("### run 39\n") < text.index("target 39")
    assert shown <= 1 or text.index("### run 39\n") < text.index("### run 0\n")
    whole = text.count("r" * 200)
    assert f"**{40 - whole} of 40 runs and comparisons are not shown, or not whole:**" in text
    assert most < 1_000 or whole > most / 400


def test_nothing_is_written_where_not_even_the_note_fits(records):
    assert fitting(records, 100) == fitting(records, -5) == ""


def test_what_other_steps_wrote_counts(records, tmp_path, monkeypatch):
    monkeypatch.setattr(github_summary, "MOST_BYTES", 5_000)
    path = tmp_path / "summary.md"
    path.write_text("x" * 3_000)
    append(path, records)
    assert 4_000 < path.stat().st_size <= 5_000
    path.write_text("x" * 4_990)
    append(path, records)
    assert path.read_text() == "x" * 4_990


def test_the_size_is_below_what_github_shows():
    assert github_summary.MOST_BYTES < 1024 * 1024

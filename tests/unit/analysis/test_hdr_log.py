"""Latencies as an HdrHistogram log, read back with the package hdrh."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from pytest_xsched.errors import InvalidRun, MissingExtra, ScenarioError

MS = 1_000_000
LATENCIES_MS = [i * 77 % 300 + 1 for i in range(300)]


def read(path):
    """Return the line of the only interval, split at its commas, and its histogram."""
    hdrh = pytest.importorskip("hdrh.histogram")
    (line,) = [line for line in path.read_text("utf-8").splitlines() if line[0] not in '#"']
    *fields, payload = line.split(",")
    return fields, hdrh.HdrHistogram.decode(payload)


def test_a_log_holds_the_latencies_that_percentiles_are_read_from(high, tmp_path):
    pytest.importorskip("hdrh")
    high.save_hdr(tmp_path / "high.hlog")
    fields, histogram = read(tmp_path / "high.hlog")
    assert fields == ["Tag=high", "0.000", "15.000", "300.000000"]
    assert histogram.get_total_count() == high.n == 300
    for q in (0.5, 0.95, 0.99, 1.0):
        of_run = high.max.value if q == 1 else high.percentile(q).value
        assert histogram.get_value_at_percentile(100 * q) == pytest.approx(of_run, rel=1e-3)


def test_the_package_itself_reads_a_log_with_its_tag(high, tmp_path):
    log = pytest.importorskip("hdrh.log")
    high.save_hdr(str(tmp_path / "high.hlog"))
    reader = log.HistogramLogReader(str(tmp_path / "high.hlog"), None)
    with reader.input_file:
        histogram = reader._decode_next_interval_histogram(None)
        assert reader._decode_next_interval_histogram(None) is None
    assert (histogram.get_tag(), histogram.get_total_count()) == ("high", 300)


def test_logs_of_two_runs_add_up_to_the_log_of_all_their_requests(made_queue, made_run, tmp_path):
    pytest.importorskip("hdrh")
    parts = LATENCIES_MS[:100], LATENCIES_MS[100:], LATENCIES_MS
    found = []
    for i, latencies in enumerate(parts):
        made_run(made_queue(latencies)).high.save_hdr(tmp_path / f"{i}.hlog")
        found.append(read(tmp_path / f"{i}.hlog")[1])
    found[0].add(found[1])
    shares = np.arange(1, 101)
    merged, of_all = ([h.get_value_at_percentile(q) for q in shares] for h in found[::2])
    assert found[0].get_total_count() == 300 and merged == of_all


def test_a_log_is_refused_where_requests_never_completed(made_queue, made_run, tmp_path):
    run = made_run(made_queue([*[1] * 299, None]))
    with pytest.raises(InvalidRun, match="1 of 300 requests"):
        run.high.save_hdr(tmp_path / "high.hlog")
    assert not list(tmp_path.iterdir())


def test_a_log_that_cannot_be_written_leaves_nothing(high, tmp_path, monkeypatch):
    with pytest.raises(ScenarioError, match=r"^save_hdr: '\$NOWHERE/x' names the variable NOWHERE"):
        high.save_hdr("$NOWHERE/x")
    monkeypatch.setitem(sys.modules, "hdrh", None)
    sentence = "pip install 'pytest-xsched[hdr]'"
    with pytest.raises(MissingExtra, match=f"'hdrh' is not installed.*{re.escape(sentence)}$"):
        high.save_hdr(tmp_path / "high.hlog")
    assert not list(tmp_path.iterdir())

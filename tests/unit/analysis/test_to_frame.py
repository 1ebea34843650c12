"""All requests of a run as a table of pandas."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_xsched.errors import MissingExtra
from pytest_xsched.stats.estimators import CENSORED_NS

MS = 1_000_000


@pytest.fixture
def run(made_queue, made_run):
    high = made_queue([4, None, 6], period_ms=50, late_ms=1, window_ms=(50, 150))
    return made_run(high, made_queue([9, 8], name="low"))


def test_a_frame_has_one_row_for_each_request_with_its_queue_and_its_times(run):
    pytest.importorskip("pandas")
    frame = run.to_frame()
    assert list(frame.columns) == ["queue", *run.high.samples.dtype.names, "latency_ns", "measured"]
    assert frame["queue"].tolist() == ["high"] * 3 + ["low"] * 2
    assert frame["scheduled_ns"].tolist() == [0, 50 * MS, 100 * MS, 0, 50 * MS]
    assert frame["completed_ns"].tolist() == [4 * MS, -1, 106 * MS, 9 * MS, 58 * MS]
    assert frame["latency_ns"].tolist() == [4 * MS, CENSORED_NS, 6 * MS, 9 * MS, 8 * MS]
    assert frame["measured"].tolist() == [False, True, True, True, True]  # the first: warm-up
    assert [str(kind) for kind in frame.dtypes.iloc[1:5]] == ["int64"] * 4
    assert str(frame["measured"].dtype) == "bool"


def test_what_counts_in_a_frame_are_the_latencies_of_the_queue(run):
    pytest.importorskip("pandas")
    run.low.masks, run.low.noisy_ns = True, ((40 * MS, 60 * MS),)
    frame = run.to_frame()
    for name, queue in run.queues.items():
        mine = frame[(frame["queue"] == name) & frame["measured"]]
        assert len(mine) == queue.n
        assert mine["completed_ns"].tolist() == queue.measured["completed_ns"].tolist()
    frame.loc[:, "completed_ns"] = 0
    assert run.high.samples["completed_ns"][0] == 4 * MS  # the frame is a copy


def test_without_pandas_one_sentence_says_how_to_install_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra) as error:
        run.to_frame()
    assert str(error.value) == (
        "The package 'pandas' is not installed; install it with: "
        "pip install 'pytest-xsched[pandas]'"
    )


def test_pandas_is_imported_on_use_only():
    code = "import sys; import pytest_xsched.analysis.run; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]

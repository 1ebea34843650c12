"""bench/gpu_runner.py --calls: what the runner and a loop written by hand call for a request.

On the fake driver, through the driver that forwards. Calls are counted; times are not judged.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import driver_calls
import gpu_runner

ROOT = gpu_runner.ROOT
LAUNCH, MARK, POLL, CONTEXT = 0, driver_calls.MARK, driver_calls.POLL, 6
NOT_READY = 600


@pytest.fixture
def fake_toolkit(fake_cuda, tmp_path, monkeypatch):
    """Puts the fake driver where a toolkit of CUDA has its headers and libraries."""
    libraries = tmp_path / "lib64"
    libraries.mkdir()
    for name in ("libcuda.so", "libnvrtc.so"):
        (libraries / name).symlink_to(fake_cuda)
    (tmp_path / "include").symlink_to(ROOT / "native/tests/doubles/driver/include")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", fake_cuda)
    monkeypatch.setenv("PYTEST_XSCHED_GPU_COMPILER", fake_cuda)


def test_a_request_of_a_graph_is_one_launch_and_one_mark_as_in_a_loop_written_by_hand(
    fake_toolkit, monkeypatch, capsys
):
    monkeypatch.setattr(gpu_runner, "KERNELS", 4)
    monkeypatch.setattr(gpu_runner, "RATE", 20)  # so slow that a busy machine keeps up
    options = "--calls --only graph --repetitions 1 --duration 500ms"
    monkeypatch.setattr(sys, "argv", ["gpu_runner.py", *options.split()])

    assert gpu_runner.main() == 0

    printed = capsys.readouterr().out
    rows = re.findall(r"^(\w[^\d\n]*?) +(-?[\d.]+) +(-?[\d.]+) +[+-][\d.]+$", printed, re.MULTILINE)
    assert tuple(name for name, *_ in rows) == driver_calls.TIMES
    device = rows[-1]
    assert not float(device[1]) < 40 and not float(device[2]) < 40  # us, of 4 kernels of 10 us
    calls = dict(re.findall(r"^(loop|runner): (.*?) polls;", printed, re.MULTILINE))
    assert calls["loop"].startswith("10 requests: 1 cuGraphLaunch, 1 cuEventRecord;")
    kinds = re.findall(r"(\d+) requests: ([^;]*)", calls["runner"])
    assert [kind for _, kind in kinds] == [
        "1 cuGraphLaunch, 1 cuEventRecord",
        "1 cuCtxSetCurrent, 1 cuGraphLaunch, 1 cuEventRecord",  # the first of its thread
    ]
    assert int(kinds[0][0]) >= 9 and kinds[1][0] == "1"
    assert printed.count("calls from 1 thread(s)") == 2
    assert "DRIVER_CALLS" not in os.environ


def entries(*rows):
    """Return entries: a call, its begin and end, and perhaps its result and its thread."""
    filled = [(*row, *(0, 1)[len(row) - 3 :]) for row in rows]
    return np.array(
        [(b, e, e - b, -1, call, thread, 1, result) for call, b, e, result, thread in filled],
        driver_calls.ENTRY,
    )


def test_a_request_is_its_launch_its_mark_and_the_polls_until_it_is_noticed():
    requests, threads = driver_calls.requests_of(
        entries(
            (LAUNCH, 0, 1, 0, 7),  # what another thread did before the run
            (MARK, 1, 2, 0, 7),
            (POLL, 2, 3, 0, 7),
            (CONTEXT, 5, 6),
            (LAUNCH, 10, 14),
            (MARK, 15, 16),
            (POLL, 17, 18, NOT_READY),
            (POLL, 20, 22),
        )
    )
    assert threads == 1
    (request,) = requests
    assert request.alone
    assert dict(request.calls) == {"cuCtxSetCurrent": 1, "cuGraphLaunch": 1, "cuEventRecord": 1}
    process = driver_calls.process_of(requests, threads, np.array([9]), np.array([25]))
    assert process.times_ns.tolist() == [[1, 4, 1, 1, 1, 5, 3, 1, 2, -1]]
    assert process.times_ns[0, :7].sum() == 25 - 9


def test_requests_that_overlap_are_counted_but_their_times_are_not():
    requests, _ = driver_calls.requests_of(
        entries(
            (LAUNCH, 0, 1),
            (MARK, 1, 2),
            (LAUNCH, 2, 3),
            (MARK, 3, 4),
            (POLL, 4, 5),
            (POLL, 5, 6),
            (LAUNCH, 7, 8),
            (MARK, 8, 9),
            (POLL, 9, 10),
        )
    )
    assert [(one.launch, one.noticed, one.alone) for one in requests] == [
        (0, 5, False),
        (2, 6, False),
        (7, 10, True),
    ]


def test_samples_of_another_run_are_refused():
    samples = np.zeros(
        1, [(f"{name}_ns", np.int64) for name in ("scheduled", "launched", "completed")]
    )
    calls = entries((LAUNCH, 1010, 1014), (MARK, 1015, 1016), (POLL, 1020, 1022))
    samples["launched_ns"], samples["completed_ns"] = 9, 24
    process = driver_calls.of_runner(calls, samples)
    assert process.times_ns[0, 6] + process.epoch_error_ns >= 0
    samples["completed_ns"] = 20
    with pytest.raises(SystemExit, match="do not belong to the samples"):
        driver_calls.of_runner(calls, samples)

"""Eager models whose programs outlive a run: the next one of a comparison takes them over."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from pytest_xsched import Session, WorkerCrashed, model
from pytest_xsched.session.settings import Settings

NETS = """
import os
from pytest_xsched.client import is_measured


def net(name):
    with open("built.txt", "a") as file:
        file.write(f"{name} {os.getpid()}\\n")
    log = open(f"{name}.txt", "a", buffering=1)

    def request():
        if is_measured() and name == "dies":
            os._exit(7)
        log.write("m" if is_measured() else "w")
        log.flush()

    return request
"""


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    made = Session(Settings(device="cpu", scheduler="native"))
    yield made
    made.close()


def net(name):
    return model("nets.py:net", name)


def built(tmp_path):
    """Return which model each process built; those of one run begin at the same time."""
    lines = (tmp_path / "built.txt").read_text().splitlines()
    return [(name, int(pid)) for name, pid in (line.split() for line in lines)]


def test_an_eager_model_is_built_once_and_warmed_up_for_each_run_that_has_it(session, tmp_path):
    """It stays while a run does without it, and is started anew after it has ended."""

    def measure(*names):
        queues = [session.queue(name.lower(), net(name), rate="50/s") for name in names]
        run = session.run(*queues, duration="100ms", warmup="0s")
        assert [queue.n for queue in run.queues.values()] == [5] * len(names)

    with session.machines.keeping_processes(None):
        measure("H", "L")
        measure("L")
        measure("H", "L")
        assert sorted(name for name, _ in built(tmp_path)) == ["H", "L"]
        for name, pid in built(tmp_path):
            if name == "L":
                os.kill(pid, signal.SIGKILL)  # between two runs
                while os.path.exists(f"/proc/{pid}/exe"):
                    time.sleep(0.01)
        with pytest.raises(WorkerCrashed, match="the program of queue 'dies' ended with exit stat"):
            measure("L", "dies")
    assert sorted(name for name, _ in built(tmp_path)[2:]) == ["L", "dies"]
    assert not any(os.path.exists(f"/proc/{pid}/exe") for _, pid in built(tmp_path))
    runs = re.findall("w+m+", (tmp_path / "H.txt").read_text())
    assert [run.count("m") for run in runs] == [5, 5]
    assert all(run.count("w") >= 10 and run.count("w") % 5 == 0 for run in runs)

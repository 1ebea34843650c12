"""The soak: it ends by itself or by Ctrl-C, and says what grew."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_xsched import Session
from pytest_xsched.session.settings import Settings

SOAK = Path(__file__).resolve().parents[2] / "bench" / "soak.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("soak", SOAK)
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def command(*args):
    return [sys.executable, str(SOAK), *args]


def run(*args):
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", ["sim", "cpu"])
def test_it_ends(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(f"--device={name}", "--minutes=0.03")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "soak: ended after" in done.stdout
    assert "soak: flat" in done.stdout
    assert done.stderr == ""


def test_ctrl_c_ends_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = command("--device=sim", "--minutes=10")
    process = subprocess.Popen(
        args, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    try:
        rest, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:  # it came while Python could raise nothing
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert first.startswith("soak: ")
    assert "soak: interrupted after" in rest
    assert process.returncode == 130


def test_a_rule_that_breaks_by_chance_is_a_finding_and_not_a_traceback(bench, monkeypatch):
    once = iter([AssertionError("highest first: low ran before high")])

    def check(run):
        if error := next(once, None):
            raise error

    monkeypatch.setattr(bench, "check_invariants", check)
    session, lines = Session(Settings(device="sim")), []
    assert bench.soak(session, 10**9, lines.append) == 1
    session.close()
    assert "soak: highest first: low ran before high" in lines
    assert "soak: the scenario broke a rule again in 0 of 5 replays" in lines


def test_growth_is_named(bench):
    SLACK_BYTES, Footprint, growth = bench.SLACK_BYTES, bench.Footprint, bench.growth  # noqa: N806
    flat = [Footprint(10 * SLACK_BYTES, 7, 2, None)] * 4 + [
        Footprint(10 * SLACK_BYTES, 7, 2, 1)
    ] * 4
    assert growth(flat) == []
    assert growth(flat[:3]) == []
    leaking = [Footprint(10 * SLACK_BYTES + i * SLACK_BYTES, 7 + i, 2) for i in range(8)]
    assert growth(leaking) == [
        f"rss_bytes grew from {12 * SLACK_BYTES + SLACK_BYTES // 2} to "
        f"{16 * SLACK_BYTES + SLACK_BYTES // 2}",
        "files grew from 10 to 14",
    ]
    of_the_gpu = [Footprint(10 * SLACK_BYTES, 7, 2, i * SLACK_BYTES) for i in range(8)]
    assert growth(of_the_gpu) == [
        f"gpu_bytes grew from {2 * SLACK_BYTES + SLACK_BYTES // 2} to "
        f"{6 * SLACK_BYTES + SLACK_BYTES // 2}"
    ]

"""The JSON file is one of pytest-benchmark's: its own `compare` reads it."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is missing")


@pytest.fixture
def compare(pytester):
    """Runs the real `pytest-benchmark compare`."""
    tool = Path(sys.executable).with_name("pytest-benchmark")

    def run(*args):
        done = subprocess.run(
            [tool, "compare", *args], cwd=pytester.path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def two_files(load, sim, pytester):
    """One scenario under two schedulers, and beside it another scenario."""
    load("""
        def test_it(run, xsched):
            run.high.assert_p99_below("1h")
            xsched.run(xsched.queue("high", spin("2ms"), rate="20/s"), duration="15s")
        """)
    for scheduler in ("native", "builtin"):
        ret = sim(f"--xsched-scheduler={scheduler}", f"--xsched-json={scheduler}.json").ret
        assert ret == 0
    return [
        json.loads((pytester.path / f"{scheduler}.json").read_text())
        for scheduler in ("native", "builtin")
    ]


def rows(content):
    return {(row["name"], row["group"]): row for row in content["benchmarks"]}


def test_a_row_for_every_queue_of_each_run(two_files):
    native, builtin = two_files
    names = [row["fullname"].rpartition("-")[0] for row in builtin["benchmarks"]]
    assert names == [f"test_it.py::{queue}[builtin" for queue in ("high", "low", "high")]
    assert len({row["fullname"] for row in native["benchmarks"] + builtin["benchmarks"]}) == 6
    # Only what is alike but for the scheduler is in one group.
    groups = [[row["group"] for row in content["benchmarks"]] for content in two_files]
    assert groups[0] == groups[1]
    assert len(set(groups[0])) == 3

    run, high = builtin["xsched"]["runs"][0], builtin["benchmarks"][0]
    assert high["stats"]["rounds"] == 300
    assert high["stats"]["max"] == run["queues"][0]["max_ns"] / 1e9
    assert high["extra_info"]["p99_ns"] == run["queues"][0]["p99_ns"]
    assert high["extra_info"]["verdicts"] == [run["verdicts"][0]["sentence"]]
    assert high["params"] == {"scheduler": "builtin", "device": "sim"}
    assert builtin["machine_info"]["xsched_devices"] == [run["device_name"]]
    assert builtin["commit_info"]["id"] == "unversioned"


def test_compare_sets_like_beside_like(two_files, compare):
    shown = compare("native.json", "builtin.json")
    assert shown.count("""- benchmark "high: spin('1ms'), 15 s on sim (""") == 1
    assert shown.count(": 2 tests -") == 3
    names = re.findall(r"(high|low)\[(builtin|native)\]", shown)
    assert len(names) == 6
    assert len(set(names)) == 4


def test_csv(two_files, compare, pytester):
    compare("native.json", "builtin.json", "--csv=out.csv")
    with open(pytester.path / "out.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 6
    high = next(row for row in table if row["name"] == two_files[1]["benchmarks"][0]["fullname"])
    assert high["param:scheduler"] == "builtin"
    assert float(high["max"]) == two_files[1]["benchmarks"][0]["stats"]["max"]


def test_histogram(two_files, compare, pytester):
    # Not importorskip: pygal leaves a hook behind with which entry points are not found any more.
    if importlib.util.find_spec("pygal") is None:
        pytest.skip("pygal, which draws the histogram, is missing")
    compare("native.json", "builtin.json", "--histogram=out")
    assert len(list(pytester.path.glob("out*.svg"))) == 3


def test_between(two_files, compare, pytester):
    shutil.copy(pytester.path / "builtin.json", pytester.path / "later.json")
    shown = compare("builtin.json", "later.json", "--between=mean,max")
    assert len(re.findall(r"^high\[builtin\] .* \+0\.0%$", shown, re.MULTILINE)) == 2


def test_what_means_nothing_has_no_row(load, sim, pytester):
    load("""
        def test_overload(xsched):
            xsched.run(
                xsched.queue("high", spin("20ms"), rate="100/s"),
                xsched.queue("low", spin("1ms"), concurrency=1), duration="15s",
            )

        def test_unfinished(xsched):
            queue = xsched.queue("high", spin("10s"), arrivals=replay(["14s"]))
            xsched.run(queue, duration="15s", warmup="0s", drain="0s")
        """)

    assert sim("--xsched-json=out.json").ret == 0

    content = json.loads((pytester.path / "out.json").read_text())
    assert [row["name"] for row in content["benchmarks"]] == ["low[builtin]"]
    overload, unfinished = content["xsched"]["without_a_row"]
    assert overload["name"] == unfinished["name"] == "high[builtin]"
    assert overload["reason"].startswith("high is saturated: 100/s were offered")
    assert len(content["xsched"]["runs"]) == 2


def test_the_runs_of_a_comparison_are_named_with_the_reason(load, sim, pytester):
    load("""
        def test_by_turns(xsched, load):
            xsched.compare(*load, arms=["alone"], episodes=2, duration="1s")

        def test_of_runs(xsched, load):
            runs = [
                xsched.run(*load, duration="15s", scheduler=name) for name in ("native", "builtin")
            ]
            xsched.compare_runs(*runs)
        """)

    assert sim("--xsched-json=out.json").ret == 0

    content = json.loads((pytester.path / "out.json").read_text())
    # Those of compare_runs are runs of the session like others: with rows, and no reason.
    names = [row["name"] for row in content["benchmarks"]]
    assert names == ["high[native]", "low[native]", "high[builtin]", "low[builtin]"]
    arms = ("high alone", "low alone", "native", "native", "builtin", "builtin")
    assert [row["reason"] for row in content["xsched"]["without_a_row"]] == [
        f'comparisons have no rows: the runs of this queue are under "comparisons", arm {arm!r}: 2'
        for arm in (*arms, "native again", "native again")
    ]
    assert [row["name"] for row in content["xsched"]["without_a_row"]] == [
        "high[native]", "low[native]", *names, *names[:2]
    ]  # fmt: skip


def test_a_session_of_a_comparison_alone_names_its_device(load, sim, pytester):
    load("""
        def test_by_turns(xsched, load):
            xsched.compare(*load, episodes=1, duration="1s")
        """)
    assert sim("--xsched-json=out.json").ret == 0
    content = json.loads((pytester.path / "out.json").read_text())
    (run,) = content["xsched"]["comparisons"][0]["arms"]["native"]
    assert content["machine_info"]["xsched_devices"] == [run["device_name"]]
    assert content["benchmarks"] == content["xsched"]["runs"] == []
    assert len(content["xsched"]["without_a_row"]) == 6  # two queues of three arms


def test_the_commit_of_the_tests(load, sim, pytester):
    load("def test_it(run): pass")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q", "-b", "here"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], cwd=pytester.path, check=True)

    infos = []
    for _ in range(2):
        assert sim("--xsched-json=out.json").ret == 0
        infos.append(json.loads((pytester.path / "out.json").read_text())["commit_info"])
        with open(pytester.path / "test_it.py", "a") as file:
            file.write("\n")

    assert [info["dirty"] for info in infos] == [False, True]
    assert len(infos[0]["id"]) == 40
    assert infos[0]["branch"] == "here"

"""Two builds in one comparison: of XSched, by its installations, and of a program."""

import json
import shutil
import sys
from pathlib import Path

import jsonschema
import pytest

from pytest_xsched import (
    Build,
    InvalidRun,
    ScenarioError,
    SchedulerInactive,
    XSched,
    command,
    spin,
)
from pytest_xsched.reporting import comparison_table
from pytest_xsched.session.named_builds import NamedBuild

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/reference/xsched-json.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def session(xsched_gpu, session_on, monkeypatch):
    """A session on the fake driver that names no XSched."""
    monkeypatch.delenv("XSCHED_HOME")
    return session_on("cuda")


def two(session):
    return (
        session.queue("high", spin("100us"), priority=10, rate="100/s"),
        session.queue("low", spin("1ms"), priority=1),
    )


def compare(session, *homes, duration="100ms"):
    return session.compare(
        *two(session),
        schedulers=[XSched(home=home) for home in homes],
        episodes=1,
        duration=duration,
    )


def mapped(comparison, arm):
    (episode,) = comparison.arms[arm]
    files = episode.run.evidence.activity.files
    return {file.path for file in files if "libpreempt" in file.path or "libhal" in file.path}


def test_each_arm_maps_its_own_libraries(session, xsched_double, spoiled, monkeypatch):
    other = spoiled("libpreempt.so", "-g")
    monkeypatch.chdir(other.parent)
    for duration in ("100ms", "1s", "10s"):  # a busy machine may stop low for a short window
        comparison = compare(session, xsched_double, "spoiled", duration=duration)
        episodes = [one for arm in comparison.arms for one in comparison.episodes(arm)]
        if all(one.numbers("low")["throughput_hz"] for one in episodes):
            break
    arms = comparison.baseline, *comparison.schedulers
    assert arms == (f"xsched hpf of {xsched_double}", "xsched hpf of spoiled")
    for arm, home in zip(arms, (xsched_double, other), strict=True):
        assert mapped(comparison, arm) == {
            str(home / "lib" / name) for name in ("libpreempt.so", "libhalcuda.so")
        }
    assert comparison.low.throughput().ratio.value > 0
    record = comparison.arms[arms[1]][0].record
    assert record["scenario"]["xsched"]["home"] == "spoiled"


def test_two_copies_of_one_build_are_no_two_builds(session, xsched_double, tmp_path):
    copy = shutil.copytree(xsched_double, tmp_path / "copy")
    comparison = compare(session, xsched_double, copy)
    with pytest.raises(InvalidRun, match=r"\(libhalcuda.so, libpreempt.so\), so there is one bui"):
        comparison.low.assert_best_effort_kept("1%")


def test_a_home_that_is_not_there(session):
    with pytest.raises(SchedulerInactive, match=r"XSched\(home='/none'\): /none does not exist"):
        session.run(*two(session), scheduler=XSched(home="/none"), duration="100ms")


def test_live_queues_have_the_home_of_their_scheduler(session, xsched_double):
    queues = session.live(scheduler=XSched(home=xsched_double))
    queues(name="q").submit(spin("1ms")).wait("10s")


def test_each_named_build_has_its_own_home(session_on, xsched_gpu, xsched_double, spoiled):
    """Also live queues, and a run that names its own home is the same in both."""
    builds = {
        name: NamedBuild(name=name, home=str(home))
        for name, home in (("main", xsched_double), ("pr", spoiled("libpreempt.so", "-g")))
    }
    settings = {"build": builds["pr"], "reference": builds["main"], "baseline_episodes": 1}
    session = session_on("cuda", scheduler="xsched", **settings)
    run = session.run(*two(session), duration="100ms")
    (comparison,) = session.comparing.comparisons
    assert comparison.arms["pr"][0].run is run
    for name, build in builds.items():
        assert mapped(comparison, name) == {
            f"{build.home}/lib/{library}" for library in ("libpreempt.so", "libhalcuda.so")
        }
    assert len(session.alternating.results()) == 2

    session.run(*two(session), scheduler=XSched(home=xsched_double), duration="100ms")
    last = session.alternating.results()[-1]
    assert last.status == "not compared"
    assert "nothing of it differs between the builds main (home=" in last.sentence
    session.live()(name="q").submit(spin("1ms")).wait("10s")


# ---- of a program

SERVE = """
import ctypes, os
library = ctypes.CDLL(os.environ["ENGINE"])
from pytest_xsched.client import requests
for _ in requests():
    pass
"""


@pytest.fixture
def engines(tmp_path, built):
    """A program with an engine that an environment variable names, and two builds of the engine."""
    (tmp_path / "serve.py").write_text(SERVE)
    found = []
    for name in ("main", "pr"):
        (tmp_path / name).mkdir()
        found.append(str(shutil.copy(built("fake_nvml.c"), tmp_path / name / "libengine.so")))

    def serve(engine):
        return command([sys.executable, tmp_path / "serve.py"], env={"ENGINE": engine})

    return serve, *found


def test_each_arm_runs_its_own_build_of_a_program(session_on, engines):
    session, (serve, main, pr) = session_on("cpu"), engines
    comparison = session.compare(
        session.queue("server", serve(main), rate="100/s"),
        session.queue("other", spin("100us"), rate="50/s"),
        schedulers=[Build("main"), Build("pr", {"server": serve(pr)})],
        arms=["alone"],
        episodes=1,
        duration="100ms",
    )
    assert list(comparison.arms) == [
        *("server alone", "other alone", "main", "pr", "main again"),
    ]
    record = comparison.to_dict()
    (first, second) = record["builds"]
    assert [(one["arm"], one["queue"]) for one in (first, second)] == [
        *(("main", "server"), ("pr", "server")),
    ]
    assert (first["mapped_here_only"], second["mapped_here_only"]) == ([main], [pr])
    assert first["mapped"] == second["mapped"] > 3
    assert second["workload"].endswith(f"with ENGINE={pr}")
    lines = "\n".join(comparison_table.remarks(record))
    assert f"mapped files, in this arm only: {pr}" in lines
    jsonschema.validate(record["builds"], SCHEMA["$defs"]["comparison"]["properties"]["builds"])


def test_builds_that_cannot_differ_are_refused(session_on, engines):
    session, (serve, main, pr) = session_on("cpu"), engines
    queue = session.queue("server", serve(main), rate="100/s")

    def refused(*builds):
        with pytest.raises(ScenarioError) as caught:
            session.compare(queue, schedulers=builds, episodes=1, duration="100ms")
        return str(caught.value)

    assert "the builds 'a' and 'b' run the same" in refused(Build("a"), Build("b"))
    named = refused(Build("a"), Build("b", {"severr": serve(pr)}))
    assert named == "Build 'b' names queue 'severr'; known: server"
    assert "name one twice" in refused(Build("a"), Build("a", {"server": serve(pr)}))
    assert "is unknown; known: native" in refused(Build("a"), Build("b", scheduler="hpf"))
    for wrong in (
        lambda: Build("a b"),
        lambda: Build("a", {"server": "serve"}),
        lambda: Build(1),
        lambda: Build("alone"),
    ):
        with pytest.raises(
            ScenarioError, match=r'Build\("pr"|write \{"server": command|write another name'
        ):
            wrong()

"""The files of examples/ci: their commands run pytest, and what they write can be read."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "examples" / "ci"

TESTS = """\
from pytest_xsched import spin

def test_high(xsched):
    high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
    low = xsched.queue("low", spin("2ms"), priority=1)
    xsched.run(high, low, duration="30s").high.assert_percentile_below(0.9, "{limit}")
"""


def read(name: str):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((FILES / name).read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    """Make a project with a test that passes."""
    save_test(tmp_path, "10ms")
    return tmp_path


def save_test(folder: Path, limit: str) -> None:
    path = folder / "tests" / "qos" / "test_high.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TESTS.format(limit=limit), encoding="utf-8")


def run(script: str, folder: Path, environment: Path, **variables: str) -> int:
    """Run a script in the folder, with an environment that has pytest and nothing to install."""
    (environment / "bin").mkdir(parents=True)
    pytest_there = environment / "bin" / "pytest"
    command = f'exec "{sys.executable}" -m pytest -p no:cacheprovider "$@"'
    pytest_there.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    pip_there = environment / "bin" / "pip"
    pip_there.write_text('#!/bin/sh\necho "pip $*"\n', encoding="utf-8")
    for file in (pytest_there, pip_there):
        file.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    shell = ["bash", "-e", "-o", "pipefail", "-c", f"python3() {{ :; }}; {script}"]
    return subprocess.run(shell, cwd=folder, env={**kept, **variables}).returncode


def check_results(folder: Path) -> None:
    document = json.loads((folder / "qos.json").read_text(encoding="utf-8"))
    assert len(document["xsched"]["runs"]) == 1
    assert "<testsuite " in (folder / "qos.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("limit", "status"), [("10ms", 0), ("1us", 1)])
def test_the_action_for_github(folder, limit, status):
    save_test(folder, limit)
    action = read("github/action.yml")
    inputs = {name: str(value["default"]) for name, value in action["inputs"].items()}
    inputs |= {"device": "sim", "python": "true", "arguments": "-o addopts= -W default"}
    scripts, variables = [], {}
    for step in action["runs"]["steps"]:
        scripts.append(step.get("run", ""))
        for name, value in step.get("env", {}).items():
            variables[name] = inputs[value.split("inputs.")[1].split()[0]]
    variables["RUNNER_TEMP"] = str(folder)
    assert run("\n".join(scripts), folder, folder / "qos", **variables) == status
    (upload,) = (step for step in action["runs"]["steps"] if "uses" in step)
    assert upload["if"] == "always()"
    check_results(folder / upload["with"]["path"])


def test_the_workflow_for_github_gives_the_action_what_it_has():
    inputs = set(read("github/action.yml")["inputs"])
    for job in read("github/workflow.yml")["jobs"].values():
        assert set(job["steps"][-1]["with"]) <= inputs


def test_the_jobs_for_gitlab(folder):
    jobs = read("gitlab/qos.gitlab-ci.yml")
    common = jobs[jobs["qos-logic"]["extends"]]
    variables = {**common["variables"], **jobs["qos-logic"]["variables"]}
    assert run("\n".join(common["script"]), folder, folder / ".qos-venv", **variables) == 0
    check_results(folder)
    assert set(common["artifacts"]["paths"]) == {"qos.json", "qos.html"}


def test_the_script_for_jenkins(folder):
    script = (FILES / "jenkins" / "qos.sh").read_text(encoding="utf-8")
    assert run(script, folder, folder / ".qos-venv", QOS_DEVICE="sim") == 0
    check_results(folder)


def test_the_job_for_slurm(folder):
    script = (FILES / "slurm" / "qos.sbatch").read_text(encoding="utf-8")
    assert run(script, folder, folder / ".venv", QOS_DEVICE="sim") == 0
    check_results(folder)


def test_files_for_services_that_draw_trends(folder):
    script = (FILES / "jenkins" / "qos.sh").read_text(encoding="utf-8")
    run(script, folder, folder / ".qos-venv", QOS_DEVICE="sim")
    document = json.loads((folder / "qos.json").read_text(encoding="utf-8"))
    made = runpy.run_path(str(FILES / "trends.py"))

    rows = made["github"](document)
    assert len(rows) == 4  # P50 and P99 of two queues
    for row in rows:
        assert set(row) == {"name", "unit", "value"} and row["value"] > 0

    metrics = made["bencher"](document)
    assert len(metrics) == 2
    for measures in metrics.values():
        assert set(measures) == {"p50", "p99", "throughput"}
        assert all(type(one["value"]) in (int, float) for one in measures.values())
    high = next(row for row in document["benchmarks"] if row["name"].startswith("high"))
    assert metrics[high["fullname"]]["p99"]["value"] == high["extra_info"]["p99_ns"]

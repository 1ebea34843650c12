"""Files for another machine: their names there, their parts, and who names them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_xsched import Scenario, ScenarioError, command, endpoint, model, spin
from pytest_xsched.scenario.arrival_process import Closed, constant
from pytest_xsched.scenario.scenario import QueueSpec
from pytest_xsched.workers import sent_files
from pytest_xsched.workers.sent_files import NO_FILES, find_files, save_part, with_python


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A working directory with files in it, and one next to it."""
    here = tmp_path / "here"
    (here / "pkg" / "__pycache__").mkdir(parents=True)
    (here / "pkg" / "net.py").write_text("def make(): pass")
    (here / "pkg" / "__pycache__" / "net.pyc").write_text("")
    (here / "pkg" / "empty").write_text("")
    (here / "serve").write_text("#!/bin/sh")
    (here / "serve").chmod(0o755)
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 5)
    monkeypatch.chdir(here)
    return tmp_path


def scenario(workload, device="cpu"):
    queue = QueueSpec(name="q", workload=workload, arrivals=constant("10/s"))
    other = QueueSpec(name="other", workload=spin("1ms"), arrivals=Closed())
    times = {"duration_ns": 10**9, "warmup_ns": 0, "drain_ns": 0, "seed": 0}
    how = {"device": device, "scheduler": "native", "policy": "none"}
    return Scenario(queues=(queue, other), **times, **how)


def test_names(tree):
    files = find_files(["pkg", Path("serve"), tree / "weights"]).files
    assert [file.name for file in files] == ["pkg/empty", "pkg/net.py", "serve", "weights"]
    assert [file.mode & 0o100 for file in files] == [0, 0, 0o100, 0]
    assert find_files(()) == NO_FILES and NO_FILES.digest() == ""


def test_the_working_directory_keeps_the_names_of_its_files(tree):
    files = find_files(["."])
    assert [file.name for file in files.files] == ["pkg/empty", "pkg/net.py", "serve"]
    assert find_files([tree / "here"]) == files


def test_contents_arrive_in_parts(tree, monkeypatch, tmp_path):
    monkeypatch.setattr(sent_files, "_CHUNK_BYTES", 500)
    files = find_files(["pkg", "serve", tree / "weights"])
    messages = list(files.messages())
    assert len(messages) == 3
    for parts, chunks in messages:
        for part, chunk in zip(parts, chunks, strict=True):
            save_part(tmp_path / "there", part, chunk)
    for file in files.files:
        there = tmp_path / "there" / file.name
        assert there.read_bytes() == Path(file.path).read_bytes()
        assert os.access(there, os.X_OK) == (file.name == "serve")


def test_the_digest_is_of_names_modes_and_contents(tree):
    before = find_files(["serve"]).digest()
    assert find_files([tree / "here" / "serve"]).digest() == before
    Path("serve").chmod(0o700)
    changed = find_files(["serve"]).digest()
    Path("serve").write_text("#!/bin/bash")
    assert len({before, changed, find_files(["serve"]).digest()}) == 3


@pytest.mark.parametrize("name", ["../x", "/x", "//x", "a/../../x", ""])
def test_no_name_leads_out(tmp_path, name):
    with pytest.raises(ScenarioError, match="leads out of the directory"):
        save_part(tmp_path, (name, 0o600, 0), b"")


def test_programs_and_models_name_the_files_there(tree):
    files = find_files(["pkg", "serve", tree / "weights"])
    here = tree / "here"
    words = [str(here / "serve"), str(tree / "weights"), "--quiet", "/etc/passwd", "relative"]
    placed = files.place(scenario(command(words))).queues[0].workload
    assert placed.program.argv == ("./serve", "./weights", "--quiet", "/etc/passwd", "relative")
    of_model = model(f"{here}/pkg/net.py:make", mode="eager")
    placed = files.place(scenario(of_model)).queues[0].workload
    assert placed.model.factory == "pkg/net.py:make"
    body = endpoint("http://localhost:1/", body=tree / "weights")
    placed = files.place(scenario(body)).queues[0].workload
    assert placed.endpoint.body_file == "./weights"
    plain = scenario(spin("1ms"))
    assert files.place(plain) == plain


def test_the_python_of_a_program_is_the_one_there():
    made = scenario(command(["/usr/bin/python-there", "serve.py"]))
    moved = with_python(made, "/usr/bin/python-there")
    assert moved.queues[0].workload.program.argv == (sys.executable, "serve.py")
    assert with_python(made, "/usr/bin/python3") == made

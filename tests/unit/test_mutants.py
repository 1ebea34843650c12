"""The mutants fit the code as it is: one line each, in exactly one place of one file."""

import ast
import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATCHES = sorted((ROOT / "tests" / "mutants").glob("*.patch"))

spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests" / "mutants" / "run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


def test_there_are_some_of_each_kind():
    kinds = {patch.stem.partition("-")[0].partition("_")[0] for patch in PATCHES}
    assert {"xqueue", "policy", "load", "engine"} <= kinds
    files = [run.file_of(patch.read_text(encoding="utf-8")) for patch in PATCHES]
    assert sum(file.endswith(".c") for file in files) >= 27
    assert sum(file.endswith(".py") for file in files) >= 20


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_it_fits(patch, tmp_path):
    text = patch.read_text(encoding="utf-8")
    file = run.file_of(text)
    (tmp_path / file).parent.mkdir(parents=True)
    shutil.copyfile(ROOT / file, tmp_path / file)
    run.apply(text, tmp_path)
    if file.endswith(".py"):
        ast.parse((tmp_path / file).read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="fits in 0 places"):
        run.apply(text, tmp_path)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_it_changes_one_line(patch):
    text = patch.read_text(encoding="utf-8")
    signs = [line[0] for line in text[text.index("@@\n") + 3 :].splitlines()]
    assert (signs.count("-"), signs.count("+")) == (1, 1)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_the_tests_that_it_names_exist(patch):
    text = patch.read_text(encoding="utf-8")
    names = run.tests_of(text)
    assert names or run.file_of(text).endswith(".c")  # the property tests are those of the runner
    for name in names:
        path, _, function = name.partition("::")
        source = (ROOT / "tests" / path).read_text(encoding="utf-8")
        assert not function or f"def {function.partition('[')[0]}(" in source


def test_steps_are_counted():
    scenario = """E       Draw 1: Scenario(
E           queues=(
E                   arrivals=replay(("0s", "1ms")),
E                   arrivals=closed(2),
E                   arrivals=constant("30/s"),
E           ),
E           seed=0,
"""
    assert run.steps_of(scenario) == 2 + 1 + 3
    steps = (
        'E     q0 = xqueues(priority=0)\nE     q0.submit(spin("1ms"))\nE     xqueues.sleep("1ms")\n'
    )
    assert run.steps_of("E   AssertionError: in order: q0 has\n" + steps) == 3
    assert run.steps_of("E       backlog=[(0, 1), (1, 1)],\n") == 2
    assert run.steps_of("hangs") is None

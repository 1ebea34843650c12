"""The mutants fit the code as it is: each patch in exactly one place of one file."""

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
    assert len(PATCHES) >= 10


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_it_fits(patch, tmp_path):
    shutil.copytree(ROOT / "native", tmp_path / "native")
    text = patch.read_text(encoding="utf-8")
    run.apply(text, tmp_path)
    with pytest.raises(ValueError, match="fits in 0 places"):
        run.apply(text, tmp_path)


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

"""Each file of examples/ passes on `sim` or `cpu`, and fails where what it shows is taken away."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

NATIVE = "--xsched-scheduler=native"
# Of each file: how many tests pass, the change that takes away what it shows (an option, or a text
# and its replacement), and how many of its tests pass then.
SHOWN = {
    "test_two_models": (4, NATIVE, 3),
    "test_targets": (4, NATIVE, 1),
    "test_deadlines": (1, NATIVE, 0),
    "test_shares": (1, ('"partition"', '"fair"'), 0),
    "test_bursty_load": (3, NATIVE, 0),
    "test_model_traces": (2, NATIVE, 1),
    "test_recorded_profiles": (2, NATIVE, 1),
    "test_live_queues": (1, ("priority=10", "priority=0"), 0),
    "test_priority_change": (1, ("priority=0", "priority=2"), 0),
    "test_any_mix": (1, ("check_invariants(run)", "assert not list(run)"), 0),
    "test_highest_rate": (1, NATIVE, 0),
    "test_worst_mix": (1, ("below(100)", "below(1)"), 0),
    "test_compare": (3, ('["native", "builtin"]', '["builtin", "native"]'), 1),
    "test_benchmark": (1, NATIVE, 0),
}
ON_CPU = {"test_own_program"}
# Files of models/ whose outcome on the processor is not one test that passes.
MODELS = {"test_own_model": {"passed": 3, "skipped": 1}}  # a comparison needs a GPU
OPTIONS = {
    "test_any_mix": ["-p_hypothesis_pytestplugin", "--hypothesis-profile=xsched-ci"],
    "test_benchmark": ["-ppytest_benchmark.plugin"],
}


def run(inside, name, *args):
    return inside(*OPTIONS.get(name, []), *args).parseoutcomes().get("passed", 0)


def test_every_example_is_run():
    files = {path.stem for path in EXAMPLES.glob("test_*.py")}
    assert files == set(SHOWN) | ON_CPU


@pytest.mark.parametrize("name", SHOWN)
def test_it_passes_and_for_the_right_reason(pytester, inside, monkeypatch, name):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # where pytest-benchmark is off
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    passed, change, passed_then = SHOWN[name]
    pytester.makepyfile(**{name: text})
    assert run(inside, name, "--xsched-device=sim") == passed
    if isinstance(change, str):
        assert run(inside, name, "--xsched-device=sim", change) == passed_then
        return
    old, new = change
    assert text.count(old) == 1
    pytester.makepyfile(**{name: text.replace(old, new)})
    assert run(inside, name, "--xsched-device=sim") == passed_then


@pytest.mark.parametrize("name", sorted(ON_CPU))
def test_it_passes_in_real_time(pytester, inside, name, late_is_fine):
    for path in (EXAMPLES / f"{name}.py", EXAMPLES / "serve.py"):
        pytester.makepyfile(**{path.stem: path.read_text(encoding="utf-8")})
    inside("--xsched-device=cpu").assert_outcomes(passed=1)


@pytest.mark.parametrize("path", sorted((EXAMPLES / "models").glob("*.py")), ids=lambda p: p.stem)
def test_a_model_runs_on_the_processor_where_pytorch_is_installed(pytester, fresh, path):
    pytester.makepyfile(**{path.stem: path.read_text(encoding="utf-8")})
    result = fresh("--xsched-device=cpu", NATIVE)
    if importlib.util.find_spec("torch") is None:
        result.assert_outcomes(skipped=1)
    else:
        result.assert_outcomes(**MODELS.get(path.stem, {"passed": 1}))


def test_every_example_says_what_it_shows():
    for path in EXAMPLES.rglob("*.py"):
        first = path.read_text(encoding="utf-8").split('"""')[1].splitlines()
        assert first[0].endswith("."), path.name
        assert len(first) >= 3 and first[2], f"{path.name}: a docstring of two lines"

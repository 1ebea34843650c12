"""How the plugin is loaded, and what it costs those who do not use it."""

from __future__ import annotations

import json
import sys

import pytest

HEAVY = (
    "numpy",
    "cffi",
    "_cffi_backend",
    "hypothesis",
    "jinja2",
    "pytest_xsched.native.binding",
    "pytest_xsched.native._native",
    "pytest_xsched.session.session",
)

LOOK = f"""
import json
import sys

def pytest_unconfigure(config):
    with open("/proc/self/maps") as maps:
        mapped = maps.read()
    found = [name for name in {HEAVY!r} if name in sys.modules]
    found += [name for name in ("libcuda", "libamdhip", "libOpenCL", "_native") if name in mapped]
    with open("found.json", "w") as file:
        json.dump([found, "pytest_xsched.plugin.hooks" in sys.modules], file)
"""


@pytest.fixture
def looked(pytester):
    """Gives what of HEAVY was loaded when the run was over; the plugin itself must be."""
    pytester.makeconftest(LOOK)

    def read():
        found, plugin = json.loads((pytester.path / "found.json").read_text())
        assert plugin
        return found

    return read


COUNT = """
import json, sys, pytest
generated = []
def hook(event, arguments):
    if event == "compile" and arguments[1] == "<string>":
        generated.append(1)
before = set(sys.modules)
sys.addaudithook(hook)
import pytest_xsched.plugin.hooks
count = len(generated)
print(json.dumps([sorted(set(sys.modules) - before), count]))
"""


def test_the_import_of_the_plugin_is_small(pytester, alone):
    """Exact numbers: each module is read from disk, and a dataclass compiles its methods.

    bench/bench_import.py times what this test counts; it is to stay below 10 ms.
    """
    found, generated = json.loads(pytester.run(sys.executable, "-c", COUNT).outlines[-1])
    assert found == [
        "pytest_xsched",
        "pytest_xsched.plugin",
        "pytest_xsched.plugin.fixtures",
        "pytest_xsched.plugin.hooks",
        "pytest_xsched.plugin.misses",
        "pytest_xsched.plugin.shared_runs",
        "pytest_xsched.plugin.state",
        "pytest_xsched.session",
        "pytest_xsched.session.options",
    ]
    assert generated == 0


def test_unrelated_tests_load_nothing_heavy(pytester, fresh, looked):
    pytester.makepyfile("def test_it(): pass\n\ndef test_fails(): assert [1] == [2]")

    result = fresh("-rA")

    result.assert_outcomes(passed=1, failed=1)
    assert looked() == []


def test_collection_loads_nothing_heavy(two_models, fresh, looked):
    two_models()

    result = fresh("--collect-only", "--xsched-device=sim", "--xsched-duration=1s", "-q")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["test_qos.py::test_latency", "4 tests collected*"])
    assert looked() == []


def test_collection_writes_no_json(two_models, sim, pytester):
    two_models()

    assert sim("--collect-only", "--xsched-json=out.json").ret == 0

    assert not (pytester.path / "out.json").exists()


def test_describing_a_mix_loads_nothing_heavy(pytester, fresh, looked):
    pytester.makepyfile("""
        from pytest_xsched import QueueSpec, Scenario, closed, matmul, ms, poisson, replay, spin

        def test_it():
            spec = QueueSpec(name="high", workload=matmul(512, layers=3), arrivals=poisson("20/s"))
            Scenario(queues=(spec,), duration_ns=10**9, warmup_ns=0, drain_ns=0, seed=0,
                     device="cpu", scheduler="builtin", policy="hpf").digest()
        """)

    assert fresh().ret == 0
    assert looked() == []


def test_a_run_on_a_double_loads_no_driver(load, fresh, looked):
    load("def test_it(run): pass")

    assert fresh("--xsched-device=sim").ret == 0
    assert not {"libcuda", "libamdhip", "libOpenCL", "jinja2"} & set(looked())
    assert "pytest_xsched.native._native" in looked()


def test_version_loads_nothing_heavy(pytester, alone):
    code = (
        "import sys, pytest\n"
        "assert pytest.main(['-p', 'xsched', '--version']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    result = pytester.run(sys.executable, "-c", code)

    assert result.ret == 0
    assert result.outlines[-1] == "[]"


def test_loaded_by_name_without_autoload(two_models, fresh):
    two_models()

    result = fresh("--xsched-device=sim")

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["plugins: xsched-*"])


def test_loaded_by_its_entry_point(two_models, pytester):
    two_models()

    result = pytester.runpytest_subprocess(
        "-pno:benchmark", "-pno:hypothesispytest", "--xsched-device=sim"
    )

    result.assert_outcomes(passed=4)
    assert result.ret == 0


def test_loaded_by_name_and_by_its_entry_point(two_models, pytester):
    two_models()

    result = pytester.runpytest_subprocess(
        "-pno:benchmark", "-pno:hypothesispytest", "-pxsched", "--xsched-device=sim"
    )

    result.assert_outcomes(passed=4)


def test_switched_off(load, pytester):
    load("""
        def test_it(xsched): pass

        def test_other(): pass
        """)

    result = pytester.runpytest_subprocess("-pno:benchmark", "-pno:hypothesispytest", "-pno:xsched")

    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["E *fixture 'xsched' not found"])


def test_required_plugins_of_an_ini_file(two_models, sim, pytester):
    two_models()
    pytester.makeini("[pytest]\nrequired_plugins = pytest-xsched")

    assert sim().ret == 0


def test_fixtures_have_one_line_of_help(sim):
    result = sim("--fixtures")

    result.stdout.fnmatch_lines_random(
        [
            "xsched [[]session scope] -- *",
            "    Makes prioritized queues (`queue`) and runs them together (`run`).",
            "xqueues -- *",
            "    Makes live XQueues; call it with a priority, a threshold, a batch size.",
        ]
    )


@pytest.mark.parametrize("use", ["queues.now", 'queues.sleep("1ms")', "queues()"])
def test_queues_kept_beyond_their_test_are_refused(pytester, fresh, use):
    pytester.makepyfile(f"""
        import pytest
        from pytest_xsched import XSchedError

        kept = []

        def test_keeps(xqueues):
            kept.append(xqueues)

        def test_uses():
            (queues,) = kept
            with pytest.raises(XSchedError):
                {use}
        """)

    result = fresh("--xsched-device=sim")

    result.assert_outcomes(passed=2)

"""docs/reference/xsched-json.schema.json describes what --xsched-json writes."""

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/reference/xsched-json.schema.json").read_text(encoding="utf-8"))

CASES = """
    def test_pass_and_fail(run):
        run.high.assert_p99_below("50ms")
        run.low.assert_throughput_at_least("1/s")
        run.high.assert_p99_below("2ms")

    def test_saturated(xsched):
        high = xsched.queue("high", spin("20ms"), rate="100/s")
        xsched.run(high, duration="20s").high.assert_p99_below("1s")

    def test_comparison(xsched, load):
        comparison = xsched.compare(*load, arms=["alone"], duration="15s")
        comparison.high.assert_p99_improved(by=1.1)

    def test_highest_rate(xsched, load):
        found = xsched.find_rate(load, queue="high", target=p99_below("50ms"), budget="100s")
        found.assert_sustains("30/s")

    def test_hopeless_rate(xsched, load):
        found = xsched.find_rate(load, queue="high", target=p95_below("1us"), budget="60s")
        found.assert_sustains("30/s")

    def test_stages(xsched):
        load = stages({"calm": ("5s", "100/s"), "burst": ("5s", "300/s"), "rest": ("5s", "9/s")})
        run = xsched.run(xsched.queue("high", spin("1ms"), arrivals=load))
        run.high.stage("calm").assert_p99_below("50ms")
        run.high.assert_recovers_within("2s", below="50ms")

    def test_other_queues(xsched):
        loads = [poisson("50/s"), gamma("50/s", cv=2), replay(["0s", "1ms"]), closed(2)]
        loads.append(bursts("50/s", on="200ms", off="800ms"))
        queues = [
            xsched.queue(f"q{i}", vector_add(100), arrivals=load, deadline="1s", threshold=4)
            for i, load in enumerate(loads)
        ]
        xsched.run(*queues, duration="2s", changes=[at("1s", "q1", priority=3)], policy="edf")

    def test_pipeline(xsched):
        first = xsched.queue("first", spin("1ms"), rate="50/s")
        second = xsched.queue("second", spin("1ms"), after="first", priority=1)
        run = xsched.run(first, second, duration="2s", policy="hpf")
        assert run.evidence.inversions
        run.second.assert_max_below("1ms")
    """


def check(document):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    errors = jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)
    assert [f"{error.json_path}: {error.message[:200]}" for error in errors] == []


def test_runs_in_virtual_time(load, sim, pytester):
    load(CASES)
    sim("--xsched-json=out.json", "--xsched-save=main", "--xsched-compare=main")
    document = json.loads((pytester.path / "out.json").read_text())
    runs = document["xsched"]["runs"]
    assert {verdict["status"] for run in runs for verdict in run["verdicts"]} == {"PASS", "FAIL"}
    assert document["xsched"]["comparisons"] and document["xsched"]["baselines"]
    assert [found["hopeless"] for found in document["xsched"]["rate_searches"]] == [False, True]
    assert document["xsched"]["without_a_row"] and document["benchmarks"]
    check(document)


def test_runs_in_real_time(load, inside, pytester):
    shutil.copy(ROOT / "examples" / "serve.py", pytester.path)
    load("""
        import sys

        def test_program_and_check(xsched):
            serve = xsched.queue("serve", command([sys.executable, "serve.py"]), rate="20/s")
            other = xsched.queue("other", matmul(32))
            xsched.run(serve, other, duration="500ms", scheduler="native")
            xsched.run(other, duration="200ms", check=True)
        """)
    inside("--xsched-device=cpu", "--xsched-json=out.json").assert_outcomes(passed=1)
    check(json.loads((pytester.path / "out.json").read_text()))


@pytest.mark.parametrize("gone", ["digest", "evidence"])
def test_the_schema_finds_what_is_missing(load, sim, pytester, gone):
    load("""
        def test_one(run):
            pass
        """)
    sim("--xsched-json=out.json")
    document = json.loads((pytester.path / "out.json").read_text())
    del document["xsched"]["runs"][0][gone]
    with pytest.raises(AssertionError, match=gone):
        check(document)


def test_a_search_and_facts_from_a_hook(sim, pytester):
    pytester.makeconftest("def pytest_xsched_environment(): return {'image': 'ci-7'}")
    pytester.makepyfile("""
        from pytest_xsched import spin
        from pytest_xsched.stress.strategies import contentions

        def test_it(xsched):
            xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="1s")
            high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s", threshold=1)
            space = contentions(high, others=1, thresholds=[1], duration="1s")
            found = xsched.search(space, queue="high", objective="max", examples=10)
            found.assert_worst_case_below("1h")
        """)
    sim("--xsched-json=out.json")
    document = json.loads((pytester.path / "out.json").read_text())
    (search,) = document["xsched"]["searches"]
    assert search["targets"][0]["status"] == "PASS" and document["xsched"]["environment"]
    check(document)

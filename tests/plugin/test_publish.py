"""`run.high.publish(benchmark)`: measured latencies in pytest-benchmark's own table and files."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is missing")


@pytest.fixture
def published(fresh, pytester, monkeypatch):
    """Runs pytest on sim with pytest-benchmark; gives its result and the rows of its file."""
    # It measures nothing in a worker of pytest-xdist, which these tests may run in.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def run(*args):
        result = fresh(
            "-ppytest_benchmark.plugin",
            "-Wignore:Not saving anything",
            "-Wignore:Benchmark fixture was not used",
            "--xsched-device=sim",
            "--benchmark-json=b.json",
            *args,
        )
        file = pytester.path / "b.json"
        rows = json.loads(file.read_text())["benchmarks"] if file.exists() else []
        return result, rows

    return run


def test_the_rounds_are_the_latencies(load, published, pytester):
    load("""
        import json

        def test_high(run, benchmark):
            run.high.publish(benchmark)
            with open("expected.json", "w") as file:
                json.dump(run.high.latency_ns.tolist(), file)
        """)

    result, (row,) = published()

    result.assert_outcomes(passed=1)
    expected = json.loads((pytester.path / "expected.json").read_text())
    assert row["stats"]["data"] == [ns / 1e9 for ns in expected]
    assert row["stats"]["rounds"] == 300
    assert row["options"]["timer"] == "pytest-xsched"
    assert row["extra_info"]["queue"] == "high"
    assert row["extra_info"]["max_ns"] == max(expected)
    result.stdout.fnmatch_lines(["*benchmark: 1 tests*", "test_high *"])


def test_other_settings_of_its_marker_stay(load, published):
    load("""
        @pytest.mark.benchmark(group="mine")
        def test_high(run, benchmark):
            run.high.publish(benchmark)
        """)

    result, (row,) = published()

    assert result.ret == 0
    assert row["group"] == "mine"
    assert row["stats"]["rounds"] == 300


def test_the_fixture_still_times_functions(load, published):
    load("""
        import time

        def test_own(run, benchmark):
            benchmark.pedantic(lambda: time.sleep(0.002), rounds=3)
        """)

    result, (row,) = published()

    assert result.ret == 0
    assert row["stats"]["rounds"] == 3
    assert row["stats"]["min"] >= 0.002


@pytest.mark.parametrize(
    "switch", [("--benchmark-disable",), ("-pxdist.plugin", "-n1", "--dist=loadfile")]
)
def test_where_it_is_disabled_nothing_happens(load, published, switch):
    load("""
        def test_high(run, benchmark):
            run.high.publish(benchmark)
            run.high.assert_p99_below("1us")
        """)

    result, rows = published(*switch)

    result.assert_outcomes(failed=1)
    assert result.ret == 1
    assert rows == []
    result.stdout.fnmatch_lines(["E *TargetMissed: high: P99 *"])


def test_what_means_nothing_is_not_published(load, published):
    load("""
        def test_saturated(xsched, benchmark):
            queue = xsched.queue("high", spin("20ms"), rate="100/s")
            xsched.run(queue, duration="5s").high.publish(benchmark)

        def test_unfinished(xsched, benchmark):
            queue = xsched.queue("high", spin("10s"), arrivals=replay(["1s", "2s", "3s", "14s"]))
            run = xsched.run(queue, duration="15s", warmup="0s", drain="0s")
            run.high.publish(benchmark)
        """)

    result, rows = published()

    assert result.parseoutcomes() == {"errors": 2}
    assert result.ret == 1
    assert rows == []
    result.stdout.fnmatch_lines(
        [
            "E *InvalidRun: no verdict: high is saturated: *",
            "E *InvalidRun: publish(): 3 of 4 requests of high never completed, *",
        ]
    )


def test_another_clock_and_another_fixture(load, published):
    load("""
        import time

        @pytest.mark.benchmark(timer=time.process_time)
        def test_clock(run, benchmark):
            run.high.publish(benchmark)

        def test_no_fixture(run):
            run.high.publish(len)
        """)

    result, rows = published()

    result.assert_outcomes(failed=2)
    assert rows == []
    result.stdout.fnmatch_lines(
        [
            "E *ScenarioError: publish(): the benchmark fixture does not read *",
            "E *ScenarioError: publish(): <built-in function len> is not the fixture *",
        ]
    )

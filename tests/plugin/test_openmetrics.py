"""--xsched-openmetrics: read back by the parsers of prometheus_client; equal to the JSON file."""

from __future__ import annotations

import json
import math

import pytest

TESTS = """
    @pytest.mark.parametrize("limit", ["1us"], ids=['a"b\\\\\\\\|c'])
    def test_missed(run, limit):
        run.high.assert_p99_below("1h")
        run.high.assert_p99_below(limit)

    def test_saturated(xsched):
        run = xsched.run(xsched.queue("high", spin("20ms"), rate="100/s"), duration="5s")
        run.high.assert_p99_below("1h")

    def test_compared(xsched, load):
        xsched.compare(*load, episodes=6, duration="15s", schedulers=["native", "builtin"])
    """


@pytest.fixture
def written(load, sim, pytester):
    """Gives the samples of the file by name, each as its labels and its value; and the runs."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    older = pytest.importorskip("prometheus_client.parser")
    pytester.makeconftest("def pytest_xsched_environment(): return {'image': 'a\\nb'}")
    load(TESTS)
    sim("--xsched-openmetrics=out.prom", "--xsched-json=out.json")
    text = (pytester.path / "out.prom").read_text(encoding="utf-8")
    assert text.endswith("\n# EOF\n")
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    # Readers of the older format see the same samples.
    assert {
        sample.name: sum(one.name == sample.name for f in [family] for one in f.samples)
        for family in older.text_string_to_metric_families(text)
        for sample in family.samples
    } == {name: len(samples) for name, samples in found.items()}
    return found, json.loads((pytester.path / "out.json").read_text())["xsched"]


def test_the_file_has_the_figures_and_the_targets(written):
    found, document = written
    runs = document["runs"]
    assert [labels["test"] for labels, _ in found["xsched_run"]] == [run["origin"] for run in runs]
    expected = [
        queue[key] / 1e9 if queue[key] is not None else math.inf
        for run in runs
        for queue in run["queues"]
        for key in ("p50_ns", "p95_ns", "p99_ns")
    ]
    assert [value for _, value in found["xsched_latency_seconds"]] == expected
    assert math.inf in expected
    assert [value for _, value in found["xsched_latency_seconds_count"]] == [300, 2937, 500]
    by_queue = {
        (labels["test"], labels["queue"]): value for labels, value in found["xsched_faults"]
    }
    assert by_queue["test_it.py::test_saturated", "high"] == 1
    assert sum(by_queue.values()) == 1

    held = [labels for labels, value in found["xsched_target"] if value == 1]
    assert [(one["asserted_by"], one["rule"], one["status"]) for one in held] == [
        *((v["nodeid"], v["rule"], v["status"]) for run in runs for v in run["verdicts"]),
        *((no["nodeid"], "", "NO VERDICT") for run in runs for no in run["refused"]),
    ]
    assert [one["status"] for one in held] == ["PASS", "FAIL", "NO VERDICT"]
    assert '"' in held[0]["asserted_by"] and "\\\\" in held[0]["asserted_by"]
    assert len(found["xsched_target"]) == 4 * len(held)  # one for each status
    assert found["xsched_environment"] == [({"name": "image", "value": "a\nb"}, 1)]

    (comparison,) = document["comparisons"]
    ratio = comparison["queues"][0]["contrasts"]["builtin"]["P99"]["ratio"]
    ours = {
        labels["bound"]: value
        for labels, value in found["xsched_ratio"]
        if (labels["queue"], labels["figure"]) == ("high", "P99")
    }
    assert ours == {bound: ratio[bound] for bound in ("low", "value", "high")}


def test_runs_of_one_test_are_told_apart(load, sim, pytester):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    load("""
        def test_it(xsched):
            for _ in range(2):
                xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="1s")
        """)
    sim("--xsched-openmetrics=out.prom")
    text = (pytester.path / "out.prom").read_text(encoding="utf-8")
    (family,) = (
        one for one in parser.text_string_to_metric_families(text) if one.name == "xsched_run"
    )
    assert [sample.labels["run"] for sample in family.samples] == ["1", "2"]


def test_it_cannot_be_written(load, sim, pytester):
    load("def test_it(run): pass")
    result = sim("--xsched-openmetrics=nowhere/out.prom")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --xsched-openmetrics: * does not exist; make it first"])

"""Runs under recorded loads, with numbers worked out by hand. A request takes 1 s."""

from pathlib import Path

import pytest

from pytest_xsched import spin, trace_file
from pytest_xsched.analysis.comparability import differences

TRACES = Path(__file__).resolve().parents[1] / "traces"


@pytest.mark.parametrize(
    ("name", "seconds", "latencies_s"),
    [
        # At 0, 0.3, 0.5, 3.32 and 6 s: the second waits 0.7 s, the third 1.5 s.
        ("azure_2023.csv", 7, [1, 1.7, 2.4999999, 1, 1]),
        ("burstgpt.csv", 114, [1, 1, 2, 1]),
        ("mooncake.jsonl", 7, [1, 2, 1, 1]),
        ("bailian.jsonl", 62, [1, 1.897, 1]),
        ("genai.csv", 3, [1, 1, 2]),
    ],
)
def test_excerpts_of_public_traces_run_as_they_are(sim, bare, name, seconds, latencies_s):
    high = sim.queue("high", spin("1s"), arrivals=trace_file(TRACES / name))
    run = sim.run(high, sim=bare)
    assert run.measured_ns == seconds * 10**9
    assert run.high.latency_ns.tolist() == [round(one * 10**9) for one in latencies_s]


def test_runs_of_one_trace_are_comparable_wherever_the_file_lies(sim, bare, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((TRACES / "mooncake.jsonl").read_bytes())

    def run(path, **more):
        high = sim.queue("high", spin("1s"), arrivals=trace_file(path, **more))
        return sim.run(high, sim=bare, duration="7s")

    one, same = run(TRACES / "mooncake.jsonl"), run(copy)
    assert one.scenario.digest() == same.scenario.digest()
    assert differences(one.to_dict(), same.to_dict(), scheduler=True) == []
    for other, field in (
        (run(copy, speed=2), "speed"),
        (run(copy, begin="1s"), "begin_ns"),
        (run(TRACES / "bailian.jsonl"), "sha256"),
    ):
        found = [str(one.field) for one in differences(one.to_dict(), other.to_dict())]
        assert f"queues.high.arrivals.{field}" in found
        assert other.scenario.digest() != one.scenario.digest()


def test_a_shorter_run_takes_what_fits_and_says_so(sim, bare):
    high = sim.queue("high", spin("1ms"), arrivals=trace_file(TRACES / "azure_2023.csv"))
    run = sim.run(high, sim=bare, duration="2s")
    assert run.high.n == 3
    assert run.remark == "the load of high takes 7 s, and ends after the run, which takes 2 s"

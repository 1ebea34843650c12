"""Latencies to milestones in all that is written: terminal, JSON, page, trace, metrics, JUnit."""

import json
import re
from pathlib import Path

import jsonschema

SCHEMA = Path(__file__).resolve().parents[2] / "docs/reference/xsched-json.schema.json"
MS = 1_000_000
TESTS = """
    from pytest_xsched import SimModel, sequence, spin

    ANSWER = sequence([spin("5ms"), *[spin("1ms")] * 3], milestone="token", label="answer")

    def test_tokens(xsched):
        model = SimModel(launch_ns=0, priority=False)
        chat = xsched.queue("chat", ANSWER, rate="50/s", priority=2)
        low = xsched.queue("low", spin("4ms"), threshold=1)
        run = xsched.run(chat, low, duration="20s", sim=model)
        run.chat.per_token.assert_p99_below("2ms")
        run.chat.between_tokens.assert_p99_below("2ms")
        run.chat.assert_goodput_at_least(rate="49/s", first_token="20ms", per_token="2ms")
        run.chat.first_token.assert_p99_below("6ms")
    """


def test_each_report_has_each_latency_by_its_name(load, sim, pytester, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    load(TESTS)
    result = sim(
        *("--xsched-json=out.json", "--xsched-html=out.html", "--xsched-trace=t.json"),
        *("--xsched-openmetrics=out.prom", "--junitxml=junit.xml"),
    )
    first = "chat.first_token: P99 7 ms is not below 6 ms (n = 500"
    result.stdout.fnmatch_lines(
        [
            "*TargetMissed: " + first + "*",
            "  queue * prio  workload * P50 * P99 *",
            "  chat  *2  answer *",
            "  chat.first_token * 7 ms * 7 ms * 7 ms*",
            "  chat.per_token * 1 ms * 1 ms * 1 ms*",
            "  chat.between_tokens * 1 ms * 1 ms * 1 ms*",
            "  low *",
            "  PASS chat: goodput 50/s is at least 49/s *, first_token 20 ms, per_token 2 ms, *",
            "  PASS chat.per_token: P99 1 ms is below 2 ms *",
        ],
        consecutive=False,
    )
    files = {
        name: (pytester.path / name).read_text(encoding="utf-8")
        for name in ("out.json", "out.html", "t.json", "out.prom", "junit.xml")
    }
    document = json.loads(files["out.json"])
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(document)) == []
    (run,) = document["xsched"]["runs"]
    chat = run["queues"][0]
    assert [one["name"] for one in chat["latencies"]] == [
        *("first_token", "per_token", "between_tokens")
    ]
    assert chat["latencies"][1]["max_ns"] == MS
    assert chat["latencies"][2]["n"] == 3 * chat["n"]
    assert run["queues"][1]["latencies"] == []
    verdicts = [(one["latency"], one["rule"], one["status"]) for one in run["verdicts"]]
    assert verdicts == [
        ("per_token", "P99 below", "PASS"),
        ("between_tokens", "P99 below", "PASS"),
        ("", "goodput at least", "PASS"),
        ("first_token", "P99 below", "FAIL"),
    ]
    assert run["why"] == []  # what delayed a milestone is not explained
    for name in ("chat.first_token", "chat.per_token", "chat.between_tokens"):
        assert f"<h3>{name}</h3>" in files["out.html"]
        assert f"{name}: percentiles of the latency" in files["out.html"]
    events = json.loads(files["t.json"])["traceEvents"]
    tokens = [one for one in events if one["name"].startswith("token of request ")]
    assert len(tokens) == 4 * len({one["name"] for one in tokens})
    assert re.search(
        r'xsched_latency_seconds\{.*latency="per_token".*\} 0\.001\n', files["out.prom"]
    )
    assert 'latency="first_token",rule="P99 below"' in files["out.prom"]
    summary = (pytester.path / "summary.md").read_text(encoding="utf-8")
    assert r"| chat.first\_token | " in summary and r"FAIL chat.first\_token: P99 7 ms" in summary
    assert 'name="xsched.chat.first_token.p99_below.status" value="FAIL"' in files["junit.xml"]


COMPARED = """
    import pytest
    from pytest_xsched import SimModel, sequence, spin

    ANSWER = sequence([spin("5ms"), *[spin("1ms")] * 3], milestone="token", label="answer")

    def test_compared(xsched):
        chat = xsched.queue("chat", ANSWER, rate="20/s", priority=2)
        low = xsched.queue("low", spin("4ms"), threshold=1)
        comparison = xsched.compare(
            chat, low, duration="15s", sim=SimModel(launch_ns=0, priority=False, interleave=True)
        )
        comparison.chat.per_token.assert_p99_improved(by=4)
        comparison.chat.first_token.assert_no_worse(by="10%")
        with pytest.raises(AttributeError, match="a compared queue has no 'last_token'"):
            comparison.chat.last_token
        with pytest.raises(Exception, match="chat.per_token is a latency and has no throughput"):
            comparison.chat.per_token.assert_best_effort_kept("90%")
        comparison.chat.first_token.assert_p99_improved(by=100)
    """


def test_a_comparison_has_each_latency(load, sim, pytester):
    """Where streams take turns, native delays each token by a command of the other queue."""
    load(COMPARED)
    result = sim("--xsched-json=out.json", "--xsched-html=out.html")
    result.stdout.fnmatch_lines(
        [
            "*TargetMissed: chat.first_token: P99 of native / builtin * is not at least 100 *",
            "  chat.per_token * native * 5 ms * 5 ms * 5 ms *",
            "* builtin * 1 ms * 1 ms * 1 ms *",
            "  chat.per_token: P50 of builtin / native 0.2 *",
            "  chat.per_token: P99 of builtin / native 0.2 *",
            "  PASS chat.per_token: P99 of native / builtin 5 is at least 4 *",
        ]
    )
    document = json.loads((pytester.path / "out.json").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(document)) == []
    (comparison,) = document["xsched"]["comparisons"]
    chat, low = comparison["queues"]
    assert [one["name"] for one in chat["latencies"]] == [
        *("first_token", "per_token", "between_tokens")
    ]
    assert low["latencies"] == []
    assert {one["latency"] for one in comparison["verdicts"]} == {"per_token", "first_token"}

"""Targets that are met and missed: outcomes, sentences, tables, the JSON file."""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest


def test_two_models_meet_their_targets(two_models, sim):
    assert len(two_models().splitlines()) <= 25

    result = sim()

    result.assert_outcomes(passed=4)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*= xsched =*",
            "fixture test_qos.py::scheduled (module), made for test_qos.py::test_latency",
            "builtin (hpf) on sim, 15 s of 60 s, seed 0",
            "  queue  prio  workload *n * P50 * P99 * max * rate  commands  suspended",
            "  high     10  matmul(512)             300 *20/s of 20/s *",
            "  low       1  matmul(1024, batch=8) *",
            "  low had work during 100 % of high's requests, and commands in flight during 100 % "
            "(at most 1 command, 11.9 ms of work)",
            "  PASS high: P99 * ms is below 50 ms (n = 300, max * ms, 0 misses, 3 allowed)"
            "; held in the 15 s of 60 s that were measured  [[]test_qos.py::*latency]",
            "  PASS high: throughput 20/s is at least 20/s less 1% (n = 300, max * ms); held in *  "
            "*keeps_up]",
            "  PASS high: P99/P50 * is below 10 (n = 300, max *, P50 *, P99 *); held in *  "
            "*test_is_steady]",
            "  PASS low: throughput * is at least 40/s (*); held in *  "
            "[[]test_qos.py::test_not_starved]",
        ],
        consecutive=True,
    )


def test_missed_targets_fail_with_figures_and_table(two_models, sim):
    two_models(p99="10ms", ratio=1.01, low=90)

    result = sim()

    result.assert_outcomes(passed=1, failed=3)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*__ test_latency __*",
            "E *TargetMissed: high: P99 * ms is not below 10 ms (n = 300, max * ms, "
            "68 misses in 1 group, 3 allowed, odds * to 1 against chance); missed in the 15 s "
            "of 60 s that were measured, builtin on sim, seed 0, limit of test_qos.py:15",
            "*- xsched run -*",
            "builtin (hpf) on sim, 15 s of 60 s, seed 0",
            "  queue  prio  workload *",
            "  high     10  matmul(512)             300 *",
            "  low       1  matmul(1024, batch=8) *",
            "  FAIL high: P99 *",
            "*__ test_is_steady __*",
            "E *TargetMissed: high: P99/P50 * is not below 1.01 (n = 300, *",
            "*__ test_not_starved __*",
            "E *TargetMissed: low: throughput * is not at least 90/s (*",
            "*- xsched run -*",
            "  FAIL low: throughput *",
            "*short test summary info*",
            "FAILED test_qos.py::test_latency *",
            "FAILED test_qos.py::test_is_steady *",
            "FAILED test_qos.py::test_not_starved *",
        ]
    )
    # The tracebacks end in the test, not in the plugin.
    result.stdout.no_fnmatch_line("*assertions.py:*")


def test_runs_in_two_json_files_are_equal(two_models, sim, pytester):
    two_models()

    assert sim("--xsched-json=a.json").ret == 0
    assert sim("--xsched-json=b.json").ret == 0

    content, again = (
        json.loads((pytester.path / name).read_text())["xsched"] for name in ("a.json", "b.json")
    )
    assert content == again
    assert content["format"] == 3
    (run,) = content["runs"]
    assert run["device_kind"] == run["fingerprint"]["devices"][0]["kind"] == "sim"
    assert run["fingerprint"]["packages"]["numpy"]
    expected = {
        "valid": True,
        "faults": [],
        "queue_faults": {"high": [], "low": []},
        "results_checked": False,
        "priority_effect": "yes",
        "results_not_checked": [],
    }
    assert run["evidence"] == {**run["evidence"], **expected}
    assert [v["status"] for v in run["verdicts"]] == ["PASS"] * 4
    assert [v["nodeid"].partition("::")[2] for v in run["verdicts"]] == [
        "test_latency",
        "test_keeps_up",
        "test_is_steady",
        "test_not_starved",
    ]
    assert [queue["name"] for queue in run["queues"]] == ["high", "low"]
    assert not list(pytester.path.glob("*.partial"))


def test_json_of_a_failed_session_is_written_too(two_models, sim, pytester):
    two_models(p99="1ms")

    (pytester.path / "new" / "folder").mkdir(parents=True)
    assert sim("--xsched-json=new/folder/out.json").ret == 1

    (run,) = json.loads((pytester.path / "new/folder/out.json").read_text())["xsched"]["runs"]
    assert [v["status"] for v in run["verdicts"]] == ["FAIL", "PASS", "PASS", "PASS"]


def test_json_of_the_ini_file_lies_below_rootdir(two_models, sim, pytester, monkeypatch):
    two_models()
    pytester.makeini("[pytest]\nxsched_json = out.json")
    (pytester.path / "elsewhere").mkdir()
    monkeypatch.chdir(pytester.path / "elsewhere")

    assert sim("--rootdir", str(pytester.path), "-c", "../tox.ini", "..").ret == 0

    assert (pytester.path / "out.json").is_file()


def test_every_helper_has_its_verdict_and_sentence(load, sim):
    load("""
        @pytest.mark.parametrize(("method", "args", "words"), [
            ("assert_p99_below", ["1us"], "high: P99 * ms is not below 1 us (n = 300, max *"),
            ("assert_percentile_below", [0.5, 1 * us], "high: P50 * ms is not below 1 us (*"),
            ("assert_max_below", ["1us"], "high: max * ms is not below 1 us (n = 300, max *"),
            ("assert_tail_ratio_below", [1.0001], "high: P99/P50 * is not below 1.0001 (n = 300*"),
            ("assert_throughput_at_least", ["21/s"], "high: throughput 20/s is not at least 21/s*"),
            ("assert_attainment_at_least", ["1us", "50%"],
             "high: attainment 0 is not at least 0.5 (*, deadline 1 us, 300 misses*"),
        ])
        def test_missed(run, method, args, words):
            with pytest.raises(QosAssertionError) as error:
                getattr(run.high, method)(*args)
            import fnmatch
            assert fnmatch.fnmatchcase(str(error.value), words), str(error.value)
            assert isinstance(error.value, AssertionError)
            assert error.value.verdict.status == "FAIL"
            assert error.value.verdict is not None and error.value.verdict.queue == "high"

        def test_met(run):
            run.high.assert_p99_below("50ms")
            run.high.assert_percentile_below(0.95, "50ms")
            run.high.assert_max_below("50ms")
            run.high.assert_tail_ratio_below(100)
            run.high.assert_throughput_at_least(20 * per_s)
            run.high.assert_attainment_at_least("50ms", 1)
            run.high.assert_attainment_at_least("50ms", "99%")
            run.high.assert_goodput_at_least("50ms", "19/s")
            run.high.assert_longest_wait_below("50ms")
            run.high.assert_no_errors()
            assert [v.status for v in run.verdicts[-10:]] == ["PASS"] * 10

        def test_slowdown_against_alone(xsched, run, load):
            alone = xsched.run(load[0], duration="60s")
            run.high.assert_slowdown_below(10, alone=alone.high)
            with pytest.raises(QosAssertionError, match="high: slowdown 3.* is not below 1.5 "):
                run.high.assert_slowdown_below(1.5, alone=alone.high, percentile=0.5)
            with pytest.raises(ScenarioError, match="are not the same work on one kind of device"):
                run.high.assert_slowdown_below(10, alone=run.low)
            with pytest.raises(ScenarioError, match="is not a queue of a run"):
                run.high.assert_slowdown_below(10, alone=alone)

        def test_fair(xsched):
            equal = [xsched.queue(name, spin("5ms")) for name in ("a", "b")]
            twice = xsched.queue("c", spin("2500us"))
            xsched.run(*equal, duration="20s").assert_fair(at_least=0.9)
            fed = xsched.run(equal[0], xsched.queue("b", spin("5ms"), think="10ms"), duration="20s")
            with pytest.raises(QosAssertionError, match="b: fairness 0.* is not at least 0.9"):
                fed.assert_fair(at_least=0.9)
            with pytest.raises(ScenarioError, match="the queues have different work"):
                xsched.run(equal[0], twice, duration="20s").assert_fair()
            with pytest.raises(ScenarioError, match="two or more queues of equal priority"):
                xsched.run(equal[0], duration="20s").assert_fair()
        """)

    result = sim()

    result.assert_outcomes(passed=9)
    assert result.ret == 0


def test_a_run_is_reached_by_attribute_and_item(load, sim):
    load("""
        def test_it(run):
            assert run.high is run["high"]
            assert list(run) == ["high", "low"] and len(run) == 2
            assert run.device_kind == "sim" and run.scheduler == "builtin"
            assert repr(run) == "<Run of high, low: builtin on sim, seed 0>"
            sentence = "the run has no queue 'hgih'; it has high, low"
            with pytest.raises(AttributeError, match=sentence):
                run.hgih
            with pytest.raises(ScenarioError, match=sentence):
                run["hgih"]
        """)

    assert sim().ret == 0


def test_plain_assert_prints_the_figures(load, sim):
    load("""
        def test_latency(run):
            assert run.high.p99 < "1us"

        def test_rate(run):
            assert run.high.throughput >= 21 * per_s

        def test_two(run):
            assert run.high.p99 < run.high.p50
        """)

    result = sim()

    result.assert_outcomes(failed=3)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "E *assert * ms < '1us'",
            "E *P99 of high: * ms (n = 300, max * ms)",
            "E *assert 20/s >= *",
            "E *throughput of high: 20/s (300 requests)",
            "E *assert * ms < * ms",
            "E *P99 of high: * ms (n = 300, max * ms)",
            "E *P50 of high: * ms (n = 300, max * ms)",
        ]
    )


@pytest.mark.parametrize(
    ("comparison", "sentence"),
    [
        (
            'run.high.p99 < "20/s"',
            "limit for P99 of high: '20/s' has an unknown unit; use ns, us, ms, s, min, h",
        ),
        (
            "run.high.p99 < 50",
            'limit for P99 of high: 50 has no unit; write "50ms" or "50s"',
        ),
        (
            "run.high.p99 != 50",
            'limit for P99 of high: 50 has no unit; write "50ms" or "50s"',
        ),
        (
            'run.high.p99 < "50"',
            'limit for P99 of high: \'50\' has no unit; write "50ms" or "50s"',
        ),
        (
            'run.high.throughput > "50ms"',
            "limit for throughput of high: '50ms' is a time, not a rate; "
            'one request every 50ms is "20/s"',
        ),
        (
            "run.high.throughput > 20",
            'limit for throughput of high: 20 has no unit; write "20/s" or "20/min"',
        ),
        (
            "run.high.p99 < run.high.throughput",
            "P99 of high and throughput of high have different units",
        ),
        (
            "run.high.p99 / run.high.throughput < 3",
            "P99 of high and throughput of high have different units",
        ),
        ("run.high.percentile(99)", "percentile 99 is outside (0, 1); P99 is 0.99"),
    ],
)
def test_a_comparison_without_sense_is_an_error_that_says_how_to_write_it(
    load, sim, comparison, sentence
):
    load(f"""
        def test_it(run):
            assert {comparison}
        """)

    result = sim()

    result.assert_outcomes(failed=1)
    found = [line for line in result.outlines if line.startswith("E ")]
    assert [line.partition("ScenarioError: ")[2] for line in found] == [sentence]


def test_quantities_divide_and_multiply(load, sim):
    load("""
        def test_it(run):
            high = run.high
            assert high.p99 / high.p50 == high.p99.value / high.p50.value >= 1
            assert high.p99 / high.p99 == 1
            assert high.p99 <= 1 * high.p99
            assert 2 * high.p99 > high.p99 and high.p99 * 0.5 < high.p99
            assert high.p99 == high.p99 and high.p99 != "1h"
            assert float(high.throughput) == 20.0 and str(high.throughput) == "20/s"
            assert high.p99 > 1 * us and high.p99 < 1 * s
            assert high.p99 - high.p50 + high.p50 == high.p99 >= high.p99 - 1 * us
            assert f"{high.p99:.1f}" == f"{high.p99 / ms:.1f} ms"
        """)

    assert sim().ret == 0


@pytest.fixture
def again(pytester, alone):
    """Gives the command that a failure names, as words, and what comes of it."""

    def read(result):
        lines = result.stdout.lines
        (at,) = [i for i, line in enumerate(lines) if "- to run it again -" in line]
        words = shlex.split(lines[at + 1])
        return words, pytester.run(sys.executable, "-m", *words)

    return read


def test_a_failure_says_how_to_run_it_again(load, sim, again, monkeypatch):
    monkeypatch.delenv("XSCHED_HOME", raising=False)
    load("""
        @pytest.mark.parametrize("limit", ["1us", "1h 'or' so"])
        def test_it(run, limit):
            run.high.assert_p99_below(limit[:3])

        def test_other(run):
            pass
        """)
    result = sim("--xsched-seed=random", "--xsched-duration=15s", "--xsched-json=out file.json")
    seed = re.search(r"builtin on sim, seed (\d+), limit of test_it.py:17", str(result.stdout))[1]
    words, second = again(result)
    assert words == [
        *("pytest", "test_it.py::test_it[1us]", "-p", "xsched", "--xsched-device=sim"),
        *("--xsched-duration=15s", f"--xsched-seed={seed}", "--xsched-noise=note"),
    ]
    assert second.parseoutcomes() == {"failed": 1}
    second.stdout.fnmatch_lines([f"E *: high: P99 * is not below 1 us *, seed {seed}, limit of *"])


def test_an_invalid_run_says_so_too_and_quotes(load, sim, again):
    load("""
        @pytest.mark.parametrize("what", ["it's $HOME"])
        def test_it(xsched, what):
            queue = xsched.queue("q", spin("30ms"), rate="50/s")
            xsched.run(queue, duration="15s").q.assert_p99_below("1h")
        """)
    words, second = again(sim("-oxsched_fixed_duration=yes"))
    assert words[1] == "test_it.py::test_it[it's $HOME]"
    assert words[words.index("-o") + 1] == "xsched_fixed_duration=yes"
    assert second.parseoutcomes() == {"errors": 1}
    second.stdout.fnmatch_lines(["E *InvalidRun: no verdict: q is saturated: *"])


def test_the_command_has_what_came_from_elsewhere(load, sim, again, pytester, monkeypatch):
    load("""
        def test_it(run):
            run.high.assert_p99_below("1us")
        """)
    pytester.makefile(".ini", other="[pytest]\nxsched_scheduler = native")
    monkeypatch.setenv("PYTEST_XSCHED_NOISE", "mask")
    monkeypatch.setenv("XSCHED_HOME", str(pytester.path))
    monkeypatch.setenv("PYTEST_XSCHED_GPU_DRIVER", "/not/there")  # of no use on "sim"
    settings = ("-oxsched_burst=2", "-oxsched_save=main")
    result = sim("-cother.ini", *settings)
    for name in ("PYTEST_XSCHED_NOISE", "XSCHED_HOME", "PYTEST_XSCHED_GPU_DRIVER"):
        monkeypatch.delenv(name)
    words, second = again(result)
    assert words[2:] == [
        *("-p", "xsched", "-c", "other.ini", "-o", "xsched_burst=2"),
        *("--xsched-device=sim", "--xsched-seed=0", f"--xsched-home={pytester.path}"),
        "--xsched-noise=mask",
    ]
    assert second.parseoutcomes() == {"failed": 1}
    second.stdout.fnmatch_lines(["E *: high: P99 * is not below 1 us *, native on sim, seed 0, *"])

    monkeypatch.setenv("PYTEST_XSCHED_NOISE", "mask")
    assert "--xsched-noise=off" in again(sim("--xsched-noise=off"))[0]

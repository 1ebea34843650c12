"""Comparisons by hand: what may be claimed, what is refused, what is said."""

import copy
import json
from pathlib import Path

import pytest

from pytest_xsched import IncomparableError, InvalidRun, QosAssertionError, ScenarioError
from pytest_xsched.analysis.comparability import differences
from pytest_xsched.comparison.comparison import Comparison
from pytest_xsched.comparison.existing_runs import compare_runs
from pytest_xsched.reporting.terminal_summary import summary
from pytest_xsched.session.comparing import turns

STEADY = (1.0,) * 7


@pytest.fixture
def arm(made_run, made_queue):
    """Makes the runs of an arm: all latencies of `high` are the episode's factor times `ms`."""

    def make(ms, factors=STEADY, *, scheduler="native", low_ms=5, n=300, low=True):
        runs = []
        for factor in factors:
            queues = [made_queue([ms * factor] * n)]
            if low:
                # A closed loop of 15 s: `low_ms` each.
                count = round(15_000 / low_ms)
                latencies = [low_ms] * count
                queues.append(made_queue(latencies, name="low", period_ms=low_ms, closed=True))
            record = made_run(*queues).to_dict()
            record["scheduler"] = record["scenario"]["scheduler"] = scheduler
            runs.append(record)
        return runs

    return make


@pytest.fixture
def made(arm):
    """Makes a comparison of builtin with native, by the P99 of `high` in ms."""

    def make(native, builtin, *, again=STEADY, factors=STEADY, alone=None, **more):
        arms = {} if alone is None else {"high alone": arm(alone, low=False)}
        arms |= {
            "native": arm(native),
            "builtin": arm(builtin, factors, scheduler="builtin", **more),
            "native again": arm(native, again),
        }
        return Comparison(arms, queues=["high", "low"], baseline="native", schedulers=["builtin"])

    return make


NOISY = (1.0, 1.5, 0.7, 1.3, 0.8, 1.2, 0.9)


def test_improved(made):
    comparison = made(40, 10)
    comparison.high.assert_p99_improved(by=4)
    comparison.high.assert_percentile_improved(0.5, by=1)
    with pytest.raises(QosAssertionError, match=r"P99 of native / builtin 4 is not at least 4\.1"):
        comparison.high.assert_p99_improved(by=4.1)
    assert [verdict.status for verdict in comparison.verdicts] == ["PASS", "PASS", "FAIL"]
    first = comparison.verdicts[0]
    assert (first.queue, first.rule, first.limit) == ("high", "P99 improved by", 4)
    assert first.value == pytest.approx(4)
    assert first.sentence == (
        "high: P99 of native / builtin 4 is at least 4 (4 to 4, 7 episodes, noise 1)"
    )


def test_undecided_is_no_pass_and_says_what_would_decide(made):
    comparison = made(20, 10, factors=NOISY)
    with pytest.raises(QosAssertionError, match=r"may or may not be at least 1\.9") as error:
        comparison.high.assert_p99_improved(by=1.9)
    assert error.value.verdict.status == "UNDECIDED"
    assert "episodes would decide it" in str(error.value)


def test_fewer_than_six_episodes_decide_nothing(made):
    comparison = made(40, 1, factors=(1.0,) * 5, again=(1.0,) * 5)
    comparison.arms["native"] = comparison.arms["native"][:5]
    with pytest.raises(QosAssertionError, match="at least 6 episodes are needed to decide"):
        comparison.high.assert_p99_improved(by=2)


def test_a_difference_within_the_noise_is_not_claimed(made):
    # 10 % faster in every episode, but native differs from itself by more.
    comparison = made(11, 10, again=NOISY)
    assert not comparison.high.latency(0.99).shown
    with pytest.raises(QosAssertionError, match="within the noise of equal arms"):
        comparison.high.assert_p99_improved()
    assert ", no difference shown" in "\n".join(summary([comparison.to_dict()]))


def test_no_worse(made):
    made(10, 10.5).high.assert_no_worse(by="10%")
    made(10, 1).high.assert_no_worse(by=0)
    with pytest.raises(QosAssertionError, match=r"builtin / native 1\.2 is not at most 1\.1 "):
        made(10, 12).high.assert_no_worse(by="10%")
    with pytest.raises(QosAssertionError, match="may or may not be at most"):
        made(10, 12, again=NOISY).high.assert_no_worse(by="10%")


def test_arms_of_another_measured_length_are_refused(arm):
    native, builtin, alone = arm(40), arm(10, scheduler="builtin"), arm(5, low=False)
    for wrong in (builtin, alone):
        before = wrong[2]["measured_ns"]
        wrong[2]["measured_ns"] = 4 * before
        with pytest.raises(IncomparableError, match='measured: "15 s" against "60 s"; `-o xs'):
            compare_runs(native, builtin, alone={"high": alone})
        forced = compare_runs(native, builtin, alone={"high": alone}, force=True)
        assert [difference.field for difference in forced.forced] == ["measured"]
        wrong[2]["measured_ns"] = before
    compare_runs(native, builtin, alone={"high": alone})


def test_best_effort_kept(made):
    comparison = made(40, 10, low_ms=6.25)  # 2400 requests instead of 3000
    comparison.low.assert_best_effort_kept(0.799)
    comparison.low.assert_best_effort_kept("79.9%")
    with pytest.raises(QosAssertionError, match=r"low: throughput .* 0\.7999 is not at least 0\.9"):
        comparison.low.assert_best_effort_kept(0.9)
    with pytest.raises(ScenarioError, match=r'write compare\(\.\.\., arms=\["alone"\]\)'):
        comparison.low.assert_best_effort_kept(0.9, of="alone")
    with pytest.raises(QosAssertionError, match=r"builtin 1 is not at least 1\.00001 \("):
        made(40, 40).high.assert_p99_improved(by=1.00001)
    with pytest.raises(ScenarioError, match="share of assert_best_effort_kept: 0 is zero, which"):
        comparison.low.assert_best_effort_kept(0)
    with pytest.raises(ScenarioError, match="of 'native' is unknown"):
        comparison.low.assert_best_effort_kept(0.9, of="native")


def test_contention_removed(made):
    removed = made(25, 17.5, alone=5).high.contention_removed()
    assert float(removed) == pytest.approx(7.5 / 20)
    assert float(made(25, 30, alone=5).high.contention_removed(0.5)) == pytest.approx(-0.25)
    with pytest.raises(InvalidRun, match="high is as fast under native as alone"):
        made(5, 4, alone=5).high.contention_removed()
    with pytest.raises(ScenarioError, match="high was not measured alone"):
        made(5, 4).high.contention_removed()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("saturated", "native, episode 2: high is saturated: the reason"),
        ("faults", "native, episode 2: no command of high was launched"),
        ("shim", "native, episode 2: /opt/libshimhip.so is mapped"),
        ("few", "native, episode 2: a P99 needs 299 requests, not 200"),
        ("never", "native, episode 2: P99 of high was never reached"),
    ],
)
def test_an_arm_without_evidence_has_no_ratio(arm, made, spoil, message):
    comparison = made(40, 10)
    record = comparison.arms["native"][1].record
    if spoil == "saturated":
        record["evidence"]["queue_faults"]["high"] = ["high is saturated: the reason"]
    elif spoil == "faults":
        record["evidence"]["faults"] = ["no command of high was launched"]
    elif spoil == "shim":
        shim = {"path": "/opt/libshimhip.so", "bytes": 1}
        record["fingerprint"]["libraries"] = [shim]
    elif spoil == "few":
        record["queues"][0]["n"] = 200
    else:
        record["queues"][0]["p99_ns"] = None

    for claim in (comparison.high.assert_p99_improved, comparison.high.assert_no_worse):
        with pytest.raises(InvalidRun, match=message):
            claim()

    text = "\n".join(summary([json.loads(json.dumps(comparison.to_dict(), allow_nan=False))]))
    assert f"! high: no P99 ratio of builtin / native: {message}" in text


@pytest.mark.parametrize(
    ("native_s", "builtin_s", "mode", "message"),
    [
        (4, 36, "mask", "noise masked 1 % of native but 9 % of builtin"),
        (36, 4, "mask", "noise masked 9 % of native but 1 % of builtin"),
        (36, 4, "note", None),  # nothing was left out
        (20, 40, "mask", None),  # twice as much
        (0, 19, "mask", None),  # little
    ],
)
def test_arms_with_unlike_noise_have_no_ratio(made, native_s, builtin_s, mode, message):
    comparison = made(40, 10, alone=5)
    for arm, seconds in (("native", native_s), ("builtin", builtin_s)):
        noise = {"mode": mode, "noisy_ns": seconds * 10**9, "measured_ns": 60 * 10**9}
        comparison.arms[arm][3].record["evidence"]["noise"] = noise
    if message is None:
        comparison.high.assert_p99_improved(by=2)
        return
    for ask in (comparison.high.assert_p99_improved, comparison.high.assert_no_worse):
        with pytest.raises(InvalidRun, match=message):
            ask()
    with pytest.raises(InvalidRun, match="but 9 % of builtin" if builtin_s > 4 else message):
        comparison.high.contention_removed()
    comparison.low.throughput()  # of the whole window


def test_names(made):
    comparison = made(2, 1)
    assert comparison.high is comparison["high"]
    with pytest.raises(AttributeError, match="no queue 'mid'; it has high, low"):
        _ = comparison.mid
    with pytest.raises(ScenarioError, match="no queue 'mid'"):
        comparison["mid"]
    with pytest.raises(
        ScenarioError, match="'priority' is not compared with 'native' here; name 'builtin'"
    ):
        comparison.high.latency(0.5, "priority")
    with pytest.raises(ScenarioError, match=r"P99 is 0\.99"):
        comparison.high.latency(99)
    with pytest.raises(ScenarioError, match=r"has P50, P95 and P99, no P90"):
        comparison.high.latency(0.9)
    for by in (0.9, "2x", True):
        with pytest.raises(ScenarioError, match="by of assert_percentile_improved"):
            comparison.high.assert_p99_improved(by=by)


def test_turns_go_there_and_back():
    order = "".join(arm for _, arm in turns(4, "ABC"))
    assert order == "ABCCBAABCCBA"


# ---- runs that exist already


def test_runs_of_one_scenario_are_compared(arm):
    comparison = compare_runs(arm(40), arm(10, scheduler="builtin"))
    assert comparison.schedulers == ("builtin",)
    assert comparison.high.latency(0.99).ratio.value == pytest.approx(0.25)
    # Nobody knows the noise here.
    with pytest.raises(QosAssertionError, match="noise unknown"):
        comparison.high.assert_p99_improved()
    comparison.high.assert_no_worse()
    (native,), (builtin,) = arm(40, (1.0,)), arm(10, (1.0,))
    same = compare_runs(native, builtin)
    assert (same.baseline, *same.schedulers) == ("native before", "native now")


def test_the_fields_that_differ_are_named(arm, made_run, made_queue):
    (native,) = arm(40, (1.0,))
    other = copy.deepcopy(native)
    other["scheduler"] = other["scenario"]["scheduler"] = "builtin"
    other["scenario"]["duration_ns"] //= 2
    other["scenario"]["queues"][1]["priority"] = 3
    other["fingerprint"]["devices"][0]["driver_version"] = "13.0"

    with pytest.raises(IncomparableError) as error:
        compare_runs(native, other)

    assert [difference.field for difference in error.value.differences] == [
        "devices.0.driver_version",
        "duration_ns",
        "queues.low.priority",
    ]
    assert 'devices.0.driver_version: nothing against "13.0"; duration_ns: 60000000000 ' in str(
        error.value
    )
    assert differences(native, copy.deepcopy(native)) == []


def test_force_leaves_a_mark(arm):
    native, builtin = arm(40), arm(10, scheduler="builtin")
    for run in builtin:
        run["scenario"]["duration_ns"] //= 2
    comparison = compare_runs(native, builtin, force=True)
    comparison.high.assert_no_worse()
    (verdict,) = comparison.verdicts
    assert verdict.rule == "P99 no worse than (forced)"
    assert "FORCED although the runs differ: duration_ns: " in verdict.sentence
    record = comparison.to_dict()
    assert record["forced"] == ["duration_ns: 60000000000 against 30000000000"]
    assert "! FORCED although the runs differ: duration_ns" in "\n".join(summary([record]))


def test_alone_is_held_to_what_it_has_in_common(arm):
    native, builtin, alone = arm(25), arm(17.5, scheduler="builtin"), arm(5, low=False)
    comparison = compare_runs(native, builtin, alone={"high": alone})
    assert float(comparison.high.contention_removed()) == pytest.approx(0.375)
    alone[3]["scenario"]["queues"][0]["arrivals"]["rate_hz"] = 10.0
    with pytest.raises(IncomparableError, match=r"queues\.high\.arrivals\.rate_hz: 20.0 against"):
        compare_runs(native, builtin, alone={"high": alone})
    with pytest.raises(ScenarioError, match="alone of 'high' is a run of high, low; it takes runs"):
        compare_runs(native, builtin, alone={"high": arm(5)})
    with pytest.raises(ScenarioError, match=r"arms of \[1, 7\] runs"):
        compare_runs(native[0], builtin)


def test_one_run_is_no_two_episodes(arm):
    native, builtin = arm(40), arm(10, scheduler="builtin")
    with pytest.raises(ScenarioError, match="a run is named twice; one run is one episode"):
        compare_runs(native, builtin[:1] * 7)


def test_what_is_no_run_is_refused_with_what_is(arm):
    (run,) = arm(40, (1.0,))
    file = {"machine_info": {}, "benchmarks": [], "xsched": {"runs": [run]}}
    for given, shown in [
        ("native.json", "'native.json'"),
        (["native.json", "other.json"], "'native.json'"),
        (Path("native.json"), r"PosixPath\('native.json'\)"),
        (None, "None"),
        (file, "a dict of 'machine_info', 'benchmarks', 'xsched'"),
        ({}, "a dict of nothing"),
        ([run["queues"]], r"\[\{"),
    ]:
        for pair in [(given, run), (run, given)]:
            with pytest.raises(
                ScenarioError, match=rf"compare_runs\(\): {shown}.* is no run; pass"
            ):
                compare_runs(*pair)
    with pytest.raises(ScenarioError, match=r'alone \[.*\] is no dict; write \{"high": run\}'):
        compare_runs(run, copy.deepcopy(run), alone=[run])
    compare_runs(run, json.loads(json.dumps(file))["xsched"]["runs"])

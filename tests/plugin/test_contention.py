"""A verdict next to contenders that did nothing: there is none, or its sentence says so."""

from __future__ import annotations

import json

import pytest

NOTHING = {
    "its work is empty": (
        'xsched.queue("low", empty(), priority=1, think="1ms")',
        "the work of low is empty()",
    ),
    "it finished early": (
        'xsched.queue("low", spin("5ms"), priority=1, arrivals=replay(["0ms", "20ms"]))',
        "low had no work during any request of high",
    ),
    "its clients think for an hour": (
        'xsched.queue("low", spin("5ms"), priority=1, think="1h")',
        "low had no work during any request of high",
    ),
}
SCHEDULING = (
    'assert_p99_below("50ms")',
    "assert_tail_ratio_below(10)",
    'assert_attainment_at_least("50ms", "99%")',
    'assert_max_below("50ms")',
    "assert_slowdown_below(2, alone=alone)",
    'assert_longest_wait_below("50ms")',
)


def run_with(contender, target):
    return f"""
        def test_it(xsched):
            times = replay([50 * ms * i for i in range(2, 320)])
            high = xsched.queue("high", spin("1ms"), priority=10, arrivals=times)
            low = {contender}
            alone = xsched.run(high, duration="16s").high
            run = xsched.run(high, low, duration="16s")
            run.high.{target}
        """


@pytest.mark.parametrize("target", SCHEDULING)
def test_without_any_contention_there_is_no_verdict_on_a_scheduler(load, sim, target):
    """A contender was declared and never met: whatever the target says of a scheduler is void."""
    contender, reason = NOTHING["its clients think for an hour"]
    load(run_with(contender, target))
    result = sim()
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(
        [f"E *InvalidRun: no verdict: {reason}, so high had nothing to contend with"]
    )


@pytest.mark.parametrize("contender", NOTHING)
def test_a_contender_is_no_contention_if(load, sim, contender):
    queue, reason = NOTHING[contender]
    load(run_with(queue, 'assert_p99_below("50ms")'))
    result = sim()
    assert result.parseoutcomes() == {"errors": 1}
    reason = reason.replace("[", "[[]")
    result.stdout.fnmatch_lines([f"E *no verdict: {reason}, so high had nothing to contend with"])


@pytest.mark.parametrize("target", ['assert_throughput_at_least("19/s")', "assert_no_errors()"])
def test_rates_and_errors_without_contention_say_so(load, sim, target):
    load(run_with('xsched.queue("low", empty(), priority=1, think="1ms")', target))
    result = sim()
    assert result.parseoutcomes() == {"passed": 1}
    result.stdout.fnmatch_lines(
        ["  PASS high: *; the work of low is empty(), so high had nothing to contend with  [[]*"]
    )


def test_fairness_of_queues_that_complete_what_is_offered_says_so(load, sim):
    """Equal rates of such queues are those of their loads, whatever the scheduler does."""
    load("""
        def test_open(xsched):
            a, b = (xsched.queue(name, spin("20ms"), rate="20/s") for name in "ab")
            xsched.run(a, b, duration="20s").assert_fair()

        def test_closed(xsched):
            a, b = (xsched.queue(name, spin("20ms")) for name in "ab")
            xsched.run(a, b, duration="20s").assert_fair()
        """)
    result = sim()
    assert result.parseoutcomes() == {"passed": 2}
    said = "; a and b complete what is offered, so their loads decide their rates*"
    result.stdout.fnmatch_lines([f"  PASS a: fairness *{said}test_open]"])
    result.stdout.no_fnmatch_line(f"*{said}test_closed]")


def test_fairness_among_queues_that_never_met_has_no_verdict(load, sim):
    load("""
        def test_it(xsched):
            a = xsched.queue("a", spin("1ms"), arrivals=replay(["0s", "1s", "2s"]))
            b = xsched.queue("b", spin("1ms"), arrivals=replay(["500ms", "1500ms", "2500ms"]))
            xsched.run(a, b, duration="3s", policy="fair").assert_fair()
        """)
    result = sim()
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(["E *no verdict: b had no work during any request of a, so *"])


def test_a_contender_that_a_change_holds_is_no_contention(load, sim):
    load("""
        def test_it(xsched, load):
            run = xsched.run(*load, duration="15s", changes=[at("0s", "low", suspended=True)])
            run.high.assert_p99_below("50ms")
        """)
    result = sim()
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(
        [
            "E *InvalidRun: no verdict: low was held by changes= or had no work during any "
            "request of high, so high had nothing to contend with"
        ]
    )


def test_a_request_that_is_held_in_the_middle_is_not_in_flight(load, sim):
    """Of `low` two of 50 commands had been launched when the change came, 1 s of 15 s in."""
    load("""
        def test_it(xsched):
            high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
            low = xsched.queue("low", spin("5ms", layers=50), priority=1)
            changes = [at("1s", "low", suspended=True)]
            xsched.run(high, low, duration="15s", changes=changes).high.assert_p99_below("50ms")
        """)
    result = sim()
    assert result.parseoutcomes() == {"passed": 1}
    result.stdout.fnmatch_lines(
        [
            "  low had work during 7 % of high's requests, and commands in flight during 7 %*",
            "  PASS high: *; low, which changes= held, had work during only 6.7 % of high's req*",
        ]
    )


SAID = {
    "rare": (
        'xsched.queue("low", spin("60ms"), priority=1, rate="1/s")',
        {},
        "; low had work during only 5 % of high's requests",
    ),
    "early": (
        'xsched.queue("low", spin("50ms"), priority=1, arrivals=replay(["0ms", "1500ms"]))',
        {},
        "; low had work during only 0.67 % of high's requests",
    ),
    "tiny": (
        'xsched.queue("low", spin("1ns"), priority=1, think="1ms")',
        {},
        "; the work of low took less than 0.1 % of the measured time",
    ),
    "equal": (
        'xsched.queue("low", spin("1ms"), priority=10)',
        {},
        "; hpf orders queues by priority, and all queues have the same priority",
    ),
    "inverted": (
        'xsched.queue("low", spin("1ms"), priority=11, think="5ms")',
        {},
        "; low has the higher priority",
    ),
    "edf without deadlines": (
        'xsched.queue("low", spin("1ms"), priority=1)',
        {"policy": "edf"},
        "; edf orders queues by deadline, and no queue has one",
    ),
    "edf with the other's deadline": (
        'xsched.queue("low", spin("1ms"), priority=1, deadline="10ms")',
        {"policy": "edf"},
        "; high has no deadline, so edf lets low go first",
    ),
    "no stream priorities": (
        'xsched.queue("low", spin("1ms"), priority=1)',
        {"scheduler": "priority", "sim": "SimModel(priority=False)"},
        "; stream priorities have no effect on this device",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_a_verdict_says_what_little_or_unordered_contention_there_was(load, sim, case):
    queue, settings, words = SAID[case]
    how = "".join(
        f", {key}={value if key == 'sim' else repr(value)}" for key, value in settings.items()
    )
    load(f"""
        def test_it(xsched):
            high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
            run = xsched.run(high, {queue}, duration="15s", warmup="0s"{how})
            run.high.assert_p99_below("1us")
        """)
    result = sim()
    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines([f"  FAIL high: P99 * is not below 1 us *{words}*"])


def test_the_low_queue_is_told_that_the_high_one_was_seldom_there(load, sim):
    """The share of its own requests says little of that: it has few, and they are long."""
    load("""
        def test_it(xsched):
            high = xsched.queue("high", spin("1ms"), priority=10, arrivals=replay(["2s", "3s"]))
            low = xsched.queue("low", spin("5ms", layers=50), priority=1)
            run = xsched.run(high, low, duration="15s", warmup="0s")
            run.low.assert_longest_wait_below("1s")
        """)
    result = sim()
    assert result.parseoutcomes() == {"passed": 1}
    result.stdout.fnmatch_lines(
        ["  PASS low: *; high had work in only 2 of 10 parts of the measured time;*of high took*"]
    )


def test_a_run_of_one_queue_says_alone(load, sim):
    load("""
        def test_it(xsched, load):
            xsched.run(load[0], duration="15s").high.assert_p99_below("50ms")
        """)
    result = sim()
    assert result.parseoutcomes() == {"passed": 1}
    result.stdout.fnmatch_lines(["  PASS high: P99 * misses, 3 allowed); high ran alone  [[]*"])


def test_runs_without_an_asserted_target_are_listed_in_one_line(load, sim, pytester):
    load("""
        def test_nothing(run): ...

        def test_nothing_either(xsched, load):
            xsched.run(*load, duration="1s")

        def test_a_target(xsched, load):
            alone = xsched.run(load[0], duration="16s")
            run = xsched.run(*load, duration="16s")
            run.high.assert_slowdown_below(10, alone=alone.high)

        def test_a_plain_comparison(xsched, load):
            assert xsched.run(*load, duration="1s").high.p50 < "50ms"

        def test_arms(xsched, load):
            xsched.compare_runs(*(xsched.run(*load, duration="1s", scheduler=name)
                                  for name in ("native", "builtin")))
        """)
    result = sim("--xsched-json=out.json")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            "! no target was asserted of 2 runs: test_it.py::test_nothing, "
            "test_it.py::test_nothing_either"
        ]
    )
    runs = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    assert [run["asserted"] for run in runs] == [False, False, *[True] * 5]


def test_of_many_runs_without_a_target_three_tests_are_named(load, sim, pytester):
    """All of them made a line of 2,000 characters; the JSON file has each."""
    load("""
        import pytest

        @pytest.mark.parametrize("part", range(5))
        def test_nothing(xsched, load, part):
            xsched.run(*load, duration="1s")
            xsched.run(*load, duration="1s")
        """)
    result = sim("--xsched-json=out.json")
    result.assert_outcomes(passed=5)
    (line,) = (line for line in result.outlines if "no target was asserted" in line)
    names = [f"test_it.py::test_nothing[{part}]" for part in range(5)]
    assert line == f"! no target was asserted of 10 runs: {', '.join(names[:3])} and 2 more"
    runs = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    origins = [run["origin"] for run in runs if not run["asserted"]]
    assert origins == [name for name in names for _ in range(2)]


def test_a_queue_that_is_starved_later_on_fails_and_the_cause_is_named(load, sim):
    """`low` was launched once; then a queue of higher priority never paused again."""
    load("""
        import pytest

        @pytest.fixture(scope="module")
        def run(xsched):
            times = replay([1000 * ms + 10 * ms * i for i in range(1400)])
            high = xsched.queue("high", spin("10ms"), priority=10, arrivals=times)
            low = xsched.queue("low", spin("5ms", layers=50), priority=1)
            return xsched.run(high, low, duration="15s")

        def test_low(run):
            run.low.assert_longest_wait_below("5s")

        def test_rate(run):
            run.low.assert_throughput_at_least("3/s")

        def test_p99(run):
            run.low.assert_p99_below("1s")

        def test_high(run):
            run.high.assert_p99_below("1s")
        """)
    result = sim()
    result.assert_outcomes(passed=1, failed=2, errors=1)
    cause = "; nothing of low was launched or completed for 14 s  [[]*"
    result.stdout.fnmatch_lines(
        [
            f"  FAIL low: wait 14 s is not below 5 s (n = 5, max 14.3 s){cause}",
            f"  FAIL low: throughput 0.3333/s is not at least 3/s (n = 5, max 14.3 s){cause}",
            f"  PASS high: P99 10 ms is below 1 s (*){cause}",  # low did not contend for 14 s
            f"  NO VERDICT low: P99 needs 299 requests, *; the duration is 15 s{cause}",
        ]
    )


@pytest.mark.parametrize(
    ("queue", "settings", "words"),
    [
        (
            'rate="40/s"',
            "",
            "alone has arrivals Constant(rate_hz=40.0), not Constant(rate_hz=20.0)",
        ),
        (
            "",
            "",
            "alone has arrivals Closed(concurrency=1, think_ns=0), not Constant(rate_hz=20.0)",
        ),
        ('rate="20/s", threshold=1, batch_size=1', "", "alone has threshold 1, not 'auto'"),
        ('rate="20/s"', "sim=SimModel(launch_ns=0)", "alone has another device model"),
        (
            'rate="20/s"',
            'changes=[at("1s", "high", suspended=True), at("2s", "high", suspended=False)]',
            "changes= held high in the run of alone",
        ),
    ],
)
def test_alone_is_the_same_load_and_was_not_held(load, sim, queue, settings, words):
    """A reference that is slower by itself passes slowdown and fairness."""
    load(f"""
        @pytest.fixture
        def alone(xsched):
            queue = xsched.queue("high", spin("1ms"), {queue})
            return xsched.run(queue, duration="15s", {settings}).high

        def test_slowdown(run, alone):
            run.high.assert_slowdown_below(2, alone=alone)

        def test_fairness(xsched, load, alone):
            other = xsched.queue("other", spin("1ms"), priority=10, rate="20/s")
            own = xsched.run(other, duration="15s").other
            run = xsched.run(load[0], other, duration="15s")
            run.assert_fair(alone={{"high": alone, "other": own}})
        """)
    result = sim()
    result.assert_outcomes(failed=2)
    words = words.replace("[", "[[]")
    result.stdout.fnmatch_lines([f"E *ScenarioError: high: {words}*"] * 2)


def test_a_queue_that_is_held_in_both_arms_keeps_nothing(load, sim):
    load("""
        def test_it(xsched, load):
            changes = [at("1s", "low", suspended=True)]
            comparison = xsched.compare(*load, duration="2s", episodes=6, changes=changes)
            comparison.low.assert_best_effort_kept("90%")
        """)
    result = sim()
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(
        [
            "E *InvalidRun: no verdict: native, episode 1: changes= held low, so its throughput is "
            "not the scheduler's"
        ]
    )


def test_without_contention_there_is_no_ratio(load, sim):
    load("""
        @pytest.fixture(scope="module")
        def comparison(xsched):
            high = xsched.queue("high", spin("1ms"), priority=10, think="1h")
            low = xsched.queue("low", spin("5ms"), priority=1)
            return xsched.compare(high, low, duration="2s", episodes=6)

        def test_it(comparison):
            comparison.low.assert_best_effort_kept("90%")
        """)
    result = sim()
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(
        [
            "E *InvalidRun: no verdict: native, episode 1: high had no work during any request of "
            "low, so low had nothing to contend with",
            "  ! low: no * native, episode 1: high had no work during any request of low, *",
        ]
    )


def test_a_claim_about_two_schedulers_says_that_there_was_little_contention(load, sim):
    load("""
        def test_it(xsched):
            high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
            low = xsched.queue("low", spin("60ms"), priority=1, rate="1/s")
            comparison = xsched.compare(high, low, duration="15s", episodes=6)
            comparison.high.assert_no_worse(by="50%")
        """)
    result = sim()
    assert result.parseoutcomes() == {"passed": 1}
    result.stdout.fnmatch_lines(
        [
            "  PASS high: P99 of builtin / native *; low had work during only * % of high's "
            "requests (in 12 of 12 runs)  [[]*"
        ]
    )

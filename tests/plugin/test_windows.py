"""Runs that measure as long as their targets need, and what becomes of the undecided."""

from __future__ import annotations

import json

import pytest

# Every 1/p-th request of high meets a long one of low: misses of 10 ms at a known share.
CLOSE = """
    @pytest.fixture(scope="module")
    def close(xsched):
        high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
        low = xsched.queue("low", spin("40ms"), priority=1, arrivals=poisson("{rate}"))
        return xsched.run(high, low, duration="60s", sim=SimModel(priority=False, launch_ns=0))

    def test_p99(close):
        close.high.assert_p99_below("3ms")
    """


def windows(pytester, sim, *args):
    result = sim("--xsched-json=out.json", *args)
    (run,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    return result, run


def test_a_clear_target_takes_a_quarter_of_the_duration(two_models, sim, pytester):
    two_models()

    result, run = windows(pytester, sim)

    assert result.ret == 0
    assert (run["measured_ns"], run["windows"]) == (15 * 10**9, 1)
    assert [v["status"] for v in run["verdicts"]] == ["PASS"] * 4


def test_a_close_target_takes_all_of_it_and_says_how_much_more(load, sim, pytester):
    load(CLOSE.format(rate="12/min"))

    result, run = windows(pytester, sim)

    result.assert_outcomes(failed=1)
    assert result.ret == 1
    assert (run["measured_ns"], run["windows"]) == (60 * 10**9, 5)
    (queue, _) = run["queues"]
    assert (queue["n"], queue["throughput_hz"]) == (1200, 20)
    (verdict,) = run["verdicts"]
    assert (verdict["status"], verdict["n"]) == ("UNDECIDED", 1200)
    result.stdout.fnmatch_lines(
        [
            "E *TargetUndecided: high: P99 * may or may not be below 3 ms (n = 1200, *",
            "builtin (hpf) on sim, 60 s, seed 0",
            "  UNDECIDED high: P99 *",
        ]
    )


def test_one_more_target_measures_on(load, sim):
    load("""
        def test_it(xsched, load):
            run = xsched.run(*load, duration="200s")
            run.high.assert_p99_below("50ms")
            assert (run.high.n, run.measured_ns) == (300, 15 * 10**9)
            run.high.assert_percentile_below(0.999, "50ms")
            assert 2995 <= run.high.n < 4000
            arrivals = run.high.samples["scheduled_ns"]
            assert (arrivals[1:] > arrivals[:-1]).all()
            before = run.high.n
            run.high.assert_max_below("50ms")  # a fact, of the whole duration
            assert run.high.n == 4000 > before
            assert run.high.counts.requests_completed == len(run.high.samples)
            assert run.high.throughput.value == 20
        """)

    assert sim().ret == 0


def test_what_the_duration_cannot_decide_is_refused_before_it_is_spent(load, sim):
    load("""
        def test_it(xsched, load):
            run = xsched.run(*load, duration="60s")
            sentence = "P99.9 needs 2995 requests, 149.8 s at 20/s; the duration is 60 s"
            with pytest.raises(InvalidRun, match=sentence):
                run.high.assert_percentile_below(0.999, "50ms")
            with pytest.raises(InvalidRun, match=sentence):
                run.high.assert_attainment_at_least("50ms", 0.999)
            assert run.measured_ns == 15 * 10**9
        """)

    assert sim().ret == 0


def test_a_short_run_says_what_duration_would_decide(load, sim):
    load("""
        import re

        def test_it(xsched):
            queue = xsched.queue("low", spin("100ms"))  # half of what is asked
            with pytest.raises(QosAssertionError) as error:
                xsched.run(queue, duration="1s").low.assert_throughput_at_least("20/s")
            found = re.search("; 20 blocks of 50 ms are too few to decide it; a duration of about "
                              "(.*) would be enough; low ran alone, ", str(error.value))
            with pytest.raises(QosAssertionError) as error:
                xsched.run(queue, duration=found[1]).low.assert_throughput_at_least("20/s")
            assert error.value.verdict.status == "FAIL"
        """)

    result = sim()
    # The FAIL is expected; that UNDECIDED is no miss is what the report says, and nothing else.
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the test expected a miss and did not see one: low: throughput *"])
    result.stdout.fnmatch_lines(["EXPECTED MISS (pytest.raises) low: throughput *"])


def test_bursts_that_were_not_seen_take_a_longer_look(two_models, sim, pytester):
    two_models()
    _, run = windows(pytester, sim, "-oxsched_burst=3")
    assert [v["status"] for v in run["verdicts"]] == ["PASS"] * 4
    # Three times 270 requests without a miss, which is in the window that ends at 49 s.
    assert run["measured_ns"] == 49 * 10**9


def test_a_slow_open_loop_meets_more_than_one_target(load, sim):
    """Four a minute next to 20 a second: the second target's windows fit both."""
    load("""
        def test_it(xsched):
            high = xsched.queue("high", spin("1ms"), priority=10, rate="20/s")
            low = xsched.queue("low", spin("5ms"), arrivals=poisson("4/min"))
            run = xsched.run(high, low, duration="60s")
            run.high.assert_p99_below("50ms")
            run.high.assert_max_below("50ms")  # of the whole duration
            assert (run.measured_ns, run.low.n, run.high.n) == (60 * 10**9, 4, 1200)
            assert len(run.high.windows_ns) > 2
            run.low.assert_throughput_at_least("4/min")
        """)

    assert sim().ret == 0


def test_at_least(load, sim):
    load("""
        def test_it(xsched, load):
            run = xsched.run(*load, duration="60s", at_least="30s")
            run.high.assert_p99_below("50ms")
            assert run.measured_ns == 30 * 10**9
            assert "held in the 30 s of 60 s that were measured" in run.verdicts[0].sentence

        @pytest.mark.parametrize(
            ("at_least", "sentence"),
            [
                ("90s", "at_least 90 s is longer than the duration 60 s, which is the most that "
                        "is measured"),
                ("0s", "at_least: '0s' is zero"),
                ("x", "at_least: 'x'"),
            ],
        )
        def test_wrong(xsched, load, at_least, sentence):
            with pytest.raises(ScenarioError) as error:
                xsched.run(*load, duration="60s", at_least=at_least)
            assert str(error.value).startswith(sentence)
        """)

    assert sim().ret == 0
    assert sim("--xsched-duration=15s", "-k", "wrong and x").ret == 0


def test_the_command_line_shortens_a_run_with_at_least(load, sim):
    load("""
        def test_it(xsched, load):
            run = xsched.run(*load, duration="60s", at_least="30s")
            assert run.measured_ns == 20 * 10**9
            run.high.assert_p99_below("50ms")
        """)

    result = sim("--xsched-duration=20s")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["  PASS high: P99 *; --xsched-duration measured less than at_least=30 s  [[]*"]
    )


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ('changes=[at("40s", "low", priority=20)]', "the change of queue 'low' at 40s is after *"),
        ('arrivals=replay(["40s"])', "replay time 40s is not before the end of *, 16s"),
        ('arrivals=poisson("1/min")', "*for 16s is not one request"),
    ],
)
def test_what_does_not_fit_a_shorter_duration_names_the_option(load, sim, what, sentence):
    of_queue, of_run = (what, "") if what.startswith("arrivals") else ("", what)
    load(f"""
        def test_it(xsched):
            low = xsched.queue("low", spin("1ms"), {of_queue})
            xsched.run(low, duration="60s", {of_run})
        """)

    option = "; that is the duration of --xsched-duration=16s, which shortens every run"
    result = sim("--xsched-duration=16s")
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"E *ScenarioError: *{sentence}{option}"])
    assert sim().ret == sim("--xsched-duration=50s").ret == 0


def test_a_shorter_duration_of_the_command_line_clips_a_replay_and_says_so(load, sim):
    load("""
        def test_it(xsched):
            at = [f"{i}s" for i in range(60)]
            high = xsched.queue("high", spin("1ms"), arrivals=replay(at))
            run = xsched.run(high, duration="60s")
            assert run.high.n * 10**9 == run.measured_ns
            run.high.assert_max_below("2ms")
        """)

    result = sim("--xsched-duration=16s")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*! --xsched-duration=16s cut 44 of the 60 requests of high off the replay"]
    )
    assert "cut" not in sim().stdout.str()


def test_a_load_in_stages_is_the_duration_and_the_command_line_shortens_it(load, sim, pytester):
    load("""
        from pytest_xsched.errors import InvalidRun

        def test_it(xsched, pytestconfig):
            load = stages([("10s", "50/s"), ("10s", "100/s")])
            high = xsched.queue("high", spin("1ms"), arrivals=load)
            run = xsched.run(high)
            print("measured", run.measured_ns, run.high.n)
            if run.measured_ns < 10**10:
                with pytest.raises(InvalidRun, match="stage 1 was not measured: it begins at 10 s"):
                    run.high.stage(1)
            with_own = xsched.run(high, duration="25s")
            print("own", with_own.measured_ns, with_own.high.n)
        """)

    pytester.makeini("[pytest]\nxsched_duration = 60s")
    result = sim("-s")
    result.stdout.fnmatch_lines(["*measured 20000000000 1500", "own 25000000000 1500"])
    said = "*! the load of high takes 20 s, and ends before the run, which takes 25 s"
    result.stdout.fnmatch_lines([said])
    result = sim("-s", "--xsched-duration=8s")
    result.stdout.fnmatch_lines(["*measured 8000000000 400", "own 8000000000 400"])
    said = "*! the load of high takes 20 s, and ends after the run, which takes 8 s"
    result.stdout.fnmatch_lines([said])
    sim("-s", "--xsched-duration=60s").stdout.fnmatch_lines(
        ["*measured 20000000000 1500", "own 60000000000 1500"]
    )


def test_fixed_duration(two_models, sim, pytester):
    two_models()
    _, run = windows(pytester, sim, "-oxsched_fixed_duration=yes")
    assert (run["measured_ns"], run["windows"], run["queues"][0]["n"]) == (60 * 10**9, 1, 1200)
    pytester.makeini("[pytest]\nxsched_fixed_duration = yes")
    _, again = windows(pytester, sim)
    assert again == run


def test_undecided_may_warn(load, inside, pytester):
    load(CLOSE.format(rate="12/min"))

    args = ("--xsched-device=sim", "--xsched-undecided=warn")
    inside(*args).assert_outcomes(failed=1)  # a warning is an error in these tests
    result = inside(*args, "-Wdefault::pytest_xsched.errors.XSchedWarning")

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*test_it.py:*: XSchedWarning: UNDECIDED: high: P99 *", "*UNDECIDED high*"]
    )


def test_the_error_budget_is_divided_over_the_tests(two_models, load, sim, pytester):
    two_models()
    pytester.makepyfile(
        test_others="""
        import pytest
        @pytest.mark.parametrize("i", range(16))
        def test_other(xsched, i): pass
        def test_without(): pass
        """
    )

    _, run = windows(pytester, sim)
    assert run["verdicts"][0]["decision"]["alpha"] == 0.01 / 20 / 2
    _, run = windows(pytester, sim, "--xsched-alpha=0.1", "-k", "latency or steady")
    assert [v["decision"]["alpha"] for v in run["verdicts"]] == [0.1 / 10 / 2] * 2


def test_xdist_workers_divide_it_alike(two_models, fresh, pytester):
    two_models()
    pytester.makepyfile(
        test_others="""
        import pytest
        @pytest.mark.parametrize("i", range(16))
        def test_other(xsched, i): pass
        """
    )

    result = fresh("-pxdist", "-n2", "--xsched-device=sim", "--xsched-json=out.json")

    assert result.ret == 0
    runs = json.loads((pytester.path / "out.json").read_text())["xsched"]["runs"]
    alphas = {v["decision"]["alpha"] for run in runs for v in run["verdicts"] if v["decision"]}
    assert alphas == {0.01 / 20 / 2}


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("alpha=1", "--xsched-alpha: '1' is not a probability, above 0 and below 1"),
        ("alpha=x", "--xsched-alpha: 'x' is not a probability, above 0 and below 1"),
        ("alpha=nan", "--xsched-alpha: 'nan' is not a probability, above 0 and below 1"),
        ("undecided=pass", "--xsched-undecided: 'pass' is unknown; known: fail, warn"),
    ],
)
def test_options_that_are_none(load, sim, option, sentence):
    load("def test_it(): pass")
    result = sim(f"--xsched-{option}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [f"ERROR: {sentence}"]


def test_an_ini_key_of_the_command_line_is_checked(load, sim):
    load("def test_it(): pass")
    result = sim("-oxsched_burst=0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    sentence = "ini option xsched_burst: '0' is not a whole number from 1 to 1000"
    assert [line for line in result.errlines if line] == [f"ERROR: {sentence}"]

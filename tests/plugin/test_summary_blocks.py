"""What the terminal says of each run: whose it is, once, and with which word and colour."""

from __future__ import annotations

import pytest

SHARED = """
    def test_first(run):
        run.high.assert_p99_below("1us")

    def test_second(run):
        run.high.assert_p99_below("2us")

    def test_third(run):
        run.high.assert_p99_below("50ms")
    """
HEAD = "  queue  prio  workload *"


@pytest.mark.parametrize("xdist", [[], ["-pxdist", "-n1"]], ids=["plain", "xdist"])
def test_the_table_of_a_shared_run_is_printed_once(load, fresh, xdist):
    load(SHARED)

    result = fresh("--xsched-device=sim", *xdist)

    assert len([line for line in result.outlines if line.startswith("  queue  prio")]) == 1
    assert len([line for line in result.outlines if line.startswith("  why high")]) == 2
    elsewhere = "  the table is in the report of test_it.py::test_first"
    assert result.outlines.count(elsewhere) == 2  # of test_second, and at the end
    end = result.outlines.index(next(x for x in result.outlines if x.strip("= ") == "xsched"))
    result.stdout.fnmatch_lines(
        [
            "*= xsched =*",
            "fixture test_it.py::run (session), made for test_it.py::test_first",
            "builtin (hpf) on sim, 15 s, seed 0",
            elsewhere,
            "  FAIL high: * is not below 1 us *[[]test_it.py::test_first[]]",
            "  FAIL high: * is not below 2 us *[[]test_it.py::test_second[]]",
            "  PASS high: * is below 50 ms *[[]test_it.py::test_third[]]",
        ]
    )
    assert not [line for line in result.outlines[end:] if line.startswith("  why")]


@pytest.mark.parametrize("option", ["--tb=no", "--tb=line", "--show-capture=no"])
def test_a_table_that_pytest_did_not_print_is_at_the_end(load, sim, option):
    load(SHARED)
    result = sim(option)
    assert len([line for line in result.outlines if line.startswith("  queue  prio")]) == 1
    result.stdout.no_fnmatch_line("*the table is in the report of*")


def test_a_run_of_one_test_names_the_test_with_its_parameters(load, sim):
    load("""
        @pytest.mark.parametrize("batch", [4, 8])
        def test_it(xsched, load, batch):
            xsched.run(*load, duration="15s").high.assert_p99_below("50ms")
        """)
    result = sim()
    result.stdout.fnmatch_lines(
        ["test_it.py::test_it[[]4[]]", "builtin *", HEAD, "test_it.py::test_it[[]8[]]"]
    )


TWELVE = """
    @pytest.mark.parametrize("rate", range(1, 13))
    def test_it(xsched, rate):
        high = xsched.queue("high", spin("1ms"), rate=f"{20 * rate}/s")
        xsched.run(high, duration="15s").high.assert_p99_below("50ms" if rate < 12 else "1us")
    """


def test_twelve_parametrised_runs_have_an_overview(load, sim):
    load(TWELVE)
    result = sim()
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_it: 12 runs",
            "  parameters  queue  verdict * n * P50 * P99 * max * rate",
            "  1           high   PASS *",
            "  12          high   FAIL *",
            "test_it.py::test_it[[]1[]]",
        ]
    )


def test_quiet_shows_the_overview_and_what_is_worth_a_look(load, sim):
    load(TWELVE)
    result = sim("-q", "--tb=no")
    text = result.stdout.str()
    assert "test_it.py::test_it: 12 runs" in text
    assert text.count("  queue  prio") == 1
    result.stdout.no_fnmatch_line("test_it.py::test_it[[]1[]]")
    result.stdout.fnmatch_lines(["test_it.py::test_it[[]12[]]", "  FAIL high: *"])


def test_quiet_says_nothing_of_runs_that_are_fine(load, sim):
    load("""
        def test_it(run):
            run.high.assert_p99_below("50ms")
        """)
    result = sim("-q")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*xsched*")


COLOURS = """
    def test_missed(run):
        run.high.assert_p99_below("1us")

    def test_met(run):
        run.high.assert_p99_below("50ms")

    def test_undecided(xsched):
        high = xsched.queue("high", spin("1ms"), arrivals=poisson("20/s"))
        low = xsched.queue("low", spin("5ms"), arrivals=poisson("40/s"))
        run = xsched.run(high, low, duration="15s", scheduler="native")
        run.high.assert_p99_below(run.high.p99.value * ns * 1.01)

    def test_nothing(xsched):
        few = xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="1s")
        few.high.assert_p99_below("50ms")
    """
RED, GREEN, YELLOW, PURPLE = ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[35m")


def test_each_kind_of_verdict_has_a_class_a_word_and_a_colour(load, sim, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    load(COLOURS)

    plain = sim()
    assert plain.parseoutcomes() == {"passed": 1, "failed": 2, "errors": 1}
    for kind in ("TargetMissed: high", "TargetUndecided: high", "InvalidRun: high"):
        plain.stdout.fnmatch_lines([f"E *.{kind}*"])
    assert "\x1b" not in plain.stdout.str()

    text = sim("--color=yes", "--tb=no").stdout.str()
    for start in (f"{RED}  FAIL ", f"{GREEN}  PASS ", f"{YELLOW}  UNDECIDED "):
        assert f"\n{start}" in text
    assert f"\n{PURPLE}  NO VERDICT " in text


def test_a_test_that_wants_a_miss_can_say_that_undecided_is_none(load, sim):
    load("""
        def test_it(run):
            with pytest.raises(TargetMissed):
                run.high.assert_p99_below("1us")
        """)
    assert sim().parseoutcomes() == {"passed": 1}


def test_a_failure_without_pytests_terminal_is_a_failure(load, sim):
    load(SHARED)
    assert sim("-pno:terminal").ret == pytest.ExitCode.TESTS_FAILED


def test_a_run_that_measured_on_has_one_table_for_each_length(load, sim):
    load("""
        @pytest.fixture(scope="session")
        def long(xsched, load):
            return xsched.run(*load, duration="200s")

        def test_missed(long):
            long.high.assert_p99_below("1us")

        def test_missed_after_more(long):
            long.high.assert_percentile_below(0.999, "1us")
        """)
    result = sim()
    tables = [line for line in result.outlines if line.startswith("  queue  prio")]
    titles = {line for line in result.outlines if line.startswith("builtin (hpf) on sim")}
    assert len(tables) == len(titles) == 2  # one for each length that was measured

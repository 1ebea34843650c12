"""The page of a job on GitHub: every run and every target, after what others wrote."""

from __future__ import annotations

import pytest


@pytest.fixture
def page(pytester, alone, monkeypatch):
    """Names the file, as GitHub does; gives its path."""
    path = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


TWO_TARGETS = """
    def test_met(run):
        run.high.assert_p99_below("1h")

    @pytest.mark.parametrize("limit", ["1us"], ids=["<b>|_a_"])
    def test_missed(run, limit):
        run.high.assert_p99_below(limit)
    """


def test_runs_and_verdicts(load, sim, page):
    page.write_text("# Of another step\n", encoding="utf-8")
    load(TWO_TARGETS)

    assert sim().ret == 1

    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[:4] == ["# Of another step", "## pytest-xsched", "", lines[3]]
    assert lines[3] == "### builtin (hpf) on sim, 15 s, seed 0"
    missed, met, why = lines[5:8]  # what was missed comes first
    assert missed.startswith("- :x: FAIL high: P99 ")
    assert missed.endswith(r"<sub>test\_it.py::test\_missed\[&lt;b>\|\_a\_\]</sub>")
    assert met.startswith("- :white_check_mark: PASS high: P99 ")
    assert met.endswith(r"<sub>test\_it.py::test\_met</sub>")
    assert why.startswith(
        "- why high was late: all of the excess is waiting for one command of low"
    )
    assert lines[8] == ""
    head, rule, high, low = lines[9:13]
    assert head.startswith("| queue | prio | workload | n | P50 |")
    assert rule.count("---") == head.count("|") - 1 == high.count("|") - 1 == low.count("|") - 1
    assert high.startswith("| high | 10 | spin('1ms') | 300 | ")
    assert lines[14] == (
        "- low had work during 100 % of high's requests, and commands in flight during 100 % "
        "(at most 1 command, 5 ms of work)"
    )


def test_runs_with_missed_targets_come_first(load, sim, page):
    load("""
        @pytest.mark.parametrize("limit", ["1h", "1us", "2h"])
        def test_it(xsched, limit):
            high = xsched.queue("high", spin("1ms"), rate="20/s")
            xsched.run(high, duration="15s").high.assert_p99_below(limit)
        """)
    sim()
    lines = page.read_text(encoding="utf-8").splitlines()
    verdicts = [line for line in lines if "high: P99" in line]
    assert [line.split()[2] for line in verdicts] == ["FAIL", "PASS", "PASS"]
    assert [line.rpartition("[")[2] for line in verdicts] == [
        rf"{limit}\]</sub>" for limit in ("1us", "1h", "2h")
    ]


def test_what_speaks_against_a_run(load, sim, page):
    load("""
        def test_it(xsched):
            xsched.run(xsched.queue("high", spin("20ms"), rate="100/s"), duration="5s")
        """)
    assert sim().ret == 0
    assert "\n- ! high is saturated: 100/s were offered" in page.read_text(encoding="utf-8")


REFUSED = """
    def test_it(xsched):
        run = xsched.run(xsched.queue("high", spin("20ms"), rate="100/s"), duration="5s")
        run.high.assert_p99_below("1h")
    """


def test_a_target_without_a_verdict(load, sim, page):
    load(REFUSED)
    result = sim()
    assert result.ret == 1
    (line,) = [line for line in page.read_text(encoding="utf-8").splitlines() if ":x:" in line]
    assert line.startswith("- :x: NO VERDICT high is saturated: 100/s were offered")
    assert line.endswith(r"<sub>test\_it.py::test\_it</sub>")
    result.stdout.fnmatch_lines(
        ["=* xsched =*", "  NO VERDICT high is saturated: *  [[]test_it.py::test_it[]]"]
    )


def test_once_under_xdist(load, fresh, page):
    load(TWO_TARGETS)
    assert fresh("-pxdist", "-n2", "--dist=loadfile", "--xsched-device=sim").ret == 1
    text = page.read_text(encoding="utf-8")
    assert text.count("## pytest-xsched\n") == text.count("\n- :x: FAIL ") == 1


def test_not_without_a_run(load, sim, page):
    load("def test_it(): pass")
    assert sim().ret == 0
    assert not page.exists()


def test_what_baselines_show_comes_first(load, sim, page):
    load("def test_it(run): pass")
    sim("--xsched-compare=main", "--xsched-save=main")
    sim("--xsched-compare=main", "--xsched-seed=3")
    first, *more = [line for line in page.read_text().splitlines() if line.startswith("- :")]
    assert first.startswith("- :white_check_mark: FIRST builtin (hpf) on sim, 15 s, seed 0 is the")
    assert [line.partition(" builtin")[0] for line in more] == [
        "- :white_check_mark: NO DIFFERENCE SHOWN",
        "- :white_check_mark: NO DIFFERENCE SHOWN",
    ]


def test_it_cannot_be_written(load, sim, page):
    page.mkdir()
    load("def test_it(run): pass")

    result = sim()

    assert result.ret == 1
    result.stdout.fnmatch_lines(["GITHUB_STEP_SUMMARY: *Is a directory*"])

"""The line that pytest's short summary has of a test: the sentence of its verdict."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

BODY = """
    def test_missed(run):
        run.high.assert_p99_below("1us")

    def test_nothing(xsched):
        few = xsched.run(xsched.queue("high", spin("1ms"), rate="20/s"), duration="1s")
        few.high.assert_p99_below("50ms")
    """
MISSED = "FAIL high: P99 * is not below 1 us *"
NOTHING = "NO VERDICT *"


@pytest.mark.parametrize("style", ["auto", "long", "short", "no"])
@pytest.mark.parametrize("xdist", [[], ["-pxdist", "-n1"]], ids=["plain", "xdist"])
def test_the_short_summary_says_the_sentence_and_no_class(
    load, fresh, monkeypatch, pytester, style, xdist
):
    monkeypatch.setenv("CI", "1")  # where pytest cuts no line
    load(BODY)

    result = fresh("--xsched-device=sim", "--junitxml=j.xml", f"--tb={style}", *xdist)

    assert result.parseoutcomes() == {"failed": 1, "errors": 1}
    result.stdout.fnmatch_lines_random(
        [
            f"FAILED test_it.py::test_missed - {MISSED}",
            f"ERROR test_it.py::test_nothing - {NOTHING}",
        ]
    )
    assert not [line for line in result.outlines if " - pytest_xsched.errors" in line]
    cases = ElementTree.parse(pytester.path / "j.xml").iter("failure")
    messages = sorted(case.get("message") for case in cases)
    assert [text.split(" ", 1)[0] for text in messages] == ["FAIL", "NO"]


def test_a_line_of_a_traceback_is_the_sentence_too(load, sim):
    load(BODY)
    sim("--tb=line").stdout.fnmatch_lines([f"*test_it.py:*: {MISSED}"])


def test_eighty_columns_have_room_for_the_figure(load, sim, monkeypatch):
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    load(BODY)
    sim().stdout.fnmatch_lines(["FAILED test_it.py::test_missed - FAIL high: P99 * ms is not *..."])

"""The search for a rate in everything that is printed and written."""

import json
import re

TWO = """
    def test_rate(xsched, load):
        found = xsched.find_rate(load, queue="high", target=p99_below("7ms"), budget="100s")
        found.assert_sustains("40/s")
        found.assert_sustains("2000/s")
    """
PASSES = (
    r"PASS high: sustains 40/s: P99 below 7 ms next to low was shown to hold at [\d.]+/s "
    r"\(n = \d+, \d+ miss(es)?, \d+ allowed\)"
)
FAILS = r"FAIL high: does not sustain 2000/s: P99 below 7 ms next to low was shown to fail at "


def test_terminal_json_page_junit_and_github_have_it(load, sim, pytester, monkeypatch):
    summary = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    load(TWO)
    options = ("--xsched-json=out.json", "--xsched-html=out.html", "--junitxml=junit.xml")
    result = sim(*options, "--xsched-openmetrics=out.prom", "-Wignore")
    assert result.ret == 1
    text = "\n".join(result.outlines)
    assert re.search(PASSES, text) and re.search(FAILS, text)
    assert re.search(r"highest rate of high with P99 below 7 ms next to low, builtin on sim", text)
    assert re.search(r"\n +rate +shown +P50 +P95 +P99 +misses +n +measured\n", text)
    assert re.search(r"\n +[\d.]+/s +holds ", text) and re.search(r"\n +[\d.]+/s +fails", text)
    assert "xsched search" in text  # the report of the failed test has the table
    assert "no target was asserted" not in text

    (found,) = json.loads((pytester.path / "out.json").read_text())["xsched"]["rate_searches"]
    assert 40 <= found["lower_hz"] <= found["rate_hz"] <= found["upper_hz"] <= 2000
    assert [verdict["status"] for verdict in found["verdicts"]] == ["PASS", "FAIL"]

    page = (pytester.path / "out.html").read_text()
    assert "high: latency over the rate" in page and 'id="rate-1"' in page
    assert re.search(r"holds at [\d.]+/s", page) and re.search(r"fails at [\d.]+/s", page)
    assert "Run it again" in page

    junit = (pytester.path / "junit.xml").read_text()
    assert 'name="xsched.high.sustained_rate_at_least.status" value="FAIL"' in junit
    assert re.search(f":white_check_mark: {PASSES}", summary.read_text())
    assert 'rule="sustained rate at least"' in (pytester.path / "out.prom").read_text()

"""Runs in the reports of pytest-html and of allure."""

from __future__ import annotations

import html
import json
import re

import pytest

TESTS = """
    @pytest.mark.parametrize("limit", ["1us"], ids=["<b>"])
    def test_missed(run, limit):
        run.high.assert_p99_below(limit)

    def test_met(run):
        run.high.assert_p99_below("1h")
        run.low.assert_throughput_at_least("1/s")

    def test_nothing():
        pass
    """


def rows(pytester):
    """Return the test data of the page of pytest-html, by node id: each has one row."""
    page = (pytester.path / "report.html").read_text(encoding="utf-8")
    (blob,) = re.findall(r'data-jsonblob="([^"]*)"', page)
    found = json.loads(html.unescape(blob))["tests"]
    assert all(len(one) == 1 for one in found.values())
    return page, {nodeid: one[0] for nodeid, one in found.items()}


@pytest.fixture(params=[False, True], ids=["alone", "xdist"])
def written(request, load, fresh, pytester):
    """Runs the tests with pytest-html and allure on the device sim."""
    pytest.importorskip("pytest_html")
    pytest.importorskip("allure_pytest")
    load(TESTS)
    plugins = ("-ppytest_metadata.plugin", "-ppytest_html.plugin", "-pallure_pytest.plugin")
    more = ("-pxdist", "-n1") if request.param else ()
    files = ("--html=report.html", "--alluredir=results")
    fresh(*plugins, *files, "--xsched-device=sim", *more).assert_outcomes(passed=2, failed=1)
    return pytester.path


def test_other_reports_have_the_targets_and_the_run_of_each_test(written, pytester):
    check_html(pytester)
    check_allure(written / "results")


def check_html(pytester):
    page, found = rows(pytester)
    assert {
        nodeid: [cell for cell in one["resultsTableRow"] if "col-targets" in cell]
        for nodeid, one in found.items()
    } == {
        "test_it.py::test_missed[<b>]": ['<td class="col-targets">FAIL</td>'],
        "test_it.py::test_met": ['<td class="col-targets">PASS</td>'],
        "test_it.py::test_nothing": ['<td class="col-targets"></td>'],
    }
    assert ">Targets</th>" in page
    assert "<p>xsched targets: 1 FAIL, 2 PASS</p>" in page
    of_met = found["test_it.py::test_met"]["extras"]
    assert [one["name"] for one in of_met] == ["xsched run", "record"]  # of two verdicts
    text = (pytester.path / of_met[0]["content"]).read_text(encoding="utf-8")
    assert text.count("PASS high: P99") == text.count("PASS low: throughput") == 1
    assert "FAIL" not in text  # of another test
    record = json.loads((pytester.path / of_met[1]["content"]).read_text("utf-8"))
    assert [queue["name"] for queue in record["queues"]] == ["high", "low"]
    assert found["test_it.py::test_nothing"]["extras"] == []


def test_pytest_html_has_no_column_where_the_plugin_is_not_in_use(pytester, monkeypatch):
    pytest.importorskip("pytest_html")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    pytester.makepyfile("def test_it(): pass")

    result = pytester.runpytest_subprocess(
        "-pno:benchmark", "-pno:hypothesispytest", "--html=report.html"
    )

    assert result.ret == 0
    page, _ = rows(pytester)
    assert "Targets" not in page and "xsched targets" not in page


def check_allure(folder):
    results = {
        result["name"]: result.get("attachments", [])
        for result in (json.loads(path.read_text()) for path in folder.glob("*-result.json"))
    }
    assert sorted(results) == ["test_met", "test_missed[<b>]", "test_nothing"]
    assert results["test_nothing"] == []
    for test, status in (("test_met", "PASS"), ("test_missed[<b>]", "FAIL")):
        text, record = results[test]
        assert (text["name"], text["type"]) == ("xsched run", "text/plain")
        assert (record["name"], record["type"]) == ("xsched run, record", "application/json")
        shown = (folder / text["source"]).read_text(encoding="utf-8")
        assert f"  {status} high: P99 " in shown and "queue  prio" in shown
        run = json.loads((folder / record["source"]).read_text(encoding="utf-8"))
        assert run["scenario"]["device"] == "sim"

"""The JUnit file: a property for every verdict, a failure for every missed target."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest


@pytest.fixture
def cases(pytester):
    """Gives the test cases of the JUnit file, by name."""

    def read():
        root = ElementTree.parse(pytester.path / "junit.xml").getroot()
        return {case.get("name"): case for case in root.iter("testcase")}

    return read


def properties(case):
    return {item.get("name"): item.get("value") for item in case.iter("property")}


def test_why_there_is_no_verdict(load, sim, cases):
    load("""
        def test_it(run):
            run.high.assert_percentile_below(0.9999, "1h")
        """)

    assert sim("--junitxml=junit.xml").ret == 1

    (said,) = [value for _, value in properties(cases()["test_it"]).items()]
    assert set(properties(cases()["test_it"])) == {"xsched.no_verdict"}
    assert said.startswith("high: P99.99 needs 29956 requests")


def test_verdicts_are_properties(load, sim, cases):
    load("""
        def test_met(run):
            run.high.assert_p99_below("50ms")
            run.low.assert_throughput_at_least("100/s")

        def test_missed(run):
            run.high.assert_percentile_below(0.5, "1us")

        def test_ratio(run):
            run.high.assert_tail_ratio_below(100)

        def test_none(run):
            pass
        """)

    assert sim("--junitxml=junit.xml").ret == 1

    met = properties(cases()["test_met"])
    assert set(met) == {
        f"xsched.{rule}.{key}"
        for rule in ("high.p99_below", "low.throughput_at_least")
        for key in ("status", "value", "limit", "unit", "n")
    }
    assert met["xsched.high.p99_below.status"] == "PASS"
    assert met["xsched.high.p99_below.limit"] == "50000000"
    assert met["xsched.high.p99_below.unit"] == "ns"
    assert met["xsched.high.p99_below.n"] == "300"
    assert 10**6 <= int(met["xsched.high.p99_below.value"]) < 50 * 10**6
    assert met["xsched.low.throughput_at_least.unit"] == "Hz"
    assert met["xsched.low.throughput_at_least.limit"] == "100.0"

    missed = properties(cases()["test_missed"])
    assert missed["xsched.high.p50_below.status"] == "FAIL"
    assert properties(cases()["test_ratio"])["xsched.high.p99_p50_below.unit"] == "1"
    assert properties(cases()["test_none"]) == {}

    failure = cases()["test_missed"].find("failure")
    assert failure is not None
    assert "high: P50 " in failure.get("message")
    assert "is not below 1 us (n = 300" in failure.get("message")
    assert cases()["test_missed"].find("error") is None
    assert cases()["test_met"].find("failure") is None


def test_two_targets_of_one_rule_in_a_test_are_both_there(load, sim, cases):
    load("""
        def test_it(run):
            run.high.assert_p99_below("1h")
            run.high.assert_p99_below("1us")
        """)

    sim("--junitxml=junit.xml")

    statuses = [
        item.get("value")
        for item in cases()["test_it"].iter("property")
        if item.get("name").endswith("status")
    ]
    assert statuses[-1] == "FAIL"


def test_verdicts_of_a_fixture_belong_to_the_test_that_asked_first(load, sim, cases):
    load("""
        @pytest.fixture(scope="module")
        def judged(run):
            run.high.assert_p99_below("1h")

        def test_first(judged): pass
        def test_second(judged): pass
        """)

    assert sim("--junitxml=junit.xml").ret == 0

    assert "xsched.high.p99_below.status" in properties(cases()["test_first"])
    assert properties(cases()["test_second"]) == {}


def test_verdicts_of_a_teardown_are_kept(load, sim, cases):
    load("""
        @pytest.fixture
        def late(run):
            yield
            run.high.assert_p99_below("1us")

        def test_it(late): pass
        """)

    result = sim("--junitxml=junit.xml")

    assert result.parseoutcomes() == {"passed": 1, "errors": 1}
    result.stdout.fnmatch_lines(
        ["*- xsched run -*", "*= xsched =*", "*FAIL high: P99 * [[]test_it*"]
    )

"""Tracebacks of errors of ours: the frames of the user, unless all are asked for."""

from __future__ import annotations


def test_an_error_of_ours_shows_the_test_and_no_more(pytester, fresh):
    pytester.makepyfile("""
        from pytest_xsched import spin
        def test_it(xsched):
            xsched.queue("high", spin("1ms"), rate="-3/s")
        """)
    result = fresh("--xsched-device=sim")
    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines(
        [
            '>*xsched.queue("high", spin("1ms"), rate="-3/s")',
            "E *ScenarioError: rate of queue 'high': '-3/s' is not above zero",
            "",
            "test_an_error_*.py:3: ScenarioError",
        ],
        consecutive=True,
    )
    whole = fresh("--xsched-device=sim", "--full-trace").stdout.str()
    assert "units.py" in whole and "units.py" not in result.stdout.str()

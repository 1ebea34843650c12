"""A missed target is never green: exit codes, plain, under xdist, and when tests are rerun."""

from __future__ import annotations

import pytest

# A run of its own for each attempt. The first misses, all others meet the target.
LUCK = """
    import pytest
    from pytest_xsched import *

    attempts = []

    def measured(xsched):
        attempts.append(1)
        work = spin("20ms" if len(attempts) == 1 else "1ms")
        return xsched.run(xsched.queue("high", work, rate="20/s"), duration="15s").high

    def test_it(xsched):
        {use}

    def test_other(xsched): pass
    """
USES = [
    'measured(xsched).assert_p99_below("10ms")',
    'measured(xsched).assert_max_below("10ms")',
    'assert measured(xsched).p99 < "10ms"',
]


@pytest.mark.parametrize("how", [[], ["-pxdist", "-n2"]], ids=["plain", "xdist"])
@pytest.mark.parametrize("reruns", [0, 2])
def test_a_missed_target_is_never_green(pytester, fresh, how, reruns):
    pytester.makepyfile(**{f"test_{i}": LUCK.format(use=use) for i, use in enumerate(USES)})
    args = [*how, "--xsched-device=sim"]
    if reruns:
        pytest.importorskip("pytest_rerunfailures")
        args += ["-prerunfailures", f"--reruns={reruns}"]

    result = fresh(*args)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = result.parseoutcomes()
    assert (outcomes["failed"], outcomes["passed"]) == (len(USES), len(USES))
    if reruns:
        assert outcomes["rerun"] == reruns * len(USES)
        result.stdout.fnmatch_lines(
            ["missed a target in an earlier attempt, which a rerun does not undo: *"]
        )


def test_what_failed_for_another_reason_may_pass_when_repeated(pytester, fresh):
    pytest.importorskip("pytest_rerunfailures")
    pytester.makepyfile(
        LUCK.format(
            use="""\
measured(xsched)
        with pytest.raises(QosAssertionError):
            measured(xsched).assert_p99_below("1us")
        assert len(attempts) > 2"""
        )
    )

    result = fresh("-prerunfailures", "--reruns=1", "--xsched-device=sim")

    assert result.ret == 0
    assert result.parseoutcomes() == {"passed": 2, "rerun": 1}


STARVED = [  # nothing of high is launched, and less of it than is offered
    'xsched.queue("low", spin("1ms"), priority=20 if len(attempts) == 1 else 1)',
    'xsched.queue("low", spin("60ms"), priority=9 if len(attempts) == 1 else 1, rate="10/s")',
]


@pytest.mark.parametrize("low", STARVED)
def test_a_starved_queue_is_never_green(pytester, fresh, low):
    pytest.importorskip("pytest_rerunfailures")
    pytester.makepyfile(
        LUCK.format(
            use=f"""\
attempts.append(1)
        high = xsched.queue("high", spin("30ms"), priority=5, rate="20/s")
        xsched.run(high, {low}, duration="20s").high.assert_p99_below("500ms")"""
        )
    )

    result = fresh("-prerunfailures", "--reruns=1", "--xsched-device=sim")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"failed": 1, "passed": 1, "rerun": 1}


def test_a_run_without_evidence_may_be_repeated(pytester, fresh):
    pytest.importorskip("pytest_rerunfailures")
    pytester.makepyfile(
        LUCK.format(
            use="""\
duration = "15s" if attempts else "5s"
        attempts.append(1)
        high = xsched.queue("high", spin("1ms"), rate="20/s")
        xsched.run(high, duration=duration).high.assert_p99_below("10ms")"""
        )
    )

    result = fresh("-prerunfailures", "--reruns=1", "--xsched-device=sim")

    assert result.ret == 0
    assert result.parseoutcomes() == {"passed": 2, "rerun": 1}

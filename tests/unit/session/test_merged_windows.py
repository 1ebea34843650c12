"""A run of several windows: what any of them showed is part of the run, in each order."""

from __future__ import annotations

import contextlib

import pytest

from pytest_xsched.errors import InvalidRun
from pytest_xsched.reporting.run_table import table
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.session.adaptive import run_in_windows
from pytest_xsched.xsched.activation import Activity
from pytest_xsched.xsched.server_poll import POLLS_NEEDED, REQUESTS_NEEDED, Coverage

S = 10**9
MS = 10**6
DRAIN_NS = 3 * S
WINDOWS = (15, 7, 11, 16, 11)
"""Seconds of each, of 60."""


@pytest.fixture
def measured(made_queue, made_fingerprint):
    """Measures a scenario of `high` at 20/s in five windows, and returns the run and the windows.

    The arguments name what the measurement of one window has besides its samples; `activity` is of
    every window.
    """

    def measure_all(in_window=0, *, latency_ms=5, failed=0, activity=None, **shown):
        asked = []

        def measure(scenario):
            here = len(asked) == in_window
            asked.append(scenario)
            n = scenario.duration_ns // (50 * MS)
            queue = made_queue([latency_ms if here else 5] * n, failed=failed if here else 0)
            by_default = {"alone_ns": (4 * MS,), "wrong_results": (), "priority_effect": None}
            return Measurement(
                fingerprint=made_fingerprint(),
                counts=(queue.counts,),
                samples=(queue.samples,),
                activity=activity() if callable(activity) else activity,
                **(by_default | shown if here else by_default),
            )

        scenario = Scenario(
            queues=(made_queue([1]).spec,),
            duration_ns=60 * S,
            warmup_ns=0,
            drain_ns=DRAIN_NS,
            seed=3,
            device="cpu",
            scheduler="builtin",
            policy="hpf",
        )
        run = run_in_windows(scenario, measure)
        for _ in WINDOWS[1:]:
            with contextlib.suppress(InvalidRun):
                run.measure_on()
        assert not run.measure_on()
        return run, asked

    return measure_all


def test_the_windows_are_other_draws_and_follow_one_another(measured):
    run, asked = measured()
    assert [one.duration_ns for one in asked] == [seconds * S for seconds in WINDOWS]
    assert len({one.seed for one in asked}) == len(WINDOWS)
    assert run.measured_ns == 60 * S
    starts = [0]
    for seconds in WINDOWS[:-1]:
        starts.append(starts[-1] + seconds * S + DRAIN_NS + S)
    assert run.high.windows_ns == [
        (start, start + seconds * S) for start, seconds in zip(starts, WINDOWS, strict=True)
    ]
    assert (run.high.n, run.high.throughput.value, run.evidence.faults) == (1200, 20, ())


@pytest.mark.parametrize("window", range(len(WINDOWS)))
@pytest.mark.parametrize("kind", ["wrong_results", "faults"])
def test_a_fault_of_any_window_is_one_of_the_run(measured, window, kind):
    run, _ = measured(window, **{kind: ("it is broken",)})
    assert run.evidence.faults == ("it is broken",)
    with pytest.raises(InvalidRun, match="no verdict: it is broken"):
        run.high.assert_p99_below("1h")


@pytest.mark.parametrize("window", range(len(WINDOWS)))
def test_a_command_that_failed_in_any_window_spoils_the_run(measured, window):
    run, _ = measured(window, failed=2)
    assert run.evidence.faults == ("2 commands of high failed",)


@pytest.mark.parametrize("window", range(len(WINDOWS)))
@pytest.mark.parametrize(
    ("alone_ns", "least_ns"), [(3 * MS, 3 * MS), (9 * MS, 4 * MS), (None, 4 * MS)]
)
def test_the_shortest_time_alone_of_all_windows_counts(measured, window, alone_ns, least_ns):
    run, _ = measured(window, alone_ns=(alone_ns,))
    (found,) = run.evidence.plausible
    assert found.alone_ns == least_ns


@pytest.mark.parametrize("window", range(len(WINDOWS)))
def test_work_that_was_not_done_in_one_window_is_seen(measured, window):
    """7 of 60 s at least: requests that took a tenth of what they take alone."""
    run, _ = measured(window, latency_ms=0.4)
    (fault,) = run.evidence.faults
    assert "the work was not done" in fault


@pytest.mark.parametrize("window", range(len(WINDOWS)))
def test_a_remark_about_any_window_is_kept(measured, window):
    run, _ = measured(window, remark="in a process of its own")
    assert run.remark == "in a process of its own"


def test_the_commands_of_all_windows_are_counted_once_in_the_report(measured):
    """The line about XSched has the same count as the table of queues."""
    each = [20 * seconds for seconds in WINDOWS]
    seen = iter(
        Activity(report="", order=(), commands={"high": (count, count)}, files=()) for count in each
    )
    run, _ = measured(activity=lambda: next(seen))
    shown = run.to_dict()
    in_table = shown["queues"][0]["commands"]["completed"]
    assert in_table == sum(each)
    (line,) = [line for line in table(shown) if "XSched:" in line]
    assert line.endswith(f"all {in_table} commands went through it")


def test_polls_of_all_windows_show_that_a_program_went_past_xsched(measured):
    """No window alone has enough of them."""
    cover = Coverage(
        reports_requests=True,
        polls=-(-POLLS_NEEDED // 5),
        requests=-(-REQUESTS_NEEDED // 5),
        polls_with_work=0,
        ever_had_work=False,
    )
    activity = Activity(report="", order=(), commands={}, files=(), coverage={"high": cover})
    assert not activity.bypassing
    run, _ = measured(activity=activity)
    assert run.evidence.activity.coverage["high"].polls == 5 * cover.polls
    assert any("goes past XSched" in fault for fault in run.evidence.faults)

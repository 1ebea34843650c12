"""Where the time of a request went, in virtual time: exact parts, worked out by hand."""

import dataclasses

import pytest
from hypothesis import given, settings

from pytest_xsched import Duration, ScenarioError, Session, SimModel, at, replay, spin
from pytest_xsched.analysis.explanation import explain
from pytest_xsched.analysis.late_requests import LateRequests
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress.strategies import scenarios

MS = 10**6
US = 10**3


def parts_of(run, queue, index=0):
    """Parts of a request by name and other queue, in ns."""
    found = run[queue].explain("1ns")
    (request,) = (one for one in found.requests if one.index == index)
    return request.parts()


def test_a_request_behind_a_command_in_flight(sim, bare):
    """Low's command of 4 ms runs from 0; at 1 ms it has 3 ms left, and high then runs 1 ms.

    Low is suspended from 1 ms to 5 ms, but its second command is on the device and waits there for
    high from 4 to 5 ms. High's stream has the higher priority.
    """
    run = sim.run(
        sim.queue("high", spin("1ms"), priority=2, arrivals=replay(["1ms"]), threshold=2),
        sim.queue("low", spin("4ms", layers=2), priority=1, arrivals=replay(["0s"]), threshold=2),
        duration="20ms",
        warmup="0s",
        sim=dataclasses.replace(bare, priority=True),
    )
    assert parts_of(run, "high") == {("in flight", "low"): 3 * MS, ("running", ""): MS}
    assert parts_of(run, "low") == {("running", ""): 8 * MS, ("in flight", "high"): MS}


def test_a_queue_that_names_the_device_of_the_run_is_waited_for_as_well(sim, bare):
    run = sim.run(
        sim.queue("high", spin("1ms"), priority=2, arrivals=replay(["1ms"])),
        sim.queue("low", spin("4ms"), priority=1, arrivals=replay(["0s"]), device="sim"),
        duration="20ms",
        warmup="0s",
        sim=bare,
    )
    assert parts_of(run, "high") == {("in flight", "low"): 3 * MS, ("running", ""): MS}


def test_a_suspended_queue_is_held_by_the_policy_for_as_long_as_nothing_of_it_is_in_flight(
    sim, bare
):
    """Low's second command, with threshold 1, waits at 4 ms until high is done at 14 ms."""
    run = sim.run(
        sim.queue("high", spin("10ms"), priority=2, arrivals=replay(["1ms"]), threshold=2),
        sim.queue(
            *("low", spin("4ms", layers=2)),
            priority=1,
            arrivals=replay(["0s"]),
            threshold=1,
            batch_size=1,
        ),
        duration="40ms",
        warmup="0s",
        sim=bare,
    )
    assert parts_of(run, "low") == {("running", ""): 8 * MS, ("held", "high"): 10 * MS}
    assert parts_of(run, "high") == {("in flight", "low"): 3 * MS, ("running", ""): 10 * MS}


def test_earlier_requests_of_the_queue_itself(sim, bare):
    """Three requests of 2 ms at 0, 1 and 1 ms: the third waits 1 + 2 ms for the others."""
    run = sim.run(
        sim.queue("high", spin("2ms"), arrivals=replay(["0s", "1ms", "1ms"]), threshold=2),
        duration="20ms",
        warmup="0s",
        sim=bare,
    )
    assert parts_of(run, "high", 0) == {("running", ""): 2 * MS}
    assert parts_of(run, "high", 1) == {("own", ""): MS, ("running", ""): 2 * MS}
    assert parts_of(run, "high", 2) == {("own", ""): 3 * MS, ("running", ""): 2 * MS}


def test_what_delays_an_earlier_request_counts_as_what_it_is(sim, bare):
    """High's second request waits for the first, which waits for low: 2 of its 4 ms are low's."""
    run = sim.run(
        sim.queue("high", spin("1ms"), priority=2, arrivals=replay(["1ms", "2ms"]), threshold=2),
        sim.queue("low", spin("4ms"), priority=1, arrivals=replay(["0s"]), threshold=2),
        duration="20ms",
        warmup="0s",
        sim=bare,
    )
    assert parts_of(run, "high", 1) == {
        ("in flight", "low"): 2 * MS,
        ("own", ""): MS,
        ("running", ""): MS,
    }


def test_a_threshold_of_one_lets_the_device_run_dry(sim, bare):
    """Each launch takes 5 us. Of three commands two are launched only when one has completed."""
    run = sim.run(
        sim.queue(
            *("high", spin("1ms", layers=3)),
            arrivals=replay(["0s"]),
            threshold=1,
            batch_size=1,
        ),
        duration="20ms",
        warmup="0s",
        sim=dataclasses.replace(bare, launch_ns=5 * US),
    )
    assert parts_of(run, "high") == {
        ("launch", ""): 5 * US,
        ("running", ""): 3 * MS,
        ("room", ""): 10 * US,
    }


def test_the_test_itself_may_suspend_a_queue(sim, bare):
    run = sim.run(
        sim.queue("high", spin("1ms"), arrivals=replay(["2ms"]), threshold=2),
        duration="20ms",
        warmup="0s",
        changes=[at("1ms", "high", suspended=True), at("5ms", "high", suspended=False)],
        sim=bare,
    )
    assert parts_of(run, "high") == {("held by test", ""): 3 * MS, ("running", ""): MS}


def test_with_two_slots_a_request_waits_for_the_command_that_ends_first(sim):
    """Slots are taken until 4 ms (a) and 6 ms (b). High gets that of a, in which no other was."""
    run = sim.run(
        sim.queue("high", spin("1ms"), arrivals=replay(["1ms"])),
        sim.queue("a", spin("4ms"), arrivals=replay(["0s"])),
        sim.queue("b", spin("6ms"), arrivals=replay(["0s"])),
        duration="20ms",
        warmup="0s",
        policy="none",
        sim=SimModel(launch_ns=0, slots=2, priority=False),
    )
    assert parts_of(run, "high") == {("in flight", "a"): 3 * MS, ("running", ""): MS}


def test_an_unfinished_request_is_explained_until_the_end_of_its_window(sim, bare):
    run = sim.run(
        sim.queue("low", spin("1ms"), priority=1, arrivals=replay(["5ms"]), threshold=2),
        sim.queue("high", spin("1ms"), priority=2, threshold=2),
        duration="20ms",
        warmup="0s",
        drain="1ms",
        sim=bare,
    )
    # High's command in flight at 5 ms does not count: low's is not launched meanwhile.
    assert parts_of(run, "low") == {("held", "high"): 15 * MS}
    assert not run.low.explain().requests[0].completed
    assert run.low.explain().lines == (
        "all of the excess is low (priority 1) being suspended by policy hpf while high (priority "
        "2) ran; 1 of 1 requests never completed",
        "the slowest request waited 15 ms until the end of the window, unfinished: 15 ms held by "
        "the policy while high ran",
    )


def test_a_queue_of_low_priority_waits_because_of_its_priority(sim, bare):
    """High comes while low's first command runs; its two commands then go before low's second."""
    run = sim.run(
        sim.queue("high", spin("5ms", layers=2), priority=2, arrivals=replay(["1ms"])),
        sim.queue("low", spin("4ms", layers=2), priority=1, arrivals=replay(["0s"]), threshold=2),
        duration="40ms",
        warmup="0s",
        sim=dataclasses.replace(bare, priority=True),
    )
    assert parts_of(run, "low") == {("running", ""): 8 * MS, ("in flight", "high"): 10 * MS}
    found = run.low.explain()
    assert (found.cause, found.sentence) == (
        "priority",
        "all of the excess is waiting for 2 commands of high, `spin('5ms')`, 5 ms each alone, "
        "which were launched while low waited: high has the higher priority, 2 against 1",
    )


def test_a_limit_chooses_the_requests(sim, bare):
    run = sim.run(
        sim.queue("high", spin("2ms"), arrivals=replay(["0s", "1ms", "1ms"]), threshold=2),
        duration="20ms",
        warmup="0s",
        sim=bare,
    )
    assert [one.index for one in run.high.explain().requests] == [2]
    assert [one.index for one in run.high.explain("2ms").requests] == [2, 1]
    none = run.high.explain("5ms")
    assert (none.cause, none.lines) == ("none", ("no request of high took longer than 5 ms",))
    with pytest.raises(ScenarioError, match="limit of explain"):
        run.high.explain("soon")


def test_a_slow_request_whose_work_is_long_is_called_that(sim, bare):
    run = sim.run(sim.queue("high", spin("30ms"), rate="20/s"), duration="1s", sim=bare)
    found = run.high.explain("20ms")
    assert found.cause == "work"
    assert found.lines == (
        "all of the time is the work itself, 30 ms alone",
        "the 20 requests above 20 ms took 30 ms on average: 30 ms running",
    )


def test_under_a_limit_below_the_work_itself_the_cause_is_what_takes_most_of_the_time(sim, bare):
    """High takes 1 ms alone, and each request waits for 9 ms of low: the limit hides no cause."""
    run = sim.run(
        sim.queue("low", spin("10ms"), arrivals=replay(["0s", "100ms"]), threshold=1),
        sim.queue("high", spin("1ms"), arrivals=replay(["1ms", "101ms"]), threshold=1),
        duration="1s",
        warmup="0s",
        policy="none",
        sim=bare,
    )
    found = run.high.explain("1us")
    assert found.parts == {("in flight", "low"): 18 * MS, ("running", ""): 2 * MS}
    assert found.cause == "long command"
    assert found.sentence == (
        "all of the excess is waiting for one command of low, `spin('10ms')`, 10 ms alone; the "
        "work itself takes 1 ms alone, so no request can be below the limit"
    )


def test_requests_of_a_later_window_have_the_commands_of_that_window(sim_in_windows, bare):
    high = sim_in_windows.queue("high", spin("1ms"), priority=2, rate="20/s", threshold=2)
    low = sim_in_windows.queue("low", spin("4ms"), priority=1, rate="20/s", threshold=2)
    run = sim_in_windows.run(low, high, duration="60s", warmup="1s", policy="none", sim=bare)
    run.measure_on()
    first = run.trace.windows[1].first["high"]
    explained = LateRequests(run, run.high)
    later = [explained.explain(i) for i in range(first, len(run.high.samples))]
    assert len(later) > 100
    assert {part for one in later for part in one.parts()} == {
        ("in flight", "low"),
        ("running", ""),
    }
    # Both arrive at the same moments, and low is first in the order of queues.
    assert all(one.parts()["in flight", "low"] == 4 * MS for one in later)


def test_without_a_trace_the_explanation_says_so(sim, bare):
    run = sim.run(sim.queue("high", spin("1ms"), rate="20/s"), duration="1s", trace="off", sim=bare)
    found = run.high.explain()
    assert found.cause == "unknown"
    assert found.sentence.endswith('not on record: the run was measured with trace="off"')


def test_commands_that_were_pushed_out_are_not_guessed(sim, bare, monkeypatch):
    from pytest_xsched.native import command_record

    monkeypatch.setattr(command_record, "RECORDED_MOST", 2000)
    run = sim.run(
        sim.queue("low", spin("10us"), threshold=4), duration="30ms", warmup="0s", sim=bare
    )
    found = explain(run, run.low, 1)
    early = [one for one in found.requests if one.index < 1000]
    assert early
    assert all(set(one.parts()) == {("unknown", "")} for one in early)


@pytest.fixture(scope="module")
def shared_sim():
    session = Session(Settings(device="sim"))
    yield session
    session.close()


@settings(settings.get_profile("xsched-nightly"), max_examples=60, database=None)
@given(scenario=scenarios(queues=3, duration="10ms"))
def test_the_parts_of_any_request_of_any_scenario_add_up(shared_sim, scenario):
    run = shared_sim.run_scenario(scenario)
    for queue in run.queues.values():
        found = queue.explain(Duration(1))
        for request in found.requests:
            assert sum(request.parts().values()) == request.latency_ns
            assert ("unknown", "") not in request.parts()
            assert ("stretched", "") not in request.parts()
            assert ("seen", "") not in request.parts()

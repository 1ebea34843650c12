"""What a scheduler costs: XSched's threads are told apart, and faults of the double are found."""

from __future__ import annotations

import pytest
from hypothesis import settings

from pytest_xsched import InvalidRun, ScenarioError, TargetMissed, spin
from pytest_xsched.conformance.live_engine import NOT_CLAIMED
from pytest_xsched.stress import costs
from pytest_xsched.stress.minimize import first_broken
from pytest_xsched.stress.rules import RULES
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import BrokenRule, Step


@pytest.fixture
def live(xsched_session, monkeypatch):
    """Opens live queues under the double of XSched with a fault."""

    def opened(fault=""):
        monkeypatch.setenv("PREEMPT_DOUBLE", fault)
        return xsched_session.live(scheduler="xsched")

    return opened


def test_the_threads_of_xsched_are_one_for_each_queue(live):
    queues = live()
    made = [queues() for _ in range(3)]
    assert queues.scheduler_cost.threads == 3
    before = queues.scheduler_cost
    for _ in range(100):
        made[0].submit(spin("1ms")).wait()
        queues.sleep("5ms")  # its thread goes to sleep, but on a busy machine not each time
        used = queues.scheduler_cost - before
        if max(wakeups for _, wakeups, _ in used.by_thread.values()) >= 5:
            break
    # The others may still be going to sleep for the first time.
    awake = [thread for thread, (_, wakeups, _) in used.by_thread.items() if wakeups >= 5]
    assert len(awake) == 1
    made[0].destroy()
    assert queues.scheduler_cost.threads == 2
    queues.close()


@pytest.mark.parametrize(("where", "threads"), [("cpu", 2), ("sim", 0)])
def test_our_own_scheduler_works_in_the_threads_of_the_queues(session_on, where, threads):
    queues = session_on(where).live()
    for _ in range(2):
        queues().submit(spin("1ms")).wait()
    assert queues.scheduler_cost.threads == threads
    assert (queues.scheduler_cost.processor_time.ns > 0) is (threads > 0)
    queues.close()


@pytest.mark.parametrize("step", costs.STEPS)
@pytest.mark.parametrize("where", ["cpu", "sim"])
def test_our_own_scheduler_keeps_the_limits(session_on, where, step):
    queues = session_on(where).live()
    executor = StepExecutor([queues])
    executor.execute(Step(does=step))
    assert bool(executor.executed) is (where == "cpu")  # in virtual time nothing is measured
    queues.close()


def test_an_event_of_one_of_our_queues_wakes_no_idle_queue(session_on):
    """Under edf all queues but one are suspended, also those without work."""
    queues = session_on("cpu").live()
    queues.set_policy("edf")
    costs.measure("measure_events", queues, ("costs little",))
    queues.close()


def test_the_double_keeps_the_limits(live):
    queues = live()
    for step in costs.STEPS:
        costs.measure(step, queues, ())
    queues.close()


@pytest.mark.parametrize(
    ("faults", "found"),
    [
        ("ticks", {"measure_rest": ["rests without work"]}),
        ("poll", {"measure_events": ["costs little"]}),
        ("wake-all", {"measure_events": ["wake-ups grow with events"]}),
        (
            "keep-memory,keep-queues,large-commands",
            {
                "measure_memory": ["memory is given back", "commands are small"],
                "measure_queues": ["a destroyed queue leaves nothing"],
            },
        ),
    ],
)
def test_faults_cross_the_limits(live, faults, found):
    queues = live(faults)
    for step, rules in found.items():
        check, _ = costs.STEPS[step]
        # On a busy machine a thread that polls may get too little time to be seen at once.
        tries = ([breach.rule for breach in check(queues)] for _ in range(5))
        assert any(list(dict.fromkeys(one)) == rules for one in tries)
    queues.close()


def test_a_limit_counts_as_crossed_if_all_attempts_cross_it(monkeypatch):
    seen = iter([["a", "b"], ["b"], ["a", "b"], ["a"], ["b"]])
    step = (lambda live: [costs.Breach(rule, "much") for rule in next(seen)], ("a", "b"))
    monkeypatch.setitem(costs.STEPS, "measure", step)
    with pytest.raises(BrokenRule, match=r"^b: much"):
        costs.measure("measure", None, ())
    costs.measure("measure", None, ())  # of different rules in two attempts, none counts


def test_a_suspend_that_takes_long_is_found(live):
    queues = live("slow-suspend")
    executor = StepExecutor([queues])
    executor.execute(Step(does="create", queue=0))
    with pytest.raises(
        BrokenRule,
        match=r"suspend returns soon: xq0: suspend\(\) took \S+ m?s, the least of 3 attempts",
    ):
        executor.execute(Step(does="suspend", queue=0))
    queues.close()


@pytest.mark.parametrize("where", ["cpu", "sim"])
def test_suspend_and_resume_return_how_long_they_took(session_on, where):
    queues = session_on(where).live()
    xq = queues()
    took = [xq.suspend(), xq.resume()]
    assert all((one.ns > 0) is (where == "cpu") for one in took)
    assert max(took) < "10s"
    queues.close()


def test_all_costs_are_reported(live):
    queues = live()
    found = costs.all_costs(queues)
    queues.close()
    *lines, last = found.lines()
    kinds = ["at rest", "under load", "events", "events", "events", "memory", "left"]
    assert [line.partition(":")[0] for line in lines] == kinds
    assert last.startswith("suspend() ")
    plain = found.to_dict()
    assert plain["under_load"]["threads"] == plain["at_rest"]["threads"] == 3
    assert plain["under_load"]["wakeups_hz"] > plain["at_rest"]["wakeups_hz"]
    assert [one["queues"] for one in plain["events"]] == [1, 12, 12]
    assert 0 < plain["suspend_ns"]["median"] <= plain["suspend_ns"]["max"]
    assert plain["queues"]["threads"] == 0 and plain["queues"]["kept"] < 1024
    assert plain["commands"]["pending"] > 10 > plain["commands"]["kept"]


def test_costs_are_found_before_random_steps(live):
    no_steps = settings(max_examples=1, stateful_step_count=1, database=None)
    rule = "memory is given back"
    without = {*RULES, *NOT_CLAIMED} - {rule}
    found = first_broken(lambda: live("keep-memory"), no_steps, without=without)
    assert found is not None and found.reproduced
    assert (found.rule, found.steps) == (rule, ("measure_memory(xqueues)",))
    assert first_broken(lambda: live("keep-memory"), no_steps, without={*without, rule}) is None


def test_nothing_is_measured_where_calls_do_not_return():
    played = []
    assert costs.first_breach(played.append, {"wait returns"}) is None and not played
    assert costs.first_breach(played.append, ()) is None and len(played) == len(costs.STEPS)


# ---- of a run


def measured(session, **settings):
    a = session.queue("a", spin("1ms"), priority=1, rate="100/s")
    b = session.queue("b", spin("1ms"), rate="50/s")
    return session.run(a, b, duration="600ms", warmup="100ms", **settings)


def test_a_run_has_what_its_scheduler_costs(xsched_session):
    run = measured(xsched_session, scheduler="xsched")
    cost = run.scheduler_cost
    assert (cost.own_threads, cost.threads) == (True, 2)
    assert 0 < cost.requests <= 105
    assert cost.wakeups and cost.processor_ns
    assert run.to_dict()["scheduler_cost"] == cost.to_dict()
    run.assert_scheduler_cost(processors=2.01, wakeups_per_request=1000)
    with pytest.raises(TargetMissed, match=r"^scheduler: processors 0\..* is not below 1e-09"):
        run.assert_scheduler_cost(processors=1e-9)
    with pytest.raises(TargetMissed, match=r"^scheduler: wake-ups a request .* not below 0\.001"):
        run.assert_scheduler_cost(wakeups_per_request=0.001)
    assert [verdict.judged for verdict in run.verdicts] == ["scheduler"] * 4


@pytest.mark.parametrize(
    ("where", "scheduler", "words"),
    [
        ("sim", "builtin", "in virtual time the scheduler has no threads"),
        ("cpu", "native", "under native no scheduler of this machine has threads"),
    ],
)
def test_where_there_is_no_thread_there_is_no_verdict(session_on, where, scheduler, words):
    run = measured(session_on(where), scheduler=scheduler)
    assert run.scheduler_cost is None
    with pytest.raises(InvalidRun, match=f"^no verdict: {words}"):
        run.assert_scheduler_cost(processors=0.5)
    with pytest.raises(ScenarioError, match=r"no limit is given; pass processors=0\.05"):
        run.assert_scheduler_cost()
    with pytest.raises(ScenarioError, match="assert_scheduler_cost: processors"):
        run.assert_scheduler_cost(processors=0)


def test_our_own_scheduler_costs_what_the_threads_of_the_queues_use(session_on):
    cost = measured(session_on("cpu"), scheduler="builtin").scheduler_cost
    assert (cost.own_threads, cost.threads) == (False, 2)
    assert cost.wakeups and cost.processor_ns and cost.requests

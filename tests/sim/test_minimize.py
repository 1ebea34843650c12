"""What random steps find, with the fewest steps, where a scheduler in virtual time is made bad."""

import dataclasses
import itertools

import pytest
from hypothesis import settings
from hypothesis.errors import Flaky

from pytest_xsched import (
    CpuModel,
    Duration,
    ScenarioError,
    Session,
    SimModel,
    WorkerCrashed,
    WorkerHung,
    XSchedError,
    spin,
)
from pytest_xsched.base.units import parse_duration
from pytest_xsched.native.binding import Device
from pytest_xsched.runner.live_place import Here
from pytest_xsched.runner.live_queues import XQueues
from pytest_xsched.session.settings import Settings
from pytest_xsched.stress import minimize, overlap
from pytest_xsched.stress.minimize import all_broken, first_broken
from pytest_xsched.stress.pairs import pairs_of_steps
from pytest_xsched.stress.state_machine import OpenDevices, check_xqueues, replayed
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import BrokenRule, Step

MANY = settings(max_examples=200, stateful_step_count=20, derandomize=True, database=None)
FEW = settings(max_examples=10, stateful_step_count=20, derandomize=True, database=None)
HELD = {f"destroy returns {where} a held queue" for where in ("of", "next to")}


def hangs(queue):
    if queue.counts().submitted:
        raise WorkerHung("XSched did not return from destroying it within 5 s")


class BadQueue:
    """A queue of a run that does one thing otherwise."""

    def __init__(self, queue, fault, priority):
        self._queue = queue
        self._said = priority
        self._suspends = 0
        self._instead = {
            "destroy": {"destroy": lambda _work_ns: hangs(queue)},
            "resume": {"resume": lambda: None},
            "suspends": {"suspend": self._suspend, "resume": self._resume},
            "priority": {"counts": self._lie, "set_priority": self._take},
        }.get(fault, {})

    def __getattr__(self, name):
        return self._instead.get(name) or getattr(self._queue, name)

    def _lie(self):
        return dataclasses.replace(self._queue.counts(), priority=self._said)

    def _take(self, priority):
        self._said = priority

    def _suspend(self):
        self._suspends += 1
        return self._queue.suspend()

    def _resume(self):
        """Undo one suspend; each one needs a resume."""
        self._suspends -= 1
        return self._queue.resume() if self._suspends == 0 else 0


class BadAtTimes(BadQueue):
    """A queue that may hang when it is destroyed, by chance."""

    def __init__(self, queue, chance):
        super().__init__(queue, "", 0)
        self._instead = {"destroy": self._destroy}
        self._chance = chance

    def _destroy(self, work_ns):
        if self._queue.counts().submitted and self._chance():
            hangs(self._queue)
        self._queue.destroy(work_ns)


class BadRun:
    def __init__(self, run, fault):
        self._run = run
        self._fault = fault
        self._made = 0

    def __getattr__(self, name):
        return getattr(self._run, name)

    def add_manual(self, settings):
        given = settings.priority
        if self._fault == "priority":  # each queue is below those before it, and says it is not
            settings = dataclasses.replace(settings, priority=-self._made)
        self._made += 1
        if callable(self._fault):
            return BadAtTimes(self._run.add_manual(settings), self._fault)
        return BadQueue(self._run.add_manual(settings), self._fault, given)

    def switch_off(self):
        if self._fault != "switch_off":
            self._run.switch_off()


class BadPlace(Here):
    def __init__(self, device, fault):
        super().__init__(device, "hpf")
        self.fault = fault

    def open_run(self):
        return BadRun(super().open_run(), self.fault)


def make(fault):
    return lambda: XQueues(BadPlace(Device("sim", cpu=CpuModel(), sim=SimModel()), fault))


def test_nothing_is_found_in_what_is_good():
    assert first_broken(make(""), FEW) is None
    assert all_broken(make(""), FEW) == []


def test_a_queue_that_is_never_resumed():
    # it breaks these, too
    others = {"highest runs", "off means off", "highest first", "a new policy decides"}
    found = first_broken(make("resume"), MANY, without=others)
    assert found.rule == "wait returns"
    assert found.steps[0] == "q0 = xqueues(priority=0, threshold=4, batch_size=2)"
    assert found.steps[-2:] == ("q0.resume()", "q0.wait()")
    assert len(found.steps) <= 6
    assert found.reproduced == found.repeats == 3
    assert str(found).splitlines()[1:] == list(found.steps)


def test_a_call_that_hangs_in_some_state():
    found = first_broken(make("destroy"), MANY)
    assert found.rule == "destroy returns"
    assert list(found.steps) == [
        "q0 = xqueues(priority=0, threshold=4, batch_size=2)",
        'q0.submit(spin("1ms"))',
        "q0.destroy()",
    ]


def test_two_suspends_of_one_queue_which_random_steps_seldom_have():
    """The search for fewer steps went on for ever: it moved the second suspend to the first."""
    others = {"highest runs", "off means off", "highest first"}  # it breaks these, too
    found = first_broken(make("suspends"), MANY, without=others)
    assert found.rule == "wait returns" and found.reproduced
    assert [line.split(".")[1] for line in found.steps[1:]] == [
        *("suspend()", "suspend()", 'submit(spin("1ms"))', "resume()", "wait()")
    ]


def test_pairs_of_steps_are_different_and_keep_all_rules():
    pool, programs = OpenDevices(make(""), 1), pairs_of_steps(0)
    assert len(set(programs)) == len(programs) > 100
    for steps in programs:
        assert pool.play(steps, (), "10s") is None
    pool.close()


def test_as_many_pairs_of_steps_as_random_sequences_are_taken(monkeypatch):
    played, play = [], OpenDevices.play
    monkeypatch.setattr(
        OpenDevices,
        "play",
        lambda self, steps, *args: played.append(steps) or play(self, steps, *args),
    )
    monkeypatch.setattr(minimize, "first_breach", lambda *_: None)
    assert first_broken(make(""), FEW) is None
    assert len(played) == 10


def test_the_time_of_steps_is_no_failure():
    soon = settings(max_examples=5, stateful_step_count=5, database=None, deadline=1)
    check_xqueues(make(""), soon, devices=1)


NEVER_RESUMED = (
    Step(does="create", queue=0, priority=1),
    Step(does="create", queue=1, priority=2),
    Step(does="submit", queue=1),
    Step(does="suspend", queue=0),
    Step(does="set_launch_config", queue=1, depth=(1, 1)),
    Step(does="submit", queue=0),
    Step(does="wait", queue=1),
    Step(does="resume", queue=0),
    Step(does="wait", queue=0),
)


def test_few_attempts_break_the_rule_again(monkeypatch):
    """Each of them would be a hang and a fresh process."""
    broke = []
    play = OpenDevices.play

    def counted(self, steps, *args, hurry=False):
        broken = play(self, steps, *args, hurry=hurry)
        if broken is not None:
            broke.append((len(steps), hurry))
        return broken

    monkeypatch.setattr(OpenDevices, "play", counted)
    pool = OpenDevices(make("resume"), 1)
    without = {"highest runs", "off means off", "highest first"}
    first = pool.play(NEVER_RESUMED, without, "10s")
    assert first.rule == "wait returns" and len(first.steps) == 9
    broke.clear()
    found = minimize._fewest(pool, minimize._Found(first, ()), without, "10s")
    pool.close()
    assert found.reproduced and len(found.steps) == 5
    # Shorter work gets three. Only those in fresh processes at the end have the whole patience.
    assert broke == [(5, True), (4, True), (4, True), *3 * [(5, True)], *3 * [(5, False)]]


def test_a_longer_program_that_always_breaks_the_rule_is_better_than_a_short_one(monkeypatch):
    """The shortest one may have broken it by chance."""
    odds = itertools.cycle([True, False])

    def play(self, steps, *args, hurry=False):
        breaks = len(steps) > 3 or next(odds)
        return BrokenRule("threshold", "too many", steps) if breaks else None

    monkeypatch.setattr(OpenDevices, "play", play)
    breaches = [BrokenRule("threshold", "", NEVER_RESUMED[:count]) for count in (9, 4, 3, 2)]
    found = minimize._surest(OpenDevices(make(""), 1), breaches, (), "10s")
    assert len(found.steps) == 4 and found.reproduced == found.repeats
    assert "fresh" not in str(found)


def test_steps_that_come_again_end_the_search_for_simpler_ones():
    """What the executor adds to a simpler program may make the old one of it."""
    best = BrokenRule("wait returns", "never", NEVER_RESUMED)
    simpler_ones = []

    def again(steps, tries):
        assert len(simpler_ones) < 1000, "without an end"
        simpler_ones.append(steps)
        return best if len(steps) == len(best.steps) else None

    assert minimize._shrunk(best, again) == [best]
    assert any(len(steps) == len(best.steps) and steps != best.steps for steps in simpler_ones)


def test_a_finding_that_does_not_always_come_again_is_named_as_such():
    found = minimize._counterexample(BrokenRule("threshold", "too many"), 2)
    assert str(found) == "threshold: too many (seen again in 2 of 3 fresh processes only)"


def test_what_hangs_only_for_a_short_patience_is_no_hang(monkeypatch):
    """The steps that were found with a short patience are tried with the whole one."""
    play = OpenDevices.play

    def slow(self, steps, without, patience, *, hurry=False):
        if hurry:  # each call is late
            return BrokenRule("destroy returns", "late", steps)
        return play(self, steps, without, patience)

    monkeypatch.setattr(OpenDevices, "play", slow)
    found = first_broken(make("destroy"), MANY)
    assert found.reproduced and found.sentence != "late"
    assert any("submit" in step for step in found.steps)


def test_a_first_search_has_few_and_short_sequences(monkeypatch):
    given = []
    monkeypatch.setattr(
        minimize, "run_state_machine_as_test", lambda machine, settings: given.append(settings)
    )
    assert first_broken(make(""), settings(max_examples=50, stateful_step_count=8)) is None
    assert [one.max_examples for one in given] == 60 * [1]  # each sequence has its own search
    assert [one.stateful_step_count for one in given] == 10 * [6] + 50 * [8]


def test_each_finding_is_printed_before_the_search_for_the_next_one():
    events, opened = [], make("destroy")

    def open_one():
        events.append("open")
        return opened()

    found = all_broken(open_one, FEW, say=events.append)
    said = [event for event in events if event != "open"]
    assert said == [str(one) for one in found] and said
    assert "q0.destroy()" in said[0].splitlines()
    # Each was followed by a search, the last one by one that found nothing.
    assert all(events[events.index(text) + 1] == "open" for text in said)


def test_a_scheduler_that_is_switched_off_and_is_not():
    found = first_broken(make("switch_off"), MANY)
    assert found.rule == "off means off"
    assert "xqueues.switch_off()" in found.steps
    assert len(found.steps) <= 6


def test_a_scheduler_is_switched_on_again_while_queues_wait():
    queues = Session(Settings(device="sim")).live()
    executor = StepExecutor([queues])
    for number in (0, 1):
        executor.execute(Step(does="create", priority=number))
        executor.execute(Step(does="load", queue=number))
    (low, _), on = (executor.queues.values()), Step(does="switch_on")
    executor.execute(on)  # it is on
    assert executor.executed[-1] != on
    for step, state in ((Step(does="switch_off"), "ready"), (on, "suspended")):
        executor.execute(step)
        assert executor.executed[-1] == step and low.xq.state == state
    assert str(on) == "xqueues.switch_on()"
    executor.finish()
    queues.close()


@pytest.mark.parametrize("where", ["of", "next to"])
def test_what_is_submitted_at_once_may_keep_a_call_on_a_held_queue(where):
    name = f"set_launch_config returns {where} a held queue"
    queues = Session(Settings(device="sim")).live()
    executor = StepExecutor([queues], without={name})
    executor.execute(Step(does="create"))
    executor.execute(Step(does="create"))
    executor.execute(Step(does="suspend", queue=0))
    # It waits for all work before it. The held queue has none, but the submit may come first.
    submits = tuple(Step(does="submit", queue=number) for number in (0, 0, 1))
    configure = Step(does="set_launch_config", queue=0 if where == "of" else 1, depth=(4, 3))
    assert overlap.possible(executor, (*submits, configure)) == submits
    executor.execute(configure)
    assert executor.executed[-1] == configure
    executor.finish()
    queues.close()


@pytest.mark.parametrize("last", ["share", "wait"])
def test_equals_of_which_one_starves(last):
    executor = StepExecutor([make("priority")()], without={"highest runs", "highest first"})
    for number in (0, 1):
        executor.execute(Step(does="create", depth=(1, 1)))
        executor.execute(Step(does="submit", queue=number, workload=spin("1ms", layers=12)))
    with pytest.raises(BrokenRule, match="equals run together: xq"):
        executor.execute(Step(does=last, queue=0))


def test_a_scheduler_that_breaks_a_rule_by_chance_is_the_finding_and_not_the_test(monkeypatch):
    """Hypothesis alone ends in FlakyFailure, or in FlakyStrategyDefinition."""
    once = iter([True])
    monkeypatch.setattr(overlap, "possible", lambda *_: ())  # the last step is one call
    without = {*HELD, "destroy returns below a load"}
    with pytest.raises(BrokenRule) as raised:
        check_xqueues(make(lambda: next(once, False)), MANY, devices=1, without=without)
    broken = raised.value
    assert broken.rule == "destroy returns"
    assert str(broken.steps[0]).startswith("q0 = xqueues(")
    assert str(broken.steps[-1]).endswith(".destroy()")
    assert broken.sentence == (
        "XSched did not return from destroying it within 5 s; "
        "these steps broke the rule again in 0 of 5 replays"
    )


def test_replays_of_what_a_scheduler_does_by_chance_are_counted():
    chance = itertools.cycle([True, False])
    pool = OpenDevices(make(lambda: next(chance)), 1)
    steps = [Step(does="create"), Step(does="submit", queue=0), Step(does="destroy", queue=0)]
    broken = pool.play(steps, (), "1s")
    assert broken is not None and broken.rule == "destroy returns"
    pool.broken.append(broken)
    assert "in 2 of 5 replays" in str(replayed(pool, (), "1s"))


def test_an_error_of_hypothesis_without_a_broken_rule_stays_what_it_is():
    class Broken(Exception):
        pass

    once = iter([True])

    def opened():
        if next(once, False):
            raise Broken
        return make("")()

    with pytest.raises(Flaky):
        check_xqueues(opened, FEW, devices=1)


class Burning:
    """Live queues in a process that is never idle."""

    is_virtual = False

    def __init__(self):
        self.now = self.processor_time = Duration(0)

    def sleep(self, duration):
        self.now = self.processor_time = Duration(self.now.ns + parse_duration(duration, what=""))


def test_an_idle_process_that_burns_a_processor():
    with pytest.raises(BrokenRule, match="idle burns nothing: 50000000 ns of 50000000 ns"):
        StepExecutor([Burning()]).execute(Step(does="idle"))
    StepExecutor([Burning()], without={"idle burns nothing"}).execute(Step(does="idle"))


def test_a_queue_that_does_not_stop_for_a_higher_one():
    executor = StepExecutor([make("priority")()], without={"highest runs"})
    executor.execute(Step(does="create", priority=1))  # it is the higher one, whatever it says
    executor.execute(Step(does="create", priority=2))
    with pytest.raises(BrokenRule, match=r"highest first: xq0 launched .* while xq1"):
        executor.execute(Step(does="compete", queue=1))
    good = StepExecutor([make("")()])
    for step in (Step(does="create", priority=1), Step(does="create", priority=2)):
        good.execute(step)
    good.execute(Step(does="compete", queue=1))
    good.execute(Step(does="compete", queue=0))  # nothing is below it, so nothing happens
    assert [step.does for step in good.executed] == ["create", "create", "compete"]
    good.finish()


class Stuck:
    """Live queues in another process, where nothing can be destroyed."""

    is_elsewhere = True

    def __init__(self, error):
        self._error = error

    def limit_calls(self, _):
        pass

    def clear(self):
        raise self._error("while it destroyed all queues")

    close = clear


@pytest.mark.parametrize("error", [WorkerHung, WorkerCrashed])
@pytest.mark.parametrize("broken", [True, False])
def test_queues_that_cannot_be_destroyed_do_not_end_the_search(broken, error):
    pool = OpenDevices(lambda: Stuck(error), 1)
    first = pool.open()
    pool.leave(first, broken=broken)
    assert pool.open() != first and pool.were_fresh


class Opens:
    """Opens live queues after some attempts, whose process crashed."""

    def __init__(self, crashes):
        self.left = crashes

    def __call__(self):
        if self.left:
            self.left -= 1
            raise WorkerCrashed("the worker process was ended by SIGSEGV", returncode=-11)
        return XQueues(Here(Device("sim", cpu=CpuModel(), sim=SimModel()), "hpf"))


@pytest.mark.parametrize(("crashes", "reproduced"), [(1, 0), (2, 1), (1000, 3)])
def test_a_process_that_ends_before_it_has_live_queues_is_a_finding(crashes, reproduced):
    (found,) = all_broken(Opens(crashes), FEW, most=1)
    assert (found.rule, found.steps) == ("the process survives", ())
    assert (found.sentence, found.reproduced) == (
        "the worker process was ended by SIGSEGV",
        reproduced,
    )


def test_the_first_device_is_closed_if_the_second_one_cannot_be_opened():
    open_ones = [make("")()]

    def one_only():
        if open_ones:
            return open_ones.pop()
        raise WorkerCrashed("the worker process was ended by SIGSEGV", returncode=-11)

    (first,) = open_ones
    with pytest.raises(BrokenRule, match="ended by SIGSEGV"):
        OpenDevices(one_only, 2).open()
    with pytest.raises(XSchedError):
        first()


def test_a_process_that_never_has_live_queues_is_one_finding():
    assert len(all_broken(Opens(1000), FEW)) == 1


def test_check_xqueues_reports_it():
    with pytest.raises(BrokenRule, match="ended by SIGSEGV"):
        check_xqueues(Opens(1000), FEW, 1)
    with pytest.raises(BrokenRule, match="again in 0 of 5 replays"):
        check_xqueues(Opens(1), FEW, 1)


def test_a_process_that_ends_in_each_sequence_is_one_finding(monkeypatch):
    def crash(self, step):
        raise WorkerCrashed("the worker process was ended by SIGSEGV")

    monkeypatch.setattr(StepExecutor, "_submit", crash)
    (found,) = all_broken(Opens(0), FEW)
    assert (found.rule, found.reproduced) == ("the process survives", 3)


def test_another_policy_decides_at_once():
    queues = make("")()
    low, high = queues(priority=1), queues(priority=2)
    long, short = high.submit(spin("1ms", layers=20)), low.submit(spin("1ms"))
    queues.sleep("5ms")
    assert low.state == "suspended"
    queues.set_policy("none")
    assert low.state == "ready"
    assert short.wait().completed_ns < long.wait().completed_ns
    queues.set_policy("hpf")
    high.submit(spin("1ms"))
    low.submit(spin("1ms"))
    assert low.state == "suspended"
    with pytest.raises(ScenarioError, match="set_policy"):
        queues.set_policy("kedf")


def test_a_new_policy_that_is_not_set():
    class Deaf(BadPlace):
        def open_run(self):
            run = super().open_run()
            run.set_policy = lambda name: None
            return run

    executor = StepExecutor([XQueues(Deaf(Device("sim", cpu=CpuModel(), sim=SimModel()), ""))])
    executor.execute(Step(does="create", priority=1))
    executor.execute(Step(does="create", priority=2))
    with pytest.raises(BrokenRule, match="a new policy decides: xq0 stayed suspended under none"):
        executor.execute(Step(does="change_policy", queue=1))

"""What random steps find, with the fewest steps, where a scheduler in virtual time is made bad."""

import dataclasses

import pytest
from hypothesis import settings

from pytest_xsched import CpuModel, Duration, SimModel, WorkerHung, spin
from pytest_xsched.base.units import parse_duration
from pytest_xsched.native.binding import Device
from pytest_xsched.runner.live_queues import Here, XQueues
from pytest_xsched.stress.minimize import all_broken, first_broken
from pytest_xsched.stress.step_executor import StepExecutor
from pytest_xsched.stress.steps import BrokenRule, Step

MANY = settings(max_examples=200, stateful_step_count=20, derandomize=True, database=None)


def hangs(queue):
    if queue.counts().submitted:
        raise WorkerHung("XSched did not return from destroying it within 5 s")


class BadQueue:
    """A queue of a run that does one thing otherwise."""

    def __init__(self, queue, fault, priority):
        self._queue = queue
        self._said = priority
        self._instead = {
            "destroy": {"destroy": lambda: hangs(queue)},
            "resume": {"resume": lambda: None},
            "priority": {"counts": self._lie, "set_priority": self._take},
        }.get(fault, {})

    def __getattr__(self, name):
        return self._instead.get(name) or getattr(self._queue, name)

    def _lie(self):
        return dataclasses.replace(self._queue.counts(), priority=self._said)

    def _take(self, priority):
        self._said = priority


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
    assert first_broken(make(""), settings(max_examples=10, stateful_step_count=20)) is None
    assert all_broken(make(""), settings(max_examples=10, stateful_step_count=20)) == []


def test_a_queue_that_is_never_resumed():
    found = first_broken(make("resume"), MANY, without={"highest runs", "off means off"})
    assert found.rule == "wait returns"
    assert found.steps[0] == "q0 = xqueues(priority=0, threshold=4, batch_size=2)"
    assert found.steps[-2:] == ("q0.resume()", "q0.wait()")
    assert len(found.steps) <= 6
    assert found.reproduced
    assert str(found).splitlines()[1:] == list(found.steps)


def test_a_call_that_hangs_in_some_state():
    found = first_broken(make("destroy"), MANY)
    assert found.rule == "destroy returns"
    assert list(found.steps) == [
        "q0 = xqueues(priority=0, threshold=4, batch_size=2)",
        'q0.submit(spin("1ms"))',
        "q0.destroy()",
    ]


def test_a_scheduler_that_is_switched_off_and_is_not():
    found = first_broken(make("switch_off"), MANY)
    assert found.rule == "off means off"
    assert "xqueues.switch_off()" in found.steps
    assert len(found.steps) <= 6


@pytest.mark.parametrize("last", ["share", "wait"])
def test_equals_of_which_one_starves(last):
    executor = StepExecutor([make("priority")()], without={"highest runs", "highest first"})
    for number in (0, 1):
        executor.execute(Step(does="create", depth=(1, 1)))
        executor.execute(Step(does="submit", queue=number, workload=spin("1ms", layers=12)))
    with pytest.raises(BrokenRule, match="equals run together: xq"):
        executor.execute(Step(does=last, queue=0))


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

"""What the rounds of two programs say of a hint from outside; no program runs here."""

from __future__ import annotations

import pytest

from pytest_xsched.conformance.observed_program import Ended, Skipped
from pytest_xsched.conformance.outside_hints import HIGHER, HINTED, LOWER, hint_without_effect

HANDLES = (2**64 - 1, 7)


class Machine:
    """Two programs and a server; programs complete rounds by the phase that the test has reached.

    Args:
        phases: for each phase, the rounds of the lower and the higher program at each poll.
        dies: the phase in which the lower program ends; None: it ends when it is told.
    """

    def __init__(self, *phases, handles=HANDLES, refusal="", dies=None):
        self.phases = phases
        self.handles = handles
        self.refusal = refusal
        self.dies = dies
        self.programs = {}
        self.hints = []
        self.polls = 0

    @property
    def phase(self):
        return len(self.hints) // max(len(self.handles), 1)

    def start(self, priority):
        self.programs[priority] = Program(self, list(self.programs), 100 + priority)
        return self.programs[priority]

    def xqueues_of(self, pid):
        assert pid == 100 + LOWER
        return self.handles

    def hint_priority(self, handle, priority):
        self.hints.append((handle, priority))
        return self.refusal


class Program:
    limit_s = 1.0

    def __init__(self, machine, earlier, pid):
        self.machine = machine
        self.index = len(earlier)
        self.pid = pid
        self.rounds = 0
        self.is_told = False

    def goes_on(self, rounds):
        self.rounds += rounds
        return True

    def drain(self):
        pass

    def allow(self, limit_s):
        pass

    def is_late(self):
        return False

    def is_running(self):
        return self.index != 0 or self.machine.dies != self.machine.phase

    def listen(self, timeout_s):
        self.rounds += self.machine.phases[self.machine.phase][self.index].pop(0)

    def close_input(self):
        self.is_told = True

    def end(self):
        return Ended(
            status=0 if self.is_told else -6,
            seconds=1.0,
            last="its program hangs when it ends",
            shims=(True,),
            words="",
        )


def steady(lower, higher):
    """Return the rounds of both at each of many polls."""
    return [lower] * 100, [higher] * 100


def test_a_hint_with_effect_is_no_breach():
    machine = Machine(steady(0, 1), steady(2, 1))
    assert hint_without_effect(machine.start, machine) == ""
    assert machine.hints == [(handle, HINTED) for handle in HANDLES]
    assert all(program.is_told for program in machine.programs.values())


def test_a_hint_that_is_lost_is_a_breach_with_the_rounds_of_both():
    machine = Machine(steady(0, 1), steady(0, 1))
    assert hint_without_effect(machine.start, machine) == (
        f"after the server has taken a hint, the program of priority {HINTED} completes 0 rounds "
        f"while that of priority {HIGHER} completes 6"
    )


def test_programs_that_share_after_the_hint_are_a_breach():
    machine = Machine(steady(0, 1), steady(1, 1))
    assert "completes 6 rounds while" in hint_without_effect(machine.start, machine)


def test_a_program_that_waited_for_a_processor_once_is_no_breach():
    late = ([0] * 10 + [1] * 90, [1] * 10 + [0] * 90)
    machine = Machine(steady(0, 1), late)
    assert hint_without_effect(machine.start, machine) == ""


def test_the_rounds_right_after_the_hint_do_not_count():
    machine = Machine(steady(0, 1), ([0] * 4 + [1] * 96, [1] * 4 + [0] * 96))
    assert hint_without_effect(machine.start, machine) == ""


def test_priorities_without_effect_show_nothing():
    machine = Machine(steady(1, 1))
    with pytest.raises(
        Skipped,
        match=rf"before the hint: the program of priority {HIGHER} completes 6 rounds while that "
        rf"of priority {LOWER} completes 6$",
    ):
        hint_without_effect(machine.start, machine)
    assert not machine.hints


def test_a_server_that_names_no_xqueue_shows_nothing():
    machine = Machine(steady(0, 1), handles=())
    with pytest.raises(Skipped, match="names no XQueue"):
        hint_without_effect(machine.start, machine)


def test_a_refused_hint_is_a_breach_with_the_answer():
    machine = Machine(steady(0, 1), refusal="status 400, '{}'")
    assert hint_without_effect(machine.start, machine) == (
        f"the server refuses a hint of priority {HINTED}: status 400, '{{}}'"
    )


def test_a_program_that_the_hint_ends_is_a_breach():
    machine = Machine(steady(0, 1), steady(1, 0), dies=1)
    assert hint_without_effect(machine.start, machine) == (
        "after the server has taken a hint, its program was ended by SIGABRT"
    )


def test_a_program_that_ends_before_shows_nothing():
    machine = Machine(steady(0, 1), dies=0)
    with pytest.raises(Skipped, match=r"^before the hint, its program was ended by SIGABRT"):
        hint_without_effect(machine.start, machine)

"""What a program of a case reports of itself; a shell stands for the program."""

from __future__ import annotations

import os
import time

import pytest

from pytest_xsched.conformance.observed_program import Observed


@pytest.fixture
def observed():
    started = []

    def start(script, limit_s):
        started.append(Observed(["sh", "-c", script], os.environ, limit_s))
        return started[-1]

    yield start
    for program in started:
        program.allow(0)
        program.end()


def test_rounds_that_were_completed_before_do_not_show_that_it_goes_on(observed, tmp_path):
    """As where its server ends: it must go on after that."""
    file = tmp_path / "done"
    program = observed(f"echo round; echo round; touch {file}; read line", 0.3)
    while not file.exists():
        time.sleep(0.01)
    assert not program.goes_on(1)
    assert program.rounds == 2


def test_a_program_that_goes_on(observed):
    program = observed("while :; do echo round; sleep 0.01; done", 100.0)
    assert program.goes_on(3) and program.goes_on(3)
    assert program.rounds >= 6

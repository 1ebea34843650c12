"""What the doctor says about the scheduler that a program of the user would get."""

import types

import pytest

from pytest_xsched.doctor.checks import _report


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("using local scheduler with policy HPF", "'using local scheduler with policy HPF'"),
        ("using app-managed scheduler", "', which schedules nothing"),
        (
            "using global scheduler",
            "', whose server (xserver) listens on every network interface and asks for no "
            "password: let a firewall close its port",
        ),
    ],
)
def test_the_end_of_the_sentence(line, end):
    ended = types.SimpleNamespace(output=f"[XSCHED INFO] {line}\n")
    assert _report(types.SimpleNamespace(end=lambda: ended)).endswith(end)

"""What pytest can be told to do instead of running tests: doctor, soak, conformance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_xsched.session.settings import time_ns

if TYPE_CHECKING:
    from pytest_xsched.conformance.command import ConformanceRequest


def add_commands(parser: pytest.Parser) -> None:
    """Register their options, which have no ini keys."""
    group = parser.getgroup("xsched")
    group.addoption(
        "--xsched-doctor",
        metavar="json",
        nargs="?",
        const="text",
        default=None,
        help="run no tests, but say in twelve checks whether XSched works here",
    )
    group.addoption(
        "--xsched-soak",
        metavar="TIME",
        default=None,
        help="run no tests, but random scenarios and steps for so long, and look for what grows",
    )
    group.addoption(
        "--xsched-conformance",
        metavar="POLICIES",
        nargs="?",
        const="",
        default=None,
        help="run no tests, but hold scheduling policies (all, or those named, with commas) "
        "against what is claimed of them; 'json' among them: for machines",
    )
    group.addoption(
        "--xsched-conformance-budget",
        metavar="TIME",
        default="2min",
        help="for random scenarios of all policies together (default: 2min)",
    )


def doctor_form(config: pytest.Config) -> str | None:
    """Give how --xsched-doctor is to report: ``"text"`` or ``"json"``; None: not asked for.

    Raises:
        pytest.UsageError: for anything else, as is a path behind the option.
    """
    form: str | None = config.getoption("xsched_doctor")
    if form not in (None, "text", "json"):
        raise pytest.UsageError(
            f"--xsched-doctor: {form!r} is unknown; --xsched-doctor=json, or nothing behind it"
        )
    return form


def soak_duration_ns(config: pytest.Config) -> int | None:
    """Give how long --xsched-soak is to go on; None: not asked for.

    Raises:
        pytest.UsageError: it is not a time.
    """
    return time_ns(config.getoption("xsched_soak"), "--xsched-soak")


def conformance_request(config: pytest.Config) -> ConformanceRequest | None:
    """Give what --xsched-conformance asks for; None: nothing.

    Raises:
        pytest.UsageError: a policy is unknown, or the budget is not a time.
    """
    value: str | None = config.getoption("xsched_conformance")
    if value is None:
        return None
    from pytest_xsched.conformance.command import ConformanceRequest
    from pytest_xsched.conformance.spec import NAMES

    words = [word.strip() for word in value.split(",") if word.strip()]
    names = tuple(word for word in words if word != "json")
    for name in names:
        if name not in NAMES:
            raise pytest.UsageError(
                f"--xsched-conformance: policy {name!r} is unknown; known: {', '.join(NAMES)}"
            )
    budget_ns = time_ns(
        config.getoption("xsched_conformance_budget"), "--xsched-conformance-budget"
    )
    assert budget_ns is not None
    form = "json" if "json" in words else "text"
    return ConformanceRequest(form=form, names=names, budget_ns=budget_ns)

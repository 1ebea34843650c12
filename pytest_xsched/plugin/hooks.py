"""The pytest plugin: hooks only, each handing on to the module that does the work.

Imports neither numpy nor the native module; see `state`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xsched.plugin.commands import (
    add_commands,
    conformance_request,
    doctor_form,
    soak_duration_ns,
)
from pytest_xsched.plugin.fixtures import set_clock, xqueues, xsched
from pytest_xsched.plugin.state import State, is_worker, keep, state_of
from pytest_xsched.session.settings import (
    MARKER_KEYS,
    add_options,
    read_marker,
    read_settings,
)

if TYPE_CHECKING:
    from pytest_xsched.conformance.command import ConformanceRequest

__all__ = ["xqueues", "xsched"]  # fixtures are found as attributes of a plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)
    add_commands(parser)


def pytest_configure(config: pytest.Config) -> None:
    keep(config, State(config, read_settings(config)))
    config.addinivalue_line(
        "markers",
        f"xsched({', '.join(f'{key}=...' for key in MARKER_KEYS)}): settings of the runs that a "
        "test, a class or a module makes; they win over the command line, but for "
        "--xsched-duration (pytest-xsched)",
    )


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    form = doctor_form(config)
    soak_ns = soak_duration_ns(config)
    request = conformance_request(config)
    if soak_ns is not None:
        return _soak(config, soak_ns)
    if request is not None:
        return _conform(config, request)
    if form is None:
        return None
    from pytest_xsched.doctor.checks import examine

    settings = read_settings(config)
    diagnosis = examine(
        settings.device,
        home=settings.xsched_home,
        driver=settings.gpu_driver,
        compiler=settings.gpu_compiler,
        environment=dict(os.environ),
    )
    diagnosis.print(form)
    return diagnosis.exit_status


def _soak(config: pytest.Config, duration_ns: int) -> int:
    from pytest_xsched.plugin.soak import soak
    from pytest_xsched.session.session import Session

    settings = read_settings(config)
    if settings.process == "auto":  # what leaks in a worker would end with it
        settings = replace(settings, process="inside")
    session = Session(settings)
    try:
        return soak(session, duration_ns, print)
    finally:
        session.close()


def _conform(config: pytest.Config, request: ConformanceRequest) -> int:
    from pytest_xsched.conformance.command import conform
    from pytest_xsched.errors import DeviceError, ScenarioError

    settings = read_settings(config)
    directory = settings.corpus or config.rootpath / ".xsched" / "conformance"
    try:
        return conform(settings, request, directory, functools.partial(print, flush=True))
    except (ScenarioError, DeviceError) as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> str | None:
    settings = state_of(config).settings
    if not settings.asked_for:
        return None
    required = f", required {settings.require_device}" if settings.require_device else ""
    return (
        f"xsched: device {settings.device}{required}, scheduler {settings.scheduler}, "
        f"seed {settings.seed}"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_worker(config):
        return  # xdist takes a usage error here for a crash; the set-up of the test raises it
    for item in items:
        read_marker(item)
    set_clock(config, items)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "known_scenario" in metafunc.fixturenames:
        known = state_of(metafunc.config).known_scenarios()
        metafunc.parametrize("known_scenario", known.values(), ids=known)


def pytest_collection_finish(session: pytest.Session) -> None:
    # In an xdist worker, too: each collects all tests, so that all divide by the same number.
    uses = [item for item in session.items if "xsched" in getattr(item, "fixturenames", ())]
    state_of(session.config).tests = len(uses)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    state_of(item.config).begin(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    state = state_of(item.config)
    if state.session is None:
        return (yield)
    from pytest_xsched.plugin import outcome

    if call.when == "call" and outcome.failed(call):
        state.keep_trial(item.nodeid)
    fresh = state.attribute(item.nodeid)
    outcome.set_properties(item, call, fresh)
    outcome.shorten(call)
    report = yield
    outcome.explain(report, call, fresh, lambda device: state.again(item, device))
    outcome.hold_to_misses(report, call, state.misses, state.compared)
    return report


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, str] | None:
    if getattr(report, "xsched_invalid", False):
        return "error", "E", "ERROR"
    return None


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    if "pytest_xsched.base.quantity" not in sys.modules:
        return None
    from pytest_xsched.plugin import outcome

    lines = outcome.compare_lines(op, left, right)
    state_of(config).compared |= lines is not None
    return lines


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    state = state_of(config)
    records = state.records()
    if not records and not state.complaint:
        return
    from pytest_xsched.reporting.comparison_table import summary

    terminalreporter.section("xsched")
    for line in summary(records):
        terminalreporter.line(line)
    for finding in state.findings:
        terminalreporter.line(f"{finding['status'].upper()} {finding['sentence']}")
    if state.complaint:
        terminalreporter.line(state.complaint, red=True)


@pytest.hookimpl(tryfirst=True)  # before the JUnit file is written
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    state = state_of(config)
    nothing_ran = exitstatus in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR)
    if not nothing_ran:
        state.settle_baselines()
    if is_worker(config):
        config.workeroutput["xsched"] = state.to_controller()  # type: ignore[attr-defined]
        return
    state.record_findings()
    if exitstatus == pytest.ExitCode.OK:
        session.exitstatus = state.exit_status()
    if not nothing_ran and not config.option.collectonly and not state.write_files():
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["xsched_seed"] = state_of(node.config).settings.seed


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    packed = getattr(node, "workeroutput", {}).get("xsched")
    if packed is not None:
        state_of(node.config).from_worker(packed)

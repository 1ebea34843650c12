"""The pytest plugin: hooks only; each calls the module that does the work.

Imports neither numpy nor the native module; see `state`.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xsched.plugin.fixtures import set_clock, xqueues, xsched, xsched_host
from pytest_xsched.plugin.state import State, is_worker, keep, state_of
from pytest_xsched.session.options import (
    MARKER_KEYS,
    add_options,
    must_be_checked,
    read_marker,
)

if TYPE_CHECKING:
    from pytest_xsched.plugin.final_verdicts import LateFailure

__all__ = ["xqueues", "xsched", "xsched_host"]  # fixtures are found as attributes of a plugin


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_xsched.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    state = State(config)
    keep(config, state)
    if must_be_checked(config):
        _ = state.settings  # a wrong value ends pytest here
    state.attach_to_other_reports()
    config.addinivalue_line(
        "markers",
        f"xsched({', '.join(f'{key}=...' for key in MARKER_KEYS)}): settings of the runs that a "
        "test, a class or a module makes; they win over the command line, but for "
        "--xsched-duration (pytest-xsched)",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    state = state_of(config)
    if not state.in_use:
        return None
    from pytest_xsched.session.auto_device import shown_device

    settings = state.settings
    required = f", required {settings.require_device}" if settings.require_device else ""
    builds, hosts = settings.shown_builds(), settings.shown_hosts()
    device = settings.device if hosts else shown_device(settings.device)
    return (
        f"xsched: {builds}{hosts}device {device}{required}, scheduler {settings.scheduler}, "
        f"seed {settings.seed}"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("xsched_hosts"):
        from pytest_xsched.plugin.fleet import keep_one_of_each

        keep_one_of_each(config, items)
    if is_worker(config):
        return  # xdist takes a usage error here for a crash; the set-up of the test raises it
    for item in items:
        read_marker(item)
    set_clock(config, items)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "xsched_host" in metafunc.fixturenames and metafunc.config.getoption("xsched_hosts"):
        from pytest_xsched.plugin.fleet import repeat_on_hosts

        repeat_on_hosts(metafunc)
    if "known_scenario" in metafunc.fixturenames:
        known = state_of(metafunc.config).known_scenarios()
        metafunc.parametrize("known_scenario", known.values(), ids=known)


def pytest_collection_finish(session: pytest.Session) -> None:
    # In an xdist worker, too: each collects all tests, so that all divide by the same number.
    uses = [item for item in session.items if "xsched" in getattr(item, "fixturenames", ())]
    state_of(session.config).tests = len(uses)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    session = state_of(request.config).session
    if session is None or fixturedef.scope == "function":
        return (yield)
    name = "::".join(filter(None, (fixturedef.baseid, fixturedef.argname)))
    outer, session.fixture = session.fixture, (name, fixturedef.scope)
    try:
        return (yield)
    finally:
        session.fixture = outer


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
    fresh = state.assign_verdicts(item.nodeid)
    outcome.set_properties(item, call, fresh)
    outcome.hide_own_frames(call)
    report = yield
    state.keep_plain_misses()
    outcome.say_the_sentence(report, call)
    outcome.judge_misses(item, report, call, fresh, state.misses)
    outcome.judge_refusals(report, call, fresh, state.take_unjudged(), state.misses)
    outcome.add_run_tables(
        report,
        call,
        fresh,
        lambda device: state.rerun_command(item, device),
        columns=state.columns,
        shown=state.shown,
        one_line=item.config.getoption("tbstyle", None) == "line",
    )
    state.keep_outcome(item, report, judged=bool(fresh))
    state.tell_verdicts(item, report, fresh)
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
    if lines is not None:
        state_of(config).misses.compared.append(f"assert {lines[0]}")
    return lines


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    state = state_of(config)
    records = state.records()
    skips = [] if terminalreporter.hasopt("s") else _skips(terminalreporter.stats)
    if not (records or state.complaint or skips or state.findings):
        return
    from pytest_xsched.reporting import terminal_summary as text
    from pytest_xsched.reporting.host_table import host_lines
    from pytest_xsched.reporting.table_layout import wrapped
    from pytest_xsched.session.auto_device import fallback_remark

    columns = state.columns
    begun: list[bool] = []

    def tell(sentence: str, **colour: bool) -> None:
        if not begun:
            begun.append(True)
            terminalreporter.section("xsched")
        for line in wrapped(sentence, columns):
            terminalreporter.line(line, **colour)

    shown = text.shown_by(_printed_sections(terminalreporter, config), records, columns)
    quiet = config.option.verbose < 0
    runs = list(filter(text.is_worth_a_look, records)) if quiet else records
    for sentence in host_lines(records, state.settings.fleet, columns):
        tell(sentence)
    overviews = text.overviews(records, columns)
    for line, colour in [*overviews, *text.coloured(runs, columns, shown)]:
        tell(line, **({colour: True} if colour else {}))
    for line in state.shared_runs.lines():
        tell(f"! {line}", yellow=True)
    if state.settings.compare is None:  # else each is compared with the baseline
        for sentence in text.without_target(records):
            tell(sentence, yellow=True)
    for miss in state.misses.expected:
        tell(f"EXPECTED MISS ({miss['how']}) {miss['sentence']}  [{miss['nodeid']}]")
    for line in text.missing_devices(skips):
        tell(line, yellow=True)
    if any(record.get("device_kind") == "cpu" and not record.get("host") for record in records):
        for line in filter(None, [fallback_remark(state.settings)]):
            tell(f"! {line}", yellow=True)
    for finding in state.findings:
        tell(f"{finding['status'].upper()} {finding['sentence']}")
    if state.files_written:
        from pytest_xsched.base.terminal_text import printable

        tell(f"written: {', '.join(printable(str(path)) for path in state.files_written)}")
    if state.trace_written:
        from pytest_xsched.base.terminal_text import printable

        plural = "s" if state.trace_written != 1 else ""
        where = printable(str(state.settings.trace_path))
        tell(
            f"timeline of {state.trace_written} run{plural}: {where} (open it in "
            "https://ui.perfetto.dev)"
        )
    for line in state.complaint.splitlines():
        tell(line, red=True)


def _printed_sections(terminalreporter: Any, config: pytest.Config) -> list[tuple[str, str]]:
    """Return node id and text of each section on a run that pytest has printed with a failure."""
    if config.option.tbstyle in ("no", "line") or config.option.showcapture != "all":
        return []
    failures = [r for kind in ("failed", "error") for r in terminalreporter.stats.get(kind, ())]
    return [
        (report.nodeid, content)
        for report in failures
        for title, content in report.sections
        if title in ("xsched run", "xsched comparison")
    ]


def _skips(stats: dict[str, list[Any]]) -> list[str]:
    """Return the reasons of tests skipped for want of a device, those of xdist workers too."""
    reasons = (getattr(report, "longrepr", None) for report in stats.get("skipped", ()))
    texts = [str(reason[2]) for reason in reasons if isinstance(reason, tuple)]
    return [text for text in texts if text.startswith("Skipped: no ") and " device: " in text]


@pytest.hookimpl(tryfirst=True)  # before the JUnit file is written
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    state = state_of(config)
    nothing_ran = exitstatus in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR)
    if not nothing_ran:
        state.judge_again()  # before the baselines are stored with their verdicts
        state.update_baselines()
    if is_worker(config):
        config.workeroutput["xsched"] = state.to_controller()  # type: ignore[attr-defined]
        return
    _report_late_failures(config, state.late_failures)
    state.withdrawn.keep()
    if not (nothing_ran or config.option.collectonly):
        state.require_a_compared_run()
    state.record_findings()
    if not (nothing_ran or config.option.collectonly):
        state.call_session_hooks()
    if exitstatus == pytest.ExitCode.OK:
        failed = state.late_failures or state.has_miss()
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if failed else state.exit_status()
    if not nothing_ran and not config.option.collectonly and not state.write_files():
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)


def _report_late_failures(
    config: pytest.Config, failures: list[LateFailure], node: Any = None
) -> None:
    """Report tests that failed after they were over, of this process or of an xdist worker."""
    if not failures:
        return
    from pytest_xsched.plugin.final_verdicts import report_of

    terminal = config.pluginmanager.get_plugin("terminalreporter")
    for failure in failures:
        report = report_of(failure)
        if terminal is not None:  # which counts the test as passed
            terminal.ensure_newline()
            passed = terminal.stats.get("passed", [])
            passed[:] = [one for one in passed if one.nodeid != failure.nodeid]
        if node is not None:
            report.__dict__["node"] = node  # by which the terminal and JUnit know the worker
        config.hook.pytest_runtest_logreport(report=report)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    state = state_of(node.config)
    node.workerinput["xsched_seed"] = state.settings.seed
    node.workerinput["xsched_columns"] = state.columns


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getoption("xsched_hosts") is None:
        return None
    from pytest_xsched.plugin.fleet import make_scheduler

    return make_scheduler(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    packed = getattr(node, "workeroutput", {}).get("xsched")
    if packed is not None:
        failures = state_of(node.config).from_worker(packed)
        _report_late_failures(node.config, failures, node)

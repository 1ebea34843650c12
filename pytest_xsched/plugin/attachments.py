"""Runs in the reports of pytest-html and of allure, where the user writes one.

Both are implementations of `pytest_xsched_verdict`, as another plugin could have them. For each run
with a verdict of a test they add what the terminal shows of it, and its record as JSON.
"""

from __future__ import annotations

import html
import importlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_xsched.plugin.state import State

_WORST = "xsched_worst"
"""The attribute of a report that has the worst status of its test: it crosses to the controller."""


def register(config: pytest.Config, state: State) -> None:
    """Register what the options of pytest-html and of allure ask for."""
    if getattr(config.option, "htmlpath", None):
        config.pluginmanager.register(PytestHtml(state), "xsched-pytest-html")
    if getattr(config.option, "allure_report_dir", None):
        config.pluginmanager.register(Allure(), "xsched-allure")


class PytestHtml:
    """Adds links to the row of a test, a column with its targets, and the counts of all targets.

    The header is written before any test, so there is a column only where the plugin is in use.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._shown: Any = None
        self._worst: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_xsched_verdict(
        self, item: pytest.Item, report: pytest.TestReport, verdict: Any, run: Any
    ) -> None:
        found = {verdict["status"], self._worst.get(item.nodeid, "PASS")}
        self._worst[item.nodeid] = next(one for one in _statuses() if one in found)
        report.__dict__[_WORST] = self._worst[item.nodeid]
        if run is self._shown:
            return
        self._shown = run
        extras = importlib.import_module("pytest_html.extras")
        report.__dict__.setdefault("extras", []).extend(
            [extras.text(_text(run, item.nodeid), name=_name(run)), extras.json(run, "record")]
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        if self._state.in_use:
            cells.insert(1, '<th class="sortable" data-column-type="targets">Targets</th>')

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        if self._state.in_use:
            cells.insert(1, f'<td class="col-targets">{getattr(report, _WORST, "")}</td>')

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        counts = Counter(
            verdict["status"] for record in self._state.records() for verdict in verdicts_of(record)
        )
        found = ", ".join(f"{counts[status]} {status}" for status in _statuses() if counts[status])
        if found:
            prefix.append(f"<p>xsched targets: {html.escape(found)}</p>")


class Allure:
    """Attaches the text and the record of each run with a verdict to the test of allure."""

    def __init__(self) -> None:
        self._shown: Any = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_xsched_verdict(self, item: pytest.Item, run: Any) -> None:
        if run is self._shown:
            return
        self._shown = run
        allure = importlib.import_module("allure")
        kinds = allure.attachment_type
        allure.attach(_text(run, item.nodeid), name=_name(run), attachment_type=kinds.TEXT)
        record = json.dumps(run, allow_nan=False)
        allure.attach(record, name=f"{_name(run)}, record", attachment_type=kinds.JSON)


def verdicts_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the verdicts of a run or a comparison, those that are none included."""
    refused = [{"status": "NO VERDICT", **no} for no in record["refused"]]
    return [*record["verdicts"], *refused]


def _statuses() -> tuple[str, ...]:
    from pytest_xsched.reporting.terminal_summary import STATUSES

    return STATUSES


def _name(run: dict[str, Any]) -> str:
    return "xsched comparison" if "arms" in run else "xsched run"


def _text(run: dict[str, Any], nodeid: str) -> str:
    """Return what the terminal shows of a run, with the verdicts of one test."""
    from pytest_xsched.reporting.terminal_summary import summary

    mine = {
        key: [one for one in run[key] if one["nodeid"] == nodeid] for key in ("verdicts", "refused")
    }
    return "\n".join(summary([{**run, **mine}])) + "\n"

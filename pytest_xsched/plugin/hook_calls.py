"""Calls of the hooks in `hookspecs`: an implementation that raises loses no result.

The error becomes a line in the terminal summary, and the exit status is that of a failure.
"""

from __future__ import annotations

import copy
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy
import pytest

from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.terminal_text import printable
from pytest_xsched.base.units import one_line
from pytest_xsched.stress.highest_rate import Judged

Complain = Callable[[str], None]

_LONGEST = 300
_PLUGGY = Path(pluggy.__file__).parent


def call_verdicts(
    item: pytest.Item,
    report: pytest.TestReport,
    fresh: list[tuple[Judged, Verdict]],
    refused: list[tuple[Judged, dict[str, str]]],
    complain: Complain,
) -> None:
    """Call `pytest_xsched_verdict` for what a phase of a test decided.

    Args:
        item: the test.
        report: of the phase.
        fresh: verdicts of the phase.
        refused: targets of the phase that got none.
        complain: takes what is to be said of an implementation that raised.
    """
    hook = item.ihook.pytest_xsched_verdict
    if not hook.get_hookimpls():
        return
    news: dict[int, tuple[Judged, list[dict[str, Any]]]] = {}
    for judged, verdict in fresh:
        news.setdefault(id(judged), (judged, []))[1].append(verdict.to_dict())
    for judged, no in refused:
        found = {"status": "NO VERDICT", "sentence": no["sentence"], "nodeid": no["nodeid"]}
        news.setdefault(id(judged), (judged, []))[1].append(found)
    for judged, verdicts in news.values():
        run = json.loads(json.dumps(judged.to_dict()))
        for one in verdicts:
            _call(hook, complain, item=item, report=report, verdict=one, run=run)


def call_runs(config: pytest.Config, records: list[dict[str, Any]], complain: Complain) -> None:
    """Call `pytest_xsched_run` for each run and comparison of the session."""
    hook = config.hook.pytest_xsched_run
    if not hook.get_hookimpls():
        return
    for record in records:
        _call(hook, complain, config=config, run=copy.deepcopy(record))


def call_environment(config: pytest.Config, complain: Complain) -> dict[str, str]:
    """Call `pytest_xsched_environment`; return the facts of all implementations, sorted.

    Of two values for one name the one of the implementation that pytest calls first counts.
    """
    hook = config.hook.pytest_xsched_environment
    facts: dict[str, str] = {}
    for found in reversed(_call(hook, complain, config=config) or []):
        texts = isinstance(found, dict) and all(
            isinstance(one, str) for pair in found.items() for one in pair
        )
        if not texts:
            complain(
                "pytest_xsched_environment returned "
                f"{one_line(found)}, which is not a dict of texts; it is left out"
            )
            continue
        facts |= found
    return dict(sorted(facts.items()))


def _call(hook: Any, complain: Complain, **arguments: Any) -> Any:
    try:
        return hook(**arguments)
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
        what = " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())
        complain(
            f"{hook.name}{_place(error)} raised {printable(what[:_LONGEST])}; no result is lost"
        )
        return None


def _place(error: BaseException) -> str:
    """Return where an implementation raised: its own first line, and not one that it calls."""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path != Path(__file__) and _PLUGGY not in path.parents:
            return f" at {path.name}:{frame.lineno}"
    return ""

"""Runs that several tests share, across sessions and across processes.

Within one process all targets of a run are judged on all that it measured, and a PASS that does not
stand is withdrawn. A test that runs alone afterwards, as with --lf, would stop early again and
pass. So pytest's cache keeps how long its run was. Under xdist each process measures a run of its
own; then the summary says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_xsched.analysis.run import Run
    from pytest_xsched.plugin.final_verdicts import LateFailure

_KEY = "xsched/withdrawn"
_ADVICE = {
    "class": "--dist loadfile makes it one run",
    "module": "--dist loadfile makes it one run",
}
_ADVICE_ELSE = "one @pytest.mark.xdist_group on these tests and --dist loadgroup make it one run"


class WithdrawnPasses:
    """Tests whose PASS an earlier session withdrew, and how long their runs were then.

    Args:
        config: of the session; without pytest's cache nothing is kept.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.stood: list[str] = []
        """Node ids of tests that passed in this session."""
        self._fell: dict[str, int] = {}
        self._config = config
        self._read: dict[str, int] | None = None

    def least_ns(self, nodeid: str) -> int:
        """Return how long a run must be measured before a test may pass, ns; 0: no bound."""
        if self._read is None:
            self._read = self._load()
        return self._read.get(nodeid, 0)

    def add(self, failures: Iterable[LateFailure]) -> None:
        """Add tests whose verdicts fell in this session."""
        self._fell |= {one.nodeid: one.measured_ns for one in failures}

    def keep(self) -> None:
        """Keep the tests whose verdicts fell, and forget those that stood."""
        if not (self._fell or self.stood):
            return
        before = self._load()
        now = {one: ns for one, ns in before.items() if one not in self.stood} | self._fell
        if self._cache is not None and now != before:
            self._cache.set(_KEY, now)

    @property
    def _cache(self) -> pytest.Cache | None:
        return getattr(self._config, "cache", None)

    def _load(self) -> dict[str, int]:
        found: Any = None if self._cache is None else self._cache.get(_KEY, None)
        items = found.items() if isinstance(found, dict) else ()
        return {one: ns for one, ns in items if type(ns) is int}


class SharedRuns:
    """What xdist workers reported of the runs that fixtures made for more than one test."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], list[int]] = {}

    def add(self, reported: Iterable[dict[str, Any]]) -> None:
        """Add the runs of one worker, as `shared_runs` returned them."""
        for one in reported:
            key = one["fixture"], one["scope"], one["digest"]
            self._found.setdefault(key, []).append(one["measured_ns"])

    def lines(self) -> list[str]:
        """Describe each run that several workers measured."""
        return [
            _line(fixture, scope, lengths)
            for (fixture, scope, _), lengths in self._found.items()
            if len(lengths) > 1
        ]


def shared_runs(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the runs of a process that fixtures made for more than one test, in JSON's types."""
    found = {}
    for run in runs:
        if run.fixture is not None:
            name, scope = run.fixture
            digest = f"{run.scenario.digest()} {run.host or ''}"  # each host has a run of its own
            one = {"fixture": name, "scope": scope, "digest": digest}
            found[name, digest] = one | {"measured_ns": run.measured_ns}
    return list(found.values())


def _line(fixture: str, scope: str, lengths: list[int]) -> str:
    from pytest_xsched.base.units import format_duration

    shown = sorted({ns: format_duration(ns) for ns in lengths}.items())
    times = " and ".join(text for _, text in shown)
    return (
        f"{len(lengths)} processes measured the run of the fixture {fixture}, for {times}: a "
        f"verdict holds for the run of its own process only; {_ADVICE.get(scope, _ADVICE_ELSE)}, "
        "on which all verdicts are judged"
    )

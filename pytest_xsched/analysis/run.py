"""A run, and what a test asks of it: its queues, its evidence, the verdicts on it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_xsched.analysis import fairness, targets
from pytest_xsched.analysis.evidence import Evidence
from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.targets import Terms
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.validation import finite_number
from pytest_xsched.errors import InvalidRun, QosAssertionError, ScenarioError, XSchedWarning
from pytest_xsched.monitoring.environment import Fingerprint
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stats.error_budget import Budget
from pytest_xsched.stats.sequential_test import FAIL, PASS, UNDECIDED


class Run:
    """One scenario, measured. Its queues are attributes and items: `run.high`, `run["high"]`.

    Attributes:
        scenario: what was asked for.
        device_kind: one of `names.DEVICES`; a figure of a double is never one of a GPU.
        device_name: what the device says of itself.
        fingerprint: where it was measured: devices, drivers, settings, host.
        evidence: why the numbers can be trusted, or not.
        remark: about the way it was measured; empty where there is nothing to say.
        origin: node id of the test that made it, or of the first that asked a fixture for it.
        verdicts: of the targets asserted so far.
    """

    def __init__(
        self,
        *,
        scenario: Scenario,
        fingerprint: Fingerprint,
        queues: tuple[MeasuredQueue, ...],
        evidence: Evidence,
        remark: str = "",
        measure_on: Callable[[Run], bool] | None = None,
    ) -> None:
        self.scenario = scenario
        self.device_kind = scenario.device_kind
        self.device_name = fingerprint.devices[0].name
        self.fingerprint = fingerprint
        self.evidence = evidence
        self.remark = remark
        self.origin = ""
        self.verdicts: list[Verdict] = []
        self.refused: list[dict[str, str]] = []
        """Targets that got no verdict: ``"sentence"`` and ``"nodeid"`` of the test."""
        self.budget = Budget()
        """Of wrong verdicts: that of the session."""
        self.undecided = "fail"
        """What becomes of an undecided target: ``"fail"`` or ``"warn"``."""
        self.burst = 1.0
        """Requests that are taken to miss together while no burst was seen."""
        self._measure_on = measure_on
        self.queues = {queue.name: queue for queue in queues}
        for queue in queues:
            queue._run = self
            queue._require = functools.partial(self.require, queue.name)
            program = queue.workload.program
            silent = program is not None and not program.reports
            queue._require_run = queue._require if silent else self.require

    def require(self, queue: str | None = None) -> None:
        """Raise InvalidRun unless verdicts may be based on the run, or also on one queue of it."""
        __tracebackhide__ = True
        faults = self.evidence.faults
        if queue is not None:
            faults += self.evidence.queue_faults[queue]
        if faults:
            raise InvalidRun(
                "no verdict: " + "; ".join(faults),
                run=self,
                starved=set(faults) <= set(self.evidence.starvation),
            )

    def assert_fair(
        self,
        *names: str,
        at_least: float = 0.8,
        alone: Mapping[str, MeasuredQueue] | None = None,
    ) -> None:
        """Assert that no queue of a priority gets less than a share of what another of it gets.

        Rates of completions are compared, of closed loops and saturated queues.

        Args:
            names: queues of equal priority; none: all of the highest priority that has several.
            at_least: least rate of one / rate of another, in (0, 1].
            alone: each queue in a run of its own, by name; rates then count as shares of those.
                Needed where the queues do not have the same work.

        Raises:
            QosAssertionError: one gets less, or too little was measured to say.
            ScenarioError: the queues cannot be compared, or one of `alone` was not alone.
        """
        __tracebackhide__ = True
        share = finite_number("at_least of assert_fair", at_least, above=0, high=1)
        queues = fairness.choose([self[name] for name in names], tuple(self.queues.values()))
        for queue in queues:
            if alone is not None and queue.name in alone:
                queue.require_alone(alone[queue.name])
        weights = fairness.weights(queues, alone)
        self.require()
        self.settle(lambda terms: targets.fair(queues, weights, share, terms))

    def settle(
        self, judge: Callable[[Terms], Verdict], *, fact: bool = False, beside: Run | None = None
    ) -> None:
        """Judge, measuring on while that may decide; keep the verdict, and raise unless it is PASS.

        Args:
            judge: gives a verdict on the terms it is handed.
            fact: about the requests of the whole duration, so that PASS takes all of it.
            beside: a run that is judged, too.

        Raises:
            QosAssertionError: FAIL, or UNDECIDED unless that is only to warn.
            InvalidRun: what was measured on is worth nothing.
        """
        __tracebackhide__ = True
        runs = [self] if beside in (None, self) else [self, beside]
        alpha = self.budget.next_alpha()
        for look in itertools.count(1):
            verdict = judge(self._terms(alpha, look))
            if verdict.status == FAIL or (verdict.status == PASS and not fact):
                break
            if not any([run is not None and run.measure_on() for run in runs]):
                break
        origin = place_in_the_test()
        verdict = dataclasses.replace(verdict, limit_origin=origin)
        self.verdicts.append(verdict)
        if verdict.status == PASS:
            return
        s = self.scenario
        text = f"{verdict.sentence}, {s.scheduler} on {s.device}, seed {s.seed}, limit of {origin}"
        if verdict.status == UNDECIDED and self.undecided == "warn":
            warnings.warn(f"UNDECIDED: {text}", XSchedWarning, stacklevel=level_of_the_test())
            return
        raise QosAssertionError(text, verdict=verdict)

    def measure_on(self) -> bool:
        """Measure one more window of the duration; False if it is spent.

        Raises:
            InvalidRun: the run proves nothing, the new window included.
        """
        __tracebackhide__ = True
        if self._measure_on is None or not self._measure_on(self):
            return False
        self.require()
        return True

    @property
    def measured_ns(self) -> int:
        """Length of what was measured so far, at most the scenario's duration."""
        return sum(end - start for start, end in self._windows_ns)

    @property
    def _windows_ns(self) -> list[tuple[int, int]]:
        return next(iter(self.queues.values())).windows_ns

    def _terms(self, alpha: float, look: int) -> Terms:
        # Blocks of a second, or a twentieth of the duration where that is short.
        block_ns = min(10**9, max(1, self.scenario.duration_ns // 20))
        spent = self._measure_on is None or self.measured_ns >= self.scenario.duration_ns
        return Terms(alpha=alpha, burst=self.burst, block_ns=block_ns, look=look, spent=spent)

    @property
    def scheduler(self) -> str:
        """The mechanism that was in effect."""
        return self.scenario.scheduler

    def __getattr__(self, name: str) -> MeasuredQueue:
        try:
            return self.__dict__["queues"][name]  # type: ignore[no-any-return]
        except KeyError:
            known = ", ".join(self.__dict__.get("queues", ()))
            raise AttributeError(f"the run has no queue {name!r}; it has {known}") from None

    def __getitem__(self, name: str) -> MeasuredQueue:
        if name not in self.queues:
            raise ScenarioError(f"the run has no queue {name!r}; it has {', '.join(self.queues)}")
        return self.queues[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.queues)

    def __len__(self) -> int:
        return len(self.queues)

    def __repr__(self) -> str:
        s = self.scenario
        return f"<Run of {', '.join(self.queues)}: {s.scheduler} on {s.device}, seed {s.seed}>"

    def to_dict(self) -> dict[str, Any]:
        """Return scenario, evidence, numbers and verdicts in JSON's types."""
        return {
            "scenario": self.scenario.to_dict(),
            "digest": self.scenario.digest(),
            "device_kind": self.device_kind,
            "device_name": self.device_name,
            "fingerprint": self.fingerprint.to_dict(),
            "measured_ns": self.measured_ns,
            "windows": len(self._windows_ns),
            "scheduler": self.scheduler,
            "evidence": self.evidence.to_dict(),
            "remark": self.remark,
            "origin": self.origin,
            "queues": [queue.to_dict() for queue in self.queues.values()],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "refused": list(self.refused),
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line; equal runs in virtual time are equal to the byte."""
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)


def level_of_the_test() -> int:
    """Return how many frames up, from the caller's, the first one outside of this package is."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("pytest_xsched."):
        frame, level = frame.f_back, level + 1
    return level


def place_in_the_test() -> str:
    """Return file and line of the first frame outside of this package, as "test_qos.py:12"."""
    frame = sys._getframe(level_of_the_test() - 1)
    file = frame.f_code.co_filename
    below = os.path.relpath(file)
    return f"{os.path.basename(file) if below.startswith(os.pardir) else below}:{frame.f_lineno}"

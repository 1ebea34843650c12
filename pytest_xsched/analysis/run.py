"""A run as tests see it: its queues, its evidence, and the verdicts on it."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_xsched.analysis import fairness, queue_part, run_cost, targets
from pytest_xsched.analysis.around import around
from pytest_xsched.analysis.assertion import (
    Unjudged,
    asserts,
    place_in_the_test,
)
from pytest_xsched.analysis.evidence import LATENCY, RATE, WAIT, Evidence
from pytest_xsched.analysis.explanation import OF_LATENCY, Explanation, explain
from pytest_xsched.analysis.final_verdict import Judgement, Withdrawn, judge_again, require_good
from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.milestone_latency import latencies_to_list
from pytest_xsched.analysis.targets import ErrorBudget
from pytest_xsched.analysis.trace import Trace
from pytest_xsched.analysis.verdict import Verdict
from pytest_xsched.base.extras import require_extra
from pytest_xsched.base.units import format_duration, one_line, parse_fraction
from pytest_xsched.base.validation import finite_number
from pytest_xsched.errors import (
    InvalidRun,
    ScenarioError,
)
from pytest_xsched.monitoring.environment import Fingerprint
from pytest_xsched.monitoring.run_cost import RunCost
from pytest_xsched.scenario.models import Model
from pytest_xsched.scenario.profile import Profile
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stats.error_budget import SessionBudget
from pytest_xsched.stats.sequential_test import FAIL, PASS

_TREND_BLOCKS = 300
"""The most blocks that are checked for a trend."""
_DRAWN_BLOCKS = 300
"""The most blocks of time in a record."""


class Run:
    """A measured scenario. Its queues are attributes and items: `run.high`, `run["high"]`.

    Attributes:
        scenario: what was to be run.
        device_kind: one of `constants.DEVICES`; a figure of a test double is never one of a GPU.
        device_name: the name that the driver reports.
        fingerprint: the machine that measured it: devices, drivers, settings, host.
        evidence: the reasons to trust the numbers, and the reasons not to.
        remark: one sentence about the way it was measured, or empty.
        origin: node id of the test that made it, or of the first test that used its fixture.
        verdicts: one for each target that was asserted so far.
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
        at_least_ns: int = 0,
        trace: Trace | None = None,
        alone_ns: Sequence[int | None] = (),
        scheduler_cost: RunCost | None = None,
    ) -> None:
        self.scenario = scenario
        self.device_kind = scenario.device_kind
        self.device_name = fingerprint.devices[0].name
        self.fingerprint = fingerprint
        self.evidence = evidence
        self.remark = remark
        self.origin = ""
        self.host: str | None = None
        """The machine that measured it, one of the ini key xsched_hosts; None: this machine."""
        self.verdicts: list[Verdict] = []
        self._unjudged: list[Unjudged] = []
        self.asserted_in_phase = False
        """Whether something was asserted since the last report on a test."""
        self.plain_misses: list[str] = []
        """Plain comparisons that failed: those of tests that asserted something of this run."""
        self.refused: list[dict[str, str]] = []
        """Targets without a verdict: ``"sentence"`` says why, ``"nodeid"`` names the test."""
        self.asserted = False
        """Whether anything was asserted of it: a target, a plain comparison, a claim about arms."""
        self.budget = SessionBudget()
        """The error budget of the session, from which each assertion takes its part."""
        self.undecided = "fail"
        """What an undecided target does to its test: ``"fail"`` or ``"warn"``."""
        self.burst = 1.0
        """Requests that are assumed to miss together as long as no burst was seen."""
        self.check_marker: Callable[[], None] = lambda: None
        """Raises if the test that is running has a marker with other settings; see `Session`."""
        self.least_ns: Callable[[], int] = lambda: 0
        """Returns how long to measure before the test that is running may pass; see `Session`."""
        self.fixture: tuple[str, str] | None = None
        """Name and scope of the fixture that made it; None if it is of one test."""
        self.record_profile: Callable[[Model, str], Profile] = _no_session
        """Records the profile of a model on a device; see `MeasuredQueue.profile`."""
        self.trace = Trace() if trace is None else trace
        """The commands on record."""
        self.alone_ns = alone_ns
        """Time of a request of each queue alone, ns; None: not known; empty: of none."""
        self.scheduler_cost = scheduler_cost
        """What the threads of the scheduler used; None: not measured."""
        self.parts = queue_part
        """What makes parts of its queues."""
        self._measure_on = measure_on
        self._at_least_ns = at_least_ns
        self._why: dict[tuple[str, int | None, int], Explanation] = {}
        self._judgements: list[Judgement] = []
        """One for each of `verdicts`, in the same order."""
        self.queues = {queue.name: queue for queue in queues}
        for queue in queues:
            queue._run = self
            queue._require = functools.partial(self.require, queue.name)
            program = queue.workload.own_program
            silent = program is not None and not program.reports
            of_waits = functools.partial(self.require, queue.name, WAIT)
            of_rates = functools.partial(self.require, queue.name, RATE)
            queue._require_wait = queue._require if silent else of_waits
            queue._require_run = queue._require if silent else of_rates

    def require(
        self, queue: str | None = None, needs: str = LATENCY, excused: Sequence[str] = ()
    ) -> None:
        """Raise InvalidRun if the evidence speaks against the run, or against one queue of it.

        Args:
            queue: its name; None: the run only.
            needs: what is to be judged of the queue, see `Evidence.against`.
            excused: faults that do not count, because they are about another part of the run.

        Raises:
            ScenarioError: the run has other settings than the marker of the test.
        """
        __tracebackhide__ = True
        self.check_marker()
        self.asserted = self.asserted_in_phase = True
        faults = [one for one in self.evidence.against(queue, needs) if one not in excused]
        if faults:
            raise InvalidRun(
                "no verdict: " + "; ".join(faults),
                run=self,
                starved=set(faults) <= set(self.evidence.starvation),
            )

    @asserts
    def assert_fair(
        self,
        *names: str,
        at_least: str | float = 0.8,
        alone: Mapping[str, MeasuredQueue] | None = None,
    ) -> None:
        """Assert that no queue gets less than a share of what another of its priority gets.

        The rates of completion are compared, so the queues are closed loops or saturated.

        Args:
            names: queues of equal priority; default: the highest priority that has several.
            at_least: least rate of one / rate of another, in (0, 1].
            alone: each queue in a run of its own, by name; each rate is then divided by the rate
                alone. Needed where the queues have different work.

        Raises:
            QosAssertionError: one gets less, or too little was measured to decide.
            ScenarioError: the queues cannot be compared, or one of `alone` was not alone.
        """
        __tracebackhide__ = True
        share = parse_fraction(at_least, what="at_least of assert_fair", allow_zero=False)
        if not all(isinstance(name, str) for name in names):
            raise ScenarioError(_no_names(names))
        queues = fairness.choose([self[name] for name in names], tuple(self.queues.values()))
        for queue in queues:
            if alone is not None and queue.name in alone:
                queue.require_alone(alone[queue.name])
        fairness.weights(queues, alone)  # checks `alone`

        def rule(budget: ErrorBudget) -> Verdict:
            __tracebackhide__ = True
            for queue in queues:
                self.require(queue.name, WAIT)
            verdict = targets.fair(queues, fairness.weights(queues, alone), share, budget)
            remarks = self.evidence.remarks_on(verdict.queue, WAIT)
            return verdict.with_remark(fairness.remark(queues) + remarks)

        self.judge(rule, reads=[queue._run for queue in (alone or {}).values()])

    @asserts
    def assert_scheduler_cost(
        self, *, processors: float | None = None, wakeups_per_request: float | None = None
    ) -> None:
        """Assert that the threads of the scheduler use little: facts about the measured windows.

        Under XSched these are the threads that XSched started, with the launches that they make.
        Our own scheduler works in the threads of the queues, which also wait for the device.

        Args:
            processors: what they use must be below this, in processors: 0.05 is a twentieth.
            wakeups_per_request: how often one of them waits and is woken, for each request of all
                queues, must be below this.

        Raises:
            QosAssertionError: they use as much or more.
            InvalidRun: what they use was not measured.
            ScenarioError: no limit is given, or one is not a number above 0.
        """
        __tracebackhide__ = True
        limits = {
            rule: finite_number(f"assert_scheduler_cost: {name}", limit, above=0)
            for name, rule, limit in (
                ("processors", run_cost.PROCESSORS, processors),
                ("wakeups_per_request", run_cost.WAKEUPS, wakeups_per_request),
            )
            if limit is not None
        }
        if not limits:
            raise ScenarioError(
                "assert_scheduler_cost: no limit is given; pass processors=0.05 or "
                "wakeups_per_request=10"
            )

        def judged(name: str, limit: float, _: ErrorBudget) -> Verdict:
            __tracebackhide__ = True
            self.require()
            if self.scheduler_cost is None or not self.scheduler_cost.requests:
                why = run_cost.reason(self.scenario, self.scheduler_cost)
                raise InvalidRun(f"no verdict: {why}", run=self)
            return run_cost.below(self.scheduler_cost, name, limit)

        for name, limit in limits.items():
            self.judge(functools.partial(judged, name, limit), fact=True)

    def judge(
        self,
        rule: Callable[[ErrorBudget], Verdict],
        *,
        fact: bool = False,
        other: Run | None = None,
        reads: Sequence[Run] = (),
    ) -> None:
        """Judge by a rule, measure on while it is undecided, keep the verdict, raise unless PASS.

        Args:
            rule: returns the verdict on what was measured so far, within an error budget.
            fact: whether the target is about all requests of the duration; PASS then takes all
                of it.
            other: a second run that the rule reads; it measures on as well.
            reads: further runs that the rule reads.

        Raises:
            QosAssertionError: FAIL, or UNDECIDED unless that only warns.
            InvalidRun: a later window spoiled the run.
        """
        __tracebackhide__ = True
        runs = [self] if other is None or other is self else [self, other]
        alpha, worse = self.budget.next_alpha(), False
        for check in itertools.count(1):
            verdict = rule(self._error_budget(alpha, check))
            if verdict.status == FAIL:
                break
            worse = worse or self._gets_worse(verdict)
            early = any(run.is_too_short for run in runs)
            if verdict.status == PASS and not (fact or worse or early):
                break
            if not any([run.measure_on() for run in runs]):
                break

        def judge_all() -> Verdict:
            return self._in_context(rule(self._error_budget(alpha, check + 1)), worse)

        def windows() -> tuple[int, ...]:
            return tuple(run.windows for run in (*runs, *reads))

        judgement = Judgement(rule=judge_all, windows=windows, judged=windows())
        origin = place_in_the_test()
        verdict = dataclasses.replace(self._in_context(verdict, worse), limit_origin=origin)
        self.verdicts.append(verdict)
        self._judgements.append(judgement)
        s = self.scenario
        text = f"{verdict.sentence}, {s.scheduler} on {s.device}, seed {s.seed}, limit of {origin}"
        require_good(verdict, self.undecided, text)

    def take_unjudged(self) -> list[Unjudged]:
        """Return the targets that got no verdict since the last call."""
        found = list(self._unjudged)
        self._unjudged.clear()
        return found

    def judge_again(self) -> list[Withdrawn]:
        """Judge every target again whose run measured on since; return the verdicts that fell."""
        return judge_again(self.verdicts, self._judgements, self.refused, self.undecided)

    def _gets_worse(self, verdict: Verdict) -> bool:
        """Check whether later blocks of what was judged are worse; False if all was measured."""
        if self._whole or not verdict.queue:
            return False
        # All pairs of blocks are compared, so a long run has longer ones.
        block_ns = max(self._block_ns, self.measured_ns // _TREND_BLOCKS)
        queue = self.queues[verdict.queue]
        judged = queue.find_latency(verdict.latency) if verdict.latency else None
        return (queue if judged is None else judged).gets_worse(block_ns)

    def _in_context(self, verdict: Verdict, worse: bool) -> Verdict:
        """Add to a sentence how much of the duration it is about, and that a trend was seen."""
        sentence = verdict.sentence
        if not self._whole and verdict.status in (PASS, FAIL):
            part, whole = map(format_duration, (self.measured_ns, self.scenario.duration_ns))
            word = "held" if verdict.status == PASS else "missed"
            sentence += f"; {word} in the {part} of {whole} that were measured"
        if self._at_least_ns > self.scenario.duration_ns:
            least = format_duration(self._at_least_ns)
            sentence += f"; --xsched-duration measured less than at_least={least}"
        if worse:
            sentence += "; later blocks were worse than earlier ones"
        return dataclasses.replace(verdict, sentence=sentence)

    def measure_on(self) -> bool:
        """Measure one more window; return False if the whole duration was measured.

        Raises:
            InvalidRun: the new window spoiled the run.
        """
        __tracebackhide__ = True
        if self._measure_on is None or not self._measure_on(self):
            return False
        self.require()
        return True

    @property
    def is_too_short(self) -> bool:
        """Whether the test that is running may not pass yet; see `least_ns`."""
        return self.measured_ns < self.least_ns()

    @property
    def measured_ns(self) -> int:
        """Length of all measured windows, ns: at most the scenario's duration."""
        return sum(end - start for start, end in self._windows_ns)

    @property
    def windows(self) -> int:
        """Count of the measured windows."""
        return len(self._windows_ns)

    @property
    def _windows_ns(self) -> list[tuple[int, int]]:
        return next(iter(self.queues.values())).windows_ns

    def _error_budget(self, alpha: float, check: int) -> ErrorBudget:
        return ErrorBudget(
            alpha=alpha,
            burst=self.burst,
            block_ns=self._block_ns,
            check=check,
            spent=self._whole,
        )

    @property
    def _block_ns(self) -> int:
        """A second, or a twentieth of the duration if that is shorter."""
        return min(10**9, max(1, self.scenario.duration_ns // 20))

    @property
    def _whole(self) -> bool:
        """Whether the whole duration was measured."""
        return self._measure_on is None or self.measured_ns >= self.scenario.duration_ns

    @property
    def scheduler(self) -> str:
        """The scheduler that was in effect."""
        return self.scenario.scheduler

    def __getattr__(self, name: str) -> MeasuredQueue:
        try:
            return self.__dict__["queues"][name]  # type: ignore[no-any-return]
        except KeyError:
            queues = self.__dict__.get("queues", {})
            known = ", ".join(queues)
            first = next(iter(queues.values()), None)
            is_target = not name.startswith("_") and hasattr(type(first), name)
            advice = f"; write run.{first.name}.{name}" if is_target and first else ""
            raise AttributeError(f"the run has no queue {name!r}; it has {known}{advice}") from None

    def __getitem__(self, name: str) -> MeasuredQueue:
        if not isinstance(name, str) or name not in self.queues:
            known = ", ".join(self.queues)
            raise ScenarioError(f"the run has no queue {one_line(name)}; it has {known}")
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
        drawn_ns = max(self._block_ns, -(-self.measured_ns // _DRAWN_BLOCKS))
        return {
            "scenario": self.scenario.to_dict(),
            "digest": self.scenario.digest(),
            "device_kind": self.device_kind,
            "device_name": self.device_name,
            "fingerprint": self.fingerprint.to_dict(),
            "measured_ns": self.measured_ns,
            "windows": self.windows,
            "windows_ns": [[int(ns) for ns in window] for window in self._windows_ns],
            "block_ns": drawn_ns,
            "scheduler": self.scheduler,
            "evidence": self.evidence.to_dict(),
            "remark": self.remark,
            "origin": self.origin,
            "host": self.host,
            "scheduler_cost": self.scheduler_cost and self.scheduler_cost.to_dict(),
            "fixture": self.fixture and dict(zip(("name", "scope"), self.fixture, strict=True)),
            "queues": [
                {
                    **queue.to_dict(),
                    **queue.drawing(drawn_ns),
                    "latencies": latencies_to_list(queue, drawn_ns),
                }
                for queue in self.queues.values()
            ],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "refused": list(self.refused),
            "asserted": self.asserted,
            "trace": self.trace.to_dict(),
            "why": [
                {
                    **one.to_dict(),
                    "around": around(self, one.queue, one.requests[0]) if one.requests else None,
                }
                for one in self.why()
            ],
        }

    def to_frame(self) -> Any:
        """Return all requests as a DataFrame of pandas, one row each; no evidence is checked.

        Its columns are ``queue``, the fields of `MeasuredQueue.samples` (warm-up included),
        ``latency_ns`` (int64; 2**63 - 1 for a request that never completed) and ``measured``
        (whether the request counts for latencies). The rows are in the order of the queues, then
        of arrival.

        Raises:
            MissingExtra: pandas is not installed.
        """
        __tracebackhide__ = True
        require_extra("pandas", "pandas")
        parts = {name: queue.columns() for name, queue in self.queues.items()}
        first = next(iter(parts.values()))
        names = [name for name, part in parts.items() for _ in range(len(part["measured"]))]
        columns = {key: np.concatenate([part[key] for part in parts.values()]) for key in first}
        return importlib.import_module("pandas").DataFrame({"queue": names, **columns})

    def why(self) -> list[Explanation]:
        """Explain each latency target that was not met: one explanation a queue and limit."""
        found = {}
        for verdict in self.verdicts:
            if verdict.status == PASS or verdict.latency:  # times of milestones are not explained
                continue
            if not (verdict.unit == "ns" or verdict.rule in OF_LATENCY):
                continue
            of_latency = verdict.unit == "ns" and not verdict.rule.startswith("recovery")
            limit_ns = round(verdict.limit) if of_latency else None
            key = verdict.queue, limit_ns, self.windows
            if key not in self._why:
                self._why[key] = explain(self, self.queues[verdict.queue], limit_ns)
            found[key] = self._why[key]
        return list(found.values())

    @property
    def has_failed(self) -> bool:
        """Whether a target was missed or undecided, or there was no verdict on it."""
        return bool(self.refused) or any(verdict.status != PASS for verdict in self.verdicts)

    def to_json(self) -> str:
        """Return `to_dict` as one line; in virtual time equal runs give equal bytes."""
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)


def _no_session(model: Model, device: str) -> Profile:
    raise ScenarioError(f"{model.name}: the run has no session that could record on {device!r}")


def _no_names(given: tuple[object, ...]) -> str:
    """Describe arguments of `assert_fair` that are not all names, and what to write."""
    wrong = next(one for one in given if not isinstance(one, str))
    inner = wrong if len(given) == 1 and isinstance(wrong, (list, tuple, set)) else given
    names = [getattr(one, "name", one) for one in inner]
    if names and all(isinstance(name, str) for name in names):
        shown = ", ".join(f'"{name}"' for name in names)
        return f"assert_fair: it takes names of queues; write assert_fair({shown})"
    advice = "at_least=0.8" if isinstance(wrong, float) else 'assert_fair("a", "b")'
    return f"assert_fair: {one_line(wrong)} is not the name of a queue; write {advice}"

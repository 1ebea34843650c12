"""Measure as long as needed: the duration of a run is a budget, and its verdicts use part of it.

A run is measured in windows, each with a warm-up of its own and other arrivals from the same seed.
The first is long enough for a first estimate of a P99. While a target is undecided, the run
measures more windows, until the budget is spent. A verdict is always on all windows together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pytest_xsched.analysis.evidence import Evidence, gather
from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.queue_result import QueueResult
from pytest_xsched.analysis.run import Run
from pytest_xsched.analysis.trace import Trace
from pytest_xsched.base.constants import uuid_of
from pytest_xsched.monitoring.mps_clients import MpsClients
from pytest_xsched.monitoring.noise import Noise, Rules, Spans, WatchedWindow, masks, own_lateness
from pytest_xsched.monitoring.run_cost import RunCost
from pytest_xsched.reporting.policy_hints import order_remarks, orders_by_priority
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.scenario.arrival_process import Closed, has_own_times, request_count
from pytest_xsched.scenario.queue_spec import QueueSpec
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stats.estimators import CENSORED_NS, requests_needed
from pytest_xsched.xsched.activation import Activity

_One = TypeVar("_One")

S = 10**9
FIRST_NS = 10 * S
"""Ten blocks, without which there is no verdict; see `sequential_test`."""
NEXT_NS = 5 * S
"""Shorter windows would be more warm-up than measurement."""


def first_window_ns(scenario: Scenario, at_least_ns: int = 0) -> int:
    """Return the length of the first window: what a P99 takes, of the queue that matters most.

    That is the open loop of the highest priority. The whole duration, if the run is short, or if
    its arrivals or changes have times of the whole run, or if no shorter windows fit the arrivals.

    Args:
        scenario: what is to be run.
        at_least_ns: shortest time to measure.
    """
    budget_ns = scenario.duration_ns
    if scenario.changes or any(has_own_times(queue.arrivals) for queue in scenario.queues):
        return budget_ns
    loops = [queue for queue in scenario.queues if not isinstance(queue.arrivals, Closed)]
    first_ns = max(FIRST_NS, at_least_ns)
    if loops:
        rate_hz = max(loops, key=lambda queue: queue.priority).arrivals.rate_hz
        assert rate_hz is not None
        first_ns = max(first_ns, math.ceil(requests_needed(0.99) / rate_hz) * S)
    return _fitting_ns(first_ns, 0, budget_ns, _rates(scenario))


def next_window_ns(measured_ns: int, budget_ns: int, rates_hz: Iterable[float] = ()) -> int:
    """Return the length of the next window: half as long as all before, or the rest; 0: spent.

    Args:
        measured_ns: length of all windows before.
        budget_ns: the most that is measured.
        rates_hz: of the open loops.
    """
    length_ns = max(NEXT_NS, measured_ns // 2 // S * S)
    return _fitting_ns(length_ns, measured_ns, budget_ns, list(rates_hz))


def _rates(scenario: Scenario) -> list[float]:
    rates = (queue.arrivals.rate_hz for queue in scenario.queues)
    return [rate_hz for rate_hz in rates if rate_hz is not None]


def _fitting_ns(length_ns: int, measured_ns: int, budget_ns: int, rates_hz: list[float]) -> int:
    """Return the shortest length of a window, from one on, that fits the arrivals; or the rest.

    Each window has at least one request of each open loop, and the counts of all windows make up
    the count that the rate requires of the whole duration.
    """
    rest_ns = budget_ns - measured_ns
    while length_ns + NEXT_NS <= rest_ns:
        end_ns = measured_ns + length_ns
        if all(
            0
            < request_count(hz, length_ns)
            == request_count(hz, end_ns) - request_count(hz, measured_ns)
            and 0
            < request_count(hz, rest_ns - length_ns)
            == request_count(hz, budget_ns) - request_count(hz, end_ns)
            for hz in rates_hz
        ):
            return length_ns
        length_ns += S
    return rest_ns


def window(scenario: Scenario, index: int, duration_ns: int) -> Scenario:
    """Return the scenario of a window by its number; the first has the seed of the run."""
    # A step of the golden ratio through all seeds: none is met twice, nor soon another run's.
    seed = (scenario.seed + index * 0x9E3779B1) % 2**32
    return dataclasses.replace(scenario, duration_ns=duration_ns, seed=seed)


def run_in_windows(
    scenario: Scenario,
    measure: Callable[[Scenario], Measurement],
    *,
    fixed: bool = False,
    rules: Rules | None = None,
    at_least_ns: int = 0,
    trace: str = "worst",
) -> Run:
    """Measure the first window of a scenario, and make the run that tests see.

    Args:
        scenario: what is to be run; its duration is the most that is measured.
        measure: measures a window.
        fixed: whether to measure all of the duration at once.
        rules: what becomes of noise; None: the default.
        at_least_ns: shortest time to measure; all of the duration, if that is shorter.
        trace: what to keep of the commands; see `Trace`.
    """
    rules = rules or Rules()
    first_ns = scenario.duration_ns if fixed else first_window_ns(scenario, at_least_ns)
    measurement = measure(window(scenario, 0, first_ns))
    span_ns = (scenario.warmup_ns, scenario.warmup_ns + first_ns)
    watched = _watch(scenario, measurement, span_ns, 0, rules)
    masking = measurement.readings is not None and masks(rules, measurement.readings)
    queues = tuple(
        MeasuredQueue(
            spec=spec,
            counts=counts,
            samples=samples,
            window_ns=span_ns,
            noisy_ns=_noisy_ns(watched),
            masks=masking,
            milestones=_of(measurement.milestones, index),
            failures=_of(measurement.failures, index),
        )
        for index, (spec, counts, samples) in enumerate(
            zip(scenario.queues, measurement.counts, measurement.samples, strict=True)
        )
    )
    kept = Trace(mode=trace)

    def keep_commands(news: Measurement, window_ns: tuple[int, int], offset_ns: int) -> None:
        """Keep the commands of a window, before its samples are added to the queues."""
        kept.add(
            news.records,
            {spec.name: one for spec, one in zip(scenario.queues, news.samples, strict=True)},
            window_ns=window_ns,
            offset_ns=offset_ns,
            first={queue.name: len(queue.samples) if offset_ns else 0 for queue in queues},
            whole=scenario.device_kind == "sim",
        )

    keep_commands(measurement, span_ns, 0)
    others = _others(scenario, measurement)
    alone_ns = list(measurement.alone_ns)
    effects = [measurement.priority_effect]
    slots = None
    if scenario.device_kind == "sim":
        slots = scenario.sim.parallel(len(scenario.queues))
    plain = scenario.to_dict()

    def evidence(activity: Activity | None, mps: MpsClients | None) -> Evidence:
        past = [] if activity is None else activity.bypassing
        order, ranks = order_remarks(plain, _worst_effect(effects))
        return gather(
            queues,
            tuple(dict.fromkeys([*others, *past])),
            checked=scenario.check,
            priority_effect=_worst_effect(effects),
            unchecked=tuple(_unchecked(scenario, measurement)),
            activity=activity,
            mps=mps,
            noise=Noise(masks=masking, windows=tuple(watched)) if watched else None,
            alone_ns=alone_ns,
            slots=slots,
            holds=_holds(scenario),
            device=scenario.device,
            order=order,
            ranks=ranks,
            by_priority=orders_by_priority(plain),
        )

    def window_evidence(
        later: Measurement, window_ns: tuple[int, int], noisy_ns: Spans
    ) -> Evidence:
        """Judge a later window alone: what it shows is not to vanish among all the others."""
        parts = tuple(
            QueueResult(
                spec=spec,
                counts=counts,
                samples=samples,
                window_ns=window_ns,
                noisy_ns=noisy_ns,
                masks=masking,
            )
            for spec, counts, samples in zip(
                scenario.queues, later.counts, later.samples, strict=True
            )
        )
        past = () if later.activity is None else tuple(later.activity.bypassing)
        return gather(
            parts,
            past,
            checked=False,
            alone_ns=later.alone_ns,
            slots=slots,
            device=scenario.device,
        )

    def measure_on(run: Run) -> bool:
        duration_ns = next_window_ns(run.measured_ns, scenario.duration_ns, _rates(scenario))
        if duration_ns == 0:
            return False
        index = len(queues[0].windows_ns)
        later = measure(window(scenario, index, duration_ns))
        span_ns = (scenario.warmup_ns, scenario.warmup_ns + duration_ns)
        # After everything that can have happened in the earlier windows.
        offset_ns = queues[0].windows_ns[-1][1] + scenario.drain_ns + S
        keep_commands(later, span_ns, offset_ns)
        news = _watch(scenario, later, span_ns, offset_ns, rules)
        watched.extend(news)
        for place, (queue, counts, samples) in enumerate(
            zip(queues, later.counts, later.samples, strict=True)
        ):
            queue.extend(
                counts,
                samples,
                span_ns,
                offset_ns,
                _noisy_ns(news),
                milestones=_of(later.milestones, place),
                failures=_of(later.failures, place),
            )
        others.extend(_others(scenario, later))
        effects.append(later.priority_effect)
        alone_ns[:] = map(_least, alone_ns, later.alone_ns)
        before = run.evidence
        activity = before.activity
        if later.activity is not None:
            activity = later.activity.added_to(activity)
        mps = before.mps if later.mps is None else later.mps.added_to(before.mps)
        alone = window_evidence(
            later, span_ns, _noisy_ns(_watch(scenario, later, span_ns, 0, rules))
        )
        so_far = evidence(activity, mps).keeping(before)
        run.evidence = so_far.keeping(alone, f"in window {index + 1}: ")
        add_remark(run, later.remark)
        later_cost = _cost(scenario, later)
        run.scheduler_cost = later_cost and later_cost.added_to(run.scheduler_cost)
        return True

    return Run(
        scenario=scenario,
        fingerprint=measurement.fingerprint,
        queues=queues,
        evidence=dataclasses.replace(
            evidence(measurement.activity, measurement.mps),
            program_files={
                scenario.queues[index].name: files
                for index, files in measurement.program_files.items()
            },
        ),
        remark=measurement.remark,
        measure_on=measure_on,
        at_least_ns=at_least_ns,
        trace=kept,
        alone_ns=alone_ns,
        scheduler_cost=_cost(scenario, measurement),
    )


def _cost(scenario: Scenario, measurement: Measurement) -> RunCost | None:
    """Return what the scheduler cost in a window; None where programs have threads of it, too."""
    if measurement.cost is None or any(q.workload.own_program for q in scenario.queues):
        return None
    return measurement.cost.of_requests(measurement.samples)


def _of(of_queues: Sequence[_One], index: int) -> _One | None:
    """Return what a measurement has of one queue; None: it has it of none."""
    return of_queues[index] if of_queues else None


def add_remark(run: Run, remark: str) -> None:
    """Add a sentence about the way a run was measured, unless it is there already."""
    if remark not in run.remark:
        run.remark = f"{run.remark}; {remark}" if run.remark else remark


def _holds(scenario: Scenario) -> dict[str, list[tuple[int, int]]]:
    """Return, by queue, when the changes of a run hold it: spans in ns since its start.

    XSched's own policies resume a queue at their next decision, so under them nothing is held.
    """
    if scenario.xsched is not None and scenario.xsched.scheduler != "app":
        return {}
    holds: dict[str, list[tuple[int, int]]] = {}
    since: dict[str, int] = {}
    for change in sorted(scenario.changes, key=lambda change: change.at_ns):
        at_ns = scenario.warmup_ns + change.at_ns
        if change.suspended:
            since.setdefault(change.queue, at_ns)
        elif change.suspended is not None and change.queue in since:
            holds.setdefault(change.queue, []).append((since.pop(change.queue), at_ns))
    for name, start_ns in since.items():
        holds.setdefault(name, []).append((start_ns, CENSORED_NS))
    return holds


def _watch(
    scenario: Scenario,
    measurement: Measurement,
    window_ns: tuple[int, int],
    offset_ns: int,
    rules: Rules,
) -> list[WatchedWindow]:
    """Judge how quiet a window was; empty where noise was not measured."""
    readings = measurement.readings
    if readings is None:
        return []
    paced = [
        samples
        for spec, samples in zip(scenario.queues, measurement.samples, strict=True)
        if not isinstance(spec.arrivals, Closed)
        and spec.workload.own_program is None
        and spec.after is None
    ]
    return [
        WatchedWindow(
            start_ns=window_ns[0] + offset_ns,
            end_ns=window_ns[1] + offset_ns,
            readings=readings,
            late_ns=own_lateness(paced, window_ns, readings.block_ns),
            limit_ns=rules.limit_ns,
        )
    ]


def _noisy_ns(watched: list[WatchedWindow]) -> Spans:
    return tuple(span for one in watched for span in one.spans_ns())


def _worst_effect(effects: list[str | None]) -> str | None:
    """Return what the windows show of stream priorities: no effect in one is none in all."""
    return next((effect for effect in ("no", "unknown", "yes") if effect in effects), None)


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _others(scenario: Scenario, measurement: Measurement) -> list[str]:
    others = [*measurement.fingerprint.faults, *measurement.faults, *measurement.wrong_results]
    others += _other_device(scenario, measurement)
    if measurement.activity is not None:
        launched = {
            spec.name: counts.launched
            for spec, counts in zip(scenario.queues, measurement.counts, strict=True)
        }
        others += measurement.activity.faults(launched, scenario.xsched)
    return others


def _maker(spec: QueueSpec) -> str:
    """Return what makes the results of a queue that we do not see."""
    if spec.workload.endpoint is not None:
        return "server"
    return "program" if spec.workload.model is None else "model"


def _other_device(scenario: Scenario, measurement: Measurement) -> list[str]:
    """Describe that the device is not the one whose UUID the run names."""
    wanted, found = uuid_of(scenario.device), measurement.fingerprint.devices[0].uuid
    if not wanted or found is None or "/" in wanted:  # how drivers before 470 named a part
        return []
    if found.partition("-")[2].lower() == wanted.partition("-")[2].lower():
        return []
    return [f"the run names the device {wanted}, but was measured on {found}"]


def _unchecked(scenario: Scenario, measurement: Measurement) -> list[str]:
    """Describe which results could not be checked, although the scenario has check=True."""
    if not scenario.check:
        return []
    kernels = {
        (spec.name, command.kernel.name): None
        for spec in scenario.queues
        for command in spec.workload.commands
        if command.kernel is not None
    }
    programs = [
        f"{spec.name}: results of its {_maker(spec)} are not checked" for spec in scenario.programs
    ]
    models = [
        f"{model.queue}: results of its model are {model.outputs}"
        for model in measurement.fingerprint.models
        if model.outputs.startswith("not compared")
    ]
    return [*programs, *models] + [
        f"{queue}: results of kernel {name!r} are not checked" for queue, name in kernels
    ]

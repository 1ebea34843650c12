"""Measure as long as needed: the duration of a run is a budget, and its verdicts use part of it.

A run is measured in windows, each with a warm-up of its own and other arrivals from the same seed.
The first is long enough for a first estimate of a P99. While a target is undecided, the run
measures more windows, until the budget is spent. A verdict is always on all windows together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from pytest_xsched.analysis.evidence import Evidence, gather
from pytest_xsched.analysis.measured_queue import MeasuredQueue
from pytest_xsched.analysis.run import Run
from pytest_xsched.monitoring.noise import Noise, Rules, Spans, WatchedWindow, masks, own_lateness
from pytest_xsched.runner.measure import Measurement
from pytest_xsched.scenario.arrival_process import Closed, Replay
from pytest_xsched.scenario.scenario import Scenario
from pytest_xsched.stats.estimators import requests_needed
from pytest_xsched.xsched.activation import Activity

S = 10**9
FIRST_NS = 10 * S
"""Ten blocks, without which there is no verdict; see `sequential_test`."""
NEXT_NS = 5 * S
"""Shorter windows would be more warm-up than measurement."""


def first_window_ns(scenario: Scenario) -> int:
    """Return the length of the first window: what a P99 takes, of the queue that matters most.

    That is the open loop of the highest priority. All of the duration, where the run is short, and
    where its load or its changes are written down by the time of the whole run.
    """
    budget_ns = scenario.duration_ns
    if scenario.changes or any(isinstance(queue.arrivals, Replay) for queue in scenario.queues):
        return budget_ns
    loops = [queue for queue in scenario.queues if not isinstance(queue.arrivals, Closed)]
    first_ns = FIRST_NS
    if loops:
        rate_hz = max(loops, key=lambda queue: queue.priority).arrivals.rate_hz
        assert rate_hz is not None
        first_ns = max(first_ns, math.ceil(requests_needed(0.99) / rate_hz) * S)
    return first_ns if first_ns + NEXT_NS <= budget_ns else budget_ns


def next_window_ns(measured_ns: int, budget_ns: int) -> int:
    """Return the length of the next window: half as long as all before, or the rest; 0: spent."""
    rest_ns = budget_ns - measured_ns
    length_ns = max(NEXT_NS, measured_ns // 2 // S * S)
    return rest_ns if rest_ns < length_ns + NEXT_NS else length_ns


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
) -> Run:
    """Measure the first window of a scenario, and make the run that tests see.

    Args:
        scenario: what is to be run; its duration is the most that is measured.
        measure: measures a window.
        fixed: whether to measure all of the duration at once.
        rules: what becomes of noise; None: the default.
    """
    rules = rules or Rules()
    first_ns = scenario.duration_ns if fixed else first_window_ns(scenario)
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
        )
        for spec, counts, samples in zip(
            scenario.queues, measurement.counts, measurement.samples, strict=True
        )
    )
    others = _others(scenario, measurement)
    alone_ns = list(measurement.alone_ns)

    def evidence(latest: Measurement, before: Activity | None = None) -> Evidence:
        activity = latest.activity and latest.activity.added_to(before)
        past = [] if activity is None else activity.bypassing
        return gather(
            queues,
            tuple(dict.fromkeys([*others, *past])),
            checked=scenario.check,
            priority_effect=measurement.priority_effect,
            unchecked=tuple(_unchecked(scenario)),
            activity=activity,
            noise=Noise(masks=masking, windows=tuple(watched)) if watched else None,
            alone_ns=alone_ns,
            slots=scenario.sim.slots if scenario.device_kind == "sim" else None,
        )

    def measure_on(run: Run) -> bool:
        duration_ns = next_window_ns(run.measured_ns, scenario.duration_ns)
        if duration_ns == 0:
            return False
        index = len(queues[0].windows_ns)
        later = measure(window(scenario, index, duration_ns))
        span_ns = (scenario.warmup_ns, scenario.warmup_ns + duration_ns)
        # After everything that can have happened in the earlier windows.
        offset_ns = queues[0].windows_ns[-1][1] + scenario.drain_ns + S
        news = _watch(scenario, later, span_ns, offset_ns, rules)
        watched.extend(news)
        for queue, counts, samples in zip(queues, later.counts, later.samples, strict=True):
            queue.extend(counts, samples, span_ns, offset_ns, _noisy_ns(news))
        others.extend(_others(scenario, later))
        alone_ns[:] = map(_least, alone_ns, later.alone_ns)
        run.evidence = evidence(later, run.evidence.activity)
        run.remark = run.remark or later.remark
        return True

    return Run(
        scenario=scenario,
        fingerprint=measurement.fingerprint,
        queues=queues,
        evidence=evidence(measurement),
        remark=measurement.remark,
        measure_on=measure_on,
    )


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
        if not isinstance(spec.arrivals, Closed) and spec.workload.program is None
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


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _others(scenario: Scenario, measurement: Measurement) -> list[str]:
    others = [*measurement.fingerprint.faults, *measurement.faults, *measurement.wrong_results]
    if measurement.activity is not None:
        launched = {
            spec.name: counts.launched
            for spec, counts in zip(scenario.queues, measurement.counts, strict=True)
        }
        others += measurement.activity.faults(launched)
    return others


def _unchecked(scenario: Scenario) -> list[str]:
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
        f"{spec.name}: results of its program are not checked" for spec in scenario.programs
    ]
    return programs + [
        f"{queue}: results of kernel {name!r} are not checked" for queue, name in kernels
    ]

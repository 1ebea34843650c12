"""Two baselines compared with each other: what can be claimed with the runs that both have.

They were measured at other times, so no run of one side has a partner on the other: the runs of
both sides are ranked, and how often chance alone would rank equal builds like that is exact.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence

from pytest_xsched.analysis.comparability import Record, differences, likeness, machine_part
from pytest_xsched.analysis.queue_result import percentile_name
from pytest_xsched.base.quantity import show
from pytest_xsched.comparison.baseline_check import BaselineResult
from pytest_xsched.comparison.baseline_store import StoredRuns
from pytest_xsched.comparison.episode import STORED, falls_behind, first_with_a_figure
from pytest_xsched.comparison.stored_line import no_figure
from pytest_xsched.reporting.run_table import title
from pytest_xsched.stats.ranks import CHANCE, chance_above, runs_missing

MARGIN = 0.2
"""By how much the medians must differ, as a share: the machine drifts between two times, and the
ranks alone would show that as a difference of equal builds; bench/build_rates.py simulates it."""
_OF_THE_BUILD = ("xsched.home",)
_RUNS_MAX = 100
"""The last runs of a side that are ranked."""


def compare_stored(
    first: StoredRuns, second: StoredRuns, *, sides: tuple[str, str], margin: float
) -> list[BaselineResult]:
    """Compare the runs of the second baseline with those of the first one.

    Args:
        first: the reference.
        second: what may be worse.
        sides: their names.
        margin: share by which the median of the second side must differ.
    """
    damaged = [*first.damaged, *second.damaged]
    found = [BaselineResult(status="damaged", sentence=sentence) for sentence in damaged]
    groups = [_grouped([entry["run"] for entry in kept.entries]) for kept in (first, second)]
    for key in dict.fromkeys([*groups[0], *groups[1]]):
        a, b = (group.get(key, []) for group in groups)
        found += _compare(a, b, sides, margin)
    return found


def _grouped(runs: list[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for run in runs:
        fields = likeness(run, scheduler=True)
        of_scenario = {
            name: value
            for name, value in fields.items()
            if not machine_part(name) and name not in _OF_THE_BUILD
        }
        groups.setdefault(json.dumps(of_scenario, sort_keys=True), []).append(run)
    return groups


def _compare(
    a: list[Record], b: list[Record], sides: tuple[str, str], margin: float
) -> list[BaselineResult]:
    name = title((a or b)[-1])
    origin = (a or b)[-1]["origin"]
    if not a or not b:
        only = sides[0] if a else sides[1]
        sentence = f"{name} is not compared: only {only} has stored runs of it"
        return [BaselineResult(status="not compared", sentence=sentence, origin=origin)]
    elsewhere = [differences(run, b[-1]) for run in [*a, *b]]
    fields = [found for found in elsewhere if found]
    a, b = (
        [run for run, found in zip(runs, of_side, strict=True) if not found][-_RUNS_MAX:]
        for runs, of_side in ((a, elsewhere[: len(a)]), (b, elsewhere[len(a) :]))
    )
    if not a:
        sentence = f"{sides[0]} not applicable to {name}: {'; '.join(map(str, fields[0]))}"
        return [BaselineResult(status="not applicable", sentence=sentence, origin=origin)]
    left = f"; {len(fields)} more of another machine or driver are left out" if fields else ""
    judged = [_judge(a, b, queue, sides, margin) for queue in b[-1]["queues"]]
    nothing = all(status == "no figure" for status, _ in judged)
    return [
        BaselineResult(
            status="not compared" if nothing else status,
            sentence=f"{name}: {sentence}{left}",
            origin=origin,
        )
        for status, sentence in judged
    ]


def _judge(
    a: list[Record], b: list[Record], queue: Record, sides: tuple[str, str], margin: float
) -> tuple[str, str]:
    """Judge the P99 of an open loop, or a lower percentile; of a closed one the throughput."""
    name = queue["name"]
    if queue["offered_hz"] is None:

        def rate(run: Record, of: Record) -> float | None:
            return None if no_figure(run, of) else float(of["throughput_hz"])

        figures = [_figures(runs, name, rate) for runs in (a, b)]
        return _rank(name, "throughput", "Hz", figures, sides, margin)

    def judge(q: float) -> tuple[str, str]:
        def latency(run: Record, of: Record) -> float | None:
            if falls_behind(run, of):
                return math.inf  # it has no figure because it is slower than any that has one
            value = of[STORED[q]]
            return None if no_figure(run, of, q) else math.inf if value is None else float(value)

        figures = [_figures(runs, name, latency) for runs in (a, b)]
        return _rank(name, percentile_name(q), "ns", figures, sides, margin)

    return first_with_a_figure(judge, lambda found: found[0])


def _figures(
    runs: list[Record], name: str, figure: Callable[[Record, Record], float | None]
) -> list[float]:
    found = [figure(run, of) for run in runs for of in run["queues"] if of["name"] == name]
    return [value for value in found if value is not None]


def _rank(
    name: str,
    metric: str,
    unit: str,
    figures: list[list[float]],
    sides: tuple[str, str],
    margin: float,
) -> tuple[str, str]:
    a, b = figures
    if not a and not b:
        return "no figure", f"{name} is not compared: no run of either side has its {metric}"
    if not a or not b:
        side = sides[0] if b else sides[1]
        return "not compared", f"{name} is not compared: no run of {side} has its {metric}"
    middle = [statistics.median(values) for values in (a, b)]
    sentence = (
        f"{name}: {metric} {show(middle[1], unit)} against {show(middle[0], unit)}, the medians of "
        f"{_count(b)} of {sides[1]} and {_count(a)} of {sides[0]}"
    )
    higher, lower = middle[1] > middle[0] * (1 + margin), middle[1] < middle[0] * (1 - margin)
    if not (higher or lower):
        return "no difference shown", f"{sentence}: no difference shown"
    status = "worse" if higher == (unit == "ns") else "better"
    chance = float(chance_above(a, b) if higher else chance_above(b, a))
    sentence += f": {status}, by chance in {100 * chance:.2g} % of equal builds"
    if chance <= CHANCE + 1e-9:
        return status, sentence
    if more := runs_missing(len(a), len(b)):
        sentence += f"; too few runs to show it, {more} more of {sides[1]} can, if all are {status}"
    else:
        sentence += f"; {100 * CHANCE:.0f} % would show it"
    return ("undecided" if status == "worse" else "no difference shown"), sentence


def _count(values: Sequence[float]) -> str:
    return f"{len(values)} stored run{'s' * (len(values) > 1)}"

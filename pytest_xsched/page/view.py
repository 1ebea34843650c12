"""What a page shows, out of JSON files of `--xsched-json`: words, rows, charts; no HTML.

Reads what `json_export.document` makes, of format 2 or 3, and nothing else, so that a page of a
session and one of its file are the same.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_xsched.analysis.attribution import PARTS
from pytest_xsched.analysis.comparability import likeness_digest
from pytest_xsched.analysis.explanation import OF_LATENCY, part_name
from pytest_xsched.base.units import format_duration
from pytest_xsched.errors import ScenarioError
from pytest_xsched.page import charts, findings, session_facts, why
from pytest_xsched.page.machines import Hosts, alike, machines, worst
from pytest_xsched.page.rate_curve import rate_curve
from pytest_xsched.page.ratios import intervals
from pytest_xsched.page.source import Made, Source
from pytest_xsched.page.svg import Markup
from pytest_xsched.reporting import comparison_table, rate_table, run_table
from pytest_xsched.reporting.json_export import READABLE
from pytest_xsched.reporting.run_table import Record
from pytest_xsched.reporting.shared_parts import whole
from pytest_xsched.reporting.terminal_summary import STATUSES
from pytest_xsched.scenario.scenario import Scenario

_WRONG = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""What a value of a wrong type or size raises somewhere."""
_MOST_PASSES = 12
"""That are listed at once."""
_LONGEST_LABEL = 120
_LONGEST_SCENARIO = 20_000


def view(sources: Sequence[Source]) -> Record:
    """Return the variables of the template.

    Raises:
        ScenarioError: a file is not what pytest-xsched writes.
    """
    runs: list[Made] = []
    comparisons: list[Made] = []
    searches: list[Made] = []
    rates: list[Made] = []
    baselines: list[Record] = []
    conformance: list[Record] = []
    measured = [source for source in sources if not findings.is_conformance(source.document)]
    for source in sources:
        try:
            if source not in measured:
                anchor = f"conformance-{len(conformance) + 1}"
                conformance.append(findings.conformance(source.document, anchor, source.name))
                continue
            _check_format(source)
            data = source.document["xsched"]
            for run in data["runs"]:
                runs.append(_made(run, source, f"run-{len(runs) + 1}"))
            for comparison in data["comparisons"]:
                record = whole(comparison, data["runs"], data.get("shared", {}))
                comparisons.append(_made(record, source, f"comparison-{len(comparisons) + 1}"))
            for search in data.get("rate_searches", ()):  # absent in old files
                rates.append(_made(search, source, f"rate-{len(rates) + 1}"))
            for search in data.get("searches", ()):
                searches.append(_made(search, source, f"search-{len(searches) + 1}"))
            baselines += [findings.baseline(one, source.name) for one in data["baselines"]]
        except _WRONG as error:
            raise _unreadable(source, error) from error
    try:
        page = _page(measured, runs, comparisons, searches, rates, len(sources) > 1)
        about_policies = findings.conformance_headline(
            source.document for source in sources if source not in measured
        )
        headline = [page["headline"]] if measured else []
        headline += [about_policies] if about_policies else []
        text = "; ".join(headline)
        return {
            **page,
            "headline": text[:1].upper() + text[1:],
            "findings": baselines,
            "conformance": conformance,
        }
    except _WRONG as error:
        if len(sources) == 1:
            raise _unreadable(sources[0], error) from error
        for source in sources:
            view([source])  # names the file
        raise


def _made(record: Record, source: Source, anchor: str) -> Made:
    return Made(record=record, source=source, anchor=anchor)


def _check_format(source: Source) -> None:
    form = source.document["xsched"]["format"]
    if form not in READABLE:
        raise ValueError(f"format {form!r}")


def _unreadable(source: Source, error: Exception) -> ScenarioError:
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    command = "pytest --xsched-json=FILE"
    if findings.is_conformance(source.document):
        command = "pytest-xsched conformance --json"
    return ScenarioError(
        f"{source.name or 'the records of this session'}: not what `{command}` "
        f"writes ({what}); write it again"
    )


def _page(
    sources: Sequence[Source],
    runs: list[Made],
    comparisons: list[Made],
    searches: list[Made],
    rates: list[Made],
    several: bool,
) -> Record:
    judged = (*runs, *comparisons, *rates)
    verdicts = [verdict for made in judged for verdict in _verdicts(made)]
    for made in searches:
        verdicts += findings.search_verdicts(made.record, made.anchor, made.source.name)
    verdicts.sort(key=lambda verdict: STATUSES.index(verdict["status"]))
    counts = Counter(verdict["status"] for verdict in verdicts)
    hosts = Hosts(judged)
    folded = max(0, counts["PASS"] - _MOST_PASSES)
    if not several:
        verdicts = [{**verdict, "file": ""} for verdict in verdicts]
    return {
        "headline": _headline(counts),
        "counts": [(status, counts[status]) for status in STATUSES],
        "verdicts": verdicts[: len(verdicts) - folded],
        "more": verdicts[len(verdicts) - folded :],
        "session": session_facts.session(sources[0].document) if len(sources) == 1 else {},
        "machines": machines(sources, judged, _verdicts, hosts),
        "alike": alike(runs, _verdicts, hosts),
        "overview": [_overview(made) for made in runs] if len(runs) > 1 else [],
        "runs": [_run(made, several=several) for made in runs],
        "comparisons": [_comparison(made, several=several) for made in comparisons],
        "rates": [_rate(made, several=several) for made in rates],
        "searches": [_search(made, several=several) for made in searches],
    }


def _search(made: Made, *, several: bool) -> Record:
    tests = made.source.document["xsched"].get("tests", {})
    return findings.search(made.record, made.anchor, made.source.name if several else "", tests)


def _headline(counts: Counter[str]) -> str:
    total = sum(counts.values())
    if not total:
        return "No target was asserted"
    if counts["PASS"] == total:
        return "The target is met" if total == 1 else f"All {total} targets are met"
    parts = {
        "FAIL": "missed",
        "UNDECIDED": "undecided",
        "NO VERDICT": "without a verdict",
    }
    bad = [f"{counts[status]} {words}" for status, words in parts.items() if counts[status]]
    return f"{', '.join(bad)}, of {total} target{'s' * (total > 1)}"


def _overview(made: Made) -> Record:
    return {
        "anchor": made.anchor,
        "title": run_table.title(made.record),
        "origin": made.record["origin"],
        "queues": [
            {"name": cells[0], "p50": cells[4], "p99": cells[5], "rate": cells[7]}
            for cells in run_table.rows(made.record)[1:]
        ],
        "worst": worst(_verdicts(made)),
    }


def _verdicts(made: Made) -> list[Record]:
    """Return the targets of a run or a comparison, worst first."""
    why = {(one["queue"], one["limit_ns"]): one["sentence"] for one in made.record.get("why", ())}
    found = [
        {
            "status": verdict["status"] if verdict["status"] in STATUSES else "UNDECIDED",
            "sentence": verdict["sentence"],
            "nodeid": verdict["nodeid"],
            "place": verdict.get("limit_origin", ""),
            "queue": verdict["queue"],
            "why": why.get(_explained(verdict), "") if _is_explained(verdict) else "",
            "anchor": made.anchor,
            "file": made.source.name,
        }
        for verdict in made.record["verdicts"]
    ]
    found += [
        {
            "status": "NO VERDICT",
            "sentence": refused["sentence"],
            "nodeid": refused["nodeid"],
            "place": "",
            "queue": "",
            "why": "",
            "anchor": made.anchor,
            "file": made.source.name,
        }
        for refused in made.record["refused"]
    ]
    return sorted(found, key=lambda verdict: STATUSES.index(verdict["status"]))


def _is_explained(verdict: Record) -> bool:
    """Check whether a verdict has an explanation: a target on latencies that was not met."""
    is_about_latency = verdict["unit"] == "ns" or verdict["rule"] in OF_LATENCY
    of_milestone = bool(verdict.get("latency"))  # absent in old records
    return verdict["status"] != "PASS" and is_about_latency and not of_milestone


def _explained(verdict: Record) -> tuple[str, int | None]:
    """Return the queue and the limit by which the explanation of a verdict is known."""
    limit_ns = round(verdict["limit"]) if verdict["unit"] == "ns" else None
    return verdict["queue"], limit_ns


def _facts(made: Made, title: str, of_test: Record, *, several: bool) -> Record:
    """Return what the page has of runs, comparisons and rate searches alike.

    Args:
        made: one of these.
        title: of it.
        of_test: the record that names the test, and has a scenario of it: a run or a search.
        several: whether the page is made of several files.
    """
    origin = of_test["origin"]
    test = made.source.document["xsched"].get("tests", {}).get(origin, {})
    return {
        "anchor": made.anchor,
        "title": title,
        "origin": origin,
        "file": made.source.name if several else "",
        "verdicts": _verdicts(made),
        "python": _python(of_test),
        "rerun": test.get("rerun", ""),
    }


def _run(made: Made, *, several: bool) -> Record:
    run, data = made.record, made.source.document["xsched"]
    return {
        **_facts(made, run_table.title(run), run, several=several),
        "why": [_why(explanation) for explanation in run.get("why", ())],
        "exact": run["device_kind"] == "sim",
        "table": _short_rows(run_table.rows_with_latencies(run)),
        "remarks": run_table.remarks(run),
        "advice": run_table.advice(run["verdicts"]),
        "queues": [
            shown
            for queue in run["queues"]
            if queue["n"]
            for shown in _queue_and_latencies(run, queue, data)
        ],
        "likeness": likeness_digest(run)[:12],
    }


def _why(one: Record) -> Record:
    """Draw why requests of a queue were late: the parts of the latencies, and the worst request."""
    rows, count = [], one["explained"]
    if count > 1:
        average = [(part, queue, ns / count) for part, queue, ns in _parts(one["parts"])]
        rows.append(
            why.Bar(label=f"average of {count}", ns=one["latency_ns"] / count, parts=average)
        )
    for request in one["requests"]:
        label = f"request {request['index']}, at {format_duration(request['scheduled_ns'])}"
        label += "" if request["completed"] else ", unfinished"
        parts = _parts(request["parts"])
        rows.append(why.Bar(label=label, ns=request["latency_ns"], parts=parts))
    seen = sorted({(part, queue) for row in rows for part, queue, _ in row.parts}, key=_place)
    return {
        "queue": one["queue"],
        "sentence": one["sentence"],
        "more": one["lines"][1:],
        "bars": why.bars(rows, f"{one['queue']}: where the time went") if rows else None,
        "parts": [(why.css_class(part), part_name(part, queue)) for part, queue in seen],
        "timeline": _timeline(one, one["requests"][0]) if one.get("around") else None,
    }


def _place(part: Sequence[Any]) -> tuple[int, str]:
    return PARTS.index(part[0]), part[1]


def _parts(records: Sequence[Record]) -> list[tuple[str, str, float]]:
    return sorted(((one["part"], one["queue"], one["ns"]) for one in records), key=_place)


def _timeline(one: Record, worst: Record) -> Markup:
    around = one["around"]
    return why.timeline(
        why.Moment(
            start_ns=around["start_ns"],
            end_ns=around["end_ns"],
            queue=one["queue"],
            index=worst["index"],
            arrived_ns=worst["scheduled_ns"],
            ended_ns=worst["scheduled_ns"] + worst["latency_ns"],
            limit_ns=one["limit_ns"],
            lanes=[
                why.Lane(
                    name=queue["name"], commands=queue["commands"], suspended=queue["suspended"]
                )
                for queue in around["queues"]
            ],
        ),
        f"all queues around request {worst['index']} of {one['queue']}",
    )


def _short_rows(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [
        [cell if len(cell) <= _LONGEST_LABEL else f"{cell[:_LONGEST_LABEL]}..." for cell in row]
        for row in rows
    ]


def _python(run: Record) -> str:
    """Return the scenario as Python; "" where this version has no such scenario."""
    try:
        text = Scenario.from_dict(run["scenario"]).to_python()
    except (ScenarioError, TypeError, ValueError):
        return ""
    if len(text) <= _LONGEST_SCENARIO:
        return text
    cut = len(text) - _LONGEST_SCENARIO
    return f"{text[:_LONGEST_SCENARIO]}\n# ... and {cut} more characters, which the JSON file has"


def _queue_and_latencies(run: Record, queue: Record, data: Record) -> list[Record]:
    """Describe a queue, and after it its latencies to milestones."""
    more = {"omitted": 0, "offered_hz": 0.0}  # no latency is corrected for what was not sent
    return [
        _queue(run, queue, data, _limits(run, queue["name"], "")),
        *(
            _queue(run, {**shown, **more}, data, _limits(run, queue["name"], one["name"]))
            for shown, one in zip(
                run_table.latencies(queue), queue.get("latencies", ()), strict=True
            )
        ),
    ]


def _queue(run: Record, queue: Record, data: Record, limits: list[charts.Limit]) -> Record:
    name = queue["name"]
    return {
        "name": name,
        "distribution": charts.distribution(
            [_distribution("", queue, data)],
            limits,
            data.get("shares_above", _SHARES_BEFORE),
            data.get("bounded", ()),
            f"{name}: percentiles of the latency",
        ),
        "over_time": _over_time(run, queue, limits),
        "closed": queue["offered_hz"] is None,
        "bounds": bool(queue.get("bounds_ns")),
        "limits": [(charts.css_class(limit.status), limit.status, limit.rule) for limit in limits],
    }


_SHARES_BEFORE = (0.5, 0.05, 0.01)
"""Of the percentiles that a file of format 2 has."""


def _distribution(arm: str, queue: Record, data: Record) -> charts.Distribution:
    before = [queue[key] for key in ("p50_ns", "p95_ns", "p99_ns")]
    curve = queue["curve_ns"] if "shares_above" in data else before
    return charts.Distribution(
        name=arm,
        curve_ns=curve,
        n=queue["n"] + queue["omitted"],
        max_ns=queue["max_ns"],
        bounds_ns=queue.get("bounds_ns", ()),
    )


def _limits(run: Record, name: str, latency: str) -> list[charts.Limit]:
    """Return the targets on a latency of a queue, a limit only once; "": to the completion."""
    found = {}
    for verdict in run["verdicts"]:
        metric, _, relation = verdict["rule"].partition(" ")
        if (verdict["queue"], verdict.get("latency", "")) != (name, latency):
            continue
        if verdict["unit"] != "ns" or relation != "below":
            continue
        if metric == "max":
            share = 0.0
        elif metric.startswith("P"):
            share = 1 - float(metric[1:]) / 100
        else:
            continue  # of waits
        part = verdict.get("part", "")  # absent in old records
        rule = f"{verdict['rule']} {part}".strip()
        found[rule, verdict["limit"]] = charts.Limit(
            rule=rule, ns=verdict["limit"], share=share, status=verdict["status"], part=part
        )
    return list(found.values())


def _over_time(run: Record, queue: Record, limits: list[charts.Limit]) -> Markup | None:
    if "blocks" not in queue:
        return None
    noise = run["evidence"].get("noise")
    spans = [] if noise is None else list(_noisy_spans(noise))
    blocks = charts.Blocks(
        windows_ns=run["windows_ns"],
        block_ns=run["block_ns"],
        figures=queue["blocks"],
        noisy_ns=spans,
        masked=bool(noise) and noise["mode"] == "mask",
        stages=[charts.stage(one) for one in queue.get("stages", ())],
    )
    return charts.over_time(blocks, limits, f"{queue['name']}: latency over time")


def _noisy_spans(noise: Record) -> Iterable[tuple[int, int]]:
    for window in noise["windows"]:
        for number, noisy in enumerate(window["noisy"]):
            if noisy:
                start = window["start_ns"] + number * window["block_ns"]
                yield start, start + window["block_ns"]


def _comparison(made: Made, *, several: bool) -> Record:
    comparison, data = made.record, made.source.document["xsched"]
    first = comparison["arms"][comparison["baseline"]][0]
    ratios = intervals(comparison)
    return {
        **_facts(made, comparison_table.title(comparison), first, several=several),
        "baseline": comparison["baseline"],
        "intervals": charts.intervals(ratios, "ratios to the baseline") if ratios else None,
        "queues": [_compared(comparison, queue, data) for queue in comparison["queues"]],
        "table": _short_rows(comparison_table.rows(comparison)),
        "remarks": comparison_table.remarks(comparison),
    }


def _rate(made: Made, *, several: bool) -> Record:
    search = made.record
    return {
        **_facts(made, rate_table.title(search), search, several=several),
        "curve": rate_curve(search),
        "metric": rate_table.metric(search),
        "queue": search["queue"],
        "table": _short_rows(rate_table.rows(search)),
        "remarks": rate_table.remarks(search),
    }


def _compared(comparison: Record, queue: Record, data: Record) -> Record:
    name, open_loop = queue["name"], queue["open_loop"]
    arms = {
        arm: [
            one for run in comparison["arms"][arm] for one in run["queues"] if one["name"] == name
        ]
        for arm in queue["arms"]
    }
    shares = data.get("shares_above", _SHARES_BEFORE)
    key, unit = ("p99_ns", "ns") if open_loop else ("throughput_hz", "Hz")
    each = {arm: figures.get(key, []) for arm, figures in queue["arms"].items()}
    measured = [_median(arm, runs, data) for arm, runs in arms.items() if runs]
    what = "P99" if open_loop else "throughput"
    return {
        "name": name,
        "arms": list(enumerate(arms)),
        "distribution": charts.distribution(
            measured, [], shares, (), f"{name}: percentiles in each arm, medians of the episodes"
        ),
        "what": what,
        "episodes": charts.by_episode(each, unit, f"{name}: {what} of each episode")
        if comparison["episodes"] > 1
        else None,
    }


def _median(arm: str, queues: list[Record], data: Record) -> charts.Distribution:
    """Return the median of each percentile over the episodes; never is longer than any."""
    every = [_distribution(arm, queue, data) for queue in queues]
    curves = zip(*(one.curve_ns for one in every), strict=False)
    return charts.Distribution(
        name=arm,
        curve_ns=[_middle(values) for values in curves],
        n=round(statistics.median(one.n for one in every)),
        max_ns=_middle([one.max_ns for one in every]),
    )


def _middle(values: Sequence[float | None]) -> float | None:
    middle = statistics.median_low([math.inf if value is None else value for value in values])
    return None if math.isinf(middle) else middle

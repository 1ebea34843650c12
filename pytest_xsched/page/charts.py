"""The charts of a page: what was measured, in figures that a record has. Pure functions to SVG.

Each chart has one `<title>`, and where a reader points at it the script shows the text of the
nearest point, which is in the attribute `data-points`.
"""

from __future__ import annotations

import html
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_xsched.base.quantity import show
from pytest_xsched.base.units import format_duration, format_rate
from pytest_xsched.page.svg import (
    Axis,
    Markup,
    area,
    element,
    latency_axis,
    line,
    number,
    path,
    plain,
    text,
)

WIDTH, HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 22, 40
_QUANTILES = {"P50": 0.5, "P90": 0.1, "P99": 0.01, "P99.9": 1e-3, "P99.99": 1e-4, "P99.999": 1e-5}
_ROOM_ON_THE_LEFT = 0.1
"""Share of a limit from which its mark is where its name would be."""
STYLES = 6
"""Styles of lines that the style sheet has: colour and dashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A target on the latency of a queue.

    Attributes:
        rule: "P99 below".
        ns: what the latency must be below.
        share: of requests that may be above, 0.01 for P99; 0 for the maximum.
        status: of its verdict.
        part: of the run that it is about, "in stage 1"; "": all of it.
    """

    rule: str
    ns: float
    share: float
    status: str
    part: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The latencies of a queue in one arm.

    Attributes:
        name: of the arm.
        curve_ns: at the shares of the file; None: never.
        n: requests.
        max_ns: None: never.
        bounds_ns: of P50, P95 and P99.
    """

    name: str
    curve_ns: Sequence[float | None]
    n: int
    max_ns: float | None
    bounds_ns: Sequence[Sequence[int | None]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """The latency of a queue at one rate.

    Attributes:
        rate_hz: requests per second.
        shown: what was shown of the rate, "holds, "; "" if nothing.
        n: requests.
        p50_ns: None: never.
        value_ns: the percentile that the target is about; None: never.
    """

    rate_hz: float
    shown: str
    n: int
    p50_ns: float | None
    value_ns: float | None


def distribution(
    arms: Sequence[Distribution],
    limits: Sequence[Limit],
    shares: Sequence[float],
    bounded: Sequence[float],
    title: str,
) -> Markup:
    """Draw percentiles on a logarithmic axis of the share of requests above.

    Args:
        arms: at least one; the bounds of percentiles are drawn for one alone.
        limits: of the queue.
        shares: of the points of the curves.
        bounded: percentiles of the bounds.
        title: for readers who do not see the chart.
    """
    limits = [limit for limit in limits if not limit.part]  # the curve is of the whole run
    known = [ns for arm in arms for ns in (*arm.curve_ns, arm.max_ns) if ns is not None]
    y = _latencies([*known, *(limit.ns for limit in limits)])
    most = max((arm.n for arm in arms), default=1)
    x = Axis(
        low=0.0, high=max(2.4, math.log10(max(most, 1)) + 0.15), start=_LEFT, end=WIDTH - _RIGHT
    )
    parts = [_frame(), *_latency_ticks(y)]
    for name, share in _QUANTILES.items():
        if -math.log10(share) <= x.high:
            parts += _column(x.at(-math.log10(share)), name)
    points: dict[float, list[str]] = {}
    for index, arm in enumerate(arms):
        at = [(-math.log10(share), ns) for share, ns in zip(shares, arm.curve_ns, strict=False)]
        for share, ns in zip(shares, arm.curve_ns, strict=False):
            points.setdefault(share, []).append(_named(arm, arms, ns))
        if arm.n:
            at.append((math.log10(arm.n), arm.max_ns))
            points.setdefault(0, []).append(_named(arm, arms, arm.max_ns))
        parts += _series([(x.at(where), ns) for where, ns in at], y, index)
    if len(arms) == 1:
        parts += _bounds(arms[0], bounded, x, y)
    parts += [part for limit in limits for part in _limit(limit, x, y)]
    readings = [
        [
            round(x.at(-math.log10(share) if share else math.log10(most)), 1),
            f"{_above(share)}: {', '.join(said)}",
        ]
        for share, said in sorted(points.items(), reverse=True)
    ]
    return chart(parts, title, readings)


def _named(arm: Distribution, arms: Sequence[Distribution], ns: float | None) -> str:
    return f"{arm.name} {_time(ns)}" if len(arms) > 1 else _time(ns)


def _above(share: float) -> str:
    if share in (0, 1):
        return "shortest" if share else "longest"
    return f"P{round(100 * (1 - share), 5):g} (1 of {round(1 / share)} is longer)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The latencies of a queue over time.

    Attributes:
        windows_ns: start and end of each measured window.
        block_ns: length of a block.
        figures: by name, a list with a number for each block: n, p50_ns, p99_ns, max_ns.
        noisy_ns: start and end of noisy spans.
        masked: whether requests of noisy spans count for no latency.
        stages: name, rates, start and end in ns of each stage of the load.
    """

    windows_ns: Sequence[Sequence[int]]
    block_ns: int
    figures: dict[str, Sequence[float | None]]
    noisy_ns: Sequence[tuple[int, int]]
    masked: bool
    stages: Sequence[tuple[str, str, int, int]] = ()

    def centres_ns(self) -> list[tuple[int, int]]:
        """Return for each block that has figures its window and the middle of it."""
        every = (
            (number, (at + min(at + self.block_ns, end)) // 2)
            for number, (start, end) in enumerate(self.windows_ns)
            for at in range(start, end, self.block_ns)
        )
        return list(itertools.islice(every, len(self.figures["n"])))


def stage(record: Mapping[str, Any]) -> tuple[str, str, int, int]:
    """Return name, rates, start and end in ns of a stage of a record."""
    name = repr(record["name"]) if record["name"] else record["index"]
    return f"stage {name}", record["rates"], record["start_ns"], record["end_ns"]


_OVER_TIME = (("max", "max_ns", 2), ("P99", "p99_ns", 0), ("P50", "p50_ns", 1))


def over_time(blocks: Blocks, limits: Sequence[Limit], title: str) -> Markup:
    """Draw P50, P99 and maximum of each second, the windows, and the seconds that were noisy."""
    known = [ns for _, key, _ in _OVER_TIME for ns in blocks.figures[key] if ns is not None]
    y = _latencies([*known, *(limit.ns for limit in limits)])
    first, last = blocks.windows_ns[0][0] / 1e9, blocks.windows_ns[-1][1] / 1e9
    x = Axis(low=first, high=max(last, first + 1e-9), start=_LEFT, end=WIDTH - _RIGHT)
    parts = [_frame()]
    bottom = HEIGHT - _BOTTOM
    for index, (start, end) in enumerate(blocks.windows_ns):
        left, right = x.at(start / 1e9), x.at(end / 1e9)
        if len(blocks.windows_ns) > 1:
            said = f"window {index + 1}: {_seconds(start)} to {_seconds(end)}"
            parts.append(area("window", said, left, right, _TOP, bottom))
        parts.append(line(left, bottom + 4, left, bottom - 4, class_="edge"))
    for index, (name, rates, start, end) in enumerate(blocks.stages):
        left, right = x.at(start / 1e9), x.at(end / 1e9)
        said = f"{name}: {rates}, {_seconds(start)} to {_seconds(end)}"
        parts.append(area("stage" if index % 2 else "stage even", said, left, right, _TOP, bottom))
        short = name.removeprefix("stage ").strip("'")
        if right - left > 6 * len(short):
            middle = (left + right) / 2
            parts.append(text(middle, _TOP - 6, short, class_="tick", text_anchor="middle"))
    noisy = "masked" if blocks.masked else "noisy"
    for start, end in blocks.noisy_ns:
        left, right = x.at(start / 1e9), x.at(end / 1e9)
        said = f"{noisy}: {_seconds(start)} to {_seconds(end)}"
        parts.append(area("noisy", said, left, right, _TOP, bottom))
    parts += _latency_ticks(y)
    for value in x.ticks():
        parts += _column(x.at(value), f"{round(value, 6):g} s")
    centres = blocks.centres_ns()
    for _, key, style in _OVER_TIME:
        pieces: dict[int, list[tuple[float, float | None]]] = {}
        for (window, at), n, ns in zip(
            centres, blocks.figures["n"], blocks.figures[key], strict=False
        ):
            if n:
                pieces.setdefault(window, []).append((x.at(at / 1e9), ns))
        for piece in pieces.values():
            parts += _series(piece, y, style, marks=len(piece) == 1)
    spans = {f"in {name}": (x.at(a / 1e9), x.at(b / 1e9)) for name, _, a, b in blocks.stages}
    for limit in limits:
        parts += _limit(limit, None, y, spans.get(limit.part))
    readings: list[list[object]] = []
    for index, (_, at) in enumerate(centres):
        n = blocks.figures["n"][index]
        told = ", ".join(
            f"{name} {_time(blocks.figures[key][index])}" for name, key, _ in reversed(_OVER_TIME)
        )
        stage = next((one[0] for one in blocks.stages if one[2] <= at < one[3]), "")
        mark = f" ({noisy})" if any(start <= at < end for start, end in blocks.noisy_ns) else ""
        readings.append(
            [
                round(x.at(at / 1e9), 1),
                f"{_seconds(at)}{f', {stage}' * bool(stage)}{mark}: n = {n}"
                + (f", {told}" if n else ""),
            ]
        )
    return chart(parts, title, readings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A ratio of two arms.

    Attributes:
        label: "high: P99 of builtin / native".
        value: the ratio.
        low: lower bound; None: there is none.
        high: upper bound.
        episodes: the ratio in each episode.
        floor: the factor by which equal arms differed; None: not known.
        limits: claims about it: ratio and status.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    episodes: Sequence[float]
    floor: float | None
    limits: Sequence[tuple[float, str]] = ()

    @property
    def said(self) -> str:
        """The ratio and its bounds in words."""
        if self.low is None or self.high is None:
            return f"{self.value:.4g}, no bounds"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def intervals(rows: Sequence[Interval], title: str) -> Markup:
    """Draw ratios with their bounds on a logarithmic axis around 1, with the noise as a band."""
    values = [1.0]
    for row in rows:
        values += [row.value, *row.episodes, *(limit for limit, _ in row.limits)]
        values += [value for value in (row.low, row.high) if value is not None]
        values += [1 / row.floor, row.floor] if row.floor else []
    low, high = min(values), max(values)
    reach = max(high / low, 1.5) ** 0.06
    x = Axis(low=low / reach, high=high * reach, start=16.0, end=WIDTH - 16.0, logarithmic=True)
    pitch, height = 58, 58 * len(rows) + 38
    parts: list[str] = []
    for value in x.ticks(7):
        at = x.at(value)
        parts.append(line(at, 4, at, height - 26, class_="grid"))
        parts.append(text(at, height - 8, f"{value:g}", class_="tick", text_anchor="middle"))
    parts.append(line(x.at(1), 4, x.at(1), height - 26, class_="one"))
    for index, row in enumerate(rows):
        y = index * pitch + 44.0
        if row.floor:
            left, right = x.at(1 / row.floor), x.at(row.floor)
            said = f"noise: equal arms differ by up to {row.floor:.4g}"
            parts.append(area("floor", said, left, right, y - 9, y + 9))
        parts.append(text(16, y - 26, row.label, class_="label"))
        parts.append(text(WIDTH - 16, y - 26, row.said, class_="label said", text_anchor="end"))
        parts += [
            element("circle", class_="episode", cx=x.at(value), cy=y, r=2.5)
            for value in row.episodes
            if value > 0
        ]
        if row.low and row.high is not None:
            parts.append(line(x.at(row.low), y, x.at(row.high), y, class_="interval"))
            parts += [
                line(x.at(end), y - 6, x.at(end), y + 6, class_="interval")
                for end in (row.low, row.high)
            ]
        parts.append(_diamond(x.at(row.value), y, "estimate"))
        for limit, status in row.limits:
            at = x.at(limit)
            parts.append(line(at, y - 11, at, y + 11, class_=f"limit {css_class(status)}"))
            parts.append(_triangle(at, y - 11, f"limit {css_class(status)}"))
    return chart(parts, title, [], height=height)


def by_episode(arms: dict[str, Sequence[float | None]], unit: str, title: str) -> Markup:
    """Draw a figure of each episode, a line an arm."""
    known = [value for values in arms.values() for value in values if value is not None]
    if unit == "ns":
        y = _latencies(known)
    else:
        y = Axis(low=0.0, high=max([*known, 1e-9]) * 1.12, start=HEIGHT - _BOTTOM, end=_TOP)
    count = max((len(values) for values in arms.values()), default=1)
    x = Axis(low=0.5, high=count + 0.5, start=_LEFT, end=WIDTH - _RIGHT)
    parts = [_frame(), *_latency_ticks(y, unit)]
    for episode in range(1, count + 1, -(-count // 14)):
        parts += _column(x.at(episode), str(episode))
    readings: list[list[object]] = []
    for episode in range(count):
        said = ", ".join(
            f"{name} {_figure(values[episode], unit)}"
            for name, values in arms.items()
            if episode < len(values)
        )
        readings.append([round(x.at(episode + 1), 1), f"episode {episode + 1}: {said}"])
    for index, values in enumerate(arms.values()):
        points = [(x.at(episode), value) for episode, value in enumerate(values, 1)]
        parts += _series(points, y, index, marks=True)
    return chart(parts, title, readings)


def history(values: Sequence[tuple[str, float | None]], unit: str, title: str) -> Markup:
    """Draw a figure of stored runs in order of time; the last one is the run of this session."""
    known = [value for _, value in values if value is not None]
    y = Axis(low=0.0, high=max([*known, 1e-9]) * 1.12, start=HEIGHT - _BOTTOM, end=_TOP)
    x = Axis(low=0.5, high=len(values) + 0.5, start=_LEFT, end=WIDTH - _RIGHT)
    parts = [_frame(), *_latency_ticks(y, unit)]
    before = [value for _, value in values[:-1] if value is not None]
    if before:
        low, high = y.at(min(before)), y.at(max(before))
        said = "lowest to highest of the stored runs"
        parts.append(area("floor", said, _LEFT, WIDTH - _RIGHT, high, max(low, high + 1.5)))
    points = [(x.at(at), value) for at, (_, value) in enumerate(values, 1)]
    parts += _series(points[:-1], y, 1, marks=True)
    last_x, last = points[-1]
    parts.append(_diamond(last_x, _y(y, last), "estimate"))
    for at in {1, len(values)}:
        label = "now" if at == len(values) else values[0][0][:10]
        anchor = "end" if at == len(values) else "start"
        parts.append(text(x.at(at), HEIGHT - 14, label, class_="tick", text_anchor=anchor))
    readings = [
        [round(x.at(at), 1), f"{when}: {_figure(value, unit)}"]
        for at, (when, value) in enumerate(values, 1)
    ]
    return chart(parts, title, readings)


def over_rate(
    points: Sequence[RatePoint],
    limit: Limit,
    bounds_hz: tuple[float | None, float | None],
    title: str,
) -> Markup:
    """Draw the median and the percentile of a target over the rate, and what was shown of it.

    Args:
        points: by ascending rates, one each.
        limit: of the target.
        bounds_hz: the highest rate that was shown to hold, and the lowest one to fail.
        title: for readers who do not see the chart.
    """
    known = [ns for point in points for ns in (point.p50_ns, point.value_ns) if ns is not None]
    y = _latencies([*known, limit.ns])
    rates = [point.rate_hz for point in points]
    low, high = min(rates) / 1.05, max(rates) * 1.05
    x = Axis(low=low, high=high, start=_LEFT, end=WIDTH - _RIGHT, logarithmic=high > 3 * low)
    parts = [_frame(), *_latency_ticks(y)]
    for rate in x.ticks():
        if low <= rate <= high:
            parts += _column(x.at(rate), format_rate(rate))
    lower, upper = bounds_hz
    if lower is not None and upper is not None:
        said = "not shown to hold, and not to fail"
        parts.insert(1, area("floor", said, x.at(lower), x.at(upper), _TOP, HEIGHT - _BOTTOM))
    parts += _limit(limit, None, y)
    for index, key in ((1, "p50_ns"), (0, "value_ns")):
        line_of = [(x.at(point.rate_hz), getattr(point, key)) for point in points]
        parts += _series(line_of, y, index, marks=True)
    for rate_hz, status, word, above in (
        (lower, "pass", "holds", 8),
        (upper, "fail", "fails", -14),
    ):
        if rate_hz is not None:
            at = x.at(rate_hz)
            side, anchor = (4, "start") if at < WIDTH / 2 else (-4, "end")
            name = f"{word} at {format_rate(rate_hz)}"
            parts.append(line(at, _TOP, at, HEIGHT - _BOTTOM, class_=f"limit {status}"))
            parts.append(
                text(at + side, _TOP - above, name, class_=f"name {status}", text_anchor=anchor)
            )
    readings = [
        [
            round(x.at(point.rate_hz), 1),
            f"{format_rate(point.rate_hz)}: {point.shown}{limit.rule.split()[0]} "
            f"{_time(point.value_ns)}, P50 {_time(point.p50_ns)}, n = {point.n}",
        ]
        for point in points
    ]
    return chart(parts, title, readings)


# ---- parts of charts


def chart(
    parts: Sequence[str], title: str, readings: Sequence[Sequence[object]], height: int = HEIGHT
) -> Markup:
    """Return a drawing with its title, and with the texts of its points for the script."""
    more: dict[str, object] = {}
    if readings:
        more = {
            "data_points": json.dumps(readings, separators=(",", ":")),
            "data_top": _TOP,
            "data_bottom": HEIGHT - _BOTTOM,
            "tabindex": "0",
        }
    return Markup(
        element(
            "svg",
            element("title", html.escape(plain(title))),
            *parts,
            class_="chart",
            viewBox=f"0 0 {WIDTH} {height}",
            role="img",
            aria_label=title,
            **more,
        )
    )


def _latencies(values_ns: Sequence[float]) -> Axis:
    return latency_axis(values_ns, HEIGHT - _BOTTOM, _TOP)


def _frame() -> str:
    return line(_LEFT, HEIGHT - _BOTTOM, WIDTH - _RIGHT, HEIGHT - _BOTTOM, class_="frame")


def _latency_ticks(y: Axis, unit: str = "ns") -> list[str]:
    parts = []
    for value in y.ticks():
        at = y.at(value)
        label = "0" if value == 0 else _figure(value, unit)
        parts.append(line(_LEFT, at, WIDTH - _RIGHT, at, class_="grid"))
        parts.append(text(_LEFT - 7, at + 4, label, class_="tick", text_anchor="end"))
    return parts


def _column(at: float, label: str) -> list[str]:
    bottom = HEIGHT - _BOTTOM
    return [
        line(at, _TOP, at, bottom, class_="grid"),
        text(min(at, WIDTH - 22), bottom + 18, label, class_="tick", text_anchor="middle"),
    ]


def _series(
    points: Sequence[tuple[float, float | None]], y: Axis, style: int, *, marks: bool = False
) -> list[str]:
    """Draw a line; what was never reached is a line of its own at the top."""
    reached = [(x, y.at(value)) for x, value in points if value is not None]
    never = [(x, float(_TOP)) for x, value in points if value is None]
    parts = [path([reached], class_=f"line s{style % STYLES}")]
    if never:
        parts.append(path([[*reached[-1:], *never]], class_=f"line never s{style % STYLES}"))
        x = never[-1][0]
        parts.append(
            text(min(x, WIDTH - 30), _TOP - 6, "never", class_="tick", text_anchor="middle")
        )
    if marks:
        parts += [
            element("circle", class_=f"dot s{style % STYLES}", cx=x, cy=at, r=3)
            for x, at in (*reached, *never)
        ]
    return parts


def _bounds(arm: Distribution, bounded: Sequence[float], x: Axis, y: Axis) -> list[str]:
    parts = []
    for q, (low, high) in zip(bounded, arm.bounds_ns, strict=False):
        if not low and high is None:
            continue  # too few requests
        at = x.at(-math.log10(1 - q))
        bottom = y.at(low) if low is not None else float(_TOP)
        top = y.at(high) if high is not None else float(_TOP)
        said = f"P{100 * q:g}: {_time(low)} to {_time(high) if high is not None else 'no bound'}"
        inner = element("title", html.escape(f"95 % bounds of {said}"))
        bars = [line(at, bottom, at, top, class_="bound")]
        for end in (bottom, top)[: 2 if high is not None else 1]:
            bars.append(line(at - 4, end, at + 4, end, class_="bound"))
        parts.append(element("g", inner, *bars))
    return parts


def _limit(
    limit: Limit, x: Axis | None, y: Axis, span: tuple[float, float] | None = None
) -> list[str]:
    """Draw a limit, over a part of the axis if a span is given."""
    at = y.at(limit.ns)
    left, right = span or (_LEFT, WIDTH - _RIGHT)
    kind = f"limit {css_class(limit.status)}"
    rule = limit.rule.removesuffix(limit.part).strip() if span else limit.rule
    label = f"{rule} {format_duration(round(limit.ns))}"
    name = f"name {css_class(limit.status)}"
    at_end = x is not None and limit.share >= _ROOM_ON_THE_LEFT
    parts = [
        line(left, at, right, at, class_=kind),
        text(right - 5, at - 5, label, class_=name, text_anchor="end")
        if at_end
        else text(left + 5, at - 5, label, class_=name),
    ]
    if x is not None:
        where = x.high if limit.share == 0 else -math.log10(limit.share)
        parts.append(_triangle(x.at(where), at, kind))
    return parts


def _triangle(x: float, y: float, kind: str) -> str:
    points = (
        f"{number(x - 6)},{number(y - 9)} {number(x + 6)},{number(y - 9)} {number(x)},{number(y)}"
    )
    return element("polygon", points=points, class_=f"{kind} mark")


def _diamond(x: float, y: float, kind: str) -> str:
    corners = [(x, y - 7), (x + 6, y), (x, y + 7), (x - 6, y)]
    points = " ".join(f"{number(a)},{number(b)}" for a, b in corners)
    return element("polygon", points=points, class_=kind)


def _y(y: Axis, value: float | None) -> float:
    return float(_TOP) if value is None else y.at(value)


def css_class(status: str) -> str:
    """Return the class of the style sheet for a status."""
    return {"PASS": "pass", "FAIL": "fail", "UNDECIDED": "undecided"}.get(status, "no-verdict")


def _time(ns: float | None) -> str:
    return "never" if ns is None else format_duration(round(ns))


def _figure(value: float | None, unit: str) -> str:
    return "never" if value is None else show(value, unit)


def _seconds(ns: int) -> str:
    return f"{round(ns / 1e9, 3):g} s"

"""Why requests were late, drawn: the parts of their latencies, and all queues around the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_xsched.analysis.explanation import part_name
from pytest_xsched.base.units import format_duration
from pytest_xsched.page.charts import WIDTH, chart
from pytest_xsched.page.svg import Axis, Markup, area, line, text

_LEFT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The latency of a request, or of several on average, in parts.

    Attributes:
        label: which.
        ns: the latency, to which the parts add up.
        parts: name of the part, its other queue, and its time, in the order of the bar.
    """

    label: str
    ns: float
    parts: Sequence[tuple[str, str, float]]


def css_class(part: str) -> str:
    """Return the class of the style sheet for a part."""
    return f"part {part.replace(' ', '-')}"


def bars(rows: Sequence[Bar], title: str) -> Markup:
    """Draw a bar a row; all have the same scale."""
    pitch = 46
    x = Axis(low=0.0, high=max(row.ns for row in rows) or 1.0, start=_LEFT, end=WIDTH - _LEFT)
    parts = []
    for index, row in enumerate(rows):
        y = index * pitch + 18
        parts.append(text(_LEFT, y, row.label, class_="label"))
        said = format_duration(round(row.ns))
        parts.append(text(WIDTH - _LEFT, y, said, class_="label said", text_anchor="end"))
        before = 0.0
        for part, queue, ns in row.parts:
            left, right = x.at(before), x.at(before + ns)
            before += ns
            words = f"{format_duration(round(ns))} {part_name(part, queue)}"
            parts.append(area(css_class(part), words, left, right, y + 6, y + 22, least=0.0))
    return chart(parts, title, [], height=pitch * len(rows) + 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What a queue did.

    Attributes:
        name: of the queue.
        commands: request, launched, began and ended of each slice, ns.
        suspended: start and end of spans.
    """

    name: str
    commands: Sequence[Sequence[int]]
    suspended: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The time around a request.

    Attributes:
        start_ns: of the drawing.
        end_ns: of the drawing.
        queue: of the request.
        index: of the request.
        arrived_ns: its arrival.
        ended_ns: its completion, or the end of its window.
        limit_ns: of its latency; None: there is none.
        lanes: one a queue.
    """

    start_ns: int
    end_ns: int
    queue: str
    index: int
    arrived_ns: int
    ended_ns: int
    limit_ns: int | None
    lanes: Sequence[Lane]


def timeline(moment: Moment, title: str) -> Markup:
    """Draw a lane a queue, with what the device executed, and when the queue was suspended."""
    pitch, top = 44, 40
    bottom = top + pitch * len(moment.lanes)
    x = Axis(
        low=float(moment.start_ns - moment.arrived_ns),
        high=float(moment.end_ns - moment.arrived_ns),
        start=_LEFT,
        end=WIDTH - _LEFT,
    )

    def at(ns: int) -> float:
        return x.at(ns - moment.arrived_ns)

    parts = []
    for value in x.ticks(5):
        label = (
            "0"
            if value == 0
            else f"{'+' if value > 0 else '-'}{format_duration(round(abs(value)))}"
        )
        parts.append(line(x.at(value), top - 14, x.at(value), bottom, class_="grid"))
        parts.append(
            text(
                min(x.at(value), WIDTH - 26),
                bottom + 16,
                label,
                class_="tick",
                text_anchor="middle",
            )
        )
    for number, lane in enumerate(moment.lanes):
        y = top + number * pitch
        parts.append(text(_LEFT, y + 2, lane.name, class_="label"))
        parts.append(line(_LEFT, y + 32, WIDTH - _LEFT, y + 32, class_="grid"))
        for start, end in lane.suspended:
            said = f"{lane.name} is suspended for {format_duration(end - start)}"
            parts.append(area("suspended", said, at(start), at(end), y + 27, y + 32))
        for request, launched, began, ended in lane.commands:
            own = lane.name == moment.queue and request == moment.index
            kind = "slice own" if own else f"slice r{request % 2}"
            said = f"{lane.name}, request {request}: {format_duration(ended - began)}"
            if launched < began:
                waited = format_duration(began - launched)
                said += f", launched {waited} before it began"
                parts.append(line(at(launched), y + 17, at(began), y + 17, class_="launched"))
            parts.append(area(kind, said, at(began), at(ended), y + 9, y + 25, least=0.7))
    marks = [(moment.arrived_ns, "arrives", "moment"), (moment.ended_ns, "ends", "moment")]
    if moment.limit_ns is not None:
        marks.append((moment.arrived_ns + moment.limit_ns, "limit", "limit fail"))
    for ns, name, kind in marks:
        if moment.start_ns <= ns <= moment.end_ns:
            parts.append(line(at(ns), 18, at(ns), bottom, class_=kind))
            words = "name fail" if name == "limit" else "tick"
            parts.append(text(at(ns), 12, name, class_=words, text_anchor="middle"))
    return chart(parts, title, [], height=bottom + 26)

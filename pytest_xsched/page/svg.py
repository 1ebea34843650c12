"""SVG as text: elements with escaped attributes, numbers of fixed form, axes with ticks.

Text of the user reaches a drawing through `element` and `text` only, which escape it. Equal input
gives equal bytes, on every machine.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_xsched.base.terminal_text import printable


class Markup(str):
    """A text that is HTML already; the template does not escape it again."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the text itself, as jinja2 asks for it."""
        return str(self)


def plain(text: object) -> str:
    """Return a text without control characters and marks that turn the direction of text."""
    return printable(str(text))


def number(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text not in ("-0.0", "0.0") else "0"


def element(name: str, *inner: str, **attributes: object) -> str:
    """Return an element; `inner` is markup, attributes are escaped.

    Args:
        name: of the element.
        inner: markup of other calls.
        attributes: `class_` is class, and `_` stands for `-`; floats become coordinates.
    """
    words = [name]
    for key, value in attributes.items():
        shown = number(value) if isinstance(value, float) else plain(value)
        words.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(shown)}"')
    content = "".join(inner)
    return f"<{' '.join(words)}>{content}</{name}>" if content else f"<{' '.join(words)}/>"


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """Return a text at a point."""
    return element("text", html.escape(plain(content)), x=float(x), y=float(y), **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """Return a line between two points."""
    points = {"x1": float(x1), "y1": float(y1), "x2": float(x2), "y2": float(y2)}
    return element("line", **points, **attributes)


def path(pieces: Iterable[Sequence[tuple[float, float]]], **attributes: object) -> str:
    """Return lines through points, one piece after the other."""
    parts = [
        "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
        for points in pieces
        if len(points)
    ]
    return element("path", d="".join(parts), **attributes) if parts else ""


def area(
    kind: str, said: str, left: float, right: float, top: float, bottom: float, least: float = 1.5
) -> str:
    """Return a rectangle that is at least so wide, and what it means."""
    return element(
        "rect",
        element("title", html.escape(plain(said))),
        class_=kind,
        x=float(left),
        y=float(top),
        width=max(least, right - left),
        height=float(bottom - top),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Maps values to coordinates, linearly or by their logarithm.

    Attributes:
        low: the value at `start`.
        high: the value at `end`.
        start: coordinate.
        end: coordinate.
        logarithmic: whether equal ratios are equal distances; values are then above 0.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the coordinate of a value; one outside is put to the end of the axis."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the axis, at most `most` and at least two."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1, 2, 5), (1, 3), (1,)):
                found = [digit * 10.0**decade for decade in decades for digit in digits]
                found = [v for v in found if self.low <= v * 1.000001 and v <= self.high * 1.000001]
                if len(found) <= most:
                    break
            if len(found) >= 3:
                return found[:: -(-len(found) // most)]
        span = self.high - self.low
        rough = 10.0 ** math.floor(math.log10(span / most))
        step = next(s for f in (1, 2, 5, 10) if (s := f * rough) * most >= span)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def latency_axis(values_ns: Sequence[float], start: float, end: float) -> Axis:
    """Return an axis that shows all latencies: logarithmic where they span more than 30 to 1."""
    shown = [value for value in values_ns if value > 0 and math.isfinite(value)] or [1e6]
    low, high = min(shown), max(shown)
    if high > 30 * low:
        return Axis(low=low / 1.25, high=high * 1.25, start=start, end=end, logarithmic=True)
    return Axis(low=0.0, high=high * 1.12, start=start, end=end)

"""The layout of everything that is printed: columns, and sentences next to them."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence

GAP = 2
"""Spaces between two columns."""


def aligned(
    table: Sequence[Sequence[str]],
    *,
    left: Collection[str] | None = None,
    least: Mapping[int, int] | None = None,
) -> list[str]:
    """Return the rows of a table as lines, in columns.

    Args:
        table: rows of cells; the first row holds the heads.
        left: heads of the columns that are aligned to the left; None: all columns are.
        least: the least width of some columns, by their numbers from 0.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for column, width in (least or {}).items():
        widths[column] = max(widths[column], width)
    sides = ["<" if left is None or head in left else ">" for head in table[0]]
    return [
        (" " * GAP)
        .join(f"{cell:{side}{w}}" for cell, side, w in zip(row, sides, widths, strict=True))
        .rstrip()
        for row in table
    ]


def hanging(head: str, sentences: Iterable[str], *, indent: int, columns: int | None) -> list[str]:
    """Return sentences next to a head, each from the same column on.

    Args:
        head: shorter than `indent`.
        sentences: one or more; each begins a line.
        indent: column where the sentences begin.
        columns: of the terminal, to wrap at; None, and where it is narrow: one line a sentence.
    """
    lines = []
    for sentence in sentences:
        wrapped = [sentence]
        if columns is not None and columns >= 2 * indent:
            wrapped = textwrap.wrap(
                sentence, columns - indent, break_long_words=False, break_on_hyphens=False
            ) or [""]
        lines += wrapped
    return [
        (head if i == 0 else "").ljust(indent) + line if line or i else head
        for i, line in enumerate(lines)
    ]


def percent(share: float, digits: int = 0) -> str:
    """Show a share in [0, 1]: "98 %"."""
    return f"{100 * share:.{digits}f} %"
